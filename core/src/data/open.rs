//! Opens plain and compressed files alike.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};

use crate::config::Format;

const UTF_16: [&[u8]; 2] = [b"\xFF\xFE", b"\xFE\xFF"];
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Opens `path` for reading, decompressed by its extension, a byte order mark skipped.
///
/// # Errors
/// Where the path cannot be opened or read, or is no regular file.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    let name = || format!("\"{}\"", path.display());
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot open {}", name()))?;
    if !metadata.is_file() {
        bail!("{} is no regular file", name());
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", name()))?;
    let plain: Box<dyn Read + Send> = match compression(path) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file))),
        Some("zst") => Box::new(
            zstd::stream::read::Decoder::new(file)
                .with_context(|| format!("cannot decompress {}", name()))?,
        ),
        _ => Box::new(file),
    };
    let mut reader = BufReader::with_capacity(1 << 16, plain);
    let start = reader.fill_buf().with_context(|| format!("cannot read {}", name()))?;
    if UTF_16.iter().any(|mark| start.starts_with(mark)) {
        bail!("{} is UTF-16, expected UTF-8: iconv -f UTF-16 -t UTF-8 converts it", name());
    }
    if reader
        .fill_buf()
        .with_context(|| format!("cannot read {}", name()))?
        .starts_with(BYTE_ORDER_MARK)
    {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    Ok(Box::new(reader))
}

fn extension(path: &Path) -> Option<String> {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase())
}

fn compression(path: &Path) -> Option<&'static str> {
    let extension = extension(path)?;
    ["gz", "zst"].into_iter().find(|known| extension == *known)
}

/// The extension of `path` in lower case, where that is .gz or .zst the one before it.
pub fn inner_extension(path: &Path) -> Option<String> {
    match compression(path) {
        Some(_) => extension(&path.with_extension("")),
        None => extension(path),
    }
}

/// The format of the file or folder `path`, by its extension without .gz or .zst.
///
/// # Errors
/// Where the extension says nothing.
pub fn format_of(path: &Path) -> anyhow::Result<Format> {
    if path.is_dir() {
        return Ok(Format::Folder);
    }
    match inner_extension(path).as_deref() {
        Some("csv") => Ok(Format::Csv),
        Some("tsv") => Ok(Format::Tsv),
        Some("jsonl" | "ndjson" | "json") => Ok(Format::Jsonl),
        Some("txt" | "ft" | "fasttext") => Ok(Format::Fasttext),
        _ => bail!(
            "cannot tell the format of \"{}\" by its extension; \
             set data.format to csv, tsv, jsonl, fasttext, folder or babi",
            path.display()
        ),
    }
}

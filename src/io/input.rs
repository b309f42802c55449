//! Opens plain and compressed files alike.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};

const UTF_16: [&[u8]; 2] = [b"\xFF\xFE", b"\xFE\xFF"];
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How much a file may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a line.
    pub line: u64,
    /// Bytes that a compressed file unpacks to.
    pub unpacked: u64,
}

/// Bytes of a megabyte.
pub const MB: u64 = 1_000_000;

/// Opens `path` for reading, decompressed by its extension, a byte order mark skipped.
///
/// # Errors
/// Where the path cannot be opened or read, or is no regular file.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    open_limited(path, Limits { line: u64::MAX, unpacked: u64::MAX })
}

/// As [`open`]; reading fails where the file holds more than it may.
///
/// # Errors
/// As [`open`].
pub fn open_limited(path: &Path, limits: Limits) -> anyhow::Result<Box<dyn BufRead + Send>> {
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
    let unpacked = if compression(path).is_some() { limits.unpacked } else { u64::MAX };
    let limited = Limited {
        source: plain,
        limits: Limits { unpacked, ..limits },
        line: 1,
        line_bytes: 0,
        bytes: 0,
    };
    let mut reader = BufReader::with_capacity(1 << 16, limited);
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

/// What a file holds, up to its limits.
struct Limited<R> {
    source: R,
    limits: Limits,
    /// The line that is being read, from 1, and its bytes so far.
    line: u64,
    line_bytes: u64,
    bytes: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        let read = &buffer[..length];
        self.bytes += length as u64;
        if self.bytes > self.limits.unpacked {
            let most = self.limits.unpacked / MB;
            return Err(io::Error::other(format!(
                "it unpacks to more than {most} MB, which data.max_unpacked_mb allows"
            )));
        }
        match read.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => {
                self.line += read[..=last].iter().filter(|byte| **byte == b'\n').count() as u64;
                self.line_bytes = (length - last - 1) as u64;
            }
            None => self.line_bytes += length as u64,
        }
        if self.line_bytes > self.limits.line {
            let (line, most) = (self.line, self.limits.line / MB);
            return Err(io::Error::other(format!(
                "line {line} has more than {most} MB, which data.max_line_mb allows"
            )));
        }
        Ok(length)
    }
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

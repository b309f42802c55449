//! Opens plain and compressed text files.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};

/// Byte order marks of other encodings. UTF-32 comes first, because its little-endian mark starts with
/// that of UTF-16.
const OTHER_ENCODINGS: [(&[u8], &str); 4] = [
    (b"\xFF\xFE\0\0", "UTF-32"),
    (b"\0\0\xFE\xFF", "UTF-32"),
    (b"\xFF\xFE", "UTF-16"),
    (b"\xFE\xFF", "UTF-16"),
];
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Bytes per megabyte.
pub const MB: u64 = 1_000_000;

/// Size limits of an input file.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Limit on the length of a line.
    pub line: Limit,
    /// Limit on the decompressed size of a compressed file.
    pub unpacked: Limit,
}

/// A size limit and the configuration field that sets it, for error messages.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Maximum size in bytes.
    pub bytes: u64,
    /// Name of the field, such as "data.max_line_mb".
    pub field: &'static str,
}

impl Limit {
    const NONE: Self = Self { bytes: u64::MAX, field: "" };
}

/// Opens `path` for reading. Decompresses it if the extension is .gz or .zst, and skips a byte order
/// mark.
///
/// # Errors
/// Returns an error if the path cannot be read, is not a regular file or is encoded as UTF-16 or UTF-32.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    open_limited(path, Limits { line: Limit::NONE, unpacked: Limit::NONE })
}

/// Opens `path` like [`open`]. Reading fails as soon as the file exceeds a limit.
///
/// # Errors
/// See [`open`].
pub fn open_limited(path: &Path, limits: Limits) -> anyhow::Result<Box<dyn BufRead + Send>> {
    let name = || format!("\"{}\"", path.display());
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot open {}", name()))?;
    if !metadata.is_file() {
        bail!("{} is not a regular file", name());
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
    let unpacked = if is_compressed(path) { limits.unpacked } else { Limit::NONE };
    let limited = LimitedReader {
        source: plain,
        limits: Limits { unpacked, ..limits },
        line: 1,
        line_bytes: 0,
        bytes: 0,
    };
    let mut reader = BufReader::with_capacity(1 << 16, limited);
    let start = reader.fill_buf().with_context(|| format!("cannot read {}", name()))?;
    if let Some((_, encoding)) = OTHER_ENCODINGS.iter().find(|(mark, _)| start.starts_with(mark)) {
        bail!(
            "{} is {encoding}, expected UTF-8; convert it with iconv -f {encoding} -t UTF-8",
            name()
        );
    }
    if start.starts_with(BYTE_ORDER_MARK) {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    Ok(Box::new(reader))
}

/// A reader that fails when its limits are exceeded.
struct LimitedReader<R> {
    source: R,
    limits: Limits,
    /// Number of the current line, from 1.
    line: u64,
    /// Bytes of the current line so far.
    line_bytes: u64,
    bytes: u64,
}

impl<R: Read> Read for LimitedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        let read = &buffer[..length];
        self.bytes += length as u64;
        if self.bytes > self.limits.unpacked.bytes {
            let Limit { bytes, field } = self.limits.unpacked;
            return Err(io::Error::other(format!(
                "the decompressed size exceeds {} MB, the limit set by {field}",
                bytes / MB
            )));
        }
        match read.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => {
                self.line += read[..=last].iter().filter(|byte| **byte == b'\n').count() as u64;
                self.line_bytes = (length - last - 1) as u64;
            }
            None => self.line_bytes += length as u64,
        }
        if self.line_bytes > self.limits.line.bytes {
            let Limit { bytes, field } = self.limits.line;
            return Err(io::Error::other(format!(
                "line {} exceeds {} MB, the limit set by {field}",
                self.line,
                bytes / MB
            )));
        }
        Ok(length)
    }
}

fn extension(path: &Path) -> Option<String> {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase())
}

/// Returns true if [`open`] decompresses the file `path`.
pub fn is_compressed(path: &Path) -> bool {
    compression(path).is_some()
}

fn compression(path: &Path) -> Option<&'static str> {
    let extension = extension(path)?;
    ["gz", "zst"].into_iter().find(|compression| extension == *compression)
}

/// Returns the extension of `path` in lower case, ignoring a final .gz or .zst.
pub fn inner_extension(path: &Path) -> Option<String> {
    match is_compressed(path) {
        true => extension(&path.with_extension("")),
        false => extension(path),
    }
}

/// Returns a line without its ending, LF or CRLF.
pub fn without_line_ending(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

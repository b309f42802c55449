//! Size limits of input files.

use std::io::{self, Read};

/// Bytes per megabyte.
pub const MB: u64 = 1_000_000;
/// Default limit on the length of a line in megabytes.
pub const MAX_LINE_MB: u64 = 100;

/// Size limits of an input file.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Limit on the length of a line.
    pub line: Limit,
    /// Limit on the decompressed size of a compressed file.
    pub unpacked: Limit,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self { line: Limit::NONE, unpacked: Limit::NONE };
    /// The limit on lines that no setting changes.
    pub const LINES: Self =
        Self { line: Limit { bytes: MAX_LINE_MB * MB, field: None }, ..Self::NONE };
}

/// A size limit and the configuration field that sets it, for error messages.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Maximum size in bytes.
    pub bytes: u64,
    /// Name of the field, such as "data.max_line_mb", if there is one.
    pub field: Option<&'static str>,
}

impl Limit {
    /// No limit.
    pub const NONE: Self = Self { bytes: u64::MAX, field: None };

    /// Returns an error message about `subject`, which exceeds the limit.
    pub fn exceeded(&self, subject: &str) -> String {
        let maximum = format!("{subject} exceeds {} MB", self.bytes / MB);
        match self.field {
            Some(field) => format!("{maximum}, the limit set by {field}"),
            None => format!("{maximum}, the maximum"),
        }
    }
}

/// A reader that fails when its limits are exceeded.
pub(super) struct LimitedReader<R> {
    source: R,
    limits: Limits,
    /// Number of the current line, from 1.
    line: u64,
    /// Bytes of the current line so far.
    line_bytes: u64,
    bytes: u64,
}

impl<R> LimitedReader<R> {
    pub(super) fn new(source: R, limits: Limits) -> Self {
        Self { source, limits, line: 1, line_bytes: 0, bytes: 0 }
    }
}

impl<R: Read> Read for LimitedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        let read = &buffer[..length];
        self.bytes += length as u64;
        if self.bytes > self.limits.unpacked.bytes {
            return Err(io::Error::other(self.limits.unpacked.exceeded("the decompressed size")));
        }
        match read.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => {
                self.line += read[..=last].iter().filter(|byte| **byte == b'\n').count() as u64;
                self.line_bytes = (length - last - 1) as u64;
            }
            None => self.line_bytes += length as u64,
        }
        if self.line_bytes > self.limits.line.bytes {
            let line = format!("line {}", self.line);
            return Err(io::Error::other(self.limits.line.exceeded(&line)));
        }
        Ok(length)
    }
}

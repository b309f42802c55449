//! Size limits of input files.

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

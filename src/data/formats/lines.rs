//! Reads files line by line within the configured size limits.

use std::io::BufRead;
use std::path::Path;

use anyhow::Context;

use crate::config::DataConfig;
use crate::io::input::{
    Limit, Limits, MB, TextReader, open_limited, unreadable, without_line_ending,
};

/// Returns the size limits of the data section.
pub fn limits(config: &DataConfig) -> Limits {
    Limits {
        line: Limit { bytes: config.max_line_mb * MB, field: Some("data.max_line_mb") },
        unpacked: Limit { bytes: config.max_unpacked_mb * MB, field: Some("data.max_unpacked_mb") },
    }
}

/// Opens a data file, which is decoded and limited as configured.
///
/// # Errors
/// Returns an error if the file cannot be read or decoded.
pub fn open_data(path: &Path, config: &DataConfig) -> anyhow::Result<TextReader> {
    open_limited(path, limits(config), config.decoding())
}

/// Calls `each` with the number of every line, from 1, and its bytes without the line ending.
pub fn for_each_line(
    path: &Path,
    config: &DataConfig,
    mut each: impl FnMut(u64, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut reader = open_data(path, config)?;
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes);
        let read = read.with_context(|| unreadable(path, line - 1))?;
        if read == 0 {
            break;
        }
        each(line, without_line_ending(&bytes))?;
    }
    Ok(())
}

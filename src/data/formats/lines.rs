//! Reads files line by line, within the limits of the configuration.

use std::io::BufRead;
use std::path::Path;

use anyhow::Context;

use crate::config::DataConfig;
use crate::io::input::{Limits, MB, open_limited};

/// Returns the limits that the data section sets.
pub fn limits(config: &DataConfig) -> Limits {
    Limits { line: config.max_line_mb * MB, unpacked: config.max_unpacked_mb * MB }
}

/// Calls `each` with every line's number, from 1, and its bytes without the line end.
pub fn for_each_line(
    path: &Path,
    config: &DataConfig,
    mut each: impl FnMut(u64, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut reader = open_limited(path, limits(config))?;
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes).with_context(|| {
            format!("cannot read \"{}\" beyond line {}", path.display(), line - 1)
        })?;
        if read == 0 {
            break;
        }
        let end = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        each(line, end.strip_suffix(b"\r").unwrap_or(end))?;
    }
    Ok(())
}

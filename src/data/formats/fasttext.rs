//! fastText's labelled lines: `__label__NAME text`.

use std::path::Path;

use super::lines::for_each_line;
use super::sink::{Row, Sink};
use crate::config::DataConfig;

const LABEL: &str = "__label__";

/// Reads the lines of the file `path`.
pub fn read(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    for_each_line(path, config, |line, bytes| {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let row = row_of(bytes);
        sink.take(line, row.map(Some))
    })
}

fn row_of(bytes: &[u8]) -> Result<Row, String> {
    let line = std::str::from_utf8(bytes).map_err(|_| "found bytes that are not UTF-8")?;
    let line = line.trim_start();
    let (first, text) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match first.strip_prefix(LABEL) {
        Some(label) if !label.is_empty() => {
            if text.trim_start().starts_with(LABEL) {
                return Err("found more than one label; a text has one class here".into());
            }
            Ok(Row { texts: vec![text.to_owned()], label: label.to_owned() })
        }
        _ => Err(format!("expected {LABEL}NAME and a text, found {first:?}")),
    }
}

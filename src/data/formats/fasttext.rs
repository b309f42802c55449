//! Reads fastText files: `__label__NAME text` on each line.

use std::path::Path;

use super::lines::for_each_line;
use super::sink::{Row, Sink, not_utf8};
use crate::config::DataConfig;

const PREFIX: &str = "__label__";

/// Reads the file `path` into `sink`.
pub fn read(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    for_each_line(path, config, |line, bytes| {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        sink.add(line, parse(bytes).map(Some))
    })
}

fn parse(bytes: &[u8]) -> Result<Row, String> {
    let line = std::str::from_utf8(bytes).map_err(|_| not_utf8("the line"))?;
    let line = line.trim_start();
    let (first, text) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match first.strip_prefix(PREFIX) {
        Some(label) if !label.is_empty() => {
            if text.trim_start().starts_with(PREFIX) {
                return Err("found more than one label; a text can have only one".into());
            }
            Ok(Row { texts: vec![text.to_owned()], label: label.to_owned() })
        }
        _ => Err(format!("expected {PREFIX}NAME and a text, found {first:?}")),
    }
}

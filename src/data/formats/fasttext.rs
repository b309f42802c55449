//! Reads fastText files: `__label__NAME text` on each line.

use std::path::Path;

use super::lines::for_each_line;
use super::sink::{Row, Sink, excerpt, not_utf8};
use crate::config::DataConfig;

/// Beginning of a label.
pub const PREFIX: &str = "__label__";

/// Reads the file `path` into `sink`.
pub fn read(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    for_each_line(path, config, |line, bytes| {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let row = match sink.needs_labels() {
            true => parse(bytes, config.has_first_rules()),
            false => parse_unlabelled(bytes),
        };
        sink.add(line, row.map(Some))
    })
}

/// Parses a line whose labels, if it has any, are ignored. Without labels it is a line of plain text.
fn parse_unlabelled(bytes: &[u8]) -> Result<Row, String> {
    let mut text = std::str::from_utf8(bytes).map_err(|_| not_utf8("the line"))?.trim_start();
    while text.starts_with(PREFIX) {
        let (_, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        text = rest.trim_start();
    }
    Ok(Row::new(vec![text.to_owned()], String::new()))
}

fn parse(bytes: &[u8], first_rules: bool) -> Result<Row, String> {
    let line = std::str::from_utf8(bytes).map_err(|_| not_utf8("the line"))?;
    let line = line.trim_start();
    let (first, text) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let Some(label) = first.strip_prefix(PREFIX).filter(|label| !label.is_empty()) else {
        return Err(format!("expected {PREFIX}NAME and a text, found {:?}", excerpt(first)));
    };
    let second = match first_rules {
        true => text.trim_start().strip_prefix(PREFIX).map(|_| PREFIX),
        // fastText reads labels anywhere in a line; "a,__label__b" is a pair joined by a comma.
        false => line[PREFIX.len()..].split_whitespace().find(|word| word.contains(PREFIX)),
    };
    match second {
        Some(word) => Err(format!(
            "found more than one label, the second in {:?}; a text can have only one",
            excerpt(word)
        )),
        None => Ok(Row::new(vec![text.to_owned()], label.to_owned())),
    }
}

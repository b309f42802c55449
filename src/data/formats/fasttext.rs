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
        sink.add(line, parse(bytes, config.has_first_rules()).map(Some))
    })
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

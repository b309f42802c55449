//! Reads fastText files: `__label__NAME text` on each line. If a text can have several labels, a line begins with
//! any number of them.

use std::path::Path;

use super::excerpt::excerpt;
use super::lines::for_each_line;
use super::row_labels::RowLabels;
use super::sink::{Row, Sink, not_utf8};
use crate::config::{DataConfig, Labelling};

/// Beginning of a label.
pub const PREFIX: &str = "__label__";

/// Reads the file `path` into `sink`.
pub fn read(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    for_each_line(path, config, |line, bytes| {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let row = match sink.needs_labels() {
            true if config.labelling() == Labelling::Several => parse_several(bytes),
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
    Ok(Row::new(vec![text.to_owned()], RowLabels::NONE))
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
            "found more than one label, the second in {:?}; for texts with several labels, set \
             data.multi_label: true",
            excerpt(word)
        )),
        None => Ok(Row::new(vec![text.to_owned()], RowLabels::Value(label.to_owned()))),
    }
}

/// Parses a line that begins with any number of labels.
fn parse_several(bytes: &[u8]) -> Result<Row, String> {
    let mut text = std::str::from_utf8(bytes).map_err(|_| not_utf8("the line"))?.trim_start();
    let mut labels = Vec::new();
    while let Some(rest) = text.strip_prefix(PREFIX) {
        let (label, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if label.is_empty() || label.contains(PREFIX) {
            let word = format!("{PREFIX}{label}");
            return Err(format!("expected {PREFIX}NAME, found {:?}", excerpt(&word)));
        }
        labels.push(label.to_owned());
        text = if rest.trim_start().starts_with(PREFIX) { rest.trim_start() } else { rest };
    }
    match text.split_whitespace().find(|word| word.contains(PREFIX)) {
        Some(word) => Err(format!(
            "found a label after the beginning of the text, in {:?}; move it to the start of the line",
            excerpt(word)
        )),
        None => Ok(Row::new(vec![text.to_owned()], RowLabels::List(labels))),
    }
}

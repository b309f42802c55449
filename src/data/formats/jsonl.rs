//! Reads JSON lines files: one object on each line.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::anyhow;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::lines::for_each_line;
use super::sink::{Row, Sink, field_of, not_utf8};
use crate::config::{Column, DataConfig};

/// Reads the file `path` into `sink`.
pub fn read(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    let key = |column: &Column, field: &str| match column {
        Column::Name(name) => Ok(name.clone()),
        Column::Number(_) => Err(anyhow!(
            "{field} must be the name of a key, because \"{}\" has JSON lines",
            path.display()
        )),
    };
    let text = |column: &&Column| key(column, &field_of(sink.inputs, column));
    let texts = sink.inputs.columns().iter().map(text).collect::<anyhow::Result<Vec<_>>>()?;
    let label = key(&config.label_column, "data.label_column")?;
    for_each_line(path, config, |line, bytes| {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        sink.add(line, parse(bytes, &texts, &label, config))
    })
}

/// Parses a line, or returns `None` if the filter excludes it.
fn parse(
    bytes: &[u8],
    texts: &[String],
    label: &str,
    config: &DataConfig,
) -> Result<Option<Row>, String> {
    let line = std::str::from_utf8(bytes).map_err(|_| not_utf8("the line"))?;
    let object: BTreeMap<String, &RawValue> = serde_json::from_str(line).map_err(|error| {
        // serde_json counts lines from the start of `line`, so its line number is always 1.
        format!("expected a JSON object: {}", error.to_string().replace("line 1 column", "column"))
    })?;
    let value = |key: &str| match object.get(key) {
        Some(raw) => json_text(key, raw, config.has_first_rules()),
        None => {
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            Err(format!("expected a key \"{key}\", found {}", keys.join(", ")))
        }
    };
    for (key, wanted) in &config.filter {
        if value(key)? != *wanted {
            return Ok(None);
        }
    }
    let texts = texts.iter().map(|key| value(key)).collect::<Result<_, _>>()?;
    Ok(Some(Row { texts, label: value(label)? }))
}

/// Returns the text of the JSON value of `key`: a string, or a number or boolean as it is spelled, such as
/// `1.10` or `1e3`. By the `first_rules`, of lstmtext 0.1, numbers lose their spelling.
///
/// # Errors
/// Returns a message if it is another value, or a string or number that has no text.
pub fn json_text(key: &str, raw: &RawValue, first_rules: bool) -> Result<String, String> {
    let spelling = raw.get();
    let invalid = |error: serde_json::Error| {
        let reason = error.to_string();
        format!("\"{key}\" is invalid: {}", reason.split(" at line").next().unwrap_or_default())
    };
    match spelling.as_bytes().first() {
        Some(b'"') => serde_json::from_str(spelling).map_err(invalid),
        Some(b'-' | b'0'..=b'9' | b't' | b'f') => match first_rules {
            true => Ok(serde_json::from_str::<Json>(spelling).map_err(invalid)?.to_string()),
            false => Ok(spelling.to_owned()),
        },
        _ => Err(format!("\"{key}\" must be a string, a number or a boolean")),
    }
}

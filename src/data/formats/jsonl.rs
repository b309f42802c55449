//! Reads JSON files: an array of objects, or an object on each line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::anyhow;
use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::excerpt::excerpt;
use super::json_array::for_each_element;
use super::lines::for_each_line;
use super::missing::missing;
use super::record::Cell;
use super::row_labels::RowLabels;
use super::rows::Unit;
use super::sink::{Cells, Row, Sink, field_of, not_utf8};
use super::table::spelled;
use crate::config::{Column, DataConfig, Labelling};
use crate::text::composed;

/// Reads the file `path` into `sink`.
pub fn read(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    let key = |column: &Column, field: &str| match column {
        Column::Name(name) => Ok(spelled(name, config.has_first_rules()).into_owned()),
        Column::Number(_) => Err(anyhow!(
            "{field} must be the name of a key, because \"{}\" has JSON objects; quote a name that is a number, \
             as in '\"3\"'",
            path.display()
        )),
    };
    let text = |column: &&Column| key(column, &field_of(sink.inputs, column));
    let texts = sink.inputs.columns().iter().map(text).collect::<anyhow::Result<Vec<_>>>()?;
    let (label_field, label_columns) = config.label_fields();
    let labels = match sink.needs_labels() {
        true => label_columns.iter().map(|column| key(column, label_field)).collect(),
        false => Ok(Vec::new()),
    };
    let labels = labels?;
    let spelled = |text: &String| spelled(text, config.has_first_rules()).into_owned();
    let filter = config.filter.iter().map(|(key, value)| (spelled(key), spelled(value)));
    let filter: Vec<(String, String)> = filter.collect();
    let group = config.split.group.as_ref();
    let group = group.map(|column| key(column, "data.split.group")).transpose()?;
    let keys = Keys { texts, labels, group, filter };
    let parse = |bytes: &[u8]| parse(bytes, &keys, config);
    sink.unit = Unit::Row;
    if for_each_element(path, config, |row, bytes| sink.add(row, parse(bytes)))? {
        return Ok(());
    }
    sink.unit = Unit::Line;
    for_each_line(path, config, |line, bytes| match bytes.trim_ascii().is_empty() {
        true => Ok(()),
        false => sink.add(line, parse(bytes)),
    })
}

/// Keys of the values that are read.
struct Keys {
    texts: Vec<String>,
    /// The key of the label, or those of `data.label_columns`; none if labels are ignored.
    labels: Vec<String>,
    group: Option<String>,
    /// Keys to filter by, with the required values.
    filter: Vec<(String, String)>,
}

/// Parses an object, or returns `None` if the filter excludes it. If labels are ignored, it keeps all its values.
fn parse(
    bytes: &[u8],
    Keys { texts, labels, group, filter }: &Keys,
    config: &DataConfig,
) -> Result<Option<Row>, String> {
    let first_rules = config.has_first_rules();
    let object = std::str::from_utf8(bytes).map_err(|_| not_utf8("the object"))?;
    let object = json_object(object, first_rules).map_err(|error| {
        // serde_json counts lines from the start of the object.
        format!("expected a JSON object: {}", error.to_string().replace("line 1 column", "column"))
    })?;
    let value = |key: &str| match object.get(key) {
        Some(raw) => json_text(key, raw, first_rules),
        None => Err(missing("key", key, object.keys().map(String::as_str))),
    };
    // A null is like an empty cell of a table, but not a text.
    let nullable = |key: &str| match object.get(key) {
        Some(raw) if raw.get() == "null" => Ok(String::new()),
        _ => value(key),
    };
    for (key, wanted) in filter {
        if spelled(&nullable(key)?, first_rules) != *wanted {
            return Ok(None);
        }
    }
    let texts = texts.iter().map(|key| value(key)).collect::<Result<_, _>>()?;
    if labels.is_empty() {
        let cells = object.iter().map(|(key, value)| (key.clone(), Cell::of_json(value)));
        let cells = Cells::Named(cells.collect());
        return Ok(Some(Row { cells, ..Row::new(texts, RowLabels::NONE) }));
    }
    let group = group.as_ref().filter(|key| object.contains_key(*key));
    let group = group.map(|key| nullable(key)).transpose()?;
    let label = labels.first().map_or("", String::as_str);
    let raw = object.get(label).filter(|raw| raw.get().starts_with('['));
    let labels = match (raw, config.label_columns.is_empty()) {
        (Some(raw), true) => list(label, raw, config)?,
        (None, true) => RowLabels::Value(nullable(label)?),
        (_, false) => {
            let values = labels.iter().map(|key| nullable(key)).collect::<Result<Vec<_>, _>>()?;
            RowLabels::of_columns(config, |index| Ok(&values[index]))?
        }
    };
    Ok(Some(Row { group, ..Row::new(texts, labels) }))
}

/// Returns the labels in a list.
fn list(key: &str, raw: &RawValue, config: &DataConfig) -> Result<RowLabels, String> {
    if config.labelling() == Labelling::One {
        return Err(format!(
            "\"{key}\" is a list; for texts with several labels, set data.multi_label: true"
        ));
    }
    let items: Vec<&RawValue> = serde_json::from_str(raw.get())
        .map_err(|_| format!("\"{key}\" must be a label or a list of labels"))?;
    let text = |item: &&RawValue| json_text(key, item, config.has_first_rules());
    let labels = items.iter().map(text).collect::<Result<_, _>>();
    labels.map(RowLabels::List).map_err(|fault| format!("in the list of labels, {fault}"))
}

/// Parses a JSON object. Its keys are in their order, have composed characters (Unicode NFC), and each occurs once. By the
/// `first_rules`, of lstmtext 0.1, keys are unchanged, and the last of several values counts.
///
/// # Errors
/// Returns an error if the text is no JSON object or has a key twice.
pub fn json_object(
    json: &str,
    first_rules: bool,
) -> serde_json::Result<IndexMap<String, &RawValue>> {
    match first_rules {
        true => serde_json::from_str::<BTreeMap<_, _>>(json).map(IndexMap::from_iter),
        false => serde_json::from_str(json).map(|UniqueKeys(object)| object),
    }
}

/// The raw values of an object whose keys differ.
struct UniqueKeys<'a>(IndexMap<String, &'a RawValue>);

impl<'de> Deserialize<'de> for UniqueKeys<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueKeysVisitor)
    }
}

struct UniqueKeysVisitor;

impl<'de> Visitor<'de> for UniqueKeysVisitor {
    type Value = UniqueKeys<'de>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = IndexMap::new();
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            let key = composed(&key).into_owned();
            if object.contains_key(&key) {
                let key = excerpt(&key);
                return Err(A::Error::custom(format!("found the key \"{key}\" more than once")));
            }
            object.insert(key, value);
        }
        Ok(UniqueKeys(object))
    }
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

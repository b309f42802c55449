//! Lines as rows of a data file whose format is unknown.

use serde_json::Value;

use super::csv::fields_of_line;
use crate::config::Format;

/// Kind of a data file that has a row on each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    Tabs,
    Commas,
    Semicolons,
    Bars,
    /// JSON arrays.
    Arrays,
    /// JSON objects.
    Objects,
}

impl Shape {
    /// Returns the format of the files, if they can be read.
    pub fn format(self) -> Option<Format> {
        match self {
            Self::Tabs => Some(Format::Tsv),
            Self::Commas => Some(Format::Csv),
            Self::Objects => Some(Format::Jsonl),
            Self::Semicolons | Self::Bars | Self::Arrays => None,
        }
    }
}

/// A line as a row.
#[derive(Clone)]
pub struct LineRow {
    pub shape: Shape,
    /// The fields, or the values of a JSON object.
    pub fields: Vec<String>,
    /// The keys of a JSON object.
    pub keys: Option<Vec<String>>,
    /// Some field is quoted.
    pub is_quoted: bool,
}

impl LineRow {
    /// Returns true if the line can also be a text: a space follows a comma before or after this field.
    pub fn is_prose_at(&self, index: usize) -> bool {
        let is_spaced = |index: usize| self.fields.get(index).is_some_and(|it| it.starts_with(' '));
        matches!(self.shape, Shape::Commas | Shape::Semicolons)
            && (index > 0 && is_spaced(index) || is_spaced(index + 1))
    }

    /// Returns true if the line can also be a text: a space follows any comma.
    pub fn is_prose(&self) -> bool {
        (0..self.fields.len()).any(|index| self.is_prose_at(index))
    }
}

/// Returns a line as a row of each kind of file that it can belong to. A row of a table may be a single
/// field.
pub fn rows_of(line: &str) -> Vec<LineRow> {
    if let Some(row) = json_row(line) {
        return vec![row];
    }
    let tabs = LineRow {
        shape: Shape::Tabs,
        fields: line.split('\t').map(str::to_owned).collect(),
        keys: None,
        is_quoted: false,
    };
    let shapes = [(Shape::Commas, b','), (Shape::Semicolons, b';'), (Shape::Bars, b'|')];
    let others = shapes.into_iter().filter_map(|(shape, separator)| {
        let fields = fields_of_line(line, separator)?;
        // Otherwise, the separator does not occur.
        let is_quoted = line.contains('"')
            && fields.iter().map(String::len).sum::<usize>() + fields.len() - 1 < line.len();
        Some(LineRow { shape, fields, keys: None, is_quoted })
    });
    std::iter::once(tabs).chain(others).collect()
}

fn json_row(line: &str) -> Option<LineRow> {
    if !line.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let row = |shape, keys, fields| Some(LineRow { shape, fields, keys, is_quoted: true });
    match serde_json::from_str(line).ok()? {
        Value::Array(values) => row(Shape::Arrays, None, values.into_iter().map(text).collect()),
        Value::Object(object) => {
            let (keys, fields) = object.into_iter().map(|(key, value)| (key, text(value))).unzip();
            row(Shape::Objects, Some(keys), fields)
        }
        _ => None,
    }
}

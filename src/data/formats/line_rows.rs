//! Lines as rows of a data file whose format is unknown.

use serde_json::Value;

use super::csv::fields_of_line;
use crate::config::Format;

/// Kind of a data file that has a row on each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    Tabs,
    Commas,
    Semicolons,
    Bars,
    /// A label as the first word.
    Words,
    /// JSON arrays of values or objects.
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
            Self::Semicolons | Self::Bars | Self::Words | Self::Arrays => None,
        }
    }
}

/// A line as a row.
#[derive(Clone)]
pub struct LineRow {
    pub shape: Shape,
    /// The fields, or the values of a JSON object.
    pub fields: Vec<String>,
    /// The keys of a JSON object, or of the first one in an array.
    pub keys: Option<Vec<String>>,
    /// Some field is quoted.
    pub is_quoted: bool,
}

impl LineRow {
    /// Returns true if the line can also be a text: before or after this field is a comma with a space behind
    /// it, or one within a number.
    pub fn is_prose_at(&self, index: usize) -> bool {
        let is_prose_before = |index: usize| {
            let Some(field) = self.fields.get(index).filter(|_| index > 0) else { return false };
            let is_number = !self.is_quoted
                && field.starts_with(|c: char| c.is_ascii_digit())
                && self.fields[index - 1].ends_with(|c: char| c.is_ascii_digit());
            field.starts_with(' ') || is_number
        };
        match self.shape {
            Shape::Words => true,
            Shape::Commas | Shape::Semicolons => {
                is_prose_before(index) || is_prose_before(index + 1)
            }
            Shape::Tabs | Shape::Bars | Shape::Arrays | Shape::Objects => false,
        }
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
        // Quotes around fields are not part of them.
        let content = fields.iter().map(String::len).sum::<usize>() + fields.len() - 1;
        let is_quoted = content < line.len();
        Some(LineRow { shape, fields, keys: None, is_quoted })
    });
    let words = line.trim_start().split_once(char::is_whitespace).map(|(first, rest)| LineRow {
        shape: Shape::Words,
        fields: vec![first.trim_end_matches(':').to_owned(), rest.to_owned()],
        keys: None,
        is_quoted: false,
    });
    std::iter::once(tabs).chain(others).chain(words).collect()
}

fn json_row(line: &str) -> Option<LineRow> {
    if !line.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let (shape, object) = match serde_json::from_str(line).ok()? {
        Value::Object(object) => (Shape::Objects, object),
        Value::Array(values) => match values.first() {
            Some(Value::Object(object)) => (Shape::Arrays, object.clone()),
            _ => {
                let fields = values.into_iter().map(text).collect();
                return Some(LineRow { shape: Shape::Arrays, fields, keys: None, is_quoted: true });
            }
        },
        _ => return None,
    };
    let (keys, fields) = object.into_iter().map(|(key, value)| (key, text(value))).unzip();
    Some(LineRow { shape, fields, keys: Some(keys), is_quoted: true })
}

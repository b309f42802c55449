//! Rows with all their columns, as predictions are added to them.

use serde_json::value::RawValue;

/// Value of a column in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// The row, a JSON object, lacks the column.
    Missing,
    /// Text.
    Text(String),
    /// JSON value other than a string, as it is spelled.
    Json(String),
}

impl Cell {
    /// Returns the cell of a JSON value. A string that has no text, such as half a surrogate pair, stays JSON.
    pub fn of_json(value: &RawValue) -> Self {
        let spelling = value.get();
        match spelling.starts_with('"').then(|| serde_json::from_str(spelling)) {
            Some(Ok(text)) => Self::Text(text),
            _ => Self::Json(spelling.to_owned()),
        }
    }

    /// Returns true for a missing value and for null.
    pub fn is_null(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Json(json) => json == "null",
            Self::Text(_) => false,
        }
    }

    /// Returns the text of the cell in a table without types.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ if self.is_null() => "",
            Self::Json(json) => json,
            Self::Missing => "",
        }
    }

    /// Size in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.text().len()
    }
}

/// A row with all its columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Texts, one per column of the inputs.
    pub texts: Vec<String>,
    /// Value of each column of the table.
    pub cells: Vec<Cell>,
}

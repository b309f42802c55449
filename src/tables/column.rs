//! Columns of a table, and values of columns of results.

use crate::data::Cell;

/// Type of the values in a column, for files whose columns have types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text, and JSON values of several types.
    Text,
    /// Integers.
    Integer,
    /// Numbers.
    Number,
    /// Booleans.
    Boolean,
    /// Lists of texts.
    List,
    /// Vectors of this many numbers.
    Vector(usize),
}

impl Kind {
    /// Returns the type of a cell; `None` if it has no value.
    pub fn of(cell: &Cell) -> Option<Self> {
        let json = match cell {
            _ if cell.is_null() => return None,
            Cell::Json(json) => json,
            _ => return Some(Self::Text),
        };
        Some(match json.as_bytes().first() {
            Some(b't' | b'f') => Self::Boolean,
            Some(b'-' | b'0'..=b'9') if json.parse::<i64>().is_ok() => Self::Integer,
            Some(b'-' | b'0'..=b'9') if json.contains(['.', 'e', 'E']) => Self::Number,
            // A larger integer would lose digits as a number.
            _ => Self::Text,
        })
    }

    /// Returns the type of a column that has values of both types.
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Integer | Self::Number, Self::Integer | Self::Number) => Self::Number,
            _ => Self::Text,
        }
    }
}

/// Column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Type of its values.
    pub kind: Kind,
}

impl TableColumn {
    /// Creates a column.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self { name: name.into(), kind }
    }
}

/// Values of a column of results, one per row.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Texts.
    Texts(Vec<String>),
    /// Sets of labels. In text, they are joined by the separator.
    LabelSets(Vec<Vec<String>>, String),
    /// Numbers; `None` leaves a cell empty.
    Numbers(Vec<Option<f64>>),
    /// Vectors of this size, one after the other.
    Vectors(Vec<f32>, usize),
}

impl Values {
    /// Returns the cell of a row. In text, numbers have six decimals.
    pub(super) fn cell(&self, row: usize, is_json: bool) -> Cell {
        match self {
            Self::Texts(texts) => Cell::Text(texts[row].clone()),
            Self::LabelSets(sets, _) if is_json => {
                Cell::Json(serde_json::Value::from(sets[row].clone()).to_string())
            }
            Self::LabelSets(sets, separator) => Cell::Text(sets[row].join(separator)),
            Self::Numbers(numbers) => match numbers[row] {
                None => Cell::Missing,
                Some(number) if is_json => Cell::Json(serde_json::Value::from(number).to_string()),
                Some(number) => Cell::Text(format!("{number:.6}")),
            },
            Self::Vectors(values, size) => {
                let vector = &values[row * size..][..*size];
                Cell::Json(serde_json::Value::from(vector).to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_type_of_all_their_values() {
        let kind = |json: &str| Kind::of(&Cell::Json(json.to_owned()));
        for (json, expected) in [
            ("1", Some(Kind::Integer)),
            ("-1.0", Some(Kind::Number)),
            ("99999999999999999999", Some(Kind::Text)),
            ("true", Some(Kind::Boolean)),
            ("null", None),
            ("[1]", Some(Kind::Text)),
        ] {
            assert_eq!(kind(json), expected, "{json}");
        }
        assert_eq!(Kind::of(&Cell::Missing), None);
        assert_eq!(Kind::Integer.or(Kind::Number), Kind::Number);
        assert_eq!(Kind::Integer.or(Kind::Boolean), Kind::Text);
        assert_eq!(Kind::Boolean.or(Kind::Boolean), Kind::Boolean);
    }
}

//! Changes to single fields: `--set` on the command line and the points of a sweep.

use std::fmt;
use std::str::FromStr;

use serde_yaml::{Mapping, Value};

use super::print::inline_yaml;
use super::schema::SWEEP;
use super::yaml;

/// An assignment `path=value`, given with `--set` or made by a sweep.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Override {
    pub(super) path: Vec<String>,
    value: Value,
}

/// A value cannot be set because one of its parents is a value rather than a section.
#[derive(Debug)]
pub struct ParentIsValue;

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) = text.split_once('=').ok_or_else(|| {
            format!("found \"{text}\", expected FIELD=VALUE, as in train.epochs=5")
        })?;
        let mut path = field_path(path.trim());
        if path.iter().any(String::is_empty) {
            return Err(format!("\"{text}\" has an empty field name"));
        }
        // Keys of the section sweep are field names, dots included.
        if path.len() > 2 && path[0] == SWEEP {
            path = vec![SWEEP.to_owned(), path[1..].join(".")];
        }
        // YAML would parse a glob pattern as an alias, which a single value cannot contain, and a separator,
        // such as a comma, as a part of a list or of a text.
        let is_separator = matches!(value.trim(), "," | "|" | ";" | "/");
        let value = match value.starts_with('*') || is_separator {
            true => Value::from(value.trim()),
            false => yaml::parse(value, &path).map(|parsed| parsed.root).map_err(|problems| {
                let messages: Vec<_> =
                    problems.into_iter().map(|problem| problem.message).collect();
                format!("the value in \"{text}\" is not valid YAML: {}", messages.join("; "))
            })?,
        };
        Ok(Self { path, value })
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}={}", self.field(), inline_yaml(&self.value))
    }
}

impl Override {
    /// Creates an override of a field such as `train.epochs`.
    pub fn new(field: &str, value: Value) -> Self {
        Self { path: field_path(field), value }
    }

    /// The name of the field, such as `train.epochs`.
    pub fn field(&self) -> String {
        self.path.join(".")
    }

    /// The new value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns true if the override sets the field at `path`, one of its parents or one of its
    /// children.
    pub(super) fn overlaps(&self, path: &[String]) -> bool {
        path.starts_with(&self.path) || self.path.starts_with(path)
    }

    /// Returns true if the override sets the field of this name, such as `train.epochs`, one of its parents or one of
    /// its children.
    pub fn overlaps_field(&self, field: &str) -> bool {
        self.overlaps(&field_path(field))
    }

    /// Sets the field in a document.
    ///
    /// # Errors
    /// Returns an error if a parent of the field is a value rather than a section.
    pub(super) fn apply(&self, root: &mut Value) -> Result<(), ParentIsValue> {
        let mut node = root;
        for name in &self.path {
            if node.is_null() {
                *node = Value::Mapping(Mapping::new());
            }
            let mapping = node.as_mapping_mut().ok_or(ParentIsValue)?;
            node = mapping.entry(Value::from(name.as_str())).or_insert(Value::Null);
        }
        *node = self.value.clone();
        Ok(())
    }
}

/// Splits the name of a field at its dots: `train.epochs` has two parts.
pub fn field_path(field: &str) -> Vec<String> {
    field.split('.').map(str::to_owned).collect()
}

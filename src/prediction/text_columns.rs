//! Texts from the command line, from lines and from JSON, assigned to the text columns of a model.

use std::str::FromStr;

use anyhow::{Context, anyhow};
use serde_json::{Map, Value};

use crate::config::{Column, ConfigError, Inputs};

/// A `NAME=TEXT` argument.
#[derive(Clone, Debug)]
pub struct NamedText {
    name: String,
    text: String,
}

impl FromStr for NamedText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, text) = text.split_once('=').ok_or_else(|| {
            format!("found \"{text}\", expected NAME=TEXT, such as question=\"Who?\"")
        })?;
        Ok(Self { name: name.trim().into(), text: text.into() })
    }
}

/// Names of the text columns of a model, as in the data files.
pub struct TextColumns(Vec<String>);

impl TextColumns {
    /// Returns the columns of these inputs.
    pub fn of(inputs: &Inputs) -> Self {
        Self(inputs.columns().into_iter().map(Column::key).collect())
    }

    /// Names of the columns.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Returns true if there is only one column, so that texts need no name.
    pub fn is_single(&self) -> bool {
        self.0.len() == 1
    }

    /// Returns the texts of each column from the command line.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] if they do not fit the columns.
    pub fn from_arguments(
        &self,
        texts: Vec<String>,
        named: Vec<NamedText>,
    ) -> Result<Vec<Vec<String>>, ConfigError> {
        let columns = self.0.join(", ");
        if self.is_single() {
            return match named.first() {
                None => Ok(vec![texts]),
                Some(text) => Err(ConfigError::new(format!(
                    "--input {}: the model has a single text column; pass the text without --input",
                    text.name
                ))),
            };
        }
        if !texts.is_empty() {
            return Err(ConfigError::new(format!(
                "the model has several text columns ({columns}); pass each text as --input NAME=TEXT"
            )));
        }
        if let Some(unknown) = named.iter().find(|text| !self.0.contains(&text.name)) {
            let name = &unknown.name;
            return Err(ConfigError::new(format!(
                "--input {name}: unknown text column; the model has {columns}"
            )));
        }
        let text = |name: &String| {
            let mut matches = named.iter().filter(|text| text.name == *name);
            match (matches.next(), matches.next()) {
                (Some(text), None) => Ok(vec![text.text.clone()]),
                (None, _) => Err(ConfigError::new(format!("--input {name}=TEXT is missing"))),
                (Some(_), Some(_)) => {
                    Err(ConfigError::new(format!("--input {name} is given more than once")))
                }
            }
        };
        self.0.iter().map(text).collect()
    }

    /// Parses lines, the first of which is line `first` of the file. Returns the texts of each
    /// column up to the first invalid line, and its error. With several columns, each line is a
    /// JSON object and empty lines are skipped.
    pub fn parse_lines(
        &self,
        lines: Vec<String>,
        first: usize,
    ) -> (Vec<Vec<String>>, Option<anyhow::Error>) {
        if self.is_single() {
            return (vec![lines], None);
        }
        let mut columns = vec![Vec::with_capacity(lines.len()); self.0.len()];
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let object = self.object(&serde_json::from_str(line).unwrap_or(Value::Null));
            match object.with_context(|| format!("line {} of the texts", first + number)) {
                Err(error) => return (columns, Some(error)),
                Ok(texts) => {
                    for (column, text) in columns.iter_mut().zip(texts) {
                        column.push(text);
                    }
                }
            }
        }
        (columns, None)
    }

    /// Returns the text of each column of a JSON example: a string, or an object if there are
    /// several columns.
    ///
    /// # Errors
    /// Returns an error if it is neither or a column is missing.
    pub fn parse_json(&self, value: &Value) -> anyhow::Result<Vec<String>> {
        match value {
            Value::String(text) if self.is_single() => Ok(vec![text.clone()]),
            _ if self.is_single() => Err(anyhow!("expected a string")),
            value => self.object(value),
        }
    }

    fn object(&self, value: &Value) -> anyhow::Result<Vec<String>> {
        let expected = || format!("expected a JSON object with the fields {}", self.0.join(", "));
        let object = value.as_object().ok_or_else(|| anyhow!(expected()))?;
        let text = |name: &String| match object.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            // As in training data.
            Some(scalar @ (Value::Number(_) | Value::Bool(_))) => Ok(scalar.to_string()),
            Some(_) => Err(anyhow!("\"{name}\" must be a string, a number or a boolean")),
            None => Err(anyhow!("{}; \"{name}\" is missing", expected())),
        };
        self.0.iter().map(text).collect()
    }

    /// Returns a JSON object with the text of each column.
    pub fn to_json(&self, texts: &[&str]) -> Map<String, Value> {
        self.0.iter().cloned().zip(texts.iter().map(|text| Value::from(*text))).collect()
    }

    /// Example of the arguments that pass a text.
    pub fn usage(&self) -> String {
        match self.is_single() {
            true => "\"Your text.\"".into(),
            false => {
                let each = self.0.iter().map(|name| format!("--input {name}=\"…\""));
                each.collect::<Vec<_>>().join(" ")
            }
        }
    }
}

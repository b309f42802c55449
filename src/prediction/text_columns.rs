//! Texts from the command line and from lines, put under the columns that a model reads.

use std::str::FromStr;

use anyhow::{Context, anyhow};
use serde_json::{Map, Value};

use crate::config::{Column, ConfigError, Inputs};

/// `NAME=TEXT`.
#[derive(Clone, Debug)]
pub struct NamedText {
    name: String,
    text: String,
}

impl FromStr for NamedText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, text) = text
            .split_once('=')
            .ok_or_else(|| format!("found \"{text}\", expected NAME=TEXT, as question=\"Who?\""))?;
        Ok(Self { name: name.trim().into(), text: text.into() })
    }
}

/// The columns that a model reads, as the data files name them.
pub struct TextColumns(Vec<String>);

impl TextColumns {
    /// The columns of these inputs.
    pub fn of(inputs: &Inputs) -> Self {
        Self(inputs.columns().into_iter().map(Column::key).collect())
    }

    /// As the data files name them.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Whether an example is one text, which needs no name.
    pub fn is_one(&self) -> bool {
        self.0.len() == 1
    }

    /// What was given on the command line, for each column its texts.
    ///
    /// # Errors
    /// A [`ConfigError`] where it does not fit the columns.
    pub fn given(
        &self,
        texts: Vec<String>,
        named: Vec<NamedText>,
    ) -> Result<Vec<Vec<String>>, ConfigError> {
        let known = self.0.join(", ");
        if self.is_one() {
            return match named.first() {
                None => Ok(vec![texts]),
                Some(text) => Err(ConfigError::new(format!(
                    "--input {}: the checkpoint reads one text; give it without --input",
                    text.name
                ))),
            };
        }
        if !texts.is_empty() {
            return Err(ConfigError::new(format!(
                "the checkpoint reads several texts, {known}: give each as --input NAME=TEXT"
            )));
        }
        if let Some(unknown) = named.iter().find(|text| !self.0.contains(&text.name)) {
            let name = &unknown.name;
            return Err(ConfigError::new(format!("--input {name}: the checkpoint reads {known}")));
        }
        let text = |name: &String| {
            let mut found = named.iter().filter(|text| text.name == *name);
            match (found.next(), found.next()) {
                (Some(text), None) => Ok(vec![text.text.clone()]),
                (None, _) => Err(ConfigError::new(format!("--input {name}=TEXT is missing"))),
                (Some(_), Some(_)) => {
                    Err(ConfigError::new(format!("--input {name} is given twice")))
                }
            }
        };
        self.0.iter().map(text).collect()
    }

    /// Lines from number `first` on as examples, for each column its texts; and what is wrong with
    /// the line after them, where something is. Of several columns a line is a JSON object, and
    /// empty lines are passed over.
    pub fn parsed(
        &self,
        lines: Vec<String>,
        first: usize,
    ) -> (Vec<Vec<String>>, Option<anyhow::Error>) {
        if self.is_one() {
            return (vec![lines], None);
        }
        let mut columns = vec![Vec::with_capacity(lines.len()); self.0.len()];
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match self.row(line).with_context(|| format!("line {} of the texts", first + number)) {
                Err(error) => return (columns, Some(error)),
                Ok(row) => {
                    for (texts, text) in columns.iter_mut().zip(row) {
                        texts.push(text);
                    }
                }
            }
        }
        (columns, None)
    }

    /// The texts of a JSON object.
    fn row(&self, line: &str) -> anyhow::Result<Vec<String>> {
        self.object(&serde_json::from_str(line).unwrap_or(Value::Null))
    }

    /// The texts of an example: a string, or an object where there are several columns.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn example(&self, value: &Value) -> anyhow::Result<Vec<String>> {
        match value {
            Value::String(text) if self.is_one() => Ok(vec![text.clone()]),
            _ if self.is_one() => Err(anyhow!("expected a string")),
            value => self.object(value),
        }
    }

    fn object(&self, value: &Value) -> anyhow::Result<Vec<String>> {
        let expected = || format!("expected a JSON object with the texts {}", self.0.join(", "));
        let object = value.as_object().ok_or_else(|| anyhow!(expected()))?;
        let text = |name: &String| match object.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            // As in the data that models are trained on.
            Some(scalar @ (Value::Number(_) | Value::Bool(_))) => Ok(scalar.to_string()),
            Some(_) => Err(anyhow!("\"{name}\" is neither text nor number")),
            None => Err(anyhow!("{}, \"{name}\" is missing", expected())),
        };
        self.0.iter().map(text).collect()
    }

    /// The texts of an example under the names of their columns.
    pub fn keyed(&self, texts: &[&str]) -> Map<String, Value> {
        self.0.iter().cloned().zip(texts.iter().map(|text| Value::from(*text))).collect()
    }

    /// How an example is given on the command line.
    pub fn usage(&self) -> String {
        match self.is_one() {
            true => "\"Your text.\"".into(),
            false => {
                let each = self.0.iter().map(|name| format!("--input {name}=\"…\""));
                each.collect::<Vec<_>>().join(" ")
            }
        }
    }
}

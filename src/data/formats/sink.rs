//! Collects the rows that the readers of all formats produce.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use anyhow::bail;

use super::rows::Rows;
use crate::config::{BrokenLines, Column, Config, DataConfig, Input, Inputs};
use crate::io::input::CONVERT;

/// One example as it is in the file.
pub struct Row {
    /// Texts, one per column of the inputs.
    pub texts: Vec<String>,
    pub label: String,
}

/// Callback that receives the texts of an example, one per column of the inputs.
pub type TextCallback<'a> = &'a mut dyn FnMut(Vec<String>) -> anyhow::Result<()>;

/// Passes texts on, records labels and lines, and rejects or counts broken rows.
pub struct Sink<'a> {
    pub rows: Rows,
    each: TextCallback<'a>,
    /// First row of the current file that spans suspiciously many lines: line and number of lines.
    pub long_row: Option<(u64, u64)>,
    pub inputs: &'a Inputs,
    /// Index in `rows.label_names` of each label as it is in the file.
    label_indices: HashMap<String, u32>,
    /// Index of each of `rows.label_names`.
    name_indices: HashMap<String, u32>,
    data: &'a DataConfig,
}

impl<'a> Sink<'a> {
    pub fn new(path: &Path, config: &'a Config, each: TextCallback<'a>) -> Self {
        Self {
            rows: Rows { path: path.to_owned(), ..Rows::default() },
            each,
            long_row: None,
            inputs: &config.inputs,
            label_indices: HashMap::new(),
            name_indices: HashMap::new(),
            data: &config.data,
        }
    }

    /// Returns the path of the current file.
    pub fn file(&self) -> std::path::Display<'_> {
        self.rows.files.last().map_or(&self.rows.path, |(path, _)| path).display()
    }

    /// Adds the row that begins at `line`; 0 stands for a whole file. `row` is `Ok(None)` if the
    /// filter excludes the row, and a message if the row is broken.
    pub fn add(&mut self, line: u64, row: Result<Option<Row>, String>) -> anyhow::Result<()> {
        let with_index = |row: Row| Ok((self.label_index(&row.label)?, row.texts));
        match row.and_then(|row| row.map(with_index).transpose()) {
            Ok(Some((label, texts))) => {
                self.rows.labels.push(label);
                self.rows.lines.push(line);
                (self.each)(texts)?;
            }
            Ok(None) => {}
            Err(message) if self.data.broken_lines == BrokenLines::Error => {
                let path = self.file();
                let advice = "to skip such rows, set data.broken_lines: skip";
                match line {
                    0 => bail!("{path}: {message} ({advice})"),
                    _ => bail!("{path}:{line}: {message} ({advice})"),
                }
            }
            Err(_) => self.rows.skipped += 1,
        }
        Ok(())
    }

    /// Returns true if a class of this name is configured, or has an example among the rows so far.
    pub fn knows_label(&self, name: &String) -> bool {
        self.name_indices.contains_key(name) || self.data.labels.contains(name)
    }

    /// Returns the index of a label, and adds its name if it is new.
    fn label_index(&mut self, label: &str) -> Result<u32, String> {
        if let Some(index) = self.label_indices.get(label) {
            return Ok(*index);
        }
        let name = self.data.class_name(label);
        if name.is_empty() {
            return Err("the label is empty".into());
        }
        let names = &mut self.rows.label_names;
        let index = *self.name_indices.entry(name).or_insert_with_key(|name| {
            names.push(name.clone());
            names.len() as u32 - 1
        });
        self.label_indices.insert(label.to_owned(), index);
        Ok(index)
    }
}

/// Returns the name of the configuration field that requests a column.
pub fn field_of(inputs: &Inputs, column: &Column) -> String {
    let requests = |input: &&Input| input.columns.0.contains(column);
    inputs.iter().find(requests).map_or(String::new(), |input| input.field("column"))
}

/// Message for text that is not UTF-8, such as a CSV file in Windows-1252 or Latin-1.
pub fn not_utf8(subject: impl fmt::Display) -> String {
    format!("{subject} is not valid UTF-8; {CONVERT}")
}

/// Shortens untrusted text and replaces its control characters, for messages.
pub fn excerpt(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c });
    let mut excerpt: String = shown.take(200).collect();
    if text.chars().nth(200).is_some() {
        excerpt.push('…');
    }
    excerpt
}

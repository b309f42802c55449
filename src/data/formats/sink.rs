//! Collects the rows that the readers of all formats produce.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

use anyhow::bail;

use super::rows::Rows;
use crate::config::{BrokenLines, Column, Config, Input, Inputs};
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
    /// Index of each label in `rows.label_names`.
    label_indices: HashMap<String, u32>,
    broken: BrokenLines,
    /// New names of labels, by the names in the file.
    renamed_labels: &'a BTreeMap<String, String>,
}

impl<'a> Sink<'a> {
    pub fn new(path: &Path, config: &'a Config, each: TextCallback<'a>) -> Self {
        Self {
            rows: Rows { path: path.to_owned(), ..Rows::default() },
            each,
            long_row: None,
            inputs: &config.inputs,
            label_indices: HashMap::new(),
            broken: config.data.broken_lines,
            renamed_labels: &config.data.label_names,
        }
    }

    /// Returns the path of the current file.
    pub fn file(&self) -> std::path::Display<'_> {
        self.rows.files.last().map_or(&self.rows.path, |(path, _)| path).display()
    }

    /// Adds the row that begins at `line`; 0 stands for a whole file. `row` is `Ok(None)` if the
    /// filter excludes the row, and a message if the row is broken.
    pub fn add(&mut self, line: u64, row: Result<Option<Row>, String>) -> anyhow::Result<()> {
        let checked = row.and_then(|row| match row {
            Some(row) if row.label.is_empty() => Err("the label is empty".to_owned()),
            row => Ok(row),
        });
        match checked {
            Ok(Some(row)) => self.push(line, row)?,
            Ok(None) => {}
            Err(message) if self.broken == BrokenLines::Error => {
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

    fn push(&mut self, line: u64, row: Row) -> anyhow::Result<()> {
        let label = self.renamed_labels.get(&row.label).unwrap_or(&row.label);
        let index = match self.label_indices.get(label) {
            Some(index) => *index,
            None => {
                let next = self.label_indices.len() as u32;
                self.rows.label_names.push(label.clone());
                self.label_indices.insert(label.clone(), next);
                next
            }
        };
        self.rows.labels.push(index);
        self.rows.lines.push(line);
        (self.each)(row.texts)
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

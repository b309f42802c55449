//! Collects the rows that the readers of all formats find.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::bail;

use super::rows::Rows;
use crate::config::{BrokenLines, Column, Config, Input, Inputs};

/// What a line that can be an example consists of.
pub struct Row {
    /// A text for each column of the inputs.
    pub texts: Vec<String>,
    pub label: String,
}

/// Takes the texts of an example, one for each column of the inputs.
pub type Each<'a> = &'a mut dyn FnMut(Vec<String>) -> anyhow::Result<()>;

/// Hands rows on, and stops at or counts the broken ones.
pub struct Sink<'a> {
    pub read: Rows,
    each: Each<'a>,
    /// The first row of very many lines: line, and how many.
    pub long_row: Option<(u64, u64)>,
    pub inputs: &'a Inputs,
    numbers: HashMap<String, u32>,
    broken: BrokenLines,
    label_names: &'a BTreeMap<String, String>,
}

impl<'a> Sink<'a> {
    pub fn new(path: &Path, config: &'a Config, each: Each<'a>) -> Self {
        Self {
            read: Rows { path: path.to_owned(), ..Rows::default() },
            each,
            long_row: None,
            inputs: &config.inputs,
            numbers: HashMap::new(),
            broken: config.data.broken_lines,
            label_names: &config.data.label_names,
        }
    }

    /// The file that is being read.
    pub fn file(&self) -> std::path::Display<'_> {
        self.read.files.last().map_or(&self.read.path, |(path, _)| path).display()
    }

    /// Takes a row, `None` for one that the filter leaves out, or what is wrong with the line.
    pub fn take(&mut self, line: u64, row: Result<Option<Row>, String>) -> anyhow::Result<()> {
        let labelled = |row: &Option<Row>| row.as_ref().is_none_or(|row| !row.label.is_empty());
        match row.and_then(|row| {
            labelled(&row).then_some(row).ok_or_else(|| "the label is empty".to_owned())
        }) {
            Ok(Some(row)) => self.push(line, row)?,
            Ok(None) => {}
            Err(message) if self.broken == BrokenLines::Error => {
                let path = self.file();
                let advice = "data.broken_lines: skip would leave such lines out";
                match line {
                    0 => bail!("\"{path}\": {message} ({advice})"),
                    _ => bail!("\"{path}\": line {line}: {message} ({advice})"),
                }
            }
            Err(_) => self.read.skipped += 1,
        }
        Ok(())
    }

    fn push(&mut self, line: u64, row: Row) -> anyhow::Result<()> {
        let label = self.label_names.get(&row.label).unwrap_or(&row.label);
        let number = match self.numbers.get(label) {
            Some(number) => *number,
            None => {
                let next = self.numbers.len() as u32;
                self.read.names.push(label.clone());
                self.numbers.insert(label.clone(), next);
                next
            }
        };
        self.read.labels.push(number);
        self.read.lines.push(line);
        (self.each)(row.texts)
    }
}

/// The path of the field that asks for a column.
pub fn field_of(inputs: &Inputs, column: &Column) -> String {
    let asks = |input: &&Input| input.columns.0.contains(column);
    inputs.iter().find(asks).map_or(String::new(), |input| input.field("column"))
}

/// The beginning of a text of unknown origin, as a message may show it.
pub fn excerpt(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c });
    let mut excerpt: String = shown.take(200).collect();
    if text.chars().nth(200).is_some() {
        excerpt.push('…');
    }
    excerpt
}

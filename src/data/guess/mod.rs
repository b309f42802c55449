//! Guesses how to train on a data file: where its columns are, and settings that suit its size. Reading the
//! whole file belongs in the formats.

mod columns;
mod files;
mod header;
mod sample;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde_yaml::Value;

use super::formats::{excerpt, format_of};
use crate::config::{Column, Columns, DataConfig, FieldValue, Format, defaults, inline_yaml};
use crate::output::format::join_names;

pub use columns::Known;
use columns::{GuessedColumns, choose, choose_texts};
use files::{DataFiles, data_files};
pub use header::check_header;
use sample::Count;
pub use sample::Sample;

/// Number of examples up to which small batches are better: on subsets of 200 and 1,000 examples of five
/// data sets, batches of 8 reach 2.4 points more accuracy than batches of 32; on 4,000, they do not.
const FEW: usize = 2_000;
/// Number of examples per batch for few examples.
const SMALL_BATCH: u64 = 8;
/// Sections of the configuration in the order of the reference.
const SECTIONS: [&str; 4] = ["data.", "text.", "model.", "train."];
/// Fields that are changed most often, with their meanings in short.
const USUAL: [(&str, &str); 5] = [
    ("data.split.test", "share of the examples that is scored once, at the end"),
    ("text.max_length", "tokens that the LSTM reads of a text"),
    ("model.lstm.units", "size of the LSTM"),
    ("train.epochs", "at most; stops when the validation loss no longer falls"),
    ("train.batch_size", "examples per step"),
];
/// Section of the values that vary in a sweep.
const SWEEP: &str = "sweep";
/// Number of labels that are listed.
const LISTED_LABELS: usize = 10;

/// The guessed configuration of a data file or directory.
#[derive(Debug)]
pub struct Guess {
    path: PathBuf,
    /// Number of examples in the training file.
    examples: Count,
    /// Columns with the texts and the labels, if there are columns.
    columns: Option<String>,
    /// Labels of the examples that were looked at.
    labels: Vec<String>,
    /// Not all examples were looked at.
    has_more: bool,
    /// Fields of the configuration with their values.
    fields: Vec<(String, Value)>,
}

impl Guess {
    /// Guesses the configuration of the data at `path`. `data` has the settings that are known, such as the
    /// delimiter; those that are auto are guessed. Returns `None` if `path` is no data.
    ///
    /// # Errors
    /// Returns an error if the data cannot be read, or if the columns are not clear.
    pub fn of(path: &Path, data: &DataConfig, known: &Known) -> anyhow::Result<Option<Self>> {
        let Some(files) = data_files(path, data.format)? else { return Ok(None) };
        let DataFiles { paths, first, bytes, folder_examples } = &files;
        let mut fields = Vec::new();
        for (field, path) in paths {
            fields.push(((*field).to_owned(), path_value(path)?));
        }
        let mut guess = Self {
            path: path.to_owned(),
            examples: Count::Exact(folder_examples.unwrap_or(0)),
            columns: None,
            labels: Vec::new(),
            has_more: false,
            fields,
        };
        if folder_examples.is_none() {
            let Some(sample) = Sample::read(first, data)? else { return Ok(None) };
            guess.examples = sample.count(*bytes);
            guess.has_more = !sample.is_whole;
            for (field, value) in &sample.fields {
                guess.set(field, value.clone());
            }
            if sample.has_columns {
                let columns = choose(&sample, known).map_err(|fault| {
                    anyhow!("\"{}\" is a data file, but {fault}", first.display())
                })?;
                guess.set_columns(&sample, &columns, data);
            } else {
                guess.set_labels(&sample, 0, data);
            }
        }
        if guess.examples.number() <= FEW {
            guess.set("train.batch_size", Value::from(SMALL_BATCH));
        }
        Ok(Some(guess))
    }

    fn set_columns(&mut self, sample: &Sample, columns: &GuessedColumns, data: &DataConfig) {
        let text = Columns(columns.texts.clone());
        self.set("data.text_column", text.to_yaml());
        let names = |columns: &[Column]| columns.iter().map(Column::key).collect::<Vec<_>>();
        let (texts, labels) = (names(&text.0), names(&columns.labels));
        let kind = if labels.len() > 1 { "labels" } else { "label" };
        self.columns = Some(format!(
            "the text is in {}, the {kind} in {}",
            join_names(&texts),
            join_names(&labels)
        ));
        if let [label] = &columns.labels[..] {
            self.set("data.label_column", label.to_yaml());
            if let Some(index) = sample.index_of(label) {
                self.set_labels(sample, index, data);
            }
        }
    }

    /// Sets the labels, and that a text can have several if they are in lists.
    fn set_labels(&mut self, sample: &Sample, column: usize, data: &DataConfig) {
        if sample.lists.contains(&column) {
            self.set("data.multi_label", Value::from(true));
        }
        self.labels = sample.labels(column, data);
    }

    /// Sets a field of the configuration.
    pub fn set(&mut self, field: &str, value: Value) {
        match self.fields.iter_mut().find(|(name, _)| name == field) {
            Some((_, old)) => *old = value,
            None => self.fields.push((field.to_owned(), value)),
        }
    }

    /// Describes what was guessed, in a line.
    pub fn describe(&self) -> String {
        let columns = match &self.columns {
            Some(columns) => format!("; {columns}"),
            None => String::new(),
        };
        let labels = match &self.labels[..] {
            [] => String::new(),
            labels if labels.len() > LISTED_LABELS => format!(" ({} labels)", labels.len()),
            labels if self.has_more => format!(" ({}, …)", join_names(labels)),
            labels => format!(" ({})", join_names(labels)),
        };
        let examples = self.examples.describe();
        format!("{}: {examples}{columns}{labels}", self.path.display())
    }

    /// Describes the settings that were guessed, apart from the columns and those that are known. Empty if
    /// there are none.
    pub fn settings(&self, is_known: impl Fn(&str) -> bool) -> String {
        let described = ["data.train", "data.text_column", "data.label_column"];
        let is_guessed = |field: &str| !described.contains(&field) && !is_known(field);
        let fields = self.fields.iter().filter(|(field, _)| is_guessed(field));
        let fields: Vec<String> =
            fields.map(|(field, value)| format!("{field}: {}", inline_yaml(value))).collect();
        fields.join(", ")
    }

    /// Returns the configuration: the fields that were guessed, and those that are changed most often.
    pub fn to_yaml(&self) -> String {
        let mut fields = self.fields.clone();
        let is_given = |name: &str| self.fields.iter().any(|(given, _)| given == name);
        for default in defaults() {
            let name = default.path.join(".");
            let is_needed = name != "data.split.test" || !is_given("data.test");
            if USUAL.iter().any(|(usual, _)| *usual == name) && is_needed && !is_given(&name) {
                fields.push((name, default.default));
            }
        }
        let section = |field: &str| SECTIONS.iter().position(|section| field.starts_with(section));
        fields.sort_by_key(|(field, _)| section(field).unwrap_or(SECTIONS.len()));
        let mut yaml = format!("# Guessed from {}\n", excerpt(&self.describe()));
        let mut open: &[String] = &[];
        // Keys of the section sweep are field names, dots included.
        let path = |field: &str| match field.split_once('.') {
            Some((SWEEP, key)) => vec![SWEEP.to_owned(), inline_yaml(&Value::from(key))],
            _ => field.split('.').map(str::to_owned).collect(),
        };
        let paths: Vec<Vec<String>> = fields.iter().map(|(field, _)| path(field)).collect();
        for (path, (field, value)) in paths.iter().zip(&fields) {
            let Some((name, parents)) = path.split_last() else { continue };
            let same = open.iter().zip(parents).take_while(|(open, parent)| open == parent).count();
            for (depth, parent) in parents.iter().enumerate().skip(same) {
                yaml += &format!("{}{parent}:\n", "  ".repeat(depth));
            }
            open = parents;
            let line = format!("{}{name}: {}", "  ".repeat(parents.len()), inline_yaml(value));
            yaml += &match USUAL.iter().find(|(usual, _)| usual == field) {
                Some((_, comment)) => format!("{line:<24}  # {comment}\n"),
                None => line + "\n",
            };
        }
        yaml
    }
}

/// Guesses the fields of the configuration by which the texts of a file are read, whatever their labels. `data` has
/// the settings that are known, and `known` the columns of the text, if they are known. A .txt file has a text per
/// line, unless a column is known. Returns no fields if there is nothing to guess.
///
/// # Errors
/// Returns an error if the file cannot be read, or if the column of the text is not clear.
pub fn text_fields(
    path: &Path,
    data: &DataConfig,
    known: Option<&Columns>,
) -> anyhow::Result<Vec<(String, Value)>> {
    if path.is_dir() {
        return Ok(Vec::new());
    }
    let Some(DataFiles { first, .. }) = data_files(path, data.format)? else {
        return Ok(Vec::new());
    };
    let has_lines = data.format == Format::Auto
        && matches!(format_of(&first), Ok(Format::Fasttext))
        && known.is_none();
    let sample = if has_lines { None } else { Sample::read(&first, data)? };
    let Some(sample) = sample else { return Ok(Vec::new()) };
    let fields = sample.fields.iter().map(|(field, value)| ((*field).to_owned(), value.clone()));
    let mut fields: Vec<(String, Value)> = fields.collect();
    if sample.has_columns {
        let columns = choose_texts(&sample, known)
            .map_err(|fault| anyhow!("\"{}\" is a data file, but {fault}", first.display()))?;
        fields.push(("data.text_column".to_owned(), Columns(columns).to_yaml()));
    }
    Ok(fields)
}

fn path_value(path: &Path) -> anyhow::Result<Value> {
    let name = path.to_str();
    let name =
        name.with_context(|| format!("the name \"{}\" is not valid UTF-8", path.display()))?;
    Ok(Value::from(name))
}

#[cfg(test)]
mod tests;

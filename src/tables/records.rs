//! Rows of TSV, CSV and JSON lines files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value};

use super::label_set::label_separator;
use crate::config::DataConfig;
use crate::io::replace::write_output;
use crate::output::sanitize::tsv_field;

/// Formats fields as a line of a TSV file.
pub fn tsv_record(fields: &[String]) -> String {
    let fields: Vec<_> = fields.iter().map(|field| tsv_field(field)).collect();
    fields.join("\t") + "\n"
}

/// Formats fields as a record of a CSV file.
///
/// # Errors
/// Returns an error of the encoder.
pub fn csv_record(fields: &[String]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields)?;
    let bytes = writer.into_inner().context("cannot encode a CSV record")?;
    String::from_utf8(bytes).context("cannot encode a CSV record")
}

/// Output file of rows. Its extension determines the format.
#[derive(Clone, Debug)]
pub struct RecordsFile {
    path: PathBuf,
    format: Format,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Csv,
    Tsv,
    JsonLines,
}

impl RecordsFile {
    /// Creates the file with this name, which need not be UTF-8. Nothing is written.
    ///
    /// # Errors
    /// Returns a message if the extension is that of no format.
    pub fn new(path: PathBuf) -> Result<Self, String> {
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => Format::Csv,
            Some("tsv") => Format::Tsv,
            Some("jsonl") => Format::JsonLines,
            _ => return Err("the file name must end in .csv, .tsv or .jsonl".to_owned()),
        };
        Ok(Self { path, format })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a set of labels as a value of a row: a list in JSON lines, otherwise a text from which the labels
    /// can be read.
    pub fn label_set(&self, labels: &[&str], data: &DataConfig) -> Value {
        match self.format {
            Format::Csv | Format::Tsv => Value::from(labels.join(label_separator(data))),
            Format::JsonLines => Value::from(labels),
        }
    }

    /// Writes rows with these columns.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn write(
        &self,
        names: &[String],
        rows: impl Iterator<Item = Vec<Value>>,
    ) -> anyhow::Result<()> {
        write_output(&self.path, self.format.encode(names, rows)?.as_bytes())
    }
}

impl Format {
    fn encode(
        self,
        names: &[String],
        rows: impl Iterator<Item = Vec<Value>>,
    ) -> anyhow::Result<String> {
        let mut out = match self {
            Self::Csv => csv_record(names)?,
            Self::Tsv => tsv_record(names),
            Self::JsonLines => String::new(),
        };
        for row in rows {
            let cells = || row.iter().map(cell).collect::<Vec<_>>();
            out += &match self {
                Self::Csv => csv_record(&cells())?,
                Self::Tsv => tsv_record(&cells()),
                Self::JsonLines => {
                    let object: Map<String, Value> = names.iter().cloned().zip(row).collect();
                    serde_json::to_string(&object).context("cannot encode a row")? + "\n"
                }
            };
        }
        Ok(out)
    }
}

/// Formats a value as a field of a TSV or CSV file.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.6}", number.as_f64().unwrap_or_default())
        }
        other => other.to_string(),
    }
}

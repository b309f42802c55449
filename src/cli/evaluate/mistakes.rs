//! File of misclassified examples.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use serde_json::{Map, Value};

use crate::config::{Column, Config};
use crate::data::Examples;
use crate::evaluation::Predictions;
use crate::io::replace::write_output;
use crate::tables::records::{csv_record, tsv_record};

/// Output file. Its extension determines the format.
#[derive(Clone, Debug)]
pub struct MistakesFile {
    path: PathBuf,
    format: Format,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Csv,
    Tsv,
    JsonLines,
}

impl FromStr for MistakesFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => Format::Csv,
            Some("tsv") => Format::Tsv,
            Some("jsonl") => Format::JsonLines,
            _ => return Err("the file name must end in .csv, .tsv or .jsonl".to_owned()),
        };
        Ok(Self { path, format })
    }
}

/// Columns before the texts.
const COLUMNS: [&str; 6] =
    ["label", "predicted", "probability", "label_probability", "file", "line"];

impl MistakesFile {
    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all misclassified examples, the most confident first. Returns their number.
    ///
    /// # Errors
    /// Returns an error if the texts cannot be read again or the file cannot be written.
    pub fn write(
        &self,
        predictions: &Predictions,
        examples: &Examples,
        labels: &[String],
        config: &Config,
    ) -> anyhow::Result<usize> {
        let mistakes = predictions.mistakes();
        let texts = examples.texts(&mistakes, config)?;
        let rows = mistakes.iter().zip(&texts).map(|(example, texts)| {
            let (label, predicted) = (predictions.label(*example), predictions.predicted(*example));
            let probability = |class| Value::from(predictions.probability(*example, class));
            let (file, line) = examples.file_and_line(*example);
            let mut row = vec![
                Value::from(labels[label].as_str()),
                Value::from(labels[predicted].as_str()),
                probability(predicted),
                probability(label),
                Value::from(file.display().to_string()),
                Value::from(line),
            ];
            row.extend(texts.iter().map(|text| Value::from(text.as_str())));
            row
        });
        // A text column may have the name of one of these columns.
        let text_column = |name: String| match COLUMNS.contains(&&*name) {
            true => format!("text_{name}"),
            false => name,
        };
        let text_columns = config.inputs.columns().into_iter().map(Column::key).map(text_column);
        let names: Vec<String> =
            COLUMNS.map(str::to_owned).into_iter().chain(text_columns).collect();
        write_output(&self.path, self.format.encode(&names, rows)?.as_bytes())?;
        Ok(mistakes.len())
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
                    serde_json::to_string(&object).context("cannot encode a mistake")? + "\n"
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

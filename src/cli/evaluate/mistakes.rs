//! File of misclassified examples.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use serde_json::{Map, Value};

use crate::config::{Column, Config};
use crate::data::Examples;
use crate::evaluation::Predictions;
use crate::io::replace::write_output;
use crate::output::sanitize::tsv_field;

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
        let columns: Vec<String> = config.inputs.columns().into_iter().map(Column::key).collect();
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
        let columns: Vec<String> = columns
            .into_iter()
            .map(|name| if COLUMNS.contains(&&*name) { format!("text_{name}") } else { name })
            .collect();
        let names: Vec<&str> =
            COLUMNS.into_iter().chain(columns.iter().map(String::as_str)).collect();
        write_output(&self.path, &self.format.encode(&names, rows)?)?;
        Ok(mistakes.len())
    }
}

impl Format {
    fn encode(
        self,
        names: &[&str],
        rows: impl Iterator<Item = Vec<Value>>,
    ) -> anyhow::Result<Vec<u8>> {
        let to_text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Number(number) => match number.as_f64() {
                Some(share) if number.is_f64() => format!("{share:.6}"),
                _ => number.to_string(),
            },
            other => other.to_string(),
        };
        match self {
            Self::Csv => {
                let mut writer = csv::Writer::from_writer(Vec::new());
                writer.write_record(names)?;
                for row in rows {
                    writer.write_record(row.iter().map(to_text))?;
                }
                writer.into_inner().context("cannot encode the mistakes")
            }
            Self::Tsv => {
                let mut out = names.join("\t") + "\n";
                for row in rows {
                    let fields: Vec<String> =
                        row.iter().map(|value| tsv_field(&to_text(value)).into_owned()).collect();
                    out += &(fields.join("\t") + "\n");
                }
                Ok(out.into_bytes())
            }
            Self::JsonLines => {
                let mut out = String::new();
                for row in rows {
                    let object: Map<String, Value> =
                        names.iter().map(|name| (*name).to_owned()).zip(row).collect();
                    out += &serde_json::to_string(&object).context("cannot encode a mistake")?;
                    out.push('\n');
                }
                Ok(out.into_bytes())
            }
        }
    }
}

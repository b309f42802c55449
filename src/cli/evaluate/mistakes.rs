//! File of misclassified examples.

use serde_json::Value;

use crate::config::{Column, Config};
use crate::data::Examples;
use crate::evaluation::Predictions;
use crate::tables::records::RecordsFile;

/// Columns before the texts.
const COLUMNS: [&str; 6] =
    ["label", "predicted", "probability", "label_probability", "file", "line"];

/// Returns the names of columns, followed by those of the texts. A text column that has the name of another
/// one is renamed.
pub fn with_text_columns(columns: &[&str], config: &Config) -> Vec<String> {
    let text_column = |name: String| match columns.contains(&&*name) {
        true => format!("text_{name}"),
        false => name,
    };
    let texts = config.inputs.columns().into_iter().map(Column::key).map(text_column);
    columns.iter().map(|name| (*name).to_owned()).chain(texts).collect()
}

/// Writes all misclassified examples, the most confident first. Returns their number.
///
/// # Errors
/// Returns an error if the texts cannot be read again or the file cannot be written.
pub fn write_mistakes(
    to: &RecordsFile,
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
    to.write(&with_text_columns(&COLUMNS, config), rows)?;
    Ok(mistakes.len())
}

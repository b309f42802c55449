//! File of misclassified examples.

use serde_json::Value;

use crate::config::{Column, Config, Labelling};
use crate::data::Examples;
use crate::evaluation::Predictions;
use crate::tables::records::RecordsFile;

/// Columns before the texts, if each text has one label.
const COLUMNS: [&str; 6] =
    ["label", "predicted", "probability", "label_probability", "file", "line"];
/// Columns before the texts, if a text can have several labels.
const SET_COLUMNS: [&str; 5] = ["label", "predicted", "loss", "file", "line"];

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

/// Writes all misclassified examples, the most confident first; with several labels per text, those with the
/// largest loss. Returns their number.
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
    let labelling = predictions.labelling();
    let rows = mistakes.iter().zip(&texts).map(|(example, texts)| {
        let (file, line) = examples.file_and_line(*example);
        let mut row = match labelling {
            Labelling::One => {
                let (label, predicted) =
                    (predictions.label(*example), predictions.predicted(*example));
                let probability = |class| Value::from(predictions.probability(*example, class));
                vec![
                    Value::from(labels[label].as_str()),
                    Value::from(labels[predicted].as_str()),
                    probability(predicted),
                    probability(label),
                ]
            }
            Labelling::Several => {
                let set = |classes: Vec<usize>| {
                    let names: Vec<&str> =
                        classes.iter().map(|class| labels[*class].as_str()).collect();
                    to.label_set(&names, &config.data)
                };
                vec![
                    set(predictions.labels(*example)),
                    set(predictions.predicted_labels(*example)),
                    Value::from(predictions.loss(*example)),
                ]
            }
        };
        row.extend([Value::from(file.display().to_string()), Value::from(line)]);
        row.extend(texts.iter().map(|text| Value::from(text.as_str())));
        row
    });
    let columns = match labelling {
        Labelling::One => &COLUMNS[..],
        Labelling::Several => &SET_COLUMNS[..],
    };
    to.write(&with_text_columns(columns, config), rows)?;
    Ok(mistakes.len())
}

//! Predictions as they are printed.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use crate::config::{Column, Labelling};
use crate::output::sanitize::printable;
use crate::output::width::{Align, display_width, pad, shorten_names, wrap_items};
use crate::output::{
    is_terminal, message, print_data, print_json_lines, print_wrapped, terminal_width,
};
use crate::prediction::text_columns::TextColumns;
use crate::prediction::{Classifier, LabelProbability, Prediction};
use crate::tables::records::{csv_record, tsv_record};
use crate::tables::{TableFormat, label_separator};

/// Maximum width of labels in a terminal. Longer ones are shortened.
const LABEL_WIDTH: usize = 32;

/// Format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Text,
    Tsv,
    Csv,
    Jsonl,
    Parquet,
}

impl OutputFormat {
    /// Returns the format of a table; `None` for text.
    pub fn table(self) -> Option<TableFormat> {
        match self {
            Self::Text => None,
            Self::Tsv => Some(TableFormat::Tsv),
            Self::Csv => Some(TableFormat::Csv),
            Self::Jsonl => Some(TableFormat::Jsonl),
            Self::Parquet => Some(TableFormat::Parquet),
        }
    }
}

/// Classes of a prediction that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownClasses {
    /// The predicted class.
    Predicted,
    /// The predicted labels, any number of them.
    PredictedSet,
    /// The most probable ones.
    Top(usize),
}

impl ShownClasses {
    /// Returns all classes, or the `top` most probable ones, or by default those that are predicted.
    pub fn new(labelling: Labelling, all: bool, top: Option<NonZeroUsize>) -> Self {
        match (top, labelling) {
            _ if all => Self::Top(usize::MAX),
            (Some(top), _) => Self::Top(top.get()),
            (None, Labelling::One) => Self::Predicted,
            (None, Labelling::Several) => Self::PredictedSet,
        }
    }

    /// Number of classes for which probabilities are needed. Tables have all of them.
    pub fn top(self) -> usize {
        match self {
            Self::Predicted => 1,
            Self::PredictedSet => usize::MAX,
            Self::Top(top) => top,
        }
    }
}

/// Prints predictions in a format.
pub struct Writer<'a> {
    /// The labels as they are shown in text.
    names: HashMap<String, String>,
    /// Width of the widest of them.
    width: usize,
    columns: &'a TextColumns,
    format: OutputFormat,
    shown: ShownClasses,
    classifier: &'a Classifier,
}

impl<'a> Writer<'a> {
    pub fn new(
        classifier: &'a Classifier,
        columns: &'a TextColumns,
        format: OutputFormat,
        shown: ShownClasses,
    ) -> Self {
        // Scripts need whole labels.
        let label_width = if is_terminal() { LABEL_WIDTH } else { usize::MAX };
        let labels = shorten_names(classifier.labels().iter().map(String::as_str), label_width);
        if format == OutputFormat::Text && !labels.key.is_empty() {
            message(&labels.key);
        }
        Self {
            width: labels.names.iter().map(|label| display_width(label)).max().unwrap_or(0),
            names: classifier.labels().iter().cloned().zip(labels.names).collect(),
            columns,
            format,
            shown,
            classifier,
        }
    }

    /// Prints the names of the columns, for formats that need them.
    pub fn write_header(&self, classifier: &Classifier) -> anyhow::Result<()> {
        let columns = classifier.inputs().columns().into_iter().map(Column::key);
        let mut names = vec!["label".to_owned()];
        if self.classifier.labelling() == Labelling::One {
            names.push("probability".to_owned());
        }
        names.extend(self.class_columns().iter().cloned());
        names.extend(columns);
        match self.format {
            OutputFormat::Csv => print_data(&csv_record(&names)?),
            OutputFormat::Tsv if !self.class_columns().is_empty() => {
                print_data(&tsv_record(&names))
            }
            _ => Ok(()),
        }
    }

    /// Labels of the classes that have a column: all of them in the order of the model, so that a column
    /// belongs to the same class in every row.
    fn class_columns(&self) -> &[String] {
        if self.shown.top() > 1 { self.classifier.labels() } else { &[] }
    }

    /// Returns the fields of a row. Classes that are not among the most probable ones have empty fields.
    fn record(&self, texts: &[&str], prediction: &Prediction) -> Vec<String> {
        let shown = |probability: f64| format!("{probability:.6}");
        let mut fields = match self.classifier.labelling() {
            Labelling::One => vec![prediction.label.clone(), shown(prediction.probability)],
            Labelling::Several => {
                let labels: Vec<&str> =
                    prediction.labels.iter().map(|each| each.label.as_str()).collect();
                vec![labels.join(label_separator(&self.classifier.config().data))]
            }
        };
        fields.extend(self.class_columns().iter().map(|label| {
            let class = prediction.classes.iter().find(|class| class.label == *label);
            class.map_or(String::new(), |class| shown(class.probability))
        }));
        fields.extend(texts.iter().map(|text| (*text).to_owned()));
        fields
    }

    /// Prints predictions. `texts` has the texts of each column.
    pub fn write(&self, texts: &[Vec<String>], predictions: &[Prediction]) -> anyhow::Result<()> {
        if predictions.is_empty() {
            return Ok(());
        }
        let mut out = String::new();
        for (index, prediction) in predictions.iter().enumerate() {
            let texts: Vec<&str> = texts.iter().map(|texts| texts[index].as_str()).collect();
            out += &self.row(&texts, prediction)?;
        }
        match self.format {
            OutputFormat::Text => print_wrapped(&out),
            OutputFormat::Jsonl => print_json_lines(&out),
            OutputFormat::Tsv | OutputFormat::Csv | OutputFormat::Parquet => print_data(&out),
        }
    }

    /// Formats the prediction of an example in the format of the output.
    fn row(&self, texts: &[&str], prediction: &Prediction) -> anyhow::Result<String> {
        match self.format {
            OutputFormat::Text => Ok(self.text_row(texts, prediction)),
            OutputFormat::Tsv => Ok(tsv_record(&self.record(texts, prediction))),
            OutputFormat::Csv | OutputFormat::Parquet => {
                csv_record(&self.record(texts, prediction))
            }
            OutputFormat::Jsonl => self.json_row(texts, prediction),
        }
    }

    fn text_row(&self, texts: &[&str], prediction: &Prediction) -> String {
        let name = |class: &LabelProbability| match self.names.get(&class.label) {
            Some(name) => name.clone(),
            None => printable(&class.label).into_owned(),
        };
        let class = |class: &LabelProbability| {
            format!("{}  {:.4}", pad(&name(class), self.width, Align::Left), class.probability)
        };
        let mut items: Vec<String> = match self.shown {
            ShownClasses::Top(_) => {
                // A decision need not be the most probable class.
                let is_other = prediction.label != prediction.classes[0].label;
                let decided = prediction.labels.iter().filter(|_| is_other);
                decided.chain(&prediction.classes).map(class).collect()
            }
            ShownClasses::Predicted => prediction.labels.iter().map(class).collect(),
            ShownClasses::PredictedSet if prediction.labels.is_empty() => vec!["(none)".to_owned()],
            ShownClasses::PredictedSet => {
                let label =
                    |label: &LabelProbability| format!("{} {:.4}", name(label), label.probability);
                let labels: Vec<String> = prediction.labels.iter().map(label).collect();
                vec![labels.join(", ")]
            }
        };
        items.extend(texts.iter().map(|text| printable(text).into_owned()));
        let width = if is_terminal() { terminal_width() } else { usize::MAX };
        wrap_items(&items, "  ", width).join("\n  ") + "\n"
    }

    fn json_row(&self, texts: &[&str], prediction: &Prediction) -> anyhow::Result<String> {
        let has_one = self.classifier.labelling() == Labelling::One;
        let has_classes = match self.shown {
            ShownClasses::Top(top) => top > 1 || !has_one,
            ShownClasses::Predicted | ShownClasses::PredictedSet => false,
        };
        let json = JsonPrediction {
            label: has_one.then_some(&prediction.label),
            probability: has_one.then_some(prediction.probability),
            labels: (!has_one).then_some(&prediction.labels[..]),
            classes: has_classes.then_some(&prediction.classes),
            text: match texts {
                [text] => Value::from(*text),
                texts => Value::Object(self.columns.to_json(texts)),
            },
        };
        Ok(serde_json::to_string(&json).context("cannot encode a prediction")? + "\n")
    }
}

/// Prediction as a line of JSON.
#[derive(Serialize)]
struct JsonPrediction<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f64>,
    /// Predicted labels, if a text can have several.
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a [LabelProbability]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<&'a [LabelProbability]>,
    /// The text, or an object with the text of each column.
    text: Value,
}

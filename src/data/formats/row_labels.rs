//! Labels of a row, as they are in the file.

use super::excerpt::excerpt;
use crate::config::DataConfig;

/// Labels of a row as they are in the file.
#[derive(Clone, Debug, PartialEq)]
pub enum RowLabels {
    /// Value of the label column; empty if the table needs no labels.
    Value(String),
    /// List of labels.
    List(Vec<String>),
    /// Values of `data.label_columns`, in their order.
    Columns(Vec<f64>),
}

impl RowLabels {
    /// Labels of a row that needs none.
    pub const NONE: Self = Self::Value(String::new());

    /// Reads the values of `data.label_columns`, of which `value` returns the text by their index.
    ///
    /// # Errors
    /// Returns the errors of `value`, and a message if a value is no number from 0 to 1.
    pub fn of_columns<'r>(
        config: &DataConfig,
        value: impl Fn(usize) -> Result<&'r str, String>,
    ) -> Result<Self, String> {
        let names = config.label_columns.iter().enumerate();
        let values = names.map(|(index, name)| target_value(name, value(index)?));
        values.collect::<Result<_, _>>().map(Self::Columns)
    }

    /// Returns the class names of the labels; none if the labels have columns of their own.
    pub fn class_names(&self, config: &DataConfig) -> Vec<String> {
        let labels: Vec<&str> = match self {
            Self::Value(value) => config.labels_in(value),
            Self::List(labels) => labels.iter().map(String::as_str).collect(),
            Self::Columns(_) => Vec::new(),
        };
        labels.into_iter().map(|label| config.class_name(label)).collect()
    }
}

/// Returns the value of a label column: 0, 1 or a probability.
fn target_value(name: &str, text: &str) -> Result<f64, String> {
    let text = text.trim();
    let value = match () {
        () if text.eq_ignore_ascii_case("true") => Some(1.0),
        () if text.eq_ignore_ascii_case("false") => Some(0.0),
        () => text.parse().ok(),
    };
    let name = excerpt(name);
    value.filter(|value| (0.0..=1.0).contains(value)).ok_or_else(|| match text.is_empty() {
        true => format!("the label column \"{name}\" is empty; expected 0, 1 or a probability"),
        false => format!(
            "the label column \"{name}\" has {:?}; expected 0, 1 or a probability between them",
            excerpt(text)
        ),
    })
}

//! Labels in the configuration, spelled as the labels of the data files are.

use std::borrow::Cow;
use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization;

use super::fields::{Fault, Field, set_value};
use super::metric::Metric;
use super::schema::{Config, DataConfig, Labelling};
use super::types::{ClassWeights, Column};
use super::value::FieldValue;

impl Config {
    /// Returns the configuration by which labels are read: with `train.distillation`, `data.label_columns`
    /// have the probabilities of another model.
    pub fn without_teacher(&self) -> Cow<'_, Self> {
        if self.train.distillation.weight.is_none() {
            return Cow::Borrowed(self);
        }
        let mut config = self.clone();
        let data = &mut config.data;
        data.multi_label = Some(data.multi_label.unwrap_or(data.label_separator.is_some()));
        data.label_columns.clear();
        Cow::Owned(config)
    }
}

impl DataConfig {
    /// Returns the name of the class with this label in a file: trimmed, with composed characters
    /// (Unicode NFC), and renamed by `data.label_names`.
    pub fn class_name(&self, label: &str) -> String {
        let label = self.clean_label(label);
        self.label_names.get(&label).cloned().unwrap_or(label)
    }

    /// Returns the labels in a value of the label column, as they are in the file. If a text can have
    /// several, these are the parts between the separators, without empty ones; a value without a
    /// separator is one label, and an empty value none.
    pub fn labels_in<'a>(&self, value: &'a str) -> Vec<&'a str> {
        if self.labelling() == Labelling::One {
            return vec![value];
        }
        let parts = match &self.label_separator {
            Some(separator) => value.split(separator.as_str()).map(str::trim).collect(),
            None => vec![value.trim()],
        };
        parts.into_iter().filter(|part: &&str| !part.is_empty()).collect()
    }

    /// Returns the columns or keys with the labels, and the field that names them.
    pub fn label_fields(&self) -> (&'static str, Vec<Column>) {
        match self.label_columns.is_empty() {
            true => ("data.label_column", vec![self.label_column.clone()]),
            false => {
                let columns = self.label_columns.iter().cloned().map(Column::Name);
                ("data.label_columns", columns.collect())
            }
        }
    }

    fn clean_label(&self, label: &str) -> String {
        match self.has_first_rules() {
            true => label.to_owned(),
            false => label.trim().nfc().collect(),
        }
    }
}

/// Spells the labels in a configuration as those of the files. Returns the fields in which two
/// entries thereby name the same label.
pub fn clean_labels(config: &mut Config, fields: &mut [Field]) -> Vec<Fault> {
    let data = config.data.clone();
    let clean = |label: &String| data.clean_label(label);
    let labels: Vec<String> = data.labels.iter().map(clean).collect();
    set_value(fields, &["data", "labels"], labels.to_yaml());
    config.data.labels = labels;

    let mut faults = Vec::new();
    let mut unique = |field: [&str; 2], before: usize, after: usize| {
        if after < before {
            let path = field.map(str::to_owned).to_vec();
            faults.push(Fault { path, message: "two entries name the same label".into() });
        }
    };
    let names = data.label_names.iter();
    let names: BTreeMap<String, String> =
        names.map(|(old, new)| (clean(old), clean(new))).collect();
    unique(["data", "label_names"], data.label_names.len(), names.len());
    set_value(fields, &["data", "label_names"], names.to_yaml());
    config.data.label_names = names;

    if let ClassWeights::Given(weights) = &mut config.train.class_weights {
        let cleaned: BTreeMap<String, f64> =
            weights.iter().map(|(label, weight)| (clean(label), *weight)).collect();
        unique(["train", "class_weights"], weights.len(), cleaned.len());
        set_value(fields, &["train", "class_weights"], cleaned.to_yaml());
        *weights = cleaned;
    }
    if let Metric::OfLabel(metric, label) = config.metric() {
        let cleaned = Metric::OfLabel(*metric, clean(label));
        set_value(fields, &["train", "early_stopping", "metric"], cleaned.to_yaml());
        config.train.early_stopping.metric = cleaned;
    }
    faults
}

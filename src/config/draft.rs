//! Reads every field of a document, whether or not the document is valid.

use serde_yaml::Value;

use super::fields::{Collector, Fault, Field, SectionReader};
use super::labels::clean_labels;
use super::overrides::{Override, ParentIsValue};
use super::schema::{Config, Input, TrainConfig, defaults};
use super::suggestions::{unknown_field, unknown_fields};

/// A configuration that may have faults. Each faulty field has its default value.
pub struct Draft {
    pub config: Config,
    pub fields: Vec<Field>,
    /// The faults of single fields.
    pub faults: Vec<Fault>,
}

impl Draft {
    /// Reads a document with all overrides applied.
    pub fn read(root: &Value) -> Self {
        let mut collector = Collector::default();
        let mut top = SectionReader::root(root, &mut collector);
        let mut config = Config::read_fields(&mut top);
        top.collect_unknown();
        fill_in(&mut config.train, &mut collector.fields);
        let only = only_input(&config);
        config.inputs.resolve(only, root, &mut collector);
        let Collector { mut fields, mut faults, unknown } = collector;
        faults.extend(clean_labels(&mut config, &mut fields));
        faults.extend(unknown_fields(unknown, &fields));
        Self { config, fields, faults }
    }
}

/// Applies an override to a document. Returns a fault if a parent of the field is a value in every
/// valid configuration.
///
/// A parent that should be a section but is not one is left to [`Draft::read`].
pub fn apply(set: &Override, root: &mut Value) -> Option<Fault> {
    let Err(ParentIsValue) = set.apply(root) else { return None };
    let fields = defaults();
    let is_known = fields.iter().any(|field| field.path == set.path);
    (!is_known)
        .then(|| Fault { path: set.path.clone(), message: unknown_field(&set.path, &fields) })
}

/// Sets the fields whose default depends on the optimizer.
fn fill_in(train: &mut TrainConfig, fields: &mut [Field]) {
    let (learning_rate, weight_decay) = (train.learning_rate(), train.weight_decay());
    for (name, value, default) in [
        ("learning_rate", &mut train.learning_rate, learning_rate),
        ("weight_decay", &mut train.weight_decay, weight_decay),
    ] {
        if value.is_none() {
            *value = Some(default);
            for field in fields.iter_mut().filter(|field| field.path == ["train", name]) {
                field.value = Value::from(default);
                field.is_derived = true;
            }
        }
    }
}

/// The input of a configuration without a section `inputs`.
fn only_input(config: &Config) -> Input {
    Input {
        name: None,
        columns: config.data.text_column.clone(),
        text: config.text.clone(),
        embedding: config.model.embedding.clone(),
        lstm: config.model.lstm.clone(),
        pooling: config.model.pooling.clone(),
        ngrams: config.model.ngrams.clone(),
    }
}

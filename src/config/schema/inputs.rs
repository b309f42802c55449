//! The text inputs of a model: the section `inputs`, or the single input without it.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;

use serde_yaml::{Mapping, Value};

use super::model::{EmbeddingConfig, LstmConfig, NgramWeighting, NgramsConfig};
use super::pooling::{Pooling, Poolings};
use super::text::TextConfig;
use crate::config::fields::{Collector, Fault, Field, SectionReader, found, section, switch};
use crate::config::suggestions::unknown_field;
use crate::config::types::{Column, Columns, SubwordSizes};
use crate::config::value::{FieldValue, Range};

/// Maximum number of inputs.
const MAX_INPUTS: usize = 100;

section! {
    /// An entry of the section `inputs`.
    pub struct InputSection {
        /// Column or key of the text.
        column: Option<Columns> = None;
        /// Text preprocessing.
        text: TextConfig;
        /// Embedding layer.
        embedding: EmbeddingConfig;
        /// LSTM layers. null: none.
        lstm: LstmConfig;
        /// Pooling of the sequence of hidden states into one vector.
        pooling: Poolings = Pooling::Max.into();
        /// Linear branch over the n-grams of the text. null: none.
        ngrams: NgramsConfig;
    }
}

/// Returns every field of the input `name` with its default value.
pub fn input_fields(name: &str) -> Vec<Field> {
    let (mut collector, path) = (Collector::default(), vec!["inputs".to_owned(), name.to_owned()]);
    InputSection::read_fields(&mut SectionReader::at(path, &Value::Null, &mut collector));
    collector.fields
}

/// A text input of a model, with the layers that process it.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its name in `inputs`; `None` for the single input of a model without that section.
    pub name: Option<String>,
    /// The columns of the text.
    pub columns: Columns,
    /// Text preprocessing.
    pub text: TextConfig,
    /// Embedding layer.
    pub embedding: EmbeddingConfig,
    /// LSTM layers.
    pub lstm: LstmConfig,
    /// Pooling of the sequence of hidden states into one vector.
    pub pooling: Poolings,
    /// Linear branch over the n-grams of the text.
    pub ngrams: NgramsConfig,
}

impl Input {
    /// The prefix of its parameters and files, such as `story.`; empty for a single input.
    pub fn prefix(&self) -> String {
        self.name.as_ref().map_or(String::new(), |name| format!("{name}."))
    }

    /// The full name of its field `column`, `pooling`, or one in `text`, `embedding`, `lstm` or
    /// `ngrams`.
    pub fn field(&self, field: &str) -> String {
        match (&self.name, field.split('.').next()) {
            (Some(name), _) => format!("inputs.{name}.{field}"),
            (None, Some("column")) => "data.text_column".into(),
            (None, Some("text")) => field.into(),
            (None, _) => format!("model.{field}"),
        }
    }

    /// Size of a hidden state, both directions together.
    pub fn state_size(&self) -> usize {
        self.lstm.units * self.lstm.directions()
    }

    /// Returns true if an LSTM reads this input.
    pub fn has_lstm(&self) -> bool {
        self.lstm.layers > 0
    }

    /// Number of pooled features D of this input; 0 without an LSTM.
    pub fn features(&self) -> usize {
        if self.has_lstm() { self.state_size() * self.pooling.len() } else { 0 }
    }

    /// Returns true if attention is among its poolings.
    pub fn has_attention(&self) -> bool {
        self.has_lstm() && self.pooling.contains(&Pooling::Attention)
    }

    fn named(name: String, section: InputSection) -> Self {
        Self {
            columns: section.column.unwrap_or_else(|| Columns::named(&name)),
            name: Some(name),
            text: section.text,
            embedding: section.embedding,
            lstm: section.lstm,
            pooling: section.pooling,
            ngrams: section.ngrams,
        }
    }
}

/// The inputs of a model in the order in which their pooled vectors are concatenated. There is at
/// least one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// The section as written, with absolute paths.
    written: Mapping,
    list: Vec<Input>,
}

impl Deref for Inputs {
    type Target = [Input];
    fn deref(&self) -> &[Input] {
        &self.list
    }
}

impl Inputs {
    /// The columns of all inputs, each once.
    pub fn columns(&self) -> Vec<&Column> {
        let mut seen = HashSet::new();
        let columns = self.list.iter().flat_map(|input| &input.columns.0);
        columns.filter(|column| seen.insert(*column)).collect()
    }

    /// Returns the indices of the columns of each input in [`Inputs::columns`].
    pub fn column_indices(&self) -> Vec<Vec<usize>> {
        let columns = self.columns().into_iter().enumerate();
        let by_column: HashMap<&Column, usize> = columns.map(|(i, column)| (column, i)).collect();
        let index = |column: &Column| by_column.get(column).copied();
        let indices = |input: &Input| input.columns.0.iter().filter_map(index).collect();
        self.list.iter().map(indices).collect()
    }

    /// Returns a copy of the inputs that reads other columns, given in the order of [`Inputs::columns`]; `None`
    /// if their number is another, or two are the same.
    pub fn with_columns(&self, columns: &[Column]) -> Option<Self> {
        let names: HashSet<&Column> = columns.iter().collect();
        let own = self.columns();
        if names.len() != columns.len() || own.len() != columns.len() {
            return None;
        }
        let others: HashMap<&Column, &Column> = own.into_iter().zip(columns).collect();
        let mut inputs = self.clone();
        for column in inputs.list.iter_mut().flat_map(|input| &mut input.columns.0) {
            *column = (*others.get(column)?).clone();
        }
        Some(inputs)
    }

    /// Returns a copy of the inputs in which all embeddings are trainable, so that they get gradients, and have no
    /// character n-grams.
    pub fn with_plain_embeddings(&self) -> Self {
        let mut inputs = self.clone();
        for input in &mut inputs.list {
            input.embedding.trainable = true;
            input.embedding.subwords.sizes = SubwordSizes(None);
        }
        inputs
    }

    /// Returns a copy of the inputs in which all n-grams have the value 1.
    pub fn with_plain_ngrams(&self) -> Self {
        let mut inputs = self.clone();
        inputs.list.iter_mut().for_each(|input| input.ngrams.weighting = NgramWeighting::None);
        inputs
    }

    /// Returns true if the configuration has a section `inputs`.
    pub(in crate::config) fn is_explicit(&self) -> bool {
        !self.written.is_empty()
    }

    /// Reads the entries of the section; `only` is the input of a model without it. Each entry
    /// inherits the settings of `text` and `model` in the document `root`.
    pub(in crate::config) fn resolve(
        &mut self,
        only: Input,
        root: &Value,
        collector: &mut Collector,
    ) {
        if self.written.is_empty() {
            self.list = vec![only];
            return;
        }
        if self.written.len() > MAX_INPUTS {
            let message = format!("has {} inputs; the maximum is {MAX_INPUTS}", self.written.len());
            collector.faults.push(Fault { path: vec!["inputs".to_owned()], message });
            self.list = vec![only];
            return;
        }
        let inherited = Value::Mapping(inherited(root));
        for (key, written) in self.written.iter_mut() {
            let name = String::from_yaml(key).unwrap_or_default();
            let path = vec!["inputs".to_owned(), name.clone()];
            if let Some(message) = entry_fault(&name, written) {
                collector.faults.push(Fault { path, message });
                continue;
            }
            let mut merged = inherited.clone();
            merge(&mut merged, written);

            let mut entry = Collector::default();
            let mut reader = SectionReader::at(path, &merged, &mut entry);
            let section = InputSection::read_fields(&mut reader);
            reader.collect_unknown();
            // Faults in inherited settings are reported where they are written.
            let is_written = |path: &[String]| find(written, &path[2..]).is_some();
            collector.faults.extend(entry.faults.iter().filter(|f| is_written(&f.path)).cloned());
            let is_inherited = |path: &[String]| find(&inherited, &path[2..]).is_some();
            let is_new = |path: &&Vec<String>| is_written(path) || !is_inherited(path);
            for path in entry.unknown.iter().filter(is_new) {
                let message = unknown_field(path, &entry.fields);
                collector.faults.push(Fault { path: path.clone(), message });
            }
            for field in entry.fields.iter().filter(|field| !field.is_section()) {
                if let Some(slot) = find_mut(written, &field.path[2..]) {
                    *slot = field.value.clone();
                }
            }
            self.list.push(Input::named(name, section));
        }
        for field in collector.fields.iter_mut().filter(|field| field.path == ["inputs"]) {
            field.value = self.to_yaml();
        }
    }
}

impl FieldValue for Inputs {
    fn from_yaml(value: &Value) -> Option<Self> {
        value.as_mapping().map(|written| Self { written: written.clone(), list: Vec::new() })
    }
    fn to_yaml(&self) -> Value {
        Value::Mapping(self.written.clone())
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec![format!("a mapping {{name: {{{SECTION}}}}}")]
    }
}

const SECTION: &str = "column, text, embedding, lstm, pooling, ngrams";

/// Returns the fault of an entry of the section, if it has one.
fn entry_fault(name: &str, entry: &Value) -> Option<String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_allowed) {
        return Some(format!(
            "invalid name \"{name}\"; a name has at most 64 letters, digits and underscores"
        ));
    }
    match entry {
        Value::Mapping(_) | Value::Null => None,
        other => Some(format!("found {}, expected a mapping {{{SECTION}}}", found(other))),
    }
}

/// Returns the settings that every input inherits from `text` and `model`.
fn inherited(root: &Value) -> Mapping {
    let model = root.get("model");
    let settings = [
        ("text", root.get("text")),
        ("embedding", model.and_then(|model| model.get("embedding"))),
        ("lstm", model.and_then(|model| model.get("lstm"))),
        ("pooling", model.and_then(|model| model.get("pooling"))),
        ("ngrams", model.and_then(|model| model.get("ngrams"))),
    ];
    let given = settings.into_iter().filter_map(|(name, value)| Some((name, value?)));
    given.map(|(name, value)| (Value::from(name), value.clone())).collect()
}

/// Returns true if an input has no such section, although the model has.
fn is_switched_off(section: &Value, value: &Value) -> bool {
    value.is_null() && section.as_str().is_some_and(|name| switch(name).is_some())
}

/// Merges `over` into `base`: mappings entry by entry, all other values by replacement.
fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Mapping(base), Value::Mapping(over)) => {
            for (key, value) in over {
                match base.get_mut(key) {
                    Some(slot) if is_switched_off(key, value) => *slot = Value::Null,
                    Some(slot) => merge(slot, value),
                    None => {
                        base.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Mapping(_), Value::Null) => {}
        (base, over) => *base = over.clone(),
    }
}

fn find<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, name| value.get(name.as_str()))
}

fn find_mut<'v>(value: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |value, name| value.get_mut(name.as_str()))
}

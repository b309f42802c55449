//! The texts of an example and what reads each: written under `inputs`, or the only one.

use std::ops::Deref;

use serde_yaml::{Mapping, Value};

use super::fields::{Fault, Fields, Walk};
use super::schema::{Config, EmbeddingConfig, InputSection, LstmConfig, Pooling, TextConfig};
use super::unknown_field;
use super::value::{Column, Columns, FieldValue};

/// One text of an example, how it becomes ids, and what reads them.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its name under `inputs`; nothing where it is the only one.
    pub name: Option<String>,
    /// Where the text stands.
    pub columns: Columns,
    /// How it becomes ids.
    pub text: TextConfig,
    /// Its word vectors.
    pub embedding: EmbeddingConfig,
    /// Its LSTM.
    pub lstm: LstmConfig,
    /// How hidden states become one vector.
    pub pooling: Pooling,
}

impl Input {
    /// What its parameters and files are called in front, as `story.`; nothing for the only input.
    pub fn prefix(&self) -> String {
        self.name.as_ref().map_or(String::new(), |name| format!("{name}."))
    }

    /// The path of a field of its `column`, `text`, `embedding`, `lstm` or `pooling`, as the user
    /// wrote or would write it.
    pub fn field(&self, field: &str) -> String {
        match (&self.name, field.split('.').next()) {
            (Some(name), _) => format!("inputs.{name}.{field}"),
            (None, Some("column")) => "data.text_column".into(),
            (None, Some("text")) => field.into(),
            (None, _) => format!("model.{field}"),
        }
    }

    /// The pooled features D that it contributes.
    pub fn features(&self) -> usize {
        self.lstm.units * if self.lstm.bidirectional { 2 } else { 1 }
    }

    /// The input of a configuration that has no `inputs`.
    fn only(config: &Config) -> Self {
        Self {
            name: None,
            columns: config.data.text_column.clone(),
            text: config.text.clone(),
            embedding: config.model.embedding.clone(),
            lstm: config.model.lstm.clone(),
            pooling: config.model.pooling,
        }
    }

    fn named(name: String, section: InputSection) -> Self {
        Self {
            columns: section.column.unwrap_or_else(|| Columns::named(&name)),
            name: Some(name),
            text: section.text,
            embedding: section.embedding,
            lstm: section.lstm,
            pooling: section.pooling,
        }
    }
}

/// The inputs in the order in which their results are put beside each other, at least one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// The section as it was written, paths made absolute.
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
        let mut columns: Vec<&Column> = Vec::new();
        for column in self.list.iter().flat_map(|input| &input.columns.0) {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        columns
    }

    /// For each input the numbers of its columns among [`Inputs::columns`].
    pub fn parts(&self) -> Vec<Vec<usize>> {
        let columns = self.columns();
        let number = |column: &Column| columns.iter().position(|known| *known == column);
        let parts = |input: &Input| input.columns.0.iter().filter_map(number).collect();
        self.list.iter().map(parts).collect()
    }

    /// The same inputs with all word vectors trained, so that these have gradients.
    pub fn with_trained_vectors(&self) -> Self {
        let mut inputs = self.clone();
        inputs.list.iter_mut().for_each(|input| input.embedding.trainable = true);
        inputs
    }

    /// Whether the section says what the inputs are.
    pub(super) fn are_written(&self) -> bool {
        !self.written.is_empty()
    }
}

impl FieldValue for Inputs {
    fn from_yaml(value: &Value) -> Option<Self> {
        value.as_mapping().map(|written| Self { written: written.clone(), list: Vec::new() })
    }
    fn to_yaml(&self) -> Value {
        Value::Mapping(self.written.clone())
    }
    fn allowed() -> String {
        format!("a mapping {{name: {{{SECTION}}}}}, {NAME}")
    }
}

const NAME: &str = "names of at most 64 letters, digits and _";
const SECTION: &str = "column, text, embedding, lstm, pooling";

/// What is wrong with an entry of the section, where something is.
fn entry_fault(name: &str, own: &Value) -> Option<String> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(harmless) {
        return Some(format!("found the name \"{name}\", allowed are {NAME}"));
    }
    match own {
        Value::Mapping(_) | Value::Null => None,
        _ => Some(format!("allowed is a section {{{SECTION}}}")),
    }
}

/// Works out every input of a configuration whose fields are read; `root` is the whole document.
pub(super) fn resolve(config: &mut Config, root: &Value, walk: &mut Walk) {
    if config.inputs.written.is_empty() {
        config.inputs.list = vec![Input::only(config)];
        return;
    }
    let inherited = Value::Mapping(inherited(root));
    let mut written = std::mem::take(&mut config.inputs.written);
    for (key, own) in written.iter_mut() {
        let name = String::from_yaml(key).unwrap_or_default();
        let path = vec!["inputs".to_owned(), name.clone()];
        if let Some(message) = entry_fault(&name, own) {
            walk.faults.push(Fault { path, message });
            continue;
        }
        let mut merged = inherited.clone();
        merge(&mut merged, own);

        let mut part = Walk::default();
        let mut fields = Fields::at(path, &merged, &mut part);
        let section = InputSection::read_fields(&mut fields);
        fields.finish();
        // What is wrong in an inherited section is told where it stands.
        let here = |path: &[String]| find(own, &path[2..]).is_some();
        walk.faults.extend(part.faults.iter().filter(|fault| here(&fault.path)).cloned());
        let inherited = |path: &[String]| find(&inherited, &path[2..]).is_some();
        for path in part.unknown.iter().filter(|path| here(path) || !inherited(path)) {
            let message = unknown_field(path, &part.table);
            walk.faults.push(Fault { path: path.clone(), message });
        }
        for field in part.table.iter().filter(|field| !field.is_section()) {
            if let Some(slot) = find_mut(own, &field.path[2..]) {
                *slot = field.value.clone();
            }
        }
        config.inputs.list.push(Input::named(name, section));
    }
    for field in walk.table.iter_mut().filter(|field| field.path == ["inputs"]) {
        field.value = Value::Mapping(written.clone());
    }
    config.inputs.written = written;
}

/// What every input begins with: the sections text and model.
fn inherited(root: &Value) -> Mapping {
    let model = root.get("model");
    let parts = [
        ("text", root.get("text")),
        ("embedding", model.and_then(|model| model.get("embedding"))),
        ("lstm", model.and_then(|model| model.get("lstm"))),
        ("pooling", model.and_then(|model| model.get("pooling"))),
    ];
    let given = parts.into_iter().filter_map(|(name, part)| Some((name, part?)));
    given.map(|(name, part)| (Value::from(name), part.clone())).collect()
}

/// Lays `over` on `base`: mappings entry by entry, anything else in place of what is there.
fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Mapping(base), Value::Mapping(over)) => {
            for (key, value) in over {
                match base.get_mut(key) {
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

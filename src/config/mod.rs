//! The configuration: YAML and `--set` overrides in, a checked [`Config`] out.
//!
//! Every fault is reported, all at once, before anything is loaded or written.

mod contradictions;
mod differences;
mod fields;
mod inputs;
mod locate;
mod print;
mod schema;
mod search;
mod sweep;
mod value;

use std::fmt;
use std::path::Path;

use serde_yaml::{Mapping, Value};

pub use differences::{Difference, differences};
pub use fields::Field;
use fields::{Fault, Fields, Walk};
pub use inputs::{Input, Inputs};
pub use print::{flow, reference, resolved_yaml};
pub use schema::*;
pub use search::Point;
pub use sweep::{Sweep, SweepSection};
pub use value::{ClassWeights, Column, Columns, Every, FieldValue, Portion, TokenBudget};

/// How many logits the head has for so many classes.
pub fn logit_count(activation: Activation, classes: usize) -> anyhow::Result<usize> {
    match activation {
        Activation::Sigmoid if classes > 2 => {
            anyhow::bail!("model.head.activation: sigmoid is for 2 classes, the data has {classes}")
        }
        Activation::Auto if classes == 2 => Ok(1),
        Activation::Sigmoid => Ok(1),
        Activation::Auto | Activation::Softmax => Ok(classes),
    }
}

/// The section that only `lstmtext sweep` reads.
const SWEEP: &str = "sweep";

/// A configuration in which everything is wrong that the message names, line by line.
#[derive(Debug)]
pub struct ConfigError {
    lines: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.lines[..] {
            [line] => f.write_str(line),
            lines => write!(f, "{} faults in the configuration\n{}", lines.len(), lines.join("\n")),
        }
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// A configuration with one fault that has no line of its own.
    pub fn new(message: impl Into<String>) -> Self {
        Self { lines: vec![message.into()] }
    }
}

/// A `--set path=value` of the command line, or a change that a sweep makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Override {
    path: Vec<String>,
    value: Value,
}

impl std::str::FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) = text
            .split_once('=')
            .ok_or_else(|| format!("found \"{text}\", expected FIELD=VALUE, as train.epochs=5"))?;
        let mut path = path_of(path.trim());
        if path.iter().any(String::is_empty) {
            return Err(format!("\"{text}\" has an empty name before the equals sign"));
        }
        // There a field is named with its dots.
        if path.len() > 2 && path[0] == SWEEP {
            path = vec![SWEEP.to_owned(), path[1..].join(".")];
        }
        let value = match value.starts_with('*') {
            // A pattern of files; to YAML it would be an alias, which one value cannot have.
            true => Value::from(value),
            false => serde_yaml::from_str(value)
                .map_err(|error| format!("the value in \"{text}\" is no YAML: {error}"))?,
        };
        Ok(Self { path, value })
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}={}", self.field(), flow(&self.value))
    }
}

impl Override {
    /// One that sets a field, named as `train.epochs`.
    pub fn new(field: &str, value: Value) -> Self {
        Self { path: path_of(field), value }
    }

    /// The field it sets, as `train.epochs`.
    pub fn field(&self) -> String {
        self.path.join(".")
    }

    /// What it sets the field to.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Whether it sets this field, a part of it, or what it is a part of.
    fn concerns(&self, path: &[String]) -> bool {
        path.starts_with(&self.path) || self.path.starts_with(path)
    }

    /// Sets the field. It cannot where a value stands in place of a section.
    fn apply(&self, root: &mut Value) -> Result<(), ()> {
        let mut node = root;
        for name in &self.path {
            if node.is_null() {
                *node = Value::Mapping(Mapping::new());
            }
            let mapping = node.as_mapping_mut().ok_or(())?;
            node = mapping.entry(Value::from(name.as_str())).or_insert(Value::Null);
        }
        *node = self.value.clone();
        Ok(())
    }
}

/// A number of things, of which there is at least one.
pub fn count(text: &str) -> Result<std::num::NonZeroUsize, String> {
    text.parse().map_err(|_| "allowed is a whole number from 1".to_owned())
}

/// The names of a field, of which `train.epochs` has two.
pub(crate) fn path_of(field: &str) -> Vec<String> {
    field.split('.').map(str::to_owned).collect()
}

/// A configuration together with the table it is printed from.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The values.
    pub config: Config,
    /// Every field with its meaning, in order.
    pub fields: Vec<Field>,
}

impl TrainConfig {
    /// Gives the fields that the optimizer decides their values.
    fn fill_in(&mut self, table: &mut [Field]) {
        let optimizer = self.optimizer;
        for (name, value, default) in [
            ("learning_rate", &mut self.learning_rate, optimizer.learning_rate()),
            ("weight_decay", &mut self.weight_decay, optimizer.weight_decay()),
        ] {
            if value.is_none() {
                *value = Some(default);
                set_value(table, &["train", name], Value::from(default));
            }
        }
    }

    /// The tokens of a batch, where they limit it.
    pub fn tokens(&self) -> Option<usize> {
        match self.token_budget {
            Some(TokenBudget::Tokens(tokens)) => Some(tokens),
            Some(TokenBudget::Auto) | None => None,
        }
    }
}

fn set_value(table: &mut [Field], path: &[&str], value: Value) {
    if let Some(field) = table.iter_mut().find(|field| field.path == path) {
        field.value = value;
    }
}

impl LstmConfig {
    /// Number of directions: 2 if the LSTM is bidirectional, else 1.
    pub fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }
}

impl Precision {
    /// Whether LSTMs compute in 16 bits.
    pub fn is_half(self) -> bool {
        matches!(self, Self::Bf16 | Self::Fp16)
    }
}

impl OptimizerKind {
    /// The learning rate that suits most texts.
    pub fn learning_rate(self) -> f64 {
        match self {
            Self::Adam | Self::Adamw => 0.002,
            Self::Rmsprop => 0.001,
            Self::Adadelta => 1.0,
            Self::Sgd => 0.1,
        }
    }

    /// PyTorch's default.
    pub fn weight_decay(self) -> f64 {
        if self == Self::Adamw { 0.01 } else { 0.0 }
    }
}

impl Resolved {
    /// The resolved configuration as commented YAML; reading it gives the same configuration.
    pub fn to_yaml(&self) -> String {
        resolved_yaml(&self.fields)
    }

    /// Sets what `train.token_budget: auto` has come to.
    pub fn set_token_budget(&mut self, tokens: usize) {
        self.config.train.token_budget = Some(TokenBudget::Tokens(tokens));
        set_value(&mut self.fields, &["train", "token_budget"], Value::from(tokens as u64));
    }

    /// Gives it a name, where it has none.
    fn named(mut self, name: Option<String>) -> Self {
        if self.config.name.is_none() {
            let value = name.as_deref().map_or(Value::Null, Value::from);
            set_value(&mut self.fields, &["name"], value);
            self.config.name = name;
        }
        self
    }
}

/// A configuration file as it stands there.
struct Document {
    yaml: String,
    /// What messages call it.
    source: String,
    /// What the experiment is called where the configuration does not say.
    name: Option<String>,
}

impl Document {
    fn read(file: &Path) -> Result<Self, ConfigError> {
        const MOST_BYTES: u64 = 1 << 20;
        if let Ok(metadata) = std::fs::metadata(file)
            && metadata.len() > MOST_BYTES
        {
            return Err(ConfigError::new(format!(
                "{}: it has {} bytes; a configuration has at most {MOST_BYTES}",
                file.display(),
                metadata.len()
            )));
        }
        let bytes = std::fs::read(file).map_err(|error| {
            let file = file.display();
            ConfigError::new(format!("cannot read the configuration \"{file}\": {error}"))
        })?;
        let source = file.display().to_string();
        let yaml = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            ConfigError::new(format!("{source}:{line}: found bytes that are not UTF-8"))
        })?;
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Ok(Self { yaml, source, name })
    }
}

/// Reads the configuration in `file` with `overrides` on top.
///
/// # Errors
/// A [`ConfigError`] that lists every fault, or says that the file cannot be read.
pub fn load(file: &Path, overrides: &[Override]) -> Result<Resolved, ConfigError> {
    let Document { yaml, source, name } = Document::read(file)?;
    Ok(parse(&yaml, &source, overrides)?.named(name))
}

/// The same for a single training, which has no use for a section `sweep`.
///
/// # Errors
/// As [`load`], and where there is such a section.
pub fn load_single(file: &Path, overrides: &[Override]) -> Result<Resolved, ConfigError> {
    let Document { yaml, source, name } = Document::read(file)?;
    let resolved = parse(&yaml, &source, overrides)?;
    if resolved.config.sweep.is_empty() {
        return Ok(resolved.named(name));
    }
    let message = format!(
        "this configuration is for many runs, which `lstmtext sweep {source}` trains; --set 'sweep={{}}' \
         trains one, without the section"
    );
    let fault = Fault { path: vec![SWEEP.to_owned()], message };
    Err(ConfigError { lines: describe(&[fault], &yaml, &source, &[]) })
}

/// Every field with its default.
pub fn defaults() -> Vec<Field> {
    let mut walk = Walk::default();
    Config::read_fields(&mut Fields::top(&Value::Null, &mut walk));
    walk.table
}

/// Reads a configuration from `yaml`; `source` names it in messages.
///
/// # Errors
/// A [`ConfigError`] that lists every fault.
pub fn parse(yaml: &str, source: &str, overrides: &[Override]) -> Result<Resolved, ConfigError> {
    let root = root_of(yaml, source, overrides)?;
    resolve(&root, overrides)
        .map_err(|faults| ConfigError { lines: describe(&faults, yaml, source, overrides) })
}

/// The YAML of a configuration with `overrides` on top.
fn root_of(yaml: &str, source: &str, overrides: &[Override]) -> Result<Value, ConfigError> {
    let mut root: Value = match serde_yaml::from_str(yaml) {
        Ok(root) => root,
        Err(error) => return Err(ConfigError::new(syntax_fault(source, &error))),
    };
    root.apply_merge().map_err(|error| ConfigError::new(syntax_fault(source, &error)))?;
    let misplaced = overrides.iter().filter_map(|set| misplaced(set, set.apply(&mut root)));
    match misplaced.collect::<Vec<_>>() {
        faults if faults.is_empty() => Ok(root),
        faults => Err(ConfigError { lines: describe(&faults, yaml, source, overrides) }),
    }
}

/// The fault of a change below a field that has no fields. A section that is none in the document is
/// a fault that the walk finds.
fn misplaced(set: &Override, applied: Result<(), ()>) -> Option<Fault> {
    let table = defaults();
    let is_known = table.iter().any(|field| field.path == set.path);
    let unknown = applied.is_err() && !is_known;
    unknown.then(|| Fault { path: set.path.clone(), message: unknown_field(&set.path, &table) })
}

/// A document whose every field is read; one that is wrong stands at its default.
struct Reading {
    config: Config,
    fields: Vec<Field>,
    /// What is wrong with single fields.
    faults: Vec<Fault>,
}

impl Reading {
    fn of(root: &Value) -> Self {
        let mut walk = Walk::default();
        let mut top = Fields::top(root, &mut walk);
        let mut config = Config::read_fields(&mut top);
        top.finish();
        config.train.fill_in(&mut walk.table);
        inputs::resolve(&mut config, root, &mut walk);
        let Walk { table: fields, mut faults, unknown } = walk;
        for path in unknown {
            let message = unknown_field(&path, &fields);
            faults.push(Fault { path, message });
        }
        Self { config, fields, faults }
    }
}

/// Reads every field of `root`, in which `overrides` are in place already.
fn resolve(root: &Value, overrides: &[Override]) -> Result<Resolved, Vec<Fault>> {
    let Reading { config, fields, mut faults } = Reading::of(root);
    faults.extend(sweep::faults(&config.sweep, root, &fields, overrides));
    // A field that is wrong by itself stands at its default: nothing follows from that.
    let known: Vec<Vec<String>> = faults.iter().map(|fault| fault.path.clone()).collect();
    let concerned = |fault: &Fault| known.iter().any(|path| fault.path.starts_with(path));
    faults.extend(config.contradictions().into_iter().filter(|fault| !concerned(fault)));
    if faults.is_empty() { Ok(Resolved { config, fields }) } else { Err(faults) }
}

/// serde_yaml says where in its own words; put the place in front as every other fault does.
fn syntax_fault(source: &str, error: &serde_yaml::Error) -> String {
    match error.location() {
        Some(at) => format!("{source}:{}:{}: not valid YAML: {error}", at.line(), at.column()),
        None => format!("{source}: not valid YAML: {error}"),
    }
}

/// The faults as lines, in the order of the file, the command line's last.
fn describe(faults: &[Fault], yaml: &str, source: &str, overrides: &[Override]) -> Vec<String> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for fault in faults {
        let field = fault.path.join(".");
        let message = &fault.message;
        let overridden = overrides.iter().any(|set| set.concerns(&fault.path));
        let (line, text) = match locate::locate(yaml, &fault.path) {
            _ if overridden => (usize::MAX, format!("--set {field}: {message}")),
            Some((line, column)) => (line, format!("{source}:{line}:{column}: {field}: {message}")),
            None if field.is_empty() => (0, format!("{source}: {message}")),
            None => (0, format!("{source}: {field}: {message}")),
        };
        lines.push((line, text));
    }
    lines.sort();
    lines.into_iter().map(|(_, text)| text).collect()
}

/// What Keras, PyTorch and others call a field that has another name here.
const SYNONYMS: [(&str, &str); 16] = [
    ("lr", "train.learning_rate"),
    ("maxlen", "text.max_length"),
    ("num_words", "text.vocabulary_size"),
    ("vocab_size", "text.vocabulary_size"),
    ("max_features", "text.vocabulary_size"),
    ("embedding_dim", "model.embedding.size"),
    ("output_dim", "model.embedding.size"),
    ("hidden_size", "model.lstm.units"),
    ("num_layers", "model.lstm.layers"),
    ("hidden_dropout", "model.lstm.dropout"),
    ("num_epochs", "train.epochs"),
    ("validation_split", "data.split.validation"),
    ("clipnorm", "train.gradient_clip"),
    ("max_norm", "train.gradient_clip"),
    ("patience", "train.early_stopping.patience"),
    ("random_state", "train.seed"),
];

/// Says that nothing has this name, and which name it may have meant: one like it in this
/// section, what another library calls so, or the same name in another section.
fn unknown_field(path: &[String], table: &[Field]) -> String {
    let name = path.last().map(|name| name.to_lowercase()).unwrap_or_default();
    let depth = path.len() - 1;
    let last = |field: &Field| field.path.last().cloned().unwrap_or_default();
    let siblings: Vec<&Field> =
        table.iter().filter(|field| field.path[..field.path.len() - 1] == path[..depth]).collect();
    let likest = |fields: &[&Field], least: f64| {
        let scored = fields.iter().map(|field| (strsim::jaro_winkler(&name, &last(field)), *field));
        let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
        best.filter(|(score, _)| *score >= least).map(|(_, field)| field.path.join("."))
    };
    let synonym = SYNONYMS.iter().find(|(foreign, _)| *foreign == name);
    let all: Vec<&Field> = table.iter().collect();
    let guess = likest(&siblings, 0.8)
        .or_else(|| synonym.map(|(_, ours)| (*ours).to_owned()))
        .or_else(|| likest(&all, 0.93));
    match guess {
        Some(guess) => format!("unknown field; did you mean {guess}?"),
        None => {
            let known: Vec<String> = siblings.into_iter().map(last).collect();
            format!("unknown field; allowed here are {}", known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests;

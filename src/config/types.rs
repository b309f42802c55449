//! Types that only configuration fields have: columns, delimiters, encodings, portions, intervals, budgets,
//! weights and the section `sweep` as written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::value::{FieldValue, Range, above};
use crate::io::decoding::TextEncoding;

/// A column of a data file: its name in the header, or its number, starting at 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// The name in the header.
    Name(String),
    /// The number, starting at 1.
    Number(usize),
}

impl Column {
    /// The name or number as a key in output files and JSON.
    pub fn key(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Number(number) => number.to_string(),
        }
    }
}

impl FieldValue for Column {
    const IS_TEXT: bool = true;
    fn from_yaml(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) if number.is_i64() || number.is_u64() => {
                number.as_u64().filter(|n| *n >= 1).map(|n| Self::Number(n as usize))
            }
            name => String::from_yaml(name).map(Self::Name),
        }
    }
    fn to_yaml(&self) -> Value {
        match self {
            Self::Name(name) => Value::from(name.as_str()),
            Self::Number(number) => Value::from(*number as u64),
        }
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec!["a column name".into(), "a column number ≥ 1".into()]
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "\"{name}\""),
            Self::Number(number) => write!(f, "number {number}"),
        }
    }
}

/// Maximum number of columns that are joined to a text.
const MAX_COLUMNS: usize = 1_000;

/// The columns of a text. Several are joined with spaces.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns(pub Vec<Column>);

impl Columns {
    /// A single column with this name.
    pub fn named(name: &str) -> Self {
        Self(vec![Column::Name(name.into())])
    }
}

impl FieldValue for Columns {
    const IS_TEXT: bool = true;
    fn from_yaml(value: &Value) -> Option<Self> {
        match value {
            Value::Sequence(items) if (1..=MAX_COLUMNS).contains(&items.len()) => {
                items.iter().map(Column::from_yaml).collect::<Option<_>>().map(Self)
            }
            scalar => Column::from_yaml(scalar).map(|column| Self(vec![column])),
        }
    }
    fn to_yaml(&self) -> Value {
        match &self.0[..] {
            [column] => column.to_yaml(),
            columns => Value::Sequence(columns.iter().map(Column::to_yaml).collect()),
        }
    }
    fn alternatives(range: Option<Range>) -> Vec<String> {
        [Column::alternatives(range), vec!["a list of these".into()]].concat()
    }
}

/// The character between the columns of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delimiter {
    /// The one that fits the file.
    Auto,
    /// This ASCII character.
    Byte(u8),
}

impl Delimiter {
    /// Delimiters with a name, the most usual first.
    pub const NAMED: [(&str, u8); 4] =
        [("comma", b','), ("semicolon", b';'), ("tab", b'\t'), ("pipe", b'|')];

    /// Returns the spelling of a delimiter in a configuration.
    pub fn spelling(byte: u8) -> String {
        let named = Self::NAMED.iter().find(|(_, named)| *named == byte);
        named.map_or_else(|| char::from(byte).to_string(), |(name, _)| (*name).to_owned())
    }
}

impl std::fmt::Display for Delimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Byte(byte) => f.write_str(&Self::spelling(*byte)),
        }
    }
}

impl FieldValue for Delimiter {
    const IS_TEXT: bool = true;
    fn from_yaml(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        if text == "auto" {
            return Some(Self::Auto);
        }
        let named = Self::NAMED.iter().find(|(name, _)| *name == text).map(|(_, byte)| *byte);
        // A shell does not convert \t.
        let byte = named.or_else(|| (text == "\\t").then_some(b'\t'));
        let is_allowed = |byte: &u8| {
            byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\r\n\0".contains(byte)
        };
        let single = || match text.as_bytes() {
            [byte] => Some(*byte).filter(is_allowed),
            _ => None,
        };
        byte.or_else(single).map(Self::Byte)
    }
    fn to_yaml(&self) -> Value {
        Value::from(self.to_string())
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        let named = Self::NAMED.iter().map(|(name, _)| (*name).to_owned());
        let other = "another single character".to_owned();
        ["auto".to_owned()].into_iter().chain(named).chain([other]).collect()
    }
}

impl FieldValue for TextEncoding {
    const IS_TEXT: bool = true;
    fn from_yaml(value: &Value) -> Option<Self> {
        Self::named(value.as_str()?)
    }
    fn to_yaml(&self) -> Value {
        Value::from(self.to_string())
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        let names = ["auto", "utf-8", "utf-16", "latin-1", "cp1252"];
        let other = "the name of another encoding, such as shift_jis or gbk";
        names.iter().chain([&other]).map(|name| (*name).to_owned()).collect()
    }
}

/// Lengths of n-grams in tokens, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NgramSizes(pub Vec<usize>);

impl Default for NgramSizes {
    fn default() -> Self {
        Self(vec![1, 2])
    }
}

/// Maximum length of an n-gram.
const MAX_NGRAM_SIZE: usize = 10;

impl FieldValue for NgramSizes {
    fn from_yaml(value: &Value) -> Option<Self> {
        let sizes = value.as_sequence()?.iter().map(usize::from_yaml);
        let mut sizes = sizes.collect::<Option<Vec<usize>>>()?;
        let count = sizes.len();
        sizes.sort_unstable();
        sizes.dedup();
        let is_valid =
            sizes.len() == count && sizes.iter().all(|size| (1..=MAX_NGRAM_SIZE).contains(size));
        is_valid.then_some(Self(sizes))
    }
    fn to_yaml(&self) -> Value {
        Value::Sequence(self.0.iter().map(usize::to_yaml).collect())
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec![format!("a list of different integers from 1 to {MAX_NGRAM_SIZE}")]
    }
}

/// Lengths of the shortest and the longest character n-grams; `None` for no n-grams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubwordSizes(pub Option<[usize; 2]>);

/// Maximum length of a character n-gram.
const MAX_SUBWORD_SIZE: usize = 30;

impl FieldValue for SubwordSizes {
    fn from_yaml(value: &Value) -> Option<Self> {
        let sizes = value.as_sequence()?.iter().map(usize::from_yaml);
        match sizes.collect::<Option<Vec<usize>>>()?[..] {
            [] => Some(Self(None)),
            [smallest, largest] if (1..=largest).contains(&smallest) => {
                (largest <= MAX_SUBWORD_SIZE).then_some(Self(Some([smallest, largest])))
            }
            _ => None,
        }
    }
    fn to_yaml(&self) -> Value {
        Value::Sequence(self.0.iter().flatten().map(usize::to_yaml).collect())
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec![format!(
            "a list of two integers from 1 to {MAX_SUBWORD_SIZE}, the smaller one first, or []"
        )]
    }
}

/// Source of the vocabulary of an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VocabularySource {
    /// The words of the training examples.
    #[default]
    Counted,
    /// The words of the model from which the training starts.
    Checkpoint,
    /// A vocabulary file.
    File(PathBuf),
}

impl VocabularySource {
    const CHECKPOINT: &str = "checkpoint";
}

impl FieldValue for VocabularySource {
    const IS_TEXT: bool = true;
    fn from_yaml(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::Counted),
            Value::String(text) if text == Self::CHECKPOINT => Some(Self::Checkpoint),
            path => PathBuf::from_yaml(path).map(Self::File),
        }
    }
    fn to_yaml(&self) -> Value {
        match self {
            Self::Counted => Value::Null,
            Self::Checkpoint => Value::from(Self::CHECKPOINT),
            Self::File(path) => path.to_yaml(),
        }
    }
    fn alternatives(range: Option<Range>) -> Vec<String> {
        let path = PathBuf::alternatives(range);
        [path, vec![Self::CHECKPOINT.into(), "null".into()]].concat()
    }
    fn absolute(self) -> Self {
        match self {
            Self::File(path) => Self::File(path.absolute()),
            other => other,
        }
    }
}

/// A portion of a data set: a fraction or a number of examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Portion {
    /// A fraction below 1.
    Fraction(f64),
    /// A number of examples.
    Count(usize),
}

impl Portion {
    /// Number of examples in the portion of a data set with `total` examples. Fractions are rounded
    /// to the nearest integer, but to at least 1 if they are not 0.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Fraction(0.0) => 0,
            Self::Fraction(fraction) => ((fraction * total as f64).round() as usize).max(1),
            Self::Count(count) => count,
        }
    }
}

impl FieldValue for Portion {
    fn from_yaml(value: &Value) -> Option<Self> {
        match value.as_u64() {
            Some(count) => Some(Self::Count(count as usize)),
            None => f64::from_yaml(value).filter(|x| (0.0..1.0).contains(x)).map(Self::Fraction),
        }
    }
    fn to_yaml(&self) -> Value {
        match self {
            Self::Fraction(fraction) => Value::from(*fraction),
            Self::Count(count) => Value::from(*count as u64),
        }
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec!["a fraction < 1".into(), "a number of examples".into()]
    }
}

/// An interval of training: an epoch or a number of steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Every {
    /// At the end of every epoch.
    Epoch,
    /// Every N steps.
    Steps(u64),
}

impl Every {
    /// Returns true if the interval ends after `step` steps.
    pub fn due(self, step: u64, end_of_epoch: bool) -> bool {
        match self {
            Self::Epoch => end_of_epoch,
            Self::Steps(steps) => step.is_multiple_of(steps),
        }
    }
}

impl FieldValue for Every {
    fn from_yaml(value: &Value) -> Option<Self> {
        if value.as_str() == Some("epoch") {
            return Some(Self::Epoch);
        }
        u64::from_yaml(value).filter(|steps| *steps >= 1).map(Self::Steps)
    }
    fn to_yaml(&self) -> Value {
        match self {
            Self::Epoch => Value::from("epoch"),
            Self::Steps(steps) => Value::from(*steps),
        }
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec!["epoch".into(), "a number of steps".into()]
    }
}

/// A number that is chosen when a run starts and saved with it, or a fixed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoNumber {
    /// Chosen when the run starts.
    Auto,
    /// A fixed number.
    Number(usize),
}

impl FieldValue for AutoNumber {
    fn from_yaml(value: &Value) -> Option<Self> {
        match value.as_str() {
            Some("auto") => Some(Self::Auto),
            _ => usize::from_yaml(value).map(Self::Number),
        }
    }
    fn to_yaml(&self) -> Value {
        match self {
            Self::Auto => Value::from("auto"),
            Self::Number(number) => number.to_yaml(),
        }
    }
    fn alternatives(range: Option<Range>) -> Vec<String> {
        [usize::alternatives(range), vec!["auto".into()]].concat()
    }
    fn number(&self) -> Option<f64> {
        match self {
            Self::Auto => None,
            Self::Number(number) => number.number(),
        }
    }
}

/// Weights of the classes in the loss.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassWeights {
    /// Equal weights.
    None,
    /// Inversely proportional to the class frequency, with mean 1 over the training examples.
    Balanced,
    /// A weight per label. Labels that are not listed have weight 1.
    Given(BTreeMap<String, f64>),
}

impl FieldValue for ClassWeights {
    fn from_yaml(value: &Value) -> Option<Self> {
        match value.as_str() {
            Some("none") => Some(Self::None),
            Some("balanced") => Some(Self::Balanced),
            _ => BTreeMap::<String, f64>::from_yaml(value)
                .filter(|weights| weights.values().all(|weight| above(0.0).contains(*weight)))
                .map(Self::Given),
        }
    }
    fn to_yaml(&self) -> Value {
        match self {
            Self::None => Value::from("none"),
            Self::Balanced => Value::from("balanced"),
            Self::Given(weights) => weights.to_yaml(),
        }
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec!["none".into(), "balanced".into(), "a mapping {label: weight > 0}".into()]
    }
}

/// A duration, such as `5m` or `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBudget(pub Duration);

impl FromStr for TimeBudget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let duration = humantime::parse_duration(text.trim()).ok();
        let duration = duration.filter(|duration| (Self::MIN..=Self::MAX).contains(duration));
        duration.map(Self).ok_or_else(|| format!("found \"{text}\", expected {}", Self::EXPECTED))
    }
}

impl TimeBudget {
    const MIN: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(366 * 24 * 3_600);
    const EXPECTED: &str = "a duration of at least a second, such as 90s, 5m or 1h30m";
}

impl FieldValue for TimeBudget {
    fn from_yaml(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
    fn to_yaml(&self) -> Value {
        Value::from(humantime::format_duration(self.0).to_string())
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec![Self::EXPECTED.into()]
    }
}

/// The section `sweep` as written; empty if there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SweepSection(Mapping);

impl SweepSection {
    /// Returns true if the section is empty or missing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of an option or a field.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Returns the fields that vary, in their order, without the options of the search.
    pub fn varied(&self) -> impl Iterator<Item = (&Value, &Value)> {
        let is_option = |key: &Value| key.as_str().is_some_and(|key| OPTIONS.contains(&key));
        self.0.iter().filter(move |(key, _)| !is_option(key))
    }
}

/// Keys of the section that are options of the search, and not fields that vary.
const OPTIONS: [&str; 4] = ["trials", "search_seed", "method", "budget"];

impl FieldValue for SweepSection {
    fn from_yaml(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::default()),
            other => other.as_mapping().cloned().map(Self),
        }
    }
    fn to_yaml(&self) -> Value {
        Value::Mapping(self.0.clone())
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec!["a mapping {field: list of values}".into()]
    }
}

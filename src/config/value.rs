//! The types of values that a configuration field can have: how each is read from YAML, written back
//! and described.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde_yaml::{Mapping, Value};

/// A value that a configuration field can hold.
pub trait FieldValue: Sized + Clone {
    /// Reads the value. Returns `None` if the YAML is of another type.
    fn from_yaml(value: &Value) -> Option<Self>;
    /// Returns YAML from which [`FieldValue::from_yaml`] reads the same value.
    fn to_yaml(&self) -> Value;
    /// The alternatives that a user can write, such as "an integer ≥ 1" and "null". `range` limits
    /// numbers.
    fn alternatives(range: Option<Range>) -> Vec<String>;
    /// The value as a number, for fields with a range.
    fn number(&self) -> Option<f64> {
        None
    }
    /// Makes a relative path absolute. Returns all other values unchanged.
    fn absolute(self) -> Self {
        self
    }
}

/// Describes the values that a field of type `T` accepts, such as "an integer ≥ 1 or null".
pub fn expected<T: FieldValue>(range: Option<Range>) -> String {
    match &T::alternatives(range)[..] {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        alternatives => alternatives.concat(),
    }
}

/// A range of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    low: f64,
    high: f64,
    excludes_low: bool,
}

/// Numbers ≥ `low`.
pub const fn at_least(low: f64) -> Range {
    Range { low, high: f64::INFINITY, excludes_low: false }
}

/// Numbers > `low`.
pub const fn above(low: f64) -> Range {
    Range { low, high: f64::INFINITY, excludes_low: true }
}

/// Numbers from `low` to `high`, inclusive.
pub const fn between(low: f64, high: f64) -> Range {
    Range { low, high, excludes_low: false }
}

impl Range {
    /// Returns true if the number is in the range.
    pub fn contains(&self, number: f64) -> bool {
        let above = if self.excludes_low { number > self.low } else { number >= self.low };
        above && number <= self.high
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match (self.excludes_low, self.high.is_finite()) {
            (_, true) => write!(f, "from {} to {}", self.low, self.high),
            (true, false) => write!(f, "> {}", self.low),
            (false, false) => write!(f, "≥ {}", self.low),
        }
    }
}

/// Parses a positive integer on the command line.
pub fn positive_integer(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected an integer ≥ 1".to_owned())
}

impl FieldValue for bool {
    fn from_yaml(value: &Value) -> Option<Self> {
        value.as_bool()
    }
    fn to_yaml(&self) -> Value {
        Value::Bool(*self)
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec!["true".into(), "false".into()]
    }
}

impl FieldValue for u64 {
    fn from_yaml(value: &Value) -> Option<Self> {
        // YAML parses 1e3 and 64.0 as floats, but they are integers too.
        value.as_u64().or_else(|| {
            value
                .as_f64()
                .filter(|x| x.fract() == 0.0 && (0.0..9.0e15).contains(x))
                .map(|x| x as u64)
        })
    }
    fn to_yaml(&self) -> Value {
        Value::from(*self)
    }
    fn alternatives(range: Option<Range>) -> Vec<String> {
        vec![format!("an integer {}", range.unwrap_or(at_least(0.0)))]
    }
    fn number(&self) -> Option<f64> {
        Some(*self as f64)
    }
}

impl FieldValue for usize {
    fn from_yaml(value: &Value) -> Option<Self> {
        u64::from_yaml(value).and_then(|x| usize::try_from(x).ok())
    }
    fn to_yaml(&self) -> Value {
        Value::from(*self as u64)
    }
    fn alternatives(range: Option<Range>) -> Vec<String> {
        u64::alternatives(range)
    }
    fn number(&self) -> Option<f64> {
        Some(*self as f64)
    }
}

impl FieldValue for f64 {
    fn from_yaml(value: &Value) -> Option<Self> {
        value.as_f64().filter(|x| x.is_finite())
    }
    fn to_yaml(&self) -> Value {
        Value::from(*self)
    }
    fn alternatives(range: Option<Range>) -> Vec<String> {
        vec![range.map_or_else(|| "a number".into(), |range| format!("a number {range}"))]
    }
    fn number(&self) -> Option<f64> {
        Some(*self)
    }
}

impl FieldValue for String {
    fn from_yaml(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            _ => None,
        }
    }
    fn to_yaml(&self) -> Value {
        Value::from(self.as_str())
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec!["a string".into()]
    }
}

impl FieldValue for PathBuf {
    fn from_yaml(value: &Value) -> Option<Self> {
        String::from_yaml(value).map(PathBuf::from)
    }
    fn to_yaml(&self) -> Value {
        Value::from(self.to_string_lossy().as_ref())
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec!["a path".into()]
    }
    fn absolute(self) -> Self {
        if self.as_os_str().is_empty() { self } else { std::path::absolute(&self).unwrap_or(self) }
    }
}

impl<T: FieldValue> FieldValue for Option<T> {
    fn from_yaml(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::from_yaml(value).map(Some) }
    }
    fn to_yaml(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_yaml)
    }
    fn alternatives(range: Option<Range>) -> Vec<String> {
        [T::alternatives(range), vec!["null".into()]].concat()
    }
    fn number(&self) -> Option<f64> {
        self.as_ref().and_then(T::number)
    }
    fn absolute(self) -> Self {
        self.map(T::absolute)
    }
}

impl FieldValue for Vec<String> {
    fn from_yaml(value: &Value) -> Option<Self> {
        value.as_sequence()?.iter().map(String::from_yaml).collect()
    }
    fn to_yaml(&self) -> Value {
        Value::Sequence(self.iter().map(String::to_yaml).collect())
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec!["a list of strings".into()]
    }
}

impl<T: FieldValue> FieldValue for BTreeMap<String, T> {
    fn from_yaml(value: &Value) -> Option<Self> {
        let entries = value.as_mapping()?.iter();
        entries.map(|(key, value)| Some((String::from_yaml(key)?, T::from_yaml(value)?))).collect()
    }
    fn to_yaml(&self) -> Value {
        let entries = self.iter().map(|(key, value)| (Value::from(key.as_str()), value.to_yaml()));
        Value::Mapping(entries.collect())
    }
    fn alternatives(range: Option<Range>) -> Vec<String> {
        let value = expected::<T>(range);
        vec![format!("a mapping {{name: {}}}", value.strip_prefix("a ").unwrap_or(&value))]
    }
}

/// Declares an enum whose variants are words in the configuration.
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        pub enum $Name:ident { $( $(#[doc = $doc:literal])+ $Variant:ident = $word:literal, )+ }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Name { $( $(#[doc = $doc])+ $Variant, )+ }

        impl $Name {
            /// The word in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$Variant => $word, )+ }
            }
        }

        impl $crate::config::value::FieldValue for $Name {
            fn from_yaml(value: &serde_yaml::Value) -> Option<Self> {
                match value.as_str()? { $( $word => Some(Self::$Variant), )+ _ => None }
            }
            fn to_yaml(&self) -> serde_yaml::Value {
                serde_yaml::Value::from(self.as_str())
            }
            fn alternatives(_: Option<$crate::config::value::Range>) -> Vec<String> {
                vec![$( $word.to_owned() ),+]
            }
        }
    };
}
pub(super) use choice;

/// A column of a data file: its name in the header, or its number, starting at 1.
#[derive(Clone, Debug, PartialEq)]
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
    fn from_yaml(value: &Value) -> Option<Self> {
        match value {
            Value::String(name) => Some(Self::Name(name.clone())),
            Value::Number(number) => {
                number.as_u64().filter(|n| *n >= 1).map(|n| Self::Number(n as usize))
            }
            _ => None,
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
    fn from_yaml(value: &Value) -> Option<Self> {
        match value {
            Value::Sequence(items) if !items.is_empty() => {
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

/// Maximum number of tokens in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenBudget {
    /// The largest number that fits in the memory of the device.
    Auto,
    /// A fixed number.
    Tokens(usize),
}

impl FieldValue for TokenBudget {
    fn from_yaml(value: &Value) -> Option<Self> {
        match value.as_str() {
            Some("auto") => Some(Self::Auto),
            _ => usize::from_yaml(value).map(Self::Tokens),
        }
    }
    fn to_yaml(&self) -> Value {
        match self {
            Self::Auto => Value::from("auto"),
            Self::Tokens(tokens) => tokens.to_yaml(),
        }
    }
    fn alternatives(range: Option<Range>) -> Vec<String> {
        [usize::alternatives(range), vec!["auto".into()]].concat()
    }
    fn number(&self) -> Option<f64> {
        match self {
            Self::Auto => None,
            Self::Tokens(tokens) => tokens.number(),
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
                .filter(|weights| weights.values().all(|w| *w > 0.0))
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

/// The section `sweep` as written; empty if there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SweepSection(pub(super) Mapping);

impl SweepSection {
    /// Returns true if the section is empty or missing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

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

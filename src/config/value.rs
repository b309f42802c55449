//! The kinds of value a configuration field can have: how each is read from YAML, shown again,
//! and described to the user.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_yaml::Value;

/// A value that a configuration field can hold.
pub trait FieldValue: Sized + Clone {
    /// Reads the value, or returns `None` when the YAML holds something else.
    fn from_yaml(value: &Value) -> Option<Self>;
    /// The YAML that [`FieldValue::from_yaml`] reads back as the same value.
    fn to_yaml(&self) -> Value;
    /// What the user may write, as the end of the sentence "allowed is …".
    fn allowed() -> String;
    /// The value as a number, for fields with a range.
    fn number(&self) -> Option<f64> {
        None
    }
    /// Turns a relative path into an absolute one; every other value stays as it is.
    fn absolute(self) -> Self {
        self
    }
}

impl FieldValue for bool {
    fn from_yaml(value: &Value) -> Option<Self> {
        value.as_bool()
    }
    fn to_yaml(&self) -> Value {
        Value::Bool(*self)
    }
    fn allowed() -> String {
        "true | false".into()
    }
}

impl FieldValue for u64 {
    fn from_yaml(value: &Value) -> Option<Self> {
        // 1e3 and 64.0 are whole numbers too, whatever YAML calls them.
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
    fn allowed() -> String {
        "a whole number".into()
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
    fn allowed() -> String {
        u64::allowed()
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
    fn allowed() -> String {
        "a number".into()
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
    fn allowed() -> String {
        "text".into()
    }
}

impl FieldValue for PathBuf {
    fn from_yaml(value: &Value) -> Option<Self> {
        String::from_yaml(value).map(PathBuf::from)
    }
    fn to_yaml(&self) -> Value {
        Value::from(self.to_string_lossy().as_ref())
    }
    fn allowed() -> String {
        "a path".into()
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
    fn allowed() -> String {
        format!("{} | null", T::allowed())
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
    fn allowed() -> String {
        "a list of texts".into()
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
    fn allowed() -> String {
        format!("a mapping {{name: {}}}", T::allowed())
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
            /// The word that the configuration has for it.
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
            fn allowed() -> String {
                [$( $word ),+].join(" | ")
            }
        }
    };
}
pub(crate) use choice;

/// A text column: its name in the header, or its number counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// A name in the header.
    Name(String),
    /// A position, from 1.
    Number(usize),
}

impl Column {
    /// What its texts are called outside the file that they come from.
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
    fn allowed() -> String {
        "a column's name, or its number from 1".into()
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

/// The columns that make up a text, joined by spaces.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns(pub Vec<Column>);

impl Columns {
    /// The column of this name.
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
    fn allowed() -> String {
        format!("{}, or a list of them", Column::allowed())
    }
}

/// A part of a data set: a share of it, or a number of examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Portion {
    /// A share below 1.
    Fraction(f64),
    /// A number of examples.
    Count(usize),
}

impl Portion {
    /// The number of examples that the portion is of `total`, rounded to the nearest; at least 1
    /// where the fraction is not 0.
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
    fn allowed() -> String {
        "a fraction below 1, or a number of examples".into()
    }
}

/// How often something happens: at the end of every epoch, or every so many steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Every {
    /// At the end of every epoch.
    Epoch,
    /// Every so many steps.
    Steps(u64),
}

impl Every {
    /// Whether it is due after `step` steps; the end of an epoch is the caller's to see.
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
    fn allowed() -> String {
        "epoch | a number of steps".into()
    }
}

/// The tokens of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenBudget {
    /// As many as fit on the device.
    Auto,
    /// So many.
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
    fn allowed() -> String {
        "a whole number | auto".into()
    }
    fn number(&self) -> Option<f64> {
        match self {
            Self::Auto => None,
            Self::Tokens(tokens) => tokens.number(),
        }
    }
}

/// What an error in an example of each class weighs.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassWeights {
    /// Every example counts the same.
    None,
    /// Inversely to the class's frequency, with mean 1 over the training examples.
    Balanced,
    /// By label; labels that are not named weigh 1.
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
    fn allowed() -> String {
        "none | balanced | a mapping {label: weight}, weights above 0".into()
    }
}

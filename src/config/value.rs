//! Values of configuration fields: how each type is read from YAML, written back and described. This
//! file has the types of the standard library and `choice!` for enums.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde_yaml::Value;

/// A value that a configuration field can hold.
pub trait FieldValue: Sized + Clone {
    /// The value is text, or consists of texts.
    const IS_TEXT: bool = false;
    /// Reads the value. Returns `None` if the YAML is of another type.
    fn from_yaml(value: &Value) -> Option<Self>;
    /// Returns YAML from which [`FieldValue::from_yaml`] reads the same value.
    fn to_yaml(&self) -> Value;
    /// The alternatives that a user can write, such as "an integer ≥ 1" and "null". `range` limits
    /// numbers.
    fn alternatives(range: Option<Range>) -> Vec<String>;
    /// The value that a user most likely means by an invalid one.
    fn suggestion(_: &Value) -> Option<String> {
        None
    }
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
        let above = match self.excludes_low {
            true => number > self.low && !is_flushed(number),
            false => number >= self.low,
        };
        above && number <= self.high
    }
}

/// Returns true if a number is not 0, but becomes 0 in single precision, in which networks compute.
pub fn is_flushed(number: f64) -> bool {
    // The bits are compared because subnormal numbers are equal to 0 while they are flushed.
    let bits = number.abs().to_bits();
    0 < bits && bits < f64::from(f32::MIN_POSITIVE).to_bits()
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
    const IS_TEXT: bool = true;
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

/// Returns true for null, which is an empty text where a text is expected.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

impl FieldValue for PathBuf {
    const IS_TEXT: bool = true;
    fn from_yaml(value: &Value) -> Option<Self> {
        match value {
            // The YAML `-`: a list with an empty item.
            Value::Sequence(items) if matches!(&items[..], [item] if is_nothing(item)) => {
                Some(PathBuf::from("-"))
            }
            _ => String::from_yaml(value).map(PathBuf::from),
        }
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
    const IS_TEXT: bool = T::IS_TEXT;
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
    const IS_TEXT: bool = true;
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

impl FieldValue for Vec<PathBuf> {
    const IS_TEXT: bool = true;
    fn from_yaml(value: &Value) -> Option<Self> {
        match value.as_sequence() {
            Some(paths) => paths.iter().map(PathBuf::from_yaml).collect(),
            None => PathBuf::from_yaml(value).map(|path| vec![path]),
        }
    }
    fn to_yaml(&self) -> Value {
        Value::Sequence(self.iter().map(PathBuf::to_yaml).collect())
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        vec!["a path".into(), "a list of paths".into()]
    }
    fn absolute(self) -> Self {
        self.into_iter().map(PathBuf::absolute).collect()
    }
}

impl<T: FieldValue> FieldValue for BTreeMap<String, T> {
    const IS_TEXT: bool = T::IS_TEXT;
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

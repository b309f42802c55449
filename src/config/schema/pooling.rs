//! The poolings of hidden states.

use std::ops::Deref;

use serde::{Serialize, Serializer};
use serde_yaml::Value;

use crate::config::value::{FieldValue, Range, choice};

choice! {
    /// Pooling of the sequence of hidden states.
    pub enum Pooling {
        /// The last hidden state.
        Last = "last",
        /// The mean over time, without padding.
        Mean = "mean",
        /// The maximum over time, without padding.
        Max = "max",
        /// The mean over time weighted by attention, without padding.
        Attention = "attention",
    }
}

/// One or more different poolings. Their vectors are concatenated in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poolings(Vec<Pooling>);

impl Deref for Poolings {
    type Target = [Pooling];
    fn deref(&self) -> &[Pooling] {
        &self.0
    }
}

impl From<Pooling> for Poolings {
    fn from(pooling: Pooling) -> Self {
        Self(vec![pooling])
    }
}

impl FieldValue for Poolings {
    fn from_yaml(value: &Value) -> Option<Self> {
        let Value::Sequence(items) = value else {
            return Pooling::from_yaml(value).map(Self::from);
        };
        let poolings: Vec<Pooling> = items.iter().map(Pooling::from_yaml).collect::<Option<_>>()?;
        let repeats = (1..poolings.len()).any(|index| poolings[..index].contains(&poolings[index]));
        (!poolings.is_empty() && !repeats).then_some(Self(poolings))
    }
    fn to_yaml(&self) -> Value {
        match &self.0[..] {
            [pooling] => pooling.to_yaml(),
            poolings => Value::Sequence(poolings.iter().map(Pooling::to_yaml).collect()),
        }
    }
    fn alternatives(range: Option<Range>) -> Vec<String> {
        [Pooling::alternatives(range), vec!["a list of these, each at most once".into()]].concat()
    }
}

/// As in the configuration: a name, or a list of names.
impl Serialize for Poolings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_yaml().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Option<Poolings> {
        Poolings::from_yaml(&serde_yaml::from_str(yaml).unwrap())
    }

    #[test]
    fn a_pooling_is_a_name_or_a_list_of_names() {
        let several = read("[max, attention, last]").unwrap();
        assert_eq!(*several, [Pooling::Max, Pooling::Attention, Pooling::Last]);
        assert_eq!(read("mean"), Some(Pooling::Mean.into()));
        assert_eq!(read("[mean]"), read("mean"));
        for invalid in ["[]", "[max, mean, max]", "[max, sum]", "{mean: 1}", "1"] {
            assert_eq!(read(invalid), None, "{invalid}");
        }
        for yaml in ["mean", "[max, attention, last]"] {
            let poolings = read(yaml).unwrap();
            assert_eq!(Poolings::from_yaml(&poolings.to_yaml()), Some(poolings));
        }
    }
}

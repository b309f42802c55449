//! Fingerprints of sets of examples. They show whether two sets are the same, without keeping the texts.

use std::fmt;
use std::ops::Add;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::source::TextHash;
use super::split_name::SplitName;

/// Number and hash of a set of examples, whatever their order: texts, as the splits compare them, and
/// labels. The fingerprint of two sets together is the sum of theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint {
    examples: usize,
    hash: u128,
}

impl Fingerprint {
    /// Computes the fingerprint of examples: the hash of the texts of each, and its label.
    pub(super) fn of<'a>(examples: impl Iterator<Item = (&'a TextHash, String)>) -> Self {
        let one = |(texts, label): (&TextHash, String)| {
            let digest = Sha256::new().chain_update(texts).chain_update(label).finalize();
            let mut hash = [0; size_of::<u128>()];
            hash.copy_from_slice(&digest[..size_of::<u128>()]);
            Self { examples: 1, hash: u128::from_le_bytes(hash) }
        };
        examples.map(one).fold(Self::default(), Add::add)
    }

    /// Number of examples.
    pub fn examples(self) -> usize {
        self.examples
    }

    /// First digits of the hash, for people.
    pub fn short(self) -> String {
        format!("{:08x}", self.hash >> 96)
    }
}

impl Add for Fingerprint {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            examples: self.examples.saturating_add(other.examples),
            hash: self.hash.wrapping_add(other.hash),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}-{:032x}", self.examples, self.hash)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('-').and_then(|(examples, hash)| {
            let hash = u128::from_str_radix(hash, 16).ok()?;
            Some(Self { examples: examples.parse().ok()?, hash })
        });
        parsed.ok_or_else(|| format!("\"{text}\" is not a fingerprint of examples"))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Fingerprints of the splits that a run uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitFingerprints {
    /// Training examples.
    pub train: Fingerprint,
    /// Validation examples.
    pub validation: Fingerprint,
    /// Test examples.
    pub test: Fingerprint,
    /// Unlabelled texts in their order, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlabelled: Option<Fingerprint>,
}

impl SplitFingerprints {
    /// Returns a line for each split.
    pub fn lines(&self) -> Vec<String> {
        let named = [
            ("training examples", Some(self.train)),
            ("validation examples", Some(self.validation)),
            ("test examples", Some(self.test)),
            ("unlabelled texts", self.unlabelled),
        ];
        let named = named.into_iter().filter_map(|(name, data)| Some((name, data?)));
        named.map(|(name, data)| format!("{name}: {data}")).collect()
    }
}

/// Use of a set of examples in the training of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// The training examples.
    Training,
    /// All training examples and others.
    IncludesTraining,
    /// The validation examples, by which the best weights were chosen.
    Validation,
    /// The test examples.
    Test,
    /// Another set, which may contain training examples.
    Unknown,
}

impl SplitFingerprints {
    /// Returns the fingerprint of a split.
    pub fn split(&self, name: SplitName) -> Fingerprint {
        match name {
            SplitName::Train => self.train,
            SplitName::Validation => self.validation,
            SplitName::Test => self.test,
        }
    }

    /// Returns how the model of this run has used the examples with a fingerprint.
    pub fn usage(&self, examples: Fingerprint) -> Usage {
        let Self { train, validation, test, .. } = *self;
        match examples {
            _ if examples == train => Usage::Training,
            _ if examples == validation => Usage::Validation,
            _ if examples == test => Usage::Test,
            _ if [train + validation, train + test, train + validation + test]
                .contains(&examples) =>
            {
                Usage::IncludesTraining
            }
            _ => Usage::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(examples: &[(u8, &str)]) -> Fingerprint {
        let hashes: Vec<TextHash> = examples.iter().map(|(text, _)| [*text; 16]).collect();
        let labels = examples.iter().map(|(_, label)| (*label).to_owned());
        Fingerprint::of(hashes.iter().zip(labels))
    }

    #[test]
    fn the_order_of_examples_does_not_matter_but_texts_labels_and_counts_do() {
        let same = fingerprint(&[(1, "a"), (2, "b"), (2, "b")]);
        assert_eq!(same, fingerprint(&[(2, "b"), (1, "a"), (2, "b")]));
        for other in [&[(1, "a"), (2, "b")][..], &[(1, "b"), (2, "b"), (2, "a")], &[]] {
            assert_ne!(same, fingerprint(other));
        }
        assert_eq!(same, fingerprint(&[(1, "a"), (2, "b")]) + fingerprint(&[(2, "b")]));
    }

    #[test]
    fn fingerprints_are_unchanged_by_a_json_round_trip() {
        let fingerprint = fingerprint(&[(1, "a"), (2, "b")]);
        let json = serde_json::to_string(&fingerprint).unwrap();
        assert!(json.starts_with("\"2-"), "{json}");
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), fingerprint);
        for damaged in ["\"2\"", "\"2-xyz\"", "\"-1\"", "7"] {
            assert!(serde_json::from_str::<Fingerprint>(damaged).is_err(), "{damaged}");
        }
    }

    #[test]
    fn the_usage_of_whole_files_is_known() {
        let splits = SplitFingerprints {
            train: fingerprint(&[(1, "a"), (2, "b")]),
            validation: fingerprint(&[(3, "a")]),
            test: fingerprint(&[(4, "b")]),
            unlabelled: None,
        };
        assert_eq!(splits.usage(splits.train), Usage::Training);
        assert_eq!(splits.usage(splits.validation), Usage::Validation);
        assert_eq!(splits.usage(splits.test), Usage::Test);
        assert_eq!(splits.usage(splits.validation + splits.train), Usage::IncludesTraining);
        assert_eq!(splits.usage(fingerprint(&[(1, "a")])), Usage::Unknown);
    }
}

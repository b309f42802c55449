//! Encoded examples with their labels.

use super::targets::Targets;
use crate::text::Corpus;

/// Encoded examples with their classes.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// For each input its texts as ids.
    pub inputs: Vec<Corpus>,
    /// Target of every example.
    pub targets: Targets,
}

impl Dataset {
    /// The number of examples.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The tokens of all inputs together.
    pub fn tokens(&self) -> usize {
        self.inputs.iter().map(Corpus::tokens).sum()
    }

    /// The tokens of all inputs of some examples.
    pub fn tokens_of(&self, examples: &[u32]) -> usize {
        let of = |corpus: &Corpus| -> usize {
            examples.iter().map(|example| corpus.text(*example as usize).len()).sum()
        };
        self.inputs.iter().map(of).sum()
    }

    /// For each input the steps of every example.
    pub fn lengths(&self) -> Vec<Vec<usize>> {
        self.inputs.iter().map(Corpus::lengths).collect()
    }
}

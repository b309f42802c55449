//! An example as each model of an ensemble reads it.

use std::borrow::Cow;

use super::alignment::Unit;
use super::model::{EncodedExample, Model};
use crate::config::Labelling;
use crate::objective::Combination;

/// An example as each model reads it, and the class to explain.
pub(super) struct EncodedModels<'a> {
    /// At least one model.
    pub models: &'a [Model],
    pub combination: &'a Combination,
    /// The example in each model, with its log-odds.
    pub examples: Vec<EncodedExample>,
    pub class: usize,
    /// Log-odds of the class, of all models together.
    pub log_odds: f64,
}

impl EncodedModels<'_> {
    /// Returns the models and the example in each.
    pub fn iter(&self) -> impl Iterator<Item = (&Model, &EncodedExample)> {
        self.models.iter().zip(&self.examples)
    }

    /// Combines log-probabilities of the models, [N, C] each.
    pub fn combine<'r>(&self, rows: &[&'r [f64]]) -> Cow<'r, [f64]> {
        self.combination.combine(self.labelling(), rows, self.classes())
    }

    /// Number of labels that a text can have.
    pub fn labelling(&self) -> Labelling {
        self.models[0].labelling()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.models[0].labels.len()
    }

    /// Returns true if a model reads tokens of a unit: those that remain after truncation, or all if it
    /// reads n-grams.
    pub fn is_read(&self, input: usize, unit: &Unit) -> bool {
        self.iter().zip(&unit.tokens).any(|((model, example), tokens)| {
            let truncated = &example.texts[input].truncated;
            let is_read = |token: &usize| {
                model.encoders[input].ngrams().is_some() || !truncated.contains(token)
            };
            tokens.iter().any(is_read)
        })
    }
}

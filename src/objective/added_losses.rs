//! Losses that training adds to the loss of the labels.

use serde::{Deserialize, Serialize};

use crate::config::TrainConfig;

/// Means over the texts of a batch, or over several batches, before they are multiplied by their weights in the
/// objective. Terms that the configuration does not have are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddedLosses {
    /// Loss of the examples with perturbed word vectors (`train.adversarial`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adversarial_loss: Option<f64>,
    /// Divergence of the predictions for perturbed word vectors (`train.virtual_adversarial`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_adversarial_loss: Option<f64>,
    /// Entropy of the predictions (`train.entropy_weight`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f64>,
    /// Loss of the joint language model (`train.language_model_weight`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_model_loss: Option<f64>,
}

impl AddedLosses {
    /// Number of terms.
    pub const COUNT: usize = 4;
    /// Index of the adversarial loss in arrays of all terms, which have the order of the fields.
    pub const ADVERSARIAL: usize = 0;
    /// Index of the virtual adversarial loss.
    pub const VIRTUAL_ADVERSARIAL: usize = 1;
    /// Index of the entropy.
    pub const ENTROPY: usize = 2;

    /// Returns the terms that a configuration has, with these values of all terms in the order of the fields.
    pub fn of(config: &TrainConfig, values: [f64; Self::COUNT]) -> Self {
        let mut terms = Self::present(config).into_iter().zip(values);
        Self::from_terms(|| terms.next().and_then(|(present, value)| present.then_some(value)))
    }

    /// Returns the terms that a configuration has, with these values of them in the order of the fields.
    pub fn of_present(config: &TrainConfig, mut values: impl Iterator<Item = f64>) -> Self {
        let mut present = Self::present(config).into_iter();
        Self::from_terms(|| present.next().filter(|present| *present).and_then(|_| values.next()))
    }

    fn present(config: &TrainConfig) -> [bool; Self::COUNT] {
        [
            config.adversarial.epsilon.is_some(),
            config.virtual_adversarial.epsilon.is_some(),
            config.entropy_weight > 0.0,
            config.has_language_model(),
        ]
    }

    fn from_terms(mut next: impl FnMut() -> Option<f64>) -> Self {
        Self {
            adversarial_loss: next(),
            virtual_adversarial_loss: next(),
            entropy: next(),
            language_model_loss: next(),
        }
    }

    /// Returns true if there are no terms.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the name and the value of each term.
    pub fn terms(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all = [
            ("adversarial_loss", self.adversarial_loss),
            ("virtual_adversarial_loss", self.virtual_adversarial_loss),
            ("entropy", self.entropy),
            ("language_model_loss", self.language_model_loss),
        ];
        all.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)))
    }

    /// Adds other values, multiplied by a factor.
    pub fn add_scaled(&mut self, other: &Self, factor: f64) {
        let add = |sum: &mut Option<f64>, value: Option<f64>| {
            if let Some(value) = value {
                *sum = Some(sum.unwrap_or(0.0) + value * factor);
            }
        };
        add(&mut self.adversarial_loss, other.adversarial_loss);
        add(&mut self.virtual_adversarial_loss, other.virtual_adversarial_loss);
        add(&mut self.entropy, other.entropy);
        add(&mut self.language_model_loss, other.language_model_loss);
    }

    /// Returns all values divided by a number.
    pub fn divided_by(&self, divisor: f64) -> Self {
        let divided = |value: Option<f64>| value.map(|value| value / divisor);
        Self {
            adversarial_loss: divided(self.adversarial_loss),
            virtual_adversarial_loss: divided(self.virtual_adversarial_loss),
            entropy: divided(self.entropy),
            language_model_loss: divided(self.language_model_loss),
        }
    }

    /// Returns true if all values are finite and, up to rounding, not negative.
    pub fn is_plausible(&self) -> bool {
        self.terms().all(|(_, value)| value.is_finite() && value > -1e-3)
    }
}

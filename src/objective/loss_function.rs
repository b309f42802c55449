//! Loss functions over the logits of an example.

use anyhow::bail;

use crate::config::Labelling;
use crate::data::{Target, Targets};

/// A loss to minimize, as a function of logits and target, and the predictions that belong to it.
///
/// C logits belong to C classes. A head with a single logit has two classes that exclude each other: its logit
/// is that of the second, and the first has logit 0.
pub trait LossFunction: Sync {
    /// Number of labels that a text can have, on which the probabilities depend.
    fn labelling(&self) -> Labelling;

    /// Replaces the logits of an example by the log-probabilities of its classes.
    fn log_probabilities(&self, logits: &mut [f64]) {
        self.labelling().log_probabilities(logits);
    }

    /// Returns the sum of the weights of some examples; the loss of a batch is divided by it.
    fn weight(&self, targets: &Targets) -> f64;

    /// Returns the loss of one example, not yet divided by the weight. Replaces the log-probabilities by
    /// the gradient with respect to the logits.
    fn loss(&self, log_probabilities: &mut [f64], target: Target) -> f64;

    /// Returns true if the prediction counts as correct.
    fn is_correct(&self, log_probabilities: &[f64], target: Target) -> bool {
        self.labelling().is_correct(log_probabilities, target)
    }
}

/// Checks that all values computed by a model are finite.
///
/// # Errors
/// Returns an error if one is not: weights can be finite and still overflow.
pub fn check_finite(mut values: impl Iterator<Item = f64>) -> anyhow::Result<()> {
    match values.find(|value| !value.is_finite()) {
        Some(value) => bail!(
            "the model computes {value}: its weights are so large that they overflow; train it with a \
             lower train.learning_rate or train.gradient_clip"
        ),
        None => Ok(()),
    }
}

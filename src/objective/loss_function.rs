//! Loss functions over the logits of an example.

use anyhow::bail;

use crate::data::{Target, Targets};

/// A loss to minimize, as a function of logits and target, and the predictions that belong to it.
///
/// C logits belong to C classes. A head with a single logit has two classes: its logit is that of the
/// second, and the first has logit 0.
pub trait LossFunction: Sync {
    /// Replaces the logits of an example by the log-probabilities of its classes. By default the classes
    /// exclude each other (softmax).
    fn log_probabilities(&self, logits: &mut [f64]) {
        log_softmax(logits);
    }

    /// Returns the sum of the weights of some examples; the loss of a batch is divided by it.
    fn weight(&self, targets: &Targets) -> f64;

    /// Returns the loss of one example, not yet divided by the weight. Replaces the log-probabilities by
    /// the gradient with respect to the logits.
    fn loss(&self, log_probabilities: &mut [f64], target: Target) -> f64;

    /// Returns true if the prediction counts as correct. By default the most probable class must be the
    /// label, one of the labels, or the most probable class of the distribution.
    fn is_correct(&self, log_probabilities: &[f64], target: Target) -> bool {
        let predicted = argmax(log_probabilities);
        match target {
            Target::Label(label) => predicted == label as usize,
            Target::LabelSet(labels) => labels.contains(&(predicted as u32)),
            Target::Probabilities(shares) => {
                let largest = shares.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                shares[predicted] == largest
            }
        }
    }
}

/// Replaces logits by the log-probabilities of classes that exclude each other.
pub fn log_softmax(logits: &mut [f64]) {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let shift = largest + sum.ln();
    logits.iter_mut().for_each(|logit| *logit -= shift);
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

/// Returns the index of the largest value, or the first of several.
pub fn argmax(values: &[f64]) -> usize {
    let better =
        |best: usize, index: usize| if values[index] > values[best] { index } else { best };
    (0..values.len()).fold(0, better)
}

//! Loss functions, and when a prediction is correct.

use crate::data::{Target, Targets};

/// A function of the log-probabilities and the target of an example that can be minimized.
pub trait LossFunction: Sync {
    /// Sum of the weights of some examples; the loss of a batch is divided by it.
    fn weight(&self, targets: &Targets) -> f64;

    /// Loss of one example, not yet divided by the weight, from the log-probabilities of the C
    /// classes. Replaces these by the gradient with respect to the logits of a softmax.
    fn loss(&self, log_probabilities: &mut [f64], target: Target) -> f64;
}

/// Index of the largest value; the first of equal ones.
pub fn argmax(values: &[f64]) -> usize {
    let better =
        |best: usize, index: usize| if values[index] > values[best] { index } else { best };
    (0..values.len()).fold(0, better)
}

/// Returns true if the most probable class is the label, one of the labels, or the most probable class
/// of the distribution.
pub fn is_correct(log_probabilities: &[f64], target: Target) -> bool {
    let predicted = argmax(log_probabilities);
    match target {
        Target::Label(label) => predicted == label as usize,
        Target::LabelSet(labels) => labels.contains(&(predicted as u32)),
        Target::Distribution(shares) => {
            let largest = shares.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            shares[predicted] == largest
        }
    }
}

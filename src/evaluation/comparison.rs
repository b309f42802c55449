//! Comparison of two classifiers on the same examples.

use serde::Serialize;

use super::predictions::Predictions;

/// Agreement of two classifiers, and the exact McNemar test of their difference (McNemar 1947).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Number of examples that both classify correctly.
    pub both_right: usize,
    /// Number of examples that only the first classifies correctly.
    pub only_first: usize,
    /// Number of examples that only the other classifies correctly.
    pub only_other: usize,
    /// Number of examples that both misclassify.
    pub both_wrong: usize,
    /// Two-sided p-value of the exact binomial test: the probability of a difference at least this
    /// large between equally good classifiers.
    pub p_value: f64,
}

/// Compares predictions for the same examples in the same order.
pub fn compare(first: &Predictions, other: &Predictions) -> Comparison {
    let mut counts = [[0_usize; 2]; 2];
    for example in 0..first.len() {
        let correct = |predictions: &Predictions| usize::from(predictions.is_correct(example));
        counts[correct(first)][correct(other)] += 1;
    }
    let [[both_wrong, only_other], [only_first, both_right]] = counts;
    let p_value = two_sided_p(only_first.min(only_other), only_first + only_other);
    Comparison { both_right, only_first, only_other, both_wrong, p_value }
}

/// Probability that a fair coin lands on heads at most `few` or at least `total − few` times in
/// `total` tosses.
fn two_sided_p(few: usize, total: usize) -> f64 {
    // log of C(total, k) / 2^total, for k = 0.
    let mut log_term = -(total as f64) * std::f64::consts::LN_2;
    let mut sum = 0.0;
    for k in 0..=few {
        sum += log_term.exp();
        log_term += ((total - k) as f64 / (k + 1) as f64).ln();
    }
    (2.0 * sum).min(1.0)
}

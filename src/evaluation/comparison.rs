//! Two classifiers on the same examples.

use serde::Serialize;

use super::Predictions;

/// Who is right where, and whether the difference may be chance (McNemar 1947).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Examples that both classify rightly.
    pub both_right: usize,
    /// Examples that only the first classifies rightly.
    pub only_first: usize,
    /// Examples that only the other classifies rightly.
    pub only_other: usize,
    /// Examples that both get wrong.
    pub both_wrong: usize,
    /// How probable a difference at least as large is between two that are equally good: the exact
    /// binomial test, two-sided.
    pub p_value: f64,
}

/// Compares predictions for the same examples in the same order.
pub fn compare(first: &Predictions, other: &Predictions) -> Comparison {
    let mut counts = [[0_usize; 2]; 2];
    for example in 0..first.len() {
        let right = |predictions: &Predictions| usize::from(predictions.is_right(example));
        counts[right(first)][right(other)] += 1;
    }
    let [[both_wrong, only_other], [only_first, both_right]] = counts;
    let p_value = two_sided(only_first.min(only_other), only_first + only_other);
    Comparison { both_right, only_first, only_other, both_wrong, p_value }
}

/// The probability that a fair coin falls at most `few` times, or at least `total − few` times, on
/// one side in `total` throws.
fn two_sided(few: usize, total: usize) -> f64 {
    // log of C(total, k) / 2^total, from k to k + 1.
    let mut log_term = -(total as f64) * std::f64::consts::LN_2;
    let mut sum = 0.0;
    for k in 0..=few {
        sum += log_term.exp();
        log_term += ((total - k) as f64 / (k + 1) as f64).ln();
    }
    (2.0 * sum).min(1.0)
}

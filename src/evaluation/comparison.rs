//! Comparison of two classifiers on the same examples.

use serde::Serialize;

use super::bootstrap::{F1Differences, ScoreDifference, paired_bootstrap};
use super::predictions::Predictions;
use crate::config::Labelling;

/// Agreement of two classifiers, the exact McNemar test of their difference in accuracy (McNemar 1947), and
/// their difference in F1.
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
    /// Difference in macro F1.
    pub macro_f1: ScoreDifference,
    /// Difference in micro F1, which is the accuracy unless a text can have several labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_f1: Option<ScoreDifference>,
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
    let F1Differences { macro_f1, micro_f1 } = paired_bootstrap(first, other);
    let micro_f1 = (first.labelling() == Labelling::Several).then_some(micro_f1);
    Comparison { both_right, only_first, only_other, both_wrong, p_value, macro_f1, micro_f1 }
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

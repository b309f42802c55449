//! Precision-recall curves.

use crate::evaluation::Predictions;
use crate::events::summaries::ConfusionCounts;

/// From 0 to 1, half a percent apart, as many as TensorBoard's own summaries have.
const THRESHOLDS: usize = 201;

/// What is decided about `class` at each threshold.
pub fn curve(predictions: &Predictions, class: usize) -> Vec<ConfusionCounts> {
    let mut counts = [Counts::default(); THRESHOLDS];
    for example in 0..predictions.len() {
        let at = &mut counts[highest_threshold(predictions.probability(example, class))];
        match predictions.label(example) == class {
            true => at.own += 1,
            false => at.others += 1,
        }
    }
    decisions(&counts)
}

/// Examples for which a threshold is the highest that their probability reaches.
#[derive(Clone, Copy, Default)]
struct Counts {
    own: u64,
    others: u64,
}

/// The number of the highest threshold that is not above a probability.
fn highest_threshold(probability: f64) -> usize {
    ((probability * (THRESHOLDS - 1) as f64) as usize).min(THRESHOLDS - 1)
}

fn decisions(counts: &[Counts]) -> Vec<ConfusionCounts> {
    let own: u64 = counts.iter().map(|at| at.own).sum();
    let others: u64 = counts.iter().map(|at| at.others).sum();
    // Below the first threshold every example is said to be of the class.
    let (mut true_positives, mut false_positives) = (own, others);
    let decide = |at: &Counts| {
        let here = ConfusionCounts {
            true_positives,
            false_positives,
            true_negatives: others - false_positives,
            false_negatives: own - true_positives,
        };
        true_positives -= at.own;
        false_positives -= at.others;
        here
    };
    counts.iter().map(decide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::tests::predictions;

    #[test]
    fn every_threshold_counts_every_example_once() {
        let mut counts = [Counts::default(); THRESHOLDS];
        // Of the class with probabilities 1, 0.9 and 0.2; others with 0.904 and 0.
        for (probability, own) in [(1.0, 1), (0.9, 1), (0.2, 1), (0.904, 0), (0.0, 0)] {
            let at = &mut counts[highest_threshold(probability)];
            at.own += own;
            at.others += 1 - own;
        }
        let decisions = decisions(&counts);
        let at = |threshold: f64| {
            let at = decisions[(threshold * 200.0).round() as usize];
            [at.true_positives, at.false_positives, at.true_negatives, at.false_negatives]
        };
        assert_eq!(at(0.0), [3, 2, 0, 0]);
        assert_eq!(at(0.005), [3, 1, 1, 0]);
        assert_eq!(at(0.2), [3, 1, 1, 0]);
        assert_eq!(at(0.205), [2, 1, 1, 1]);
        assert_eq!(at(0.9), [2, 1, 1, 1]);
        assert_eq!(at(0.905), [1, 0, 2, 2]);
        assert_eq!(at(1.0), [1, 0, 2, 2]);
    }

    #[test]
    fn the_probability_of_the_class_counts() {
        let rows = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.05, 0.9, 0.05], [0.2, 0.2, 0.6]];
        let predictions = predictions(&[0, 1, 0, 1], &rows.map(|row| row.to_vec()));
        let at_half = |class: usize| {
            let at = curve(&predictions, class)[100];
            [at.true_positives, at.false_positives, at.true_negatives, at.false_negatives]
        };
        assert_eq!(at_half(0), [1, 0, 2, 1]);
        assert_eq!(at_half(1), [1, 1, 1, 1]);
        assert_eq!(at_half(2), [0, 1, 3, 0]);
    }

    #[test]
    fn no_probability_is_beyond_the_last_threshold() {
        assert_eq!(highest_threshold(1.0 + 1e-12), THRESHOLDS - 1);
        assert_eq!(highest_threshold(0.0), 0);
        assert_eq!(highest_threshold(0.999), THRESHOLDS - 2);
    }
}

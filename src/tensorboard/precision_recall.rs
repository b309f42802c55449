//! Precision-recall curves.

use crate::evaluation::Predictions;
use crate::events::summaries::ConfusionCounts;

/// Number of thresholds from 0 to 1, the same as in TensorBoard's own summaries.
const THRESHOLDS: usize = 201;

/// Returns the confusion counts of a class at each threshold.
pub fn confusion_counts(predictions: &Predictions, class: usize) -> Vec<ConfusionCounts> {
    let mut histogram = [Examples::default(); THRESHOLDS];
    for example in 0..predictions.len() {
        let at = &mut histogram[highest_threshold(predictions.probability(example, class))];
        match predictions.has_label(example, class) {
            true => at.positive += 1,
            false => at.negative += 1,
        }
    }
    cumulative(&histogram)
}

/// Number of examples whose probability reaches one threshold but not the next.
#[derive(Clone, Copy, Default)]
struct Examples {
    positive: u64,
    negative: u64,
}

/// Returns the index of the highest threshold that a probability reaches.
fn highest_threshold(probability: f64) -> usize {
    ((probability * (THRESHOLDS - 1) as f64) as usize).min(THRESHOLDS - 1)
}

fn cumulative(histogram: &[Examples]) -> Vec<ConfusionCounts> {
    let positive: u64 = histogram.iter().map(|at| at.positive).sum();
    let negative: u64 = histogram.iter().map(|at| at.negative).sum();
    // At the first threshold, 0, every example is predicted positive.
    let (mut true_positives, mut false_positives) = (positive, negative);
    let next = |at: &Examples| {
        let here = ConfusionCounts {
            true_positives,
            false_positives,
            true_negatives: negative - false_positives,
            false_negatives: positive - true_positives,
        };
        true_positives -= at.positive;
        false_positives -= at.negative;
        here
    };
    histogram.iter().map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::tests::predictions;

    #[test]
    fn every_example_is_counted_once_at_every_threshold() {
        let mut histogram = [Examples::default(); THRESHOLDS];
        // Positive examples with probabilities 1, 0.9 and 0.2; negative ones with 0.904 and 0.
        for (probability, positive) in [(1.0, 1), (0.9, 1), (0.2, 1), (0.904, 0), (0.0, 0)] {
            let at = &mut histogram[highest_threshold(probability)];
            at.positive += positive;
            at.negative += 1 - positive;
        }
        let counts = cumulative(&histogram);
        let at = |threshold: f64| {
            let at = counts[(threshold * 200.0).round() as usize];
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
    fn the_probability_of_the_class_is_compared_with_the_threshold() {
        let rows = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.05, 0.9, 0.05], [0.2, 0.2, 0.6]];
        let predictions = predictions(&[0, 1, 0, 1], &rows.map(|row| row.to_vec()));
        let at_half = |class: usize| {
            let at = confusion_counts(&predictions, class)[100];
            [at.true_positives, at.false_positives, at.true_negatives, at.false_negatives]
        };
        assert_eq!(at_half(0), [1, 0, 2, 1]);
        assert_eq!(at_half(1), [1, 1, 1, 1]);
        assert_eq!(at_half(2), [0, 1, 3, 0]);
    }

    #[test]
    fn probabilities_above_one_reach_the_last_threshold() {
        assert_eq!(highest_threshold(1.0 + 1e-12), THRESHOLDS - 1);
        assert_eq!(highest_threshold(0.0), 0);
        assert_eq!(highest_threshold(0.999), THRESHOLDS - 2);
    }
}

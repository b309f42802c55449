//! Accuracy of the predictions that a reject option keeps.

use serde::Serialize;

use super::interval::wilson_interval;
use super::predictions::Predictions;

/// Shares of the examples for which the accuracy is reported.
const SHARES: [f64; 6] = [1.0, 0.95, 0.9, 0.8, 0.7, 0.5];

/// Accuracy of the examples with the highest confidence, the probability of the most probable class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Coverage {
    /// Share of the examples.
    pub coverage: f64,
    /// Number of examples.
    pub examples: usize,
    /// Lowest confidence of these examples. With this probability, a reject option keeps exactly them.
    pub min_probability: f64,
    /// Share of correct predictions.
    pub accuracy: f64,
    /// 95 % confidence interval of the accuracy.
    pub interval: [f64; 2],
}

/// Returns the accuracy of the most confident examples, for falling shares of them. Examples of equal
/// confidence stay together, so that a share can be larger; no number of examples is reported twice.
pub(super) fn coverage(predictions: &Predictions) -> Vec<Coverage> {
    let confidence =
        |example: usize| predictions.probability(example, predictions.most_probable(example));
    let mut order: Vec<(f64, bool)> = (0..predictions.len())
        .map(|example| (confidence(example), predictions.is_correct(example)))
        .collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut all: Vec<Coverage> = Vec::new();
    for share in SHARES {
        let wanted = (share * order.len() as f64).ceil() as usize;
        let Some((min_probability, _)) = wanted.checked_sub(1).map(|last| order[last]) else {
            break;
        };
        let examples = order.partition_point(|(confidence, _)| *confidence >= min_probability);
        if all.last().is_some_and(|last| last.examples == examples) {
            continue;
        }
        let correct = order[..examples].iter().filter(|(_, is_correct)| *is_correct).count();
        all.push(Coverage {
            coverage: examples as f64 / order.len() as f64,
            examples,
            min_probability,
            accuracy: correct as f64 / examples as f64,
            interval: wilson_interval(correct, examples),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::{label_set_predictions, predictions};
    use super::*;

    #[test]
    fn the_most_confident_examples_are_kept() {
        let rows: Vec<Vec<f64>> = (0..20)
            .map(|index| {
                let p = 0.5 + f64::from(index + 1) / 41.0;
                vec![1.0 - p, p]
            })
            .collect();
        // The ten least confident predictions are wrong.
        let labels: Vec<u32> = (0..20).map(|index| u32::from(index >= 10)).collect();
        let all = coverage(&predictions(&labels, &rows));
        assert_eq!(
            all.iter().map(|each| each.examples).collect::<Vec<_>>(),
            [20, 19, 18, 16, 14, 10]
        );
        let accuracies: Vec<f64> = all.iter().map(|each| each.accuracy).collect();
        assert_eq!(accuracies, [0.5, 10.0 / 19.0, 10.0 / 18.0, 0.625, 10.0 / 14.0, 1.0]);
        assert!((all[5].min_probability - (0.5 + 11.0 / 41.0)).abs() < 1e-12);
    }

    #[test]
    fn equal_confidence_is_kept_together() {
        let mut rows = vec![vec![0.8, 0.2]; 5];
        rows.extend(vec![vec![0.4, 0.6]; 5]);
        let all = coverage(&predictions(&[0; 10], &rows));
        assert_eq!(all.iter().map(|each| each.examples).collect::<Vec<_>>(), [10, 5]);
        assert_eq!((all[1].coverage, all[1].accuracy), (0.5, 1.0));
        assert!((all[1].min_probability - 0.8).abs() < 1e-12);
        assert_eq!(coverage(&predictions(&[], &[vec![]])), []);
    }

    #[test]
    fn the_confidence_in_a_label_set_is_that_of_the_most_probable_label() {
        let labels = [vec![0], vec![1]];
        let all = coverage(&label_set_predictions(&labels, &[vec![0.9, 0.1], vec![0.3, 0.2]]));
        assert_eq!((all[0].accuracy, all[1].accuracy), (0.5, 1.0));
        assert!((all[1].min_probability - 0.9).abs() < 1e-12);
    }
}

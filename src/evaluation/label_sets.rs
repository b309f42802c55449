//! Scores of predictions of several labels that are means over examples.

use std::collections::BTreeMap;

use serde::Serialize;

use super::class_counts::{ClassCounts, ClassScore, mean};
use super::predictions::Predictions;

/// Numbers of most probable labels for which the precision is reported.
const PRECISION_AT: [usize; 3] = [1, 3, 5];

/// Scores of sets of labels. They are those of scikit-learn with `zero_division=0`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelSetScores {
    /// Precision, recall and F1 of the labels of each example, averaged over the examples. All three are 0 for
    /// an example without labels.
    pub samples_average: ClassScore,
    /// Share of all pairs of an example and a label that are predicted wrongly.
    pub hamming_loss: f64,
    /// Mean, over the labels of an example, of the share of labels of the example among those that are at least as
    /// probable; averaged over the examples (Tsoumakas, Katakis and Vlahavas 2010). 1 for an example
    /// with no label or all of them.
    pub label_ranking_average_precision: f64,
    /// Share of labels of the example among its k most probable labels, averaged over the examples. Keys are
    /// the k, at most the number of labels.
    pub precision_at: BTreeMap<usize, f64>,
}

impl LabelSetScores {
    /// Computes the scores.
    pub(super) fn of(predictions: &Predictions) -> Self {
        let classes = predictions.classes;
        let (mut wrong, mut ranking) = (0, 0.0);
        let mut hits = PRECISION_AT.map(|_| 0_usize);
        let mut scores = Vec::with_capacity(predictions.len());
        for example in 0..predictions.len() {
            let (labels, predicted) =
                (predictions.labels(example), predictions.predicted_labels(example));
            let common = predicted.iter().filter(|class| labels.contains(class)).count();
            let counts = ClassCounts {
                true_positives: common,
                false_positives: predicted.len() - common,
                false_negatives: labels.len() - common,
                true_negatives: 0,
            };
            wrong += counts.false_positives + counts.false_negatives;
            scores.push((counts.score(), 1.0));
            let probabilities: Vec<f64> =
                (0..classes).map(|class| predictions.probability(example, class)).collect();
            ranking += ranking_precision(&probabilities, &labels);
            let mut order: Vec<usize> = (0..classes).collect();
            order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
            for (hits, k) in hits.iter_mut().zip(PRECISION_AT) {
                *hits += order.iter().take(k).filter(|class| labels.contains(class)).count();
            }
        }
        let examples = predictions.len().max(1) as f64;
        let precision_at = PRECISION_AT.into_iter().zip(hits).filter(|(k, _)| *k <= classes);
        Self {
            samples_average: mean(scores.into_iter()),
            hamming_loss: wrong as f64 / (examples * classes.max(1) as f64),
            label_ranking_average_precision: ranking / examples,
            precision_at: precision_at
                .map(|(k, hits)| (k, hits as f64 / (k as f64 * examples)))
                .collect(),
        }
    }
}

/// Returns the mean, over the labels of an example, of the share of its labels among those that are at least
/// as probable.
fn ranking_precision(probabilities: &[f64], labels: &[usize]) -> f64 {
    if labels.is_empty() || labels.len() == probabilities.len() {
        return 1.0;
    }
    let precision = |label: &usize| {
        let is_as_probable = |class: &usize| probabilities[*class] >= probabilities[*label];
        let of_example = labels.iter().filter(|class| is_as_probable(class)).count();
        let all = (0..probabilities.len()).filter(is_as_probable).count();
        of_example as f64 / all as f64
    };
    labels.iter().map(precision).sum::<f64>() / labels.len() as f64
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::super::report::Evaluation;
    use super::super::tests::label_set_predictions;
    use super::*;

    /// Output of `make_label_sets.py`.
    #[derive(Deserialize)]
    struct File {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        labels: Vec<Vec<u32>>,
        probabilities: Vec<Vec<f64>>,
        expected: Expected,
    }

    #[derive(Deserialize)]
    struct Expected {
        accuracy: f64,
        loss: f64,
        expected_calibration_error: f64,
        /// Precision, recall and F1 of each average.
        macro_average: [f64; 3],
        micro_average: [f64; 3],
        weighted_average: [f64; 3],
        samples_average: [f64; 3],
        hamming_loss: f64,
        label_ranking_average_precision: f64,
        precision_at: BTreeMap<usize, f64>,
        /// Precision, recall, F1 and number of examples of each label.
        classes: Vec<[f64; 4]>,
        roc_auc: Vec<Option<f64>>,
        average_precision: Vec<Option<f64>>,
        counts: Vec<[[usize; 2]; 2]>,
    }

    fn mean_of(values: &[Option<f64>]) -> f64 {
        let defined: Vec<f64> = values.iter().copied().flatten().collect();
        defined.iter().sum::<f64>() / defined.len() as f64
    }

    #[test]
    fn scores_of_label_sets_match_scikit_learn() {
        let file: File = serde_json::from_str(include_str!("label_sets.json")).unwrap();
        for Case { name, labels, probabilities, expected } in file.cases {
            let names: Vec<String> = (0..probabilities[0].len()).map(|n| n.to_string()).collect();
            let predictions = label_set_predictions(&labels, &probabilities);
            let evaluation = Evaluation::of(&predictions, &names);
            let sets = evaluation.label_sets.clone().unwrap();
            let score = |score: ClassScore| [score.precision, score.recall, score.f1];
            let mut pairs = vec![
                (evaluation.accuracy, expected.accuracy),
                (evaluation.loss, expected.loss),
                (evaluation.expected_calibration_error, expected.expected_calibration_error),
                (evaluation.roc_auc.unwrap(), mean_of(&expected.roc_auc)),
                (evaluation.average_precision.unwrap(), mean_of(&expected.average_precision)),
                (sets.hamming_loss, expected.hamming_loss),
                (sets.label_ranking_average_precision, expected.label_ranking_average_precision),
            ];
            for (actual, expected) in [
                (evaluation.macro_average, expected.macro_average),
                (evaluation.micro_average, expected.micro_average),
                (evaluation.weighted_average, expected.weighted_average),
                (sets.samples_average, expected.samples_average),
            ] {
                pairs.extend(score(actual).into_iter().zip(expected));
            }
            assert!(sets.precision_at.keys().eq(expected.precision_at.keys()), "{name}");
            pairs.extend(sets.precision_at.into_values().zip(expected.precision_at.into_values()));
            for (class, report) in evaluation.classes.iter().enumerate() {
                pairs.extend(score(report.score).into_iter().zip(expected.classes[class]));
                assert_eq!(report.examples as f64, expected.classes[class][3], "{name}");
                for (actual, expected) in [
                    (report.roc_auc, expected.roc_auc[class]),
                    (report.average_precision, expected.average_precision[class]),
                ] {
                    assert_eq!(actual.is_some(), expected.is_some(), "{name}, label {class}");
                    pairs.extend(actual.into_iter().zip(expected));
                }
                let [[true_negatives, false_positives], [false_negatives, true_positives]] =
                    expected.counts[class];
                let counts = ClassCounts {
                    true_negatives,
                    false_positives,
                    false_negatives,
                    true_positives,
                };
                assert_eq!(report.counts, counts, "{name}, label {class}");
            }
            for (number, (actual, expected)) in pairs.into_iter().enumerate() {
                assert!(
                    (actual - expected).abs() < 1e-12,
                    "{name}, {number}: {actual}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn scores_of_label_sets_replace_the_confusion_matrix() {
        let labels = ["a", "b"].map(str::to_owned);
        let predictions =
            label_set_predictions(&[vec![0], vec![]], &[vec![0.9, 0.6], vec![0.1, 0.2]]);
        let json = serde_json::to_value(Evaluation::of(&predictions, &labels)).unwrap();
        assert_eq!(json["confusion"], json!(null));
        assert_eq!(json["confused_pairs"], json!([]));
        assert_eq!(
            (&json["hamming_loss"], &json["precision_at"]),
            (&json!(0.25), &json!({"1": 0.5}))
        );
        let counts = json!({
            "true_negatives": 1, "false_positives": 1, "false_negatives": 0, "true_positives": 0,
        });
        assert_eq!(json["classes"][1]["counts"], counts);
    }
}

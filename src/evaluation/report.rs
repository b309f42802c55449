//! The scores that `lstmtext evaluate` reports.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use super::calibration::{CalibrationBin, calibration};
use super::class_counts::{ClassCounts, ClassScore};
use super::predictions::Predictions;
use super::ranking::{average_precision, roc_auc};
use crate::config::Labelling;

/// Scores of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of examples.
    pub examples: usize,
    /// Share of correct predictions.
    pub accuracy: f64,
    /// 95 % confidence interval of the accuracy (Wilson 1927).
    pub accuracy_interval: [f64; 2],
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Area under the ROC curve of the second of two classes, or the mean over more classes, each
    /// against the rest. `None` if every class has all examples or none.
    pub roc_auc: Option<f64>,
    /// Average precision, averaged in the same way.
    pub average_precision: Option<f64>,
    /// Mean difference between confidence and accuracy over bins of equal width, weighted by their
    /// number of examples (Naeini, Cooper and Hauskrecht 2015).
    pub expected_calibration_error: f64,
    /// Bins of the calibration error that are not empty.
    pub calibration: Vec<CalibrationBin>,
    /// Unweighted mean over the classes that have examples or are predicted, as in scikit-learn.
    pub macro_average: ClassScore,
    /// Scores of each class.
    pub classes: Vec<ClassReport>,
    /// Confusion matrix: a row for each true class, a column for each predicted class. `None` with more than
    /// 100 classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Vec<Vec<usize>>>,
    /// Pairs of a true class and a wrong prediction, the most frequent first, at most 1,000.
    pub confused_pairs: Vec<ConfusedPair>,
    /// Accuracy by sequence length, in buckets with about the same number of examples.
    pub lengths: Vec<LengthBucket>,
}

/// Scores of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassReport {
    /// Name of the class.
    pub label: String,
    /// Precision, recall and F1.
    #[serde(flatten)]
    pub score: ClassScore,
    /// Number of examples of this class.
    pub examples: usize,
}

/// Accuracy on texts of similar length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LengthBucket {
    /// Tokens of the shortest text.
    pub from: usize,
    /// Tokens of the longest text.
    pub to: usize,
    /// Number of examples.
    pub examples: usize,
    /// Share of correct predictions.
    pub accuracy: f64,
    /// 95 % confidence interval of the accuracy.
    pub interval: [f64; 2],
}

/// A true class, a wrong prediction, and the number of their examples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfusedPair {
    /// Name of the true class.
    pub label: String,
    /// Name of the predicted class.
    pub predicted: String,
    /// Number of examples.
    pub examples: usize,
}

impl Evaluation {
    /// Computes all scores. `labels` are the names of the classes.
    pub fn of(predictions: &Predictions, labels: &[String]) -> Self {
        let confusion = ConfusionCounts::of(predictions, labels.len());
        let classes = confusion.class_reports(labels);
        let score = predictions.score();
        let correct = (0..predictions.len()).filter(|example| predictions.is_correct(*example));
        let (bins, expected_calibration_error) = calibration(predictions);
        Self {
            examples: predictions.len(),
            accuracy: score.accuracy,
            accuracy_interval: wilson_interval(correct.count(), predictions.len()),
            loss: score.loss,
            roc_auc: over_classes(predictions, labels.len(), roc_auc),
            average_precision: over_classes(predictions, labels.len(), average_precision),
            expected_calibration_error,
            calibration: bins,
            macro_average: confusion.macro_average(&classes),
            classes,
            confusion: confusion.matrix(),
            confused_pairs: confusion.pairs(labels),
            lengths: length_buckets(predictions),
        }
    }
}

/// Maximum number of classes in a confusion matrix.
const MATRIX_CLASSES: usize = 100;
/// Maximum number of confused pairs.
const MAX_PAIRS: usize = 1_000;

/// Numbers of examples by true and predicted class. The pairs that do not occur take no memory.
pub struct ConfusionCounts {
    /// Number of classes.
    classes: usize,
    /// Number of examples of each true and predicted class that occur together.
    counts: BTreeMap<(usize, usize), usize>,
    /// Number of examples that are predicted to have each class.
    predicted: Vec<usize>,
}

impl ConfusionCounts {
    /// Counts the examples.
    pub fn of(predictions: &Predictions, classes: usize) -> Self {
        let (mut counts, mut all_predicted) = (BTreeMap::new(), vec![0; classes]);
        for example in 0..predictions.len() {
            let predicted = predictions.predicted(example);
            *counts.entry((predictions.label(example), predicted)).or_default() += 1;
            all_predicted[predicted] += 1;
        }
        Self { classes, counts, predicted: all_predicted }
    }

    /// Iterates over true class, predicted class and number of examples of all pairs that occur.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        self.counts.iter().map(|((label, predicted), count)| (*label, *predicted, *count))
    }

    /// Returns the confusion matrix, unless there are too many classes.
    fn matrix(&self) -> Option<Vec<Vec<usize>>> {
        if self.classes > MATRIX_CLASSES {
            return None;
        }
        let mut matrix = vec![vec![0; self.classes]; self.classes];
        self.iter().for_each(|(label, predicted, count)| matrix[label][predicted] = count);
        Some(matrix)
    }

    /// Returns the most frequent pairs of a true class and a wrong prediction.
    fn pairs(&self, labels: &[String]) -> Vec<ConfusedPair> {
        let wrong = self.iter().filter(|(label, predicted, _)| label != predicted);
        let mut pairs: Vec<_> = wrong.collect();
        pairs.sort_by_key(|(.., count)| Reverse(*count));
        pairs.truncate(MAX_PAIRS);
        let name = |class: usize| labels[class].clone();
        let pair = |(label, predicted, examples)| ConfusedPair {
            label: name(label),
            predicted: name(predicted),
            examples,
        };
        pairs.into_iter().map(pair).collect()
    }

    fn class_reports(&self, labels: &[String]) -> Vec<ClassReport> {
        let mut of_class = vec![0; labels.len()];
        self.iter().for_each(|(label, _, count)| of_class[label] += count);
        let report = |(class, label): (usize, &String)| {
            let correct = self.counts.get(&(class, class)).copied().unwrap_or(0);
            let (examples, predicted) = (of_class[class], self.predicted[class]);
            let counts = ClassCounts {
                true_positives: correct,
                false_positives: predicted - correct,
                false_negatives: examples - correct,
            };
            ClassReport { label: label.clone(), score: counts.score(), examples }
        };
        labels.iter().enumerate().map(report).collect()
    }

    fn macro_average(&self, classes: &[ClassReport]) -> ClassScore {
        let present = classes.iter().zip(&self.predicted);
        let present = present.filter(|(class, predicted)| class.examples > 0 || **predicted > 0);
        let present: Vec<&ClassScore> = present.map(|(class, _)| &class.score).collect();
        let mean = |pick: fn(&ClassScore) -> f64| {
            present.iter().map(|score| pick(score)).sum::<f64>() / present.len() as f64
        };
        ClassScore {
            precision: mean(|score| score.precision),
            recall: mean(|score| score.recall),
            f1: mean(|score| score.f1),
        }
    }
}

/// Returns a metric of the second of two classes that exclude each other, or its mean over the classes for
/// which it is defined.
pub(super) fn over_classes(
    predictions: &Predictions,
    classes: usize,
    metric: fn(&[f64], &[bool]) -> Option<f64>,
) -> Option<f64> {
    let of = |class: usize| {
        let (scores, positive) = predictions.one_vs_rest(class);
        metric(&scores, &positive)
    };
    if classes == 2 && predictions.labelling() == Labelling::One {
        return of(1);
    }
    let defined: Vec<f64> = (0..classes).filter_map(of).collect();
    (!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64)
}

/// Maximum number of length buckets.
const LENGTH_BUCKETS: usize = 5;

pub(super) fn length_buckets(predictions: &Predictions) -> Vec<LengthBucket> {
    let mut examples: Vec<usize> = (0..predictions.len()).collect();
    examples.sort_by_key(|example| predictions.tokens[*example]);
    let mut buckets = Vec::new();
    let mut rest = &examples[..];
    for left in (1..=LENGTH_BUCKETS).rev() {
        // Texts of equal length stay in one bucket.
        let Some(last) = rest.get(rest.len().div_ceil(left).max(1) - 1) else { break };
        let longest = predictions.tokens[*last];
        let count = rest.partition_point(|example| predictions.tokens[*example] <= longest);
        let (bucket, longer) = rest.split_at(count);
        let correct = bucket.iter().filter(|example| predictions.is_correct(**example)).count();
        buckets.push(LengthBucket {
            from: predictions.tokens[bucket[0]],
            to: longest,
            examples: count,
            accuracy: correct as f64 / count as f64,
            interval: wilson_interval(correct, count),
        });
        rest = longer;
    }
    buckets
}

/// Returns the 95 % confidence interval of a proportion, given `hits` in `total` trials (Wilson 1927).
pub(super) fn wilson_interval(hits: usize, total: usize) -> [f64; 2] {
    /// 97.5 % quantile of the normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
    if total == 0 {
        return [0.0, 1.0];
    }
    let (n, share) = (total as f64, hits as f64 / total as f64);
    let scale = 1.0 + Z * Z / n;
    let middle = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

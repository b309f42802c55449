//! The scores that `lstmtext evaluate` reports.

use serde::Serialize;

use super::calibration::{CalibrationBin, calibration};
use super::class_counts::{ClassAverages, ClassCounts, ClassScore};
use super::confusion::{ConfusedPair, ConfusionCounts};
use super::coverage::{Coverage, coverage};
use super::interval::wilson_interval;
use super::label_sets::LabelSetScores;
use super::predictions::Predictions;
use super::ranking::{average_precision, over_classes, roc_auc};
use crate::config::Labelling;

/// Scores of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of examples.
    pub examples: usize,
    /// Share of correct predictions. With several labels per text, all of them have to be right (subset
    /// accuracy).
    pub accuracy: f64,
    /// 95 % confidence interval of the accuracy (Wilson 1927).
    pub accuracy_interval: [f64; 2],
    /// Mean cross-entropy in nats; with several labels per text, the binary one, averaged over the labels.
    pub loss: f64,
    /// Area under the ROC curve of the second of two classes, or the mean over more classes, each
    /// against the rest, or over the labels of which a text can have several. `None` if every class has
    /// all examples or none.
    pub roc_auc: Option<f64>,
    /// Average precision, averaged in the same way.
    pub average_precision: Option<f64>,
    /// Mean difference between confidence and accuracy over bins of equal width, weighted by their
    /// number of examples (Naeini, Cooper and Hauskrecht 2015). With several labels per text, each pair of an
    /// example and a label counts: the probability of the label, and the share of pairs with the label.
    pub expected_calibration_error: f64,
    /// Bins of the calibration error that are not empty.
    pub calibration: Vec<CalibrationBin>,
    /// Unweighted mean over the classes that have examples or are predicted, as in scikit-learn; over all labels
    /// if a text can have several.
    pub macro_average: ClassScore,
    /// Scores of the predictions of all classes together. If each text has one label, all equal the accuracy.
    pub micro_average: ClassScore,
    /// Mean over the classes, weighted by their number of examples.
    pub weighted_average: ClassScore,
    /// Further scores, if a text can have several labels.
    #[serde(flatten)]
    pub label_sets: Option<LabelSetScores>,
    /// Scores of each class.
    pub classes: Vec<ClassReport>,
    /// Confusion matrix: a row for each true class, a column for each predicted class. `None` with more than
    /// 100 classes, or if a text can have several labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Vec<Vec<usize>>>,
    /// Pairs of a true class and a wrong prediction, the most frequent first, at most 1,000. Empty if
    /// a text can have several labels.
    pub confused_pairs: Vec<ConfusedPair>,
    /// Accuracy of the most confident predictions, for falling shares of the examples. With several labels per
    /// text, all of them have to be right, and the confidence is the probability of the most probable label.
    pub coverage: Vec<Coverage>,
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
    /// Area under the ROC curve of the class against the rest. `None` if it has all examples or none.
    pub roc_auc: Option<f64>,
    /// Average precision of the class against the rest. `None` if it has all examples or none.
    pub average_precision: Option<f64>,
    /// Numbers of right and wrong predictions.
    pub counts: ClassCounts,
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

impl Evaluation {
    /// Computes all scores. `labels` are the names of the classes.
    pub fn of(predictions: &Predictions, labels: &[String]) -> Self {
        let labelling = predictions.labelling();
        let classes = class_reports(predictions, labels);
        let counts: Vec<ClassCounts> = classes.iter().map(|class| class.counts).collect();
        let averages = ClassAverages::of(labelling, &counts);
        let confusion = match labelling {
            Labelling::One => Some(ConfusionCounts::of(predictions, labels.len())),
            Labelling::Several => None,
        };
        let label_sets = match labelling {
            Labelling::One => None,
            Labelling::Several => Some(LabelSetScores::of(predictions)),
        };
        let score = predictions.score();
        let correct = (0..predictions.len()).filter(|example| predictions.is_correct(*example));
        let (bins, expected_calibration_error) = calibration(predictions);
        let over_classes = |metric: fn(&ClassReport) -> Option<f64>| {
            over_classes(labelling, classes.len(), |class| metric(&classes[class]))
        };
        Self {
            examples: predictions.len(),
            accuracy: score.accuracy,
            accuracy_interval: wilson_interval(correct.count(), predictions.len()),
            loss: score.loss,
            roc_auc: over_classes(|class| class.roc_auc),
            average_precision: over_classes(|class| class.average_precision),
            expected_calibration_error,
            calibration: bins,
            macro_average: averages.macro_average,
            micro_average: averages.micro_average,
            weighted_average: averages.weighted_average,
            label_sets,
            confusion: confusion.as_ref().and_then(ConfusionCounts::matrix),
            confused_pairs: confusion.map_or(Vec::new(), |counts| counts.pairs(labels)),
            coverage: coverage(predictions),
            lengths: length_buckets(predictions),
            classes,
        }
    }
}

fn class_reports(predictions: &Predictions, labels: &[String]) -> Vec<ClassReport> {
    let report = |((class, label), counts): ((usize, &String), ClassCounts)| {
        let (scores, positive) = predictions.one_vs_rest(class);
        ClassReport {
            label: label.clone(),
            score: counts.score(),
            examples: counts.examples(),
            roc_auc: roc_auc(&scores, &positive),
            average_precision: average_precision(&scores, &positive),
            counts,
        }
    };
    labels.iter().enumerate().zip(predictions.class_counts()).map(report).collect()
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

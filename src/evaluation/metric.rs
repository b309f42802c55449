//! Value of a metric that chooses the best epoch of a run.

use super::class_counts::ClassCounts;
use super::predictions::Predictions;
use super::ranking::{average_precision, roc_auc};
use super::report::over_classes;
use crate::config::{LabelMetric, Metric};
use crate::objective::metrics::Score;

impl Predictions {
    /// Returns the score by which a run with this metric is ranked. `labels` are the names of the classes.
    pub fn score_with(&self, metric: &Metric, labels: &[String]) -> Score {
        let additional = Some(metric).filter(|metric| metric.is_additional());
        let value = additional.and_then(|metric| self.value(metric, labels));
        Score { metric: value, ..self.score() }
    }

    /// Returns the value of a metric. `labels` are the names of the classes. `None` if the metric is
    /// undefined: that of an unknown label, or a ranking metric if every class has all examples or none.
    pub fn value(&self, metric: &Metric, labels: &[String]) -> Option<f64> {
        match metric {
            Metric::Loss => Some(self.score().loss),
            Metric::Accuracy => Some(self.score().accuracy),
            Metric::MacroF1 => {
                let counts = self.class_counts().into_iter().filter(ClassCounts::is_present);
                mean(counts.map(|counts| (counts.score().f1, 1)))
            }
            Metric::MicroF1 => {
                let sum = self.class_counts().into_iter().fold(ClassCounts::default(), add);
                Some(sum.score().f1)
            }
            Metric::WeightedF1 => {
                let counts = self.class_counts().into_iter();
                mean(counts.map(|counts| (counts.score().f1, counts.examples())))
            }
            Metric::RocAuc => over_classes(self, labels.len(), roc_auc),
            Metric::AveragePrecision => over_classes(self, labels.len(), average_precision),
            Metric::OfLabel(metric, label) => {
                let class = labels.iter().position(|known| known == label)?;
                self.value_of_class(*metric, class)
            }
        }
    }

    fn value_of_class(&self, metric: LabelMetric, class: usize) -> Option<f64> {
        let score = || self.class_counts()[class].score();
        let ranked = |metric: fn(&[f64], &[bool]) -> Option<f64>| {
            let (scores, positive) = self.one_vs_rest(class);
            metric(&scores, &positive)
        };
        match metric {
            LabelMetric::F1 => Some(score().f1),
            LabelMetric::Precision => Some(score().precision),
            LabelMetric::Recall => Some(score().recall),
            LabelMetric::RocAuc => ranked(roc_auc),
            LabelMetric::AveragePrecision => ranked(average_precision),
        }
    }
}

fn add(sum: ClassCounts, counts: ClassCounts) -> ClassCounts {
    ClassCounts {
        true_positives: sum.true_positives + counts.true_positives,
        false_positives: sum.false_positives + counts.false_positives,
        false_negatives: sum.false_negatives + counts.false_negatives,
    }
}

/// Returns the weighted mean of values and their weights; `None` if all weights are 0.
fn mean(values: impl Iterator<Item = (f64, usize)>) -> Option<f64> {
    let add = |(sum, total): (f64, usize), (value, weight): (f64, usize)| {
        (sum + weight as f64 * value, total + weight)
    };
    let (sum, total) = values.fold((0.0, 0), add);
    (total > 0).then(|| sum / total as f64)
}

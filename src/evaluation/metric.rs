//! Value of a metric that chooses the best epoch of a run.

use super::class_counts::ClassAverages;
use super::predictions::Predictions;
use super::ranking::{average_precision, over_classes, roc_auc};
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
            Metric::MacroF1 | Metric::MicroF1 | Metric::WeightedF1 if self.is_empty() => None,
            Metric::MacroF1 => Some(self.averages().macro_average.f1),
            Metric::MicroF1 => Some(self.averages().micro_average.f1),
            Metric::WeightedF1 => Some(self.averages().weighted_average.f1),
            Metric::RocAuc => self.over_classes(LabelMetric::RocAuc),
            Metric::AveragePrecision => self.over_classes(LabelMetric::AveragePrecision),
            Metric::OfLabel(metric, label) => {
                let class = labels.iter().position(|known| known == label)?;
                self.value_of_class(*metric, class)
            }
        }
    }

    fn averages(&self) -> ClassAverages {
        ClassAverages::of(self.labelling(), &self.class_counts())
    }

    fn over_classes(&self, metric: LabelMetric) -> Option<f64> {
        over_classes(self.labelling(), self.classes, |class| self.value_of_class(metric, class))
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

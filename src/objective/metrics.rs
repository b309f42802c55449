//! Loss and accuracy: sums that are divided once, at the end.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::AddedLosses;
use crate::config::Metric;

/// Sums of losses and correct predictions over batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    /// Sum of the losses of all examples.
    pub loss_sum: f64,
    /// Number of correct predictions.
    pub correct: u64,
    /// Number of examples.
    pub examples: u64,
    /// Sums of the added losses of all examples.
    #[serde(default, flatten)]
    pub added: AddedLosses,
}

impl Meter {
    /// Adds a batch of `examples` with mean loss `loss`.
    pub fn add(&mut self, loss: f64, correct: u64, examples: u64) {
        self.loss_sum += loss * examples as f64;
        self.correct += correct;
        self.examples += examples;
    }

    /// Adds the added losses of a batch of `examples`, which are means.
    pub fn add_losses(&mut self, added: &AddedLosses, examples: u64) {
        self.added.add_scaled(added, examples as f64);
    }

    /// Returns the means of the added losses.
    pub fn added_losses(&self) -> AddedLosses {
        self.added.divided_by(self.examples.max(1) as f64)
    }

    /// Returns the mean loss and the accuracy; both are 0 if there are no examples.
    pub fn score(&self) -> Score {
        let examples = self.examples.max(1) as f64;
        Score::new(self.loss_sum / examples, self.correct as f64 / examples)
    }
}

/// Scores of a model on a set of examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Mean loss; a cross-entropy is in nats.
    pub loss: f64,
    /// Share of correct predictions.
    pub accuracy: f64,
    /// Value of the metric of the run, `train.early_stopping.metric`. `None` if that is the loss or the
    /// accuracy, if it is undefined for the examples, and for training examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<f64>,
}

impl Score {
    /// Creates a score without a metric besides loss and accuracy.
    pub const fn new(loss: f64, accuracy: f64) -> Self {
        Self { loss, accuracy, metric: None }
    }

    /// Returns false if no predictions have this score.
    pub fn is_plausible(self) -> bool {
        /// Largest error of a loss of 0.
        const ROUNDING: f64 = 1e-6;
        let is_share = |value: f64| (0.0..=1.0).contains(&value);
        self.loss.is_finite()
            && self.loss >= -ROUNDING
            && is_share(self.accuracy)
            && self.metric.is_none_or(is_share)
    }

    /// Returns the value of a metric: the loss, the accuracy, or the metric of the run.
    pub fn value(self, metric: &Metric) -> Option<f64> {
        match metric {
            Metric::Loss => Some(self.loss),
            Metric::Accuracy => Some(self.accuracy),
            _ => self.metric,
        }
    }

    /// Returns the metric as a cost: lower is better. An undefined metric has an infinite cost.
    pub fn cost(self, metric: &Metric) -> f64 {
        match (metric, self.value(metric)) {
            (Metric::Loss, _) => self.loss,
            (_, value) => value.map_or(f64::INFINITY, |value| -value),
        }
    }

    /// Compares two scores on the same examples by the metric, and by the loss if it is equal. The
    /// better one is less. Everything that ranks uses this order.
    pub fn rank(self, other: Self, metric: &Metric) -> Ordering {
        let by_metric = self.cost(metric).total_cmp(&other.cost(metric));
        by_metric.then(self.loss.total_cmp(&other.loss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_weighted_by_their_size() {
        let mut meter = Meter::default();
        meter.add(1.0, 3, 4);
        meter.add(4.0, 0, 1);
        assert_eq!(meter.score(), Score::new(1.6, 0.6));
        assert_eq!(Meter::default().score(), Score::new(0.0, 0.0));
    }

    #[test]
    fn the_metric_ranks_scores_and_the_loss_breaks_ties() {
        let score = Score::new;
        let (loss, accuracy) = (&Metric::Loss, &Metric::Accuracy);
        assert_eq!(score(0.2, 0.8).rank(score(0.3, 0.9), loss), Ordering::Less);
        assert_eq!(score(0.2, 0.8).rank(score(0.3, 0.9), accuracy), Ordering::Greater);
        assert_eq!(score(0.2, 0.9).rank(score(0.3, 0.9), accuracy), Ordering::Less);
        assert_eq!(score(0.2, 0.8).rank(score(0.2, 0.8), loss), Ordering::Equal);
    }

    #[test]
    fn an_undefined_metric_ranks_last() {
        let score = |loss, metric| Score { metric, ..Score::new(loss, 0.5) };
        let metric = &Metric::RocAuc;
        assert_eq!(score(0.3, Some(0.9)).rank(score(0.2, Some(0.8)), metric), Ordering::Less);
        assert_eq!(score(0.3, Some(0.0)).rank(score(0.2, None), metric), Ordering::Less);
        assert_eq!(score(0.3, None).rank(score(0.2, None), metric), Ordering::Greater);
    }

    #[test]
    fn only_a_metric_of_the_run_is_written() {
        let json = |score: &Score| serde_json::to_string(score).unwrap();
        let former = r#"{"loss":0.5,"accuracy":0.75}"#;
        assert_eq!(json(&Score::new(0.5, 0.75)), former);
        assert_eq!(serde_json::from_str::<Score>(former).unwrap(), Score::new(0.5, 0.75));
        let score = Score { metric: Some(0.1 + 0.2), ..Score::new(0.5, 0.75) };
        assert_eq!(serde_json::from_str::<Score>(&json(&score)).unwrap(), score);
        assert!(!Score { metric: Some(1.5), ..score }.is_plausible());
    }
}

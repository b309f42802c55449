//! Loss and accuracy: sums that are divided once, at the end.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::config::StoppingMetric;

/// Sums of losses and correct predictions over batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    /// Sum of the losses of all examples.
    pub loss_sum: f64,
    /// Number of correct predictions.
    pub correct: u64,
    /// Number of examples.
    pub examples: u64,
}

impl Meter {
    /// Adds a batch of `examples` with mean loss `loss`.
    pub fn add(&mut self, loss: f64, correct: u64, examples: u64) {
        self.loss_sum += loss * examples as f64;
        self.correct += correct;
        self.examples += examples;
    }

    /// Returns the mean loss and the accuracy; both are 0 if there are no examples.
    pub fn score(&self) -> Score {
        let examples = self.examples.max(1) as f64;
        Score { loss: self.loss_sum / examples, accuracy: self.correct as f64 / examples }
    }
}

/// Scores of a model on a set of examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Mean loss; a cross-entropy is in nats.
    pub loss: f64,
    /// Share of correct predictions.
    pub accuracy: f64,
}

impl Score {
    /// Returns false if no predictions have this score.
    pub fn is_plausible(self) -> bool {
        /// Largest error of a loss of 0.
        const ROUNDING: f64 = 1e-6;
        self.loss.is_finite() && self.loss >= -ROUNDING && (0.0..=1.0).contains(&self.accuracy)
    }

    /// Returns the metric as a cost: lower is better.
    pub fn cost(self, metric: StoppingMetric) -> f64 {
        match metric {
            StoppingMetric::ValidationLoss => self.loss,
            StoppingMetric::ValidationAccuracy => -self.accuracy,
        }
    }

    /// Compares two scores on the same examples by the metric, and by the loss if it is equal. The
    /// better one is less. Everything that ranks uses this order.
    pub fn rank(self, other: Self, metric: StoppingMetric) -> Ordering {
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
        assert_eq!(meter.score(), Score { loss: 1.6, accuracy: 0.6 });
        assert_eq!(Meter::default().score(), Score { loss: 0.0, accuracy: 0.0 });
    }

    #[test]
    fn the_metric_ranks_scores_and_the_loss_breaks_ties() {
        let score = |loss, accuracy| Score { loss, accuracy };
        let (loss, accuracy) = (StoppingMetric::ValidationLoss, StoppingMetric::ValidationAccuracy);
        assert_eq!(score(0.2, 0.8).rank(score(0.3, 0.9), loss), Ordering::Less);
        assert_eq!(score(0.2, 0.8).rank(score(0.3, 0.9), accuracy), Ordering::Greater);
        assert_eq!(score(0.2, 0.9).rank(score(0.3, 0.9), accuracy), Ordering::Less);
        assert_eq!(score(0.2, 0.8).rank(score(0.2, 0.8), loss), Ordering::Equal);
    }
}

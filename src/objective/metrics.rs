//! Loss and accuracy: sums that are divided once, at the end.

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
    /// Returns the metric as a cost: lower is better.
    pub fn cost(self, metric: StoppingMetric) -> f64 {
        match metric {
            StoppingMetric::ValidationLoss => self.loss,
            StoppingMetric::ValidationAccuracy => -self.accuracy,
        }
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
}

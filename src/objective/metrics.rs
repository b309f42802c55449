//! Counts that are divided once, at the end.

use serde::{Deserialize, Serialize};

/// Adds up losses and hits over batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    /// Sum of the losses, each times its batch's examples.
    pub loss_sum: f64,
    /// Examples whose most probable class was the right one.
    pub correct: u64,
    /// Examples added.
    pub examples: u64,
}

impl Meter {
    /// Adds a batch of `examples` with mean loss `loss`.
    pub fn add(&mut self, loss: f64, correct: u64, examples: u64) {
        self.loss_sum += loss * examples as f64;
        self.correct += correct;
        self.examples += examples;
    }

    /// Mean loss and accuracy; both 0 where nothing was added.
    pub fn score(&self) -> Score {
        let examples = self.examples.max(1) as f64;
        Score { loss: self.loss_sum / examples, accuracy: self.correct as f64 / examples }
    }
}

/// How good a model is on some examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// Share of the examples that were classified rightly.
    pub accuracy: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_unequal_size_weigh_by_their_examples() {
        let mut meter = Meter::default();
        meter.add(1.0, 3, 4);
        meter.add(4.0, 0, 1);
        assert_eq!(meter.score(), Score { loss: 1.6, accuracy: 0.6 });
        assert_eq!(Meter::default().score(), Score { loss: 0.0, accuracy: 0.0 });
    }
}

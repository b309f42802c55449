//! How far a run is: everything besides weights and optimizer state that a resumed run needs.

use serde::{Deserialize, Serialize};

use crate::config::{EarlyStoppingConfig, StoppingMetric, TrainConfig};
use crate::objective::metrics::{Meter, Score};
use crate::train::schedule::Plateau;

/// The state of a training run between two steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The epoch that is under way, from 0.
    pub epoch: usize,
    /// The batches of this epoch that are done.
    pub batch: usize,
    /// The steps done since the run began.
    pub step: u64,
    /// Fingerprint of the examples and their order; `batch` means nothing under another one.
    pub order: u64,
    /// Training loss and hits since the last validation.
    pub meter: Meter,
    /// Tokens trained on since the run began.
    pub tokens: u64,
    /// Seconds spent training since the run began, validation and writing left out.
    pub seconds: f64,
    /// Of those, the seconds before the last validation.
    pub seconds_at_validation: f64,
    /// The best validation so far.
    pub best: Option<Best>,
    /// Validations since the best one.
    pub waited: usize,
    /// What the plateau schedule remembers.
    pub plateau: Plateau,
}

/// The best validation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its epoch, from 1.
    pub epoch: usize,
    /// Its score.
    pub validation: Score,
}

/// Why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Every epoch was trained.
    Epochs,
    /// The metric stopped improving.
    EarlyStopping,
}

impl Progress {
    /// Moves on by one step of an epoch of `batches` batches; whether that ended the epoch.
    pub fn advance(&mut self, batches: usize) -> bool {
        self.step += 1;
        self.batch += 1;
        let end_of_epoch = self.batch >= batches;
        if end_of_epoch {
            (self.epoch, self.batch) = (self.epoch + 1, 0);
        }
        end_of_epoch
    }

    /// The epoch of the last step, from 1.
    pub fn epoch_number(&self) -> usize {
        if self.batch == 0 { self.epoch } else { self.epoch + 1 }
    }

    /// Takes note of a validation after the current step; whether it is a new best.
    pub fn validated(&mut self, score: Score, config: &EarlyStoppingConfig) -> bool {
        let new_best = match self.best {
            None => true,
            Some(best) => match config.metric {
                StoppingMetric::ValidationLoss => {
                    score.loss < best.validation.loss - config.min_delta
                }
                StoppingMetric::ValidationAccuracy => {
                    score.accuracy > best.validation.accuracy + config.min_delta
                }
            },
        };
        if new_best {
            self.best = Some(Best { epoch: self.epoch_number(), validation: score });
            self.waited = 0;
        } else {
            self.waited += 1;
        }
        new_best
    }

    /// Why the run is over, where it is.
    pub fn finished(&self, config: &TrainConfig) -> Option<Finished> {
        if config.early_stopping.patience.is_some_and(|patience| self.waited >= patience) {
            return Some(Finished::EarlyStopping);
        }
        (self.epoch >= config.epochs).then_some(Finished::Epochs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// Whether each validation was a new best, and why the run is over after them.
    fn run(fields: &str, scores: &[(f64, f64)]) -> (Vec<bool>, Option<Finished>) {
        let yaml = format!("data: {{train: x}}\ntrain: {{early_stopping: {{{fields}}}}}\n");
        let config = config::parse(&yaml, "test", &[]).unwrap().config.train;
        let mut progress = Progress::default();
        let mut validated = |&(loss, accuracy): &(f64, f64)| {
            progress.validated(Score { loss, accuracy }, &config.early_stopping)
        };
        let bests = scores.iter().map(&mut validated).collect();
        (bests, progress.finished(&config))
    }

    #[test]
    fn patience_runs_out_after_so_many_validations_without_a_best() {
        let scores = [(0.5, 0.7), (0.4, 0.8), (0.45, 0.9), (0.41, 0.9)];
        let expected = (vec![true, true, false, false], Some(Finished::EarlyStopping));
        assert_eq!(run("patience: 2", &scores), expected);
        assert_eq!(run("patience: 3", &scores).1, None);
        assert_eq!(run("patience: null", &scores).1, None);
    }

    #[test]
    fn the_metric_and_the_least_gain_decide() {
        let scores = [(0.5, 0.7), (0.4, 0.7), (0.45, 0.705), (0.6, 0.8)];
        assert_eq!(run("metric: validation_accuracy", &scores).0, [true, false, true, true]);
        let fields = "metric: validation_accuracy, min_delta: 0.01";
        assert_eq!(run(fields, &scores).0, [true, false, false, true]);
        assert_eq!(run("min_delta: 0.2", &scores).0, [true, false, false, false]);
    }

    #[test]
    fn an_epoch_ends_with_its_last_batch() {
        let mut progress = Progress::default();
        let ends: Vec<bool> = (0..5).map(|_| progress.advance(2)).collect();
        assert_eq!(ends, [false, true, false, true, false]);
        assert_eq!((progress.epoch, progress.batch, progress.step), (2, 1, 5));
        assert_eq!(progress.epoch_number(), 3);
        progress.advance(2);
        assert_eq!((progress.epoch, progress.epoch_number()), (3, 3));
    }

    #[test]
    fn progress_survives_json_to_the_last_bit() {
        let mut progress = Progress { seconds: 0.1 + 0.2, step: u64::MAX, ..Progress::default() };
        progress.meter.add(1.0 / 3.0, 1, 3);
        let json = serde_json::to_string(&progress).unwrap();
        assert_eq!(serde_json::from_str::<Progress>(&json).unwrap(), progress);
    }
}

//! Progress of a run: everything besides weights and optimizer state that a resumed run needs.

use std::path::PathBuf;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use crate::config::{EarlyStoppingConfig, TrainConfig};
use crate::data::SplitFingerprints;
use crate::model::branch_scales::BranchScales;
use crate::objective::metrics::{Meter, Score};
use crate::run::plausible::{MAX_COUNT, is_plausible_duration};
use crate::run::records::ValidationRecord;

/// Progress of a training run between two steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Index of the current epoch, from 0.
    pub epoch: usize,
    /// Number of batches of this epoch that are done.
    pub batch: usize,
    /// Number of steps since the run started.
    pub step: u64,
    /// Fingerprint of the training examples and their order. `batch` is valid only for this order.
    pub order: u64,
    /// Training loss and correct predictions since the last validation.
    pub meter: Meter,
    /// Number of tokens trained on since the run started.
    pub tokens: u64,
    /// Seconds of training since the run started, without validation and writing.
    pub seconds: f64,
    /// Value of `seconds` at the last validation.
    pub seconds_at_validation: f64,
    /// Best validation so far.
    pub best: Option<Best>,
    /// Number of validations since the metric improved.
    pub waited: usize,
    /// Latest validation; `None` in checkpoints of earlier versions.
    #[serde(default)]
    pub last: Option<ValidationRecord>,
    /// Examples that the run uses; `None` in checkpoints of earlier versions.
    #[serde(default)]
    pub data: Option<SplitFingerprints>,
    /// State of the plateau schedule.
    pub plateau: Plateau,
    /// Number of steps of an epoch; 0 in checkpoints of earlier versions.
    #[serde(default)]
    pub steps_per_epoch: u64,
    /// Number of steps that the learning rate schedule is ahead of `step`. It is not 0 if the number
    /// of steps of an epoch has changed during the run.
    #[serde(default)]
    pub schedule_offset: i64,
    /// Model from whose weights the run started; `None` if it started from initial weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ModelSource>,
    /// Program, library and device that computed the run, on which rounding depends; `None` in
    /// checkpoints of earlier versions.
    #[serde(default)]
    pub arithmetic: Option<String>,
}

/// Identity of a model from whose weights a run started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelSource {
    /// Directory of its checkpoint at that time.
    pub checkpoint: PathBuf,
    /// SHA-256 of its `checkpoint.json`, which has those of all its files.
    pub sha256: String,
    /// Examples with which it was trained; `None` if they are unknown.
    pub data: Option<SplitFingerprints>,
}

/// State of the plateau schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// Factor of the learning rate.
    pub factor: f64,
    /// Number of validations since the last reduction or improvement.
    pub waited: usize,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 1.0, waited: 0 }
    }
}

/// Best validation of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Epoch of the validation, from 1; 0 before training.
    pub epoch: usize,
    /// Score on the validation examples.
    pub validation: Score,
}

/// Result of a validation, compared with the best one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The metric is better, by more than `min_delta`.
    Improved,
    /// The metric is equal, and the loss is lower: the best validation is replaced, but early stopping
    /// does not wait longer.
    Tied,
    /// The validation is not better.
    NotBetter,
}

impl Comparison {
    /// Returns true if the validation is the best so far.
    pub fn is_best(self) -> bool {
        self != Self::NotBetter
    }
}

/// Reason why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// All epochs are done.
    Epochs,
    /// The metric has stopped improving.
    EarlyStopping,
}

impl Progress {
    /// Checks that a run can have these numbers.
    ///
    /// # Errors
    /// Returns an error that names an impossible one.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { epoch, batch, step, meter, tokens, seconds, .. } = self;
        let is_best =
            |best: Best| best.validation.is_plausible() && best.epoch <= self.epoch_number();
        let is_last = |last: ValidationRecord| {
            last.train.is_plausible()
                && last.validation.is_plausible()
                && last.step <= *step
                && last.epoch <= self.epoch_number()
                && last.branch_scales.is_none_or(BranchScales::is_possible)
        };
        // One validation can come before the first step.
        let waits = |validations: usize| validations as u64 <= step.saturating_add(1);
        for (name, is_possible) in [
            ("step", *step <= MAX_COUNT),
            // An epoch has at least one step.
            ("epoch", *epoch as u64 <= *step),
            ("batch", *batch as u64 <= step.saturating_sub(*epoch as u64)),
            ("meter", meter.correct <= meter.examples && meter.examples <= *tokens),
            ("meter", meter.loss_sum.is_finite() && meter.loss_sum >= 0.0),
            ("meter", meter.added_losses().is_plausible()),
            ("tokens", *tokens <= MAX_COUNT),
            ("steps_per_epoch", self.steps_per_epoch <= MAX_COUNT),
            ("schedule_offset", self.has_plausible_schedule()),
            ("seconds", is_plausible_duration(*seconds)),
            ("seconds_at_validation", (0.0..=*seconds).contains(&self.seconds_at_validation)),
            ("best", self.best.is_none_or(is_best)),
            ("last", self.last.is_none_or(is_last)),
            ("waited", waits(self.waited) && (self.waited == 0 || self.best.is_some())),
            ("plateau", (0.0..=1.0).contains(&self.plateau.factor) && waits(self.plateau.waited)),
        ] {
            ensure!(is_possible, "{name} has an impossible value");
        }
        Ok(())
    }

    /// Returns false if the position in the schedule is far from that in the epochs. With a token budget,
    /// the number of steps differs from epoch to epoch.
    fn has_plausible_schedule(&self) -> bool {
        let (epoch, batch) = (self.epoch as u64, self.batch as u64);
        let expected = match self.steps_per_epoch {
            // Of an earlier version.
            0 => return self.schedule_offset == 0,
            steps => steps.saturating_mul(epoch).saturating_add(batch),
        };
        let position = self.step.saturating_add_signed(self.schedule_offset);
        position.abs_diff(expected) <= expected / 2 + 1
    }

    /// Advances by one step of an epoch of `batches` batches. Returns true at the end of the epoch.
    pub fn advance(&mut self, batches: usize) -> bool {
        advance(&mut self.epoch, &mut self.batch, &mut self.step, batches)
    }

    /// Epoch of the last step, from 1.
    pub fn epoch_number(&self) -> usize {
        epoch_number(self.epoch, self.batch)
    }

    /// Scales of the branches in the saved weights, which the latest validation has chosen.
    pub fn branch_scales(&self) -> BranchScales {
        self.last.and_then(|last| last.branch_scales).unwrap_or_default()
    }

    /// Records a validation in this epoch.
    pub fn validated(
        &mut self,
        epoch: usize,
        score: Score,
        config: &EarlyStoppingConfig,
    ) -> Comparison {
        let cost = |score: Score| score.cost(&config.metric);
        let comparison = match self.best.map(|best| best.validation) {
            Some(best) if cost(score) >= cost(best) - config.min_delta => {
                let is_tied = cost(score) == cost(best) && score.rank(best, &config.metric).is_lt();
                if is_tied { Comparison::Tied } else { Comparison::NotBetter }
            }
            _ => Comparison::Improved,
        };
        if comparison.is_best() {
            self.best = Some(Best { epoch, validation: score });
        }
        self.waited = if comparison == Comparison::Improved { 0 } else { self.waited + 1 };
        comparison
    }

    /// Reason why the run is over; `None` if it is not.
    pub fn stop_reason(&self, config: &TrainConfig) -> Option<StopReason> {
        if config.early_stopping.patience.is_some_and(|patience| self.waited >= patience) {
            return Some(StopReason::EarlyStopping);
        }
        (self.epoch >= config.epoch_limit()).then_some(StopReason::Epochs)
    }
}

/// Advances a position by one step of an epoch of `batches` batches. Returns true at the end of the epoch.
pub(super) fn advance(
    epoch: &mut usize,
    batch: &mut usize,
    step: &mut u64,
    batches: usize,
) -> bool {
    *step += 1;
    *batch += 1;
    let end_of_epoch = *batch >= batches;
    if end_of_epoch {
        (*epoch, *batch) = (*epoch + 1, 0);
    }
    end_of_epoch
}

/// Epoch of the last step before a position, from 1.
pub(super) fn epoch_number(epoch: usize, batch: usize) -> usize {
    if batch == 0 { epoch } else { epoch.saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// Returns a flag for each validation, true for a new best, and the stop reason after the last one.
    fn run(fields: &str, scores: &[(f64, f64)]) -> (Vec<bool>, Option<StopReason>) {
        let yaml = format!("data: {{train: x}}\ntrain: {{early_stopping: {{{fields}}}}}\n");
        let config = config::parse(&yaml, "test", &[]).unwrap().config.train;
        let mut progress = Progress::default();
        let mut validated = |&(loss, accuracy): &(f64, f64)| {
            progress.validated(1, Score::new(loss, accuracy), &config.early_stopping).is_best()
        };
        let bests = scores.iter().map(&mut validated).collect();
        (bests, progress.stop_reason(&config))
    }

    #[test]
    fn training_stops_after_patience_validations_without_a_new_best() {
        let scores = [(0.5, 0.7), (0.4, 0.8), (0.45, 0.9), (0.41, 0.9)];
        let expected = (vec![true, true, false, false], Some(StopReason::EarlyStopping));
        assert_eq!(run("patience: 2", &scores), expected);
        assert_eq!(run("patience: 3", &scores).1, None);
        assert_eq!(run("patience: null", &scores).1, None);
    }

    #[test]
    fn a_new_best_improves_the_configured_metric_by_min_delta() {
        let scores = [(0.5, 0.7), (0.4, 0.7), (0.45, 0.705), (0.6, 0.8)];
        assert_eq!(run("metric: validation_accuracy", &scores).0, [true, true, true, true]);
        let fields = "metric: validation_accuracy, min_delta: 0.01";
        assert_eq!(run(fields, &scores).0, [true, true, false, true]);
        assert_eq!(run("min_delta: 0.2", &scores).0, [true, false, false, false]);
    }

    #[test]
    fn the_lower_loss_breaks_ties_but_early_stopping_waits_for_the_metric() {
        let scores = [(0.5, 0.7), (0.4, 0.7), (0.45, 0.7)];
        let expected = (vec![true, true, false], Some(StopReason::EarlyStopping));
        assert_eq!(run("metric: validation_accuracy, patience: 2", &scores), expected);
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
    fn impossible_numbers_are_rejected() {
        let validation = Score::new(0.5, 0.75);
        let good = || Progress {
            epoch: 2,
            batch: 5,
            step: 25,
            seconds: 9.0,
            tokens: 900,
            steps_per_epoch: 10,
            best: Some(Best { epoch: 1, validation }),
            waited: 1,
            ..Progress::default()
        };
        good().check().unwrap();
        Progress::default().check().unwrap();
        type Damage = fn(&mut Progress);
        let damages: [(&str, Damage); 22] = [
            ("step", |progress| progress.step = u64::MAX),
            ("epoch", |progress| progress.epoch = 26),
            ("epoch", |progress| progress.epoch = usize::MAX),
            ("batch", |progress| progress.batch = 24),
            ("batch", |progress| progress.batch = usize::MAX),
            ("meter", |progress| progress.meter.correct = 1),
            ("meter", |progress| progress.meter.loss_sum = f64::INFINITY),
            ("meter", |progress| progress.meter.examples = 901),
            ("meter", |progress| progress.meter.loss_sum = -1.0),
            ("meter", |progress| progress.meter.added.entropy = Some(f64::NAN)),
            ("schedule_offset", |progress| progress.schedule_offset = 1 << 31),
            ("schedule_offset", |progress| progress.step = 1 << 31),
            ("schedule_offset", |progress| progress.steps_per_epoch = 1 << 20),
            ("best", |progress| progress.best.as_mut().unwrap().validation.loss = -1.0),
            ("tokens", |progress| progress.tokens = u64::MAX),
            ("seconds", |progress| progress.seconds = -1.0),
            ("seconds_at_validation", |progress| progress.seconds_at_validation = 9.5),
            ("best", |progress| progress.best.as_mut().unwrap().epoch = 4),
            ("best", |progress| progress.best.as_mut().unwrap().validation.accuracy = 1.5),
            ("waited", |progress| progress.best = None),
            ("waited", |progress| progress.waited = 27),
            ("plateau", |progress| progress.plateau.factor = -1.0),
        ];
        for (name, damage) in damages {
            let mut progress = good();
            damage(&mut progress);
            let error = progress.check().unwrap_err().to_string();
            assert_eq!(error, format!("{name} has an impossible value"));
        }
    }

    #[test]
    fn progress_is_unchanged_by_a_json_round_trip() {
        let mut progress = Progress { seconds: 0.1 + 0.2, step: u64::MAX, ..Progress::default() };
        progress.meter.add(1.0 / 3.0, 1, 3);
        progress.meter.added.adversarial_loss = Some(0.1 + 0.7);
        let json = serde_json::to_string(&progress).unwrap();
        assert_eq!(serde_json::from_str::<Progress>(&json).unwrap(), progress);
    }
}

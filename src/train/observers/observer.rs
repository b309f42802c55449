//! The trait of observers, and the events that it reports.

use crate::backend::Learner;
use crate::evaluation::Predictions;
use crate::model::NamedTensor;
use crate::objective::AddedLosses;
use crate::objective::metrics::Score;
use crate::run::progress::{Progress, StopReason};
use crate::run::records::ValidationRecord;
use crate::run::summary::{CheckpointKind, RunSummary};

/// Start of an epoch, or its continuation after a resume.
#[derive(Clone, Copy, Debug)]
pub struct EpochStart {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Number of steps in the epoch.
    pub steps: usize,
    /// Number of these steps that were done before the resume.
    pub done: usize,
}

/// Measurements of one training step.
#[derive(Clone, Copy, Debug)]
pub struct StepMetrics {
    /// Number of the step, from 1.
    pub step: u64,
    /// Mean loss of the batch.
    pub loss: f64,
    /// Means of the losses that training adds to that of the labels.
    pub added: AddedLosses,
    /// Number of correct predictions.
    pub correct: u64,
    /// Number of examples in the batch.
    pub examples: usize,
    /// Number of tokens in the batch.
    pub tokens: usize,
    /// Wall time of the step.
    pub seconds: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping; `None` if it overflowed fp16.
    pub gradient_norm: Option<f64>,
}

/// Result of a validation.
pub struct Validation<'a> {
    /// Scores and position in the run.
    pub record: ValidationRecord,
    /// Predictions on the validation examples.
    pub predictions: &'a Predictions,
    /// Seconds of training since the last validation.
    pub train_seconds: f64,
    /// True if the score is the best so far.
    pub is_best: bool,
}

/// Follows a training run. By default, every method does nothing. An error that a method returns ends
/// the run.
///
/// # Errors
/// Methods return an error if the observer cannot write.
#[expect(unused_variables, reason = "the default implementations do nothing")]
pub trait Observer {
    /// Called with a note for the user.
    fn noted(&mut self, note: &str) {}

    /// Called when an epoch starts, or continues after a resume.
    fn epoch_started(&mut self, epoch: EpochStart) {}

    /// Called with the measurements of each step, in order. They may arrive several steps late.
    fn step_measured(&mut self, metrics: &StepMetrics) -> anyhow::Result<()> {
        Ok(())
    }

    /// Called after each step. `learner` has its weights, before averaging, and its gradients.
    fn step_done(&mut self, step: u64, learner: &dyn Learner) -> anyhow::Result<()> {
        Ok(())
    }

    /// Called after each validation.
    fn validated(&mut self, validation: &Validation) -> anyhow::Result<()> {
        Ok(())
    }

    /// Called when a checkpoint is to be saved. Observers that are called before the one that saves it
    /// must flush everything up to this step to disk, so that the logs of a resumed run have no gap.
    /// `learner` uses the averages of the weights, if they are averaged.
    fn checkpoint(
        &mut self,
        kind: CheckpointKind,
        learner: &mut dyn Learner,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        Ok(())
    }

    /// Returns the weights of the best validation, if this observer has saved them.
    fn best_weights(&self) -> anyhow::Result<Option<Vec<NamedTensor>>> {
        Ok(None)
    }

    /// Returns true if [`Observer::finished`] uses the weights.
    fn wants_final_weights(&self) -> bool {
        false
    }

    /// Called after the last step.
    fn stopped(&mut self, reason: StopReason, progress: &Progress) {}

    /// Called with the score of the test examples, after the last step.
    fn tested(&mut self, score: Score, step: u64) -> anyhow::Result<()> {
        Ok(())
    }

    /// Called when the run is finished. `learner` has the weights that `outcome` describes, if
    /// [`Observer::wants_final_weights`] returns true.
    fn finished(
        &mut self,
        outcome: &RunSummary,
        step: u64,
        learner: &dyn Learner,
    ) -> anyhow::Result<()> {
        Ok(())
    }

    /// Called when a signal has interrupted the run after this step, and `last/` has been saved. `learner`
    /// has the weights of `last/`.
    fn interrupted(&mut self, step: u64, learner: &dyn Learner) -> anyhow::Result<()> {
        Ok(())
    }

    /// Called when an error has ended the run after this step. Its cause, such as a full disk, may affect
    /// the observer too.
    fn failed(&mut self, step: u64) {}
}

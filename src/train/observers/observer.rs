//! The events of a training run.

use crate::backend::Learner;
use crate::evaluation::Predictions;
use crate::model::NamedTensor;
use crate::objective::metrics::Score;
use crate::run::directory::{RunSummary, ValidationRecord};
use crate::run::progress::{Progress, StopReason};

/// An epoch that starts or continues.
#[derive(Clone, Copy, Debug)]
pub struct EpochStart {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Number of its steps.
    pub steps: usize,
    /// Steps that an earlier session has done.
    pub done: usize,
}

/// Measurements of one training step.
#[derive(Clone, Copy, Debug)]
pub struct StepMetrics {
    /// Number of the step, from 1.
    pub step: u64,
    /// Mean loss of the batch.
    pub loss: f64,
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

/// A finished validation.
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

/// Which checkpoint is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointKind {
    /// The best validation so far.
    Best,
    /// The latest step.
    Last,
}

/// Follows a training run. Every method has an implementation that does nothing. An error ends the
/// run.
///
/// # Errors
/// Every method that returns a result returns an error if the observer cannot write.
#[expect(unused_variables, reason = "the default implementations do nothing")]
pub trait Observer {
    /// The user should know this.
    fn noted(&mut self, note: &str) {}

    /// An epoch starts, or continues after a resume.
    fn epoch_started(&mut self, epoch: EpochStart) {}

    /// A step was measured; steps arrive in order, possibly several at a time.
    fn step_measured(&mut self, metrics: &StepMetrics) -> anyhow::Result<()> {
        Ok(())
    }

    /// A step is done. `learner` has its weights and gradients.
    fn step_done(&mut self, step: u64, learner: &dyn Learner) -> anyhow::Result<()> {
        Ok(())
    }

    /// A validation is done.
    fn validated(&mut self, validation: &Validation) -> anyhow::Result<()> {
        Ok(())
    }

    /// A checkpoint is due. Observers that are called before the one that writes it must bring
    /// everything up to this step to the disk, so that a resumed run has no gap.
    fn checkpoint(
        &mut self,
        kind: CheckpointKind,
        learner: &mut dyn Learner,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        Ok(())
    }

    /// Weights of the best validation, if this observer has kept them.
    fn best_weights(&self) -> anyhow::Result<Option<Vec<NamedTensor>>> {
        Ok(None)
    }

    /// Returns true if [`Observer::finished`] uses the weights.
    fn wants_final_weights(&self) -> bool {
        false
    }

    /// No further step follows.
    fn stopped(&mut self, reason: StopReason, progress: &Progress) {}

    /// The test examples were scored after the last step.
    fn tested(&mut self, score: Score, step: u64) -> anyhow::Result<()> {
        Ok(())
    }

    /// The run is over; `learner` has the weights that the outcome is about.
    fn finished(
        &mut self,
        outcome: &RunSummary,
        step: u64,
        learner: &dyn Learner,
    ) -> anyhow::Result<()> {
        Ok(())
    }

    /// A signal stopped the run after this step.
    fn interrupted(&mut self, step: u64, learner: &dyn Learner) -> anyhow::Result<()> {
        Ok(())
    }

    /// An error ended the run after this step. Whatever caused it may affect the observer, too.
    fn failed(&mut self, step: u64) {}
}

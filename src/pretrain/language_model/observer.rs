//! The trait of observers of the training of a language model.

use crate::backend::LanguageModelLearner;
use crate::run::language_model::{
    LanguageModelProgress, LanguageModelRecord, LanguageModelSummary,
};
use crate::run::summary::CheckpointKind;

/// Measurements of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepMetrics {
    /// Number of the step, from 1.
    pub step: u64,
    /// Mean training loss over the directions in nats per token.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Number of predicted tokens of one direction.
    pub tokens: usize,
    /// Wall time of the step.
    pub seconds: f64,
}

/// Follows the training of a language model. By default, every method does nothing. An error that a method returns
/// ends the run.
///
/// # Errors
/// Methods return an error if the observer cannot write.
#[expect(unused_variables, reason = "the default implementations do nothing")]
pub trait Observer {
    /// Called when an epoch, counted from 1, starts or continues after `done` of `steps` steps.
    fn epoch_started(&mut self, epoch: usize, steps: usize, done: usize) {}

    /// Called with the measurements of each step.
    fn step_measured(&mut self, metrics: &StepMetrics) -> anyhow::Result<()> {
        Ok(())
    }

    /// Called after each validation. `seconds` are those of training since the last one.
    fn validated(
        &mut self,
        record: &LanguageModelRecord,
        seconds: f64,
        is_best: bool,
    ) -> anyhow::Result<()> {
        Ok(())
    }

    /// Called when a checkpoint is to be saved. Observers that are called before the one that saves it must flush
    /// everything up to this step to disk, so that the logs of a resumed run have no gap.
    fn checkpoint(
        &mut self,
        kind: CheckpointKind,
        learner: &mut dyn LanguageModelLearner,
        progress: &LanguageModelProgress,
    ) -> anyhow::Result<()> {
        Ok(())
    }

    /// Called when all epochs are done, or the perplexity has stopped improving.
    fn finished(&mut self, summary: &LanguageModelSummary) -> anyhow::Result<()> {
        Ok(())
    }

    /// Called when a signal has interrupted the run, after its checkpoint.
    fn interrupted(&mut self) {}

    /// Called when an error ends the run.
    fn failed(&mut self) {}
}

//! Logs a run to TensorBoard.

use std::path::Path;

use super::observer::{Observer, StepMetrics, Validation};
use crate::backend::Learner;
use crate::data::prepared::PreparedData;
use crate::events::summaries::RunStatus;
use crate::objective::metrics::Score;
use crate::run::progress::Progress;
use crate::run::summary::{CheckpointKind, RunSummary};
use crate::tensorboard::{StepPoint, SummaryWriter};

/// Writes event files into a run directory.
pub struct TensorBoard<'a> {
    writer: SummaryWriter<'a>,
    log_every: u64,
}

impl<'a> TensorBoard<'a> {
    /// Creates the event files of a run on `data` in its directory.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    pub fn new(data: &'a PreparedData, directory: &Path) -> anyhow::Result<Self> {
        let log_every = data.resolved.config.train.log_every;
        Ok(Self { writer: SummaryWriter::new(data, directory)?, log_every })
    }
}

impl Observer for TensorBoard<'_> {
    fn step_measured(&mut self, metrics: &StepMetrics) -> anyhow::Result<()> {
        if !metrics.step.is_multiple_of(self.log_every) {
            return Ok(());
        }
        let point = StepPoint {
            loss: metrics.loss,
            added: metrics.added,
            accuracy: metrics.correct as f64 / metrics.examples as f64,
            learning_rate: metrics.learning_rate,
            gradient_norm: metrics.gradient_norm,
            tokens_per_second: metrics.tokens as f64 / metrics.seconds,
        };
        self.writer.train_step(&point, metrics.step)
    }

    fn step_done(&mut self, step: u64, learner: &dyn Learner) -> anyhow::Result<()> {
        match self.writer.wants_histograms(step) {
            true => self.writer.histograms(&learner.weights(), &learner.gradients(), step),
            false => Ok(()),
        }
    }

    fn validated(&mut self, validation: &Validation) -> anyhow::Result<()> {
        let record = &validation.record;
        self.writer.validation(validation.predictions, record)
    }

    fn checkpoint(
        &mut self,
        _: CheckpointKind,
        _: &mut dyn Learner,
        _: &Progress,
    ) -> anyhow::Result<()> {
        self.writer.sync()
    }

    fn wants_final_weights(&self) -> bool {
        self.writer.wants_vectors()
    }

    fn tested(&mut self, score: Score, step: u64) -> anyhow::Result<()> {
        self.writer.test(score, step)
    }

    fn finished(
        &mut self,
        outcome: &RunSummary,
        step: u64,
        learner: &dyn Learner,
    ) -> anyhow::Result<()> {
        self.writer.scores(outcome, step)?;
        self.writer.vectors(|| learner.weights())?;
        self.writer.end(RunStatus::Success, step)
    }

    fn interrupted(&mut self, _: u64, learner: &dyn Learner) -> anyhow::Result<()> {
        self.writer.vectors(|| learner.weights())
    }

    fn failed(&mut self, step: u64) {
        let _ = self.writer.end(RunStatus::Failure, step);
    }
}

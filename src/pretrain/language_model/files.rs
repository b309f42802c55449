//! The files of the run of a language model: curves for TensorBoard, metrics, summary and checkpoints.

use std::path::Path;
use std::time::SystemTime;

use super::observer::{Observer, StepMetrics};
use crate::backend::LanguageModelLearner;
use crate::config::Resolved;
use crate::events::summaries;
use crate::events::{
    CONFIG, EventWriter, GRADIENT_NORM, LEARNING_RATE, LOSS, PERPLEXITY, SubRun, TOKENS_PER_SECOND,
};
use crate::run::checkpoint::{self, Contents, ModelKind};
use crate::run::directory::RunDirectory;
use crate::run::language_model::{
    LanguageModelProgress, LanguageModelRecord, LanguageModelSummary,
};
use crate::run::summary::CheckpointKind;
use crate::text::Encoders;

/// Writes the curves of a run.
pub struct TensorBoard {
    train: EventWriter,
    validation: EventWriter,
    log_every: u64,
}

impl TensorBoard {
    /// Creates the event files in a run directory, and logs the configuration.
    ///
    /// # Errors
    /// Returns an error if a file cannot be created or written.
    pub fn new(resolved: &Resolved, directory: &Path) -> anyhow::Result<Self> {
        let now = SystemTime::now();
        let mut session = EventWriter::create(directory, now)?;
        let markdown = format!("```\n{}```\n", resolved.to_yaml());
        let description = "The resolved configuration.";
        session.summary(summaries::text(CONFIG, description, &markdown), 0, now)?;
        session.flush()?;
        let sub_run = |sub_run: SubRun| EventWriter::create(&sub_run.directory(directory), now);
        Ok(Self {
            train: sub_run(SubRun::Train)?,
            validation: sub_run(SubRun::Validation)?,
            log_every: resolved.config.train.log_every,
        })
    }
}

impl Observer for TensorBoard {
    fn step_measured(&mut self, metrics: &StepMetrics) -> anyhow::Result<()> {
        if !metrics.step.is_multiple_of(self.log_every) {
            return Ok(());
        }
        let now = SystemTime::now();
        for (tag, value) in [
            (LOSS, metrics.loss),
            (LEARNING_RATE, metrics.learning_rate),
            (GRADIENT_NORM, metrics.gradient_norm),
            (TOKENS_PER_SECOND, metrics.tokens as f64 / metrics.seconds.max(1e-9)),
        ] {
            self.train.scalar(tag, value, metrics.step, now)?;
        }
        Ok(())
    }

    fn validated(&mut self, record: &LanguageModelRecord, _: f64, _: bool) -> anyhow::Result<()> {
        let Some(perplexity) = &record.perplexity else { return Ok(()) };
        let now = SystemTime::now();
        for (direction, value) in perplexity.named() {
            let tag = format!("{PERPLEXITY}/{direction}");
            self.validation.scalar(&tag, value, record.step, now)?;
        }
        self.validation.scalar(PERPLEXITY, perplexity.loss().exp(), record.step, now)?;
        self.flush()
    }

    fn checkpoint(
        &mut self,
        _: CheckpointKind,
        _: &mut dyn LanguageModelLearner,
        _: &LanguageModelProgress,
    ) -> anyhow::Result<()> {
        self.train.sync()?;
        self.validation.sync()
    }

    fn finished(&mut self, _: &LanguageModelSummary) -> anyhow::Result<()> {
        self.flush()
    }
}

impl TensorBoard {
    fn flush(&mut self) -> anyhow::Result<()> {
        self.train.flush()?;
        self.validation.flush()
    }
}

/// Writes metrics, summary and checkpoints into a run directory.
pub struct RunFiles<'a> {
    run: RunDirectory,
    resolved: &'a Resolved,
    encoders: &'a Encoders,
}

impl<'a> RunFiles<'a> {
    /// Writes into `run` checkpoints of a language model with these settings and this encoder.
    pub fn new(run: RunDirectory, resolved: &'a Resolved, encoders: &'a Encoders) -> Self {
        Self { run, resolved, encoders }
    }
}

impl Observer for RunFiles<'_> {
    fn validated(
        &mut self,
        record: &LanguageModelRecord,
        seconds: f64,
        _: bool,
    ) -> anyhow::Result<()> {
        self.run.append_language_model_record(record, seconds)
    }

    fn checkpoint(
        &mut self,
        kind: CheckpointKind,
        learner: &mut dyn LanguageModelLearner,
        progress: &LanguageModelProgress,
    ) -> anyhow::Result<()> {
        let contents = Contents {
            model: ModelKind::LanguageModel,
            resolved: self.resolved,
            labels: &[],
            encoders: self.encoders,
            weights: learner.weights(),
            raw_weights: None,
            optimizer_state: learner.optimizer_state(),
            progress,
        };
        checkpoint::save(&self.run.checkpoint(kind), &contents)
    }

    fn finished(&mut self, summary: &LanguageModelSummary) -> anyhow::Result<()> {
        self.run.write_language_model_summary(summary)
    }
}

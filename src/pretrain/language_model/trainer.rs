//! The loop that trains a language model: for each epoch the texts in another order, for each batch a step; then
//! perplexity of held-out texts, early stopping and checkpoints.

use std::fmt;
use std::time::Instant;

use anyhow::{Context, bail};

use super::observer::{Observer, StepMetrics};
use super::stream::{Rows, TokenStream};
use crate::backend::LanguageModelLearner;
use crate::config::LanguageModelConfig;
use crate::distributed::{Collective, Group};
use crate::pretrain::PretrainingTexts;
use crate::run::language_model::{
    LanguageModelProgress, LanguageModelRecord, LanguageModelSummary, Perplexity,
};
use crate::run::summary::CheckpointKind;
use crate::system::signals::{Interrupt, SIGTERM};

/// The training of a language model in progress.
pub struct LanguageModelTrainer<'a> {
    parts: Parts<'a>,
    observers: Vec<Box<dyn Observer + 'a>>,
}

/// Outcome of training.
pub enum Ending {
    /// The run has completed all epochs or stopped early.
    Finished(Box<LanguageModelSummary>),
    /// This signal interrupted the run, which has saved `last/`.
    Interrupted(i32),
}

/// Error of a run whose loss or gradient is not finite.
#[derive(Debug)]
pub struct Diverged {
    step: u64,
    measured: String,
    learning_rate: f64,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { step, measured, learning_rate } = self;
        write!(
            f,
            "training diverged at step {step}: {measured}, learning rate {learning_rate:?}; lower \
             pretrain.language_model.learning_rate or pretrain.language_model.gradient_clip"
        )
    }
}

impl std::error::Error for Diverged {}

/// Parts of a trainer.
pub struct Parts<'a> {
    /// Texts.
    pub texts: &'a PretrainingTexts,
    /// Settings.
    pub config: &'a LanguageModelConfig,
    /// Random seed of the order of the texts.
    pub seed: u64,
    /// Language model.
    pub learner: Box<dyn LanguageModelLearner + 'a>,
    /// Number of directions.
    pub directions: usize,
    /// Number of trainable parameters.
    pub parameters: usize,
    /// Rows and steps of a batch.
    pub rows: Rows,
    /// Progress with which it starts.
    pub progress: LanguageModelProgress,
    /// Processes that train the model together.
    pub collective: &'a dyn Collective,
}

impl<'a> LanguageModelTrainer<'a> {
    /// Puts the parts together.
    pub fn new(parts: Parts<'a>) -> Self {
        Self { parts, observers: Vec::new() }
    }

    /// Returns the number of completed steps.
    pub fn steps_done(&self) -> u64 {
        self.parts.progress.step
    }

    /// Adds an observer. Observers are called in the order in which they were added.
    pub fn add_observer(&mut self, observer: impl Observer + 'a) {
        self.observers.push(Box::new(observer));
    }

    /// Trains until the run is finished or a signal interrupts it.
    ///
    /// # Errors
    /// Returns an error if an observer cannot write, [`Diverged`] if the loss or a gradient is not finite, or the
    /// backend's own errors.
    pub fn train(mut self, interrupt: &Interrupt) -> anyhow::Result<Ending> {
        let ending = self.train_to_end(interrupt);
        if ending.is_err() {
            self.observers.iter_mut().for_each(|observer| observer.failed());
        }
        let ending = ending?;
        // A launcher stops all processes when the first one ends, but rank 0 may still be saving.
        self.parts.collective.barrier()?;
        Ok(ending)
    }

    fn train_to_end(&mut self, interrupt: &Interrupt) -> anyhow::Result<Ending> {
        while !self.is_over() {
            if let Some(signal) = self.train_epoch(interrupt)? {
                self.save(CheckpointKind::Last)?;
                self.observers.iter_mut().for_each(|observer| observer.interrupted());
                return Ok(Ending::Interrupted(signal));
            }
        }
        self.save(CheckpointKind::Last)?;
        let progress = &self.parts.progress;
        let summary = LanguageModelSummary {
            parameters: self.parts.parameters,
            epochs: progress.epoch_number(),
            tokens: progress.tokens,
            seconds: progress.seconds,
            tokens_per_second: progress.tokens as f64 / progress.seconds.max(1e-9),
            best: progress.best.clone(),
            held_out_tokens: self
                .held_out_batches()
                .map_or(0, |(rows, batches)| (rows.count * rows.steps * batches) as u64),
        };
        for observer in &mut self.observers {
            observer.finished(&summary)?;
        }
        Ok(Ending::Finished(Box::new(summary)))
    }

    /// Returns true if all epochs are done, or the perplexity has stopped improving.
    pub fn is_over(&self) -> bool {
        self.parts.progress.epoch >= self.parts.config.epochs || self.has_stopped_early()
    }

    /// Returns true if the perplexity has stopped improving.
    pub fn has_stopped_early(&self) -> bool {
        self.parts.config.patience.is_some_and(|patience| self.parts.progress.waited >= patience)
    }

    /// Trains for the rest of an epoch. Returns the signal if one interrupted it.
    fn train_epoch(&mut self, interrupt: &Interrupt) -> anyhow::Result<Option<i32>> {
        let LanguageModelProgress { epoch, batch: first, .. } = self.parts.progress;
        let stream = TokenStream::shuffled(&self.parts.texts.train, self.parts.seed, epoch);
        let batches = self.parts.rows.batches();
        self.observers
            .iter_mut()
            .for_each(|observer| observer.epoch_started(epoch + 1, batches, first));
        if first == 0 {
            // The rows of this epoch continue other texts.
            self.parts.learner.reset_states();
        }
        for index in first..batches {
            let signal = self.step(&stream, index, interrupt)?;
            let end_of_epoch = self.parts.progress.advance(batches);
            let step = self.parts.progress.step;
            let is_last = self.parts.progress.epoch >= self.parts.config.epochs;
            if is_last || self.parts.config.validate_every.due(step, end_of_epoch) {
                self.validate()?;
            }
            if self.is_over() {
                return Ok(None);
            }
            if signal.is_some() {
                return Ok(signal);
            }
            if self.parts.config.checkpoint_every.due(step, end_of_epoch) {
                self.save(CheckpointKind::Last)?;
            }
        }
        Ok(None)
    }

    /// Trains on one batch. Returns the signal if one has arrived in a process.
    fn step(
        &mut self,
        stream: &TokenStream,
        index: usize,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Option<i32>> {
        let start = Instant::now();
        let collective = self.parts.collective;
        let group = Group { collective, stop: interrupt.signal().is_some() };
        let learning_rate = self.learning_rate(self.parts.progress.step);
        let batch = stream.batch(&self.parts.rows, index, self.parts.directions);
        let step = self.parts.progress.step;
        let stats = self.parts.learner.step(&batch, step, learning_rate, group)?;
        let loss = stats.losses.iter().sum::<f64>() / stats.losses.len().max(1) as f64;
        let step = self.parts.progress.step + 1;
        if !stats.is_finite() {
            let norm = stats.gradient_norm;
            bail!(Diverged {
                step,
                measured: format!("loss {loss}, gradient norm {norm}"),
                learning_rate
            });
        }
        let (tokens, seconds) = (batch.tokens(), start.elapsed().as_secs_f64());
        self.parts.progress.tokens += tokens as u64;
        self.parts.progress.seconds += seconds;
        self.parts.progress.loss_sum += loss;
        self.parts.progress.loss_steps += 1;
        let gradient_norm = stats.gradient_norm;
        let metrics = StepMetrics { step, loss, gradient_norm, learning_rate, tokens, seconds };
        for observer in &mut self.observers {
            observer.step_measured(&metrics)?;
        }
        Ok(match collective.is_alone() {
            true => interrupt.signal(),
            // All processes learn of a signal of one of them in the same step.
            false => stats.stop_requested.then(|| interrupt.signal().unwrap_or(SIGTERM)),
        })
    }

    /// Learning rate of a step, counted from 0: it falls linearly to 0 at the end of the last epoch.
    fn learning_rate(&self, step: u64) -> f64 {
        let total = self.parts.rows.batches() as f64 * self.parts.config.epochs as f64;
        self.parts.config.learning_rate * (1.0 - step as f64 / total).max(0.0)
    }

    /// Rows of the held-out texts, and the number of batches that are scored; `None` if there is nothing to score.
    fn held_out_batches(&self) -> Option<(Rows, usize)> {
        let tokens = TokenStream::in_order(&self.parts.texts.held_out).tokens();
        let rows = Rows::new(tokens, self.parts.rows.count, self.parts.rows.steps)?;
        let wanted = self.parts.config.validation_tokens.div_ceil((rows.count * rows.steps) as u64);
        Some((rows, (wanted as usize).min(rows.batches())))
    }

    /// Computes the perplexity of the held-out texts; `None` if there are none.
    fn perplexity(&mut self) -> anyhow::Result<Option<Perplexity>> {
        let Some((rows, batches)) = self.held_out_batches() else { return Ok(None) };
        let stream = TokenStream::in_order(&self.parts.texts.held_out);
        let mut sums = vec![0.0; self.parts.directions];
        for index in 0..batches {
            let batch = stream.batch(&rows, index, self.parts.directions);
            let losses = self.parts.learner.score(&batch, index == 0)?;
            let losses = losses.iter().map(|rows| rows.iter().sum::<f64>());
            sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss);
        }
        let tokens = (rows.count * rows.steps * batches) as f64;
        Ok(Some(Perplexity::of(sums.into_iter().map(|sum| sum / tokens))))
    }

    /// Returns the perplexity that rank 0 has computed: another processor may round a logarithm differently, and then
    /// stop at another step.
    fn perplexity_of_first(&self, own: Option<Perplexity>) -> anyhow::Result<Option<Perplexity>> {
        if self.parts.collective.is_alone() {
            return Ok(own);
        }
        let json = serde_json::to_vec(&own).context("cannot encode a perplexity")?;
        let json = self.parts.collective.broadcast_bytes(json)?;
        // JSON has no numbers that are not finite; they end the run in every process.
        Ok(serde_json::from_slice(&json).unwrap_or(own))
    }

    /// Scores the held-out texts, and saves the checkpoint `best/` if no earlier perplexity was lower.
    fn validate(&mut self) -> anyhow::Result<()> {
        let perplexity = self.perplexity()?;
        let perplexity = self.perplexity_of_first(perplexity)?;
        let progress = &self.parts.progress;
        let learning_rate = self.learning_rate(progress.step.saturating_sub(1));
        if perplexity.as_ref().is_some_and(|perplexity| !perplexity.loss().is_finite()) {
            let measured = "infinite perplexity of the held-out texts".to_owned();
            bail!(Diverged { step: progress.step, measured, learning_rate });
        }
        let record = LanguageModelRecord {
            epoch: progress.epoch_number(),
            step: progress.step,
            tokens: progress.tokens,
            train_loss: progress.loss_sum / progress.loss_steps.max(1) as f64,
            perplexity,
            learning_rate,
        };
        let seconds = progress.seconds - progress.seconds_at_validation;
        let is_best = self.parts.progress.validated(&record);
        for observer in &mut self.observers {
            observer.validated(&record, seconds, is_best)?;
        }
        if is_best {
            self.save(CheckpointKind::Best)?;
        }
        Ok(())
    }

    fn save(&mut self, kind: CheckpointKind) -> anyhow::Result<()> {
        for observer in &mut self.observers {
            observer.checkpoint(kind, &mut *self.parts.learner, &self.parts.progress)?;
        }
        Ok(())
    }
}

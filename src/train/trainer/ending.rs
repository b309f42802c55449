//! The end of a run: the scores of its final weights, and its summary.

use anyhow::{Context, bail};

use super::Trainer;
use crate::data::Finding;
use crate::model::NamedTensor;
use crate::objective::metrics::Score;
use crate::run::summary::{CheckpointKind, RunSummary, ScoredWeights};
use crate::train::diagnosis;
use crate::train::layer_rates::LayerRates;

impl Trainer<'_> {
    /// Saves the checkpoint `last/`, and scores the test examples.
    pub(super) fn finish(&mut self) -> anyhow::Result<RunSummary> {
        if let Some(reason) = self.progress.stop_reason(self.config) {
            for observer in &mut self.observers {
                observer.stopped(reason, &self.progress);
            }
        }
        self.save(CheckpointKind::Last)?;
        let best = self.progress.best.context("the run ended without a validation")?;
        let has_test = !self.data.test.is_empty();
        let uses_weights =
            has_test || self.observers.iter().any(|observer| observer.wants_final_weights());
        let uses_weights = self.collective.broadcast_flag(uses_weights)?;
        let (checkpoint, epoch, validation) = match self.config.early_stopping.restore_best {
            true => (CheckpointKind::Best, best.epoch, best.validation),
            false => (CheckpointKind::Last, self.progress.epoch_number(), self.last_score()?),
        };
        let scored = ScoredWeights { checkpoint, epoch };
        match checkpoint {
            CheckpointKind::Best if uses_weights => self.restore_best()?,
            CheckpointKind::Best => {}
            CheckpointKind::Last => self.scale_branches(self.progress.branch_scales())?,
        }
        let step = self.progress.step;
        let test = has_test.then(|| self.predict(&self.data.test)).transpose()?;
        if let Some(predictions) = &test {
            predictions.check_finite().context("cannot score the test examples")?;
        }
        let test = test.map(|predictions| self.score(&predictions));
        if let Some(score) = test {
            for observer in &mut self.observers {
                observer.tested(score, step)?;
            }
        }
        let warnings =
            diagnosis::warnings(self.data, &self.objective, &self.progress, scored, validation);
        let frozen = self.layer_rates.as_ref().map_or(0, LayerRates::frozen_values);
        let outcome = RunSummary {
            parameters: self.learner.parameter_count() - frozen,
            best_epoch: best.epoch,
            seconds: self.progress.seconds,
            source: self.progress.source.clone(),
            tokens_per_second: self.progress.tokens as f64 / self.progress.seconds.max(1e-9),
            scored: Some(scored),
            validation,
            warnings,
            notes: self.data.notes().map(Finding::to_string).collect(),
            validation_examples: self.data.validation.len(),
            validation_data: Some(self.data.fingerprints.validation),
            test,
            test_data: test.map(|_| self.data.fingerprints.test),
        };
        for observer in &mut self.observers {
            observer.finished(&outcome, step, &*self.learner)?;
        }
        Ok(outcome)
    }

    /// Returns the validation score of the final weights.
    fn last_score(&mut self) -> anyhow::Result<Score> {
        match self.progress.last {
            Some(record) => Ok(record.validation),
            // A run of an earlier version was killed after its last validation.
            None => self.validation_score(),
        }
    }

    /// Loads the weights of the best validation from the observer that saved them, in all processes.
    fn restore_best(&mut self) -> anyhow::Result<()> {
        let loaded = match self.collective.leads() {
            true => self.best_weights().and_then(|weights| self.learner.load_weights(weights)),
            false => Ok(()),
        };
        self.collective.agree(loaded)?;
        if self.collective.is_alone() {
            return Ok(());
        }
        let mut weights = self.learner.weights();
        self.collective
            .broadcast_arrays(weights.iter_mut().map(|tensor| &mut tensor.values[..]))?;
        self.learner.load_weights(weights)
    }

    fn best_weights(&self) -> anyhow::Result<Vec<NamedTensor>> {
        for observer in &self.observers {
            if let Some(weights) = observer.best_weights()? {
                return Ok(weights);
            }
        }
        bail!("no observer has saved the weights of the best validation")
    }
}

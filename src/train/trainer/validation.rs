//! Validation of the trainer's weights. Decisions that depend on it are rank 0's.

use anyhow::{Context, bail};

use super::{Diverged, FrozenModel, Trainer};
use crate::data::Dataset;
use crate::data::batch_plan::BatchLimit;
use crate::evaluation::Predictions;
use crate::model::branch_scales::BranchScales;
use crate::objective::LossFunction;
use crate::objective::metrics::Score;
use crate::run::progress::Best;
use crate::run::records::ValidationRecord;
use crate::run::summary::CheckpointKind;
use crate::train::observers::Validation;

impl Trainer<'_> {
    /// Validates a frozen model, which the best validation of the training is compared with.
    pub(super) fn validate_frozen(&mut self, frozen: FrozenModel) -> anyhow::Result<()> {
        let FrozenModel { train_loss, correct, branch_scales, next_weights } = frozen;
        self.progress.meter.add(train_loss, correct, self.data.train.len() as u64);
        self.validate_with(branch_scales)?;
        self.learner.use_raw_weights();
        next_weights.map_or(Ok(()), |weights| self.learner.load_weights(weights))
    }

    /// Makes the current weights those of the best validation, because the latter have been deleted.
    pub(super) fn replace_best(&mut self) -> anyhow::Result<()> {
        let scales = self.progress.branch_scales();
        self.scale_branches(scales)?;
        let validation = self.validation_score()?;
        self.scale_branches(scales.inverse())?;
        self.progress.best = Some(Best { epoch: self.progress.epoch_number(), validation });
        self.save(CheckpointKind::Best)
    }

    /// Scores the validation examples, and saves the checkpoint `best/` if no earlier score was better.
    pub(super) fn validate(&mut self) -> anyhow::Result<()> {
        self.validate_with(None)
    }

    /// Validates with these scales of the branches; `None`: those that suit the validation examples best.
    fn validate_with(&mut self, branch_scales: Option<BranchScales>) -> anyhow::Result<()> {
        let learning_rate = self.schedule.last_rate(&self.progress);
        self.drain_metrics()?;
        let (branch_scales, predictions) = self.predict_validation(branch_scales)?;
        // Another processor may round a logarithm differently, and then stop at another epoch.
        let decided = (branch_scales, self.score(&predictions));
        let (branch_scales, score) = self.decision_of_first(decided)?;
        if !score.loss.is_finite() {
            bail!(Diverged {
                place: format!("the validation after step {}", self.progress.step),
                measured: format!("loss {}", score.loss),
                learning_rate,
            });
        }
        let progress = &mut self.progress;
        let epoch = progress.epoch_number();
        let comparison = progress.validated(epoch, score, &self.config.early_stopping);
        let is_best = comparison.is_best();
        self.schedule.validated(&mut progress.plateau, comparison);
        let record = ValidationRecord {
            epoch,
            step: progress.step,
            train: progress.meter.score(),
            added: progress.meter.added_losses(),
            validation: score,
            learning_rate,
            branch_scales,
        };
        let train_seconds = progress.seconds - progress.seconds_at_validation;
        progress.last = Some(record);
        progress.meter = Default::default();
        progress.seconds_at_validation = progress.seconds;
        let validation = Validation { record, predictions: &predictions, train_seconds, is_best };
        for observer in &mut self.observers {
            observer.validated(&validation)?;
        }
        if is_best {
            self.save(CheckpointKind::Best)?;
        }
        Ok(())
    }

    /// Returns the scales of the branches and the score that rank 0 has computed.
    fn decision_of_first(
        &self,
        own: (Option<BranchScales>, Score),
    ) -> anyhow::Result<(Option<BranchScales>, Score)> {
        if self.collective.is_alone() {
            return Ok(own);
        }
        let json = serde_json::to_vec(&own).context("cannot encode a score")?;
        let json = self.collective.broadcast_bytes(json)?;
        // JSON has no numbers that are not finite; they end the run in every process.
        Ok(serde_json::from_slice(&json).unwrap_or(own))
    }

    /// Returns the score of predictions, with the metric that determines the best validation.
    pub(super) fn score(&self, predictions: &Predictions) -> Score {
        predictions.score_with(&self.config.early_stopping.metric, &self.data.labels)
    }

    /// Scores the validation examples with the current weights, as rank 0 computes it.
    pub(super) fn validation_score(&mut self) -> anyhow::Result<Score> {
        let predictions = self.predict(&self.data.validation)?;
        let (_, score) = self.decision_of_first((None, self.score(&predictions)))?;
        Ok(score)
    }

    /// Computes predictions with the averages of the weights, if they are averaged.
    pub(super) fn predict(&mut self, data: &Dataset) -> anyhow::Result<Predictions> {
        self.learner.use_averages();
        Predictions::of(
            &*self.learner,
            self.objective.labelling(),
            data,
            BatchLimit::for_evaluation(self.config),
            self.collective,
        )
    }

    /// Computes predictions for the validation examples with these scales of the branches, or those that suit them best.
    fn predict_validation(
        &mut self,
        branch_scales: Option<BranchScales>,
    ) -> anyhow::Result<(Option<BranchScales>, Predictions)> {
        let data = &self.data.validation;
        let predictions = self.predict(data)?;
        if !self.config().scales_branches() {
            return Ok((None, predictions));
        }
        let (limit, labelling) =
            (BatchLimit::for_evaluation(self.config), self.objective.labelling());
        let ngrams =
            Predictions::of_ngrams(&*self.learner, labelling, data, limit, self.collective)?;
        let scales = branch_scales.unwrap_or_else(|| predictions.choose_branch_scales(&ngrams));
        Ok((Some(scales), predictions.with_branch_scales(&ngrams, scales)))
    }

    /// Multiplies the weights in use by these scales of the branches.
    pub(super) fn scale_branches(&mut self, scales: BranchScales) -> anyhow::Result<()> {
        if scales == BranchScales::default() {
            return Ok(());
        }
        self.learner.use_averages();
        let mut weights = self.learner.weights();
        weights.retain(|tensor| scales.factor(&tensor.name).is_some());
        scales.apply(&mut weights);
        self.learner.load_weights(weights)
    }
}

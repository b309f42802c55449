//! The training loop: one batch plan per epoch; for each batch, gradients → sum over processes → clip →
//! update → average; then validation, early stopping and checkpoints.

use std::fmt;
use std::panic;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail};

use super::diagnosis;
use super::layer_rates::LayerRates;
use super::observers::{EpochStart, Observer, StepMetrics, Validation};
use super::resume::{Resume, Start, order_fingerprint};
use super::schedule::Schedule;
use super::step_texts::{EpochTexts, StepTexts, Windows};
use super::unlabelled::UnlabelledTexts;
use crate::backend::{Learner, PreparedBatch, StepStats};
use crate::config::{Config, TrainConfig};
use crate::data::Dataset;
use crate::data::Finding;
use crate::data::Usage;
use crate::data::batch_plan::{BatchLimit, BatchPlan, Bucketing};
use crate::data::prepared::PreparedData;
use crate::distributed::{Collective, Group, SingleProcess};
use crate::evaluation::Predictions;
use crate::model::NamedTensor;
use crate::model::branch_scales::BranchScales;
use crate::objective::metrics::Score;
use crate::objective::{LossFunction, Objective};
use crate::run::progress::{Best, ModelSource, Progress};
use crate::run::records::ValidationRecord;
use crate::run::summary::{CheckpointKind, RunSummary, ScoredWeights};
use crate::system::signals::{Interrupt, SIGTERM};
use crate::system::threads;

/// Maximum number of batches that wait for the training thread.
const PREPARED_AHEAD: usize = 2;

/// A training run in progress.
pub struct Trainer<'a> {
    data: &'a PreparedData,
    config: &'a TrainConfig,
    learner: Box<dyn Learner + 'a>,
    collective: &'a dyn Collective,
    observers: Vec<Box<dyn Observer + 'a>>,
    bucketing: Bucketing,
    /// Sequence length T of each training example, for each input.
    lengths: Vec<Vec<usize>>,
    unlabelled: Option<UnlabelledTexts<'a>>,
    schedule: Schedule,
    layer_rates: Option<LayerRates<'a>>,
    progress: Progress,
    /// The run continues from a checkpoint.
    has_resumed: bool,
    /// The weights of the best validation are missing.
    lost_best: bool,
    /// A model that is validated before the first step.
    frozen: Option<FrozenModel>,
    objective: Objective,
    notes: Vec<String>,
    /// Steps that are done, but whose measurements have not been read yet.
    pending: Vec<PendingStep>,
    /// Start time of the first pending step.
    pending_since: Instant,
    /// A process of the group has received a signal.
    stop_requested: bool,
}

/// A model of which only the output layers have been fitted.
pub struct FrozenModel {
    /// Mean loss of the training examples.
    pub train_loss: f64,
    /// Number of training examples that it predicts correctly.
    pub correct: u64,
    /// Weights with which the training of all layers begins; `None` if there is none.
    pub next_weights: Option<Vec<NamedTensor>>,
}

/// Outcome of training.
pub enum Ending {
    /// The run has completed all epochs or stopped early.
    Finished(Box<RunSummary>),
    /// This signal interrupted the run, which has saved `last/`.
    Interrupted(i32),
}

/// Error of a run whose loss or gradient is not finite.
#[derive(Debug)]
pub struct Diverged {
    place: String,
    measured: String,
    learning_rate: f64,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { place, measured, learning_rate } = self;
        write!(
            f,
            "training diverged at {place}: {measured}, learning rate {learning_rate:?}; lower \
             train.learning_rate or train.gradient_clip"
        )
    }
}

impl std::error::Error for Diverged {}

/// A step whose measurements have not been read yet.
struct PendingStep {
    /// Number of the step, from 1.
    step: u64,
    /// Number of its epoch, from 1.
    epoch: usize,
    /// Number of its batch in the epoch, from 1.
    batch: usize,
    examples: usize,
    tokens: usize,
    learning_rate: f64,
}

impl<'a> Trainer<'a> {
    /// Creates the trainer of a new run, or of a run that resumes. The learner has the weights and the
    /// optimizer state with which training starts.
    ///
    /// # Errors
    /// Returns the errors of [`Resume::start`].
    pub fn new(
        data: &'a PreparedData,
        objective: Objective,
        learner: Box<dyn Learner + 'a>,
        resume: Option<Resume>,
    ) -> anyhow::Result<Self> {
        let config = &data.resolved.config.train;
        let bucketing = Bucketing::new(config);
        let lengths = data.train.lengths();
        // With a token budget, the number of batches varies between epochs; the schedule uses that of
        // the first.
        let steps = bucketing.plan(&lengths, config.seed, 0).len() as u64;
        let schedule = Schedule::new(config, steps);
        let order = order_fingerprint(data, &lengths)?;
        let has_resumed = resume.is_some();
        let Start { mut progress, lost_best, notes } = match resume {
            None => Start::default(),
            Some(resume) => {
                let batches = |epoch| bucketing.plan(&lengths, config.seed, epoch).len();
                resume.start(data, order, batches, &schedule)?
            }
        };
        (progress.order, progress.steps_per_epoch) = (order, steps);
        progress.data = Some(data.fingerprints);
        Ok(Self {
            schedule,
            layer_rates: LayerRates::new(data)?,
            data,
            config,
            objective,
            notes,
            learner,
            collective: &SingleProcess,
            stop_requested: false,
            observers: Vec::new(),
            bucketing,
            lengths,
            unlabelled: data.unlabelled.as_ref().map(|texts| UnlabelledTexts::new(texts, config)),
            progress,
            has_resumed,
            lost_best,
            frozen: None,
            pending: Vec::new(),
            pending_since: Instant::now(),
        })
    }

    /// Adds an observer. Observers are called in the order in which they were added.
    pub fn add_observer(&mut self, observer: impl Observer + 'a) {
        self.observers.push(Box::new(observer));
    }

    /// Sets the group of processes that train the model together.
    pub fn set_collective(&mut self, collective: &'a dyn Collective) {
        self.collective = collective;
    }

    /// Records the model from whose weights the run starts. The run then saves a checkpoint before its first
    /// step, so that it never needs that model again.
    pub fn set_source(&mut self, source: ModelSource) {
        let validation = self.data.fingerprints.validation;
        let usage = source.data.map(|data| data.usage(validation));
        if let Some(Usage::Training | Usage::IncludesTraining) = usage {
            self.notes.push(
                "the model from which the run starts was trained on the validation examples, so their \
                 scores say little about other texts"
                    .to_owned(),
            );
        }
        self.progress.source = Some(source);
    }

    /// Sets a frozen model, whose weights the learner has. It is validated before the first step.
    pub fn set_frozen_model(&mut self, frozen: FrozenModel) {
        self.frozen = Some(frozen);
    }

    /// Records what the rounding of the run depends on, and notes a change of it.
    pub fn set_arithmetic(&mut self, arithmetic: String) {
        let before = self.progress.arithmetic.replace(arithmetic.clone());
        if let Some(before) = before.filter(|before| *before != arithmetic) {
            self.notes.push(format!(
                "the run was computed with {before} and continues with {arithmetic}: the results can \
                 differ from those of an uninterrupted run"
            ));
        }
    }

    /// Returns the configuration of the run.
    pub fn config(&self) -> &'a Config {
        &self.data.resolved.config
    }

    /// Returns the number of completed steps.
    pub fn steps_done(&self) -> u64 {
        self.progress.step
    }

    /// Returns true if the run continues from a checkpoint.
    pub fn has_resumed(&self) -> bool {
        self.has_resumed
    }

    /// Trains until the run is finished or a signal interrupts it. Waits for the other processes at the end.
    ///
    /// # Errors
    /// Returns an error if an observer cannot write, [`Diverged`] if the loss or a gradient is not
    /// finite, or the backend's own errors.
    pub fn train(mut self, interrupt: &Interrupt) -> anyhow::Result<Ending> {
        let ending = self.train_to_end(interrupt);
        if ending.is_err() {
            let step = self.progress.step;
            self.observers.iter_mut().for_each(|observer| observer.failed(step));
        }
        let ending = ending?;
        // A launcher stops all processes when the first one ends, but rank 0 may still be saving.
        self.collective.barrier()?;
        Ok(ending)
    }

    fn train_to_end(&mut self, interrupt: &Interrupt) -> anyhow::Result<Ending> {
        for note in &self.notes {
            self.observers.iter_mut().for_each(|observer| observer.noted(note));
        }
        if self.lost_best {
            self.replace_best()?;
        }
        if let Some(frozen) = self.frozen.take() {
            self.validate_frozen(frozen)?;
        }
        if self.progress.source.is_some() && self.progress.step == 0 {
            self.save(CheckpointKind::Last)?;
        }
        while self.progress.stop_reason(self.config).is_none() {
            if let Some(signal) = self.train_epoch(interrupt)? {
                self.save(CheckpointKind::Last)?;
                let (step, learner) = (self.progress.step, &*self.learner);
                for observer in &mut self.observers {
                    observer.interrupted(step, learner)?;
                }
                return Ok(Ending::Interrupted(signal));
            }
        }
        self.finish().map(|outcome| Ending::Finished(Box::new(outcome)))
    }

    /// Validates a frozen model, which the best validation of the training is compared with.
    fn validate_frozen(&mut self, frozen: FrozenModel) -> anyhow::Result<()> {
        let FrozenModel { train_loss, correct, next_weights } = frozen;
        self.progress.meter.add(train_loss, correct, self.data.train.len() as u64);
        self.validate()?;
        self.learner.use_raw_weights();
        next_weights.map_or(Ok(()), |weights| self.learner.load_weights(weights))
    }

    /// Makes the current weights those of the best validation, because the latter have been deleted.
    fn replace_best(&mut self) -> anyhow::Result<()> {
        let scales = self.progress.branch_scales();
        self.scale_branches(scales)?;
        let validation = self.validation_score()?;
        self.scale_branches(scales.inverse())?;
        self.progress.best = Some(Best { epoch: self.progress.epoch_number(), validation });
        self.save(CheckpointKind::Best)
    }

    /// Trains for the rest of an epoch, while another thread prepares batches. Returns the signal if one
    /// interrupted it.
    fn train_epoch(&mut self, interrupt: &Interrupt) -> anyhow::Result<Option<i32>> {
        let (data, seed) = (&self.data.train, self.config.seed);
        let Progress { epoch, batch: first, step, .. } = self.progress;
        let plan = &self.bucketing.plan(&self.lengths, seed, epoch);
        if let Some(rates) = &self.layer_rates {
            self.learner.set_rate_factors(&rates.factors(epoch));
        }
        let start = EpochStart { epoch: epoch + 1, steps: plan.len(), done: first };
        self.observers.iter_mut().for_each(|observer| observer.epoch_started(start));
        let worker = self.collective.worker();
        let mut prepare = self.learner.preparer(worker);
        let mut prepare_unlabelled =
            self.unlabelled.is_some().then(|| self.learner.unlabelled_preparer(worker));
        let texts = EpochTexts::new(data, plan, self.unlabelled.take(), seed, (first, step));
        thread::scope(|scope| {
            let (sender, batches) = sync_channel(PREPARED_AHEAD);
            let mut send = move |texts: StepTexts| {
                let StepTexts { labelled, unlabelled } = texts;
                let mut batch = prepare(&labelled, &labelled.examples, labelled.seed);
                if let Some((texts, prepare)) = unlabelled.zip(prepare_unlabelled.as_mut()) {
                    batch = batch.with_unlabelled(prepare(&texts, &texts.examples, texts.seed));
                }
                sender.send(batch).is_ok()
            };
            let (windows, received) = channel();
            // Only one thread may communicate with the other processes.
            let (mut windows, mut here) = match data.is_sharded() {
                true => (Some(Windows::new(texts, windows)), None),
                false => (None, Some(texts)),
            };
            let preparation = threads::spawn_scoped(scope, "prepare", move || {
                match &mut here {
                    Some(texts) => texts.all(send),
                    None => received.into_iter().flatten().all(&mut send),
                };
                here.and_then(EpochTexts::into_unlabelled)
            })?;
            let result = self.train_batches(plan, &batches, windows.as_mut(), interrupt);
            drop(batches);
            let collected = windows.and_then(Windows::into_unlabelled);
            match preparation.join() {
                Ok(unlabelled) => {
                    self.unlabelled = unlabelled.or(collected);
                    result
                }
                // The panic is the cause; the error in `result` is only that no more batches came.
                Err(panic) => panic::resume_unwind(panic),
            }
        })
    }

    /// Trains on the batches that arrive, to the end of the epoch or of the run. Returns the signal if
    /// one interrupted it.
    fn train_batches(
        &mut self,
        plan: &BatchPlan,
        batches: &Receiver<PreparedBatch>,
        mut windows: Option<&mut Windows>,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Option<i32>> {
        for index in self.progress.batch..plan.len() {
            let start = Instant::now();
            if let Some(windows) = &mut windows {
                windows.reach(index, self.collective)?;
            }
            let batch = batches.recv().context("the thread that prepares batches has stopped")?;
            self.step(&batch, plan.batch(index), interrupt, start)?;
            let signal = self.after_step(plan, interrupt)?;
            if signal.is_some() || self.progress.stop_reason(self.config).is_some() {
                return Ok(signal);
            }
        }
        Ok(None)
    }

    /// Trains on one batch.
    fn step(
        &mut self,
        batch: &PreparedBatch,
        examples: &[u32],
        interrupt: &Interrupt,
        start: Instant,
    ) -> anyhow::Result<()> {
        let learning_rate = self.schedule.rate_after(&self.progress);
        if self.pending.is_empty() {
            self.pending_since = start;
        }
        if self.schedule.averages_after(&self.progress) {
            self.learner.start_averaging();
        }
        let clip = self.config.gradient_clip;
        let group = Group { collective: self.collective, stop: interrupt.signal().is_some() };
        self.learner.step(batch, group, clip, learning_rate)?;
        self.pending.push(PendingStep {
            step: self.progress.step + 1,
            epoch: self.progress.epoch + 1,
            batch: self.progress.batch + 1,
            examples: examples.len(),
            tokens: self.data.train.tokens_of(examples),
            learning_rate,
        });
        Ok(())
    }

    /// Reads measurements, validates and saves a checkpoint, if they are due after this step. Returns the
    /// signal if one arrived.
    fn after_step(
        &mut self,
        plan: &BatchPlan,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Option<i32>> {
        let end_of_epoch = self.progress.advance(plan.len());
        let step = self.progress.step;
        if self.pending.len() >= self.learner.stats_interval() {
            self.drain_metrics()?;
        }
        for observer in &mut self.observers {
            observer.step_done(step, &*self.learner)?;
        }
        if self.validation_due(end_of_epoch) {
            self.validate()?;
        }
        let signal = match self.collective.is_alone() {
            true => interrupt.signal(),
            // All processes learn of a signal of one of them in the same step.
            false => self.stop_requested.then(|| interrupt.signal().unwrap_or(SIGTERM)),
        };
        let over = signal.is_some() || self.progress.stop_reason(self.config).is_some();
        if !over && self.config.checkpoint_every.due(step, end_of_epoch) {
            self.save(CheckpointKind::Last)?;
        }
        Ok(signal)
    }

    /// Reads the measurements of the pending steps and passes them to the observers.
    fn drain_metrics(&mut self) -> anyhow::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let stats = self.learner.drain_step_stats();
        let seconds = self.pending_since.elapsed().as_secs_f64() / pending.len().max(1) as f64;
        for (step, stats) in pending.iter().zip(stats) {
            let StepStats { loss, added, gradient_norm, stop_requested } = stats;
            self.stop_requested |= stop_requested;
            if !stats.is_finite() {
                let PendingStep { step, epoch, batch, learning_rate, .. } = *step;
                let norm = gradient_norm.unwrap_or(f64::NAN);
                bail!(Diverged {
                    place: format!("step {step} (epoch {epoch}, batch {batch})"),
                    measured: format!("loss {}, gradient norm {norm}", loss.mean),
                    learning_rate,
                });
            }
            let progress = &mut self.progress;
            progress.meter.add(loss.mean, loss.correct, step.examples as u64);
            progress.meter.add_losses(&added, step.examples as u64);
            progress.tokens += step.tokens as u64;
            progress.seconds += seconds;
            let metrics = StepMetrics {
                step: step.step,
                loss: loss.mean,
                added,
                correct: loss.correct,
                examples: step.examples,
                tokens: step.tokens,
                seconds,
                learning_rate: step.learning_rate,
                gradient_norm,
            };
            for observer in &mut self.observers {
                observer.step_measured(&metrics)?;
            }
        }
        Ok(())
    }

    /// Returns true if a validation is due. One always follows the last step.
    fn validation_due(&self, end_of_epoch: bool) -> bool {
        self.progress.epoch >= self.config.epoch_limit()
            || self.config.validate_every.due(self.progress.step, end_of_epoch)
    }

    /// Scores the validation examples, and saves the checkpoint `best/` if no earlier score was better.
    fn validate(&mut self) -> anyhow::Result<()> {
        let learning_rate = self.schedule.last_rate(&self.progress);
        self.drain_metrics()?;
        let (branch_scales, predictions) = self.predict_validation()?;
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
    fn score(&self, predictions: &Predictions) -> Score {
        predictions.score_with(&self.config.early_stopping.metric, &self.data.labels)
    }

    /// Scores the validation examples with the current weights, as rank 0 computes it.
    fn validation_score(&mut self) -> anyhow::Result<Score> {
        let predictions = self.predict(&self.data.validation)?;
        let (_, score) = self.decision_of_first((None, self.score(&predictions)))?;
        Ok(score)
    }

    /// Computes predictions with the averages of the weights, if they are averaged.
    fn predict(&mut self, data: &Dataset) -> anyhow::Result<Predictions> {
        self.learner.use_averages();
        Predictions::of(
            &*self.learner,
            self.objective.labelling(),
            data,
            BatchLimit::for_evaluation(self.config),
            self.collective,
        )
    }

    /// Computes predictions for the validation examples with the scales of the branches that suit them best.
    fn predict_validation(&mut self) -> anyhow::Result<(Option<BranchScales>, Predictions)> {
        let data = &self.data.validation;
        let predictions = self.predict(data)?;
        if !self.config().scales_branches() {
            return Ok((None, predictions));
        }
        let (limit, labelling) =
            (BatchLimit::for_evaluation(self.config), self.objective.labelling());
        let ngrams =
            Predictions::of_ngrams(&*self.learner, labelling, data, limit, self.collective)?;
        let (scales, predictions) = predictions.choose_branch_scales(&ngrams);
        Ok((Some(scales), predictions))
    }

    /// Multiplies the weights in use by these scales of the branches.
    fn scale_branches(&mut self, scales: BranchScales) -> anyhow::Result<()> {
        if scales == BranchScales::default() {
            return Ok(());
        }
        self.learner.use_averages();
        let mut weights = self.learner.weights();
        weights.retain(|tensor| scales.factor(&tensor.name).is_some());
        scales.apply(&mut weights);
        self.learner.load_weights(weights)
    }

    /// Saves the checkpoint `last/`, and scores the test examples.
    fn finish(&mut self) -> anyhow::Result<RunSummary> {
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

    /// Has the observers save a checkpoint, after they have received all measurements up to this step.
    /// The learner uses the averages of the weights, if they are averaged.
    fn save(&mut self, kind: CheckpointKind) -> anyhow::Result<()> {
        self.drain_metrics()?;
        self.learner.use_averages();
        for observer in &mut self.observers {
            observer.checkpoint(kind, &mut *self.learner, &self.progress)?;
        }
        Ok(())
    }
}

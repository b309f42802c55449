//! The training loop: one batch plan per epoch; for each batch, gradients → sum over processes → joint language
//! model → clip → update → average; then validation, early stopping and checkpoints.

mod ending;
mod validation;

use std::fmt;
use std::panic;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail};

use super::added_texts::AddedTexts;
use super::layer_rates::LayerRates;
use super::observers::{EpochStart, Observer, StepMetrics};
use super::resume::{Resume, Start, order_fingerprint};
use super::schedule::Schedule;
use super::step_texts::{EpochTexts, StepTexts, Windows};
use crate::backend::{Learner, PreparedBatch, StepStats};
use crate::config::{Config, TrainConfig};
use crate::data::Usage;
use crate::data::batch_plan::{BatchPlan, Bucketing};
use crate::data::prepared::PreparedData;
use crate::distributed::{Collective, Group, SingleProcess};
use crate::model::NamedTensor;
use crate::model::branch_scales::BranchScales;
use crate::objective::Objective;
use crate::run::progress::{ModelSource, Progress};
use crate::run::summary::{CheckpointKind, RunSummary};
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
    /// Texts that steps read besides the training examples; `None` during an epoch, and after one that has failed.
    added: Option<AddedTexts<'a>>,
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
    /// Number of epochs after which the run pauses.
    pause_after: Option<usize>,
}

/// A model of which only the output layers have been fitted.
pub struct FrozenModel {
    /// Mean loss of the training examples.
    pub train_loss: f64,
    /// Number of training examples that it predicts correctly.
    pub correct: u64,
    /// Scales of its branches; `None` if the validation chooses them.
    pub branch_scales: Option<BranchScales>,
    /// Weights with which the training of all layers begins; `None` if there is none.
    pub next_weights: Option<Vec<NamedTensor>>,
}

/// Outcome of training.
pub enum Ending {
    /// The run has completed all epochs or stopped early.
    Finished(Box<RunSummary>),
    /// This signal interrupted the run, which has saved `last/`.
    Interrupted(i32),
    /// The run has saved `last/` after this epoch, from 1, at which it was to stop.
    Paused(usize),
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
            pause_after: None,
            observers: Vec::new(),
            bucketing,
            lengths,
            added: Some(AddedTexts::of(data)?),
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

    /// Has the run save `last/` and end after this number of epochs, unless it is over by then.
    pub fn pause_after(&mut self, epochs: usize) {
        self.pause_after = Some(epochs);
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
            let epochs = self.progress.epoch;
            if self.pause_after.is_some_and(|limit| epochs >= limit) {
                self.interrupt()?;
                return Ok(Ending::Paused(epochs));
            }
            if let Some(signal) = self.train_epoch(interrupt)? {
                self.interrupt()?;
                return Ok(Ending::Interrupted(signal));
            }
        }
        self.finish().map(|outcome| Ending::Finished(Box::new(outcome)))
    }

    /// Saves the state of a run that ends before its time.
    fn interrupt(&mut self) -> anyhow::Result<()> {
        self.save(CheckpointKind::Last)?;
        let (step, learner) = (self.progress.step, &*self.learner);
        self.observers.iter_mut().try_for_each(|observer| observer.interrupted(step, learner))
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
        let added = self.added.take().context("an earlier epoch has failed")?;
        let mut prepare_unlabelled =
            added.unlabelled.is_some().then(|| self.learner.unlabelled_preparer(worker));
        let texts = EpochTexts::new(data, plan, added, seed, (first, step));
        thread::scope(|scope| {
            let (sender, batches) = sync_channel(PREPARED_AHEAD);
            let mut send = move |texts: StepTexts| {
                let StepTexts { labelled, unlabelled, language_model } = texts;
                let batch = prepare(&labelled, &labelled.examples, labelled.seed);
                let mut batch = batch.with_language_model(language_model);
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
                here.map(EpochTexts::into_added)
            })?;
            let result = self.train_batches(plan, &batches, windows.as_mut(), interrupt);
            drop(batches);
            let collected = windows.map(Windows::into_added);
            match preparation.join() {
                Ok(added) => {
                    self.added = added.or(collected);
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

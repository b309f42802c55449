//! The training loop: for each epoch a plan, for each batch logits → loss → gradients → clip →
//! step → log; then validation, early stopping, checkpoint.

use std::panic;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use crate::backend::{Learner, StepStats};
use crate::config::{ClassWeights, TrainConfig};
use crate::data::Dataset;
use crate::data::batch_plan::{BatchLimit, Bucketing, Plan};
use crate::data::prepared::PreparedData;
use crate::evaluation::Predictions;
use crate::events::summaries::RunStatus;
use crate::output::note;
use crate::random::{SeedPurpose, derive_seed, fingerprint};
use crate::run::checkpoint::{self, Checkpoint, Contents};
use crate::run::directory::{Outcome, Record, RunDirectory};
use crate::run::progress::Progress;
use crate::system::signals::Interrupt;
use crate::tensorboard::{StepPoint, SummaryWriter};
use crate::train::observers::console::Console;
use crate::train::schedule::Schedule;

/// Batches that are made ready while another is computed.
const AHEAD: usize = 2;

/// A run under way.
pub struct Trainer<'a, L> {
    experiment: &'a PreparedData,
    config: &'a TrainConfig,
    run: RunDirectory,
    learner: L,
    bucketing: Bucketing,
    /// The steps of every training example, for each input.
    lengths: Vec<Vec<usize>>,
    schedule: Schedule,
    progress: Progress,
    /// Steps that `progress` knows nothing of but that they were made.
    pending: Vec<Pending>,
    /// When the first of them began.
    pending_since: Instant,
    board: SummaryWriter<'a>,
    console: Console,
}

/// How training ended.
pub enum Ending {
    /// It is done; the run folder has everything.
    Finished(Outcome),
    /// A signal stopped it; `last/` is written.
    Interrupted(i32),
}

/// A step whose loss is not read yet.
struct Pending {
    /// Its number, from 1.
    step: u64,
    /// Its epoch and its batch in that, from 1.
    epoch: usize,
    batch: usize,
    examples: usize,
    tokens: usize,
    learning_rate: f64,
}

impl<'a, L: Learner> Trainer<'a, L> {
    /// A run from its beginning, or from where `checkpoint` was written.
    ///
    /// # Errors
    /// Where the checkpoint does not fit the configuration, or the run folder cannot be written.
    pub fn new(
        experiment: &'a PreparedData,
        run: RunDirectory,
        mut learner: L,
        checkpoint: Option<&Checkpoint>,
    ) -> anyhow::Result<Self> {
        let config = &experiment.resolved.config.train;
        let mut progress = Progress::default();
        if let Some(checkpoint) = checkpoint {
            learner.restore(checkpoint.memory()?)?;
            progress = checkpoint.progress()?;
        }
        let bucketing = Bucketing::of(config);
        let lengths = experiment.train.lengths();
        // Every epoch of a token budget has a number of batches of its own; the first one's stands
        // for all in the schedule.
        let steps = bucketing.plan(&lengths, config.seed, 0).len() as u64;
        let total = steps * config.epochs as u64;
        let learning_rate = config.learning_rate.unwrap_or(config.optimizer.learning_rate());
        let order = order_fingerprint(experiment, &lengths);
        ensure!(
            progress.batch == 0 || progress.order == order,
            "the run was stopped inside epoch {}, and its examples or their order have changed \
             since: leave the data, train.seed, batch_size, token_budget and bucketing as they were",
            progress.epoch + 1
        );
        if progress.step > 0 && progress.order != order {
            note(
                "the training examples, or what orders them, are not those that the run was \
                 trained on so far; validation examples may have been trained on",
            );
        }
        progress.order = order;
        if progress.step > 0 {
            // Nothing can be refused any more: only now is the folder of a resumed run changed.
            run.truncate_to_step(progress.step, &experiment.resolved.to_yaml())?;
        }
        Ok(Self {
            schedule: Schedule::new(&config.schedule, learning_rate, steps, total),
            board: SummaryWriter::new(experiment, run.path())?,
            console: Console::new(config.epochs),
            experiment,
            config,
            run,
            learner,
            bucketing,
            lengths,
            progress,
            pending: Vec::new(),
            pending_since: Instant::now(),
        })
    }

    /// Trains until the run is over or a signal comes.
    ///
    /// # Errors
    /// Where a file cannot be written, or the loss or a gradient is not finite any more.
    pub fn train(mut self, interrupt: &Interrupt) -> anyhow::Result<Ending> {
        let ending = self.train_to_end(interrupt);
        if ending.is_err() {
            // What stopped the run may hinder this too.
            let _ = self.board.end(RunStatus::Failure, self.progress.step);
        }
        ending
    }

    fn train_to_end(&mut self, interrupt: &Interrupt) -> anyhow::Result<Ending> {
        while self.progress.finished(self.config).is_none() {
            if let Some(signal) = self.epoch(interrupt)? {
                self.console.clear();
                self.save(&self.run.last())?;
                self.board.vectors(|| self.learner.weights())?;
                return Ok(Ending::Interrupted(signal));
            }
        }
        self.finish().map(Ending::Finished)
    }

    /// The rest of an epoch, while a thread makes batches ready; a signal that ended it.
    fn epoch(&mut self, interrupt: &Interrupt) -> anyhow::Result<Option<i32>> {
        let (data, seed) = (&self.experiment.train, self.config.seed);
        let Progress { epoch, batch: first, step, .. } = self.progress;
        let plan = &self.bucketing.plan(&self.lengths, seed, epoch);
        self.console.epoch_begins(epoch + 1, plan.len(), first);
        let mut prepare = self.learner.preparer();
        thread::scope(|scope| {
            let (sender, batches) = sync_channel(AHEAD);
            let preparing = scope.spawn(move || {
                for (step, index) in (step..).zip(first..plan.len()) {
                    let seed = derive_seed(seed, SeedPurpose::Dropout(step));
                    if sender.send(prepare(data, plan.batch(index), seed)).is_err() {
                        return;
                    }
                }
            });
            let ended = self.steps(plan, &batches, interrupt);
            drop(batches);
            match preparing.join() {
                Ok(()) => ended,
                // The reason why there was no batch any more.
                Err(panic) => panic::resume_unwind(panic),
            }
        })
    }

    /// A step for each batch that comes, to the end of the epoch or of training; a signal that came
    /// meanwhile.
    fn steps(
        &mut self,
        plan: &Plan,
        batches: &Receiver<L::Batch>,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Option<i32>> {
        for index in self.progress.batch..plan.len() {
            let start = Instant::now();
            let batch = batches.recv().context("no batch was made ready")?;
            self.step(&batch, plan.batch(index), start)?;
            let signal = self.stepped(plan, interrupt)?;
            if signal.is_some() || self.progress.finished(self.config).is_some() {
                return Ok(signal);
            }
        }
        Ok(None)
    }

    /// What follows a step: curves, validation, checkpoint; a signal that came meanwhile.
    fn stepped(&mut self, plan: &Plan, interrupt: &Interrupt) -> anyhow::Result<Option<i32>> {
        let end_of_epoch = self.progress.advance(plan.len());
        let step = self.progress.step;
        if self.pending.len() >= self.learner.stats_interval() {
            self.read()?;
        }
        if self.board.wants_histograms(step) {
            let (weights, gradients) = (self.learner.weights(), self.learner.gradients());
            self.board.histograms(&weights, &gradients, step)?;
        }
        if self.validation_due(end_of_epoch) {
            self.validate()?;
        }
        let signal = interrupt.signal();
        let over = signal.is_some() || self.progress.finished(self.config).is_some();
        if !over && self.config.checkpoint_every.due(step, end_of_epoch) {
            self.save(&self.run.last())?;
        }
        Ok(signal)
    }

    /// One batch: loss → gradient → clip → update.
    fn step(&mut self, batch: &L::Batch, examples: &[u32], start: Instant) -> anyhow::Result<()> {
        let learning_rate = self.schedule.rate(self.progress.step, &self.progress.plateau);
        if self.pending.is_empty() {
            self.pending_since = start;
        }
        self.learner.step(batch, self.config.gradient_clip, learning_rate)?;
        self.pending.push(Pending {
            step: self.progress.step + 1,
            epoch: self.progress.epoch + 1,
            batch: self.progress.batch + 1,
            examples: examples.len(),
            tokens: self.experiment.train.tokens_of(examples),
            learning_rate,
        });
        Ok(())
    }

    /// Reads what the last steps measured, shows it, and writes their curves.
    fn read(&mut self) -> anyhow::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let measured = self.learner.measured();
        let seconds = self.pending_since.elapsed().as_secs_f64() / pending.len().max(1) as f64;
        for (step, measured) in pending.iter().zip(measured) {
            let StepStats { loss, gradient_norm } = measured;
            if !measured.is_finite() {
                let Pending { step, epoch, batch, learning_rate, .. } = *step;
                let place = format!("step {step} (epoch {epoch}, batch {batch})");
                let norm = gradient_norm.unwrap_or(f64::NAN);
                let what = format!("loss {}, gradient norm {norm}", loss.mean);
                bail!(self.diverged(&place, &what, learning_rate));
            }
            let progress = &mut self.progress;
            progress.meter.add(loss.mean, loss.correct, step.examples as u64);
            progress.tokens += step.tokens as u64;
            progress.seconds += seconds;
            self.console.step(loss.mean, step.examples, step.tokens);
            if !step.step.is_multiple_of(self.config.log_every) {
                continue;
            }
            let point = StepPoint {
                loss: loss.mean,
                accuracy: loss.correct as f64 / step.examples as f64,
                learning_rate: step.learning_rate,
                gradient_norm,
                tokens_per_second: step.tokens as f64 / seconds,
            };
            self.board.train_step(&point, step.step)?;
        }
        Ok(())
    }

    /// As configured, and after the very last step in any case.
    fn validation_due(&self, end_of_epoch: bool) -> bool {
        self.progress.epoch >= self.config.epochs
            || self.config.validate_every.due(self.progress.step, end_of_epoch)
    }

    fn diverged(&self, place: &str, what: &str, learning_rate: f64) -> String {
        let checkpoints = [self.run.last(), self.run.best()];
        let kept = match checkpoints.iter().find(|path| path.exists()) {
            Some(path) => format!("the last good checkpoint is \"{}\"", path.display()),
            None => "there is no checkpoint yet".to_owned(),
        };
        format!(
            "training diverged at {place}: {what}, learning rate {learning_rate:?}; {kept}; a lower \
             train.learning_rate or train.gradient_clip may help"
        )
    }

    /// Scores the validation examples; writes `best/` where that is a new best.
    fn validate(&mut self) -> anyhow::Result<()> {
        // The rate of the last step.
        let learning_rate = self.schedule.rate(self.progress.step - 1, &self.progress.plateau);
        self.read()?;
        let predictions = self.predict(&self.experiment.validation);
        let validation = predictions.score();
        if !validation.loss.is_finite() {
            let place = format!("the validation after step {}", self.progress.step);
            bail!(self.diverged(&place, &format!("loss {}", validation.loss), learning_rate));
        }
        let progress = &mut self.progress;
        let new_best = progress.validated(validation, &self.config.early_stopping);
        self.schedule.validated(&mut progress.plateau, new_best);
        let record = Record {
            epoch: progress.epoch_number(),
            step: progress.step,
            train: progress.meter.score(),
            validation,
            learning_rate,
        };
        let seconds = progress.seconds - progress.seconds_at_validation;
        progress.meter = Default::default();
        progress.seconds_at_validation = progress.seconds;
        self.board.validation(&predictions, validation, record.step)?;
        self.run.add_record(&record, seconds)?;
        if new_best {
            self.save(&self.run.best())?;
        }
        self.console.validated(&record, seconds, new_best);
        Ok(())
    }

    fn predict(&self, data: &Dataset) -> Predictions {
        Predictions::of(&self.learner, data, BatchLimit::of_validation(self.config))
    }

    /// Writes `last/`, scores the test examples once, and writes `summary.json`.
    fn finish(&mut self) -> anyhow::Result<Outcome> {
        if let Some(reason) = self.progress.finished(self.config) {
            self.console.finished(reason, &self.progress);
        }
        self.save(&self.run.last())?;
        let best = self.progress.best.context("the run ended without a validation")?;
        let tests = !self.experiment.test.is_empty();
        if self.config.early_stopping.restore_best && (tests || self.board.wants_vectors()) {
            self.learner.load(Checkpoint::open(&self.run.best())?.weights()?)?;
        }
        let test = tests.then(|| self.predict(&self.experiment.test).score());
        if let Some(test) = test {
            self.board.test(test, self.progress.step)?;
        }
        self.board.vectors(|| self.learner.weights())?;
        self.board.end(RunStatus::Success, self.progress.step)?;
        let outcome = Outcome {
            parameters: self.learner.parameter_count(),
            best_epoch: best.epoch,
            seconds: self.progress.seconds,
            tokens_per_second: self.progress.tokens as f64 / self.progress.seconds.max(1e-9),
            validation: best.validation,
            validation_examples: self.experiment.validation.len(),
            test,
        };
        self.run.write_summary(&outcome)?;
        Ok(outcome)
    }

    /// Writes a checkpoint, and before it all curves up to it, so that a resumed run has no gap.
    fn save(&mut self, path: &std::path::Path) -> anyhow::Result<()> {
        self.read()?;
        self.board.sync()?;
        let contents = Contents {
            resolved: &self.experiment.resolved,
            labels: &self.experiment.labels,
            encoders: &self.experiment.encoders,
            weights: self.learner.weights(),
            memory: self.learner.memory(),
            progress: &self.progress,
        };
        checkpoint::save(path, &contents)
    }
}

/// A number that changes with the examples and with everything that orders them in an epoch.
fn order_fingerprint(experiment: &PreparedData, lengths: &[Vec<usize>]) -> u64 {
    let config = &experiment.resolved.config.train;
    let options = [
        config.seed,
        config.batch_size as u64,
        config.tokens().map_or(u64::MAX, |tokens| tokens as u64),
        u64::from(config.bucketing),
        config.bucketing_window as u64,
    ];
    let lengths = lengths.iter().flatten().map(|length| *length as u64);
    let train = &experiment.train;
    let ids = train.inputs.iter().flat_map(|corpus| corpus.ids());
    let words = ids.copied().chain(train.targets.fingerprint_values()).map(u64::from);
    fingerprint(options.into_iter().chain(lengths).chain(words))
}

/// What each class weighs in the loss; nothing where all weigh the same.
///
/// # Errors
/// Where a weight is given for a label that the data does not have.
pub fn class_weights(config: &TrainConfig, experiment: &PreparedData) -> anyhow::Result<Vec<f64>> {
    let classes = experiment.labels.len();
    let weights: Vec<f64> = match &config.class_weights {
        ClassWeights::None => return Ok(Vec::new()),
        ClassWeights::Balanced => {
            let mut counts = vec![0_usize; classes];
            for label in experiment.train.targets.labels().unwrap_or_default() {
                counts[*label as usize] += 1;
            }
            let total = experiment.train.len() as f64;
            let classes = counts.iter().filter(|count| **count > 0).count();
            // A class without training examples must not count: label smoothing would train for it.
            let weight = |count: &usize| match count {
                0 => 0.0,
                count => total / (classes * count) as f64,
            };
            counts.iter().map(weight).collect()
        }
        ClassWeights::Given(given) => {
            if let Some(unknown) = given.keys().find(|label| !experiment.labels.contains(label)) {
                bail!(
                    "train.class_weights: found the label \"{unknown}\", known are {}",
                    experiment.labels.join(", ")
                );
            }
            experiment.labels.iter().map(|label| given.get(label).copied().unwrap_or(1.0)).collect()
        }
    };
    Ok(weights)
}

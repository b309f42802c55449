//! A run that trains a language model: of `lstmtext pretrain`, or a stage of `lstmtext train`.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};

use super::arguments::ComputeArgs;
use super::hints::{program, relative};
use super::processes::Processes;
use crate::backend::kernel::Instructions;
use crate::backend::language_model::check_precision;
use crate::backend::{Backend, Backends, note_slow_bf16};
use crate::config::{BackendKind, Config, Override, Resolved};
use crate::distributed::Collective;
use crate::output::format::group_digits;
use crate::output::shell::quoted_path;
use crate::output::{message, note};
use crate::pretrain::PretrainingTexts;
use crate::pretrain::language_model::{
    self, Diverged, Ending, LanguageModelTrainer, Start, create_trainer,
};
use crate::run::checkpoint::{Checkpoint, is_checkpoint, peek_config};
use crate::run::directory::RunDirectory;
use crate::run::new_run::NewRun;
use crate::system::allocator;
use crate::system::signals::Interrupt;
use crate::text::{Corpus, Encoder, Encoders};

/// Backends and arguments with which language models are trained.
#[derive(Clone, Copy)]
pub struct LanguageModelCompute<'a> {
    pub backends: &'a dyn Backends,
    pub arguments: &'a ComputeArgs,
    /// Processes that train the model together.
    pub group: &'a Processes,
}

impl<'a> LanguageModelCompute<'a> {
    fn collective(&self) -> &'a dyn Collective {
        &*self.group.collective
    }

    /// Starts the backend that trains a language model. If this program lacks it, the process continues as another
    /// program: call this before any work is done.
    ///
    /// # Errors
    /// Returns an error if the device cannot be used, or if the backend cannot train in this precision.
    pub fn start(&self, config: &Config) -> anyhow::Result<Box<dyn Backend>> {
        start_backend(self.arguments, self.backends, config)
    }
}

/// Starts the backend that trains a language model, like [`LanguageModelCompute::start`].
///
/// # Errors
/// Returns an error if the device cannot be used, or if the backend cannot train in this precision.
pub fn start_backend(
    arguments: &ComputeArgs,
    backends: &dyn Backends,
    config: &Config,
) -> anyhow::Result<Box<dyn Backend>> {
    let backend = arguments.start(backends, config, true)?;
    if backend.kind() == BackendKind::Libtorch {
        check_precision(config.precision)?;
    }
    note_slow_bf16(&*backend, config);
    Ok(backend)
}

/// Describes how to resume a run.
pub fn resume_hint(run: &Path) -> String {
    format!("to resume:\n  {} pretrain --resume {}", program(), quoted_path(&relative(run)))
}

/// Trains a new language model with this configuration, which has no n-grams, in the directory `run`. Rank 0 has created
/// it as `new`.
///
/// # Errors
/// Returns an error if the texts cannot be read, or training fails.
pub fn start(
    resolved: &Resolved,
    (run, new): (&RunDirectory, Option<NewRun>),
    (backend, compute): (&dyn Backend, &LanguageModelCompute),
    interrupt: &Interrupt,
) -> anyhow::Result<Ending> {
    let (config, group) = (&resolved.config, compute.group);
    group.on_first(|| run.write_config(&resolved.to_yaml()))?;
    language_model::check(&config.inputs[0])?;
    let texts = load(compute, config, None)?;
    describe(config, &texts, run, (backend, group));
    let vocabulary = texts.encoder.vocabulary().clone();
    let encoders = Encoders::new(&config.inputs, vec![(vocabulary, None)]);
    let trainer = create_trainer(backend, resolved, &texts, Start::New, compute.collective());
    let mut trainer = compute.collective().agree(trainer)?;
    interrupt.defer();
    group.on_first(|| language_model::add_observers(&mut trainer, resolved, &encoders, run))?;
    let _lock = new.and_then(NewRun::begin);
    train((backend, compute), trainer, run, interrupt)
}

/// Loads the texts in all processes. They must be the same.
fn load(
    compute: &LanguageModelCompute,
    config: &Config,
    known: Option<&Encoder>,
) -> anyhow::Result<PretrainingTexts> {
    let texts = compute.collective().agree(PretrainingTexts::load(config, true, known))?;
    compute.collective().ensure_same(&[
        format!("texts: {:016x}", texts.fingerprint()),
        format!("vector instructions: {}", Instructions::best()),
    ])?;
    Ok(texts)
}

/// Resumes the training of a language model.
///
/// # Errors
/// Returns an error if the run has no intact checkpoint, the texts have changed, or training fails.
pub fn resume(
    run: &RunDirectory,
    compute: &LanguageModelCompute,
    overrides: &[Override],
    interrupt: &Interrupt,
) -> anyhow::Result<Ending> {
    let shown = run.path().display();
    ensure!(
        !is_checkpoint(run.path()),
        "\"{shown}\" is a checkpoint; pass the directory of its run"
    );
    ensure!(run.can_resume(), "\"{shown}\" is not a run: config.yaml is missing");
    let (group, collective) = (compute.group, compute.collective());
    // The backend starts before the directory is locked, because it may replace this process with lstmtext-torch.
    let peek = |path: PathBuf| peek_config(&path, overrides);
    let config = [run.last(), run.best()].into_iter().find_map(peek);
    let started = config.map(|config| compute.start(&config)).transpose();
    let started = collective.agree(started)?;
    let _lock = group.on_first(|| {
        let lock = run.lock()?;
        run.restore();
        Ok(lock)
    })?;
    let checkpoint = collective.agree(latest(run, overrides))?;
    collective.ensure_same(&[format!("checkpoint: {}", checkpoint.sha256())])?;
    let resolved = checkpoint.resolved.clone();
    let backend = match started {
        Some(backend) => backend,
        None => compute.start(&resolved.config)?,
    };
    let known = Some(&checkpoint.encoders[0]);
    let texts = load(compute, &resolved.config, known)?;
    describe(&resolved.config, &texts, run, (&*backend, group));
    let start = Start::Resume(&checkpoint);
    let trainer = create_trainer(&*backend, &resolved, &texts, start, collective);
    let mut trainer = collective.agree(trainer)?;
    let step = trainer.steps_done();
    if trainer.is_over() {
        let limit = if trainer.has_stopped_early() { "patience" } else { "epochs" };
        message(format!(
            "the run is finished after step {step}; to train on, increase pretrain.language_model.{limit} with --set"
        ));
    } else {
        message(format!("resuming after step {step}"));
    }
    interrupt.defer();
    group.on_first(|| {
        run.truncate_language_model(step, &resolved.to_yaml())?;
        language_model::add_observers(&mut trainer, &resolved, &checkpoint.encoders, run)
    })?;
    train((&*backend, compute), trainer, run, interrupt)
}

/// Opens the later of the checkpoints `last/` and `best/`.
fn latest(run: &RunDirectory, overrides: &[Override]) -> anyhow::Result<Checkpoint> {
    let mut latest: Option<(u64, Checkpoint)> = None;
    for path in [run.last(), run.best()].into_iter().filter(|path| path.exists()) {
        let checkpoint = Checkpoint::open_language_model(&path, overrides)?;
        let step = checkpoint.language_model_progress()?.step;
        if latest.as_ref().is_none_or(|(other, _)| step > *other) {
            latest = Some((step, checkpoint));
        }
    }
    let latest = latest.ok_or_else(|| {
        anyhow!(
            "\"{}\" has no checkpoint yet; delete it, and start the run again",
            run.path().display()
        )
    })?;
    Ok(latest.1)
}

/// Prints the texts, the model and the device of a run.
fn describe(
    config: &Config,
    texts: &PretrainingTexts,
    run: &RunDirectory,
    (backend, group): (&dyn Backend, &Processes),
) {
    let input = &config.inputs[0];
    let held_out: usize = texts.held_out.iter().map(Corpus::len).sum();
    message(format!(
        "texts: {} with {} tokens, {} held out; vocabulary of {} ids; {:.2} % of the tokens are unknown",
        group_digits(texts.texts()),
        group_digits(texts.tokens()),
        group_digits(held_out),
        group_digits(texts.encoder.vocabulary().len()),
        100.0 * texts.unknown_share(),
    ));
    texts.findings.iter().filter(|finding| finding.is_notable()).for_each(note);
    let directions = if input.lstm.bidirectional { "both directions" } else { "one direction" };
    message(format!(
        "model: embedding of size {}, LSTM with {} units, {directions}",
        input.embedding.size, input.lstm.units
    ));
    message(format!("run:   {}", run.path().display()));
    message(format!("on:    {backend}{group}"));
}

/// Trains. Saves an error that ends the run to the run directory.
fn train(
    (backend, compute): (&dyn Backend, &LanguageModelCompute),
    trainer: LanguageModelTrainer,
    run: &RunDirectory,
    interrupt: &Interrupt,
) -> anyhow::Result<Ending> {
    let leads = compute.collective().leads();
    if leads {
        let of_run = run.clone();
        allocator::on_failure(move |message| of_run.write_error(&anyhow!("{message}")));
    }
    let (mut trainer, mut ending) = (Some(trainer), None);
    let trained = backend.catch(&mut || {
        if let Some(trainer) = trainer.take() {
            ending = Some(trainer.train(interrupt)?);
        }
        Ok(())
    });
    let ending = trained.and_then(|()| ending.context("training did not start"));
    let ending = ending.map_err(|error| {
        let kept = [run.last(), run.best()].into_iter().find(|path| path.exists());
        match kept {
            Some(path) if error.is::<Diverged>() => {
                anyhow!("{error}; the last good checkpoint is \"{}\"", path.display())
            }
            Some(path) if backend.reported(&error) => {
                anyhow!("{error}; the checkpoint \"{}\" is intact", path.display())
            }
            _ => error,
        }
    });
    ending.inspect_err(|error| {
        if leads {
            run.write_error(error);
        }
    })
}

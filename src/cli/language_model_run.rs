//! A run that trains a language model: of `lstmtext pretrain`, or a stage of `lstmtext train`.

use std::path::Path;

use anyhow::{anyhow, ensure};

use super::arguments::ComputeArgs;
use super::hints::{program, relative};
use crate::backend::Backend;
use crate::backend::native::NativeBackend;
use crate::config::{BackendKind, Config, ConfigError, Override, Resolved};
use crate::output::format::group_digits;
use crate::output::shell::quoted_path;
use crate::output::{message, note};
use crate::pretrain::PretrainingTexts;
use crate::pretrain::language_model::{
    self, Diverged, Ending, LanguageModelTrainer, Start, create_trainer,
};
use crate::run::checkpoint::{Checkpoint, is_checkpoint};
use crate::run::directory::RunDirectory;
use crate::run::new_run::NewRun;
use crate::system::allocator;
use crate::system::device::DeviceChoice;
use crate::system::signals::Interrupt;
use crate::text::{Corpus, Encoders};

/// Starts the backend: language models are trained on the CPU.
///
/// # Errors
/// Returns an error if the configuration or the arguments ask for another one.
pub fn start_backend(config: &Config, compute: &ComputeArgs) -> anyhow::Result<NativeBackend> {
    let wants_cuda = !matches!(compute.device, DeviceChoice::Auto | DeviceChoice::Cpu);
    if config.backend == BackendKind::Libtorch || wants_cuda {
        let message =
            "language models are trained on the CPU; use --device cpu and backend: native";
        return Err(ConfigError::new(message).into());
    }
    NativeBackend::start(compute.threads)
}

/// Describes how to resume a run.
pub fn resume_hint(run: &Path) -> String {
    format!("to resume:\n  {} pretrain --resume {}", program(), quoted_path(&relative(run)))
}

/// Trains a new language model with this configuration, which has no n-grams, in the directory of `new`.
///
/// # Errors
/// Returns an error if the texts cannot be read, or training fails.
pub fn start(
    resolved: &Resolved,
    new: NewRun,
    backend: &NativeBackend,
    interrupt: &Interrupt,
) -> anyhow::Result<Ending> {
    let config = &resolved.config;
    let run = new.directory().clone();
    run.write_config(&resolved.to_yaml())?;
    language_model::check(&config.inputs[0])?;
    let texts = PretrainingTexts::load(config, true, None)?;
    describe(config, &texts, &run, backend);
    let vocabulary = texts.encoder.vocabulary().clone();
    let encoders = Encoders::new(&config.inputs, vec![(vocabulary, None)]);
    let mut trainer = create_trainer(backend, resolved, &texts, Start::New)?;
    interrupt.defer();
    language_model::add_observers(&mut trainer, resolved, &encoders, &run)?;
    let _lock = new.begin();
    train(trainer, &run, interrupt)
}

/// Resumes the training of a language model.
///
/// # Errors
/// Returns an error if the run has no intact checkpoint, the texts have changed, or training fails.
pub fn resume(
    run: &RunDirectory,
    compute: &ComputeArgs,
    overrides: &[Override],
    interrupt: &Interrupt,
) -> anyhow::Result<Ending> {
    let shown = run.path().display();
    ensure!(
        !is_checkpoint(run.path()),
        "\"{shown}\" is a checkpoint; pass the directory of its run"
    );
    ensure!(run.can_resume(), "\"{shown}\" is not a run: config.yaml is missing");
    let _lock = run.lock()?;
    run.restore();
    let checkpoint = latest(run, overrides)?;
    let resolved = checkpoint.resolved.clone();
    let backend = start_backend(&resolved.config, compute)?;
    let known = Some(&checkpoint.encoders[0]);
    let texts = PretrainingTexts::load(&resolved.config, true, known)?;
    describe(&resolved.config, &texts, run, &backend);
    let start = Start::Resume(&checkpoint);
    let mut trainer = create_trainer(&backend, &resolved, &texts, start)?;
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
    run.truncate_language_model(step, &resolved.to_yaml())?;
    language_model::add_observers(&mut trainer, &resolved, &checkpoint.encoders, run)?;
    train(trainer, run, interrupt)
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
fn describe(config: &Config, texts: &PretrainingTexts, run: &RunDirectory, backend: &dyn Backend) {
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
    message(format!("on:    {backend}"));
}

/// Trains. Saves an error that ends the run to the run directory.
fn train(
    trainer: LanguageModelTrainer,
    run: &RunDirectory,
    interrupt: &Interrupt,
) -> anyhow::Result<Ending> {
    let of_run = run.clone();
    allocator::on_failure(move |message| of_run.write_error(&anyhow!("{message}")));
    let ending = trainer.train(interrupt).map_err(|error| {
        let kept = [run.last(), run.best()].into_iter().find(|path| path.exists());
        match kept.filter(|_| error.is::<Diverged>()) {
            Some(path) => anyhow!("{error}; the last good checkpoint is \"{}\"", path.display()),
            None => error,
        }
    });
    ending.inspect_err(|error| run.write_error(error))
}

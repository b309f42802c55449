//! `lstmtext train`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use serde::Serialize;
use serde_yaml::Value;

use super::arguments::{ColumnArgs, ComputeArgs, SetArgs};
use super::exit::SUCCESS;
use super::hints::{missing_data, program, relative, tensorboard};
use super::{output_directory, starter};
use crate::backend::{Backend, Backends};
use crate::config::{
    self, AutoNumber, BackendKind, Config, ConfigError, Document, Metric, Override, Resolved,
    differences, inline_yaml,
};
use crate::data::prepared::PreparedData;
use crate::events;
use crate::io::files::create_directories;
use crate::model::summary::summarize;
use crate::output::format::{format_bytes, group_digits, join_names, pluralize};
use crate::output::sanitize::file_name;
use crate::output::shell::quoted_path;
use crate::output::{message, message_width, note, print, print_json, warning};
use crate::prediction::text_columns::TextColumns;
use crate::run::checkpoint::{self, Checkpoint, is_checkpoint, peek_config};
use crate::run::directory::RunDirectory;
use crate::run::new_run::NewRun;
use crate::run::progress::StopReason;
use crate::run::saved_model::is_ensemble;
use crate::run::summary::RunSummary;
use crate::system::allocator;
use crate::system::memory::resident;
use crate::system::signals::Interrupt;
use crate::system::threads;
use crate::train::layer_rates;
use crate::train::setup::{self, Beginning};
use crate::train::{Diverged, Ending, Trainer};

const EXAMPLES: &str = "\
Examples:
  lstmtext train reviews.csv
  lstmtext train reviews.csv --text review --label stars --set train.epochs=3
  lstmtext train configs/imdb.yaml
  lstmtext train configs/imdb.yaml --out runs/a --set train.seed=2 --set model.pooling=max
  lstmtext train --resume runs/a
  lstmtext train --resume runs/a --set train.epochs=8
  lstmtext train mine.yaml --from runs/a --set train.freeze='[embedding]'

The run directory contains config.yaml, TensorBoard event files, metrics.jsonl, summary.json and the \
checkpoints best/ and last/. Ctrl-C finishes the current step, saves last/ and prints the command that \
resumes the run.";

/// Train a model and save it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// Configuration file (YAML), or data: a file (.csv, .tsv, .jsonl, .parquet, fastText's .txt, compressed
    /// too), or a directory per class. For data, the configuration is guessed; `lstmtext init` writes it
    #[arg(required_unless_present_any = ["resume", "from"])]
    config: Option<PathBuf>,
    /// Resume the run in this directory: the same run, with its data, optimizer state and settings
    #[arg(long, value_name = "RUN", conflicts_with = "out")]
    resume: Option<PathBuf>,
    /// Start a new run of the configuration from the weights of this checkpoint, or of the best one of
    /// this run. Words and labels are matched by name, and the optimizer starts anew
    #[arg(long, value_name = "CHECKPOINT")]
    from: Option<PathBuf>,
    /// Directory of the run; by default runs/NAME-TIME
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Do not score the test examples, e.g. while you compare runs; `evaluate` scores them later
    #[arg(long)]
    no_test: bool,
    /// Print the summary and the directory of the run as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

impl TrainArgs {
    /// Rejects --resume and --from where the other one is meant.
    fn check(&self) -> Result<(), ConfigError> {
        let sets_source = self.set.overrides.iter().any(|set| set.field() == "train.from");
        let message = match (&self.config, &self.resume, &self.from) {
            (Some(config), Some(run), None) => format!(
                "--resume continues a run with the configuration that it began with; to start a new run \
                 of \"{}\" from its weights, use --from {} in place of --resume",
                config.display(),
                quoted_path(run)
            ),
            (_, Some(_), Some(_)) => {
                "--resume continues a run, and --from starts a new one from the \
                                      weights of another: use one of them"
                    .to_owned()
            }
            (_, Some(run), None) if sets_source => format!(
                "train.from starts a new run, and --resume continues one; to start a new run from the \
                 weights of \"{}\", use train CONFIG --from",
                run.display()
            ),
            (None, None, Some(source)) => format!(
                "--from starts a new run, and needs a configuration: train CONFIG --from {source}; to \
                 continue the run itself, use --resume {source}",
                source = quoted_path(source)
            ),
            _ => return Ok(()),
        };
        Err(ConfigError::new(message))
    }

    /// Overrides of the configuration.
    fn overrides(&self) -> Vec<Override> {
        let from = self.from.as_ref().map(|path| path.to_string_lossy().into_owned());
        let from = from.map(|path| Override::new("train.from", Value::from(path)));
        self.columns.overrides(&self.set).into_iter().chain(from).collect()
    }

    /// Returns the command that resumes a run as this one computes it. The overrides are saved with
    /// the run.
    fn resume_command(&self, run: &Path) -> String {
        let mut words = vec![program(), "train".to_owned()];
        words.extend(self.no_test.then(|| "--no-test".to_owned()));
        words.extend(self.json.then(|| "--json".to_owned()));
        words.extend(self.compute.words());
        words.extend(["--resume".to_owned(), quoted_path(run)]);
        words.join(" ")
    }
}

/// Runs the command.
pub fn run(args: TrainArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let interrupt = Interrupt::listen()?;
    let overrides = &args.overrides();
    let session = Session { args: &args, overrides, backends, interrupt: &interrupt };
    args.check()?;
    let Trained { run, columns, metric, ending } = match (&args.resume, &args.config) {
        (Some(run), _) => session.resume(run)?,
        (None, Some(config)) => session.start_new(config)?,
        (None, None) => bail!("name a configuration, or a run with --resume"),
    };
    match ending {
        Ending::Finished(outcome) => {
            report(&run, &outcome, &metric, &columns, args.json)?;
            Ok(SUCCESS)
        }
        Ending::Interrupted(signal) => {
            message(format!(
                "stopped by a signal; progress is saved in \"{}\"",
                run.last().display()
            ));
            message(format!("to resume:\n  {}", args.resume_command(run.path())));
            Ok(128 + signal as u8)
        }
    }
}

/// A run whose training has finished or was interrupted.
struct Trained {
    run: RunDirectory,
    /// Text columns that the model reads.
    columns: TextColumns,
    /// Metric that determines the best epoch.
    metric: Metric,
    ending: Ending,
}

/// Arguments and environment of one invocation.
struct Session<'a> {
    args: &'a TrainArgs,
    overrides: &'a [Override],
    backends: &'a dyn Backends,
    interrupt: &'a Interrupt,
}

/// Writes a failed allocation, which ends the process, to `error.txt` of the run.
fn save_lack_of_memory(run: &RunDirectory) {
    let run = run.clone();
    allocator::on_failure(move |message| run.write_error(&anyhow!("{message}")));
}

impl Session<'_> {
    fn start_backend(&self, config: &Config) -> anyhow::Result<Box<dyn Backend>> {
        self.args.compute.start_training(self.backends, config)
    }

    fn start_new(&self, config: &Path) -> anyhow::Result<Trained> {
        let overrides = self.overrides;
        let resolve = |document: &Document| document.resolve_single(overrides);
        let mut resolved = starter::load_with(config, overrides, resolve)?;
        resolved.set_shards(resolved.config.train.shard_count());
        let backend = self.start_backend(&resolved.config)?;
        let name = resolved.config.name.clone().unwrap_or_else(|| "run".into());
        let path = match &self.args.out {
            Some(path) => {
                output_directory::check_new(path)?;
                path.clone()
            }
            None => create_run_directory(&name)?,
        };
        // A run that cannot start leaves no directory behind.
        let new = NewRun::lock(&path)?;
        self.interrupt.remove_on_exit(new.paths());
        let interrupt = self.interrupt.clone();
        allocator::on_failure(move |_| interrupt.remove_temporary());
        new.directory().write_config(&resolved.to_yaml())?;
        let run = new.directory().clone();
        let (mut data, source) = prepare(resolved)?;
        // With what the data tells about its labels.
        run.write_config(&data.resolved.to_yaml())?;
        self.remove_test_examples(&mut data);
        let trainer = self.create_trainer(&*backend, &mut data, &run, source.as_ref())?;
        let _lock = new.begin();
        self.train(&*backend, trainer, &run)
    }

    /// Restarts a run that ended before its first checkpoint.
    fn start_over(
        &self,
        run: &RunDirectory,
        backend: Option<Box<dyn Backend>>,
    ) -> anyhow::Result<Trained> {
        let mut resolved = config::load_recorded(&run.config(), self.overrides)?;
        resolved.set_shards(resolved.config.train.shard_count());
        let backend = match backend {
            Some(backend) => backend,
            None => self.start_backend(&resolved.config)?,
        };
        save_lack_of_memory(run);
        let config = resolved.config.data.clone();
        let prepared = prepare(resolved).map_err(|error| missing_data(error, &config));
        let (mut data, source) = prepared.inspect_err(|error| run.write_error(error))?;
        self.remove_test_examples(&mut data);
        if events::first_file(run.path()).is_some() {
            message("the run has no checkpoint yet: it starts from the beginning");
        }
        run.truncate_to_step(0, &data.resolved.to_yaml())?;
        let trainer = self.create_trainer(&*backend, &mut data, run, source.as_ref());
        let trainer = trainer.inspect_err(|error| run.write_error(error))?;
        self.train(&*backend, trainer, run)
    }

    fn resume(&self, path: &Path) -> anyhow::Result<Trained> {
        if let Some(parent) = path.parent().filter(|_| is_checkpoint(path)) {
            bail!(
                "\"{}\" is a checkpoint; its run is \"{}\" (to start a new run from the weights of the \
                 checkpoint, use train CONFIG --from)",
                path.display(),
                if parent.as_os_str().is_empty() { Path::new(".") } else { parent }.display()
            );
        }
        ensure!(
            !is_ensemble(path),
            "\"{}\" is an ensemble of checkpoints, not a run: resume the runs of its members, and combine them \
             again",
            path.display()
        );
        let run = RunDirectory::open(path);
        ensure!(run.can_resume(), "\"{}\" is not a run: config.yaml is missing", path.display());
        // The backend starts before the directory is locked, because it may replace this process with
        // lstmtext-torch.
        let peek = |checkpoint: PathBuf| peek_config(&checkpoint, self.overrides);
        let config = [run.last(), run.best()].into_iter().find_map(peek);
        let config = config
            .or_else(|| Some(config::load_recorded(&run.config(), self.overrides).ok()?.config));
        let backend = config.map(|config| self.start_backend(&config)).transpose()?;
        let _lock = run.lock()?;
        run.restore();
        let Some(checkpoint) = latest_checkpoint(&run, self.overrides)? else {
            return self.start_over(&run, backend);
        };
        let progress = checkpoint.progress()?;
        if let Some(reason) = progress.stop_reason(&checkpoint.resolved.config.train)
            && let Some(outcome) = run.summary()
            && is_checkpoint(&run.best())
        {
            let limit = match reason {
                StopReason::Epochs => "train.epochs",
                StopReason::EarlyStopping => "train.early_stopping.patience",
            };
            let over = format!(
                "the run is finished after {}, {} without improvement; to train on, increase {limit} with \
                 --set",
                pluralize(progress.epoch, "epoch"),
                pluralize(progress.waited, "validation"),
            );
            ensure!(self.overrides.is_empty(), over);
            message(over);
            let config = &checkpoint.resolved.config;
            let (columns, metric) = (TextColumns::of(config), config.metric().clone());
            return Ok(Trained {
                run,
                columns,
                metric,
                ending: Ending::Finished(Box::new(outcome)),
            });
        }
        let backend = match backend {
            Some(backend) => backend,
            None => self.start_backend(&checkpoint.resolved.config)?,
        };
        let mut data = PreparedData::reopen(
            resumed_configuration(&checkpoint, &*backend),
            &checkpoint.labels,
            checkpoint.encoders.clone(),
        )
        .map_err(|error| missing_data(error, &checkpoint.resolved.config.data))?;
        self.remove_test_examples(&mut data);
        describe_run(&data, &run, &*backend)?;
        setup::resolve_token_budget(&*backend, &mut data)?;
        message(format!("resuming after step {}", progress.step));
        note_changed_settings(checkpoint.saved.as_ref(), &data.resolved);
        let mut trainer = setup::trainer(&*backend, &data, &run, Beginning::Resume(&checkpoint))?;
        self.interrupt.defer();
        setup::begin(&mut trainer, &data, &run)?;
        self.train(&*backend, trainer, &run)
    }

    /// Trains. Saves an error that ends the run to the run directory.
    fn train(
        &self,
        backend: &dyn Backend,
        trainer: Trainer,
        run: &RunDirectory,
    ) -> anyhow::Result<Trained> {
        save_lack_of_memory(run);
        let columns = TextColumns::of(trainer.config());
        let metric = trainer.config().metric().clone();
        let (mut trainer, mut ending) = (Some(trainer), None);
        let trained = backend.catch(&mut || {
            if let Some(trainer) = trainer.take() {
                ending = Some(trainer.train(self.interrupt)?);
            }
            Ok(())
        });
        let ending = trained.and_then(|()| ending.context("training did not start"));
        let resume = || self.args.resume_command(run.path());
        let ending = ending.map_err(|error| with_checkpoint_hint(error, backend, run, resume));
        let ending = ending.inspect_err(|error| run.write_error(error))?;
        Ok(Trained { run: run.clone(), columns, metric, ending })
    }

    /// Prints a description of a new run, resolves its token budget, and creates its trainer.
    fn create_trainer<'a>(
        &self,
        backend: &dyn Backend,
        data: &'a mut PreparedData,
        run: &RunDirectory,
        source: Option<&Checkpoint>,
    ) -> anyhow::Result<Trainer<'a>> {
        let beginning = source.map_or(Beginning::New, Beginning::From);
        describe_run(data, run, backend)?;
        if setup::resolve_token_budget(backend, data)? {
            run.write_config(&data.resolved.to_yaml())?;
        }
        let (data, mut trainer) = (&*data, None);
        backend.catch(&mut || {
            trainer = Some(setup::trainer(backend, data, run, beginning)?);
            Ok(())
        })?;
        let mut trainer = trainer.context("the backend did not create a trainer")?;
        self.interrupt.defer();
        setup::begin(&mut trainer, data, run)?;
        Ok(trainer)
    }

    /// Removes the test examples from the data with `--no-test`.
    fn remove_test_examples(&self, data: &mut PreparedData) {
        if self.args.no_test && !data.test.is_empty() {
            let test = std::mem::take(&mut data.test);
            note(format!(
                "{} test examples are not scored (--no-test); `evaluate` scores them",
                group_digits(test.len())
            ));
        }
    }
}

/// Prepares the data of a new run, and opens the checkpoint from whose weights it starts, if there is one.
fn prepare(resolved: Resolved) -> anyhow::Result<(PreparedData, Option<Checkpoint>)> {
    let source = Checkpoint::open_source(&resolved.config)?;
    let known = source.as_ref().map(Checkpoint::known_encoders).unwrap_or_default();
    Ok((PreparedData::prepare_with(resolved, &known)?, source))
}

/// Returns the configuration of a run that resumes. Earlier versions cut a batch into as many shards
/// as there were threads, and did not save the number.
fn resumed_configuration(checkpoint: &Checkpoint, backend: &dyn Backend) -> Resolved {
    let mut resolved = checkpoint.resolved.clone();
    let is_auto = |resolved: &Resolved| resolved.config.train.shards == AutoNumber::Auto;
    let mut shards = resolved.config.train.shard_count();
    if is_auto(&resolved)
        && checkpoint.saved.as_ref().is_none_or(is_auto)
        && backend.kind() == BackendKind::Native
    {
        shards = threads::count();
        note(format!(
            "the checkpoint does not say into how many shards the run cuts a batch: it continues with \
             {shards}, the number of threads; if it began with N threads, --set train.shards=N \
             continues it with the same rounding"
        ));
    }
    resolved.set_shards(shards);
    resolved
}

/// Prints a note on the settings of a run that resumes, if they differ from those of its checkpoint.
fn note_changed_settings(saved: Option<&Resolved>, now: &Resolved) {
    let Some(mut saved) = saved.cloned() else { return };
    saved.take_choices(&now.config);
    let value = |value: &Option<Value>| value.as_ref().map_or("missing".to_owned(), inline_yaml);
    let changes: Vec<String> = differences(&[&saved, now])
        .iter()
        .map(|change| {
            let [before, now] = [0, 1].map(|index| value(&change.values[index]));
            format!("{} is {now} (was {before})", change.field())
        })
        .collect();
    if !changes.is_empty() {
        note(format!("changed since the checkpoint: {}", changes.join(", ")));
    }
}

/// Adds the checkpoint from which the run can continue to the error that ended it.
fn with_checkpoint_hint(
    error: anyhow::Error,
    backend: &dyn Backend,
    run: &RunDirectory,
    resume_command: impl Fn() -> String,
) -> anyhow::Error {
    if error.is::<Diverged>() {
        let kept = [run.last(), run.best()].into_iter().find(|path| path.exists());
        return match kept {
            Some(path) => anyhow!("{error}; the last good checkpoint is \"{}\"", path.display()),
            None => anyhow!("{error}; there is no checkpoint yet"),
        };
    }
    if !backend.reported(&error) || !run.last().exists() {
        return error;
    }
    anyhow!(
        "{error}; the last checkpoint, \"{}\", is intact; to resume from it:\n  {}",
        run.last().display(),
        resume_command()
    )
}

/// Opens the later of the checkpoints `last/` and `best/`: a run that was killed may have saved `best/`
/// after `last/`.
fn latest_checkpoint(
    run: &RunDirectory,
    overrides: &[Override],
) -> anyhow::Result<Option<Checkpoint>> {
    let mut latest: Option<(u64, PathBuf)> = None;
    for path in [run.last(), run.best()].into_iter().filter(|path| path.exists()) {
        let progress = checkpoint::progress(&path);
        if progress.is_err() {
            // Its error says what is damaged, and whether the other checkpoint is intact.
            Checkpoint::open_with(&path, overrides)?;
        }
        let step = progress?.step;
        if latest.as_ref().is_none_or(|(other, _)| step > *other) {
            latest = Some((step, path));
        }
    }
    let Some((_, path)) = latest else { return Ok(None) };
    if path != run.best() && run.best().exists() {
        // It is needed only at the end, but then it would be too late.
        checkpoint::check(&run.best())?;
    }
    Checkpoint::open_with(&path, overrides).map(Some)
}

/// Prints the data, the model and the device of a run.
fn describe_run(
    data: &PreparedData,
    run: &RunDirectory,
    backend: &dyn Backend,
) -> anyhow::Result<()> {
    let config = &data.resolved.config;
    let logits = config.logit_count(data.labels.len())?;
    let sizes = data.encoders.vocabulary_sizes();
    let ids: Vec<String> = sizes.iter().map(|size| group_digits(*size)).collect();
    message(format!(
        "data: {} training, {} validation, {} test examples; labels {}",
        group_digits(data.train.len()),
        group_digits(data.validation.len()),
        group_digits(data.test.len()),
        join_names(&data.labels),
    ));
    message(format!(
        "text: vocabulary of {} ids, {} training tokens; read and encoded in {:.1} s, {} tokens/s",
        ids.join(" + "),
        group_digits(data.train.tokens()),
        data.seconds,
        group_digits((data.tokens() as f64 / data.seconds) as usize),
    ));
    if let Some(texts) = &data.unlabelled {
        message(format!(
            "unlabelled texts: {}, {} tokens",
            group_digits(texts.len()),
            group_digits(texts.tokens())
        ));
    }
    data.notes().for_each(note);
    let mut how = String::new();
    let is_native = backend.kind() == BackendKind::Native;
    if backend.is_cuda() || !is_native && config.precision.is_half() {
        how = format!(", {}", config.precision.as_str());
    }
    if backend.is_cuda() && config.deterministic {
        how += ", deterministic";
    }
    message(format!("run:  {}", run.path().display()));
    message(format!("on:   {backend}{how}"));
    if let Some(memory) = setup::memory(backend, data)? {
        message(format!("needs {memory} of memory, besides {} in use", format_bytes(resident())));
    }
    let summary = summarize(config, &sizes, &data.encoders.ngram_counts(), logits);
    message(format!("\n{}\n", summary.to_text(message_width())));
    if let Some(rates) = layer_rates::describe(config) {
        message(format!("rates: {rates}\n"));
    }
    Ok(())
}

/// Output of --json.
#[derive(Serialize)]
struct Printed<'a> {
    /// Directory of the run.
    run: &'a Path,
    #[serde(flatten)]
    outcome: &'a RunSummary,
}

/// Prints the scores to stdout, and the next commands to try to stderr.
fn report(
    run: &RunDirectory,
    outcome: &RunSummary,
    metric: &Metric,
    columns: &TextColumns,
    json: bool,
) -> anyhow::Result<()> {
    if json {
        print_json(&Printed { run: run.path(), outcome })?;
    } else {
        let weights = outcome.scored();
        let mut scores = vec![("validation", outcome.validation)];
        scores.extend(outcome.test.map(|test| ("test", test)));
        for (split, score) in scores {
            let (accuracy, loss) = (100.0 * score.accuracy, score.loss);
            let metric = score
                .metric
                .map_or(String::new(), |value| format!("  {} {value:.4}", metric.title()));
            print(&format!(
                "{split:<10}  accuracy {accuracy:.2} %  loss {loss:.4}{metric}  {weights}"
            ))?;
        }
    }
    outcome.warnings.iter().for_each(warning);
    // TensorBoard can compare all runs in `runs`. Any other parent may contain unrelated files.
    let parent = run.path().parent().filter(|parent| parent.ends_with("runs"));
    let curves = parent.unwrap_or(run.path());
    message(format!(
        "trained in {:.1} s, {} tokens/s",
        outcome.seconds,
        group_digits(outcome.tokens_per_second as usize)
    ));
    message(format!(
        "\nnext:\n  {}\n  {} plot {path}\n  {} predict {path} {}",
        tensorboard(curves),
        program(),
        program(),
        columns.usage(),
        path = quoted_path(&relative(run.path())),
    ));
    Ok(())
}

/// Creates the directory `runs/NAME-TIME`, with a number if a run of the same name started in the same
/// second.
fn create_run_directory(name: &str) -> anyhow::Result<PathBuf> {
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let stamp = time.replace([':', '-'], "").replace('T', "-").replace('Z', "");
    let name = file_name(name);
    let runs = Path::new("runs");
    create_directories(runs)?;
    let mut number: u64 = 1;
    loop {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let directory = runs.join(format!("{name}-{stamp}{suffix}"));
        match fs::create_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            result => {
                result.with_context(|| format!("cannot create \"{}\"", directory.display()))?;
                return Ok(directory);
            }
        }
    }
}

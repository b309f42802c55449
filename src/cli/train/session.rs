//! An invocation of `lstmtext train`: a run that starts or resumes, in one process or several.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};

use super::arguments::TrainArgs;
use super::description::{describe_run, note_changed_settings, note_other_configuration};
use super::resumption::{latest_checkpoint, open_run, resumed_configuration};
use super::stages::{self, StageRunner};
use crate::backend::kernel::Instructions;
use crate::backend::{Backend, Backends};
use crate::cli::arguments::ComputeArgs;
use crate::cli::hints::{missing_data, program};
use crate::cli::language_model_run::LanguageModelCompute;
use crate::cli::processes::Processes;
use crate::cli::{output_directory, starter};
use crate::config::{self, Config, Document, Metric, Override, Resolved, field_lines};
use crate::data::prepared::PreparedData;
use crate::data::{Sharing, agree, uses_cache};
use crate::distributed::{Collective, LostProcess, Reported};
use crate::events;
use crate::output::format::{group_digits, pluralize};
use crate::output::shell::quoted_path;
use crate::output::{message, note};
use crate::prediction::text_columns::TextColumns;
use crate::random::fingerprint;
use crate::run::checkpoint::{Checkpoint, is_checkpoint, peek_config};
use crate::run::directory::RunDirectory;
use crate::run::new_run::NewRun;
use crate::run::progress::StopReason;
use crate::system::allocator;
use crate::system::signals::Interrupt;
use crate::text::Corpus;
use crate::train::setup::{self, Beginning};
use crate::train::{Diverged, Ending, Trainer};

/// A run whose training has finished or was interrupted.
pub struct Trained {
    pub run: RunDirectory,
    /// Text columns that the model reads.
    pub columns: TextColumns,
    /// Metric that determines the best epoch.
    pub metric: Metric,
    pub ending: Ending,
}

/// Arguments and environment of one invocation.
pub struct Session<'a> {
    pub args: &'a TrainArgs,
    pub compute: &'a ComputeArgs,
    pub overrides: &'a [Override],
    pub backends: &'a dyn Backends,
    pub interrupt: &'a Interrupt,
    pub group: &'a Processes,
}

impl<'a> Session<'a> {
    fn start_backend(&self, config: &Config) -> anyhow::Result<Box<dyn Backend>> {
        self.compute.start_training(self.backends, config)
    }

    fn collective(&self) -> &'a dyn Collective {
        &*self.group.collective
    }

    /// Returns true if this process writes to the run directory.
    fn leads(&self) -> bool {
        self.collective().leads()
    }

    /// Writes the error that ends a run to its directory.
    fn write_error(&self, run: &RunDirectory, error: &anyhow::Error) {
        if self.leads() {
            run.write_error(error);
        }
    }

    /// Writes a failed allocation, which ends the process, to `error.txt` of the run.
    fn save_lack_of_memory(&self, run: &RunDirectory) {
        if self.leads() {
            let run = run.clone();
            allocator::on_failure(move |message| run.write_error(&anyhow!("{message}")));
        }
    }

    /// Describes how to resume a run.
    pub fn resume_hint(&self, run: &Path) -> String {
        let how = match self.collective().is_alone() {
            true => "to resume:",
            false => "to resume, start the processes again with:",
        };
        format!("{how}\n  {}", self.args.resume_command(run))
    }

    /// Starts a new run, or resumes the one in its directory with --resume-if-any.
    pub fn start(&self, config: &Path) -> anyhow::Result<Trained> {
        let existing = self.args.out.as_deref().filter(|_| self.args.resume_if_any);
        let can_resume = existing.is_some_and(|run| RunDirectory::open(run).can_resume());
        match existing {
            Some(run) if self.collective().broadcast_flag(can_resume)? => {
                let recorded = Self { overrides: &[], ..*self };
                let noted = note_other_configuration(config, run, self.overrides);
                self.collective().agree(noted)?;
                recorded.resume(run)
            }
            _ => self.start_new(config),
        }
    }

    fn start_new(&self, config: &Path) -> anyhow::Result<Trained> {
        let (overrides, collective) = (self.overrides, self.collective());
        let resolve = |document: &Document| document.resolve_single(overrides);
        let loaded = starter::load_with(config, overrides, resolve);
        let mut resolved = collective.agree(loaded.map_err(Into::into))?;
        stages::check_new(&resolved.config)?;
        let backend = collective.agree(self.start_backend(&resolved.config))?;
        self.set_shards(&mut resolved)?;
        self.ensure_same_configuration(&resolved)?;
        let mut new = self.group.on_first(|| self.create_run(&resolved))?;
        let run = self.run_directory(new.as_ref())?;
        let staged = self.run_stages(&mut resolved, &run);
        let mut _lock = None;
        let has_stages = !resolved.config.pretrain.stages.is_empty();
        if staged.is_ok() || stages::paths(&run).iter().any(|path| path.exists()) {
            // From now on, the run can be resumed.
            _lock = new.take_if(|_| has_stages).and_then(NewRun::begin);
        }
        if let Some(signal) = staged? {
            return Ok(interrupted(run, &resolved.config, signal));
        }
        let sharing = self.sharing(&resolved.config);
        let prepare = || prepare(resolved.clone(), sharing);
        let (mut data, source) = self.prepare(&resolved.config, prepare)?;
        self.ensure_same(&data, &*backend)?;
        // With what the data tells about its labels.
        self.group.on_first(|| run.write_config(&data.resolved.to_yaml()))?;
        self.remove_test_examples(&mut data);
        let trainer = self.create_trainer(&*backend, &mut data, &run, source.as_ref())?;
        if let Some(new) = new {
            _lock = new.begin();
        }
        self.train(&*backend, trainer, &run)
    }

    /// Runs the stages of pre-training that are not done. Returns the signal if one interrupted them.
    fn run_stages(
        &self,
        resolved: &mut Resolved,
        run: &RunDirectory,
    ) -> anyhow::Result<Option<i32>> {
        if resolved.config.pretrain.stages.is_empty() {
            return Ok(None);
        }
        // What a stage has done is kept.
        self.interrupt.defer();
        self.save_lack_of_memory(run);
        let compute = LanguageModelCompute {
            backends: self.backends,
            arguments: self.compute,
            group: self.group,
        };
        let ran = StageRunner { compute, interrupt: self.interrupt }.run(resolved, run);
        // A stage writes to its own directory.
        self.save_lack_of_memory(run);
        ran
    }

    /// Replaces `train.shards: auto` by the number that suits the threads of all processes.
    fn set_shards(&self, resolved: &mut Resolved) -> anyhow::Result<()> {
        let size = self.collective().worker().world_size;
        resolved.set_shards(resolved.config.train.shards_for(self.group.cores()?, size));
        Ok(())
    }

    /// Creates the directory of a new run.
    fn create_run(&self, resolved: &Resolved) -> anyhow::Result<NewRun> {
        let name = resolved.config.name.clone().unwrap_or_else(|| "run".into());
        let path = match &self.args.out {
            Some(path) => {
                output_directory::check_new(path)?;
                path.clone()
            }
            None => output_directory::create_run(&name)?,
        };
        // A run that cannot start leaves no directory behind.
        let new = NewRun::lock(&path)?;
        self.interrupt.remove_on_exit(new.paths());
        let interrupt = self.interrupt.clone();
        allocator::on_failure(move |_| interrupt.remove_temporary());
        new.directory().write_config(&resolved.to_yaml())?;
        Ok(new)
    }

    /// Returns the directory of a new run, in all processes.
    fn run_directory(&self, new: Option<&NewRun>) -> anyhow::Result<RunDirectory> {
        let path = new.map_or(Path::new(""), |new| new.directory().path());
        let path = self.collective().broadcast_bytes(path.as_os_str().as_bytes().to_vec())?;
        Ok(RunDirectory::open(Path::new(OsStr::from_bytes(&path))))
    }

    /// Returns the processes that divide the data among them; `None` if each reads all of it.
    fn sharing(&self, config: &Config) -> Sharing<'a> {
        let processes = &self.group.collective;
        (config.data.shard && !processes.is_alone()).then_some(processes)
    }

    /// Prepares data in all processes. If each reads all of it and the tokens are cached, rank 0 goes first, and
    /// the others find them in the cache.
    fn prepare<T>(
        &self,
        config: &Config,
        prepare: impl Fn() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        if self.sharing(config).is_some() {
            return self.collective().agree(prepare());
        }
        let data = &config.data;
        let files = [Some(&data.train), data.validation.as_ref(), data.test.as_ref()];
        let uses_cache = files.into_iter().flatten().any(|path| uses_cache(path, data));
        match self.collective().broadcast_flag(uses_cache)? {
            true => self.group.one_by_one(prepare),
            false => self.collective().agree(prepare()),
        }
    }

    /// Checks that all processes have the same configuration, before they do anything that depends on it.
    fn ensure_same_configuration(&self, resolved: &Resolved) -> anyhow::Result<()> {
        match self.collective().is_alone() {
            true => Ok(()),
            false => self.collective().ensure_same(&self.configuration_lines(resolved)),
        }
    }

    fn configuration_lines(&self, resolved: &Resolved) -> Vec<String> {
        /// Last names of fields with paths, which may differ between machines: their content is compared.
        const PATHS: [&str; 7] =
            ["train", "validation", "test", "unlabelled", "vocabulary", "vectors", "from"];
        let is_path = |line: &String| {
            let field = line.split_once(": ").map_or("", |(field, _)| field);
            PATHS.iter().any(|name| field.ends_with(&format!(".{name}")))
        };
        let mut lines = field_lines(resolved);
        lines.retain(|line| !is_path(line) && !line.starts_with("name: "));
        let run = self.args.resume.as_ref().or(self.args.out.as_ref());
        lines.extend(run.map(|run| format!("run directory: {}", run.display())));
        lines
    }

    /// Checks that all processes have the same configuration and data, and that they compute alike.
    fn ensure_same(&self, data: &PreparedData, backend: &dyn Backend) -> anyhow::Result<()> {
        if self.collective().is_alone() {
            return Ok(());
        }
        let mut lines = self.configuration_lines(&data.resolved);
        lines.extend(data.labels.iter().map(|label| format!("label: {label}")));
        lines.extend(data.fingerprints.lines());
        if data.train.is_sharded() {
            // Each process has encoded other texts.
            lines.extend(
                data.encoders.iter().map(|encoder| {
                    format!("vocabulary and n-grams: {:016x}", encoder.fingerprint())
                }),
            );
        } else {
            let ids = data.train.inputs.iter().flat_map(Corpus::ids).map(|id| u64::from(*id));
            lines.push(format!("encoded training texts: {:016x}", fingerprint(ids)));
        }
        lines.push(format!("arithmetic: {}", backend.arithmetic()));
        lines.push(format!("vector instructions: {}", Instructions::best()));
        self.collective().ensure_same(&lines)
    }

    /// Restarts a run that ended before its first checkpoint.
    fn start_over(
        &self,
        run: &RunDirectory,
        backend: Option<Box<dyn Backend>>,
    ) -> anyhow::Result<Trained> {
        let collective = self.collective();
        let loaded = config::load_recorded(&run.config(), self.overrides);
        let mut resolved = collective.agree(loaded.map_err(Into::into))?;
        let backend = match backend {
            Some(backend) => backend,
            None => collective.agree(self.start_backend(&resolved.config))?,
        };
        self.set_shards(&mut resolved)?;
        self.ensure_same_configuration(&resolved)?;
        self.save_lack_of_memory(run);
        let staged = self.run_stages(&mut resolved, run);
        if let Some(signal) = staged.inspect_err(|error| self.write_error(run, error))? {
            return Ok(interrupted(run.clone(), &resolved.config, signal));
        }
        let sharing = self.sharing(&resolved.config);
        let prepared = self.prepare(&resolved.config, || {
            prepare(resolved.clone(), sharing)
                .map_err(|error| missing_data(error, &resolved.config.data))
        });
        let (mut data, source) = prepared.inspect_err(|error| self.write_error(run, error))?;
        self.ensure_same(&data, &*backend)?;
        self.remove_test_examples(&mut data);
        if events::first_file(run.path()).is_some() {
            message("the run has no checkpoint yet: it starts from the beginning");
        }
        self.group.on_first(|| run.start_over(&data.resolved.to_yaml()))?;
        let trainer = self.create_trainer(&*backend, &mut data, run, source.as_ref());
        let trainer = trainer.inspect_err(|error| self.write_error(run, error))?;
        self.train(&*backend, trainer, run)
    }

    pub fn resume(&self, path: &Path) -> anyhow::Result<Trained> {
        let collective = self.collective();
        let run = collective.agree(open_run(path, collective.worker().rank))?;
        // The backend starts before the directory is locked, because it may replace this process with
        // lstmtext-torch.
        let peek = |checkpoint: PathBuf| peek_config(&checkpoint, self.overrides);
        let config = [run.last(), run.best()].into_iter().find_map(peek);
        let config = config
            .or_else(|| Some(config::load_recorded(&run.config(), self.overrides).ok()?.config));
        let backend =
            collective.agree(config.map(|config| self.start_backend(&config)).transpose())?;
        let _lock = self.group.on_first(|| {
            let lock = run.lock()?;
            run.restore();
            Ok(lock)
        })?;
        let checkpoint = collective.agree(latest_checkpoint(&run, self.overrides))?;
        let sha256 = checkpoint.as_ref().map_or("none", Checkpoint::sha256);
        collective.ensure_same(&[format!("checkpoint: {sha256}")])?;
        let Some(checkpoint) = checkpoint else {
            return self.start_over(&run, backend);
        };
        let checked = stages::check_resumed(&checkpoint.resolved.config, self.overrides);
        collective.agree(checked.map_err(Into::into))?;
        let progress = checkpoint.progress()?;
        let reason = progress.stop_reason(&checkpoint.resolved.config.train);
        let finished = reason.zip(run.summary()).filter(|_| is_checkpoint(&run.best()));
        if collective.broadcast_flag(finished.is_some())? {
            let (reason, outcome) = finished.context("cannot read the summary of the run")?;
            let limit = match reason {
                StopReason::Epochs => "train.epochs",
                StopReason::EarlyStopping => "train.early_stopping.patience",
            };
            let waited = match reason {
                StopReason::Epochs => String::new(),
                StopReason::EarlyStopping => {
                    format!(", {} without improvement", pluralize(progress.waited, "validation"))
                }
            };
            let over = format!(
                "the run is finished after {}{waited}; to train on, increase {limit}: {} train --resume {} --set \
                 {limit}=N",
                pluralize(progress.epoch, "epoch"),
                program(),
                quoted_path(path),
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
            None => collective.agree(self.start_backend(&checkpoint.resolved.config))?,
        };
        self.ensure_same_configuration(&checkpoint.resolved)?;
        let threads = self.group.threads()?;
        let sharing = self.sharing(&checkpoint.resolved.config);
        let mut data = self.prepare(&checkpoint.resolved.config, || {
            PreparedData::reopen(
                resumed_configuration(&checkpoint, &*backend, threads),
                &checkpoint.labels,
                checkpoint.encoders.clone(),
                sharing,
            )
            .map_err(|error| missing_data(error, &checkpoint.resolved.config.data))
        })?;
        self.ensure_same(&data, &*backend)?;
        self.remove_test_examples(&mut data);
        describe_run(&data, &run, &*backend, self.group)?;
        setup::resolve_token_budget(&*backend, &mut data, self.collective())?;
        message(format!("resuming after step {}", progress.step));
        note_changed_settings(checkpoint.saved.as_ref(), &data.resolved);
        let beginning = Beginning::Resume(&checkpoint);
        let mut trainer = setup::trainer(&*backend, &data, &run, beginning, self.collective())?;
        self.interrupt.defer();
        self.group.on_first(|| setup::begin(&mut trainer, &data, &run))?;
        self.train(&*backend, trainer, &run)
    }

    /// Trains. Saves an error that ends the run to the run directory.
    fn train(
        &self,
        backend: &dyn Backend,
        trainer: Trainer,
        run: &RunDirectory,
    ) -> anyhow::Result<Trained> {
        self.save_lack_of_memory(run);
        let columns = TextColumns::of(trainer.config());
        let metric = trainer.config().metric().clone();
        let (mut trainer, mut ending) = (Some(trainer), None);
        let trained = backend.catch(&mut || {
            if let Some(mut trainer) = trainer.take() {
                self.args.stop_after.iter().for_each(|epoch| trainer.pause_after(epoch.get()));
                ending = Some(trainer.train(self.interrupt)?);
            }
            Ok(())
        });
        let ending = trained.and_then(|()| ending.context("training did not start"));
        let ending = ending.map_err(|error| self.with_checkpoint_hint(error, backend, run));
        let ending = ending.inspect_err(|error| self.write_error(run, error))?;
        Ok(Trained { run: run.clone(), columns, metric, ending })
    }

    /// Prints a description of a new run, resolves its token budget, and creates its trainer.
    fn create_trainer<'data>(
        &self,
        backend: &dyn Backend,
        data: &'data mut PreparedData,
        run: &RunDirectory,
        source: Option<&Checkpoint>,
    ) -> anyhow::Result<Trainer<'data>>
    where
        'a: 'data,
    {
        let beginning = source.map_or(Beginning::New, Beginning::From);
        describe_run(data, run, backend, self.group)?;
        let collective = self.collective();
        if setup::resolve_token_budget(backend, data, collective)? {
            self.group.on_first(|| run.write_config(&data.resolved.to_yaml()))?;
        }
        let (data, mut trainer) = (&*data, None);
        backend.catch(&mut || {
            trainer = Some(setup::trainer(backend, data, run, beginning, collective)?);
            Ok(())
        })?;
        let mut trainer = trainer.context("the backend did not create a trainer")?;
        self.interrupt.defer();
        self.group.on_first(|| setup::begin(&mut trainer, data, run))?;
        Ok(trainer)
    }

    /// Adds the checkpoint from which the run can continue to the error that ended it.
    fn with_checkpoint_hint(
        &self,
        error: anyhow::Error,
        backend: &dyn Backend,
        run: &RunDirectory,
    ) -> anyhow::Error {
        if error.is::<Diverged>() {
            if !self.leads() {
                return error.context(Reported);
            }
            let kept = [run.last(), run.best()].into_iter().find(|path| path.exists());
            return match kept {
                Some(path) => {
                    anyhow!("{error}; the last good checkpoint is \"{}\"", path.display())
                }
                None => anyhow!("{error}; there is no checkpoint yet"),
            };
        }
        let is_outer = backend.reported(&error) || error.is::<LostProcess>();
        if !is_outer || !run.last().exists() {
            return error;
        }
        let (last, hint) = (run.last(), self.resume_hint(run.path()));
        anyhow!("{error}; the last checkpoint, \"{}\", is intact; {hint}", last.display())
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

/// Returns the outcome of a run whose pre-training a signal has interrupted.
fn interrupted(run: RunDirectory, config: &Config, signal: i32) -> Trained {
    let (columns, metric) = (TextColumns::of(config), config.metric().clone());
    Trained { run, columns, metric, ending: Ending::Interrupted(signal) }
}

/// Prepares the data of a new run, and opens the checkpoint from whose weights it starts, if there is one.
fn prepare(
    resolved: Resolved,
    sharing: Sharing,
) -> anyhow::Result<(PreparedData, Option<Checkpoint>)> {
    let source = agree(sharing, Checkpoint::open_source(&resolved.config))?;
    let known = source.as_ref().map(Checkpoint::known_encoders).unwrap_or_default();
    Ok((PreparedData::prepare_with(resolved, &known, sharing)?, source))
}

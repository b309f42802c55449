//! The directory of a search: its configuration, its journal, and the runs of each trial. Several processes can share
//! it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_yaml::Value;

use super::halving::Rungs;
use super::journal::{Entry, Event, Journal, RungResult};
use super::limits::Limits;
use super::trials::{Trial, Trials};
use crate::config::{self, Metric, Override, Resolved, SearchSpace, SweepSection, differences};
use crate::io::files::create_directories;
use crate::io::replace::write_atomic;
use crate::run::checkpoint::is_checkpoint;
use crate::run::directory::RunDirectory;
use crate::run::listing::is_run;
use crate::run::lock::{Lock, is_locked};
use crate::run::new_run::NewRun;
use crate::run::saved_model::write_folds;

/// Time to wait for another process that asks for a trial or records a result.
const PATIENCE: Duration = Duration::from_secs(60);
/// The configuration of the search, with the space that it explores.
const SEARCH: &str = "search.yaml";

/// A search and its directory.
pub struct TuneDirectory {
    /// The space that it explores.
    pub space: SearchSpace,
    /// Numbers of epochs after which trials are compared.
    pub rungs: Rungs,
    /// Limits of the models.
    pub limits: Limits,
    /// The first trial is the configuration itself.
    pub(super) starts_with_base: bool,
    path: PathBuf,
    journal: Journal,
}

impl TuneDirectory {
    /// Opens the directory `path` of a search. Nothing is created or changed.
    pub fn new(space: SearchSpace, limits: Limits, starts_with_base: bool, path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or(path.to_owned());
        let epochs = space.base.config.train.epochs;
        let rungs =
            if space.method.is_halving() { Rungs::of(epochs) } else { Rungs::single(epochs) };
        let journal = Journal::of(&path);
        Self { space, rungs, limits, starts_with_base, path, journal }
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Metric that ranks the trials.
    pub fn metric(&self) -> &Metric {
        self.space.base.config.metric()
    }

    /// Number of folds, each of which is the validation examples of a run; `None` if a trial has one run.
    pub fn folds(&self) -> Option<usize> {
        self.space.base.config.data.split.validation_folds()
    }

    /// Directories of the runs of a trial: one, or one for each fold.
    pub fn runs(&self, trial: usize) -> Vec<RunDirectory> {
        let path = self.path.join(trial_name(trial));
        match self.folds() {
            None => vec![RunDirectory::open(&path)],
            Some(folds) => {
                let fold = |fold: usize| RunDirectory::open(&path.join(fold_name(fold)));
                (1..=folds).map(fold).collect()
            }
        }
    }

    /// Locks the directory for a change of the journal.
    pub(super) fn lock(&self) -> anyhow::Result<Lock> {
        let lock = Lock::acquire_within(&self.path, PATIENCE);
        lock.with_context(|| format!("cannot change the search in \"{}\"", self.path.display()))
    }

    /// Creates the directory, or checks that it has this search.
    ///
    /// # Errors
    /// Returns an error if it has something else, or if it cannot be written.
    pub fn create(&self) -> anyhow::Result<()> {
        let shown = self.path.display();
        let file = self.path.join(SEARCH);
        ensure!(
            !is_run(&self.path) && !is_checkpoint(&self.path),
            "\"{shown}\" is a run, not the directory of a search; choose another --out"
        );
        if !file.exists() {
            let is_own = |name: &std::ffi::OsStr| name == ".lock";
            let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
            let other = entries.map(|entry| entry.file_name()).find(|name| !is_own(name));
            if let Some(other) = other {
                bail!(
                    "\"{shown}\" is not empty, it contains \"{}\"; choose a new directory for --out",
                    other.display()
                );
            }
        }
        create_directories(&self.path)?;
        let _lock = self.lock()?;
        if file.exists() {
            self.check_same(&config::load_recorded(&file, &[])?)?;
        }
        write_atomic(&file, self.space.full.to_yaml().as_bytes())
    }

    /// Checks that this search continues that of a configuration. Only its length may have changed.
    fn check_same(&self, existing: &Resolved) -> anyhow::Result<()> {
        let shown = self.path.display();
        let changes = differences(&[existing, &self.space.full]);
        if let Some(change) = changes.iter().find(|change| change.path[0] != "sweep") {
            bail!(
                "\"{shown}\" has a search with a different {}; choose another --out, or delete this directory",
                change.field()
            );
        }
        let (before, now) = (&existing.config.sweep, &self.space.full.config.sweep);
        for (option, argument) in [("method", "--method"), ("search_seed", "--search-seed")] {
            ensure!(
                before.get(option) == now.get(option),
                "\"{shown}\" has a search with a different {option} ({argument}); choose another --out, or delete \
                 this directory"
            );
        }
        // The order of the fields is that of the coordinates.
        ensure!(
            before.varied().eq(now.varied()),
            "\"{shown}\" has a search in a different space (sweep in {SEARCH}); choose another --out, or delete this \
             directory"
        );
        Ok(())
    }

    /// Section sweep of a search that has begun in a directory; `None` if none has.
    ///
    /// # Errors
    /// Returns an error if the configuration of the search cannot be read.
    pub fn recorded_section(path: &Path) -> anyhow::Result<Option<SweepSection>> {
        let file = path.join(SEARCH);
        if !file.exists() {
            return Ok(None);
        }
        Ok(Some(config::load_recorded(&file, &[])?.config.sweep))
    }

    /// Reads the trials.
    ///
    /// # Errors
    /// Returns an error if the journal cannot be read, or is that of another space.
    pub fn trials(&self) -> anyhow::Result<Trials> {
        let trials = Trials::of(self.journal.read()?, &self.limits);
        let mut points = trials.all.iter().filter_map(|trial| trial.at.as_ref());
        ensure!(
            points.all(|point| point.count() == self.space.axes.len()),
            "the journal in \"{}\" has trials of another space",
            self.path.display()
        );
        Ok(trials)
    }

    /// Returns the results in the order of time, with the seconds since the search began and the trial.
    ///
    /// # Errors
    /// Returns an error if the journal cannot be read.
    pub fn results(&self) -> anyhow::Result<Vec<(f64, usize, RungResult)>> {
        let result = |entry: Entry| match entry.event {
            Event::Reached(result) => Some((entry.elapsed, entry.trial, result)),
            _ => None,
        };
        Ok(self.journal.read()?.into_iter().filter_map(result).collect())
    }

    /// Records what happened to a trial `elapsed` seconds after the search began.
    ///
    /// # Errors
    /// Returns an error if the journal cannot be written.
    pub fn record(&self, trial: usize, event: Event, elapsed: f64) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        self.append(trial, event, elapsed)
    }

    /// Appends to the journal. The directory must be locked.
    pub(super) fn append(&self, trial: usize, event: Event, elapsed: f64) -> anyhow::Result<()> {
        self.journal.append(&Entry { elapsed, trial, event })
    }

    /// Claims a trial for this process; returns `None` if another process has it. The directory must be locked.
    pub(super) fn claim(&self, trial: usize) -> anyhow::Result<Option<Lock>> {
        let directory = self.path.join(".claims").join(trial.to_string());
        create_directories(&directory)?;
        // A killed process may have left its training process behind.
        if is_locked(&directory) || self.runs(trial).iter().any(RunDirectory::is_training) {
            return Ok(None);
        }
        Lock::acquire(&directory).map(Some)
    }

    /// Settings of a trial as overrides of the configuration.
    pub(super) fn settings(&self, trial: &Trial) -> anyhow::Result<Vec<Override>> {
        let settings = trial.settings.iter().map(|(field, value)| {
            Ok(Override::new(field, serde_yaml::to_value(value).context("cannot read a setting")?))
        });
        settings.collect()
    }

    /// Returns the configuration of a trial, with all training examples in one part.
    ///
    /// # Errors
    /// Returns an error if the journal has settings that are no longer valid.
    pub fn resolve(&self, trial: &Trial) -> anyhow::Result<Resolved> {
        let set = |field: &str, value: Value| Override::new(field, value);
        let folds =
            [set("data.split.folds", Value::Null), set("data.split.fold_use", "test".into())];
        self.resolve_with(trial, if self.folds().is_some() { &folds } else { &[] })
    }

    /// Returns the configuration of a trial with some overrides.
    ///
    /// # Errors
    /// Returns an error if the journal has settings that are no longer valid, or an override is not.
    pub fn resolve_with(&self, trial: &Trial, overrides: &[Override]) -> anyhow::Result<Resolved> {
        Ok(self.space.resolve(&[self.settings(trial)?, overrides.to_vec()].concat())?)
    }

    /// Creates the runs of a trial that have not begun.
    pub(super) fn prepare(
        &self,
        trial: usize,
        settings: &[Override],
        cores: usize,
    ) -> anyhow::Result<()> {
        for (index, run) in self.runs(trial).into_iter().enumerate() {
            if run.can_resume() {
                continue;
            }
            let fold = Override::new("data.split.fold", Value::from(index as u64 + 1));
            let fold = self.folds().map(|_| fold);
            let settings: Vec<Override> = settings.iter().cloned().chain(fold).collect();
            let mut resolved = self.space.resolve(&settings)?;
            resolved.set_shards(resolved.config.train.shards_for(cores, 1));
            let lock = run.create()?;
            NewRun::create_in(run, lock, &resolved.to_yaml())?.begin();
        }
        match self.folds() {
            // The models of the folds predict together.
            Some(folds) => {
                let names = (1..=folds).map(fold_name).collect();
                write_folds(&self.path.join(trial_name(trial)), names)
            }
            None => Ok(()),
        }
    }
}

/// Name of the directory of a trial.
pub fn trial_name(trial: usize) -> String {
    format!("trial-{trial:03}")
}

/// Name of the run of a fold, from 1, in the directory of a trial.
fn fold_name(fold: usize) -> String {
    format!("fold-{fold}")
}

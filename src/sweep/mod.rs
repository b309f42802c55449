//! The folder of a sweep: a run for each of its points, trained by this process or by others.

mod jobs;
mod leaderboard;
mod names;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_yaml::Value;

use crate::config::{self, Config, Difference, Point, Resolved, Sweep, differences, flow};
use crate::run::checkpoint::is_checkpoint;
use crate::run::directory::{Outcome, RunDirectory};
use crate::run::listing::is_run;

pub use jobs::{Failure, Jobs, Launch};
pub use leaderboard::Leaderboard;
use names::Labels;

/// A sweep and the folder that its runs are in.
#[derive(Clone, Debug)]
pub struct SweepDirectory {
    /// What is to be trained.
    pub sweep: Sweep,
    /// By their index.
    pub runs: Vec<SweepRun>,
    path: PathBuf,
    varied: Vec<String>,
    labels: Labels,
}

/// One of the runs.
#[derive(Clone, Debug)]
pub struct SweepRun {
    /// Its number in the sweep, from 0.
    pub index: usize,
    /// The name of its folder.
    pub name: String,
    /// What it changes in the configuration.
    pub point: Point,
    /// Its folder, which may not be there yet.
    pub folder: RunDirectory,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Nothing is there.
    New,
    /// A process trains it.
    Running,
    /// It was interrupted or killed, and can go on.
    Stopped,
    /// An error ended it.
    Failed,
    /// It has a result.
    Finished(Outcome),
}

impl SweepRun {
    /// How far it is.
    pub fn state(&self) -> State {
        match self.folder.summary() {
            Some(outcome) => State::Finished(outcome),
            None if self.folder.is_training() => State::Running,
            None if self.folder.error().is_some() => State::Failed,
            None if self.folder.config().exists() => State::Stopped,
            None => State::New,
        }
    }

    /// The file that has what its training says.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log.txt")
    }
}

impl SweepDirectory {
    /// A sweep in the folder `path`, in which nothing is changed yet.
    pub fn new(sweep: Sweep, path: &Path) -> Self {
        let changes = sweep.points.iter().flat_map(Point::changes);
        let mut varied: Vec<String> = changes.map(|set| set.field()).collect();
        varied.sort();
        varied.dedup();
        let labels = Labels::new(&sweep.base.fields, varied.iter().map(String::as_str));
        let path = std::path::absolute(path).unwrap_or(path.to_owned());
        let run = |(index, point): (usize, &Point)| {
            let name = labels.run_name(point);
            let folder = RunDirectory::open(&path.join(&name));
            SweepRun { index, name, point: point.clone(), folder }
        };
        let runs = sweep.points.iter().enumerate().map(run).collect();
        Self { sweep, runs, path, varied, labels }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole configuration of a run.
    ///
    /// # Errors
    /// None for the runs of this sweep, whose points were checked.
    pub fn resolve(&self, run: &SweepRun) -> anyhow::Result<Resolved> {
        Ok(self.sweep.resolve(&run.point)?)
    }

    /// Makes sure that a run, where it was begun, was begun with this sweep's configuration.
    ///
    /// # Errors
    /// Where it was not, or its configuration cannot be read; in both cases with what to do.
    pub fn check(&self, run: &SweepRun) -> anyhow::Result<()> {
        let file = run.folder.config();
        if !file.exists() {
            return Ok(());
        }
        let wanted = self.resolve(run)?;
        let found = config::load(&file, &[])?;
        if found.config != wanted.config {
            bail!(
                "\"{}\" was begun with another configuration: {}; choose another --out, or remove \
                 that folder",
                run.folder.path().display(),
                first_difference(&found, &wanted)
            );
        }
        Ok(())
    }

    /// Makes the folder, unless it is one of a run.
    ///
    /// # Errors
    /// Where it is, or cannot be made.
    pub fn make(&self) -> anyhow::Result<()> {
        let path = self.path.display();
        if is_run(&self.path) || is_checkpoint(&self.path) {
            bail!("\"{path}\" is a run, not a folder of runs: choose another --out");
        }
        fs::create_dir_all(&self.path).with_context(|| format!("cannot make the folder \"{path}\""))
    }

    /// Makes sure that [`SweepDirectory::check`] finds nothing in any run.
    ///
    /// # Errors
    /// What it finds, the first few of them.
    pub fn check_all(&self) -> anyhow::Result<()> {
        const SHOWN: usize = 5;
        let faults: Vec<String> = self
            .runs
            .iter()
            .filter_map(|run| self.check(run).err())
            .map(|fault| format!("{fault:#}"))
            .collect();
        if faults.is_empty() {
            return Ok(());
        }
        let more = match faults.len() {
            0..=SHOWN => String::new(),
            many => format!("\n… and {} more", many - SHOWN),
        };
        bail!("{}{more}", faults[..faults.len().min(SHOWN)].join("\n"))
    }

    /// Makes the folder of a run that was never begun, as `train --resume` wants it.
    ///
    /// # Errors
    /// As [`SweepDirectory::check`], and where another process trains in it or it cannot be written.
    pub fn prepare(&self, run: &SweepRun) -> anyhow::Result<()> {
        let path = run.folder.path();
        fs::create_dir_all(path)
            .with_context(|| format!("cannot make the folder \"{}\"", path.display()))?;
        let _lock = run.folder.lock()?;
        if run.folder.config().exists() {
            return self.check(run);
        }
        RunDirectory::create(path, &self.resolve(run)?.to_yaml()).map(|_| ())
    }

    /// The runs that have no result yet.
    pub fn unfinished(&self) -> Vec<&SweepRun> {
        let unfinished = |run: &&SweepRun| !matches!(run.state(), State::Finished(_));
        self.runs.iter().filter(unfinished).collect()
    }

    /// The fields that vary.
    pub fn varied(&self) -> impl Iterator<Item = &str> {
        self.varied.iter().map(String::as_str)
    }

    /// The number of runs in the folder that are not of this sweep.
    pub fn other_runs(&self) -> usize {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let runs = entries.filter(|entry| RunDirectory::open(&entry.path()).config().exists());
        let known = |name: &str| self.runs.iter().any(|run| run.name == name);
        runs.filter(|entry| !known(&entry.file_name().to_string_lossy())).count()
    }
}

/// The first field in which two configurations differ, in words.
fn first_difference(found: &Resolved, wanted: &Resolved) -> String {
    let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "missing".to_owned(), flow);
    match differences(&[found, wanted]).first() {
        Some(Difference { path, values }) => {
            let values: Vec<String> = values.iter().map(value).collect();
            format!("{} is {} in the sweep", path.join("."), values.join(" there, and "))
        }
        None => "its inputs are in another order".to_owned(),
    }
}

/// The value that a configuration without a sweep has for a field, where it is a field by itself.
fn base_value<'a>(base: &'a Resolved, field: &str) -> Option<&'a Value> {
    base.fields.iter().find(|known| known.path.join(".") == field).map(|field| &field.value)
}

/// Whether there are test examples, as far as the configuration shows it.
pub fn has_test_examples(config: &Config) -> bool {
    let test = config.data.split.test;
    config.data.test.is_some() || test.of(usize::MAX) > 0
}

//! The directory of a sweep, with one run per point. Several processes can train the runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde_yaml::Value;

use super::names::Labels;
use crate::config::{
    self, AutoNumber, Difference, Point, Resolved, Sweep, differences, inline_yaml,
};
use crate::io::files::create_directories;
use crate::run::checkpoint::is_checkpoint;
use crate::run::directory::RunDirectory;
use crate::run::listing::is_run;
use crate::run::new_run::NewRun;
use crate::run::summary::RunSummary;
use crate::system::threads::cores;

/// A sweep and the directory of its runs.
#[derive(Clone, Debug)]
pub struct SweepDirectory {
    /// The sweep.
    pub sweep: Sweep,
    /// The runs, by index.
    pub runs: Vec<SweepRun>,
    path: PathBuf,
    varied: Vec<String>,
    pub(super) labels: Labels,
}

/// A run of a sweep.
#[derive(Clone, Debug)]
pub struct SweepRun {
    /// Index in the sweep, starting at 0.
    pub index: usize,
    /// Name of its directory.
    pub name: String,
    /// Its settings.
    pub point: Point,
    /// Its directory, which may not exist yet.
    pub directory: RunDirectory,
}

/// State of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum RunState {
    /// Not started.
    New,
    /// A process is training it.
    Running,
    /// Interrupted or killed. It can be resumed.
    Stopped,
    /// Ended with an error.
    Failed,
    /// Finished with a result.
    Finished(Box<RunSummary>),
}

impl SweepRun {
    /// Returns the current state.
    pub fn state(&self) -> RunState {
        match self.directory.summary() {
            Some(outcome) => RunState::Finished(Box::new(outcome)),
            None if self.directory.is_training() => RunState::Running,
            None if self.directory.error().is_some() => RunState::Failed,
            None if self.directory.config().exists() => RunState::Stopped,
            None => RunState::New,
        }
    }
}

impl SweepDirectory {
    /// Opens the directory `path` of a sweep. Nothing is created or changed.
    pub fn new(sweep: Sweep, path: &Path) -> Self {
        let overrides = sweep.points.iter().flat_map(Point::overrides);
        let mut varied: Vec<String> = overrides.map(|set| set.field()).collect();
        varied.sort();
        varied.dedup();
        let labels = Labels::new(&sweep.base.fields, varied.iter().map(String::as_str));
        let path = std::path::absolute(path).unwrap_or(path.to_owned());
        let run = |(index, point): (usize, &Point)| {
            let name = labels.run_name(point);
            let directory = RunDirectory::open(&path.join(&name));
            SweepRun { index, name, point: point.clone(), directory }
        };
        let runs = sweep.points.iter().enumerate().map(run).collect();
        Self { sweep, runs, path, varied, labels }
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Resolves the configuration of a run.
    ///
    /// # Errors
    /// Returns an error if the configuration is invalid. The runs of this sweep are valid.
    pub fn resolve(&self, run: &SweepRun) -> anyhow::Result<Resolved> {
        Ok(self.sweep.resolve(&run.point)?)
    }

    /// Checks that an existing run has the configuration of this sweep, or has no checkpoint yet, so that
    /// [`SweepDirectory::prepare`] can replace it.
    ///
    /// # Errors
    /// Returns an error if the configuration differs or cannot be read.
    pub fn check(&self, run: &SweepRun) -> anyhow::Result<()> {
        match self.compare(run) {
            Err(_) if run.directory.is_without_checkpoint() && !run.directory.is_training() => {
                Ok(())
            }
            compared => compared,
        }
    }

    /// Compares the configuration of an existing run with that of this sweep.
    fn compare(&self, run: &SweepRun) -> anyhow::Result<()> {
        let file = run.directory.config();
        if !file.exists() {
            return Ok(());
        }
        let existing = config::load_recorded(&file, &[])?;
        let mut expected = self.resolve(run)?;
        expected.take_choices(&existing.config);
        if existing.config != expected.config {
            bail!(
                "\"{}\" has a different configuration: {}; choose another --out, or delete this \
                 directory",
                run.directory.path().display(),
                first_difference(&existing, &expected)
            );
        }
        Ok(())
    }

    /// Creates the directory.
    ///
    /// # Errors
    /// Returns an error if it is the directory of a run, or if it cannot be created.
    pub fn create(&self) -> anyhow::Result<()> {
        if is_run(&self.path) || is_checkpoint(&self.path) {
            bail!(
                "\"{}\" is a run, not a directory of runs; choose another --out",
                self.path.display()
            );
        }
        create_directories(&self.path)
    }

    /// Checks all existing runs as [`SweepDirectory::check`] does.
    ///
    /// # Errors
    /// Returns an error that lists the first few mismatches.
    pub fn check_all(&self) -> anyhow::Result<()> {
        const MAX_LISTED: usize = 5;
        let mismatches: Vec<String> = self
            .runs
            .iter()
            .filter_map(|run| self.check(run).err())
            .map(|error| format!("{error:#}"))
            .collect();
        if mismatches.is_empty() {
            return Ok(());
        }
        let more = match mismatches.len() {
            0..=MAX_LISTED => String::new(),
            count => format!("\n… and {} more", count - MAX_LISTED),
        };
        bail!("{}{more}", mismatches[..mismatches.len().min(MAX_LISTED)].join("\n"))
    }

    /// Creates the directory of a new run, so that `train --resume` can start it. A run of another
    /// configuration that has no checkpoint, such as one that failed at once, is replaced.
    ///
    /// # Errors
    /// Returns the errors of [`SweepDirectory::check`], and an error if another process is training
    /// the run or the directory cannot be written.
    pub fn prepare(&self, run: &SweepRun) -> anyhow::Result<()> {
        let lock = run.directory.create()?;
        let has_config = run.directory.config().exists();
        if has_config {
            match self.compare(run) {
                Err(_) if run.directory.is_without_checkpoint() => {}
                compared => return compared,
            }
        }
        let mut resolved = self.resolve(run)?;
        resolved.set_shards(resolved.config.train.shards_for(self.cores(), 1));
        match has_config {
            true => run.directory.start_over(&resolved.to_yaml())?,
            false => {
                NewRun::create_in(run.directory.clone(), lock, &resolved.to_yaml())?.begin();
            }
        }
        Ok(())
    }

    /// Number of cores for which `train.shards: auto` cuts a batch: that of the machine on which the first
    /// run began, so that all runs of a sweep round alike.
    fn cores(&self) -> usize {
        let begun = self.runs.iter().filter(|run| run.directory.config().exists());
        let first = begun.filter_map(|run| {
            let planned = self.resolve(run).ok()?.config.train;
            let begun = config::load_recorded(&run.directory.config(), &[]).ok()?.config.train;
            match (planned.shards, begun.shards) {
                (AutoNumber::Auto, AutoNumber::Number(shards)) => Some((planned, shards)),
                _ => None,
            }
        });
        match first.into_iter().next() {
            // Its machine may have had more cores.
            Some((planned, shards)) if shards == planned.shards_for(usize::MAX, 1) => {
                shards.max(cores())
            }
            Some((_, shards)) => shards,
            None => cores(),
        }
    }

    /// Returns the runs without a result.
    pub fn unfinished(&self) -> Vec<&SweepRun> {
        let unfinished = |run: &&SweepRun| !matches!(run.state(), RunState::Finished(_));
        self.runs.iter().filter(unfinished).collect()
    }

    /// Names of the fields that vary.
    pub fn varied_fields(&self) -> impl Iterator<Item = &str> {
        self.varied.iter().map(String::as_str)
    }

    /// Number of runs in the directory that do not belong to this sweep.
    pub fn other_runs(&self) -> usize {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let runs = entries.filter(|entry| RunDirectory::open(&entry.path()).config().exists());
        let belongs = |name: &str| self.runs.iter().any(|run| run.name == name);
        runs.filter(|entry| !belongs(&entry.file_name().to_string_lossy())).count()
    }
}

/// Describes the first difference between the configuration of a run and that of the sweep.
fn first_difference(run: &Resolved, sweep: &Resolved) -> String {
    let value =
        |value: &Option<Value>| value.as_ref().map_or_else(|| "missing".to_owned(), inline_yaml);
    match differences(&[run, sweep]).first() {
        Some(Difference { path, values }) => {
            let values: Vec<String> = values.iter().map(value).collect();
            format!("{} is {} now", path.join("."), values.join(" in the run and "))
        }
        None => "its inputs are in a different order".to_owned(),
    }
}

/// Returns the value of a field in the configuration without the sweep. A field below `inputs` has
/// none.
pub(super) fn base_value<'a>(base: &'a Resolved, field: &str) -> Option<&'a Value> {
    base.fields.iter().find(|each| each.path.join(".") == field).map(|field| &field.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_cuts_all_batches_for_the_machine_of_its_first_run() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("many.yaml");
        let yaml = "data: {train: x.csv}\ntrain: {batch_size: 64}\n\
                    sweep: {seed: [1, 2], train.batch_size: [64, 4]}\n";
        fs::write(&file, yaml).unwrap();
        let sweep = Sweep::load(&file, &[]).unwrap();
        let sweep = SweepDirectory::new(sweep, &directory.path().join("sweep"));
        let shards = |run: &SweepRun| {
            let resolved = config::load_recorded(&run.directory.config(), &[]).unwrap();
            (resolved.config.train.batch_size, resolved.config.train.shards)
        };
        // The first run began on a machine with 13 cores.
        let first = sweep.runs.iter().find(|run| run.name.contains("64")).unwrap();
        let mut resolved = sweep.resolve(first).unwrap();
        resolved.set_shards(13);
        let lock = first.directory.create().unwrap();
        NewRun::create_in(first.directory.clone(), lock, &resolved.to_yaml()).unwrap().begin();
        for run in &sweep.runs {
            sweep.prepare(run).unwrap();
            let expected = if shards(run).0 == 64 { 13 } else { 2 };
            assert_eq!(shards(run).1, AutoNumber::Number(expected), "{}", run.name);
        }
        sweep.check_all().unwrap();
    }
}

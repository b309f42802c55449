//! Finding runs, and what their files say of them; nothing of a run is changed.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use crate::config::{self, Config, Input, Resolved, StoppingMetric};
use crate::events;
use crate::model::summary::summarize;
use crate::objective::metrics::Score;
use crate::run::checkpoint::{self, is_checkpoint};
use crate::run::directory::{Outcome, Record, RunDirectory, Time};
use crate::run::progress::{Best, Progress};

/// How many folders deep runs are looked for; those of a sweep lie two deep.
const DEEPEST: usize = 6;

/// What a run is doing, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A process trains in its folder.
    Running,
    /// It is over, and has a summary.
    Finished,
    /// It was interrupted or killed, and can go on.
    Stopped,
    /// An error ended it.
    Failed,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// What is known of a run.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// Its folder.
    pub folder: RunDirectory,
    /// What it is doing, or how it ended.
    pub state: State,
    /// When it was begun, in seconds since 1970.
    pub begun: Option<u64>,
    /// Its configuration, where that can be read.
    pub resolved: Option<Resolved>,
    /// The best validation so far.
    pub best: Option<Best>,
    /// The score on the test examples, where it is finished and has some.
    pub test: Option<Score>,
    /// The epoch of the last validation or checkpoint, from 1; 0 before the first.
    pub epoch: usize,
    /// Seconds spent training.
    pub seconds: f64,
    /// Tokens trained on in each of these seconds.
    pub tokens_per_second: Option<f64>,
    /// Trainable numbers; unknown before the first checkpoint.
    pub parameters: Option<usize>,
    /// The error that ended it.
    pub error: Option<String>,
    /// What is wrong with its files.
    pub faults: Vec<String>,
}

/// The folders of runs in `folder`, itself among them where it is one, sorted.
///
/// Neither checkpoints nor hidden folders are looked into, nor is any folder twice, whatever links
/// lead to it.
///
/// # Errors
/// Where `folder` cannot be read.
pub fn find(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    fs::read_dir(folder).with_context(|| format!("cannot read \"{}\"", folder.display()))?;
    let mut known = HashSet::new();
    let mut found = Vec::new();
    let mut folders = VecDeque::from([(0, folder.to_owned())]);
    // Links last, so that a folder goes by its own name.
    let mut links = VecDeque::new();
    while let Some((depth, folder)) = folders.pop_front().or_else(|| links.pop_front()) {
        // One that vanishes meanwhile, or may not be read, has no runs.
        let Ok(identity) = fs::metadata(&folder) else { continue };
        if !known.insert((identity.dev(), identity.ino())) || is_checkpoint(&folder) {
            continue;
        }
        for below in folders_in(&folder).into_iter().filter(|_| depth < DEEPEST) {
            let queue = if below.is_symlink() { &mut links } else { &mut folders };
            queue.push_back((depth + 1, below));
        }
        if is_run(&folder) {
            found.push(folder);
        }
    }
    found.sort();
    Ok(found)
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let visible = |entry: &DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().filter(visible);
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Whether a folder has what only runs have. A `config.yaml` alone may be any program's.
pub fn is_run(folder: &Path) -> bool {
    let run = RunDirectory::open(folder);
    [run.best(), run.last()].iter().any(|path| is_checkpoint(path))
        || run.records().is_ok_and(|records| !records.is_empty())
        || config::load(&run.config(), &[]).is_ok()
}

impl RunReport {
    /// Reads what the files of a run say. What is damaged is left out and noted in
    /// [`RunReport::faults`].
    pub fn read(folder: &Path) -> Self {
        let folder = RunDirectory::open(folder);
        let mut faults = Vec::new();
        let files = Files::read(&folder, &mut faults);
        let resolved = noted(&mut faults, config::load(&folder.config(), &[]));
        let config = resolved.as_ref().map(|resolved| &resolved.config);
        let error = folder.error();
        let state = match &files.outcome {
            _ if folder.is_training() => State::Running,
            Some(_) => State::Finished,
            None if error.is_some() => State::Failed,
            None => State::Stopped,
        };
        let inside = format!("{}/", folder.path().display());
        Self {
            state,
            begun: events::start_time(folder.path()),
            best: files.best(config),
            test: files.outcome.as_ref().and_then(|outcome| outcome.test),
            epoch: files.epoch(),
            seconds: files.seconds(),
            tokens_per_second: files.tokens_per_second(),
            parameters: files.parameters(config, &mut faults),
            error: error.filter(|_| state == State::Failed),
            faults: faults.iter().map(|fault| fault.replace(&inside, "")).collect(),
            resolved,
            folder,
        }
    }

    /// The epochs that it will train, where its configuration can be read.
    pub fn epochs(&self) -> Option<usize> {
        self.resolved.as_ref().map(|resolved| resolved.config.train.epochs)
    }
}

/// What was read; none, and a note of why, where it could not be.
fn noted<T, E: Into<anyhow::Error>>(faults: &mut Vec<String>, read: Result<T, E>) -> Option<T> {
    read.map_err(|error| faults.push(format!("{:#}", error.into()))).ok()
}

/// What the files of a run measured.
struct Files {
    outcome: Option<Outcome>,
    records: Vec<Record>,
    times: Vec<Time>,
    /// A checkpoint, where there is one.
    checkpoint: Option<PathBuf>,
    /// The later of the two checkpoints.
    latest: Option<Progress>,
}

impl Files {
    fn read(folder: &RunDirectory, faults: &mut Vec<String>) -> Self {
        let outcome = noted(faults, folder.outcome()).flatten();
        let records = noted(faults, folder.records()).unwrap_or_default();
        if let Some(line) = folder.damaged_record() {
            faults.push(format!("metrics.jsonl: line {line} is damaged"));
        }
        let times = noted(faults, folder.times()).unwrap_or_default();
        let checkpoints = [folder.best(), folder.last()].into_iter();
        let checkpoints: Vec<PathBuf> = checkpoints.filter(|path| is_checkpoint(path)).collect();
        let progress = checkpoints.iter().map(|path| checkpoint::progress(path));
        let progress = progress.filter_map(|progress| noted(faults, progress));
        let latest = progress.max_by_key(|progress| progress.step);
        Self { outcome, records, times, checkpoint: checkpoints.into_iter().next(), latest }
    }

    fn best(&self, config: Option<&Config>) -> Option<Best> {
        if let Some(outcome) = &self.outcome {
            return Some(Best { epoch: outcome.best_epoch, validation: outcome.validation });
        }
        // Only a run without checkpoints has to be asked for the best of its records.
        let metric = config.map(|config| config.train.early_stopping.metric);
        let error = |record: &&Record| match metric {
            Some(StoppingMetric::ValidationAccuracy) => -record.validation.accuracy,
            _ => record.validation.loss,
        };
        let best = || self.records.iter().min_by(|a, b| error(a).total_cmp(&error(b)));
        let known = self.latest.as_ref().and_then(|latest| latest.best);
        known.or_else(|| {
            best().map(|record| Best { epoch: record.epoch, validation: record.validation })
        })
    }

    fn epoch(&self) -> usize {
        let recorded = self.records.last().map_or(0, |record| record.epoch);
        self.latest.as_ref().map_or(0, Progress::epoch_number).max(recorded)
    }

    fn seconds(&self) -> f64 {
        let recorded = self.times.iter().map(|time| time.train_seconds).sum();
        let saved = self.latest.as_ref().map_or(0.0, |latest| latest.seconds);
        self.outcome.as_ref().map_or(saved.max(recorded), |outcome| outcome.seconds)
    }

    fn tokens_per_second(&self) -> Option<f64> {
        let latest = self.latest.as_ref().filter(|latest| latest.seconds > 0.0);
        let saved = latest.map(|latest| latest.tokens as f64 / latest.seconds);
        self.outcome.as_ref().map(|outcome| outcome.tokens_per_second).or(saved)
    }

    fn parameters(&self, config: Option<&Config>, faults: &mut Vec<String>) -> Option<usize> {
        if let Some(outcome) = &self.outcome {
            return Some(outcome.parameters);
        }
        let shapes = noted(faults, checkpoint::shapes(self.checkpoint.as_ref()?))?;
        let rows = |name: &str| shapes.get(name)?.first().copied();
        let config = config?;
        let words = |input: &Input| rows(&format!("{}embedding.weight", input.prefix()));
        let vocabularies: Option<Vec<usize>> = config.inputs.iter().map(words).collect();
        Some(summarize(config, &vocabularies?, rows("head.weight")?).trainable())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const CONFIG: &str = "data: {train: x.csv}\ntrain: {epochs: 8}\n";

    fn record(epoch: usize, loss: f64, accuracy: f64) -> Record {
        let score = Score { loss, accuracy };
        Record {
            epoch,
            step: 10 * epoch as u64,
            train: score,
            validation: score,
            learning_rate: 0.1,
        }
    }

    fn run(path: &Path) -> RunDirectory {
        let run = RunDirectory::create(path, CONFIG).unwrap();
        run.add_record(&record(1, 0.5, 0.7), 1.5).unwrap();
        run.add_record(&record(2, 0.6, 0.8), 2.0).unwrap();
        run
    }

    const OUTCOME: Outcome = Outcome {
        parameters: 7,
        best_epoch: 2,
        seconds: 9.5,
        tokens_per_second: 100.0,
        validation: Score { loss: 0.25, accuracy: 0.9 },
        validation_examples: 50,
        test: None,
    };

    #[test]
    fn runs_are_found_at_any_depth_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["b", "a/deep/er", "b/inside", "one/two/three/four/five/six/seven"] {
            run(&path(name));
        }
        fs::create_dir_all(path("b/best")).unwrap();
        for name in ["config.yaml", "checkpoint.json"] {
            fs::write(path("b/best").join(name), CONFIG).unwrap();
        }
        fs::create_dir(path("other")).unwrap();
        fs::write(path("other/config.yaml"), "port: 80\n").unwrap();
        fs::create_dir(path(".hidden")).unwrap();
        fs::write(path(".hidden/config.yaml"), CONFIG).unwrap();
        symlink(folder.path(), path("a/loop")).unwrap();
        symlink(path("a/deep/er"), path("alias")).unwrap();
        let found = find(folder.path()).unwrap();
        assert_eq!(found, [path("a/deep/er"), path("b"), path("b/inside")]);
        assert_eq!(find(&path("b/inside")).unwrap(), [path("b/inside")]);
        assert!(find(&path("none")).unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn a_run_is_in_one_state() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let state = || RunReport::read(folder.path()).state;
        assert_eq!(state(), State::Stopped);
        run.write_error(&anyhow::anyhow!("disk full"));
        assert_eq!(state(), State::Failed);
        assert_eq!(RunReport::read(folder.path()).error.unwrap(), "disk full");
        let lock = run.lock().unwrap();
        assert_eq!(state(), State::Running);
        assert_eq!(RunReport::read(folder.path()).error, None);
        drop(lock);
        run.write_summary(&OUTCOME).unwrap();
        assert_eq!(state(), State::Finished);
    }

    #[test]
    fn an_unfinished_run_is_known_by_its_records() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path());
        let report = RunReport::read(folder.path());
        assert_eq!(report.best.unwrap().epoch, 1);
        assert_eq!((report.epoch, report.epochs()), (2, Some(8)));
        assert_eq!((report.seconds, report.parameters), (3.5, None));
        assert_eq!((report.test, report.faults), (None, vec![]));

        let accuracy = "data: {train: x}\ntrain: {early_stopping: {metric: validation_accuracy}}\n";
        fs::write(report.folder.config(), accuracy).unwrap();
        assert_eq!(RunReport::read(folder.path()).best.unwrap().epoch, 2);
    }

    #[test]
    fn damage_is_named_and_the_rest_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path());
        let path = |name: &str| folder.path().join(name);
        fs::write(path("summary.json"), "{").unwrap();
        fs::write(path("config.yaml"), "data: {trian: x}\n").unwrap();
        let whole = fs::read_to_string(path("metrics.jsonl")).unwrap();
        fs::write(path("metrics.jsonl"), format!("{whole}\0\0\n")).unwrap();
        fs::create_dir(run.last()).unwrap();
        fs::write(run.last().join("checkpoint.json"), "{}").unwrap();
        let report = RunReport::read(folder.path());
        assert_eq!((report.epoch, report.best.unwrap().epoch), (2, 1));
        let faults = report.faults.join("\n");
        for words in [
            "\"summary.json\" is not what lstmtext writes",
            "line 3 is damaged",
            "cannot read \"last/progress.json\"",
            "cannot read \"last/model.safetensors\"",
            "config.yaml:1:",
            "did you mean data.train?",
        ] {
            assert!(faults.contains(words), "{words:?} is not in: {faults}");
        }
    }
}

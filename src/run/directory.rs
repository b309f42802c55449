//! The folder of a training run.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::events;
use crate::io::files::{restore_directory, write_atomic};
use crate::objective::metrics::Score;

const CONFIG: &str = "config.yaml";
const METRICS: &str = "metrics.jsonl";
const TIMES: &str = "times.jsonl";
const SUMMARY: &str = "summary.json";
const ERROR: &str = "error.txt";
const LOCK: &str = ".lock";
/// How long a lock may be held by somebody who only asks whether it is
/// ([`RunDirectory::is_training`]).
const LOOK: Duration = Duration::from_millis(200);

/// `config.yaml`, event files, `metrics.jsonl`, `times.jsonl`, `best/`, `last/`, and at the end
/// `summary.json`, or `error.txt` where an error was the end.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

/// A line of `metrics.jsonl`: one for each validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Steps since the run began.
    pub step: u64,
    /// Training loss and accuracy since the last validation, dropout acting.
    pub train: Score,
    /// Score on the validation examples.
    pub validation: Score,
    /// The learning rate of the last step.
    pub learning_rate: f64,
}

/// A line of `times.jsonl`, which has what a clock says of each validation: `metrics.jsonl` is the
/// same in every run of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Time {
    /// Steps since the run began.
    pub step: u64,
    /// Seconds spent training since the last validation.
    pub train_seconds: f64,
}

/// What `summary.json` says of a finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Trainable numbers.
    pub parameters: usize,
    /// From 1.
    pub best_epoch: usize,
    /// Spent training; validation and writing left out.
    pub seconds: f64,
    /// Tokens trained on in each of these seconds.
    pub tokens_per_second: f64,
    /// The best epoch's.
    pub validation: Score,
    /// How many examples that is of; 0 where an earlier version did not say.
    #[serde(default)]
    pub validation_examples: usize,
    /// Null where there are no test examples.
    pub test: Option<Score>,
}

impl RunDirectory {
    /// Makes the folder of a new run and writes the resolved configuration into it.
    ///
    /// # Errors
    /// Where another run is there already, or the folder cannot be written.
    pub fn create(path: &Path, config_yaml: &str) -> anyhow::Result<Self> {
        let run = Self::open(path);
        // Nothing there may be written over: neither a run nor a file of the user's.
        let error = run.path.join(ERROR);
        let taken = [run.best(), run.last(), run.metrics(), run.config(), error];
        if taken.iter().any(|part| part.exists()) || events::contains_events(&run.path) {
            let path = run.path.display();
            bail!(
                "\"{path}\" holds a run already, or a {CONFIG} or {ERROR}: choose another --out, or \
                 go on with train --resume"
            );
        }
        fs::create_dir_all(&run.path)
            .with_context(|| format!("cannot make the folder \"{}\"", run.path.display()))?;
        run.write_config(config_yaml)?;
        Ok(run)
    }

    /// Takes back what [`RunDirectory::create`] made, for a run that could not begin. A folder with
    /// anything else in it stays.
    pub fn discard(&self) {
        // Whatever cannot be removed does no harm: the same folder may be used again.
        let _ = fs::remove_file(self.path.join(CONFIG));
        let _ = fs::remove_file(self.path.join(LOCK));
        let _ = fs::remove_dir(&self.path);
        if let Some(parent) = self.path.parent().filter(|parent| parent.ends_with("runs")) {
            let _ = fs::remove_dir(parent);
        }
    }

    /// The folder of a run that is there; nothing is changed yet.
    pub fn open(path: &Path) -> Self {
        Self { path: std::path::absolute(path).unwrap_or(path.to_owned()) }
    }

    /// Makes the folder that of a run which goes on after `step`: the configuration is written
    /// anew, and what was measured after that step is dropped, since it will be measured again.
    ///
    /// # Errors
    /// Where the folder cannot be read or written.
    pub fn truncate_to_step(&self, step: u64, config_yaml: &str) -> anyhow::Result<()> {
        keep_lines(&self.metrics(), |record: &Record| record.step <= step)?;
        keep_lines(&self.path.join(TIMES), |time: &Time| time.step <= step)?;
        events::truncate_to_step(&self.path, step)?;
        // How the run ended before is over.
        for name in [SUMMARY, ERROR] {
            match fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot remove the {name} of the run so far"));
                }
                _ => {}
            }
        }
        self.write_config(config_yaml)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checkpoint of the best validation.
    pub fn best(&self) -> PathBuf {
        self.path.join("best")
    }

    /// The latest checkpoint.
    pub fn last(&self) -> PathBuf {
        self.path.join("last")
    }

    /// Where the resolved configuration stands.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// Keeps every other process from training in this folder, until the lock is dropped or this
    /// process ends.
    ///
    /// # Errors
    /// Where another process trains in it.
    pub fn lock(&self) -> anyhow::Result<Lock> {
        let path = self.path.join(LOCK);
        let unusable = || format!("cannot write \"{}\"", path.display());
        let begun = Instant::now();
        loop {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            let mut file = options.open(&path).with_context(unusable)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) if begun.elapsed() < LOOK => {
                    thread::sleep(LOOK / 40);
                    continue;
                }
                Err(Errno::WOULDBLOCK) => {
                    let mut process = String::new();
                    let _ = file.read_to_string(&mut process);
                    bail!(
                        "another lstmtext (process {}) trains in \"{}\": wait for it, or stop it",
                        process.trim(),
                        self.path.display()
                    );
                }
                // A file system without locks.
                Err(_) => return Ok(Lock { path, _file: file }),
                Ok(()) => {}
            }
            // The process that had the lock may have removed the file between the two calls.
            let opened = file.metadata().with_context(unusable)?;
            if fs::metadata(&path).is_ok_and(|there| there.ino() == opened.ino()) {
                file.set_len(0)
                    .and_then(|()| writeln!(file, "{}", std::process::id()))
                    .with_context(unusable)?;
                return Ok(Lock { path, _file: file });
            }
        }
    }

    /// Whether a process trains in this folder. Nothing is written; on a file system without locks
    /// nobody knows.
    pub fn is_training(&self) -> bool {
        let Ok(file) = File::open(self.path.join(LOCK)) else { return false };
        // A lock that is shared, so that any number of processes may look at once.
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }

    /// Puts back a checkpoint that a process was about to replace when it was killed.
    pub fn restore(&self) {
        restore_directory(&self.last());
        restore_directory(&self.best());
    }

    /// Adds a line to `metrics.jsonl` and one to `times.jsonl`.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn add_record(&self, record: &Record, train_seconds: f64) -> anyhow::Result<()> {
        add_line(&self.path.join(TIMES), &Time { step: record.step, train_seconds })?;
        add_line(&self.metrics(), record)
    }

    /// The lines of `metrics.jsonl`, none where there is no such file. A last line that a killed
    /// run left unfinished is passed over.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn records(&self) -> anyhow::Result<Vec<Record>> {
        lines(&self.metrics())
    }

    /// The number, from 1, of the first line of `metrics.jsonl` that is damaged, not only unfinished;
    /// [`RunDirectory::records`] ends before it.
    pub fn damaged_record(&self) -> Option<usize> {
        let text = fs::read(self.metrics()).ok()?;
        let damaged =
            |line: &[u8]| line.ends_with(b"\n") && serde_json::from_slice::<Record>(line).is_err();
        let damaged = text.split_inclusive(|byte| *byte == b'\n').position(damaged);
        damaged.map(|index| index + 1)
    }

    /// The lines of `times.jsonl`, as [`RunDirectory::records`].
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn times(&self) -> anyhow::Result<Vec<Time>> {
        lines(&self.path.join(TIMES))
    }

    /// What `summary.json` says, where the run has one.
    pub fn summary(&self) -> Option<Outcome> {
        self.outcome().ok().flatten()
    }

    /// What `summary.json` says; none where there is no such file.
    ///
    /// # Errors
    /// Where the file cannot be read, or is damaged.
    pub fn outcome(&self) -> anyhow::Result<Option<Outcome>> {
        let path = self.path.join(SUMMARY);
        let Some(json) = if_there(&path, fs::read(&path))? else { return Ok(None) };
        serde_json::from_slice(&json)
            .with_context(|| format!("\"{}\" is not what lstmtext writes", path.display()))
    }

    /// Writes down in `error.txt` what ended the run, for whoever asks later. Best effort: the disk
    /// may be full, and the user is told the error in any case.
    pub fn write_error(&self, error: &anyhow::Error) {
        let _ = write_atomic(&self.path.join(ERROR), format!("{error:#}\n").as_bytes());
    }

    /// The error that ended the run, where one did.
    pub fn error(&self) -> Option<String> {
        let text = fs::read(self.path.join(ERROR)).ok()?;
        Some(String::from_utf8_lossy(&text).trim_end().to_owned())
    }

    /// Writes `summary.json`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_summary(&self, outcome: &Outcome) -> anyhow::Result<()> {
        let mut json = serde_json::to_vec_pretty(outcome).context("cannot encode the summary")?;
        json.push(b'\n');
        write_atomic(&self.path.join(SUMMARY), &json)
    }

    /// Writes the resolved configuration anew.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_config(&self, yaml: &str) -> anyhow::Result<()> {
        write_atomic(&self.path.join(CONFIG), yaml.as_bytes())
    }
}

/// A run folder that no other process may train in.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // What is left there hinders nobody.
        let _ = fs::remove_file(&self.path);
    }
}

fn json_line(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string(value).context("cannot encode the metrics")? + "\n")
}

fn add_line(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let line = json_line(value)?;
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(line.as_bytes())?;
        file.sync_data()
    };
    write().with_context(|| format!("cannot write \"{}\"", path.display()))
}

/// The lines of a file, up to the first that is none.
fn lines<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let text = if_there(path, fs::read_to_string(path))?.unwrap_or_default();
    Ok(text.lines().map_while(|line| serde_json::from_str(line).ok()).collect())
}

/// What was read of a file; none where there is no such file.
fn if_there<T>(path: &Path, read: std::io::Result<T>) -> anyhow::Result<Option<T>> {
    match read {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read \"{}\"", path.display())),
    }
}

fn keep_lines<T: DeserializeOwned + Serialize>(
    path: &Path,
    keep: impl Fn(&T) -> bool,
) -> anyhow::Result<()> {
    let kept = lines(path)?.into_iter().filter(keep);
    let kept: String = kept.map(|value| json_line(&value)).collect::<anyhow::Result<_>>()?;
    write_atomic(path, kept.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64) -> Record {
        let score = Score { loss: 0.1 + 0.2, accuracy: 1.0 / 3.0 };
        Record { epoch: 1, step, train: score, validation: score, learning_rate: 1e-3 }
    }

    #[test]
    fn a_resumed_run_keeps_the_records_up_to_its_step() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(&folder.path().join("deep/run"), "a: 1\n").unwrap();
        for step in [10, 20, 30] {
            run.add_record(&record(step), 1.5).unwrap();
        }
        let metrics = run.path().join(METRICS);
        fs::write(&metrics, fs::read_to_string(&metrics).unwrap() + "{\"epoch\": 4, \"st").unwrap();
        let again = RunDirectory::open(run.path());
        again.truncate_to_step(20, "a: 2\n").unwrap();
        assert_eq!(again.records().unwrap(), [record(10), record(20)]);
        let times: Vec<Time> = lines(&run.path().join(TIMES)).unwrap();
        assert_eq!(times.iter().map(|time| time.step).collect::<Vec<_>>(), [10, 20]);
        assert_eq!(fs::read_to_string(run.path().join(CONFIG)).unwrap(), "a: 2\n");
    }

    #[test]
    fn a_run_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        RunDirectory::create(folder.path(), "a: 1\n").unwrap();
        let error = RunDirectory::create(folder.path(), "a: 2\n").unwrap_err().to_string();
        assert!(error.contains("--resume"), "{error}");
    }

    #[test]
    fn a_folder_is_locked_once() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(folder.path(), "a: 1\n").unwrap();
        let lock = run.lock().unwrap();
        let error = run.lock().unwrap_err().to_string();
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        drop(lock);
        run.lock().unwrap();
    }

    #[test]
    fn a_look_at_a_run_disturbs_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(folder.path(), "a: 1\n").unwrap();
        assert!(!run.is_training());
        assert!(!folder.path().join(LOCK).exists());
        let lock = run.lock().unwrap();
        assert!(run.is_training() && run.is_training());
        drop(lock);
        assert!(!run.is_training());

        // Left by a process that was killed.
        fs::write(folder.path().join(LOCK), "1\n").unwrap();
        assert!(!run.is_training());
        let look = File::open(folder.path().join(LOCK)).unwrap();
        flock(&look, FlockOperation::NonBlockingLockShared).unwrap();
        let looking = thread::spawn(move || {
            thread::sleep(LOOK / 8);
            drop(look);
        });
        let _lock = run.lock().unwrap();
        looking.join().unwrap();
    }

    #[test]
    fn how_a_run_ended_is_forgotten_when_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(folder.path(), "a: 1\n").unwrap();
        assert_eq!((run.error(), run.outcome().unwrap()), (None, None));
        run.write_error(&anyhow::anyhow!("disk full").context("cannot write \"x\""));
        assert_eq!(run.error().unwrap(), "cannot write \"x\": disk full");
        run.truncate_to_step(0, "a: 2\n").unwrap();
        assert_eq!(run.error(), None);
    }

    #[test]
    fn damaged_records_are_counted_and_unfinished_ones_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(folder.path(), "a: 1\n").unwrap();
        assert_eq!(run.damaged_record(), None);
        run.add_record(&record(1), 0.5).unwrap();
        let good = fs::read_to_string(run.metrics()).unwrap();
        for (end, damaged) in [("{\"epo", None), ("{\"epo\n", Some(2)), ("\u{FFFF}\n", Some(2))] {
            fs::write(run.metrics(), format!("{good}{end}")).unwrap();
            assert_eq!(run.damaged_record(), damaged, "{end}");
            assert_eq!(run.records().unwrap().len(), 1);
        }
    }

    #[test]
    fn files_of_the_user_are_never_written_over_or_removed() {
        for name in ["config.yaml", "error.txt", "events.out.tfevents.1.host"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(name), "mine").unwrap();
            assert!(RunDirectory::create(folder.path(), "a: 1\n").is_err());
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "mine");
        }
    }

    #[test]
    fn a_run_that_cannot_begin_takes_back_only_its_own() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        RunDirectory::create(folder.path(), "a: 1\n").unwrap().discard();
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["notes.txt"]);
    }
}

//! The directory of a training run.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use super::language_model::{LanguageModelRecord, LanguageModelSummary};
use super::lock::{self, Lock};
use super::records::{
    self, Record, ValidationRecord, ValidationTime, append_line, read_lines, retain_lines,
};
use super::summary::{CheckpointKind, RunSummary};
#[cfg(feature = "train")]
use crate::events;
use crate::io::files::{SETTINGS_LIMIT, create_directories, json_content, read_if_exists};
use crate::io::replace::{has_backup, remove_temporaries, restore_directory, write_atomic};
use crate::output::sanitize::printable_lines;

const CONFIG: &str = "config.yaml";
const METRICS: &str = "metrics.jsonl";
const TIMES: &str = "times.jsonl";
const SUMMARY: &str = "summary.json";
const ERROR: &str = "error.txt";
const LOG: &str = "log.txt";

/// Directory of a run. It contains `config.yaml`, event files, `metrics.jsonl`, `times.jsonl`,
/// `best/`, `last/`, and at the end `summary.json`, or `error.txt` if the run failed.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// Opens the directory of an existing run, and changes nothing in it.
    pub fn open(path: &Path) -> Self {
        Self { path: std::path::absolute(path).unwrap_or(path.to_owned()) }
    }

    /// Prepares the directory for a run that continues after `step`: writes the configuration, and
    /// removes all measurements after that step, which will be repeated.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be read or written.
    #[cfg(feature = "train")]
    pub fn truncate_to_step(&self, step: u64, config_yaml: &str) -> anyhow::Result<()> {
        self.truncate_records::<ValidationRecord>(Some(step), config_yaml)
    }

    /// Prepares the directory for a run that starts over, although it may have measured step 0: writes the
    /// configuration, and removes all measurements.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be read or written.
    #[cfg(feature = "train")]
    pub fn start_over(&self, config_yaml: &str) -> anyhow::Result<()> {
        self.truncate_records::<ValidationRecord>(None, config_yaml)
    }

    /// Prepares the directory of a language model like [`RunDirectory::truncate_to_step`].
    ///
    /// # Errors
    /// Returns an error if the directory cannot be read or written.
    #[cfg(feature = "train")]
    pub fn truncate_language_model(&self, step: u64, config_yaml: &str) -> anyhow::Result<()> {
        self.truncate_records::<LanguageModelRecord>(Some(step), config_yaml)
    }

    #[cfg(feature = "train")]
    fn truncate_records<R: Record + Serialize>(
        &self,
        last: Option<u64>,
        config_yaml: &str,
    ) -> anyhow::Result<()> {
        retain_lines(&self.metrics(), |record: &R| Some(record.step()) <= last)?;
        retain_lines(&self.path.join(TIMES), |time: &ValidationTime| Some(time.step) <= last)?;
        events::truncate_to_step(&self.path, last)?;
        // The run has not ended after all.
        for name in [SUMMARY, ERROR] {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot remove \"{}\"", path.display()));
                }
                _ => {}
            }
        }
        self.write_config(config_yaml)
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of a checkpoint.
    pub fn checkpoint(&self, kind: CheckpointKind) -> PathBuf {
        self.path.join(kind.as_str())
    }

    /// Path of the checkpoint of the best validation.
    pub fn best(&self) -> PathBuf {
        self.checkpoint(CheckpointKind::Best)
    }

    /// Path of the latest checkpoint.
    pub fn last(&self) -> PathBuf {
        self.checkpoint(CheckpointKind::Last)
    }

    /// Path of the resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// Path of the log file, to which a run in a process of its own writes its output.
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// Creates the directory if it does not exist, and locks it. Only then is it known what the directory
    /// contains: until then another process can train in it.
    ///
    /// # Errors
    /// Returns an error if another process trains in the directory, or if it cannot be written.
    pub fn create(&self) -> anyhow::Result<Lock> {
        create_directories(&self.path)?;
        self.lock()
    }

    /// Checks that the directory contains neither a run nor a file of the user that a run would
    /// overwrite.
    #[cfg(feature = "train")]
    pub(super) fn ensure_free(&self) -> anyhow::Result<()> {
        let path = self.path.display();
        let error = self.path.join(ERROR);
        let mut files =
            [self.config(), self.best(), self.last(), self.metrics(), error].into_iter();
        let file = files.find(|file| file.exists()).or_else(|| events::first_file(&self.path));
        match file {
            None => Ok(()),
            Some(_) if self.can_resume() => bail!(
                "\"{path}\" already contains a run, or a {CONFIG}; choose another --out, or continue \
                 the run with train --resume"
            ),
            Some(file) => bail!(
                "\"{path}\" is not empty: it contains \"{}\", but no run that can be resumed; choose \
                 another --out, or delete the file",
                file.strip_prefix(&self.path).unwrap_or(&file).display()
            ),
        }
    }

    /// Returns true if the directory has what is needed to resume a run: a configuration or a checkpoint.
    pub fn can_resume(&self) -> bool {
        [self.config(), self.last(), self.best()].iter().any(|path| path.exists())
    }

    /// Returns true if the run has no checkpoint, so that it would start from the beginning.
    pub fn is_without_checkpoint(&self) -> bool {
        // A killed process may have left the backup of a checkpoint.
        [self.last(), self.best()].iter().all(|path| !path.exists() && !has_backup(path))
    }

    /// Locks the directory, so that no other process trains in it until the lock is dropped or this
    /// process ends.
    ///
    /// # Errors
    /// Returns an error if another process trains in the directory.
    pub fn lock(&self) -> anyhow::Result<Lock> {
        Lock::acquire(&self.path)
    }

    /// Returns true if a process trains in this directory; always `false` on a file system without
    /// locks. Writes nothing.
    pub fn is_training(&self) -> bool {
        lock::is_locked(&self.path)
    }

    /// Restores a checkpoint that a killed process was about to replace, and removes the temporary files
    /// that it has left. The directory must be locked.
    #[cfg(feature = "train")]
    pub fn restore(&self) {
        restore_directory(&self.last());
        restore_directory(&self.best());
        self.remove_temporaries();
    }

    /// Removes the temporary files that a killed process has left. The directory must be locked.
    #[cfg(feature = "train")]
    pub(super) fn remove_temporaries(&self) {
        let is_own =
            |name: &str| ["best", "last", CONFIG, METRICS, TIMES, SUMMARY, ERROR].contains(&name);
        remove_temporaries(&self.path, is_own);
        events::remove_temporaries(&self.path);
    }

    /// Appends a line to `metrics.jsonl` and one to `times.jsonl`.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    pub fn append_record(
        &self,
        record: &ValidationRecord,
        train_seconds: f64,
    ) -> anyhow::Result<()> {
        append_line(&self.path.join(TIMES), &ValidationTime { step: record.step, train_seconds })?;
        append_line(&self.metrics(), record)
    }

    /// Appends the lines of a validation of a language model, like [`RunDirectory::append_record`].
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    pub fn append_language_model_record(
        &self,
        record: &LanguageModelRecord,
        train_seconds: f64,
    ) -> anyhow::Result<()> {
        append_line(&self.path.join(TIMES), &ValidationTime { step: record.step, train_seconds })?;
        append_line(&self.metrics(), record)
    }

    /// Reads the lines of `metrics.jsonl` of a language model, like [`RunDirectory::records`].
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn language_model_records(&self) -> anyhow::Result<Vec<LanguageModelRecord>> {
        read_lines(&self.metrics())
    }

    /// Reads the lines of `metrics.jsonl`; none if the file does not exist. Skips damaged lines, and an
    /// incomplete last line of a killed run.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn records(&self) -> anyhow::Result<Vec<ValidationRecord>> {
        read_lines(&self.metrics())
    }

    /// Number, from 1, of the first line of `metrics.jsonl` that is damaged rather than incomplete.
    /// [`RunDirectory::records`] skips it.
    pub fn damaged_line(&self) -> Option<usize> {
        records::damaged_line::<ValidationRecord>(&self.metrics())
    }

    /// Reads the lines of `times.jsonl`, like [`RunDirectory::records`].
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn times(&self) -> anyhow::Result<Vec<ValidationTime>> {
        read_lines(&self.path.join(TIMES))
    }

    /// Summary of the run, if it has one that can be read.
    pub fn summary(&self) -> Option<RunSummary> {
        self.read_summary().ok().flatten()
    }

    /// Returns true if the run has a summary, so that it has finished.
    pub fn has_summary(&self) -> bool {
        self.path.join(SUMMARY).exists()
    }

    /// Reads `summary.json`; `None` if the file does not exist.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or is damaged.
    pub fn read_summary(&self) -> anyhow::Result<Option<RunSummary>> {
        let path = self.path.join(SUMMARY);
        let Some(json) = read_if_exists(&path, SETTINGS_LIMIT)? else { return Ok(None) };
        let summary: RunSummary = serde_json::from_slice(&json)
            .with_context(|| format!("cannot parse \"{}\"", path.display()))?;
        ensure!(summary.is_plausible(), "\"{}\" has impossible values", path.display());
        Ok(Some(summary))
    }

    /// Writes the error that ended the run to `error.txt`, for later commands. Ignores failures: the
    /// disk may be full, and the error is printed in any case.
    pub fn write_error(&self, error: &anyhow::Error) {
        let text = format!("{error:#}\n");
        let _ = write_atomic(&self.path.join(ERROR), printable_lines(&text).as_bytes());
    }

    /// Error that ended the run, if one did.
    pub fn error(&self) -> Option<String> {
        let text = read_if_exists(&self.path.join(ERROR), SETTINGS_LIMIT).ok()??;
        Some(String::from_utf8_lossy(&text).trim_end().to_owned())
    }

    /// Writes `summary.json`.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn write_summary(&self, summary: &RunSummary) -> anyhow::Result<()> {
        write_atomic(&self.path.join(SUMMARY), &json_content(summary)?)
    }

    /// Writes `summary.json` of a language model.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn write_language_model_summary(
        &self,
        summary: &LanguageModelSummary,
    ) -> anyhow::Result<()> {
        write_atomic(&self.path.join(SUMMARY), &json_content(summary)?)
    }

    /// Writes the resolved configuration.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn write_config(&self, yaml: &str) -> anyhow::Result<()> {
        write_atomic(&self.path.join(CONFIG), yaml.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::new_run::NewRun;
    use super::*;
    use crate::objective::AddedLosses;
    use crate::objective::metrics::Score;

    fn create(path: &Path, config_yaml: &str) -> RunDirectory {
        let new = NewRun::create(path, config_yaml).unwrap();
        let run = new.directory().clone();
        drop(new.begin());
        run
    }

    fn record(step: u64) -> ValidationRecord {
        let score = Score::new(0.1 + 0.2, 1.0 / 3.0);
        ValidationRecord {
            epoch: 1,
            step,
            train: score,
            added: AddedLosses::default(),
            validation: score,
            learning_rate: 1e-3,
            branch_scales: None,
        }
    }

    #[test]
    fn a_resumed_run_keeps_the_records_up_to_its_step() {
        let directory = tempfile::tempdir().unwrap();
        let run = create(&directory.path().join("deep/run"), "a: 1\n");
        for step in [10, 20, 30] {
            run.append_record(&record(step), 1.5).unwrap();
        }
        let metrics = run.path().join(METRICS);
        fs::write(&metrics, fs::read_to_string(&metrics).unwrap() + "{\"epoch\": 4, \"st").unwrap();
        let resumed = RunDirectory::open(run.path());
        resumed.truncate_to_step(20, "a: 2\n").unwrap();
        assert_eq!(resumed.records().unwrap(), [record(10), record(20)]);
        let times: Vec<ValidationTime> = read_lines(&run.path().join(TIMES)).unwrap();
        assert_eq!(times.iter().map(|time| time.step).collect::<Vec<_>>(), [10, 20]);
        assert_eq!(fs::read_to_string(run.path().join(CONFIG)).unwrap(), "a: 2\n");
    }

    #[test]
    fn resuming_removes_the_error_of_a_run() {
        let directory = tempfile::tempdir().unwrap();
        let run = create(directory.path(), "a: 1\n");
        assert_eq!((run.error(), run.read_summary().unwrap()), (None, None));
        run.write_error(&anyhow::anyhow!("disk full").context("cannot write \"x\""));
        assert_eq!(run.error().unwrap(), "cannot write \"x\": disk full");
        run.truncate_to_step(0, "a: 2\n").unwrap();
        assert_eq!(run.error(), None);
    }

    #[test]
    fn damaged_lines_are_reported_and_incomplete_lines_are_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let run = create(directory.path(), "a: 1\n");
        assert_eq!(run.damaged_line(), None);
        run.append_record(&record(1), 0.5).unwrap();
        let good = fs::read_to_string(run.metrics()).unwrap();
        for (end, damaged) in [("{\"epo", None), ("{\"epo\n", Some(2)), ("\u{FFFF}\n", Some(2))] {
            fs::write(run.metrics(), format!("{good}{end}")).unwrap();
            assert_eq!(run.damaged_line(), damaged, "{end}");
            assert_eq!(run.records().unwrap().len(), 1);
        }
    }

    #[test]
    fn records_behind_a_damaged_line_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let run = create(directory.path(), "a: 1\n");
        for step in [1, 2, 3] {
            run.append_record(&record(step), 0.5).unwrap();
        }
        let good = fs::read_to_string(run.metrics()).unwrap();
        let impossible = r#""accuracy":9e9"#;
        for damage in ["x", impossible, r#""step":0"#, r#""epoch":99"#] {
            let damaged: Vec<String> = good
                .lines()
                .map(|line| match line.contains("\"step\":2") {
                    true if damage == "x" => line.replacen('{', damage, 1),
                    true => {
                        let field = damage.split_once(':').unwrap().0;
                        let start = line.find(field).unwrap();
                        let end = start + line[start..].find([',', '}']).unwrap();
                        format!("{}{damage}{}", &line[..start], &line[end..])
                    }
                    false => line.to_owned(),
                })
                .collect();
            fs::write(run.metrics(), damaged.join("\n") + "\n").unwrap();
            assert_eq!(run.damaged_line(), Some(2), "{damage}");
            assert_eq!(run.records().unwrap(), [record(1), record(3)], "{damage}");
        }
    }

    #[test]
    fn a_summary_with_impossible_values_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let run = create(directory.path(), "a: 1\n");
        let validation = Score::new(0.5, 0.75);
        let summary = RunSummary {
            source: None,
            parameters: 1,
            best_epoch: 1,
            seconds: 1.0,
            tokens_per_second: 1.0,
            validation,
            validation_examples: 1,
            validation_data: None,
            scored: None,
            test: None,
            test_data: None,
            warnings: Vec::new(),
            notes: Vec::new(),
        };
        run.write_summary(&summary).unwrap();
        assert_eq!(run.read_summary().unwrap(), Some(summary.clone()));
        run.write_summary(&RunSummary { seconds: -1.0, ..summary }).unwrap();
        assert!(run.read_summary().unwrap_err().to_string().contains("impossible values"));
    }

    #[test]
    fn leftovers_of_killed_processes_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let run = create(directory.path(), "a: 1\n");
        fs::create_dir_all(run.path().join(".best.abc123.tmp/inside")).unwrap();
        fs::create_dir(run.path().join(".last.tmp")).unwrap();
        fs::create_dir(run.path().join("train")).unwrap();
        for name in
            [".metrics.jsonl.abc123.tmp", "train/.events.out.tfevents.1.abc123.tmp", ".mine.tmp"]
        {
            fs::write(run.path().join(name), "").unwrap();
        }
        run.restore();
        let left = |path: &Path| {
            let names = fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name());
            names.map(|name| name.into_string().unwrap()).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(Vec::from_iter(left(run.path())), [".mine.tmp", "config.yaml", "train"]);
        assert!(left(&run.path().join("train")).is_empty());
    }
}

//! The journal of a search: a line for everything that has happened, from which any process can go on.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::space::Coordinates;
use crate::io::files::{RECORDS_LIMIT, append, read_if_exists};
use crate::objective::metrics::Score;

/// Line of the journal. Times are seconds since the search began, without interruptions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Time.
    pub elapsed: f64,
    /// Number of the trial, from 0.
    pub trial: usize,
    /// What happened to it.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened to a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It began, and is to train up to the first rung.
    Began {
        /// Where it is in the space; `None` for the configuration itself.
        at: Option<Coordinates>,
        /// The fields that vary, with their values.
        settings: Map<String, Value>,
        /// Number of cores for which `train.shards: auto` cuts its batches.
        cores: usize,
    },
    /// It is to train up to this rung.
    Promoted {
        /// Index of the rung.
        rung: usize,
    },
    /// It has reached a rung, or its run has finished.
    Reached(RungResult),
    /// It was stopped on the way to a rung.
    Stopped {
        /// Seconds of training that are not in a result yet.
        seconds: f64,
    },
    /// Its training has failed.
    Failed {
        /// The error message.
        reason: String,
    },
    /// It is tried again.
    Retried,
    /// Its checkpoints have been removed.
    Removed,
}

/// State of a trial at a rung.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RungResult {
    /// Index of the rung.
    pub rung: usize,
    /// Number of epochs that are done.
    pub epochs: usize,
    /// Epoch of the best validation, from 1.
    pub best_epoch: usize,
    /// Score of the best validation.
    pub score: Score,
    /// The run has finished: all epochs are done, or it stopped early.
    pub is_finished: bool,
    /// Seconds since the trial went on from the rung below.
    pub seconds: f64,
    /// Size of the files that predictions need.
    pub bytes: u64,
    /// Seconds in which the model classifies one text; `None` if there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<f64>,
}

/// A journal file.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// Names the journal of the search in a directory.
    pub fn of(directory: &Path) -> Self {
        Self { path: directory.join("trials.jsonl") }
    }

    /// Reads all entries. Skips an incomplete last line, which a killed process has left.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or has a damaged line.
    pub fn read(&self) -> anyhow::Result<Vec<Entry>> {
        let text = read_if_exists(&self.path, RECORDS_LIMIT)?.unwrap_or_default();
        let complete = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = text[..complete].split(|byte| *byte == b'\n').enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty());
        let entries = lines.map(|(index, line)| {
            let entry: serde_json::Result<Entry> = serde_json::from_slice(line);
            entry.with_context(|| format!("{}:{}: damaged line", self.path.display(), index + 1))
        });
        let entries = entries.collect::<anyhow::Result<Vec<_>>>()?;
        let is_time = |entry: &Entry| (0.0..1e9).contains(&entry.elapsed);
        ensure!(entries.iter().all(is_time), "\"{}\" has impossible times", self.path.display());
        Ok(entries)
    }

    /// Appends an entry, and writes it to the disk. The directory must be locked.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn append(&self, entry: &Entry) -> anyhow::Result<()> {
        let unwritable = || format!("cannot write \"{}\"", self.path.display());
        let line = serde_json::to_string(entry).context("cannot encode a trial")? + "\n";
        let before = read_if_exists(&self.path, RECORDS_LIMIT)?.unwrap_or_default();
        let complete = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut file = append(&self.path).with_context(unwritable)?;
        if complete < before.len() {
            // The incomplete line of a killed process.
            file.set_len(complete as u64).with_context(unwritable)?;
        }
        file.write_all(line.as_bytes()).with_context(unwritable)?;
        file.sync_data().with_context(unwritable)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn entries() -> Vec<Entry> {
        let reached = RungResult {
            rung: 1,
            epochs: 3,
            best_epoch: 2,
            score: Score { metric: Some(0.1 + 0.2), ..Score::new(0.3, 1.0 / 3.0) },
            is_finished: false,
            seconds: 1.5,
            bytes: 4_000,
            latency: None,
        };
        let at = Some(Coordinates::at(&[0.0, 0.999, 1.0 / 3.0]));
        let settings = [("model.lstm.units".to_owned(), Value::from(64))].into_iter().collect();
        let events = [
            Event::Began { at, settings, cores: 2 },
            Event::Promoted { rung: 1 },
            Event::Reached(reached),
            Event::Stopped { seconds: 0.25 },
            Event::Failed { reason: "no memory".to_owned() },
            Event::Retried,
            Event::Removed,
        ];
        let entry = |(index, event)| Entry { elapsed: 0.5 + index as f64, trial: 7, event };
        events.into_iter().enumerate().map(entry).collect()
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::of(directory.path());
        assert!(journal.read().unwrap().is_empty());
        for entry in entries() {
            journal.append(&entry).unwrap();
        }
        assert_eq!(journal.read().unwrap(), entries());
    }

    #[test]
    fn the_incomplete_line_of_a_killed_process_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::of(directory.path());
        entries()[..2].iter().for_each(|entry| journal.append(entry).unwrap());
        let text = fs::read_to_string(&journal.path).unwrap();
        fs::write(&journal.path, text.clone() + "{\"elapsed\":3.0,\"tri").unwrap();
        assert_eq!(journal.read().unwrap(), entries()[..2]);
        entries()[2..].iter().for_each(|entry| journal.append(entry).unwrap());
        assert_eq!(journal.read().unwrap(), entries());
        fs::write(&journal.path, "x\n".to_owned() + &text).unwrap();
        let error = journal.read().unwrap_err();
        assert!(format!("{error:#}").contains("trials.jsonl:1: damaged line"), "{error:#}");
    }
}

//! Measurements of a run: the lines of its JSON lines files.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::plausible::{is_plausible_duration, is_plausible_step};
use crate::io::files::{RECORDS_LIMIT, append, read_if_exists};
use crate::io::replace::write_atomic;
use crate::model::branch_scales::BranchScales;
use crate::objective::AddedLosses;
use crate::objective::metrics::Score;

/// Line of `metrics.jsonl`, written at each validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationRecord {
    /// Epoch, from 1; 0 before training.
    pub epoch: usize,
    /// Number of steps since the run started.
    pub step: u64,
    /// Training loss and accuracy since the last validation, with dropout.
    pub train: Score,
    /// Means of the losses that training adds to that of the labels, since the last validation.
    #[serde(default, skip_serializing_if = "AddedLosses::is_empty")]
    pub added: AddedLosses,
    /// Score on the validation examples.
    pub validation: Score,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Scales of the branches that the validation has chosen; `None` if it did not choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_scales: Option<BranchScales>,
}

/// Line of `times.jsonl`, written at each validation. Times are in a file of their own, so that
/// `metrics.jsonl` is identical in every run of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationTime {
    /// Number of steps since the run started.
    pub step: u64,
    /// Seconds of training since the last validation.
    pub train_seconds: f64,
}

fn json_line(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string(value).context("cannot encode the metrics")? + "\n")
}

/// Appends a line, and writes it to the disk.
pub(super) fn append_line(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let line = json_line(value)?;
    let write = || -> std::io::Result<()> {
        let mut file = append(path)?;
        file.write_all(line.as_bytes())?;
        file.sync_data()
    };
    write().with_context(|| format!("cannot write \"{}\"", path.display()))
}

/// A line of a JSON lines file of a run.
pub(super) trait Record: DeserializeOwned {
    /// Returns false if no run can have written this record.
    fn is_plausible(&self) -> bool;

    /// Number of steps before it.
    fn step(&self) -> u64;
}

impl Record for ValidationRecord {
    fn is_plausible(&self) -> bool {
        let Self { epoch, step, train, added, validation, learning_rate, branch_scales } = self;
        let scores = train.is_plausible() && added.is_plausible() && validation.is_plausible();
        scores
            && is_plausible_step(*step)
            && ((1..=*step).contains(&(*epoch as u64)) || (*epoch, *step) == (0, 0))
            && learning_rate.is_finite()
            && branch_scales.is_none_or(BranchScales::is_possible)
    }

    fn step(&self) -> u64 {
        self.step
    }
}

impl Record for ValidationTime {
    fn is_plausible(&self) -> bool {
        is_plausible_step(self.step) && is_plausible_duration(self.train_seconds)
    }

    fn step(&self) -> u64 {
        self.step
    }
}

fn parse_line<T: Record>(line: &[u8]) -> Option<T> {
    serde_json::from_slice(line).ok().filter(T::is_plausible)
}

/// Number, from 1, of the first line that is damaged rather than incomplete.
pub(super) fn damaged_line<T: Record>(path: &Path) -> Option<usize> {
    let text = read_if_exists(path, RECORDS_LIMIT).ok()??;
    let is_damaged = |line: &[u8]| line.ends_with(b"\n") && parse_line::<T>(line).is_none();
    let damaged = text.split_inclusive(|byte| *byte == b'\n').position(is_damaged);
    damaged.map(|index| index + 1)
}

/// Reads JSON lines, and skips those that are damaged.
pub(super) fn read_lines<T: Record>(path: &Path) -> anyhow::Result<Vec<T>> {
    let text = read_if_exists(path, RECORDS_LIMIT)?.unwrap_or_default();
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
}

/// Removes all lines that `keep` rejects.
pub(super) fn retain_lines<T: Record + Serialize>(
    path: &Path,
    keep: impl Fn(&T) -> bool,
) -> anyhow::Result<()> {
    let kept = read_lines(path)?.into_iter().filter(keep);
    let kept: String = kept.map(|value| json_line(&value)).collect::<anyhow::Result<_>>()?;
    write_atomic(path, kept.as_bytes())
}

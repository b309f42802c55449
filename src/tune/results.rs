//! The results of trials, read from their runs, and the checkpoints that are kept.

use std::collections::HashSet;
use std::fs;

use anyhow::Context;

use super::ask::Assignment;
use super::directory::TuneDirectory;
use super::halving::Rungs;
use super::journal::{Event, RungResult};
use super::limits::prediction_bytes;
use super::trials::{Trial, Trials};
use crate::config::Metric;
use crate::objective::metrics::Score;
use crate::run::checkpoint::{self, is_checkpoint};
use crate::run::directory::RunDirectory;

impl TuneDirectory {
    /// Returns what a trial has reached after `seconds` of training; `None` if it has not reached its rung, because
    /// it was stopped.
    ///
    /// # Errors
    /// Returns an error if the run cannot be read.
    pub fn reached(
        &self,
        assignment: &Assignment,
        seconds: f64,
    ) -> anyhow::Result<Option<RungResult>> {
        let of_run = |run: &RunDirectory| self.reached_by(run, assignment.rung);
        let runs =
            assignment.runs.iter().map(of_run).collect::<anyhow::Result<Option<Vec<_>>>>()?;
        let Some(runs) = runs else { return Ok(None) };
        Ok(Some(RungResult { seconds, ..mean(&runs) }))
    }

    /// Returns what a run has reached; `None` if it has not reached the rung.
    fn reached_by(&self, run: &RunDirectory, rung: usize) -> anyhow::Result<Option<RungResult>> {
        if !is_checkpoint(&run.last()) {
            return Ok(None);
        }
        let progress = checkpoint::progress(&run.last())?;
        let summary = run.summary();
        if summary.is_none() && progress.epoch < self.rungs.epochs(rung) {
            return Ok(None);
        }
        let best = progress.best.context("the run has no validation yet")?;
        let (best_epoch, score) = match &summary {
            Some(summary) => (summary.scored().epoch, summary.validation),
            None => (best.epoch, best.validation),
        };
        Ok(Some(RungResult {
            rung,
            epochs: progress.epoch_number(),
            best_epoch,
            score,
            is_finished: summary.is_some(),
            seconds: 0.0,
            bytes: prediction_bytes(&run.best())?,
            latency: None,
        }))
    }

    /// Removes the checkpoints of trials that are not among the best `keep` of all, or of those that wait at a rung.
    ///
    /// # Errors
    /// Returns an error if a checkpoint cannot be removed, or the journal cannot be written.
    pub fn remove_losers(&self, keep: usize, elapsed: f64) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        let trials = self.trials()?;
        let kept = kept(&trials, &self.rungs, self.metric(), keep);
        let idle = |trial: &&Trial| !trial.is_pending() && !trial.is_removed;
        for trial in trials.all.iter().filter(idle).filter(|trial| !kept.contains(&trial.number)) {
            // The journal comes first: a trial whose checkpoints are half removed is not promoted.
            self.append(trial.number, Event::Removed, elapsed)?;
        }
        let removed = self.trials()?;
        for trial in removed.all.iter().filter(|trial| trial.is_removed && !trial.is_pending()) {
            let runs = self.runs(trial.number);
            let checkpoints = runs.iter().flat_map(|run| [run.last(), run.best()]);
            for checkpoint in checkpoints.filter(|path| path.exists()) {
                fs::remove_dir_all(&checkpoint)
                    .with_context(|| format!("cannot remove \"{}\"", checkpoint.display()))?;
            }
        }
        Ok(())
    }

    /// Tries failed trials again.
    ///
    /// # Errors
    /// Returns an error if the journal cannot be read or written.
    pub fn retry_failed(&self) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        let trials = self.trials()?;
        for trial in trials.all.iter().filter(|trial| trial.failure.is_some()) {
            self.append(trial.number, Event::Retried, trials.elapsed)?;
        }
        Ok(())
    }
}

/// Returns the mean of what the runs of a trial have reached at the same rung.
fn mean(runs: &[RungResult]) -> RungResult {
    let count = runs.len() as f64;
    let mean = |value: fn(&RungResult) -> f64| runs.iter().map(value).sum::<f64>() / count;
    let metrics: Option<Vec<f64>> = runs.iter().map(|run| run.score.metric).collect();
    let metric = metrics.map(|metrics| metrics.iter().sum::<f64>() / count);
    let score = Score::new(mean(|run| run.score.loss), mean(|run| run.score.accuracy));
    let largest = runs.iter().max_by_key(|run| run.bytes);
    RungResult {
        epochs: mean(|run| run.epochs as f64).round() as usize,
        best_epoch: mean(|run| run.best_epoch as f64).round() as usize,
        score: match runs {
            [run] => run.score,
            _ => Score { metric, ..score },
        },
        is_finished: runs.iter().all(|run| run.is_finished),
        ..*largest.unwrap_or(&runs[0])
    }
}

/// Returns the numbers of the trials whose checkpoints are kept.
fn kept(trials: &Trials, rungs: &Rungs, metric: &Metric, keep: usize) -> HashSet<usize> {
    let mut kept = HashSet::new();
    for ranking in trials.rankings(rungs, metric) {
        let waiting = ranking.iter().filter(|standing| standing.can_be_promoted);
        kept.extend(waiting.take(keep).map(|standing| standing.trial));
    }
    kept.extend(trials.ranked(metric).iter().take(keep).map(|trial| trial.number));
    kept
}

//! What is trained next: what a stopped process has left, a promotion, or a new trial.

use std::collections::HashSet;

use anyhow::{Context, anyhow};
use serde_json::Map;

use super::directory::TuneDirectory;
use super::halving::{final_promotion, promotion};
use super::journal::Event;
use super::space::{Coordinates, dimensions};
use super::tpe;
use super::trials::{Trial, Trials};
use crate::config::{Override, SearchMethod};
use crate::random::{Sequence, absorb, mix};
use crate::run::directory::RunDirectory;
use crate::run::lock::Lock;
use crate::system::threads::cores;

/// Number of trials with a result before proposals depend on them.
const RANDOM_TRIALS: usize = 8;
/// One trial in so many is random even then.
const RANDOM_INTERVAL: usize = 5;
/// Number of attempts to draw valid settings that are new.
const MAX_ATTEMPTS: usize = 1_000;

const TOO_LARGE: &str =
    "all models of the search space are larger than --max-size; raise it, or search smaller ones";

/// What a process that asks for work is to do.
pub enum Asked {
    /// Train a trial.
    Train(Assignment),
    /// Wait for the trials that other processes train.
    Wait,
    /// Nothing is left to do.
    Done,
}

/// A trial that this process is to train up to a rung. No other process takes it until this value is dropped.
pub struct Assignment {
    /// Number of the trial.
    pub trial: usize,
    /// Rung up to which it trains.
    pub rung: usize,
    /// Its runs: one, or one for each fold.
    pub runs: Vec<RunDirectory>,
    _claim: Lock,
}

impl TuneDirectory {
    /// Finds something to train. `elapsed` is the number of seconds since the search began.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be read or written.
    pub fn ask(&self, elapsed: f64) -> anyhow::Result<Asked> {
        let _lock = self.lock()?;
        let trials = self.trials()?;
        let cores = trials.cores.unwrap_or_else(cores);
        for trial in trials.all.iter().filter(|trial| trial.is_pending()) {
            if let Some(claim) = self.claim(trial.number)? {
                self.prepare(trial.number, &self.settings(trial)?, cores)?;
                return Ok(self.assignment(trial.number, trial.rung, claim));
            }
        }
        if let Some(trial) = self.last_call(&trials, elapsed) {
            return self.promote(trial, self.rungs.last(), elapsed);
        }
        let rankings = trials.rankings(&self.rungs, self.metric());
        if let Some((trial, rung)) = promotion(&rankings) {
            return self.promote(trial, rung + 1, elapsed);
        }
        let has_room = self.space.trials.is_none_or(|limit| trials.all.len() < limit);
        let proposal = if has_room { self.propose(&trials)? } else { None };
        if let Some((at, settings)) = proposal {
            let number = trials.all.len();
            let claim = self.claim(number)?.context("the next trial is already being trained")?;
            let shown = to_json(&settings)?;
            self.append(number, Event::Began { at, settings: shown, cores }, elapsed)?;
            self.prepare(number, &settings, cores)?;
            return Ok(self.assignment(number, 0, claim));
        }
        if trials.all.iter().any(Trial::is_pending) {
            return Ok(Asked::Wait);
        }
        // With room, all settings have been tried: those that wait can train in the time that is left.
        let has_finished = !trials.standings(self.rungs.last(), self.metric()).is_empty();
        match final_promotion(&rankings, has_finished && !has_room) {
            Some((trial, rung)) => self.promote(trial, rung + 1, elapsed),
            None => Ok(Asked::Done),
        }
    }

    /// Returns the best trial if the budget leaves just the time to train it to the end.
    fn last_call(&self, trials: &Trials, elapsed: f64) -> Option<usize> {
        let left = self.space.budget?.as_secs_f64() - elapsed;
        let ranked = trials.ranked(self.metric());
        let best = *ranked.first()?;
        let (result, last) = (best.result()?, self.rungs.last());
        if best.is_finished() || best.failure.is_some() || best.is_removed || best.rung >= last {
            return None;
        }
        let seconds: f64 = best.results.iter().map(|result| result.seconds).sum();
        let epochs = self.rungs.epochs(last).saturating_sub(result.epochs);
        let needed = seconds / result.epochs.max(1) as f64 * epochs as f64;
        // Until the next time that this process asks, most likely.
        let steps = trials.all.iter().flat_map(|trial| &trial.results).map(|result| result.seconds);
        let longest = steps.fold(0.0, f64::max);
        (needed..needed + longest).contains(&left).then_some(best.number)
    }

    /// Assigns a trial that waits to this process, up to a higher rung.
    fn promote(&self, trial: usize, rung: usize, elapsed: f64) -> anyhow::Result<Asked> {
        let claim = self.claim(trial)?.context("the trial is already being trained")?;
        self.append(trial, Event::Promoted { rung }, elapsed)?;
        Ok(self.assignment(trial, rung, claim))
    }

    fn assignment(&self, trial: usize, rung: usize, claim: Lock) -> Asked {
        Asked::Train(Assignment { trial, rung, runs: self.runs(trial), _claim: claim })
    }

    /// Proposes a new trial; `None` if all settings that are valid have been tried.
    fn propose(
        &self,
        trials: &Trials,
    ) -> anyhow::Result<Option<(Option<Coordinates>, Vec<Override>)>> {
        let number = trials.all.len();
        if number == 0 && self.starts_with_base {
            return Ok(Some((None, Vec::new())));
        }
        let dimensions = dimensions(&self.space);
        let mut random = Sequence::new(absorb(mix(self.space.seed), [number as u64]));
        let mut candidates = Vec::new();
        if self.space.method == SearchMethod::Tpe && number % RANDOM_INTERVAL != RANDOM_INTERVAL - 1
        {
            let ranked = trials.ranked_points(&self.rungs, RANDOM_TRIALS, self.metric());
            if !ranked.is_empty() {
                let ranked: Vec<&[f64]> = ranked.iter().map(Vec::as_slice).collect();
                candidates = tpe::propose(&dimensions, &ranked, &mut random);
            }
        }
        let tried: HashSet<String> = trials.all.iter().map(|trial| key(&trial.settings)).collect();
        let drawn = std::iter::repeat_with(|| Coordinates::draw(dimensions.len(), &mut random));
        let points = candidates.iter().map(|point| Coordinates::at(point)).chain(drawn);
        let mut fault = None;
        for point in points.take(MAX_ATTEMPTS) {
            let settings = point.settings(&self.space);
            if tried.contains(&key(&to_json(&settings)?)) {
                continue;
            }
            match self.space.resolve(&settings) {
                Ok(resolved) if self.limits.can_hold(&resolved.config) => {
                    return Ok(Some((Some(point), settings)));
                }
                Ok(_) => fault = fault.or_else(|| Some(anyhow!(TOO_LARGE))),
                // Some fields exclude each other.
                Err(error) => fault = fault.or_else(|| Some(error.into())),
            }
        }
        match fault.filter(|_| trials.all.is_empty()) {
            Some(fault) => Err(fault),
            None => Ok(None),
        }
    }
}

/// Returns settings as JSON.
fn to_json(settings: &[Override]) -> anyhow::Result<Map<String, serde_json::Value>> {
    let setting = |set: &Override| Ok((set.field(), serde_json::to_value(set.value())?));
    let settings = settings.iter().map(setting).collect::<serde_json::Result<_>>();
    settings.context("cannot encode a setting")
}

/// Returns a text that is the same for the same settings.
fn key(settings: &Map<String, serde_json::Value>) -> String {
    let settings = settings.iter().map(|(field, value)| format!("{field}={value}"));
    settings.collect::<Vec<_>>().join(" ")
}

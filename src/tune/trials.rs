//! The trials of a search, as its journal tells.

use serde_json::{Map, Value};

use super::halving::{Rungs, Standing, rank};
use super::journal::{Entry, Event, RungResult};
use super::limits::Limits;
use super::space::Coordinates;
use crate::config::Metric;
use crate::objective::metrics::Score;

/// A trial: settings that are tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Number, from 0.
    pub number: usize,
    /// Where it is in the space; `None` for the configuration itself.
    pub at: Option<Coordinates>,
    /// The fields that vary, with their values.
    pub settings: Map<String, Value>,
    /// Rung up to which it is to train.
    pub rung: usize,
    /// Its results, rung by rung.
    pub results: Vec<RungResult>,
    /// Seconds of training since the latest result.
    pub stopped_seconds: f64,
    /// Error of its training.
    pub failure: Option<String>,
    /// The limit that it violates.
    pub violation: Option<String>,
    /// Its checkpoints have been removed.
    pub is_removed: bool,
}

impl Trial {
    /// Returns true if it is to train and has not reached its rung.
    pub fn is_pending(&self) -> bool {
        let is_excluded = self.failure.is_some() || self.violation.is_some();
        !is_excluded && !self.is_finished() && self.results.len() <= self.rung
    }

    /// Returns true if its run has finished.
    pub fn is_finished(&self) -> bool {
        self.results.last().is_some_and(|result| result.is_finished)
    }

    /// Latest result; `None` without one, and if a limit is violated.
    pub fn result(&self) -> Option<&RungResult> {
        self.results.last().filter(|_| self.violation.is_none())
    }

    /// Best score up to a rung. A run that has finished has the same score at all higher rungs.
    pub fn score_at(&self, rung: usize) -> Option<Score> {
        let latest = self.result()?;
        let finished = Some(latest).filter(|latest| latest.is_finished);
        self.results.get(rung).or(finished).map(|result| result.score)
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Promoted { rung } => self.rung = rung,
            Event::Reached(result) if result.rung >= self.results.len() => {
                // A trial that skipped rungs has its former result there.
                let former = self.results.last().copied().unwrap_or(result);
                self.results.resize(result.rung, RungResult { seconds: 0.0, ..former });
                self.results.push(result);
                (self.stopped_seconds, self.is_removed) = (0.0, false);
            }
            Event::Stopped { seconds } => self.stopped_seconds += seconds,
            Event::Failed { reason } => self.failure = Some(reason),
            Event::Retried => self.failure = None,
            Event::Removed => self.is_removed = true,
            Event::Reached(_) | Event::Began { .. } => {}
        }
    }
}

/// All trials of a search, by number.
#[derive(Clone, Debug, Default)]
pub struct Trials {
    /// The trials.
    pub all: Vec<Trial>,
    /// Seconds since the search began, without interruptions.
    pub elapsed: f64,
    /// Number of cores for which the first trial cuts its batches; `None` without trials.
    pub cores: Option<usize>,
}

impl Trials {
    /// Replays a journal. Skips what contradicts itself.
    pub fn of(entries: Vec<Entry>, limits: &Limits) -> Self {
        let mut trials = Self::default();
        for Entry { elapsed, trial: number, event } in entries {
            trials.elapsed = trials.elapsed.max(elapsed);
            match event {
                Event::Began { at, settings, cores } if number == trials.all.len() => {
                    trials.cores.get_or_insert(cores);
                    trials.all.push(Trial {
                        number,
                        at,
                        settings,
                        rung: 0,
                        results: Vec::new(),
                        stopped_seconds: 0.0,
                        failure: None,
                        violation: None,
                        is_removed: false,
                    });
                }
                event => {
                    if let Some(trial) = trials.all.get_mut(number) {
                        trial.apply(event);
                    }
                }
            }
        }
        for trial in &mut trials.all {
            trial.violation = trial.results.last().and_then(|result| limits.violation(result));
        }
        trials
    }

    /// Returns the ranking of a rung, the best trial first.
    pub fn standings(&self, rung: usize, metric: &Metric) -> Vec<Standing> {
        let standing = |trial: &Trial| {
            let score = trial.score_at(rung)?;
            let is_idle = trial.rung <= rung && trial.failure.is_none();
            let can_be_promoted = is_idle && !trial.is_finished() && !trial.is_removed;
            Some(Standing { trial: trial.number, score, can_be_promoted })
        };
        let mut standings: Vec<Standing> = self.all.iter().filter_map(standing).collect();
        rank(&mut standings, metric);
        standings
    }

    /// Returns the rankings of all rungs but the last.
    pub fn rankings(&self, rungs: &Rungs, metric: &Metric) -> Vec<Vec<Standing>> {
        (0..rungs.last()).map(|rung| self.standings(rung, metric)).collect()
    }

    /// Returns the points of the trials from which new ones are proposed, the best first: those at the highest rung
    /// with at least `enough` of them, or else none. Trials that failed or violate a limit are the worst.
    pub fn ranked_points(&self, rungs: &Rungs, enough: usize, metric: &Metric) -> Vec<Vec<f64>> {
        let points = |rung: usize| -> Vec<Vec<f64>> {
            let ranked = self.standings(rung, metric).into_iter();
            let point = |standing: Standing| self.all[standing.trial].at.as_ref();
            ranked.filter_map(point).map(Coordinates::values).collect()
        };
        let rung = (0..=rungs.last()).rev().find(|rung| points(*rung).len() >= enough);
        let Some(rung) = rung else { return Vec::new() };
        let is_bad = |trial: &&Trial| {
            trial.violation.is_some() || trial.failure.is_some() && trial.results.is_empty()
        };
        let bad = self.all.iter().filter(is_bad).filter_map(|trial| trial.at.as_ref());
        points(rung).into_iter().chain(bad.map(Coordinates::values)).collect()
    }

    /// Returns the trials with a score, the best first.
    pub fn ranked(&self, metric: &Metric) -> Vec<&Trial> {
        let scored = self.all.iter().filter_map(|trial| Some((trial, trial.result()?.score)));
        let mut scored: Vec<(&Trial, Score)> = scored.collect();
        // The sort keeps the order of equals.
        scored.sort_by(|(_, a), (_, b)| a.rank(*b, metric));
        scored.into_iter().map(|(trial, _)| trial).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(rung: usize, loss: f64, is_finished: bool) -> Event {
        Event::Reached(RungResult {
            rung,
            epochs: rung + 1,
            best_epoch: 1,
            score: Score::new(loss, 0.5),
            is_finished,
            seconds: 1.0,
            bytes: (1e6 * loss) as u64,
            latency: None,
        })
    }

    fn began(at: f64) -> Event {
        Event::Began { at: Some(Coordinates::at(&[at])), settings: Map::new(), cores: 1 }
    }

    fn trials(events: &[(usize, Event)], limits: &Limits) -> Trials {
        let entry = |(index, (trial, event)): (usize, &(usize, Event))| Entry {
            elapsed: index as f64,
            trial: *trial,
            event: event.clone(),
        };
        Trials::of(events.iter().enumerate().map(entry).collect(), limits)
    }

    #[test]
    fn a_trial_is_pending_until_it_reaches_its_rung() {
        let mut events = vec![(0, began(0.5))];
        let is_pending =
            |events: &[(usize, Event)]| trials(events, &Limits::default()).all[0].is_pending();
        assert!(is_pending(&events));
        events.push((0, reached(0, 0.5, false)));
        assert!(!is_pending(&events));
        events.push((0, Event::Promoted { rung: 2 }));
        assert!(is_pending(&events));
        events.push((0, Event::Failed { reason: String::new() }));
        assert!(!is_pending(&events));
        events.push((0, Event::Retried));
        assert!(is_pending(&events));
        events.extend([(0, Event::Stopped { seconds: 3.0 }), (0, Event::Stopped { seconds: 4.0 })]);
        assert_eq!(trials(&events, &Limits::default()).all[0].stopped_seconds, 7.0);
        // It has skipped a rung.
        events.push((0, reached(2, 0.4, false)));
        let trials = trials(&events, &Limits::default());
        let trial = &trials.all[0];
        assert!(!trial.is_pending() && trial.stopped_seconds == 0.0);
        let losses: Vec<f64> = trial.results.iter().map(|result| result.score.loss).collect();
        assert_eq!(losses, [0.5, 0.5, 0.4]);
        assert_eq!(trial.results.iter().map(|result| result.seconds).sum::<f64>(), 2.0);
    }

    #[test]
    fn finished_runs_stand_at_all_rungs_and_limits_can_change() {
        let events = [
            (0, began(0.1)),
            (1, began(0.2)),
            (2, began(0.3)),
            (1, reached(0, 0.3, false)),
            (0, reached(0, 0.4, true)),
            (2, reached(0, 0.5, false)),
        ];
        let all = |bytes| trials(&events, &Limits { bytes, ..Limits::default() });
        let order = |trials: &Trials, rung: usize| -> Vec<(usize, bool)> {
            let standings = trials.standings(rung, &Metric::Loss).into_iter();
            standings.map(|standing| (standing.trial, standing.can_be_promoted)).collect()
        };
        let limited = all(Some(450_000));
        assert_eq!(order(&limited, 0), [(1, true), (0, false)]);
        assert_eq!(order(&limited, 1), [(0, false)]);
        let numbers = |trials: &Trials| -> Vec<usize> {
            trials.ranked(&Metric::Loss).iter().map(|trial| trial.number).collect()
        };
        assert_eq!(numbers(&limited), [1, 0]);
        assert_eq!(numbers(&all(None)), [1, 0, 2], "the same journal with another limit");
        let points = limited.ranked_points(&Rungs::of(3), 2, &Metric::Loss);
        let points: Vec<f64> = points.iter().map(|point| (10.0 * point[0]).round()).collect();
        assert_eq!(points, [2.0, 1.0, 3.0], "the one that violates a limit is the worst");
        assert_eq!(limited.elapsed, 5.0);
    }
}

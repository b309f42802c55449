//! The part of a search that this process computes: asks for trials, trains them in processes of their own, and
//! records their results.

use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::console::Console;
use super::latency::LatencyCheck;
use crate::cli::hints::relative;
use crate::output::shell::quoted_path;
use crate::run::directory::RunDirectory;
use crate::sweep::{Launch, PROCESS_POLL, TrainingProcess, was_stopped};
use crate::system::signals::{Interrupt, SIGTERM};
use crate::tune::{Asked, Assignment, Event, Trials, TuneDirectory};

/// Interval between checks of what other processes do.
const OTHERS_POLL: Duration = Duration::from_secs(1);
/// Interval between updates of the display.
const DISPLAY_INTERVAL: Duration = Duration::from_millis(250);
/// Number of trials in a row without a result after which a search ends.
const MAX_FAILURES: usize = 5;

/// End of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to do.
    Done,
    /// The budget is used up.
    OutOfTime,
    /// By a signal.
    Stopped(i32),
}

/// Seconds since a search began, which interruptions do not count.
struct Clock {
    before: Duration,
    started: Instant,
    budget: Option<Duration>,
}

impl Clock {
    fn elapsed(&self) -> Duration {
        self.before + self.started.elapsed()
    }

    fn is_over(&self) -> bool {
        self.budget.is_some_and(|budget| self.elapsed() >= budget)
    }
}

/// A trial in training.
struct Job {
    assignment: Assignment,
    /// Index of the run in training.
    run: usize,
    process: TrainingProcess,
    /// Time that its earlier runs took.
    before: Duration,
}

/// A process that takes part in a search.
pub struct Session<'a> {
    directory: &'a TuneDirectory,
    launch: Launch,
    /// Number of trials at each rung, and of the best of all, whose checkpoints are kept. `None`: all.
    keep: Option<usize>,
    latency: LatencyCheck<'a>,
    clock: Clock,
    console: Console,
    running: Vec<Job>,
    /// All trials, as of the latest result.
    trials: Trials,
    /// Nothing is left to ask for.
    is_done: bool,
    next_ask: Instant,
    next_display: Instant,
    failures: usize,
    forwarded: bool,
}

impl<'a> Session<'a> {
    /// Creates the session of a search, whose directory has been created.
    ///
    /// # Errors
    /// Returns an error if the journal cannot be read.
    pub fn new(
        directory: &'a TuneDirectory,
        launch: Launch,
        keep: Option<usize>,
        latency: LatencyCheck<'a>,
    ) -> anyhow::Result<Self> {
        directory.retry_failed()?;
        let trials = directory.trials()?;
        let budget = directory.space.budget;
        let clock = Clock {
            before: Duration::from_secs_f64(trials.elapsed),
            started: Instant::now(),
            budget,
        };
        Ok(Self {
            console: Console::new(directory.metric().clone(), directory.rungs.clone(), budget),
            directory,
            launch,
            keep,
            latency,
            clock,
            running: Vec::new(),
            trials,
            is_done: false,
            next_ask: Instant::now(),
            next_display: Instant::now(),
            failures: 0,
            forwarded: false,
        })
    }

    /// Trains until nothing is left to do, the time is over or a signal arrives. Trials in training are saved.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be read or written, or if one trial after the other fails.
    pub fn run(mut self, interrupt: &Interrupt) -> anyhow::Result<End> {
        let ended = self.run_to_end(interrupt);
        if ended.is_err() {
            self.running.iter().for_each(|job| job.process.signal(SIGTERM));
        }
        self.console.end();
        ended
    }

    fn run_to_end(&mut self, interrupt: &Interrupt) -> anyhow::Result<End> {
        loop {
            let signal = interrupt.signal();
            let is_over = self.clock.is_over();
            match signal.or(is_over.then_some(SIGTERM)) {
                Some(signal) => self.stop(signal),
                None => self.start_trials()?,
            }
            self.reap(interrupt, is_over)?;
            if self.running.is_empty() {
                match signal {
                    Some(signal) => return Ok(End::Stopped(signal)),
                    None if is_over => return Ok(End::OutOfTime),
                    None if self.is_done => return Ok(End::Done),
                    None => {}
                }
            }
            self.show();
            thread::sleep(PROCESS_POLL);
        }
    }

    /// Passes a signal on to the processes, once.
    fn stop(&mut self, signal: i32) {
        if !std::mem::replace(&mut self.forwarded, true) {
            self.running.iter().for_each(|job| job.process.signal(signal));
        }
    }

    /// Starts trials until as many as possible are in training.
    fn start_trials(&mut self) -> anyhow::Result<()> {
        while self.running.len() < self.launch.jobs.get() && Instant::now() >= self.next_ask {
            match self.directory.ask(self.clock.elapsed().as_secs_f64())? {
                Asked::Train(assignment) => {
                    self.is_done = false;
                    let process = self.start(&assignment, 0)?;
                    self.running.push(Job { assignment, run: 0, process, before: Duration::ZERO });
                }
                asked => {
                    self.is_done = matches!(asked, Asked::Done);
                    self.next_ask = Instant::now() + OTHERS_POLL;
                }
            }
        }
        Ok(())
    }

    /// Starts the process of a run of a trial.
    fn start(&self, assignment: &Assignment, index: usize) -> anyhow::Result<TrainingProcess> {
        let run = &assignment.runs[index];
        let epochs = self.directory.rungs.epochs(assignment.rung);
        let mut command = self.launch.command(run.path())?;
        command.args(["--stop-after".to_owned(), epochs.to_string()]);
        TrainingProcess::start(command, run.log())
    }

    /// Records the results of the processes that have ended.
    fn reap(&mut self, interrupt: &Interrupt, is_over: bool) -> anyhow::Result<()> {
        let mut index = 0;
        while index < self.running.len() {
            let Some(status) = self.running[index].process.try_wait()? else {
                index += 1;
                continue;
            };
            // The signal may have reached the process first.
            let is_stopping = is_over || interrupt.signal().is_some();
            let mut job = self.running.remove(index);
            job.before += job.process.elapsed();
            let is_last = job.run + 1 == job.assignment.runs.len();
            if status.success() && !is_last && !is_stopping {
                job.run += 1;
                job.process = self.start(&job.assignment, job.run)?;
                self.running.insert(index, job);
                continue;
            }
            self.ended(&job, status, is_stopping)?;
            self.next_ask = Instant::now();
        }
        Ok(())
    }

    fn ended(&mut self, job: &Job, status: ExitStatus, is_stopping: bool) -> anyhow::Result<()> {
        let (assignment, trial) = (&job.assignment, job.assignment.trial);
        let seconds = job.before.as_secs_f64();
        let former = self.directory.trials()?.all.swap_remove(trial);
        let result = match status.success() {
            true => self.directory.reached(assignment, seconds + former.stopped_seconds)?,
            false => None,
        };
        let Some(mut result) = result else {
            let is_elsewhere = assignment.runs.iter().any(RunDirectory::is_training);
            if is_elsewhere || is_stopping && (status.success() || was_stopped(status)) {
                return self.directory.record(trial, Event::Stopped { seconds }, self.seconds());
            }
            return self.failed(job, status);
        };
        self.failures = 0;
        if self.directory.limits.latency.is_some() {
            // It is measured once.
            let latency = former.results.iter().find_map(|result| result.latency);
            let measure = || self.latency.measure(&assignment.runs[0].best());
            result.latency = Some(latency.map_or_else(measure, Ok)?);
        }
        self.directory.record(trial, Event::Reached(result), self.seconds())?;
        self.trials = self.directory.trials()?;
        match &self.trials.all[trial].violation {
            None => self.console.reached(trial, &result, &self.trials),
            Some(reason) => self.console.excluded(trial, reason, self.clock.elapsed()),
        }
        if let Some(keep) = self.keep {
            self.directory.remove_losers(keep, self.seconds())?;
        }
        Ok(())
    }

    fn failed(&mut self, job: &Job, status: ExitStatus) -> anyhow::Result<()> {
        let (trial, reason) = (job.assignment.trial, job.process.failure(status));
        self.console.excluded(trial, &format!("failed: {reason}"), self.clock.elapsed());
        let event = Event::Failed { reason: reason.clone() };
        self.directory.record(trial, event, self.seconds())?;
        self.trials = self.directory.trials()?;
        self.failures += 1;
        let has_result = self.trials.all.iter().any(|trial| !trial.results.is_empty());
        if self.failures >= MAX_FAILURES || !has_result && self.failures > 1 {
            bail!(
                "{} trials in a row have failed; the last one: {reason}\n  {}",
                self.failures,
                quoted_path(&relative(&job.assignment.runs[job.run].log()))
            );
        }
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.clock.elapsed().as_secs_f64()
    }

    fn show(&mut self) {
        if Instant::now() < self.next_display {
            return;
        }
        self.next_display = Instant::now() + DISPLAY_INTERVAL;
        let running = self
            .running
            .iter()
            .map(|job| (job.assignment.trial, self.directory.rungs.epochs(job.assignment.rung)));
        let running: Vec<(usize, usize)> = running.collect();
        self.console.show(self.clock.elapsed(), &self.trials, &running);
    }
}

//! Trains the runs of a sweep, each in its own process, several at once.

use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use super::directory::{RunState, SweepDirectory, SweepRun};
use super::process::{Launch, PROCESS_POLL, TrainingProcess, was_stopped};
use crate::output::format::format_duration;
use crate::output::width::{Align, display_width, pad, shorten_names};
use crate::output::{ProgressBar, message, message_width};
use crate::run::summary::RunSummary;
use crate::system::signals::Interrupt;

/// Interval between checks of runs that other processes train.
const RUN_POLL: Duration = Duration::from_secs(1);

/// A run that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Index in the sweep.
    pub index: usize,
    /// The error message.
    pub reason: String,
}

/// A training process.
struct Job<'a> {
    run: &'a SweepRun,
    process: TrainingProcess,
}

/// The training processes of a sweep.
pub struct Jobs<'a> {
    directory: &'a SweepDirectory,
    launch: Launch,
    /// Runs that are neither finished nor trained by this process.
    waiting: Vec<&'a SweepRun>,
    running: Vec<Job<'a>>,
    failures: Vec<Failure>,
    console: Console,
    /// Time of the next attempt to start runs.
    next_start: Instant,
    /// True if the processes have received the signal.
    forwarded: bool,
}

impl<'a> Jobs<'a> {
    /// Creates the jobs for `waiting`, the unfinished runs of a sweep.
    pub fn new(directory: &'a SweepDirectory, waiting: Vec<&'a SweepRun>, launch: Launch) -> Self {
        Self {
            console: Console::new(directory, waiting.len(), launch),
            directory,
            launch,
            waiting,
            running: Vec::new(),
            failures: Vec::new(),
            next_start: Instant::now(),
            forwarded: false,
        }
    }

    /// Trains until every run has finished or failed, or until a signal stops the sweep. Runs that
    /// other processes train are awaited, and continued if those processes stop.
    pub fn train(mut self, interrupt: &Interrupt) -> Vec<Failure> {
        loop {
            match interrupt.signal() {
                Some(signal) => self.forward(signal),
                None => self.start_runs(),
            }
            self.reap(interrupt);
            let is_last = self.waiting.is_empty() || interrupt.signal().is_some();
            if self.running.is_empty() && is_last {
                self.console.bar.finish_and_clear();
                return self.failures;
            }
            thread::sleep(PROCESS_POLL);
        }
    }

    /// Forwards a signal to the processes, once.
    fn forward(&mut self, signal: i32) {
        if std::mem::replace(&mut self.forwarded, true) {
            return;
        }
        self.running.iter().for_each(|job| job.process.signal(signal));
    }

    /// Starts runs until `jobs` processes are running.
    fn start_runs(&mut self) {
        if self.running.len() >= self.launch.jobs.get() || Instant::now() < self.next_start {
            return;
        }
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        while self.running.len() < self.launch.jobs.get()
            && let Some(run) = waiting.next()
        {
            match run.state() {
                RunState::Finished(outcome) => self.console.finished(run, &outcome, None),
                RunState::Running => self.waiting.push(run),
                RunState::New | RunState::Stopped | RunState::Failed => match self.start(run) {
                    Ok(job) => self.running.push(job),
                    // Another process started it first.
                    Err(_) if run.directory.is_training() => self.waiting.push(run),
                    Err(error) => self.failed(run, format!("{error:#}")),
                },
            }
        }
        self.waiting.extend(waiting);
        self.next_start = Instant::now() + RUN_POLL;
        self.show_running();
    }

    fn start(&self, run: &'a SweepRun) -> anyhow::Result<Job<'a>> {
        self.directory.prepare(run)?;
        let command = self.launch.command(run.directory.path())?;
        Ok(Job { run, process: TrainingProcess::start(command, run.directory.log())? })
    }

    /// Handles the processes that have ended.
    fn reap(&mut self, interrupt: &Interrupt) {
        let mut running = Vec::with_capacity(self.running.len());
        let before = self.running.len();
        for mut job in std::mem::take(&mut self.running) {
            match job.process.try_wait() {
                Ok(None) => running.push(job),
                Ok(Some(status)) => self.ended(&job, status, interrupt),
                Err(error) => self.failed(job.run, format!("cannot wait for the process: {error}")),
            }
        }
        self.running = running;
        if self.running.len() < before {
            self.next_start = Instant::now();
            self.show_running();
        }
    }

    fn ended(&mut self, job: &Job<'a>, status: ExitStatus, interrupt: &Interrupt) {
        match job.run.state() {
            RunState::Finished(outcome) => {
                self.console.finished(job.run, &outcome, Some(job.process.elapsed()));
            }
            // Another process started it first.
            RunState::Running => self.waiting.push(job.run),
            _ if was_stopped(status) && interrupt.signal().is_some() => {}
            _ => self.failed(job.run, job.process.failure(status)),
        }
    }

    fn failed(&mut self, run: &SweepRun, reason: String) {
        self.console.failed(run, &reason);
        self.failures.push(Failure { index: run.index, reason });
    }

    fn show_running(&self) {
        let names: Vec<&str> = self.running.iter().map(|job| job.run.name.as_str()).collect();
        self.console.bar.set_message(&names.join("  "));
    }
}

/// Progress of the sweep on stderr: a line per run and a progress bar.
struct Console {
    bar: ProgressBar,
    jobs: usize,
    /// Number of runs in the sweep.
    total: usize,
    /// Number of runs that have finished or failed.
    done: usize,
    /// Durations of the processes that finished.
    times: Vec<Duration>,
    has_header: bool,
    /// Names of the runs as they are printed, by index.
    names: Vec<String>,
    /// Full names of the runs whose printed names are numbered.
    key: String,
    /// Width of the widest printed name.
    width: usize,
}

impl Console {
    fn new(directory: &SweepDirectory, left: usize, launch: Launch) -> Self {
        let bar = ProgressBar::new("{pos}/{len} {bar:20.cyan/dim} {wide_msg}", 4);
        let total = directory.runs.len();
        let names = directory.runs.iter().map(|run| run.name.as_str());
        // The numbers and their headings take up the rest of a line.
        let rest = if is_narrow() { 28 } else { 54 };
        let names = shorten_names(names, message_width().saturating_sub(rest).max(12));
        let width = names.names.iter().map(|name| display_width(name)).max().unwrap_or(0);
        bar.set_length(total as u64);
        bar.set_position((total - left) as u64);
        Self {
            bar,
            jobs: launch.jobs.get(),
            total,
            done: total - left,
            times: Vec::new(),
            has_header: false,
            names: names.names,
            key: names.key,
            width,
        }
    }

    /// Prints a finished run. `time` is the duration of the process, if it was one of this sweep.
    fn finished(&mut self, run: &SweepRun, outcome: &RunSummary, time: Option<Duration>) {
        let (score, seconds) = (outcome.validation, outcome.seconds);
        self.times.extend(time);
        self.count();
        let score = format!("{:.4}  {:6.2} %", score.loss, 100.0 * score.accuracy);
        let left = self.time_left().map_or_else(|| "–".to_owned(), format_duration);
        match is_narrow() {
            true => self.line(run, &score),
            false => self.line(run, &format!("{score}  {seconds:7.1} s  {left:>5}")),
        }
    }

    fn failed(&mut self, run: &SweepRun, reason: &str) {
        self.count();
        self.line(run, &format!("failed: {reason}"));
    }

    /// Counts a run as done. The first call prints the table header.
    fn count(&mut self) {
        if !std::mem::replace(&mut self.has_header, true) {
            let (count, width) = (2 * digits(self.total) + 1, self.width);
            let times = if is_narrow() { "" } else { "       time   left" };
            if !self.key.is_empty() {
                self.print(self.key.trim_end());
            }
            self.print(&format!("{:count$}  {:width$}    loss  accuracy{times}", "", "run"));
        }
        self.done += 1;
        self.bar.set_position(self.done as u64);
    }

    fn line(&self, run: &SweepRun, result: &str) {
        let (digits, width) = (digits(self.total), self.width);
        let name = pad(&self.names[run.index], width, Align::Left);
        self.print(&format!("{:digits$}/{}  {name}  {result}", self.done, self.total));
    }

    /// Estimates the remaining time from the mean duration of the runs so far.
    fn time_left(&self) -> Option<Duration> {
        let mean = self.times.iter().sum::<Duration>().as_secs_f64() / self.times.len() as f64;
        let rounds = self.total.saturating_sub(self.done) as f64 / self.jobs as f64;
        Duration::try_from_secs_f64(mean * rounds).ok()
    }

    fn print(&self, line: &str) {
        self.bar.suspend(|| message(line));
    }
}

/// Returns true if the terminal has no room for times.
fn is_narrow() -> bool {
    message_width() < 66
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

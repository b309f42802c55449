//! Trains the runs of a sweep, each in a process of its own, several at once.

use std::env;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::num::NonZeroUsize;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{State, SweepDirectory, SweepRun};
use crate::output::format::format_duration;
use crate::output::message;
use crate::run::directory::Outcome;
use crate::system::device::DeviceChoice;
use crate::system::signals::Interrupt;

/// How often processes are looked after.
const POLL: Duration = Duration::from_millis(20);
/// How often runs are looked after that other processes train.
const LOOK: Duration = Duration::from_secs(1);

/// How runs are trained.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// So many at once.
    pub jobs: NonZeroUsize,
    /// The CPU threads of each; by default those that a training takes.
    pub threads: Option<NonZeroUsize>,
    /// Where each computes.
    pub device: DeviceChoice,
}

impl Launch {
    /// What trains a run that [`SweepDirectory::prepare`] made ready, from its latest checkpoint.
    ///
    /// # Errors
    /// Where this program's file cannot be found.
    pub fn command(&self, run: &SweepRun) -> anyhow::Result<Command> {
        let program = env::current_exe().context("cannot find this program's file")?;
        let mut command = Command::new(program);
        command.arg0(env::args_os().next().unwrap_or_else(|| OsString::from("lstmtext")));
        command.args(["train", "--no-test", "--resume"]).arg(run.folder.path());
        if let Some(threads) = self.threads {
            command.args(["--threads".to_owned(), threads.to_string()]);
        }
        if self.device != DeviceChoice::Auto {
            command.args(["--device".to_owned(), self.device.to_string()]);
        }
        Ok(command)
    }
}

/// A run that has no result.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its number in the sweep.
    pub index: usize,
    /// What its training said last.
    pub reason: String,
}

/// A process that trains a run.
struct Job<'a> {
    run: &'a SweepRun,
    process: Child,
    begun: Instant,
    /// Where in its log this training began.
    log_start: u64,
}

/// The trainings of a sweep.
pub struct Jobs<'a> {
    folder: &'a SweepDirectory,
    launch: Launch,
    /// Neither finished nor trained by this process so far.
    waiting: Vec<&'a SweepRun>,
    running: Vec<Job<'a>>,
    failures: Vec<Failure>,
    console: Console,
    /// Nothing can be begun before.
    next_look: Instant,
    /// Whether the processes know of the signal.
    told: bool,
}

impl<'a> Jobs<'a> {
    /// The trainings of `waiting`, runs of the sweep.
    pub fn new(folder: &'a SweepDirectory, waiting: Vec<&'a SweepRun>, launch: Launch) -> Self {
        Self {
            console: Console::new(folder, waiting.len(), launch),
            folder,
            launch,
            waiting,
            running: Vec::new(),
            failures: Vec::new(),
            next_look: Instant::now(),
            told: false,
        }
    }

    /// Trains until every run is finished or has failed, or until a signal has stopped those that
    /// were under way. What other processes train is waited for, and taken over where they leave it.
    pub fn train(mut self, interrupt: &Interrupt) -> Vec<Failure> {
        loop {
            match interrupt.signal() {
                Some(signal) => self.tell(signal),
                None => self.begin(),
            }
            self.end(interrupt);
            let over = self.waiting.is_empty() || interrupt.signal().is_some();
            if self.running.is_empty() && over {
                self.console.bar.finish_and_clear();
                return self.failures;
            }
            thread::sleep(POLL);
        }
    }

    /// Hands a signal on, once.
    fn tell(&mut self, signal: i32) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        for job in &self.running {
            // SAFETY: kill takes plain numbers. The process is ours and nobody has waited for its
            // end, so that the number is still its own.
            unsafe { libc::kill(job.process.id() as libc::pid_t, signal) };
        }
    }

    /// Begins as many trainings as there is room for.
    fn begin(&mut self) {
        if self.running.len() >= self.launch.jobs.get() || Instant::now() < self.next_look {
            return;
        }
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        while self.running.len() < self.launch.jobs.get()
            && let Some(run) = waiting.next()
        {
            match run.state() {
                State::Finished(outcome) => self.console.finished(run, &outcome, None),
                State::Running => self.waiting.push(run),
                State::New | State::Stopped | State::Failed => match self.start(run) {
                    Ok(job) => self.running.push(job),
                    // Another process was faster.
                    Err(_) if run.folder.is_training() => self.waiting.push(run),
                    Err(error) => self.failed(run, format!("{error:#}")),
                },
            }
        }
        self.waiting.extend(waiting);
        self.next_look = Instant::now() + LOOK;
        self.show_running();
    }

    fn start(&self, run: &'a SweepRun) -> anyhow::Result<Job<'a>> {
        self.folder.prepare(run)?;
        let path = run.log();
        let unusable = || format!("cannot write \"{}\"", path.display());
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(unusable)?;
        let log_start = log.metadata().with_context(unusable)?.len();
        let mut command = self.launch.command(run)?;
        command.stdin(Stdio::null()).stdout(log.try_clone().with_context(unusable)?).stderr(log);
        // A terminal's Ctrl-C reaches this process alone, which hands it on, once.
        command.process_group(0);
        let process = command.spawn().context("cannot start a training")?;
        Ok(Job { run, process, begun: Instant::now(), log_start })
    }

    /// Takes note of the trainings that have ended.
    fn end(&mut self, interrupt: &Interrupt) {
        let mut running = Vec::with_capacity(self.running.len());
        let before = self.running.len();
        for mut job in std::mem::take(&mut self.running) {
            match job.process.try_wait() {
                Ok(None) => running.push(job),
                Ok(Some(status)) => self.ended(&job, status, interrupt),
                Err(error) => self.failed(job.run, format!("cannot wait for it: {error}")),
            }
        }
        self.running = running;
        if self.running.len() < before {
            self.next_look = Instant::now();
            self.show_running();
        }
    }

    fn ended(&mut self, job: &Job<'a>, status: ExitStatus, interrupt: &Interrupt) {
        match job.run.state() {
            State::Finished(outcome) => {
                self.console.finished(job.run, &outcome, Some(job.begun.elapsed()));
            }
            // It was begun twice, and the other process was faster.
            State::Running => self.waiting.push(job.run),
            _ if stopped(status) && interrupt.signal().is_some() => {}
            _ => self.failed(job.run, reason(job, status)),
        }
    }

    fn failed(&mut self, run: &SweepRun, reason: String) {
        self.console.failed(run, &reason);
        self.failures.push(Failure { index: run.index, reason });
    }

    fn show_running(&self) {
        let names: Vec<&str> = self.running.iter().map(|job| job.run.name.as_str()).collect();
        self.console.bar.set_message(names.join("  "));
    }
}

/// Whether a signal ended a process, which it may have heeded.
fn stopped(status: ExitStatus) -> bool {
    status.signal().is_some() || status.code().is_some_and(|code| code > 128)
}

/// Why a training has no result.
fn reason(job: &Job, status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(libc::SIGKILL), _) => "killed, perhaps for want of memory".to_owned(),
        (Some(signal), _) => format!("ended by signal {signal}"),
        (None, Some(code)) if code > 128 => format!("stopped by signal {}", code - 128),
        _ => last_words(job).unwrap_or_else(|| format!("ended with {status}")),
    }
}

/// The last error in a log, or else its last line.
fn last_words(job: &Job) -> Option<String> {
    let mut text = Vec::new();
    let mut log = File::open(job.run.log()).ok()?;
    log.seek(SeekFrom::Start(job.log_start)).ok()?;
    log.read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().rev().filter(|line| !line.trim().is_empty());
    let last = { lines.clone() }.next()?;
    let error = lines.find_map(|line| line.strip_prefix("error: "));
    Some(error.unwrap_or(last).to_owned())
}

/// Tells how far the sweep is.
struct Console {
    bar: ProgressBar,
    jobs: usize,
    /// Runs of the whole sweep.
    total: usize,
    /// Those that have a result or never will.
    done: usize,
    /// How long each training of this process took that has a result.
    times: Vec<Duration>,
    table_begun: bool,
    /// Characters of the longest name.
    width: usize,
}

impl Console {
    fn new(folder: &SweepDirectory, left: usize, launch: Launch) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
        let style = ProgressStyle::with_template("{pos}/{len} {bar:20.cyan/dim} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        let total = folder.runs.len();
        bar.set_length(total as u64);
        bar.set_position((total - left) as u64);
        Self {
            bar,
            jobs: launch.jobs.get(),
            total,
            done: total - left,
            times: Vec::new(),
            table_begun: false,
            width: folder.runs.iter().map(|run| run.name.len()).max().unwrap_or(0),
        }
    }

    /// A run has a result, for which this process trained so long.
    fn finished(&mut self, run: &SweepRun, outcome: &Outcome, time: Option<Duration>) {
        let (score, seconds) = (outcome.validation, outcome.seconds);
        self.times.extend(time);
        self.count();
        let score = format!("{:.4}  {:6.2} %", score.loss, 100.0 * score.accuracy);
        let left = self.time_left().map_or_else(|| "–".to_owned(), format_duration);
        self.line(run, &format!("{score}  {seconds:7.1} s  {left:>5}"));
    }

    fn failed(&mut self, run: &SweepRun, reason: &str) {
        self.count();
        self.line(run, &format!("failed: {reason}"));
    }

    /// Another run is done.
    fn count(&mut self) {
        if !std::mem::replace(&mut self.table_begun, true) {
            let (count, width) = (2 * digits(self.total) + 1, self.width);
            self.print(&format!(
                "{:count$}  {:width$}    loss  accuracy       time   left",
                "", "run"
            ));
        }
        self.done += 1;
        self.bar.set_position(self.done as u64);
    }

    fn line(&self, run: &SweepRun, what: &str) {
        let (digits, width) = (digits(self.total), self.width);
        self.print(&format!("{:digits$}/{}  {:width$}  {what}", self.done, self.total, run.name));
    }

    /// Until all is done, if runs take as long as those so far.
    fn time_left(&self) -> Option<Duration> {
        let mean = self.times.iter().sum::<Duration>().as_secs_f64() / self.times.len() as f64;
        let rounds = self.total.saturating_sub(self.done) as f64 / self.jobs as f64;
        Duration::try_from_secs_f64(mean * rounds).ok()
    }

    fn print(&self, line: &str) {
        self.bar.suspend(|| message(line));
    }
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

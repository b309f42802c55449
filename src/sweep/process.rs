//! The process that trains a run: how it is started, and why it has ended.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Seek, SeekFrom};
use std::num::NonZeroUsize;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::io::files;
use crate::system::device::DeviceChoice;
use crate::system::signals::Interrupt;

/// Interval between checks of training processes.
pub const PROCESS_POLL: Duration = Duration::from_millis(20);

/// Settings of the training processes.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// Number of runs trained at once.
    pub jobs: NonZeroUsize,
    /// Number of CPU threads per run. `None`: the default of `train`.
    pub threads: Option<NonZeroUsize>,
    /// Device of every run.
    pub device: DeviceChoice,
}

impl Launch {
    /// Returns the command that trains the run in a directory, from its latest checkpoint if there is one. The
    /// directory has a configuration.
    ///
    /// # Errors
    /// Returns an error if the path of this program cannot be determined.
    pub fn command(&self, run: &Path) -> anyhow::Result<Command> {
        let program = env::current_exe().context("cannot determine the path of this program")?;
        let mut command = Command::new(program);
        command.arg0(env::args_os().next().unwrap_or_else(|| OsString::from("lstmtext")));
        // A launcher of several processes started this one, not its runs.
        command.args(["train", "--no-test", "--distributed", "off", "--resume"]).arg(run);
        if let Some(threads) = self.threads {
            command.args(["--threads".to_owned(), threads.to_string()]);
        }
        if self.device != DeviceChoice::Auto {
            command.args(["--device".to_owned(), self.device.to_string()]);
        }
        Ok(command)
    }
}

/// A training process, whose output goes to a log.
pub struct TrainingProcess {
    process: Child,
    started: Instant,
    log: PathBuf,
    /// Offset in the log at which the output of this process starts.
    log_start: u64,
}

impl TrainingProcess {
    /// Starts a process. Ctrl-C in a terminal does not reach it.
    ///
    /// # Errors
    /// Returns an error if the process cannot be started, or the log cannot be written.
    pub fn start(mut command: Command, log: PathBuf) -> anyhow::Result<Self> {
        let unwritable = || format!("cannot write \"{}\"", log.display());
        let file = files::append(&log).with_context(unwritable)?;
        let log_start = file.metadata().with_context(unwritable)?.len();
        let output = file.try_clone().with_context(unwritable)?;
        command.stdin(Stdio::null()).stdout(output).stderr(file).process_group(0);
        let process = command.spawn().context("cannot start the training process")?;
        Ok(Self { process, started: Instant::now(), log, log_start })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: kill takes no pointers. The process is our child and has not been waited for,
        // so its id is still valid.
        unsafe { libc::kill(self.process.id() as libc::pid_t, signal) };
    }

    /// Returns how the process has ended; `None` if it has not.
    ///
    /// # Errors
    /// Returns an error of the system.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Waits until the process has ended, and passes a signal on to it, once.
    ///
    /// # Errors
    /// Returns an error of the system.
    pub fn wait(&mut self, interrupt: &Interrupt) -> io::Result<ExitStatus> {
        let mut forwarded = false;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if let Some(signal) = interrupt.signal().filter(|_| !forwarded) {
                self.signal(signal);
                forwarded = true;
            }
            thread::sleep(PROCESS_POLL);
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns why the process ended without a result.
    pub fn failure(&self, status: ExitStatus) -> String {
        match (status.signal(), status.code()) {
            (Some(libc::SIGKILL), _) => "killed, possibly out of memory".to_owned(),
            (Some(signal), _) => format!("killed by signal {signal}"),
            (None, Some(code)) if code > 128 => format!("stopped by signal {}", code - 128),
            _ => self.last_error().unwrap_or_else(|| format!("ended with {status}")),
        }
    }

    /// Returns the last error in the output of the process, or else its last line.
    fn last_error(&self) -> Option<String> {
        let mut text = Vec::new();
        let mut log = files::open(&self.log).ok()?;
        log.seek(SeekFrom::Start(self.log_start)).ok()?;
        log.read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines().rev().filter(|line| !line.trim().is_empty());
        let last = { lines.clone() }.next()?;
        let error = lines.find_map(|line| line.strip_prefix("error: "));
        Some(error.unwrap_or(last).to_owned())
    }
}

/// Returns true if a signal ended a process, directly or by its own exit code.
pub fn was_stopped(status: ExitStatus) -> bool {
    status.signal().is_some() || status.code().is_some_and(|code| code > 128)
}

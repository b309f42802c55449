//! Signals: stopping on Ctrl-C, SIGTERM and SIGHUP, and ignoring SIGXFSZ.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::Context;
pub use signal_hook::consts::SIGTERM;
use signal_hook::consts::{SIGHUP, SIGINT};

use crate::output::is_silenced;

/// Milliseconds within which a repeated signal counts as the same one: `timeout` and service
/// managers signal both the process and its group.
const REPEAT_WINDOW: u64 = 500;
/// The same for the launcher of several processes.
const LAUNCHER_REPEAT_WINDOW: u64 = 5_000;

/// Messages on stderr when signals arrive.
#[derive(Clone, Copy, Debug)]
pub struct Messages {
    /// Printed at the first signal.
    pub first: &'static str,
    /// Printed at the second signal, which ends the process.
    pub second: &'static str,
}

const TRAINING: Messages = Messages {
    first: "\nsaving after this step; Ctrl-C again quits at once\n",
    second: "\nquit without saving; the last checkpoint is unchanged\n",
};

const BEFORE_TRAINING: &str = "\nstopped before training began\n";

/// Writes to stderr from a signal handler.
pub(super) fn write_stderr(message: &str) {
    // SAFETY: pointer and length belong to a string. A failed write does no harm.
    unsafe { libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len()) };
}

/// Removes a file or an empty directory from a signal handler.
fn remove(path: &CString) {
    // SAFETY: the path is a C string. A failed removal does no harm.
    unsafe {
        if libc::unlink(path.as_ptr()) != 0 {
            libc::rmdir(path.as_ptr());
        }
    }
}

/// Turns a write beyond the file size limit into an error, like a full disk, instead of SIGXFSZ.
pub(super) fn ignore_file_size_limit() {
    // SAFETY: no handler is installed that could run.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Returns true if the process ignores a signal, as `nohup` arranges for SIGHUP.
fn is_ignored(signal: i32) -> bool {
    // SAFETY: an all-zero sigaction is valid, and the call only writes to it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Records the first signal that asks to stop; the training loop polls it between steps. A second
/// signal ends the process, and so does the first one until [`Interrupt::defer`].
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    /// True if the first signal is only recorded; false if it ends the process.
    deferred: Arc<AtomicBool>,
    /// A launcher of several processes sends signals, too.
    has_launcher: Arc<AtomicBool>,
    /// Paths to remove if a signal ends the process at once.
    temporary: Arc<OnceLock<Vec<CString>>>,
    /// Number of the first signal, and in the bits above it its arrival time in milliseconds. 0
    /// before that.
    received: Arc<AtomicU64>,
}

const SIGNAL_BITS: u32 = 8;

impl Interrupt {
    /// Starts to listen, with the messages of a training run. Until [`Interrupt::defer`], a signal ends
    /// the process.
    ///
    /// # Errors
    /// Returns an error if the system refuses a signal handler.
    pub fn listen() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        interrupt.register(TRAINING)?;
        Ok(interrupt)
    }

    /// Starts to listen, with messages of the caller. The first signal is only recorded.
    ///
    /// # Errors
    /// Returns an error if the system refuses a signal handler.
    pub fn listen_with(messages: Messages) -> anyhow::Result<Self> {
        let interrupt = Self::default();
        interrupt.defer();
        interrupt.register(messages)?;
        Ok(interrupt)
    }

    /// Takes signals for repetitions of the first one for some seconds: the launcher of several processes passes
    /// on Ctrl-C to processes that the terminal has signaled, too.
    pub fn expect_launcher(&self) {
        self.has_launcher.store(true, Ordering::Relaxed);
    }

    /// From now on, the first signal is only recorded.
    pub fn defer(&self) {
        self.deferred.store(true, Ordering::Relaxed);
    }

    /// Sets the files and directories that are removed, in this order, if a signal ends the process before
    /// [`Interrupt::defer`]. A directory is removed only if it is empty. Only the first call has an effect.
    pub fn remove_on_exit(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let paths = paths.into_iter().map(|path| CString::new(path.as_os_str().as_bytes()));
        let _ = self.temporary.set(paths.filter_map(Result::ok).collect());
    }

    /// Removes what [`Interrupt::remove_on_exit`] names.
    pub fn remove_temporary(&self) {
        self.temporary.get().into_iter().flatten().for_each(remove);
    }

    fn register(&self, messages: Messages) -> anyhow::Result<()> {
        let started = Instant::now();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            let interrupt = self.clone();
            let action = move || {
                let Self { deferred, received, has_launcher, .. } = &interrupt;
                let window = match has_launcher.load(Ordering::Relaxed) {
                    true => LAUNCHER_REPEAT_WINDOW,
                    false => REPEAT_WINDOW,
                };
                let write = |text| {
                    if !is_silenced() {
                        write_stderr(text);
                    }
                };
                if !deferred.load(Ordering::Relaxed) {
                    interrupt.remove_temporary();
                    write(BEFORE_TRAINING);
                    signal_hook::low_level::exit(128 + signal);
                }
                let now = started.elapsed().as_millis() as u64;
                let new = now << SIGNAL_BITS | signal as u64;
                match received.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => write(messages.first),
                    Err(first) if now - (first >> SIGNAL_BITS).min(now) < window => {}
                    Err(_) => {
                        write(messages.second);
                        signal_hook::low_level::exit(128 + signal);
                    }
                }
            };
            // SAFETY: the action changes atomics, reads the monotonic clock, removes files, writes to a
            // file descriptor and ends the process. A signal handler may do all of these.
            unsafe { signal_hook::low_level::register(signal, action) }
                .context("cannot install a signal handler")?;
        }
        Ok(())
    }

    /// Returns the signal that asked to stop, if any.
    pub fn signal(&self) -> Option<i32> {
        match self.received.load(Ordering::Relaxed) {
            0 => None,
            received => Some((received & ((1 << SIGNAL_BITS) - 1)) as i32),
        }
    }
}

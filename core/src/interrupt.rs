//! Ctrl-C, SIGTERM and a closed terminal as a question the training loop asks between two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::process::ignores;

const FIRST: &str = "\nfinishing this step, then saving; once more ends at once, without saving\n";
const SECOND: &str = "\nended without saving; the last checkpoint is as it was\n";

/// Writes to stderr, in a signal handler.
fn tell(message: &str) {
    // SAFETY: the pointer and the length are those of a string. That nobody may read it does no
    // harm.
    unsafe { libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len()) };
}

/// Remembers the first signal; a second one ends the process at once.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Starts listening.
    ///
    /// # Errors
    /// Where the system refuses a signal handler.
    pub fn listen() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // As `nohup` has it.
            if signal == SIGHUP && ignores(signal) {
                continue;
            }
            let received = interrupt.signal.clone();
            let action = move || {
                if received.swap(signal as usize, Ordering::Relaxed) == 0 {
                    tell(FIRST);
                } else {
                    tell(SECOND);
                    signal_hook::low_level::exit(128 + signal);
                }
            };
            // SAFETY: the action changes an atomic, writes to a file descriptor and ends the process,
            // all of which is allowed in a signal handler.
            unsafe { signal_hook::low_level::register(signal, action) }
                .context("cannot listen to signals")?;
        }
        Ok(interrupt)
    }

    /// The signal that asked to stop, where one did.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as i32),
        }
    }
}

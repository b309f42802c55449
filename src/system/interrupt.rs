//! Ctrl-C, SIGTERM and a closed terminal as a question the training loop asks between two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::system::process::ignores;

/// A signal that comes twice within so many milliseconds was sent once: to the process and to its
/// group, as `timeout` and service managers do.
const SAME_SIGNAL: u64 = 500;

/// What is said on stderr when signals come.
#[derive(Clone, Copy, Debug)]
pub struct Messages {
    /// To the first.
    pub first: &'static str,
    /// To the second, which ends the process.
    pub second: &'static str,
}

/// For training.
const TRAINING: Messages = Messages {
    first: "\nfinishing this step, then saving; once more ends at once, without saving\n",
    second: "\nended without saving; the last checkpoint is as it was\n",
};

/// Writes to stderr, in a signal handler.
fn tell(message: &str) {
    // SAFETY: the pointer and the length are those of a string. That nobody may read it does no
    // harm.
    unsafe { libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len()) };
}

/// Remembers the first signal; a second one ends the process at once.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    /// The number of the first signal, and above its bits the milliseconds after which it came; 0
    /// until then.
    received: Arc<AtomicU64>,
}

const SIGNAL_BITS: u32 = 8;

impl Interrupt {
    /// Starts listening, for a training.
    ///
    /// # Errors
    /// Where the system refuses a signal handler.
    pub fn listen() -> anyhow::Result<Self> {
        Self::listen_saying(TRAINING)
    }

    /// Starts listening; says so when signals come.
    ///
    /// # Errors
    /// Where the system refuses a signal handler.
    pub fn listen_saying(messages: Messages) -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let begun = Instant::now();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // As `nohup` has it.
            if signal == SIGHUP && ignores(signal) {
                continue;
            }
            let received = interrupt.received.clone();
            let action = move || {
                let now = begun.elapsed().as_millis() as u64;
                let new = now << SIGNAL_BITS | signal as u64;
                match received.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => tell(messages.first),
                    Err(first) if now - (first >> SIGNAL_BITS).min(now) < SAME_SIGNAL => {}
                    Err(_) => {
                        tell(messages.second);
                        signal_hook::low_level::exit(128 + signal);
                    }
                }
            };
            // SAFETY: the action changes an atomic, reads the monotonic clock, writes to a file
            // descriptor and ends the process, all of which is allowed in a signal handler.
            unsafe { signal_hook::low_level::register(signal, action) }
                .context("cannot listen to signals")?;
        }
        Ok(interrupt)
    }

    /// The signal that asked to stop, where one did.
    pub fn signal(&self) -> Option<i32> {
        match self.received.load(Ordering::Relaxed) {
            0 => None,
            received => Some((received & ((1 << SIGNAL_BITS) - 1)) as i32),
        }
    }
}

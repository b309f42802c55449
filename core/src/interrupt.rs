//! Ctrl-C, SIGTERM and a closed terminal as a question the training loop asks between two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::process::ignores;

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
        let twice = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // As `nohup` has it.
            if signal == SIGHUP && ignores(signal) {
                continue;
            }
            // The order matters: the first signal finds the flag unset and sets it.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, twice.clone())
                .and_then(|_| signal_hook::flag::register(signal, twice.clone()))
                .and_then(|_| {
                    signal_hook::flag::register_usize(
                        signal,
                        interrupt.signal.clone(),
                        signal as usize,
                    )
                })
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

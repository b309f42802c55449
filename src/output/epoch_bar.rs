//! The progress of a training on stderr: a bar for the steps of an epoch, with the time left.

use std::time::{Duration, Instant};

use super::format::format_duration;
use super::progress::{PLAIN_PROGRESS_INTERVAL, ProgressBar};
use super::stderr::{message, note};

/// The steps of the current epoch: a bar on a terminal, or else a line now and then.
pub struct EpochBar {
    bar: ProgressBar,
    epochs: usize,
    epoch: usize,
    /// Start of the epoch in this session.
    start: Instant,
    /// Steps of this epoch that an earlier session has done.
    resumed_at: u64,
    plain_last: Instant,
}

impl EpochBar {
    /// Creates a bar for a training of at most this number of epochs.
    pub fn new(epochs: usize) -> Self {
        let now = Instant::now();
        let bar = ProgressBar::new("{prefix} {wide_bar:.cyan/dim} {msg}", 8);
        Self { bar, epochs, epoch: 0, start: now, resumed_at: 0, plain_last: now }
    }

    /// Starts an epoch, counted from 1, of which `done` of `steps` steps are done.
    pub fn start_epoch(&mut self, epoch: usize, steps: usize, done: usize) {
        self.bar.reset();
        self.bar.set_length(steps as u64);
        self.bar.set_position(done as u64);
        self.epoch = epoch;
        self.bar.set_prefix(&self.prefix());
        self.resumed_at = done as u64;
        self.start = Instant::now();
    }

    fn prefix(&self) -> String {
        format!("epoch {}/{}", self.epoch, self.epochs)
    }

    /// Shows that another step is done. `describe` returns throughput and loss; its argument is the number of seconds
    /// since the epoch started or was resumed.
    pub fn step(&mut self, describe: impl FnOnce(f64) -> String) {
        self.bar.inc(1);
        let is_due = self.plain_last.elapsed() >= PLAIN_PROGRESS_INTERVAL;
        if self.bar.is_hidden() && !is_due {
            return;
        }
        let seconds = self.start.elapsed().as_secs_f64().max(1e-9);
        let left = format_duration(self.time_left(seconds));
        let rates = format!("{}  ETA {left}", describe(seconds));
        if self.bar.is_hidden() {
            self.plain_last = Instant::now();
            let (done, all) = (self.bar.position(), self.bar.length());
            message(format!("{} step {done}/{all} {rates}", self.prefix()));
        } else {
            self.bar.set_message(&rates);
        }
    }

    /// Time left if all epochs are trained.
    fn time_left(&self, seconds: f64) -> Duration {
        let (position, length) = (self.bar.position(), self.bar.length());
        let done = position.saturating_sub(self.resumed_at).max(1) as f64;
        let epochs_left = self.epochs.saturating_sub(self.epoch) as u64;
        let left = length.saturating_sub(position) + epochs_left * length;
        Duration::try_from_secs_f64(seconds / done * left as f64).unwrap_or_default()
    }

    /// Returns true if lines replace the bar, because stderr is not a terminal.
    pub fn is_hidden(&self) -> bool {
        self.bar.is_hidden()
    }

    /// Prints a line above the bar.
    pub fn print(&self, line: &str) {
        self.bar.suspend(|| message(line));
    }

    /// Prints a note above the bar.
    pub fn note(&self, text: &str) {
        self.bar.suspend(|| note(text));
    }

    /// Removes the bar.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_counts_the_steps_of_this_session_and_the_epochs_that_follow() {
        let mut bar = EpochBar::new(3);
        bar.start_epoch(2, 100, 40);
        for _ in 0..10 {
            bar.step(|_| String::new());
        }
        // 10 steps took 5 seconds; 50 are left of this epoch, and 100 of the last.
        assert_eq!(bar.time_left(5.0), Duration::from_secs(75));
    }
}

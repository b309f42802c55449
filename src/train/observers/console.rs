//! What the program tells the person who watches it, all of it on stderr.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::format::{format_duration, group_digits};
use crate::output::{PLAIN_PROGRESS_INTERVAL, message};
use crate::run::directory::Record;
use crate::run::progress::{Finished, Progress};

/// Shows the progress of training.
pub struct Console {
    bar: ProgressBar,
    epochs: usize,
    /// The epochs after the one under way.
    epochs_left: usize,
    epoch_start: Instant,
    /// Steps of this epoch that an earlier session has done.
    resumed_at: u64,
    plain_last: Instant,
    examples: usize,
    tokens: usize,
    loss_sum: f64,
    table_begun: bool,
}

impl Console {
    /// A console for a run of so many epochs.
    pub fn new(epochs: usize) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        let style = ProgressStyle::with_template("{prefix} {wide_bar:.cyan/dim} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        let now = Instant::now();
        Self {
            bar,
            epochs,
            epochs_left: 0,
            epoch_start: now,
            resumed_at: 0,
            plain_last: now,
            examples: 0,
            tokens: 0,
            loss_sum: 0.0,
            table_begun: false,
        }
    }

    /// An epoch of `steps` steps begins, `done` of them done by an earlier session.
    pub fn epoch_begins(&mut self, epoch: usize, steps: usize, done: usize) {
        self.bar.reset();
        self.bar.set_length(steps as u64);
        self.bar.set_position(done as u64);
        self.bar.set_prefix(format!("epoch {epoch}/{}", self.epochs));
        self.epochs_left = self.epochs.saturating_sub(epoch);
        self.resumed_at = done as u64;
        self.epoch_start = Instant::now();
        (self.examples, self.tokens, self.loss_sum) = (0, 0, 0.0);
    }

    /// A step is done.
    pub fn step(&mut self, loss: f64, examples: usize, tokens: usize) {
        self.examples += examples;
        self.tokens += tokens;
        self.loss_sum += loss * examples as f64;
        self.bar.inc(1);
        if !self.bar.is_hidden() {
            self.bar.set_message(self.rates());
        } else if self.plain_last.elapsed() >= PLAIN_PROGRESS_INTERVAL {
            self.plain_last = Instant::now();
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
            message(format!("{} step {done}/{all} {}", self.bar.prefix(), self.rates()));
        }
    }

    /// Speed and loss of the epoch so far, and the time that is left if every epoch is trained.
    fn rates(&self) -> String {
        let seconds = self.epoch_start.elapsed().as_secs_f64().max(1e-9);
        format!(
            "{} examples/s  {} tokens/s  loss {:.4}  ETA {}",
            group_digits((self.examples as f64 / seconds) as usize),
            group_digits((self.tokens as f64 / seconds) as usize),
            self.loss_sum / self.examples.max(1) as f64,
            format_duration(self.time_left(seconds)),
        )
    }

    fn time_left(&self, seconds: f64) -> Duration {
        let (position, length) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let done = position.saturating_sub(self.resumed_at).max(1) as f64;
        let left = length.saturating_sub(position) + self.epochs_left as u64 * length;
        Duration::try_from_secs_f64(seconds / done * left as f64).unwrap_or_default()
    }

    /// A validation is done, `seconds` of training after the last one.
    pub fn validated(&mut self, record: &Record, seconds: f64, new_best: bool) {
        if !std::mem::replace(&mut self.table_begun, true) {
            self.print("           train               validation");
            self.print(
                "epoch      loss    accuracy    loss    accuracy    seconds    learning rate",
            );
        }
        self.print(&format!(
            "{:<9}  {:.4}  {:6.2} %    {:.4}  {:6.2} %    {:7.1}    {:13.6}{}",
            format!("{}/{}", record.epoch, self.epochs),
            record.train.loss,
            100.0 * record.train.accuracy,
            record.validation.loss,
            100.0 * record.validation.accuracy,
            seconds,
            record.learning_rate,
            if new_best { "  *" } else { "" },
        ));
    }

    /// Training is over; says why.
    pub fn finished(&self, reason: Finished, progress: &Progress) {
        self.bar.finish_and_clear();
        let best = progress.best.map_or(0, |best| best.epoch);
        match reason {
            Finished::Epochs => {
                let epochs = match self.epochs {
                    1 => "the one epoch is".to_owned(),
                    many => format!("all {many} epochs are"),
                };
                self.print(&format!("stopped: {epochs} trained; best was epoch {best}"));
            }
            Finished::EarlyStopping => {
                let validations = match progress.waited {
                    1 => "1 validation".to_owned(),
                    many => format!("{many} validations"),
                };
                self.print(&format!(
                    "stopped: no new best in {validations}; best was epoch {best}"
                ));
            }
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints a line above the bar.
    pub fn print(&self, line: &str) {
        self.bar.suspend(|| message(line));
    }
}

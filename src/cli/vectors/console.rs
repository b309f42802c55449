//! Progress on stderr: a bar on a terminal, or else a line now and then.

use std::time::{Duration, Instant};

use crate::output::format::{format_duration, group_digits};
use crate::output::{PLAIN_PROGRESS_INTERVAL, ProgressBar, message};
use crate::pretrain::VectorProgress;

/// Shows the progress of learning.
pub struct Console {
    bar: ProgressBar,
    epochs: usize,
    started: Instant,
    plain_last: Instant,
}

impl Console {
    /// Creates a console for this number of epochs.
    pub fn new(epochs: usize) -> Self {
        let bar = ProgressBar::new("{prefix} {wide_bar:.cyan/dim} {msg}", 8);
        let now = Instant::now();
        Self { bar, epochs, started: now, plain_last: now }
    }

    /// Shows the progress.
    pub fn report(&mut self, progress: VectorProgress) {
        let prefix = format!("epoch {}/{}", progress.epoch, self.epochs);
        let rates = rates(&progress, self.started.elapsed());
        if !self.bar.is_hidden() {
            self.bar.set_length(progress.total);
            self.bar.set_position(progress.tokens);
            self.bar.set_prefix(&prefix);
            self.bar.set_message(&rates);
        } else if self.plain_last.elapsed() >= PLAIN_PROGRESS_INTERVAL {
            self.plain_last = Instant::now();
            message(format!("{prefix} {rates}"));
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Formats the part that is done, throughput, loss and the time left.
fn rates(progress: &VectorProgress, elapsed: Duration) -> String {
    let (done, total) = (progress.tokens.max(1) as f64, progress.total as f64);
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let left = Duration::try_from_secs_f64(seconds / done * (total - done)).unwrap_or_default();
    let loss = match progress.loss.is_nan() {
        true => String::new(),
        false => format!("loss {:.4}  ", progress.loss),
    };
    format!(
        "{:.0} %  {} tokens/s  {loss}ETA {}",
        (100.0 * done / total).floor(),
        group_digits((progress.tokens as f64 / seconds) as usize),
        format_duration(left),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_throughput() {
        let progress = VectorProgress { epoch: 1, tokens: 250_000, total: 1_000_000, loss: 2.5 };
        let shown = rates(&progress, Duration::from_secs(10));
        assert_eq!(shown, "25 %  25,000 tokens/s  loss 2.5000  ETA 0:30");
        let begun = VectorProgress { tokens: 0, loss: f64::NAN, ..progress };
        assert!(rates(&begun, Duration::ZERO).starts_with("0 %  0 tokens/s  ETA "));
    }
}

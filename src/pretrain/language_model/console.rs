//! Progress on stderr: on a terminal a bar and a table of the validations, else lines of a log.

use std::time::{Duration, Instant};

use super::observer::{Observer, StepMetrics};
use crate::output::format::{format_duration, group_digits};
use crate::output::{PLAIN_PROGRESS_INTERVAL, ProgressBar, message};
use crate::run::language_model::{LanguageModelRecord, LanguageModelSummary};

const HEADING: &str =
    "epoch         step         tokens    training loss          perplexity    seconds";

/// Shows the progress of the training of a language model.
pub struct Console {
    bar: ProgressBar,
    epoch: usize,
    epochs: usize,
    start: Instant,
    plain_last: Instant,
    resumed_at: u64,
    tokens: usize,
    loss: f64,
    header_printed: bool,
}

impl Console {
    /// Creates a console for a run with this number of epochs.
    pub fn new(epochs: usize) -> Self {
        let now = Instant::now();
        Self {
            bar: ProgressBar::new("{prefix} {wide_bar:.cyan/dim} {msg}", 8),
            epoch: 0,
            epochs,
            start: now,
            plain_last: now,
            resumed_at: 0,
            tokens: 0,
            loss: f64::NAN,
            header_printed: false,
        }
    }

    fn prefix(&self) -> String {
        format!("epoch {}/{}", self.epoch, self.epochs)
    }

    fn rates(&self) -> String {
        let seconds = self.start.elapsed().as_secs_f64().max(1e-9);
        format!(
            "{} tokens/s  loss {:.4}  ETA {}",
            group_digits((self.tokens as f64 / seconds) as usize),
            self.loss,
            format_duration(self.time_left(seconds)),
        )
    }

    fn time_left(&self, seconds: f64) -> Duration {
        let (position, length) = (self.bar.position(), self.bar.length());
        let done = position.saturating_sub(self.resumed_at).max(1) as f64;
        let epochs_left = self.epochs.saturating_sub(self.epoch) as u64;
        let left = length.saturating_sub(position) + epochs_left * length;
        Duration::try_from_secs_f64(seconds / done * left as f64).unwrap_or_default()
    }

    /// Prints a line above the bar.
    fn print(&self, line: &str) {
        self.bar.suspend(|| message(line));
    }
}

/// Formats the perplexity of each direction.
fn shown(record: &LanguageModelRecord) -> String {
    match &record.perplexity {
        Some(perplexity) => {
            let each: Vec<String> =
                perplexity.0.iter().map(|perplexity| format!("{perplexity:.1}")).collect();
            each.join(" / ")
        }
        None => "–".to_owned(),
    }
}

impl Observer for Console {
    fn epoch_started(&mut self, epoch: usize, steps: usize, done: usize) {
        self.bar.reset();
        self.bar.set_length(steps as u64);
        self.bar.set_position(done as u64);
        self.epoch = epoch;
        self.bar.set_prefix(&self.prefix());
        self.resumed_at = done as u64;
        self.start = Instant::now();
        self.tokens = 0;
    }

    fn step_measured(&mut self, metrics: &StepMetrics) -> anyhow::Result<()> {
        self.tokens += metrics.tokens;
        // A moving average: that of a single step is noisy.
        self.loss = match self.loss.is_nan() {
            true => metrics.loss,
            false => 0.98 * self.loss + 0.02 * metrics.loss,
        };
        self.bar.inc(1);
        if !self.bar.is_hidden() {
            self.bar.set_message(&self.rates());
        } else if self.plain_last.elapsed() >= PLAIN_PROGRESS_INTERVAL {
            self.plain_last = Instant::now();
            let (done, all) = (self.bar.position(), self.bar.length());
            message(format!("{} step {done}/{all} {}", self.prefix(), self.rates()));
        }
        Ok(())
    }

    fn validated(
        &mut self,
        record: &LanguageModelRecord,
        seconds: f64,
        is_best: bool,
    ) -> anyhow::Result<()> {
        let LanguageModelRecord { epoch, step, tokens, train_loss, .. } = record;
        let perplexity = shown(record);
        let epoch = format!("{epoch}/{}", self.epochs);
        let tokens = group_digits(*tokens as usize);
        if self.bar.is_hidden() {
            let best = if is_best { "; best so far" } else { "" };
            message(format!(
                "epoch {epoch}, step {step}, {tokens} tokens: training loss {train_loss:.4}; perplexity {perplexity}; \
                 {seconds:.1} s{best}"
            ));
            return Ok(());
        }
        if !std::mem::replace(&mut self.header_printed, true) {
            self.print(HEADING);
        }
        let mark = if is_best { "  *" } else { "" };
        self.print(&format!(
            "{epoch:<9}{step:>9}{tokens:>15}{train_loss:>17.4}{perplexity:>20}{seconds:>11.1}{mark}"
        ));
        Ok(())
    }

    fn finished(&mut self, _: &LanguageModelSummary, _: u64) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        Ok(())
    }

    fn interrupted(&mut self) {
        self.bar.finish_and_clear();
    }

    fn failed(&mut self, _: u64) {
        self.bar.finish_and_clear();
    }
}

//! Progress on stderr: on a terminal a bar and a table of the validations, else lines of a log.

use super::observer::{Observer, StepMetrics};
use crate::output::format::group_digits;
use crate::output::{EpochBar, message};
use crate::run::language_model::{LanguageModelRecord, LanguageModelSummary};

const HEADING: &str =
    "epoch         step         tokens    training loss          perplexity    seconds";

/// Shows the progress of the training of a language model.
pub struct Console {
    bar: EpochBar,
    epochs: usize,
    tokens: usize,
    loss: f64,
    header_printed: bool,
}

impl Console {
    /// Creates a console for a run with this number of epochs.
    pub fn new(epochs: usize) -> Self {
        let bar = EpochBar::new(epochs);
        Self { bar, epochs, tokens: 0, loss: f64::NAN, header_printed: false }
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
        self.bar.start_epoch(epoch, steps, done);
        self.tokens = 0;
    }

    fn step_measured(&mut self, metrics: &StepMetrics) -> anyhow::Result<()> {
        self.tokens += metrics.tokens;
        // A moving average: that of a single step is noisy.
        self.loss = match self.loss.is_nan() {
            true => metrics.loss,
            false => 0.98 * self.loss + 0.02 * metrics.loss,
        };
        let Self { bar, tokens, loss, .. } = self;
        bar.step(|seconds| {
            let rate = group_digits((*tokens as f64 / seconds) as usize);
            format!("{rate} tokens/s  loss {loss:.4}")
        });
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
            self.bar.print(HEADING);
        }
        let mark = if is_best { "  *" } else { "" };
        self.bar.print(&format!(
            "{epoch:<9}{step:>9}{tokens:>15}{train_loss:>17.4}{perplexity:>20}{seconds:>11.1}{mark}"
        ));
        Ok(())
    }

    fn finished(&mut self, _: &LanguageModelSummary) -> anyhow::Result<()> {
        self.bar.clear();
        Ok(())
    }

    fn interrupted(&mut self) {
        self.bar.clear();
    }

    fn failed(&mut self) {
        self.bar.clear();
    }
}

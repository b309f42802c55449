//! Progress on stderr: on a terminal a bar and a table of the validations, else lines of a log.

use super::observer::{EpochStart, Observer, StepMetrics, Validation};
use crate::backend::Learner;
use crate::config::{Metric, TrainConfig};
use crate::model::branch_scales::BranchScales;
use crate::objective::AddedLosses;
use crate::objective::metrics::Score;
use crate::output::format::{group_digits, pluralize};
use crate::output::{EpochBar, message, message_width};
use crate::run::progress::{Progress, StopReason};

/// The lines above the table of the validations, in cells.
const GROUPS: [&str; 5] =
    ["         ", "  train           ", "    validation      ", "           ", "                 "];
const HEADINGS: [&str; 5] =
    ["epoch    ", "  loss    accuracy", "    loss    accuracy", "    seconds", "    learning rate"];

/// Name of a model that is validated before the first epoch.
const FROZEN: &str = "frozen";

/// Index of the cell with the training score.
const TRAINING: usize = 1;
/// Index of the cell with the validation score.
const VALIDATION: usize = 2;

/// Shows the progress of training.
pub struct Console {
    bar: EpochBar,
    epochs: usize,
    /// Metric that determines the best validation.
    metric: Metric,
    /// Losses that have a column of their own, without their values.
    added: AddedLosses,
    examples: usize,
    tokens: usize,
    loss_sum: f64,
    header_printed: bool,
}

impl Console {
    /// Creates a console for a run with these settings.
    pub fn new(config: &TrainConfig) -> Self {
        Self {
            bar: EpochBar::new(config.epochs),
            epochs: config.epochs,
            metric: config.early_stopping.metric.clone(),
            added: AddedLosses::of(config, [0.0; AddedLosses::COUNT]),
            examples: 0,
            tokens: 0,
            loss_sum: 0.0,
            header_printed: false,
        }
    }

    /// Formats a validation as a line of a log.
    fn log_line(&self, validation: &Validation) -> String {
        let record = &validation.record;
        let score = |score: Score| {
            format!("loss {:.4}, accuracy {:.2} %", score.loss, 100.0 * score.accuracy)
        };
        format!(
            "{}: training {}; validation {}{}; {:.1} s; learning rate {:.6}{}",
            match record.epoch {
                0 => FROZEN.to_owned(),
                epoch => format!("epoch {epoch}/{}", self.epochs),
            },
            score(record.train) + &shown_losses(&record.added),
            score(record.validation) + &self.shown_metric(record.validation),
            record.branch_scales.map_or(String::new(), shown_scales),
            validation.train_seconds,
            record.learning_rate,
            if validation.is_best { "; best so far" } else { "" },
        )
    }

    /// Prints a validation as a row of the table.
    fn print_row(&mut self, validation: &Validation) {
        let width = message_width();
        if !std::mem::replace(&mut self.header_printed, true) {
            self.headings().iter().for_each(|cells| self.bar.print(&table_line(cells, width)));
        }
        let record = &validation.record;
        let score = |score: Score| format!("{:.4}  {:6.2} %", score.loss, 100.0 * score.accuracy);
        let cells = [
            match record.epoch {
                0 => format!("{FROZEN:<9}"),
                epoch => format!("{:<9}", format!("{epoch}/{}", self.epochs)),
            },
            format!("  {}{}", score(record.train), added_cells(&record.added)),
            format!("    {}{}", score(record.validation), self.metric_cell(record.validation)),
            format!("    {:7.1}", validation.train_seconds),
            format!("    {:13.6}", record.learning_rate),
        ];
        let mark = if validation.is_best { "  *" } else { "" };
        self.bar.print(&(table_line(&cells, width) + mark));
    }

    /// Returns the cells of the lines above the table, with a column for each added loss, and one for the
    /// metric of the run unless it is the loss or the accuracy.
    fn headings(&self) -> [[String; 5]; 2] {
        let mut lines = [GROUPS, HEADINGS].map(|line| line.map(str::to_owned));
        for (name, _) in self.added.terms() {
            let width = added_width(name);
            lines[0][TRAINING] += &" ".repeat(width);
            lines[1][TRAINING] += &format!("{:>width$}", added_heading(name));
        }
        if self.metric.is_additional() {
            let width = self.metric_width();
            lines[0][VALIDATION] += &" ".repeat(width);
            lines[1][VALIDATION] += &format!("{:>width$}", self.metric.heading());
        }
        lines
    }

    /// Width of the column of the metric.
    fn metric_width(&self) -> usize {
        "    ".len() + self.metric.heading().chars().count().max("0.0000".len())
    }

    /// Formats the metric as an end of the cell of a validation.
    fn metric_cell(&self, score: Score) -> String {
        let width = self.metric_width();
        match score.metric {
            _ if !self.metric.is_additional() => String::new(),
            Some(value) => format!("{value:width$.4}"),
            None => format!("{:>width$}", "–"),
        }
    }

    /// Formats the metric as the end of a line of a log.
    fn shown_metric(&self, score: Score) -> String {
        match score.metric {
            Some(value) => format!(", {} {value:.4}", self.metric.heading()),
            None => String::new(),
        }
    }
}

impl Observer for Console {
    fn noted(&mut self, text: &str) {
        self.bar.note(text);
    }

    fn epoch_started(&mut self, EpochStart { epoch, steps, done }: EpochStart) {
        self.bar.start_epoch(epoch, steps, done);
        (self.examples, self.tokens, self.loss_sum) = (0, 0, 0.0);
    }

    fn step_measured(&mut self, metrics: &StepMetrics) -> anyhow::Result<()> {
        self.examples += metrics.examples;
        self.tokens += metrics.tokens;
        self.loss_sum += metrics.loss * metrics.examples as f64;
        let Self { bar, examples, tokens, loss_sum, .. } = self;
        bar.step(|seconds| {
            format!(
                "{} examples/s  {} tokens/s  loss {:.4}",
                group_digits((*examples as f64 / seconds) as usize),
                group_digits((*tokens as f64 / seconds) as usize),
                *loss_sum / (*examples).max(1) as f64,
            )
        });
        Ok(())
    }

    fn validated(&mut self, validation: &Validation) -> anyhow::Result<()> {
        match self.bar.is_hidden() {
            true => message(self.log_line(validation)),
            false => self.print_row(validation),
        }
        Ok(())
    }

    fn stopped(&mut self, reason: StopReason, progress: &Progress) {
        self.bar.clear();
        let best = progress.best.map_or(0, |best| best.epoch);
        let reason = match reason {
            StopReason::Epochs => format!("trained {}", pluralize(progress.epoch, "epoch")),
            StopReason::EarlyStopping => {
                format!("no improvement in {}", pluralize(progress.waited, "validation"))
            }
        };
        let metric = self.metric.title();
        let best = if best == 0 { "the frozen model".to_owned() } else { format!("epoch {best}") };
        match progress.step {
            0 => message("only the output layers were fitted"),
            _ => message(format!("stopped: {reason}; best was {best} by validation {metric}")),
        }
    }

    fn interrupted(&mut self, _: u64, _: &dyn Learner) -> anyhow::Result<()> {
        self.bar.clear();
        Ok(())
    }

    fn failed(&mut self, _: u64) {
        self.bar.clear();
    }
}

/// Returns the scales of the branches as a part of a line; nothing if both are 1.
fn shown_scales(scales: BranchScales) -> String {
    let shown = |scale: f64| match scale < 1.0 {
        true => format!("1/{}", scale.recip()),
        false => scale.to_string(),
    };
    match scales == BranchScales::default() {
        true => String::new(),
        false => format!(", LSTM × {}, n-grams × {}", shown(scales.lstm), shown(scales.ngrams)),
    }
}

/// Returns the heading of the column of an added loss.
fn added_heading(name: &str) -> String {
    name.trim_end_matches("_loss").replace('_', " ")
}

/// Width of the column of an added loss.
fn added_width(name: &str) -> usize {
    "    ".len() + added_heading(name).len().max("0.0000".len())
}

/// Formats added losses as the end of the cell of a training score.
fn added_cells(added: &AddedLosses) -> String {
    let cell = |(name, value)| format!("{value:width$.4}", width = added_width(name));
    added.terms().map(cell).collect()
}

/// Formats added losses as the end of a part of a line of a log.
fn shown_losses(added: &AddedLosses) -> String {
    added.terms().map(|(name, value)| format!(", {} {value:.4}", name.replace('_', " "))).collect()
}

/// Joins the cells of a line of the table. In a narrow terminal, the last two and those of the training score
/// are left out.
fn table_line(cells: &[String; 5], width: usize) -> String {
    let mut shown: Vec<&str> = cells.iter().map(String::as_str).collect();
    for optional in [4, 3, 1] {
        if shown.concat().chars().count() + "  *".len() > width {
            shown.remove(optional);
        }
    }
    shown.concat().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn lines_of_the_table_fit_narrow_terminals() {
        let line = |width| table_line(&HEADINGS.map(str::to_owned), width);
        let whole = "epoch      loss    accuracy    loss    accuracy    seconds    learning rate";
        assert_eq!(line(80), whole);
        assert_eq!(line(60), "epoch      loss    accuracy    loss    accuracy");
        assert_eq!(line(40), "epoch        loss    accuracy");
    }

    #[test]
    fn another_metric_than_loss_and_accuracy_has_a_column() {
        let yaml = "data: {train: x}\ntrain: {early_stopping: {metric: macro_f1}}\n";
        let config = config::parse(yaml, "test", &[]).unwrap().config.train;
        let console = Console::new(&config);
        let [groups, headings] = console.headings();
        assert_eq!(headings[VALIDATION], "    loss    accuracy    macro F1");
        let score = Score { metric: Some(0.25), ..Score::new(0.5, 0.5) };
        assert_eq!(console.metric_cell(score), "      0.2500");
        assert_eq!(groups[VALIDATION].len(), headings[VALIDATION].len());
        assert_eq!(console.shown_metric(score), ", macro F1 0.2500");
    }

    #[test]
    fn added_losses_have_columns() {
        let yaml = "data: {train: x}\ntrain: {adversarial: {epsilon: 1}, entropy_weight: 0.5}\n";
        let config = config::parse(yaml, "test", &[]).unwrap().config.train;
        let [groups, headings] = Console::new(&config).headings();
        assert_eq!(headings[TRAINING], "  loss    accuracy    adversarial    entropy");
        assert_eq!(groups[TRAINING].len(), headings[TRAINING].len());
        let added = AddedLosses::of(&config, [0.25, 7.0, 0.125, 9.0]);
        assert_eq!(added_cells(&added), "         0.2500     0.1250");
        assert_eq!(shown_losses(&added), ", adversarial loss 0.2500, entropy 0.1250");
    }
}

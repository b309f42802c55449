//! Progress of a search on stderr: a line for each result, and a line with what is going on.

use std::time::Duration;

use crate::config::Metric;
use crate::objective::metrics::Score;
use crate::output::format::{format_duration, pluralize};
use crate::output::{ProgressBar, message};
use crate::tune::{RungResult, Rungs, Trial, Trials};

/// Progress of a search.
pub struct Console {
    bar: ProgressBar,
    metric: Metric,
    rungs: Rungs,
    budget: Option<Duration>,
    has_header: bool,
}

impl Console {
    /// Creates the display of a search.
    pub fn new(metric: Metric, rungs: Rungs, budget: Option<Duration>) -> Self {
        let bar = ProgressBar::new("{wide_msg}", 4);
        Self { bar, metric, rungs, budget, has_header: false }
    }

    /// Formats a score by the metric.
    fn score(&self, score: Score) -> String {
        match (&self.metric, score.metric) {
            (Metric::Loss, _) => format!("{:.4}", score.loss),
            (Metric::Accuracy, _) | (_, None) => format!("{:.2} %", 100.0 * score.accuracy),
            (_, Some(value)) => format!("{value:.4}"),
        }
    }

    fn print(&mut self, line: &str) {
        if !std::mem::replace(&mut self.has_header, true) {
            let header = format!(
                "{:>7}  {:>6}  {:>7}  {:>10}  {:>10}  best so far",
                "time",
                "trial",
                "epochs",
                self.metric.heading(),
                "seconds"
            );
            self.bar.suspend(|| message(&header));
        }
        self.bar.suspend(|| message(line));
    }

    /// Prints what a trial has reached.
    pub fn reached(&mut self, trial: usize, reached: &RungResult, trials: &Trials) {
        let (last, score) = (self.rungs.epochs(self.rungs.last()), self.score(reached.score));
        let best = trials.ranked(&self.metric).first().map(|best| self.describe_best(best));
        let epochs = format!("{}/{last}", reached.epochs);
        let time = format_duration(Duration::from_secs_f64(trials.elapsed));
        let line = format!(
            "{time:>7}  {trial:>6}  {epochs:>7}  {score:>10}  {:>10.1}  {}",
            reached.seconds,
            best.unwrap_or_default()
        );
        self.print(&line);
    }

    /// Prints that a trial has failed, or violates a limit.
    pub fn excluded(&mut self, trial: usize, reason: &str, elapsed: Duration) {
        let time = format_duration(elapsed);
        self.print(&format!("{time:>7}  {trial:>6}  {reason}"));
    }

    fn describe_best(&self, best: &Trial) -> String {
        let score = best.result().map(|result| self.score(result.score)).unwrap_or_default();
        format!("{score} (trial {})", best.number)
    }

    /// Shows what is going on. `running` has the trials in progress with the epochs up to which they train.
    pub fn show(&self, elapsed: Duration, trials: &Trials, running: &[(usize, usize)]) {
        let of_budget =
            self.budget.map_or(String::new(), |budget| format!(" of {}", format_duration(budget)));
        let promoted = trials.all.iter().filter(|trial| trial.rung > 0).count();
        let is_stopped = |trial: &&Trial| trial.rung == 0 && !trial.is_pending();
        let stopped = trials.all.iter().filter(is_stopped).count();
        let best = trials.ranked(&self.metric).first().map(|best| self.describe_best(best));
        let running: Vec<String> =
            running.iter().map(|(trial, epochs)| format!("{trial} to epoch {epochs}")).collect();
        let doing = match running.is_empty() {
            true => "waiting for other processes".to_owned(),
            false => format!("training {}", running.join(", ")),
        };
        self.bar.set_message(&format!(
            "{}{of_budget}  {}, {promoted} promoted, {stopped} stopped{}  {doing}",
            format_duration(elapsed),
            pluralize(trials.all.len(), "trial"),
            best.map_or(String::new(), |best| format!("  best {best}")),
        ));
    }

    /// Removes the line with what is going on.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

//! Named runs, and what the list and the diff both show of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::config::{Config, Difference, Metric, Resolved, differences};
use crate::data::Fingerprint;
use crate::objective::metrics::Score;
use crate::output::format::format_duration;
use crate::output::score_table::ScoreFormat;
use crate::run::progress::Best;
use crate::run::report::{RunReport, RunState};
use crate::run::summary::{CheckpointKind, ScoredWeights};

/// A run and its name in the list.
pub struct NamedRun {
    pub name: String,
    pub report: RunReport,
}

impl NamedRun {
    /// Formats the epoch that the scores belong to and the number of epochs so far: "3 of 5" for the
    /// best one, "last of 5" with `restore_best: false`. Unfinished runs also show their maximum, as in
    /// "3 of 5/10".
    pub fn epochs(&self) -> String {
        let RunReport { scored, epoch, state, .. } = &self.report;
        let scored = match scored.map(|scored| scored.weights) {
            Some(ScoredWeights { checkpoint: CheckpointKind::Best, epoch }) => epoch.to_string(),
            Some(ScoredWeights { checkpoint: CheckpointKind::Last, .. }) => "last".to_owned(),
            None => "–".to_owned(),
        };
        match self.report.epochs() {
            Some(all) if *state != RunState::Finished => format!("{scored} of {epoch}/{all}"),
            _ => format!("{scored} of {epoch}"),
        }
    }

    /// Validation score by which the run is ranked.
    pub fn validation(&self) -> Option<Score> {
        self.report.scored.map(|scored| scored.validation)
    }

    /// Returns the validation score if it has a value of this metric.
    pub fn score_by(&self, metric: &Metric) -> Option<Score> {
        let has_value =
            !metric.is_additional() || self.report.config().map(Config::metric) == Some(metric);
        self.validation().filter(|_| has_value)
    }

    /// Formats the training time.
    pub fn time(&self) -> String {
        format_seconds(self.report.seconds)
    }
}

/// Formats a number of seconds.
fn format_seconds(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if seconds >= 60.0 => format_duration(duration),
        _ => format!("{seconds:.1} s"),
    }
}

/// Formats the accuracy.
pub fn percent(score: Score) -> String {
    format!("{:.2} %", 100.0 * score.accuracy)
}

/// Formats the loss.
pub fn loss(score: Score) -> String {
    match score.loss {
        loss if loss < 1e4 => format!("{loss:.4}"),
        loss => format!("{loss:.1e}"),
    }
}

/// Formats the metric of the run; empty if it is undefined.
pub fn metric_value(score: Score) -> String {
    score.metric.map_or(String::new(), |value| format!("{value:.4}"))
}

/// Returns the columns of the scores of a split: loss, accuracy, and `metric` if it is another.
pub fn score_columns(split: &str, metric: &Metric) -> Vec<(String, ScoreFormat)> {
    let mut columns = vec![
        (format!("{split} loss"), ScoreFormat::Number(4)),
        (format!("{split} accuracy"), ScoreFormat::Percent),
    ];
    if metric.is_additional() {
        columns.push((format!("{split} {}", metric.title()), ScoreFormat::Number(4)));
    }
    columns
}

/// Returns the fields whose values differ between the runs. Runs with an unreadable configuration
/// have no values. `name` is left out if the directories are named after it.
pub fn differing_fields(runs: &[NamedRun]) -> Vec<Difference> {
    let configs: Vec<&Resolved> =
        runs.iter().filter_map(|run| run.report.resolved.as_ref()).collect();
    let mut differing = differences(&configs);
    let is_named_after_config = |run: &NamedRun| {
        let directory = run.report.directory.path().file_name().map(|name| name.to_string_lossy());
        let config = run.report.resolved.as_ref().map(|resolved| &resolved.config);
        let name = config.and_then(|config| config.name.as_deref());
        name.is_none_or(|name| directory.is_some_and(|directory| directory.starts_with(name)))
    };
    if runs.iter().all(is_named_after_config) {
        differing.retain(|difference| difference.path != ["name"]);
    }
    // Insert the missing values of runs with an unreadable configuration.
    for difference in &mut differing {
        let mut values = std::mem::take(&mut difference.values).into_iter();
        let value = |run: &NamedRun| run.report.resolved.as_ref().and(values.next()).flatten();
        difference.values = runs.iter().map(value).collect();
    }
    differing
}

/// A run in JSON.
#[derive(Serialize)]
pub struct Entry<'a> {
    name: &'a str,
    path: PathBuf,
    state: RunState,
    /// Start in seconds since 1970.
    begun: Option<u64>,
    best_epoch: Option<usize>,
    /// Metric that determines the best epoch.
    metric: Option<&'a Metric>,
    /// Weights that the scores belong to.
    scored: Option<ScoredWeights>,
    validation: Option<Score>,
    /// Fingerprint of the validation examples. Scores with different ones are not comparable.
    validation_data: Option<Fingerprint>,
    test: Option<Score>,
    /// Fingerprint of the test examples.
    test_data: Option<Fingerprint>,
    /// Epoch of the last validation or checkpoint, from 1; 0 before the first.
    epoch: usize,
    /// Maximum number of epochs.
    epochs: Option<usize>,
    /// Training time.
    seconds: f64,
    tokens_per_second: Option<f64>,
    parameters: Option<usize>,
    /// Fields of the configuration that differ between the runs.
    differs: BTreeMap<String, serde_yaml::Value>,
    error: Option<&'a str>,
    warnings: &'a [String],
    faults: &'a [String],
}

/// Converts runs to JSON entries.
pub fn entries<'a>(runs: &'a [NamedRun], differing: &[Difference]) -> Vec<Entry<'a>> {
    let entry = |(index, NamedRun { name, report }): (usize, &'a NamedRun)| {
        let differs = differing
            .iter()
            .filter_map(|difference| Some((difference.field(), difference.values[index].clone()?)));
        Entry {
            name,
            path: report.directory.path().to_owned(),
            state: report.state,
            begun: report.started,
            metric: report.config().map(Config::metric),
            best_epoch: report.best.map(|Best { epoch, .. }| epoch),
            scored: report.scored.map(|scored| scored.weights),
            validation: report.scored.map(|scored| scored.validation),
            validation_data: report.validation_data,
            test: report.test,
            test_data: report.test_data,
            epoch: report.epoch,
            epochs: report.epochs(),
            seconds: report.seconds,
            tokens_per_second: report.tokens_per_second,
            parameters: report.parameters,
            differs: differs.collect(),
            error: report.error.as_deref(),
            warnings: &report.warnings,
            faults: &report.faults,
        }
    };
    runs.iter().enumerate().map(entry).collect()
}

//! The leaderboard of a search.

use serde::Serialize;
use serde_json::{Map, Value};

use super::directory::{TuneDirectory, trial_name};
use super::importance::{Importance, importance};
use super::journal::RungResult;
use super::trials::{Trial, Trials};
use crate::config::Metric;
use crate::output::score_table::{ScoreCell, ScoreFormat, ScoreTable};
use crate::output::table::Align;

/// The trials of a search, the best first.
#[derive(Clone, Debug, Serialize)]
pub struct Leaderboard {
    /// The metric that ranks the rows.
    pub metric: Metric,
    /// Seconds of the search.
    pub seconds: f64,
    /// One row for each trial.
    pub rows: Vec<Row>,
    /// Importance of each field that varies, the largest first.
    pub importance: Vec<Importance>,
}

/// A trial.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Rank, from 1; `None` without a score, or if a limit is violated.
    pub rank: Option<usize>,
    /// Number of the trial.
    pub trial: usize,
    /// Name of its run.
    pub run: String,
    /// Its latest result.
    #[serde(flatten)]
    pub result: Option<RungResult>,
    /// Seconds of its training.
    pub total_seconds: f64,
    /// The limit that it violates, or the error of its training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded: Option<String>,
    /// Its checkpoints have been removed.
    pub is_removed: bool,
    /// The fields that vary, with their values; empty for the settings of the configuration.
    pub settings: Map<String, Value>,
}

impl Leaderboard {
    /// Ranks the trials of a search.
    pub fn of(directory: &TuneDirectory, trials: &Trials) -> Self {
        let metric = directory.metric().clone();
        let ranked = trials.ranked(&metric);
        let is_ranked = |trial: &&Trial| !ranked.iter().any(|other| other.number == trial.number);
        let others: Vec<&Trial> = trials.all.iter().filter(is_ranked).collect();
        let row = |(index, trial): (usize, &&Trial)| Row {
            rank: (index < ranked.len()).then_some(index + 1),
            trial: trial.number,
            run: trial_name(trial.number),
            result: trial.results.last().copied(),
            total_seconds: trial.results.iter().map(|result| result.seconds).sum::<f64>()
                + trial.stopped_seconds,
            excluded: trial.violation.clone().or_else(|| trial.failure.clone()),
            is_removed: trial.is_removed,
            settings: trial.settings.clone(),
        };
        let rows = ranked.iter().chain(&others).enumerate().map(row).collect();
        let importance = importance(&directory.space, trials, &metric);
        Self { metric, seconds: trials.elapsed, rows, importance }
    }

    /// The best trial.
    pub fn best(&self) -> Option<&Row> {
        self.rows.first().filter(|row| row.rank.is_some())
    }

    /// Returns the ranked trials, at most `count`, as a table of scores.
    pub fn score_table(&self, count: usize) -> ScoreTable {
        let text = |side| ScoreFormat::Text(side);
        let mut columns = vec![
            ("rank".to_owned(), text(Align::Right)),
            ("trial".to_owned(), text(Align::Right)),
            ("loss".to_owned(), ScoreFormat::Number(4)),
            ("accuracy".to_owned(), ScoreFormat::Percent),
        ];
        if self.metric.is_additional() {
            columns.push((self.metric.heading(), ScoreFormat::Number(4)));
        }
        let has_latency =
            self.rows.iter().any(|row| row.result.is_some_and(|result| result.latency.is_some()));
        let latency = has_latency.then_some("ms/text");
        for name in ["epochs", "best epoch", "MB"].into_iter().chain(latency).chain(["seconds"]) {
            columns.push((name.to_owned(), text(Align::Right)));
        }
        let mut table = ScoreTable::new(columns);
        for row in self.rows.iter().filter(|row| row.rank.is_some()).take(count) {
            let (Some(rank), Some(result)) = (row.rank, row.result) else { continue };
            let cell = |text: String| ScoreCell::Text(text);
            let score = |value: f64| ScoreCell::Score(value, None);
            let mut cells = vec![
                cell(rank.to_string()),
                cell(row.trial.to_string()),
                score(result.score.loss),
                score(result.score.accuracy),
            ];
            if self.metric.is_additional() {
                cells.push(result.score.metric.map_or(ScoreCell::Empty, score));
            }
            cells.push(cell(result.epochs.to_string()));
            cells.push(cell(result.best_epoch.to_string()));
            cells.push(cell(format!("{:.1}", result.bytes as f64 / 1e6)));
            if has_latency {
                let latency = result.latency.map(|seconds| format!("{:.2}", 1e3 * seconds));
                cells.push(cell(latency.unwrap_or_default()));
            }
            cells.push(cell(format!("{:.1}", row.total_seconds)));
            table.add(cells);
        }
        table
    }
}

//! Ranks the runs of a sweep by validation metric. Test scores are left out: do not select models on
//! test data.

use serde::Serialize;
use serde_json::{Map, Value};

use super::directory::{RunState, SweepDirectory, SweepRun, base_value};
use super::finished::{FinishedRun, MeanAndDeviation, Scores, TestScores, ValidationData};
use super::names::unquoted;
use crate::config::{Metric, Override, Resolved};
use crate::output::score_table::{ScoreCell, ScoreFormat, ScoreTable};
use crate::output::table::{Align, Table};
use crate::output::width::wrap;
use crate::run::comparison::ranking_metric;
use crate::run::summary::{CheckpointKind, RunSummary};

/// The points of a sweep, best first.
#[derive(Clone, Debug, Serialize)]
pub struct Leaderboard {
    /// The metric that ranks the rows.
    pub metric: Metric,
    /// One row for all runs that differ only in the seed.
    pub rows: Vec<Row>,
    /// The fields that vary, except the seed.
    #[serde(skip)]
    columns: Vec<Column>,
}

/// A field that varies.
#[derive(Clone, Debug)]
struct Column {
    field: String,
    label: String,
    side: Align,
}

/// Indentation of settings below a row.
const INDENT: &str = "      ";

/// The runs that differ only in the seed.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Rank among the rows with the same validation examples, starting at 1; `None` if no run has
    /// finished.
    pub rank: Option<usize>,
    /// The fields that vary, except the seed, with their values.
    pub settings: Map<String, Value>,
    /// Number of runs, finished or not.
    pub runs: usize,
    /// Validation examples of the finished runs.
    #[serde(skip)]
    pub validation_data: ValidationData,
    /// Scores over the finished runs.
    #[serde(flatten)]
    pub scores: Option<Scores>,
    /// Scores of the finished runs on the test examples, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<TestScores>,
    /// The finished runs, by index.
    pub finished: Vec<FinishedRun>,
    /// The values of the settings in the printed table.
    #[serde(skip)]
    shown: Vec<String>,
}

impl Leaderboard {
    /// Ranks the runs that have finished.
    pub fn of(directory: &SweepDirectory) -> Self {
        let outcome = |run: &SweepRun| match run.state() {
            RunState::Finished(outcome) => Some(*outcome),
            _ => None,
        };
        Self::with(directory, &directory.runs.iter().map(outcome).collect::<Vec<_>>())
    }

    /// Ranks runs by their outcomes, which are in the order of the runs.
    fn with(directory: &SweepDirectory, outcomes: &[Option<RunSummary>]) -> Self {
        let configs: Vec<Resolved> =
            directory.runs.iter().filter_map(|run| directory.resolve(run).ok()).collect();
        let metric = ranking_metric(configs.iter().map(|resolved| &resolved.config));
        let columns = columns(directory);
        let mut rows: Vec<Row> = Vec::new();
        // Runs that differ only in the seed are adjacent.
        let same_row = |a: &SweepRun, b: &SweepRun| a.point.settings == b.point.settings;
        for runs in directory.runs.chunk_by(same_row) {
            rows.push(row(directory, runs, outcomes, &columns));
        }
        let score = |row: &Row| row.scores.map(|scores| scores.mean());
        let name = |row: &Row| row.finished.first().map(|run| run.run.clone());
        rows.sort_by(|a, b| match (score(a), score(b)) {
            (Some(x), Some(y)) => x.rank(y, &metric).then_with(|| name(a).cmp(&name(b))),
            (x, y) => y.is_some().cmp(&x.is_some()),
        });
        // Rows with the same validation examples become neighbors, those of the best row first.
        let groups: Vec<ValidationData> =
            rows.iter().map(|row| row.validation_data.clone()).collect();
        rows.sort_by_key(|row| {
            let position = groups.iter().position(|group| *group == row.validation_data);
            (row.scores.is_none(), position)
        });
        for group in rows.chunk_by_mut(|a, b| a.validation_data == b.validation_data) {
            for (index, row) in group.iter_mut().enumerate() {
                row.rank = row.scores.map(|_| index + 1);
            }
        }
        Self { metric, rows, columns }
    }

    /// Number of sets of validation examples of the finished runs. Their scores are not comparable.
    pub fn validation_sets(&self) -> usize {
        let ranked: Vec<&Row> = self.rows.iter().filter(|row| row.rank.is_some()).collect();
        ranked.chunk_by(|a, b| a.validation_data == b.validation_data).count()
    }

    /// Iterates over the finished runs of all rows.
    fn finished(&self) -> impl Iterator<Item = &FinishedRun> + Clone {
        self.rows.iter().flat_map(|row| &row.finished)
    }

    /// Number of runs that have not finished.
    pub fn unfinished(&self) -> usize {
        self.rows.iter().map(|row| row.runs - row.finished.len()).sum()
    }

    /// Returns true if all finished runs record their validation examples.
    pub fn is_recorded(&self) -> bool {
        self.finished().all(|run| run.validation_data.is_some())
    }

    /// Returns the minimum and maximum number of validation examples of a run, if they differ.
    pub fn validation_examples(&self) -> Option<(usize, usize)> {
        let counts = self.finished().map(|run| run.validation_examples).filter(|count| *count > 0);
        let (min, max) = (counts.clone().min()?, counts.max()?);
        (min < max).then_some((min, max))
    }

    /// Returns the number of finished runs whose scores are those of their last weights, and the number of
    /// all finished runs.
    pub fn scored_by_last(&self) -> (usize, usize) {
        let last = |run: &&FinishedRun| run.scored.checkpoint == CheckpointKind::Last;
        (self.finished().filter(last).count(), self.finished().count())
    }

    /// Names of the runs with warnings.
    pub fn warned(&self) -> Vec<String> {
        let warned = self.finished().filter(|run| !run.warnings.is_empty());
        warned.map(|run| run.run.clone()).collect()
    }

    /// Returns the notes on the data of all runs, each once, with the number of runs unless it is all of them.
    pub fn notes(&self) -> Vec<String> {
        let mut runs: Vec<&FinishedRun> = self.finished().collect();
        runs.sort_by_key(|run| run.index);
        let mut counts: Vec<(&String, usize)> = Vec::new();
        for note in runs.iter().flat_map(|run| &run.notes) {
            match counts.iter_mut().find(|(known, _)| *known == note) {
                Some((_, count)) => *count += 1,
                None => counts.push((note, 1)),
            }
        }
        let shown = |(note, count): (&String, usize)| match count < runs.len() {
            true => format!("{note} ({count} of {} runs)", runs.len()),
            false => note.clone(),
        };
        counts.into_iter().map(shown).collect()
    }

    /// Returns true if any row has more than one finished run.
    pub fn has_deviations(&self) -> bool {
        self.rows.iter().any(|row| row.finished.len() > 1)
    }

    /// Returns the best row; `None` if the rows are not comparable.
    pub fn best_row(&self) -> Option<&Row> {
        let is_comparable = self.validation_sets() == 1;
        self.rows.first().filter(|row| is_comparable && row.rank.is_some())
    }

    /// Returns the metric that ranks the rows, if it is neither loss nor accuracy.
    fn additional_metric(&self) -> Option<&Metric> {
        Some(&self.metric).filter(|metric| metric.is_additional())
    }

    /// Returns true if the best row has test scores.
    pub fn has_test(&self) -> bool {
        self.rows.iter().any(|row| row.test.is_some())
    }

    /// Sets the test scores of the best row.
    pub fn set_test(&mut self, scores: TestScores) {
        if let Some(row) = self.rows.first_mut() {
            row.test = Some(scores);
        }
    }

    /// Returns the rows for other programs and papers.
    pub fn score_table(&self) -> ScoreTable {
        let has_test = self.has_test();
        let column = |name: &str, format| (name.to_owned(), format);
        let right = ScoreFormat::Text(Align::Right);
        let fields = self
            .columns
            .iter()
            .map(|column| (column.label.clone(), ScoreFormat::Text(column.side)));
        let mut columns = vec![column("rank", right)];
        columns.extend(fields);
        let metric = self.additional_metric().map(Metric::title);
        for prefix in ["", "test "].into_iter().take(1 + usize::from(has_test)) {
            columns.push(column(&format!("{prefix}loss"), ScoreFormat::Number(4)));
            columns.push(column(&format!("{prefix}accuracy"), ScoreFormat::Percent));
            let metric = metric.iter();
            columns.extend(
                metric.map(|title| column(&format!("{prefix}{title}"), ScoreFormat::Number(4))),
            );
        }
        columns.extend([
            column("epoch", ScoreFormat::Number(1)),
            column("seconds", ScoreFormat::Number(1)),
            column("runs", right),
        ]);
        let mut table = ScoreTable::new(columns);
        for row in &self.rows {
            let text = |text: String| ScoreCell::Text(text);
            let rank = row.rank.map_or(ScoreCell::Empty, |rank| text(rank.to_string()));
            let mut cells = vec![rank];
            cells.extend(row.shown.iter().cloned().map(text));
            let cell = |value: Option<MeanAndDeviation>| {
                value.map_or(ScoreCell::Empty, |value| value.cell())
            };
            let (scores, test) = (row.scores, row.test);
            cells.push(cell(scores.map(|scores| scores.loss)));
            cells.push(cell(scores.map(|scores| scores.accuracy)));
            cells.extend(metric.iter().map(|_| cell(scores.and_then(|scores| scores.metric))));
            if has_test {
                cells.push(cell(test.map(|test| test.loss)));
                cells.push(cell(test.map(|test| test.accuracy)));
                cells.extend(metric.iter().map(|_| cell(test.and_then(|test| test.metric))));
            }
            let number = |value: f64| ScoreCell::Score(value, None);
            let effort = row.scores.map(|scores| [number(scores.epoch), number(scores.seconds)]);
            cells.extend(effort.unwrap_or([ScoreCell::Empty, ScoreCell::Empty]));
            cells.push(text(row.finished.len().to_string()));
            table.add(cells);
        }
        table
    }

    /// Returns the best run of the best row; `None` if the runs are not comparable.
    pub fn winner(&self) -> Option<&FinishedRun> {
        if self.validation_sets() > 1 {
            return None;
        }
        let best = self.rows.first()?;
        if let ValidationData::PerSeed(_) = best.validation_data {
            return None;
        }
        best.finished.iter().min_by(|a, b| {
            a.validation.rank(b.validation, &self.metric).then_with(|| a.run.cmp(&b.run))
        })
    }
}

/// Returns the fields that vary, except the seed, in the order of the points.
fn columns(directory: &SweepDirectory) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for set in directory.runs.iter().flat_map(|run| &run.point.settings) {
        let field = set.field();
        let side = if set.value().is_number() { Align::Right } else { Align::Left };
        match columns.iter_mut().find(|column| column.field == field) {
            Some(column) if side == Align::Left => column.side = Align::Left,
            Some(_) => {}
            None => columns.push(Column { label: directory.labels.of(&field), field, side }),
        }
    }
    columns
}

/// Creates the row of runs that differ only in the seed.
fn row(
    directory: &SweepDirectory,
    runs: &[SweepRun],
    outcomes: &[Option<RunSummary>],
    columns: &[Column],
) -> Row {
    let base = &directory.sweep.base;
    let settings = runs.first().map_or(&[][..], |run| &run.point.settings);
    let value = |column: &Column| {
        let set = settings.iter().find(|set| set.field() == column.field).map(Override::value);
        set.or_else(|| base_value(base, &column.field))
    };
    let finished = runs.iter().filter_map(|run| {
        let outcome = outcomes[run.index].as_ref()?;
        let seed = run.point.seed.as_ref().map(Override::value);
        Some(FinishedRun {
            index: run.index,
            run: run.name.clone(),
            seed: seed.map_or_else(|| base.config.train.seed.into(), json),
            scored: outcome.scored(),
            validation: outcome.validation,
            validation_examples: outcome.validation_examples,
            validation_data: outcome.validation_data,
            best_epoch: outcome.best_epoch,
            seconds: outcome.seconds,
            warnings: outcome.warnings.clone(),
            notes: outcome.notes.clone(),
        })
    });
    let finished: Vec<FinishedRun> = finished.collect();
    let setting = |column: &Column| Some((column.field.clone(), json(value(column)?)));
    Row {
        rank: None,
        settings: columns.iter().filter_map(setting).collect(),
        runs: runs.len(),
        validation_data: ValidationData::of(&finished),
        scores: Scores::of(&finished),
        test: None,
        finished,
        shown: columns.iter().map(|column| value(column).map_or("–".into(), unquoted)).collect(),
    }
}

fn json(value: &serde_yaml::Value) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

impl Leaderboard {
    /// Formats the rows as a table. The settings are columns if the table fits in `width`
    /// characters; otherwise they are printed below each row.
    pub fn table(&self, width: usize) -> String {
        let full = self.table_with(&self.columns);
        let is_full = full.width() <= width;
        let table = match is_full {
            true => full,
            false => self.table_with(&[]).without_columns_beyond(width),
        };
        let mut lines = Vec::new();
        let mut rows = table.lines().into_iter();
        lines.extend(rows.next());
        let has_headings = self.validation_sets() > 1;
        for (row, line) in self.rows.iter().zip(rows) {
            if has_headings && row.rank == Some(1) {
                lines.push(format!("{}:", row.validation_data.heading()));
            }
            lines.push(line);
            if is_full {
                continue;
            }
            let settings = self.columns.iter().zip(&row.shown);
            let settings: Vec<String> =
                settings.map(|(column, value)| format!("{}={value}", column.label)).collect();
            let below = wrap(&settings.join(" "), width.saturating_sub(INDENT.len()));
            lines.extend(below.iter().map(|line| format!("{INDENT}{line}")));
        }
        lines.join("\n")
    }

    /// Creates a table in which `columns`, the first of the fields that vary, are columns.
    fn table_with(&self, columns: &[Column]) -> Table {
        let title = |title: &str| (title.to_owned(), Align::Right);
        let fields = columns.iter().map(|column| (column.label.clone(), column.side));
        let has_test = self.has_test();
        let metric = self.additional_metric().map(Metric::heading);
        let titles = |prefix: &str| -> Vec<(String, Align)> {
            let titles = ["loss", "accuracy"].into_iter().chain(metric.as_deref());
            titles.map(|name| title(&format!("{prefix}{name}"))).collect()
        };
        let scores = titles("");
        let test = titles("test ").into_iter().filter(|_| has_test);
        let effort = ["epoch", "seconds", "runs"].map(title);
        let headings = [title("rank")].into_iter().chain(fields).chain(scores);
        let mut table = Table::new(headings.chain(test).chain(effort));
        for row in &self.rows {
            let none = || "–".to_owned();
            let score =
                |format: fn(&Scores) -> String| row.scores.as_ref().map_or_else(none, format);
            let runs = match row.finished.len() {
                finished if finished == row.runs => finished.to_string(),
                finished => format!("{finished} of {}", row.runs),
            };
            let rank = row.rank.map_or_else(none, |rank| rank.to_string());
            let of_metric = |value: Option<MeanAndDeviation>| {
                let shown = value.map_or_else(none, |value| value.format(4, 1.0));
                metric.iter().map(move |_| shown.clone())
            };
            let scores = [
                score(|scores| scores.loss.format(4, 1.0)),
                score(|scores| format!("{} %", scores.accuracy.format(2, 100.0))),
            ];
            let scores =
                scores.into_iter().chain(of_metric(row.scores.and_then(|scores| scores.metric)));
            let effort = [
                score(|scores| format!("{:.1}", scores.epoch)),
                score(|scores| format!("{:.1}", scores.seconds)),
                runs,
            ];
            let test =
                |format: fn(&TestScores) -> String| row.test.as_ref().map_or_else(none, format);
            let test = [
                test(|test| test.loss.format(4, 1.0)),
                test(|test| format!("{} %", test.accuracy.format(2, 100.0))),
            ];
            let test = test.into_iter().chain(of_metric(row.test.and_then(|test| test.metric)));
            let test = test.filter(|_| has_test);
            let fields = row.shown.iter().take(columns.len()).cloned();
            let cells = [rank].into_iter().chain(fields).chain(scores).chain(test).chain(effort);
            table.add(cells.collect());
        }
        table
    }
}

#[cfg(test)]
mod tests;

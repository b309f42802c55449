//! Runs that differ only in the seed, as one row with the mean and standard deviation of their scores.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_yaml::Value;

use super::named_run::{NamedRun, score_columns};
use crate::config::{Difference, Metric};
use crate::objective::metrics::Score;
use crate::output::score_table::{ScoreCell, ScoreFormat, ScoreTable};
use crate::output::table::Align;
use crate::run::comparison::ComparisonGroup;
use crate::run::report::RunState;
use crate::sweep::{MeanAndDeviation, TestScores, unquoted};

/// Runs that differ only in `train.seed`, and have the same validation examples.
#[derive(Serialize)]
pub struct SeedRow {
    /// Names of the finished runs.
    runs: Vec<String>,
    /// Number of other runs, which have not finished.
    unfinished: usize,
    validation: Option<TestScores>,
    /// Test scores, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<TestScores>,
    /// Mean training time.
    seconds: Option<f64>,
    /// Fields of the configuration that differ between the rows.
    differs: BTreeMap<String, Value>,
    #[serde(skip)]
    group: ComparisonGroup,
}

/// Groups runs. The rows are ranked by `metric`, those with the same validation examples together; the best
/// rows are first. With `with_test`, the first row has test scores.
pub fn rows(
    runs: &[NamedRun],
    differing: &[Difference],
    metric: &Metric,
    with_test: bool,
) -> Vec<SeedRow> {
    let settings: Vec<&Difference> = differing.iter().filter(|d| is_setting(d)).collect();
    let key = |run: usize| {
        let group = ComparisonGroup::of(&runs[run].report);
        let values: Vec<_> = settings.iter().map(|difference| &difference.values[run]).collect();
        // A run without a score belongs to those with the same settings.
        (values, runs[run].report.resolved.is_some(), group)
    };
    let mut members: Vec<Vec<usize>> = Vec::new();
    for run in 0..runs.len() {
        let (values, is_readable, group) = key(run);
        let fits = |row: &&mut Vec<usize>| {
            let (others, other_is_readable, other) = key(row[0]);
            let is_comparable =
                other == group || [other, group].contains(&ComparisonGroup::Unscored);
            is_readable && other_is_readable && others == values && is_comparable
        };
        match members.iter_mut().find(fits) {
            Some(row) => row.push(run),
            None => members.push(vec![run]),
        }
    }
    let mut rows: Vec<SeedRow> =
        members.iter().map(|members| row(runs, members, &settings)).collect();
    let mean = |row: &SeedRow| row.validation.map(|scores| scores.mean());
    rows.sort_by(|a, b| match (mean(a), mean(b)) {
        (Some(x), Some(y)) => x.rank(y, metric).then_with(|| a.runs.cmp(&b.runs)),
        (x, y) => y.is_some().cmp(&x.is_some()),
    });
    let groups: Vec<ComparisonGroup> = rows.iter().map(|row| row.group).collect();
    rows.sort_by_key(|row| groups.iter().position(|group| *group == row.group));
    for (index, row) in rows.iter_mut().enumerate() {
        if !with_test || index > 0 {
            row.test = None;
        }
    }
    rows
}

/// Returns true for a field other than the seed and the name of a run.
fn is_setting(difference: &Difference) -> bool {
    !["train.seed", "name"].contains(&difference.field().as_str())
}

fn row(runs: &[NamedRun], members: &[usize], settings: &[&Difference]) -> SeedRow {
    let is_finished =
        |run: &&NamedRun| run.report.state == RunState::Finished && run.validation().is_some();
    let finished: Vec<&NamedRun> =
        members.iter().map(|member| &runs[*member]).filter(is_finished).collect();
    let scores: Vec<Score> = finished.iter().filter_map(|run| run.validation()).collect();
    let test: Option<Vec<Score>> = finished.iter().map(|run| run.report.test).collect();
    let seconds: Vec<f64> = finished.iter().map(|run| run.report.seconds).collect();
    let first = finished.first().map(|run| ComparisonGroup::of(&run.report));
    let has_runs = !finished.is_empty();
    let differs = settings.iter().filter_map(|difference| {
        Some((difference.field(), difference.values[members[0]].clone()?))
    });
    let mut names: Vec<String> = finished.iter().map(|run| run.name.clone()).collect();
    names.sort();
    SeedRow {
        unfinished: members.len() - finished.len(),
        runs: names,
        validation: has_runs.then(|| TestScores::of(&scores)),
        test: test.filter(|_| has_runs).map(|scores| TestScores::of(&scores)),
        seconds: has_runs.then(|| MeanAndDeviation::of(&seconds).mean),
        differs: differs.collect(),
        group: first.unwrap_or(ComparisonGroup::Unscored),
    }
}

impl SeedRow {
    /// Returns true if all its runs have test scores, and these were asked for.
    pub fn has_test(&self) -> bool {
        self.test.is_some()
    }

    /// Name of the first run.
    pub fn first_run(&self) -> Option<&str> {
        self.runs.first().map(String::as_str)
    }
}

/// Returns the rows as a table. `names` has a short name of each field that differs.
/// They have a column for `metric` if it is neither loss nor accuracy.
pub fn score_table(
    rows: &[SeedRow],
    differing: &[Difference],
    names: &[String],
    metric: &Metric,
) -> ScoreTable {
    let has_test = rows.iter().any(SeedRow::has_test);
    let settings = differing.iter().zip(names).filter(|(difference, _)| is_setting(difference));
    let (fields, names): (Vec<String>, Vec<&String>) =
        settings.map(|(difference, name)| (difference.field(), name)).unzip();
    let text = |name: &str, align| (name.to_owned(), ScoreFormat::Text(align));
    let mut columns: Vec<(String, ScoreFormat)> =
        names.into_iter().map(|name| text(name, Align::Left)).collect();
    columns.extend(score_columns("validation", metric));
    columns.push(("seconds".to_owned(), ScoreFormat::Number(1)));
    columns.push(text("runs", Align::Right));
    if has_test {
        columns.extend(score_columns("test", metric));
    }
    let mut table = ScoreTable::new(columns);
    for row in rows {
        let setting = |field: &String| match row.differs.get(field) {
            Some(value) => ScoreCell::Text(unquoted(value)),
            None => ScoreCell::Empty,
        };
        let mut cells: Vec<ScoreCell> = fields.iter().map(setting).collect();
        cells.extend(score_cells(row.validation, metric));
        cells.push(row.seconds.map_or(ScoreCell::Empty, |seconds| ScoreCell::Score(seconds, None)));
        cells.push(ScoreCell::Text(row.runs.len().to_string()));
        if has_test {
            cells.extend(score_cells(row.test, metric));
        }
        table.add(cells);
    }
    table
}

fn score_cells(scores: Option<TestScores>, metric: &Metric) -> Vec<ScoreCell> {
    let cell =
        |value: Option<MeanAndDeviation>| value.map_or(ScoreCell::Empty, |value| value.cell());
    let mut cells =
        vec![cell(scores.map(|scores| scores.loss)), cell(scores.map(|scores| scores.accuracy))];
    if metric.is_additional() {
        cells.push(cell(scores.and_then(|scores| scores.metric)));
    }
    cells
}

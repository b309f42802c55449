//! The runs of a sweep, ranked by their validation scores. Test scores are no part of it: what one
//! chooses by says nothing any more of texts that were not chosen by.

use std::cmp::Ordering;

use serde::Serialize;
use serde_json::{Map, Value};

use super::names::text_of;
use super::{State, SweepDirectory, SweepRun, base_value};
use crate::config::{Override, StoppingMetric};
use crate::objective::metrics::Score;
use crate::output::table::{wrap, Align, Table};
use crate::run::directory::Outcome;

/// What the points of a sweep reached, the best first.
#[derive(Clone, Debug, Serialize)]
pub struct Leaderboard {
    /// What ranks them.
    pub metric: &'static str,
    /// Points that differ only in the seed are one row.
    pub rows: Vec<Row>,
    /// The fields that vary.
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

/// In front of settings that stand below their row.
const INDENT: &str = "      ";

/// Points that differ only in the seed.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// From 1; nothing where no run is finished.
    pub rank: Option<usize>,
    /// The fields that vary, with their values.
    pub settings: Map<String, Value>,
    /// Runs there are to be.
    pub runs: usize,
    /// What all finished runs reached together.
    #[serde(flatten)]
    pub scores: Option<Scores>,
    /// The finished runs, by their index.
    pub finished: Vec<Finished>,
    /// The settings as the table shows them.
    #[serde(skip)]
    shown: Vec<String>,
}

/// The mean over the finished runs of a row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Of the validation loss.
    pub loss: Spread,
    /// Of the validation accuracy.
    pub accuracy: Spread,
    /// Mean number of the best epoch.
    pub best_epoch: f64,
    /// Mean seconds spent training.
    pub seconds: f64,
}

/// A mean, and how far numbers lie around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The arithmetic mean.
    pub mean: f64,
    /// The sample standard deviation, with n − 1 in the denominator; nothing for one number.
    pub standard_deviation: Option<f64>,
}

/// A finished run.
#[derive(Clone, Debug, Serialize)]
pub struct Finished {
    /// Its number in the sweep.
    pub index: usize,
    /// The name of its folder.
    pub run: String,
    /// `train.seed`.
    pub seed: Value,
    /// The score of its best epoch.
    pub validation: Score,
    /// How many examples that is of.
    pub validation_examples: usize,
    /// From 1.
    pub best_epoch: usize,
    /// Spent training.
    pub seconds: f64,
}

impl Spread {
    /// Of at least one number.
    fn of(numbers: &[f64]) -> Self {
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
        let standard_deviation = (numbers.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        Self { mean, standard_deviation }
    }

    /// With so many decimals, as 0.2584 ± 0.0041; both times `factor`.
    fn shown(&self, decimals: usize, factor: f64) -> String {
        let mean = self.mean * factor;
        match self.standard_deviation {
            Some(deviation) => format!("{mean:.decimals$} ± {:.decimals$}", deviation * factor),
            None => format!("{mean:.decimals$}"),
        }
    }
}

impl Scores {
    fn of(finished: &[Finished]) -> Option<Self> {
        if finished.is_empty() {
            return None;
        }
        let spread = |value: fn(&Finished) -> f64| {
            Spread::of(&finished.iter().map(value).collect::<Vec<_>>())
        };
        Some(Self {
            loss: spread(|run| run.validation.loss),
            accuracy: spread(|run| run.validation.accuracy),
            best_epoch: spread(|run| run.best_epoch as f64).mean,
            seconds: spread(|run| run.seconds).mean,
        })
    }

    /// Lower is better.
    fn cost(&self, metric: StoppingMetric) -> f64 {
        cost(metric, self.loss.mean, self.accuracy.mean)
    }
}

fn cost(metric: StoppingMetric, loss: f64, accuracy: f64) -> f64 {
    match metric {
        StoppingMetric::ValidationLoss => loss,
        StoppingMetric::ValidationAccuracy => -accuracy,
    }
}

impl Leaderboard {
    /// Of the runs that are finished now.
    pub fn of(folder: &SweepDirectory) -> Self {
        let outcome = |run: &SweepRun| match run.state() {
            State::Finished(outcome) => Some(outcome),
            _ => None,
        };
        Self::with(folder, &folder.runs.iter().map(outcome).collect::<Vec<_>>())
    }

    /// Of the outcomes of all runs, by their index.
    fn with(folder: &SweepDirectory, outcomes: &[Option<Outcome>]) -> Self {
        let metric = folder.sweep.base.config.train.early_stopping.metric;
        let columns = columns(folder);
        let mut rows: Vec<Row> = Vec::new();
        // Runs that differ only in the seed follow each other.
        let together = |a: &SweepRun, b: &SweepRun| a.point.settings == b.point.settings;
        for runs in folder.runs.chunk_by(together) {
            rows.push(row(folder, runs, outcomes, &columns));
        }
        let cost = |row: &Row| row.scores.map(|scores| scores.cost(metric));
        rows.sort_by(|a, b| match (cost(a), cost(b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        for (index, row) in rows.iter_mut().enumerate() {
            row.rank = row.scores.map(|_| index + 1);
        }
        Self { metric: metric.as_str(), rows, columns }
    }

    /// The runs that are not finished.
    pub fn missing(&self) -> usize {
        self.rows.iter().map(|row| row.runs - row.finished.len()).sum()
    }

    /// The least and the most validation examples that a run has, where these differ.
    pub fn validation_examples(&self) -> Option<(usize, usize)> {
        let finished = self.rows.iter().flat_map(|row| &row.finished);
        let counts = || finished.clone().map(|run| run.validation_examples).filter(|n| *n > 0);
        let (least, most) = (counts().min()?, counts().max()?);
        (least < most).then_some((least, most))
    }

    /// Whether a row has more than one finished run.
    pub fn has_deviations(&self) -> bool {
        self.rows.iter().any(|row| row.finished.len() > 1)
    }

    /// The best run of the best row.
    pub fn winner(&self, metric: StoppingMetric) -> Option<&Finished> {
        let cost = |run: &Finished| cost(metric, run.validation.loss, run.validation.accuracy);
        let better = |a: &&Finished, b: &&Finished| -> Ordering { cost(a).total_cmp(&cost(b)) };
        self.rows.first()?.finished.iter().min_by(better)
    }
}

/// The fields that vary, in the order in which points name them; the seed is none of them.
fn columns(folder: &SweepDirectory) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for set in folder.runs.iter().flat_map(|run| &run.point.settings) {
        let field = set.field();
        let side = if set.value().is_number() { Align::Right } else { Align::Left };
        match columns.iter_mut().find(|column| column.field == field) {
            Some(known) if side == Align::Left => known.side = Align::Left,
            Some(_) => {}
            None => columns.push(Column { label: folder.labels.of(&field), field, side }),
        }
    }
    columns
}

/// The row of runs that differ only in the seed.
fn row(
    folder: &SweepDirectory,
    runs: &[SweepRun],
    outcomes: &[Option<Outcome>],
    columns: &[Column],
) -> Row {
    let base = &folder.sweep.base;
    let settings = runs.first().map_or(&[][..], |run| &run.point.settings);
    let value = |column: &Column| {
        let set = settings.iter().find(|set| set.field() == column.field).map(Override::value);
        set.or_else(|| base_value(base, &column.field))
    };
    let finished = runs.iter().filter_map(|run| {
        let outcome = outcomes[run.index].as_ref()?;
        let seed = run.point.seed.as_ref().map(Override::value);
        Some(Finished {
            index: run.index,
            run: run.name.clone(),
            seed: seed.map_or_else(|| base.config.train.seed.into(), json),
            validation: outcome.validation,
            validation_examples: outcome.validation_examples,
            best_epoch: outcome.best_epoch,
            seconds: outcome.seconds,
        })
    });
    let finished: Vec<Finished> = finished.collect();
    let setting = |column: &Column| Some((column.field.clone(), json(value(column)?)));
    Row {
        rank: None,
        settings: columns.iter().filter_map(setting).collect(),
        runs: runs.len(),
        scores: Scores::of(&finished),
        finished,
        shown: columns.iter().map(|column| value(column).map_or("–".into(), text_of)).collect(),
    }
}

fn json(value: &serde_yaml::Value) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

impl Leaderboard {
    /// The rows as text. The settings have columns of their own where these fit into `width`
    /// letters, otherwise they stand below each row.
    pub fn table(&self, width: usize) -> String {
        let whole = self.columns_of(&self.columns);
        if whole.width() <= width {
            return whole.lines().join("\n");
        }
        let mut lines = Vec::new();
        let mut rows = self.columns_of(&[]).lines().into_iter();
        lines.extend(rows.next());
        for (row, line) in self.rows.iter().zip(rows) {
            lines.push(line);
            let settings = self.columns.iter().zip(&row.shown);
            let settings: Vec<String> =
                settings.map(|(column, value)| format!("{}={value}", column.label)).collect();
            let below = wrap(&settings.join(" "), width.saturating_sub(INDENT.len()));
            lines.extend(below.iter().map(|line| format!("{INDENT}{line}")));
        }
        lines.join("\n")
    }

    /// With columns for these of the fields that vary, the first of all.
    fn columns_of(&self, columns: &[Column]) -> Table {
        let title = |title: &str| (title.to_owned(), Align::Right);
        let fields = columns.iter().map(|column| (column.label.clone(), column.side));
        let scores = ["loss", "accuracy", "epoch", "seconds", "runs"].map(title);
        let mut table = Table::new([title("rank")].into_iter().chain(fields).chain(scores));
        for row in &self.rows {
            let none = || "–".to_owned();
            let score = |show: fn(&Scores) -> String| row.scores.as_ref().map_or_else(none, show);
            let runs = match row.finished.len() {
                all if all == row.runs => all.to_string(),
                some => format!("{some} of {}", row.runs),
            };
            let rank = row.rank.map_or_else(none, |rank| rank.to_string());
            let scores = [
                score(|scores| scores.loss.shown(4, 1.0)),
                score(|scores| format!("{} %", scores.accuracy.shown(2, 100.0))),
                score(|scores| format!("{:.1}", scores.best_epoch)),
                score(|scores| format!("{:.1}", scores.seconds)),
                runs,
            ];
            let fields = row.shown.iter().take(columns.len()).cloned();
            table.add([rank].into_iter().chain(fields).chain(scores).collect());
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Sweep;

    fn folder(section: &str) -> SweepDirectory {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("many.yaml");
        std::fs::write(&file, format!("data: {{train: x.csv}}\n{section}")).unwrap();
        SweepDirectory::new(Sweep::load(&file, &[]).unwrap(), Path::new("nowhere"))
    }

    fn outcome(loss: f64, accuracy: f64) -> Option<Outcome> {
        Some(Outcome {
            parameters: 1,
            best_epoch: 3,
            seconds: 2.0,
            tokens_per_second: 1.0,
            validation: Score { loss, accuracy },
            validation_examples: 50,
            test: None,
        })
    }

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        // Python: statistics.mean([2, 4, 9]), statistics.stdev([2, 4, 9])
        let spread = Spread::of(&[2.0, 4.0, 9.0]);
        assert_eq!(spread.mean, 5.0);
        assert!((spread.standard_deviation.unwrap() - 3.605551275463989).abs() < 1e-12);
        assert_eq!(Spread::of(&[0.5]), Spread { mean: 0.5, standard_deviation: None });
        assert_eq!(Spread::of(&[0.25, 0.25]).shown(2, 100.0), "25.00 ± 0.00");
    }

    const GRID: &str = "sweep: {model.lstm.units: [16, 32, 64], seed: [1, 2]}\n";

    fn six() -> [Option<Outcome>; 6] {
        [outcome(0.5, 0.80), outcome(0.3, 0.90), outcome(0.3, 0.84), outcome(0.4, 0.84), None, None]
    }

    #[test]
    fn seeds_share_a_row_and_the_best_is_first() {
        let folder = folder(GRID);
        let board = Leaderboard::with(&folder, &six());
        assert_eq!(
            board.table(80),
            "\
rank  units             loss        accuracy  epoch  seconds    runs
   1     32  0.3500 ± 0.0707  84.00 ± 0.00 %    3.0      2.0       2
   2     16  0.4000 ± 0.1414  85.00 ± 7.07 %    3.0      2.0       2
   –     64                –               –      –        –  0 of 2"
        );
        assert_eq!(board.missing(), 2);
        assert_eq!(board.winner(StoppingMetric::ValidationLoss).unwrap().run, "units=32-seed=1");
    }

    #[test]
    fn other_numbers_of_examples_are_noticed() {
        let mut outcomes = six();
        let board = |outcomes: &[_]| Leaderboard::with(&folder(GRID), outcomes);
        assert_eq!(board(&outcomes).validation_examples(), None);
        if let Some(outcome) = &mut outcomes[2] {
            outcome.validation_examples = 40;
        }
        assert_eq!(board(&outcomes).validation_examples(), Some((40, 50)));
    }

    #[test]
    fn accuracy_ranks_where_early_stopping_goes_by_it() {
        let metric = "train: {early_stopping: {metric: validation_accuracy}}\n";
        let board = Leaderboard::with(&folder(&format!("{GRID}{metric}")), &six());
        let units: Vec<&Value> =
            board.rows.iter().map(|row| &row.settings["model.lstm.units"]).collect();
        assert_eq!(units, [16, 32, 64]);
        assert_eq!(board.winner(StoppingMetric::ValidationAccuracy).unwrap().index, 1);
    }

    #[test]
    fn what_a_case_leaves_out_is_as_in_the_configuration() {
        let section = "sweep:\n  cases: [{}, {model.lstm.layers: 2, model.lstm.dropout: 0.3}]\n";
        let board = Leaderboard::with(&folder(section), &[outcome(0.5, 0.8), outcome(0.4, 0.8)]);
        assert_eq!(
            board.table(80),
            "\
rank  layers  lstm.dropout    loss  accuracy  epoch  seconds  runs
   1       2           0.3  0.4000   80.00 %    3.0      2.0     1
   2       1           0.0  0.5000   80.00 %    3.0      2.0     1"
        );
    }

    #[test]
    fn settings_that_do_not_fit_stand_below_their_row() {
        let section = "sweep: {model.pooling: [max], train.optimizer: [adam], \
                       train.schedule.name: [linear], train.learning_rate: [0.002]}\n";
        let board = Leaderboard::with(&folder(section), &[outcome(0.5, 0.8)]);
        let columns = |width| board.table(width).lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            columns(100)[0],
            "rank  pooling  optimizer  schedule.name  learning_rate    loss  accuracy  epoch  \
             seconds  runs"
        );
        assert_eq!(
            columns(60),
            [
                "rank    loss  accuracy  epoch  seconds  runs",
                "   1  0.5000   80.00 %    3.0      2.0     1",
                "      pooling=max optimizer=adam schedule.name=linear",
                "      learning_rate=0.002"
            ]
        );
    }

    #[test]
    fn the_json_has_every_run() {
        let json = serde_json::to_value(Leaderboard::with(&folder(GRID), &six())).unwrap();
        assert_eq!(json["metric"], "validation_loss");
        let row = &json["rows"][0];
        assert_eq!((&row["rank"], &row["runs"]), (&1.into(), &2.into()));
        assert_eq!(row["settings"]["model.lstm.units"], 32);
        assert_eq!(row["loss"]["mean"], 0.35);
        assert_eq!(row["finished"][1]["seed"], 2);
        assert_eq!(row["finished"][1]["validation"]["loss"], 0.4);
        assert_eq!(json["rows"][2]["rank"], Value::Null);
    }
}

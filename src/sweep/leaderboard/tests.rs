use std::path::Path;

use super::*;
use crate::config::Sweep;
use crate::objective::metrics::Score;

fn sweep(section: &str) -> SweepDirectory {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("many.yaml");
    std::fs::write(&file, format!("data: {{train: x.csv}}\n{section}")).unwrap();
    SweepDirectory::new(Sweep::load(&file, &[]).unwrap(), Path::new("nowhere"))
}

fn outcome(loss: f64, accuracy: f64) -> Option<RunSummary> {
    Some(RunSummary {
        parameters: 1,
        best_epoch: 3,
        seconds: 2.0,
        tokens_per_second: 1.0,
        validation: Score::new(loss, accuracy),
        ..RunSummary::EXAMPLE
    })
}

#[test]
fn notes_of_several_runs_are_returned_once() {
    let with = |notes: &[&str]| {
        let notes = notes.iter().map(|note| (*note).to_owned()).collect();
        Some(RunSummary { notes, ..outcome(0.5, 0.5).unwrap() })
    };
    let outcomes = [with(&["all", "two"]), with(&["all"]), with(&["two", "all"]), None, None, None];
    let notes = Leaderboard::with(&sweep(GRID), &outcomes).notes();
    assert_eq!(notes, ["all", "two (2 of 3 runs)"]);
}

const GRID: &str = "sweep: {model.lstm.units: [16, 32, 64], seed: [1, 2]}\n";

fn six() -> [Option<RunSummary>; 6] {
    [outcome(0.5, 0.80), outcome(0.3, 0.90), outcome(0.3, 0.84), outcome(0.4, 0.84), None, None]
}

#[test]
fn seeds_share_a_row_and_the_best_row_is_first() {
    let board = Leaderboard::with(&sweep(GRID), &six());
    assert_eq!(
        board.table(80),
        "\
rank  units             loss        accuracy  epoch  seconds    runs
   1     32  0.3500 ± 0.0707  84.00 ± 0.00 %    3.0      2.0       2
   2     16  0.4000 ± 0.1414  85.00 ± 7.07 %    3.0      2.0       2
   –     64                –               –      –        –  0 of 2"
    );
    assert_eq!(board.unfinished(), 2);
    assert_eq!(board.winner().unwrap().run, "units=32-seed=1");
}

#[test]
fn different_numbers_of_validation_examples_are_reported() {
    let mut outcomes = six();
    let board = |outcomes: &[_]| Leaderboard::with(&sweep(GRID), outcomes);
    assert_eq!(board(&outcomes).validation_examples(), None);
    if let Some(outcome) = &mut outcomes[2] {
        outcome.validation_examples = 40;
    }
    assert_eq!(board(&outcomes).validation_examples(), Some((40, 50)));
}

#[test]
fn the_early_stopping_metric_ranks_the_rows() {
    let metric = "train: {early_stopping: {metric: validation_accuracy}}\n";
    let board = Leaderboard::with(&sweep(&format!("{GRID}{metric}")), &six());
    let units: Vec<&Value> =
        board.rows.iter().map(|row| &row.settings["model.lstm.units"]).collect();
    assert_eq!(units, [16, 32, 64]);
    assert_eq!(board.winner().unwrap().index, 1);
}

#[test]
fn another_metric_has_a_column_and_ranks_the_rows() {
    let metric = "train: {early_stopping: {metric: macro_f1}}\n";
    let with = |outcome: Option<RunSummary>, value| {
        let mut outcome = outcome.unwrap();
        outcome.validation.metric = value;
        Some(outcome)
    };
    let section = format!("sweep: {{model.lstm.units: [16, 32, 64]}}\n{metric}");
    let outcomes = [
        with(outcome(0.3, 0.9), Some(0.5)),
        with(outcome(0.5, 0.8), Some(0.75)),
        with(outcome(0.2, 0.9), None),
    ];
    let mut board = Leaderboard::with(&sweep(&section), &outcomes);
    assert_eq!(
        board.table(80),
        "\
rank  units    loss  accuracy  macro F1  epoch  seconds  runs
   1     32  0.5000   80.00 %    0.7500    3.0      2.0     1
   2     16  0.3000   90.00 %    0.5000    3.0      2.0     1
   3     64  0.2000   90.00 %         –    3.0      2.0     1"
    );
    assert_eq!(board.winner().unwrap().index, 1);
    let json = serde_json::to_value(&board).unwrap();
    assert_eq!(json["metric"], "macro_f1");
    assert_eq!(json["rows"][0]["metric"]["mean"], 0.75);
    board.set_test(TestScores::of(&[Score { metric: Some(0.25), ..Score::new(0.5, 0.5) }]));
    let csv = board.score_table().csv().unwrap();
    assert!(
        csv.starts_with("rank,units,loss,accuracy,macro_F1,test_loss,test_accuracy,test_macro_F1"),
        "{csv}"
    );
    assert!(csv.contains("\n1,32,0.5,0.8,0.75,0.5,0.5,0.25,"), "{csv}");
}

#[test]
fn fields_that_a_case_omits_have_the_value_of_the_configuration() {
    let section = "sweep:\n  cases: [{}, {model.lstm.layers: 2, model.lstm.dropout: 0.3}]\n";
    let board = Leaderboard::with(&sweep(section), &[outcome(0.5, 0.8), outcome(0.4, 0.8)]);
    assert_eq!(
        board.table(80),
        "\
rank  layers  lstm.dropout    loss  accuracy  epoch  seconds  runs
   1       2           0.3  0.4000   80.00 %    3.0      2.0     1
   2       1           0.0  0.5000   80.00 %    3.0      2.0     1"
    );
}

#[test]
fn rows_with_the_same_examples_for_each_seed_are_comparable() {
    let mut outcomes = six();
    for (index, outcome) in outcomes.iter_mut().flatten().enumerate() {
        let set = format!("50-{:032x}", index % 2);
        outcome.validation_data = Some(set.parse().unwrap());
    }
    let board = |outcomes: &[_]| Leaderboard::with(&sweep(GRID), outcomes);
    let same = board(&outcomes);
    assert_eq!(same.validation_sets(), 1);
    assert_eq!([same.rows[0].rank, same.rows[1].rank], [Some(1), Some(2)]);
    assert!(same.winner().is_none(), "the runs of a row are not comparable");
    outcomes[0].as_mut().unwrap().validation_data = Some("50-7".parse().unwrap());
    let different = board(&outcomes);
    assert_eq!(different.validation_sets(), 2);
    let text = different.table(80);
    assert_eq!(text.matches("different validation examples for each seed, ").count(), 2);
}

#[test]
fn rows_with_different_metrics_are_ranked_by_loss() {
    let metrics = "sweep: {train.early_stopping.metric: [validation_accuracy, validation_loss]}\n";
    let board = Leaderboard::with(&sweep(metrics), &[outcome(0.5, 0.8), outcome(0.4, 0.7)]);
    assert_eq!(board.metric, Metric::Loss);
    let metric = "sweep: {train.early_stopping.metric: [validation_accuracy]}\n";
    let board = Leaderboard::with(&sweep(metric), &[outcome(0.5, 0.8)]);
    assert_eq!(board.metric, Metric::Accuracy);
}

#[test]
fn settings_that_do_not_fit_are_printed_below_their_row() {
    let section = "sweep: {model.pooling: [max], train.optimizer: [adam], \
                   train.schedule.name: [linear], train.learning_rate: [0.002]}\n";
    let board = Leaderboard::with(&sweep(section), &[outcome(0.5, 0.8)]);
    let lines = |width| board.table(width).lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        lines(100)[0],
        "rank  pooling  optimizer  schedule.name  learning_rate    loss  accuracy  epoch  \
         seconds  runs"
    );
    assert_eq!(
        lines(60),
        [
            "rank    loss  accuracy  epoch  seconds  runs",
            "   1  0.5000   80.00 %    3.0      2.0     1",
            "      pooling=max optimizer=adam schedule.name=linear",
            "      learning_rate=0.002"
        ]
    );
}

#[test]
fn the_json_contains_every_run() {
    let json = serde_json::to_value(Leaderboard::with(&sweep(GRID), &six())).unwrap();
    assert_eq!(json["metric"], "loss");
    let row = &json["rows"][0];
    assert_eq!((&row["rank"], &row["runs"]), (&1.into(), &2.into()));
    assert_eq!(row["settings"]["model.lstm.units"], 32);
    assert_eq!(row["loss"]["mean"], 0.35);
    assert_eq!(row["finished"][1]["seed"], 2);
    assert_eq!(row["finished"][1]["validation"]["loss"], 0.4);
    assert_eq!(json["rows"][2]["rank"], Value::Null);
}

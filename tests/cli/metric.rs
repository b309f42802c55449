//! The metric that chooses the best epoch and ranks runs (`train.early_stopping.metric`).

use std::cmp::Ordering;
use std::fs;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

use crate::common::{TestDir, assert_fails, csv, examples, stderr, stdout, stdout_json};
use crate::training::{Training, with_noise};

/// Creates a directory with data of two classes, of which the second is rare and hard to tell from the
/// first, and a configuration that overfits it.
fn imbalanced() -> TestDir {
    let rare = |count: usize, seed: u64| {
        let mut all = examples(&["common"], count, seed);
        let step = 6;
        for (index, example) in all.iter_mut().enumerate().filter(|(index, _)| index % step == 0) {
            example.label = "rare".to_owned();
            // Every other rare text has a word of its class.
            if index % (2 * step) == 0 {
                example.text += " rare";
            }
        }
        csv(&all)
    };
    TestDir::new()
        .file("train.csv", rare(300, 1))
        .file("validation.csv", rare(300, 2))
        .file("test.csv", rare(120, 3))
        .file(
            "rare.yaml",
            "\
data: {train: train.csv, validation: validation.csv, test: test.csv}
model: {embedding: {size: 8, word_dropout: 0}, lstm: {units: 8, bidirectional: false}, ngrams: null}
train:
  epochs: 12
  batch_size: 16
  learning_rate: 0.02
  early_stopping: {metric: macro_f1, patience: null}
",
        )
}

/// Returns a value of the validation score of each record.
fn values(dir: &TestDir, run: &str, key: &str) -> Vec<f64> {
    let value = |record: &Value| record["validation"][key].as_f64().unwrap();
    dir.metrics(run).iter().map(value).collect()
}

fn best_epoch(costs: impl Iterator<Item = (f64, f64)>) -> usize {
    let compare = |a: &(f64, f64), b: &(f64, f64)| -> Ordering {
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
    };
    1 + costs.enumerate().min_by(|a, b| compare(&a.1, &b.1)).unwrap().0
}

#[test]
fn the_best_epoch_is_that_of_the_metric() {
    let dir = imbalanced();
    let log = stderr(&dir.train("rare.yaml --out run"));
    let (loss, macro_f1) = (values(&dir, "run", "loss"), values(&dir, "run", "metric"));
    let by_loss = best_epoch(loss.iter().map(|loss| (*loss, *loss)));
    let by_metric = best_epoch(macro_f1.iter().map(|f1| -f1).zip(loss.iter().copied()));
    assert_ne!(by_loss, by_metric, "{loss:?} {macro_f1:?}");
    let summary = dir.summary("run");
    assert_eq!(summary["best_epoch"], by_metric);
    assert_eq!(summary["validation"]["metric"], macro_f1[by_metric - 1]);
    assert!(log.contains(&format!("best was epoch {by_metric} by validation macro F1")), "{log}");
    assert!(log.contains(&format!(", macro F1 {:.4}", macro_f1[0])), "{log}");
    // The weights of best/ are those with this score.
    for (split, key) in [("validation", "validation"), ("test", "test")] {
        let line = format!("evaluate run --split {split} --json");
        let scores = stdout_json(&dir.lstmtext(&line).assert().success());
        let found = scores["macro_average"]["f1"].as_f64().unwrap();
        let recorded = summary[key]["metric"].as_f64().unwrap();
        assert!((found - recorded).abs() < 1e-9, "{split}: {found} {recorded}");
    }
    // All else is as with the loss.
    dir.train("rare.yaml --out other --set train.early_stopping.metric=loss");
    assert_eq!(values(&dir, "other", "loss"), loss);
    assert_eq!(dir.summary("other")["best_epoch"], by_loss);
    assert!(dir.summary("other")["validation"].get("metric").is_none());
}

#[test]
fn the_metric_of_one_label_chooses_the_epoch() {
    let dir = imbalanced();
    let set = "--set train.epochs=4 --set train.early_stopping.metric";
    dir.train(&format!("rare.yaml --out run {set}=recall:rare"));
    let recall = values(&dir, "run", "metric");
    let epoch = best_epoch(recall.iter().map(|r| -r).zip(values(&dir, "run", "loss")));
    assert_eq!(dir.summary("run")["best_epoch"], epoch);
    let scores = stdout_json(&dir.lstmtext("evaluate run --split validation --json").assert());
    let class = &scores["classes"][1];
    assert_eq!((&class["label"], &class["recall"]), (&"rare".into(), &recall[epoch - 1].into()));
}

#[test]
fn a_resumed_run_ends_like_an_uninterrupted_one() {
    let dir = imbalanced();
    let whole = "rare.yaml --out whole --set train.epochs=6 --set train.schedule.name=plateau";
    dir.train(whole);
    dir.train(&whole.replace("whole", "parts").replace("epochs=6", "epochs=3"));
    dir.train("--resume parts --set train.epochs=6");
    dir.assert_same_state("whole", "parts");
    assert_eq!(dir.read("whole/metrics.jsonl"), dir.read("parts/metrics.jsonl"));
    assert_eq!(dir.best_weights("whole"), dir.best_weights("parts"));
}

#[test]
fn a_run_that_resumes_with_another_metric_has_a_new_best() {
    let dir = imbalanced();
    dir.train("rare.yaml --out run --set train.epochs=3");
    let set = "--set train.epochs=5 --set train.early_stopping.metric=recall:common";
    let log = stderr(&dir.train(&format!("--resume run {set}")));
    assert!(log.contains("earlier validations have no recall of common"), "{log}");
    let best = dir.summary("run")["best_epoch"].as_u64().unwrap();
    assert!(best > 3, "{best}");
    // The loss of every validation is known.
    let set = "--set train.epochs=6 --set train.early_stopping.metric=loss";
    dir.train(&format!("--resume run {set}"));
    let records = dir.metrics("run");
    assert!(records[2]["validation"]["metric"].is_f64());
    assert!(records[5]["validation"].get("metric").is_none());
    assert!(dir.summary("run")["validation"].get("metric").is_none());
}

#[test]
fn an_unknown_label_is_an_error_before_training() {
    let dir = imbalanced();
    let set = |metric: &str| format!("--set train.early_stopping.metric={metric}");
    for command in ["train rare.yaml --out run", "data check rare.yaml"] {
        let part = "train.early_stopping.metric: unknown label \"rar\"; did you mean \"rare\"?; the \
                    labels are common, rare";
        let command = dir.lstmtext(&format!("{command} {}", set("f1:rar")));
        assert_fails(command, 1, &[part]);
    }
    assert!(!dir.path("run").exists());
    let labels = "--set data.labels=[common,rare]";
    let command = dir.lstmtext(&format!("train rare.yaml --out run {labels} {}", set("f1:rar")));
    assert_fails(command, 2, &["train.early_stopping.metric: unknown label \"rar\""]);
    let command = dir.lstmtext(&format!("train rare.yaml --out run {}", set("f1")));
    let parts = ["found \"f1\", expected loss, accuracy, macro_f1", "did you mean macro_f1?"];
    assert_fails(command, 2, &parts);
}

#[test]
fn a_metric_that_the_validation_examples_leave_undefined_is_an_error() {
    let dir = imbalanced().file("validation.csv", csv(&examples(&["common"], 20, 4)));
    for metric in ["f1:rare", "roc_auc"] {
        let line = format!("train rare.yaml --out run --set train.early_stopping.metric={metric}");
        let parts = ["train.early_stopping.metric: ", "needs validation examples with"];
        assert_fails(dir.lstmtext(&line), 1, &parts);
    }
    assert!(!dir.path("run").exists());
}

#[test]
fn runs_are_ranked_by_their_own_metric() {
    let dir = imbalanced();
    let set = "--set train.epochs=1 --set train.seed";
    for (name, seed, value) in [("a", 1, 0.5), ("b", 2, 0.75), ("c", 3, 0.6)] {
        dir.train(&format!("rare.yaml --out runs/{name} {set}={seed}"));
        let path = format!("runs/{name}/summary.json");
        let mut summary = dir.json(&path);
        summary["validation"]["metric"] = value.into();
        fs::write(dir.path(&path), summary.to_string()).unwrap();
    }
    let list = |line: &str| {
        let done = dir.lstmtext(&format!("runs {line} --json")).assert().success();
        let runs = stdout_json(&done);
        assert!(runs.as_array().unwrap().iter().all(|run| run["metric"] == "macro_f1"), "{runs}");
        let names = runs.as_array().unwrap().iter().map(|run| run["name"].to_string());
        names.collect::<String>().replace('"', "")
    };
    assert_eq!(list(""), "bca");
    assert_eq!(list("--sort macro_f1 --reverse"), "acb");
    let text = stdout(&dir.lstmtext("runs").assert().success());
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("validation, by macro F1"), "{text}");
    assert!(lines[1].contains("accuracy    loss  macro F1   epoch"), "{text}");
    assert!(lines[2].starts_with("b ") && lines[2].contains("  0.7500  "), "{text}");
    let table = stdout(&dir.lstmtext("runs --format csv").assert().success());
    let header = "run,state,validation_loss,validation_accuracy,validation_macro_F1,";
    assert!(table.starts_with(header), "{table}");
    let over_seeds = dir.lstmtext("runs --over-seeds --json").assert().success();
    let mean = stdout_json(&over_seeds)[0]["validation"]["metric"]["mean"].as_f64().unwrap();
    assert!((mean - 1.85 / 3.0).abs() < 1e-12);
    dir.lstmtext("runs diff a c")
        .assert()
        .success()
        .stdout(contains("validation macro F1").and(contains("+0.1000")));
    dir.lstmtext("plot runs --no-words").assert().success();
    let picture = dir.read("runs/curves.svg");
    assert!(picture.contains("\nmacro F1\n") && !picture.contains("tokens per second"));

    // Runs with different metrics are ranked by the loss.
    dir.train(&format!(
        "rare.yaml --out runs/d {set}=4 --set train.early_stopping.metric=accuracy"
    ));
    let done = dir.lstmtext("runs").assert().success();
    assert!(stderr(&done).contains("different metrics"), "{}", stderr(&done));
    assert!(stdout(&done).lines().next().unwrap().ends_with("validation, by loss"));
    // A run with another metric has no value and comes last.
    let done = dir.lstmtext("runs --sort macro_f1").assert().success();
    assert!(stdout(&done).contains("\nd "), "{}", stdout(&done));
    assert!(stdout(&done).lines().nth(2).unwrap().starts_with("b "));
    assert_fails(dir.lstmtext("runs --sort f2"), 2, &["another metric such as macro_f1"]);
}

#[test]
fn the_metric_is_a_curve_in_tensorboard() {
    let dir = imbalanced();
    let set = "--set train.epochs=1 --set train.early_stopping.metric=f1:rare";
    dir.train(&format!("rare.yaml --out run {set}"));
    for part in ["validation", "test"] {
        let directory = dir.path("run").join(part);
        let file = fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
        let bytes = fs::read(file).unwrap();
        assert!(bytes.windows(7).any(|window| window == b"f1/rare"), "{part}");
    }
}

/// Replaces the name of a metric in a file of a run.
fn rename(dir: &TestDir, name: &str, from: &str, to: &str) {
    let text = dir.read(name);
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(dir.path(name), text.replace(from, to)).unwrap();
}

#[test]
fn runs_of_earlier_versions_have_their_metric() {
    let dir = with_noise("data: {train: train.csv}\n");
    let small = "--set model.lstm.units=4 --set model.ngrams=null --set train.epochs=2";
    let metric = "--set train.early_stopping.metric=validation_accuracy";
    dir.train(&format!("long.yaml --out runs/a {small} {metric}"));
    assert!(dir.read("runs/a/config.yaml").contains("metric: accuracy"));
    rename(&dir, "runs/a/config.yaml", "metric: accuracy", "metric: validation_accuracy");
    dir.train(&format!(
        "long.yaml --out runs/b {small} --set train.early_stopping.metric=accuracy"
    ));
    let done = dir.lstmtext("runs").assert().success().stderr("");
    assert!(stdout(&done).lines().next().unwrap().ends_with("validation, by accuracy"));
    let text = stdout(&dir.lstmtext("runs diff a b").assert().success());
    assert!(text.starts_with("the configurations are equal"), "{text}");
    let (code, log) = Training::start(&dir, "--resume runs/a --set train.epochs=3").end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("by validation accuracy"), "{log}");
}

#[test]
fn a_sweep_and_folds_show_the_metric() {
    let dir = imbalanced();
    let sweep = dir.read("rare.yaml") + "sweep: {model.lstm.units: [2, 4]}\n";
    let dir = dir.file("many.yaml", sweep);
    let done = dir.lstmtext("sweep many.yaml --set train.epochs=1").assert().success();
    assert!(stderr(&done).contains("ranked by validation macro F1"), "{}", stderr(&done));
    assert!(stdout(&done).lines().next().unwrap().contains("accuracy  macro F1  epoch"));
    let board = dir.json("sweeps/many/leaderboard.json");
    assert_eq!(board["metric"], "macro_f1");
    let first = &board["rows"][0];
    assert_eq!(first["metric"]["mean"], first["finished"][0]["validation"]["metric"]);

    let folds = "folds rare.yaml --k 2 --set data.validation=null --set data.test=null \
                 --set train.epochs=1 --set train.early_stopping.metric=recall:rare --out f";
    let done = dir.lstmtext(&format!("{folds} --json")).assert().success();
    let scores = stdout_json(&done);
    let fold = |index: usize| scores["folds"][index]["metric"].as_f64().unwrap();
    let mean = scores["metric"]["mean"].as_f64().unwrap();
    assert!((mean - (fold(0) + fold(1)) / 2.0).abs() < 1e-12, "{scores}");
    let text = stdout(&dir.lstmtext(folds).assert().success());
    // A line of a second table, because the first one fills the width.
    assert!(text.lines().any(|line| line.ends_with("recall of rare")), "{text}");
}

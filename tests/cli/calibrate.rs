//! Calibration of probabilities and decisions.

use std::fs;

use lstmtext::Classifier;
use lstmtext::run::directory::RunDirectory;
use serde_json::{Value, json};

use crate::checkpoints::seal;
use crate::common::{
    Example, SMALL, TestDir, assert_fails, csv, examples, probability_of, stderr, stdout,
    stdout_json, stdout_json_lines,
};
use crate::serve::Server;

/// Generates spam and twice as much ham, with labels of which every fifth is wrong.
fn noisy(count: usize, seed: u64) -> Vec<Example> {
    let mut examples = examples(&["ham", "ham", "spam"], count, seed);
    for (index, example) in examples.iter_mut().enumerate() {
        if index % 5 == 0 {
            example.label = if example.label == "ham" { "spam" } else { "ham" }.to_owned();
        }
    }
    examples
}

/// Creates a directory with a run, `run`, that is too confident.
fn overconfident() -> TestDir {
    let config = SMALL
        .replace("test.csv", "test.csv, split: {validation: 0.3}")
        .replace("epochs: 4", "epochs: 8, early_stopping: {patience: null}");
    let dir = TestDir::new()
        .file("small.yaml", config)
        .file("train.csv", csv(&noisy(1000, 1)))
        .file("test.csv", csv(&noisy(300, 2)));
    dir.train("small.yaml --out run --set train.early_stopping.restore_best=false");
    dir
}

fn calibrate(dir: &TestDir, line: &str) -> Value {
    stdout_json(&dir.lstmtext(&format!("calibrate {line} --json")).assert().success())
}

fn evaluate(dir: &TestDir, line: &str) -> Value {
    stdout_json(&dir.lstmtext(&format!("evaluate {line} --json")).assert().success())
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key}: {value}"))
}

#[test]
fn a_temperature_lowers_the_loss_and_the_calibration_error() {
    let dir = overconfident();
    let before = evaluate(&dir, "run/last --split validation");
    let report = calibrate(&dir, "run/last");
    assert_eq!(report["before"]["loss"], before["loss"]);
    let after = evaluate(&dir, "run/last --split validation");
    for key in ["loss", "accuracy", "expected_calibration_error"] {
        assert_eq!(report["after"][key], after[key], "{key}");
    }
    for key in ["loss", "expected_calibration_error"] {
        assert!(number(&after, key) < number(&before, key), "{key}: {report}");
    }
    assert_eq!(after["accuracy"], before["accuracy"]);
    let temperature = number(&report["calibrated"]["scaling"], "temperature");
    assert!(temperature > 1.2, "{report}");
    assert_eq!(after["calibrated"], report["calibrated"]);
    assert_eq!(report["calibrated"]["decision"], "default");
    // On other examples too.
    let test = |options: &str| number(&evaluate(&dir, &format!("run/last {options}")), "loss");
    assert!(test("") < test("--uncalibrated"));
    let printed = stdout(&dir.lstmtext("evaluate run/last").assert().success());
    assert!(
        printed.contains(&format!("calibrated           temperature {temperature:.4}")),
        "{printed}"
    );
    let uncalibrated = evaluate(&dir, "run/last --split validation --uncalibrated");
    assert_eq!(uncalibrated["loss"], before["loss"]);
    assert_eq!(uncalibrated["calibrated"], Value::Null);
}

#[test]
fn every_command_uses_the_calibration() {
    let dir = overconfident();
    let text = "n1 spam2 n3 spam4";
    let predict = |options: &str| -> Value {
        let mut command =
            dir.lstmtext(&format!("predict run/last --format jsonl --top 2 {options}"));
        stdout_json_lines(&command.arg(text).assert().success())[0].clone()
    };
    let before = predict("");
    let report = calibrate(&dir, "run/last");
    let temperature = number(&report["calibrated"]["scaling"], "temperature");
    let p = number(&before, "probability");
    let expected = 1.0 / (1.0 + (-(p / (1.0 - p)).ln() / temperature).exp());
    let after = predict("");
    assert!((number(&after, "probability") - expected).abs() < 1e-6, "{before} {after}");
    assert_eq!(predict("--uncalibrated"), before);
    let library = Classifier::load(dir.path("run/last")).unwrap().predict(&[text]).unwrap();
    assert!((library[0].probability - expected).abs() < 1e-6);
    let explain = |options: &str| -> Value {
        let mut command = dir.lstmtext(&format!("explain run/last --json {options}"));
        stdout_json(&command.arg(text).assert().success())[0].clone()
    };
    assert!((number(&explain(""), "probability") - expected).abs() < 1e-6);
    assert!((number(&explain("--uncalibrated"), "probability") - p).abs() < 1e-6);
    assert_eq!(explain("")["log_odds"], explain("--uncalibrated")["log_odds"]);
    let printed = stdout(&dir.lstmtext("explain run/last").arg(text).assert().success());
    assert!(printed.contains("calibration scales the probability"), "{printed}");
    let states = stdout_json(&dir.lstmtext("states run/last --json").arg(text).assert().success());
    let probabilities = states[0]["probabilities"].as_array().unwrap();
    assert!((probabilities.last().unwrap()[1].as_f64().unwrap() - expected).abs() < 1e-6);
    for (options, expected) in [("", expected), ("--uncalibrated", p)] {
        let server = Server::start(&dir, &format!("run/last {options}"));
        let (status, served) = server.post("/predict", &json!({ "text": text }));
        assert_eq!(status, 200);
        assert!((probability_of(&served, "spam") - expected).abs() < 1e-6);
        let (_, served) = server.post("/explain", &json!({ "text": text }));
        assert!((number(&served, "probability") - expected).abs() < 1e-6);
        let (_, health) = server.request("GET", "/healthz", b"");
        assert!(health.contains(&format!("\"calibrated\":{}", options.is_empty())), "{health}");
    }
    dir.lstmtext("export run/last --to exported").assert().success();
    assert_eq!(dir.json("exported/model.json")["calibration"], report["calibrated"]);
}

#[test]
fn a_threshold_of_one_of_two_classes_reaches_its_goal() {
    let dir = overconfident();
    let report = calibrate(&dir, "run/last --recall 0.95 --label spam");
    let decision = &report["calibrated"]["decision"]["one_of_two"];
    assert_eq!(decision["class"], 1);
    let threshold = number(decision, "threshold");
    assert!(threshold < 0.5, "{report}");
    assert_eq!(report["labels"][1]["threshold"], decision["threshold"]);
    assert_eq!(report["labels"][0]["threshold"], Value::Null);
    let after = evaluate(&dir, "run/last --split validation");
    assert!(number(&after["classes"][1], "recall") >= 0.95);
    assert_eq!(after["classes"][1]["recall"], report["labels"][1]["recall"]);
    let printed = stdout(&dir.lstmtext("evaluate run/last").assert().success());
    assert!(printed.contains(&format!("{threshold:.4}")) && printed.contains("threshold"));
    // The predicted class need not be the most probable one, in any format.
    let texts: Vec<String> = noisy(300, 3).into_iter().map(|example| example.text).collect();
    let dir = dir.file("new.txt", texts.join("\n") + "\n");
    let predict =
        |options: &str| dir.lstmtext(&format!("predict run/last --file new.txt {options}"));
    let rows = stdout_json_lines(&predict("--format jsonl").assert().success());
    let all = stdout_json_lines(&predict("--format jsonl --top 2").assert().success());
    let lines = stdout(&predict("").assert().success());
    let mut less_probable = 0;
    for ((row, all), line) in rows.iter().zip(&all).zip(lines.lines()) {
        let label = if probability_of(all, "spam") >= threshold { "spam" } else { "ham" };
        assert_eq!((&row["label"], &all["label"]), (&json!(label), &json!(label)));
        assert_eq!(row["probability"], probability_of(all, label));
        assert_eq!(line.split_whitespace().next(), Some(label));
        less_probable += usize::from(all["classes"][0]["label"] != label);
    }
    assert!(less_probable > 0);
}

#[test]
fn thresholds_of_several_labels_are_used_by_every_command() {
    let dir = TestDir::with_label_sets();
    let before = evaluate(&dir, "run --split validation");
    let report = calibrate(&dir, "run --maximize f1");
    assert_eq!(report["calibrated"]["scaling"]["log_odds"].as_array().unwrap().len(), 3);
    assert_eq!(report["before"]["macro_f1"], before["macro_average"]["f1"]);
    let thresholds = &report["calibrated"]["decision"]["thresholds"];
    assert_eq!(thresholds[1], report["labels"][1]["threshold"]);
    assert!(number(&report["after"], "macro_f1") >= number(&report["before"], "macro_f1"));
    assert!(number(&report["after"], "loss") < number(&report["before"], "loss"));
    let after = evaluate(&dir, "run --split validation");
    assert_eq!(after["macro_average"]["f1"], report["after"]["macro_f1"]);
    dir.lstmtext("calibrate run --recall 1").assert().success();
    let after = evaluate(&dir, "run --split validation");
    let classes = after["classes"].as_array().unwrap();
    assert!(classes.iter().all(|class| class["recall"] == 1.0), "{after}");
    let threshold = evaluate(&dir, "run")["calibrated"]["decision"]["thresholds"][1].as_f64();
    let done = dir.lstmtext("predict run --file test.csv --format jsonl").assert().success();
    for row in stdout_json_lines(&done) {
        let labels = row["predicted_label"].as_array().unwrap();
        let is_probable = row["happy"].as_f64().unwrap() >= threshold.unwrap();
        assert_eq!(labels.contains(&json!("happy")), is_probable, "{row}");
    }
    let printed = stdout(&dir.lstmtext("calibrate run --precision 0.9").assert().success());
    for part in ["before", "after", "subset accuracy", "threshold", "slope", "happy"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
}

#[test]
fn costs_decide() {
    let costs = "ham: {spam: 50}\nspam: {ham: 1}\n";
    let dir = overconfident().file("costs.yaml", costs);
    let report = calibrate(&dir, "run/last --cost costs.yaml");
    assert!(number(&report["after"], "cost") < number(&report["before"], "cost"), "{report}");
    let decision = &evaluate(&dir, "run/last")["calibrated"]["decision"];
    assert_eq!(*decision, json!({"costs": [[0.0, 50.0], [1.0, 0.0]]}));
    let dir = TestDir::with_label_sets().file(
        "costs.yaml",
        "angry: {false_positive: 1, false_negative: 4}\n\
         happy: {false_positive: 1, false_negative: 1}\n\
         tired: {false_positive: 3, false_negative: 1}\n",
    );
    let report = calibrate(&dir, "run --cost costs.yaml");
    assert_eq!(report["calibrated"]["decision"]["thresholds"], json!([0.2, 0.5, 0.75]));
}

#[test]
fn wrong_goals_are_rejected() {
    let dir = TestDir::new().data(&["a", "b", "c"]).file("small.yaml", SMALL);
    dir.train("small.yaml --out run --set train.epochs=1");
    let dir = dir.file("costs.yaml", "a: {b: 2}\nd: {a: -1}\n");
    for (options, parts) in [
        ("--precision 1.5", &["1.5", "expected a number from 0 to 1"][..]),
        ("--maximize f1 --recall 0.5", &["cannot be used with"]),
        ("--maximize accuracy", &["invalid value", "accuracy"]),
        ("--maximize f1", &["has 3 classes that exclude each other; use --cost FILE"]),
        ("--label a", &["--maximize"]),
        ("--cost costs.yaml", &["costs.yaml:2:1: d: unknown label; expected a, b, c"]),
        ("--cost missing.yaml", &["missing.yaml"]),
        ("--remove --recall 0.5", &["cannot be used with"]),
    ] {
        assert_fails(dir.lstmtext(&format!("calibrate run {options}")), 2, parts);
    }
    assert_eq!(dir.json("run/best/checkpoint.json")["version"], 2);
    let two = TestDir::with_run();
    let command = two.lstmtext("calibrate run --recall 0.5 --label c");
    assert_fails(command, 2, &["--label c: unknown label; the labels are neg, pos"]);
    let several = TestDir::with_label_sets();
    let command = several.lstmtext("calibrate run --recall 0.5 --label happy");
    assert_fails(command, 2, &["a threshold of its own"]);
}

#[test]
fn a_calibration_is_part_of_the_checkpoint() {
    let dir = TestDir::with_run();
    let weights = dir.best_weights("run");
    let names = dir.names("run/best");
    calibrate(&dir, "run");
    assert_eq!(dir.json("run/best/checkpoint.json")["version"], 3);
    assert_eq!(dir.best_weights("run"), weights);
    assert_eq!(dir.names("run/best").len(), names.len() + 1);
    assert!(!dir.names("run").iter().any(|name| name.starts_with('.')));
    // A second calibration starts from the model itself.
    let second = calibrate(&dir, "run --maximize f1");
    let calibration = dir.read("run/best/calibration.json");
    assert_eq!(dir.json("run/best/calibration.json"), second["calibrated"]);
    for (damaged, part) in [
        (calibration.replacen("0.", "1.", 1), "calibration.json is damaged"),
        (calibration.replacen("temperature\": ", "temperature\": -", 1), "calibration.json"),
    ] {
        fs::write(dir.path("run/best/calibration.json"), damaged).unwrap();
        assert_fails(dir.lstmtext("predict run text"), 1, &["run/best", part]);
    }
    let negative = json!({"scaling": {"temperature": 0.0}, "decision": "default"}).to_string();
    fs::write(dir.path("run/best/calibration.json"), &negative).unwrap();
    let manifest = dir.json("run/best/checkpoint.json");
    let bytes = &manifest["files"]["calibration.json"]["bytes"];
    let manifest = dir
        .read("run/best/checkpoint.json")
        .replace(&format!("\"bytes\": {bytes}"), &format!("\"bytes\": {}", negative.len()));
    fs::write(dir.path("run/best/checkpoint.json"), manifest).unwrap();
    seal(&dir, "run/best");
    assert_fails(dir.lstmtext("predict run text"), 1, &["calibration.json has impossible numbers"]);
}

#[test]
fn a_calibration_is_removed_by_request_or_by_training() {
    let dir = TestDir::with_run();
    let before = dir.read("run/best/checkpoint.json");
    for checkpoint in ["run", "run/last"] {
        calibrate(&dir, checkpoint);
    }
    let done = dir.lstmtext("calibrate run --remove").assert().success();
    assert!(stderr(&done).contains("\"run/best\" is no longer calibrated"));
    assert_eq!(dir.read("run/best/checkpoint.json"), before);
    let done = dir.lstmtext("calibrate run --remove").assert().success();
    assert!(stderr(&done).contains("has no calibration"));
    calibrate(&dir, "run");
    dir.train("--resume run --set train.epochs=6 --set train.early_stopping.metric=accuracy");
    assert!(!dir.names("run/last").contains(&"calibration.json".to_owned()));
    let other = TestDir::with_run();
    other.train("--resume run --set train.epochs=6 --set train.early_stopping.metric=accuracy");
    assert_eq!(dir.best_weights("run"), other.best_weights("run"));
}

#[test]
fn a_run_in_progress_is_not_calibrated() {
    let dir = TestDir::with_run();
    let before = dir.read("run/best/checkpoint.json");
    let lock = RunDirectory::open(&dir.path("run")).lock().unwrap();
    assert_fails(dir.lstmtext("calibrate run"), 1, &["is training in", "wait until it ends"]);
    assert_eq!(dir.read("run/best/checkpoint.json"), before);
    drop(lock);
    calibrate(&dir, "run");
    assert!(!dir.names("run").contains(&".lock".to_owned()));
}

#[test]
fn an_ensemble_is_calibrated_as_a_whole() {
    let dir = overconfident();
    dir.train("small.yaml --out other --set train.seed=2");
    calibrate(&dir, "run");
    dir.lstmtext("ensemble run other --weights equal --to both").assert().success();
    let done = dir.lstmtext("predict both spam1").assert().success();
    assert!(stderr(&done).contains("the calibration of \"both/members/1\" is not used"));
    let done = dir.lstmtext("predict other --with run spam1").assert().success();
    assert!(stderr(&done).contains("the calibration of \"run/best\" is not used"));
    let before = evaluate(&dir, "both --split validation");
    let report = calibrate(&dir, "both --maximize f1");
    assert_eq!(report["before"]["loss"], before["loss"]);
    let done = dir.lstmtext("evaluate both --split validation --json").assert().success();
    assert_eq!(stderr(&done), "");
    let after = stdout_json(&done);
    assert_eq!(after["loss"], report["after"]["loss"]);
    assert_eq!(after["calibrated"], report["calibrated"]);
    assert_eq!(evaluate(&dir, "both --split validation --uncalibrated")["loss"], before["loss"]);
    let command = dir.lstmtext("calibrate both/members/1");
    assert_fails(command, 1, &["is a member of the ensemble"]);
    dir.lstmtext("calibrate both --remove").assert().success();
    assert_eq!(dir.json("both/ensemble.json")["version"], 1);
    assert_eq!(evaluate(&dir, "both --split validation")["loss"], before["loss"]);
}

#[test]
fn training_examples_do_not_calibrate() {
    let dir = TestDir::with_run();
    let command = dir.lstmtext("calibrate run --set data.validation=train.csv");
    assert_fails(command, 1, &["do not show how \"run/best\" predicts new texts"]);
    dir.lstmtext("folds small.yaml --k 2 --out folds --set data.test=null").assert().success();
    assert_fails(dir.lstmtext("calibrate folds"), 1, &["is a cross-validation"]);
}

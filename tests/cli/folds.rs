//! `lstmtext folds`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use predicates::str::contains;

use crate::common::{
    SMALL, TestDir, assert_fails, csv, examples, stderr, stdout, stdout_json, stdout_json_lines,
};

const FAST: &str = "--set train.epochs=2";

/// Reads a CSV file as a list of rows by column.
fn rows(dir: &TestDir, name: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(dir.path(name)).unwrap();
    reader.deserialize().map(|row| row.unwrap()).collect()
}

#[test]
fn each_example_is_predicted_by_a_model_that_has_not_seen_it() {
    let dir = TestDir::with_data();
    let done = dir.lstmtext(&format!("folds small.yaml --k 3 {FAST} --jobs 2")).assert().success();
    assert!(stderr(&done).contains("the test examples of the configuration are not used"));
    let table = stdout(&done);
    assert!(table.contains("fold=1") && table.contains("mean ± sd"), "{table}");
    let predictions = rows(&dir, "folds/small/predictions.csv");
    assert_eq!(predictions.len(), 600);
    let lines: Vec<usize> = predictions.iter().map(|row| row["line"].parse().unwrap()).collect();
    assert_eq!(lines, (2..=601).collect::<Vec<_>>(), "in the order of the file");
    let correct = predictions.iter().filter(|row| row["label"] == row["predicted"]).count();
    let scores = dir.json("folds/small/scores.json");
    let accuracy = scores["accuracy"]["mean"].as_f64().unwrap();
    assert!((accuracy - correct as f64 / 600.0).abs() < 1e-9 && accuracy > 0.9, "{accuracy}");
    for row in &predictions {
        let sum: f64 = ["neg", "pos"].map(|label| row[label].parse::<f64>().unwrap()).iter().sum();
        assert!((sum - 1.0).abs() < 1e-5, "{row:?}");
    }
    for fold in 1..=3 {
        let progress = dir.json(&format!("folds/small/fold={fold}/best/progress.json"));
        let fingerprint = |split: &str| progress["data"][split].as_str().unwrap().to_owned();
        assert!(fingerprint("test").starts_with("200-"));
        assert!(fingerprint("train").starts_with("360-"));
    }
}

#[test]
fn the_models_of_all_folds_predict_together() {
    let dir = TestDir::with_data();
    dir.lstmtext(&format!("folds small.yaml --k 2 {FAST} --out f")).assert().success();
    let text = "n1 pos3 n4 pos5";
    let probability = |model: &str| {
        let done =
            dir.lstmtext(&format!("predict {model} --format jsonl --top 2 --file texts.txt"));
        let prediction = stdout_json_lines(&{ done }.assert().success());
        crate::common::probability_of(&prediction[0], "pos")
    };
    fs::write(dir.path("texts.txt"), format!("{text}\n")).unwrap();
    let mean = (probability("f/fold=1") + probability("f/fold=2")) / 2.0;
    assert!((probability("f") - mean).abs() < 1e-5);
    let report = stdout_json(&dir.lstmtext("evaluate f --data test.csv --json").assert().success());
    assert!(report["accuracy"].as_f64().unwrap() > 0.9);
    let message = ["is a cross-validation", "--data", "scores.json"];
    assert_fails(dir.lstmtext("evaluate f"), 1, &message);
    dir.lstmtext("plot f").assert().success();
    fs::remove_dir_all(dir.path("f/fold=2")).unwrap();
    assert_fails(
        dir.lstmtext("predict f text"),
        1,
        &["f\" is a cross-validation that is not finished"],
    );
}

#[test]
fn a_cross_validation_continues_and_runs_on_a_cluster() {
    let dir = TestDir::with_data();
    let line = format!("folds small.yaml --k 2 --repeats 2 {FAST}");
    let listed = stdout_json(&dir.lstmtext(&format!("{line} --list --json")).assert().success());
    let names: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["run"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names[0], "split.seed=1-fold=1");
    assert_eq!(names[3], "split.seed=2-fold=2");
    assert!(!dir.path("folds").exists());
    for index in [2, 0] {
        dir.lstmtext(&format!("{line} --index {index}")).assert().success();
    }
    let done =
        dir.lstmtext(&line).assert().success().stderr(contains("4 runs, 2 already finished"));
    assert!(stdout(&done).contains("split.seed=2-fold=2"));
    let predictions = rows(&dir, "folds/small/predictions.csv");
    assert_eq!(predictions.len(), 1_200);
    let seeds: BTreeSet<&str> = predictions.iter().map(|row| row["seed"].as_str()).collect();
    assert_eq!(seeds, BTreeSet::from(["1", "2"]));
    let scores = dir.bytes("folds/small/scores.json");
    dir.lstmtext(&line).assert().success();
    assert_eq!(dir.bytes("folds/small/scores.json"), scores);
}

#[test]
fn wrong_labels_are_found() {
    let mut all = examples(&["neg", "pos"], 600, 1);
    let flipped: BTreeSet<usize> = (0..30).map(|i| 20 * i + i % 7).collect();
    for index in &flipped {
        let label = &mut all[*index].label;
        *label = if label == "neg" { "pos".into() } else { "neg".into() };
    }
    let yaml = SMALL.replace(", test: test.csv", "");
    let dir = TestDir::new().file("train.csv", csv(&all)).file("small.yaml", yaml);
    let line = "folds small.yaml --k 3 --set train.epochs=4 --issues issues.csv";
    dir.lstmtext(line).assert().success().stderr(contains("labels are probably wrong"));
    let issues = rows(&dir, "issues.csv");
    let found: BTreeSet<usize> =
        issues.iter().take(30).map(|row| row["line"].parse::<usize>().unwrap() - 2).collect();
    assert!(found.intersection(&flipped).count() >= 27, "{found:?}");
    let probabilities: Vec<f64> =
        issues.iter().map(|row| row["label_probability"].parse().unwrap()).collect();
    assert!(probabilities.is_sorted());
    let first = &issues[0];
    assert!(first["text"].contains(&first["suggested"]), "{first:?}");
    assert_ne!(first["label"], first["suggested"]);
}

#[test]
fn impossible_cross_validations_are_rejected() {
    let dir = TestDir::with_data()
        .file("sweep.yaml", format!("{SMALL}sweep: {{seed: [1, 2]}}\n"))
        .file("few.csv", "text,label\na,x\nb,y\nc,x\nd,y\n");
    for (line, code, parts) in [
        ("folds small.yaml --k 1", 2, &["expected an integer from 2 to 1000"][..]),
        ("folds sweep.yaml", 2, &["describes a sweep"]),
        ("folds small.yaml --issues issues.xml", 2, &["must end in .csv, .tsv or .jsonl"]),
        ("folds small.yaml --issues train.csv", 2, &["would overwrite the input"]),
        (
            "folds small.yaml --set data.split.method=position",
            2,
            &["data.split.method: stratified"],
        ),
        ("folds small.yaml --index 5", 2, &["there are 5 runs"]),
        (
            "train small.yaml --set data.split.folds=3",
            2,
            &["the test examples are those of the fold"],
        ),
        ("train small.yaml --set data.split.group=film", 1, &["no example of", "\"film\""]),
        (
            "folds small.yaml --set data.train=few.csv --set text.min_count=1",
            1,
            &["would be empty"],
        ),
    ] {
        let done = dir.lstmtext(line).assert().code(code);
        for part in parts {
            assert!(stderr(&done).contains(part), "{line}: {}", stderr(&done));
        }
    }
}

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
    // As if the training of a fold were interrupted after its first validation.
    let summary = dir.bytes("f/fold=2/summary.json");
    fs::remove_file(dir.path("f/fold=2/summary.json")).unwrap();
    let unfinished = ["f\" is a cross-validation that is not finished", "no result of fold=2;"];
    assert_fails(dir.lstmtext("predict f text"), 1, &unfinished);
    let dir = dir.file("f/fold=2/summary.json", summary).file("f/fold=2/best/config.yaml", "");
    let message = assert_fails(
        dir.lstmtext("predict f text"),
        1,
        &["cannot use the cross-validation \"f\"", "fold=2/best"],
    );
    assert!(!message.contains("not finished"), "{message}");
    fs::remove_dir_all(dir.path("f/fold=2")).unwrap();
    assert_fails(dir.lstmtext("predict f text"), 1, &unfinished);
}

#[test]
fn a_failed_try_does_not_block_the_next_one() {
    let dir = TestDir::with_data();
    for (command, config, run) in [
        ("folds", "small.yaml --k 2", "folds/small/fold=1"),
        ("sweep", "small.yaml --set sweep.seed=[1,2]", "sweeps/small/seed=1"),
    ] {
        let line = format!("{command} {config} {FAST}");
        let failing = format!("{line} --set model.embedding.vectors=missing.txt");
        let failed = dir.lstmtext(&failing).assert().code(1);
        assert!(stderr(&failed).contains("missing.txt"), "{}", stderr(&failed));
        assert!(dir.path(&format!("{run}/error.txt")).exists());
        let listed = stdout(&dir.lstmtext(&format!("{line} --list")).assert().success());
        assert_eq!(listed.matches("failed").count(), 2, "{listed}");
        dir.lstmtext(&line).assert().success();
        assert!(!dir.path(&format!("{run}/error.txt")).exists());
        // A finished run is never replaced.
        let weights = dir.best_weights(run);
        let now = assert_fails(dir.lstmtext(&failing), 1, &["is null in the run and", "now"]);
        assert!(!now.contains("sweep has"), "{now}");
        assert_eq!(dir.best_weights(run), weights);
    }
}

#[test]
fn data_that_changes_between_folds_is_an_error() {
    let dir = TestDir::with_data();
    let line = format!("folds small.yaml --k 2 {FAST}");
    dir.lstmtext(&format!("{line} --index 0")).assert().success();
    let data = dir.read("train.csv");
    let changed =
        || fs::write(dir.path("train.csv"), data.clone() + "one more text,pos\n").unwrap();
    changed();
    let parts = ["the data has changed since \"folds/small/fold=1\"", "600 examples then, 601 now"];
    assert_fails(dir.lstmtext(&line), 1, &parts);
    assert!(!dir.path("folds/small/fold=2").exists());
    fs::write(dir.path("train.csv"), &data).unwrap();
    dir.lstmtext(&line).assert().success();
    let scores = dir.bytes("folds/small/scores.json");
    changed();
    assert_fails(dir.lstmtext(&line), 1, &parts);
    assert_eq!(dir.bytes("folds/small/scores.json"), scores);
}

#[test]
fn the_directory_of_another_cross_validation_is_refused_before_it_is_changed() {
    let dir = TestDir::with_data();
    let line = |k: usize, more: &str| format!("folds small.yaml --k {k} {FAST} {more}");
    dir.lstmtext(&line(2, "")).assert().success();
    let list = dir.bytes("folds/small/folds.json");
    let parts = ["has a cross-validation with other folds, fold=1, fold=2", "--out"];
    assert_fails(dir.lstmtext(&line(2, "--repeats 2")), 1, &parts);
    assert_fails(dir.lstmtext(&line(3, "")), 1, &["data.split.folds is 2 in the run and 3 now"]);
    assert_eq!(dir.bytes("folds/small/folds.json"), list);
    dir.lstmtext("predict folds/small text").assert().success();
}

#[test]
fn repeated_cross_validations_begin_with_the_given_seed() {
    let yaml = SMALL.replace("test.csv}", "test.csv, split: {seed: 3}}");
    let dir = TestDir::with_data().file("seed.yaml", yaml);
    let names = |line: &str| {
        let listed = stdout(&dir.lstmtext(&format!("{line} --list")).assert().success());
        listed.lines().map(|line| line.split_whitespace().nth(2).unwrap().to_owned()).collect()
    };
    let first: Vec<String> = names("folds seed.yaml --repeats 2 --set data.split.seed=7 --k 2");
    let seeds = |from: usize| [0, 0, 1, 1].map(|n| format!("data.split.seed={}", from + n));
    assert_eq!(first, seeds(7));
    let first: Vec<String> = names("folds seed.yaml --repeats 2 --k 2");
    assert_eq!(first, seeds(3));
    let line = format!("folds seed.yaml --repeats 2 --set data.split.seed={}", u64::MAX);
    assert_fails(dir.lstmtext(&line), 2, &["--repeats 2: data.split.seed"]);
    // The number of folds of the configuration is the default of --k.
    let yaml = SMALL.replace(", test: test.csv}", ", split: {folds: 3}}");
    let dir = dir.file("three.yaml", yaml);
    let done = dir.lstmtext("folds three.yaml --list").assert().success();
    assert_eq!(stdout(&done).lines().count(), 3);
    assert_eq!(stderr(&done), "");
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
            "folds small.yaml --set data.split.fold=2",
            2,
            &["--set data.split.fold: each fold is tested in turn; remove it"],
        ),
        (
            "folds small.yaml --repeats 9000000000000",
            2,
            &["5 folds in each of 9000000000000 repeats are too many; the maximum is 10000"],
        ),
        ("folds small.yaml --set data.split.folds=2", 2, &["--set data.split.folds:", "--k"]),
        ("folds small.yaml --set data.split={seed:2}", 2, &["--set data.split:", "one by one"]),
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
    assert!(!dir.path("folds").exists());
}

//! Distillation: learning from the probabilities of a large model or of an ensemble.

use predicates::str::contains;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::common::{TestDir, assert_fails, stderr};

/// A model with 64 units, and one of a quarter of its size.
const SHARED: &str =
    "--set train.early_stopping.patience=null --set data.validation=validation.csv";
const LARGE: &str = "--set model.embedding.size=32 --set model.lstm.units=64 --set train.epochs=8 \
                     --set train.learning_rate=0.002";
const SMALL: &str = "--set model.embedding.size=8 --set model.lstm.units=16 --set train.epochs=20 \
                     --set train.learning_rate=0.002";
const DISTILLED: &str = "--set data.label_columns=[neg,pos] --set train.distillation.weight=0.9";

/// Texts of random words, each of which speaks for a label more or less, with a share of wrong labels.
struct Texts {
    random: Pcg64,
    weights: Vec<f64>,
}

impl Texts {
    fn new() -> Self {
        let mut random = Pcg64::seed_from_u64(5);
        let weights = (0..300).map(|_| (0..3).map(|_| random.random_range(-1.0..1.0)).sum());
        Self { weights: weights.collect(), random }
    }

    /// Returns a CSV file with `count` texts, of which the share `wrong` has the wrong label.
    fn csv(&mut self, count: usize, wrong: f64) -> String {
        let mut csv = "text,label\n".to_owned();
        for _ in 0..count {
            let length = self.random.random_range(6..15);
            let words: Vec<usize> =
                (0..length).map(|_| self.random.random_range(0..self.weights.len())).collect();
            let sum: f64 = words.iter().map(|word| self.weights[*word]).sum();
            let is_positive = (sum > 0.0) != (self.random.random_range(0.0..1.0) < wrong);
            let text: Vec<String> = words.iter().map(|word| format!("w{word}")).collect();
            let label = if is_positive { "pos" } else { "neg" };
            csv += &format!("{},{label}\n", text.join(" "));
        }
        csv
    }
}

/// Creates a directory with 5,000 labelled texts and 800 of them, validation and test texts.
fn directory() -> TestDir {
    let mut texts = Texts::new();
    let all = texts.csv(5_000, 0.1);
    let few: Vec<&str> = all.lines().take(801).collect();
    TestDir::with_data()
        .file("few.csv", few.join("\n") + "\n")
        .file("all.csv", all)
        .file("validation.csv", texts.csv(300, 0.2))
        .file("test.csv", texts.csv(1_500, 0.0))
}

/// Returns the mean test accuracy of the small model with three seeds, trained on a file.
fn mean_accuracy(dir: &TestDir, name: &str, data: &str) -> f64 {
    let accuracy = |seed: u32| {
        let run = format!("{name}{seed}");
        let line =
            format!("small.yaml --out {run} {SHARED} {SMALL} --set train.seed={seed} {data}");
        dir.train(&line);
        dir.test_accuracy(&run)
    };
    [1, 2, 3].map(accuracy).iter().sum::<f64>() / 3.0
}

/// The small model reads the same 800 texts for the same number of epochs, with their labels alone or with the
/// probabilities of a model of four times its size besides.
#[test]
fn a_small_model_learns_more_from_a_large_one_than_from_labels() {
    let dir = directory();
    for seed in [1, 2] {
        let line = "small.yaml --set data.train=all.csv";
        dir.train(&format!("{line} --out large{seed} {SHARED} {LARGE} --set train.seed={seed}"));
    }
    dir.lstmtext("ensemble large1 large2 --to large_ensemble").assert().success();
    let alone = mean_accuracy(&dir, "alone", "--set data.train=few.csv");
    for teacher in ["large1", "large_ensemble"] {
        let soft = format!("{teacher}.csv");
        dir.lstmtext(&format!("predict {teacher} --file few.csv --to {soft}")).assert().success();
        let data = format!("--set data.train={soft} {DISTILLED}");
        let distilled = mean_accuracy(&dir, &format!("by_{teacher}_"), &data);
        assert!(distilled > alone + 0.03, "{teacher}: {distilled}, alone {alone}");
    }
}

#[test]
fn probabilities_alone_are_targets_too() {
    for extension in ["csv", "jsonl", "parquet"] {
        let dir = TestDir::with_run();
        let soft = format!("soft.{extension}");
        dir.lstmtext(&format!("predict run --file train.csv --to {soft}")).assert().success();
        let line = format!("small.yaml --out soft --set data.train={soft} --set data.test=null");
        dir.train(&format!("{line} --set data.label_columns=[neg,pos]"));
        let config = dir.read("soft/config.yaml");
        assert!(config.contains("multi_label: false"), "{config}");
        let accuracy = dir.summary("soft")["validation"]["accuracy"].as_f64().unwrap();
        assert!(accuracy > 0.9, "{extension}: {accuracy}");
        let done = dir.lstmtext("evaluate soft --split validation").assert().success();
        done.stdout(contains("accuracy"));
    }
}

#[test]
fn a_distilled_run_resumes_to_the_same_weights() {
    let dir = TestDir::with_run();
    dir.lstmtext("predict run --file train.csv --to soft.csv").assert().success();
    let constant = "--set train.schedule.name=constant";
    let line = format!("small.yaml --set data.train=soft.csv {DISTILLED} {constant}");
    dir.train(&format!("{line} --out whole"));
    dir.train(&format!("{line} --out parts --set train.epochs=2"));
    dir.train("--resume parts --set train.epochs=4");
    dir.assert_same_state("whole", "parts");
}

/// The fingerprints of a run are those of the labels, which evaluation reads without the teacher.
#[test]
fn validation_examples_that_are_split_off_are_recognized() {
    let dir = TestDir::with_run();
    dir.lstmtext("predict run --file train.csv --to soft.csv").assert().success();
    dir.train(&format!("small.yaml --out soft --set data.train=soft.csv {DISTILLED}"));
    let done = dir.lstmtext("evaluate soft --split validation").assert().success();
    assert!(!stderr(&done).contains("changed"), "{}", stderr(&done));
    dir.lstmtext("calibrate soft").assert().success();
}

#[test]
fn split_data_keep_labels_and_probabilities() {
    let dir = TestDir::with_run();
    dir.lstmtext("predict run --file train.csv --to soft.csv").assert().success();
    let fields = format!("{DISTILLED} --set data.test=null");
    let line = format!("data split small.yaml --to parts --set data.train=soft.csv {fields}");
    dir.lstmtext(&line).assert().success();
    let first = &dir.json_lines("parts/train.jsonl")[0];
    let sum = first["neg"].as_f64().unwrap() + first["pos"].as_f64().unwrap();
    assert!((sum - 1.0).abs() < 1e-3 && first["label"].is_string(), "{first}");
    let parts = "--set data.train=parts/train.jsonl --set data.validation=parts/validation.jsonl";
    dir.train(&format!("small.yaml --out again {parts} {fields}"));
    // The labels of other examples are read without probabilities.
    let done = dir.lstmtext("evaluate again --data test.csv").assert().success();
    done.stdout(contains("accuracy"));
    dir.lstmtext("evaluate again --split train --errors errors.csv").assert().success();
}

#[test]
fn missing_probabilities_are_reported() {
    let dir = TestDir::with_data();
    let fails = |line: &str, message: &str| {
        assert_fails(dir.lstmtext(&format!("train small.yaml --out run {line}")), 2, &[message]);
    };
    fails(
        "--set train.distillation.weight=0.5",
        "train.distillation.weight: needs the probabilities of another model in data.label_columns",
    );
    let rows = "text,label,neg,pos\na b c,neg,0.7,0.3\nd e f,pos,0.2,0.9\n";
    let dir = dir.file("soft.csv", rows);
    let line = format!("train small.yaml --out run --set data.train=soft.csv {DISTILLED}");
    assert_fails(dir.lstmtext(&line), 1, &["soft.csv:3: the label columns neg, pos add up to 1.1"]);
}

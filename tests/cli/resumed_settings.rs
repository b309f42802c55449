//! Runs that are resumed with other data, settings or threads.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::checkpoints::seal;
use crate::common::{TestDir, assert_fails, csv, examples};
use crate::training::{COSINE, ENDLESS, PLATEAU, Training, assert_same_run, with_noise};

/// The position inside an epoch is valid only for the same batches.
#[test]
fn a_run_interrupted_inside_an_epoch_continues_only_with_the_same_batches() {
    let dir = with_noise(PLATEAU);
    let mut training = Training::start(&dir, "long.yaml --out run");
    training.wait_for_validations(&dir, "run", 1);
    assert_eq!(training.stop(libc::SIGINT).0, Some(130));
    if dir.json("run/last/progress.json")["batch"] != 0 {
        for (set, advice) in [
            ("train.token_budget=100000", "resume with the former train.token_budget"),
            ("train.seed=2", "resume with the former train.seed"),
            ("data.train=test.csv", "restore the data"),
        ] {
            let command = dir.lstmtext(&format!("train --resume run --set {set}"));
            assert_fails(command, 1, &["interrupted inside epoch", advice]);
        }
    }
    dir.train("--resume run --set train.learning_rate=0.001 --set train.epochs=2");
}

#[test]
fn model_and_text_of_a_resumed_run_cannot_change() {
    let dir = TestDir::with_run();
    for set in ["model.lstm.units=16", "model.pooling=max", "text.max_length=10", "model={}"] {
        let command = dir.lstmtext(&format!("train --resume run --set {set}"));
        assert_fails(command, 2, &[&format!("--set {}", set.split('=').next().unwrap())]);
    }
}

#[test]
fn changed_training_examples_are_noted() {
    let dir = TestDir::with_data().file("validation.csv", csv(&examples(&["neg", "pos"], 60, 5)));
    dir.train("small.yaml --out run --set data.validation=validation.csv");
    let dir = dir.file("train.csv", csv(&examples(&["neg", "pos"], 500, 7)));
    dir.train("--resume run --set train.epochs=5")
        .stderr(contains("note: the training examples have changed since"));
    dir.train("--resume run --set train.epochs=6").stderr(contains("have changed").not());
    dir.train("--resume run --set train.epochs=8 --set train.batch_size=8").stderr(contains(
        "note: the order of the training examples (train.batch_size) has changed",
    ));
    let dir = dir.file("test.csv", csv(&examples(&["neg", "pos"], 50, 8)));
    dir.train("--resume run --set train.epochs=9")
        .stderr(contains("note: the test examples have changed"));
}

/// In another order of the rows, the split is another one.
#[test]
fn a_run_does_not_validate_on_examples_that_it_was_trained_on() {
    let dir = TestDir::with_run();
    let mut reversed = examples(&["neg", "pos"], 600, 1);
    reversed.reverse();
    let dir = dir.file("train.csv", csv(&reversed));
    let before = dir.read("run/metrics.jsonl");
    let expected = ["the training and the validation examples have changed", "restore the data"];
    assert_fails(dir.lstmtext("train --resume run --set train.epochs=6"), 1, &expected);
    assert_eq!(dir.read("run/metrics.jsonl"), before);
}

#[test]
fn scores_on_other_validation_examples_are_not_compared_with_former_ones() {
    let mut validation = examples(&["neg", "pos"], 50, 9);
    let dir = TestDir::with_data().file("val.csv", csv(&validation));
    dir.train("small.yaml --out run --set data.validation=val.csv --set train.epochs=2");
    let best = |dir: &TestDir| dir.json("run/summary.json")["validation"]["accuracy"].as_f64();
    assert!(best(&dir).unwrap() > 0.9);
    // The opposite labels: every score is worse.
    for example in &mut validation {
        example.label = if example.label == "neg" { "pos" } else { "neg" }.to_owned();
    }
    let dir = dir.file("val.csv", csv(&validation));
    dir.train("--resume run --set train.epochs=3")
        .stderr(contains("note: the validation examples have changed since the run started"));
    assert!(best(&dir).unwrap() < 0.5);
    assert_eq!(dir.json("run/summary.json")["best_epoch"], 3);
    dir.train("--resume run --set train.epochs=4").stderr(contains("have changed").not());
}

/// The number of shards is fixed, so the threads only share them out.
#[test]
fn a_run_resumed_with_other_threads_is_bit_identical() {
    let dir = with_noise(COSINE);
    let set = "--set train.epochs=3 --set train.shards=4";
    dir.train(&format!("long.yaml --out whole {set} --threads 1"));
    dir.train(&format!("long.yaml --out three {set} --threads 3"));
    assert_same_run(&dir, "whole", "three");
    let mut training = Training::start(&dir, &format!("long.yaml --out stopped {set} --threads 2"));
    training.wait_for_validations(&dir, "stopped", 1);
    assert_eq!(training.stop(libc::SIGTERM).0, Some(143));
    dir.train("--resume stopped --threads 3").stderr(contains("changed since").not());
    assert_same_run(&dir, "whole", "stopped");
}

#[test]
fn the_number_of_shards_is_chosen_once_and_saved() {
    let dir = TestDir::with_data();
    let choices = ["--threads 1", "--threads 3", "--set train.shards=auto --threads 2"];
    for (index, choice) in choices.into_iter().enumerate() {
        dir.train(&format!("small.yaml --out run{index} --set train.epochs=1 {choice}"));
        assert_same_run(&dir, "run0", &format!("run{index}"));
    }
    let config = dir.read("run0/config.yaml");
    assert!(!config.contains("shards: auto"), "{config}");
    dir.train("small.yaml --out five --set train.epochs=1 --set train.shards=5");
    dir.train("--resume five --set train.epochs=2");
    assert!(dir.read("five/last/config.yaml").contains("shards: 5"));
}

#[test]
fn a_checkpoint_without_the_number_of_shards_continues_with_the_number_of_threads() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set train.shards=3");
    for name in ["best", "last"] {
        let config = dir.read(&format!("run/{name}/config.yaml"));
        let without = config.replace("  shards: 3", "# shards: 3");
        std::fs::write(dir.path(&format!("run/{name}/config.yaml")), &without).unwrap();
        assert_ne!(config, without);
        seal(&dir, &format!("run/{name}"));
    }
    dir.train("--resume run --set train.epochs=5 --threads 2")
        .stderr(contains("does not say into how many shards").and(contains("continues with 2")));
    assert!(dir.read("run/config.yaml").contains("shards: 2"));
    dir.train("--resume run --set train.epochs=6 --threads 1")
        .stderr(contains("into how many shards").not());
}

#[test]
fn the_printed_command_has_the_arguments_that_compute_the_run() {
    let dir = with_noise(COSINE);
    let line = format!("long.yaml --out run --threads 2 --device cpu --no-test --json {ENDLESS}");
    let mut training = Training::start(&dir, &line);
    training.wait_for_validations(&dir, "run", 1);
    let (_, stderr) = training.stop(libc::SIGINT);
    let command = stderr.lines().last().unwrap().trim();
    let expected = "train --no-test --json --device cpu --threads 2 --resume ";
    assert!(command.contains(expected), "{stderr}");
}

#[test]
fn settings_changed_on_resume_are_noted() {
    let dir = TestDir::with_run();
    dir.train("--resume run --set train.epochs=5 --set precision=fp32 --set train.shards=4")
        .stderr(contains("train.epochs is 5 (was 4)"))
        .stderr(contains("precision is fp32 (was tf32)"))
        .stderr(contains("train.shards is 4 (was "));
    dir.train("--resume run --set train.epochs=6 --set train.shards=auto")
        .stderr(contains("train.shards is auto").not());
    let progress = dir.read("run/last/progress.json");
    let version = format!("lstmtext {}", env!("CARGO_PKG_VERSION"));
    assert!(progress.contains(&version), "{progress}");
    let other = progress.replace(&version, "lstmtext 0.0.7");
    assert_eq!(progress.len(), other.len());
    std::fs::write(dir.path("run/last/progress.json"), other).unwrap();
    seal(&dir, "run/last");
    dir.train("--resume run --set train.epochs=7")
        .stderr(contains("was computed with lstmtext 0.0.7, "));
    dir.train("--resume run --set train.epochs=8").stderr(contains("was computed with").not());
}

#[test]
fn the_learning_rate_of_a_longer_run_is_noted() {
    let dir = TestDir::with_run();
    let rate = |record: usize| dir.metrics("run")[record]["learning_rate"].as_f64().unwrap();
    dir.train("--resume run --set train.epochs=8")
        .stderr(contains(
            "the learning rate continues at 0.025; with the former settings it would be 0",
        ))
        .stderr(contains("The linear schedule falls to 0 at the end of epoch 8"));
    assert!(rate(4) > 0.0 && rate(7) < rate(4), "{:?}", dir.metrics("run"));
}

#[test]
fn every_schedule_of_a_longer_run_is_noted() {
    let dir = TestDir::with_run();
    for (epochs, schedule, expected) in [
        (6, "constant", "The constant schedule stays at "),
        (7, "exponential", "The exponential schedule multiplies it by "),
        (8, "plateau", "The plateau schedule multiplies it by "),
        (9, "plateau", "The plateau schedule multiplies it by "),
    ] {
        let set = format!("--set train.epochs={epochs} --set train.schedule.name={schedule}");
        dir.train(&format!("--resume run {set} --set train.early_stopping.patience=null"))
            .stderr(contains("note: the learning rate continues at ").and(contains(expected)));
    }
}

/// The schedule follows the epochs, whatever their number of steps.
#[test]
fn a_schedule_continues_from_its_epoch_if_the_number_of_steps_changes() {
    let dir = TestDir::with_data();
    let set = "--set train.early_stopping.patience=null --set train.epochs";
    dir.train(&format!("small.yaml --out run {set}=2"));
    for (epochs, batch_size) in [(4, 128), (6, 8), (8, 8)] {
        dir.train(&format!(
            "--resume run {set}={epochs} --set train.batch_size={batch_size} \
             --set train.schedule.end_factor=0.5"
        ));
        let records = dir.metrics("run");
        let rates: Vec<f64> =
            records.iter().map(|record| record["learning_rate"].as_f64().unwrap()).collect();
        assert_eq!(rates.len(), epochs);
        // 1 at the start, 0.5 at the end.
        let expected = 0.05 * (1.0 - 0.5 * (epochs - 1) as f64 / epochs as f64);
        assert!((rates[epochs - 2] - expected).abs() < 0.006, "{epochs}: {rates:?}");
        assert!((rates[epochs - 1] - 0.025).abs() < 0.006, "{epochs}: {rates:?}");
    }
}

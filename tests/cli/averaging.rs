//! Weight averaging: what is scored and saved, and resuming.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::common::{TestDir, assert_fails, stdout_json};
use crate::training::{COSINE, PLATEAU, Training, assert_same_run, with_noise};

const EMA: &str = "--set train.average.method=ema --set train.average.decay=0.9";

#[test]
fn scores_and_checkpoints_are_those_of_the_averages() {
    let dir = TestDir::with_data();
    for set in [EMA, "--set train.average.method=swa"] {
        dir.train(&format!("small.yaml --out run {set}"));
        let raw = dir.bytes("run/last/raw.safetensors");
        assert_ne!(raw, dir.bytes("run/last/model.safetensors"));
        let scored = dir.metrics("run")[3]["validation"]["loss"].as_f64().unwrap();
        let evaluation = |checkpoint: &str| {
            let line = format!("evaluate {checkpoint} --split validation --json");
            stdout_json(&dir.lstmtext(&line).assert().success())["loss"].as_f64().unwrap()
        };
        assert_eq!(evaluation("run/last"), scored, "{set}");
        let summary = dir.summary("run");
        let best = summary["validation"]["loss"].as_f64().unwrap();
        assert_eq!(evaluation("run"), best, "{set}");
        let line = "evaluate run --split test --json";
        let test = stdout_json(&dir.lstmtext(line).assert().success());
        assert_eq!(test["loss"], summary["test"]["loss"], "{set}");
        std::fs::remove_dir_all(dir.path("run")).unwrap();
    }
    dir.train("small.yaml --out run");
    assert!(!dir.path("run/last/raw.safetensors").exists());
}

#[test]
fn averages_do_not_depend_on_validations_or_threads() {
    let dir = with_noise(COSINE);
    let set = format!(
        "long.yaml {EMA} --set train.epochs=3 --set train.shards=4 \
         --set train.early_stopping.patience=null"
    );
    dir.train(&format!("{set} --out a"));
    dir.train(&format!("{set} --out b --threads 3 --set train.validate_every=11"));
    dir.train(&format!("{set} --out c --set train.checkpoint_every=7"));
    for name in ["model.safetensors", "raw.safetensors", "optimizer.safetensors"] {
        let bytes = |run: &str| dir.bytes(&format!("{run}/last/{name}"));
        assert!(bytes("a") == bytes("b"), "{name}");
        assert!(bytes("a") == bytes("c"), "{name}");
    }
}

/// The first run updates the vectors of a batch's words only; the second one those of others lazily.
#[test]
fn an_averaged_run_that_was_interrupted_is_bit_identical() {
    for (config, set) in [
        (COSINE, "--set train.average.method=ema --set train.early_stopping.patience=3"),
        (
            PLATEAU,
            "--set train.average.method=swa --set train.average.start=0.01 --set \
             train.rmsprop.momentum=0 --set train.sparse_embedding=false --set \
             train.early_stopping.patience=9",
        ),
    ] {
        let dir = with_noise(config);
        dir.train(&format!("long.yaml --out whole {set}"));
        let mut training = Training::start(&dir, &format!("long.yaml --out stopped {set}"));
        training.wait_for_validations(&dir, "stopped", 1);
        assert_eq!(training.stop(libc::SIGINT).0, Some(130));
        let mut training = Training::start(&dir, "--resume stopped");
        training.wait_for_validations(&dir, "stopped", 2);
        training.kill();
        dir.train("--resume stopped");
        assert_same_run(&dir, "whole", "stopped");
    }
}

#[test]
fn averaging_can_be_switched_on_and_off() {
    let dir = TestDir::with_data();
    let set = "--set train.schedule.name=constant --set train.early_stopping.patience=null";
    dir.train(&format!("small.yaml --out plain {set} --set train.epochs=6"));
    let raw = |run: &str| dir.bytes(&format!("{run}/last/raw.safetensors"));
    let model = |run: &str| dir.bytes(&format!("{run}/last/model.safetensors"));

    dir.train(&format!("small.yaml --out run {set} --set train.epochs=2"));
    dir.train(&format!("--resume run --set train.epochs=3 {EMA}"))
        .stderr(contains("note: weights are averaged from now on"));
    let (first, averaged) = (raw("run"), model("run"));
    dir.train("--resume run --set train.epochs=4")
        .stderr(contains("average").not())
        .stderr(contains("resuming after step "));
    assert!(raw("run") != first && model("run") != averaged);
    dir.train("--resume run --set train.epochs=5 --set train.average.method=swa").stderr(contains(
        "note: the method of averaging weights has changed: the average starts anew",
    ));
    dir.train("--resume run --set train.epochs=6 --set train.average.method=none").stderr(
        contains(
            "note: weights are no longer averaged: training continues from those before averaging",
        ),
    );
    assert!(!dir.path("run/last/raw.safetensors").exists());
    assert!(model("run") == model("plain"), "averaging does not change what steps do");
}

#[test]
fn a_run_that_ends_before_its_average_starts_is_warned_about() {
    let dir = TestDir::with_data();
    let set = "--set train.average.method=swa --set train.early_stopping.patience=1 \
               --set train.early_stopping.min_delta=9";
    dir.train(&format!("small.yaml --out early {set} --set train.epochs=8")).stderr(contains(
        "the weights were never averaged: averaging starts after 0.5 of 8 epochs, but the run ended in epoch 2",
    ));
    dir.train(&format!("small.yaml --out late {set} --set train.average.start=0.2"))
        .stderr(contains("never averaged").not());
}

#[test]
fn damaged_averages_are_rejected_when_a_run_resumes() {
    let dir = TestDir::with_data();
    dir.train(&format!("small.yaml --out run {EMA}"));
    let path = dir.path("run/last/raw.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let command = dir.lstmtext("train --resume run --set train.epochs=9");
    assert_fails(command, 1, &["raw.safetensors is damaged", "run/last"]);
}

#[test]
fn impossible_settings_are_rejected() {
    let dir = TestDir::with_data();
    for (setting, fault) in [
        ("method=mean", "expected none, ema or swa"),
        ("decay=1", "expected a number from 0 to 0.99999"),
        ("start=1", "expected a number from 0 to 0.99 or null"),
    ] {
        let line = format!("train small.yaml --out run --set train.average.{setting}");
        assert_fails(dir.lstmtext(&line), 2, &[fault]);
    }
}

//! `train.scale_branches`: the scales of LSTM and n-grams that validations choose.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::common::{TestDir, csv, noise, stdout_json};
use crate::training::{Training, assert_same_run};

/// Labels at random: whatever the LSTM learns is wrong.
const CONFIG: &str = "\
data: {train: noise.csv}
text: {min_count: 1}
model: {embedding: {size: 16}, lstm: {units: 16}, head: {dropout: 0}}
train: {epochs: 6, batch_size: 16, learning_rate: 0.01, early_stopping: {patience: null}}
";

fn with_random_labels() -> TestDir {
    TestDir::new().file("long.yaml", CONFIG).file("noise.csv", csv(&noise(900, 1)))
}

fn scales(dir: &TestDir, run: &str) -> Vec<Option<f64>> {
    let records = dir.metrics(run);
    records.iter().map(|record| record["branch_scales"]["lstm"].as_f64()).collect()
}

#[test]
fn a_useless_lstm_is_scaled_down() {
    let dir = with_random_labels();
    dir.train("long.yaml --out run --set train.early_stopping.restore_best=false")
        .stderr(contains(", LSTM × 1/"));
    dir.train("long.yaml --out off --set train.scale_branches=false");
    assert!(scales(&dir, "run")[5].unwrap() < 0.5, "{:?}", scales(&dir, "run"));
    assert_eq!(scales(&dir, "off"), [None; 6]);
    let loss = |run: &str| dir.metrics(run)[5]["validation"]["loss"].as_f64().unwrap();
    assert!(loss("run") < loss("off") - 0.01, "{} {}", loss("run"), loss("off"));
    // Training does not depend on it, and last/ has the weights that were scored.
    let train = |run: &str| dir.metrics(run)[5]["train"].clone();
    assert_eq!(train("run"), train("off"));
    for (checkpoint, scored) in [
        ("run/last", loss("run")),
        ("run/best", dir.metrics("run").iter().map(validation_loss).fold(f64::INFINITY, f64::min)),
    ] {
        let line = format!("evaluate {checkpoint} --split validation --json");
        let evaluation = stdout_json(&dir.lstmtext(&line).assert().success());
        let evaluated = evaluation["loss"].as_f64().unwrap();
        assert!((evaluated - scored).abs() < 1e-6, "{checkpoint}: {evaluated} {scored}");
    }
}

fn validation_loss(record: &serde_json::Value) -> f64 {
    record["validation"]["loss"].as_f64().unwrap()
}

#[test]
fn a_run_that_scales_its_branches_resumes_exactly() {
    for set in ["", "--set train.average.method=ema --set train.average.decay=0.9"] {
        let dir = with_random_labels();
        dir.train(&format!("long.yaml --out whole {set}"));
        assert!(scales(&dir, "whole")[2].unwrap() < 1.0);
        let mut training = Training::start(&dir, &format!("long.yaml --out stopped {set}"));
        training.wait_for_validations(&dir, "stopped", 2);
        assert_eq!(training.stop(libc::SIGINT).0, Some(130));
        let mut training = Training::start(&dir, "--resume stopped");
        training.wait_for_validations(&dir, "stopped", 4);
        training.kill();
        dir.train("--resume stopped");
        assert_same_run(&dir, "whole", "stopped");
    }
}

#[test]
fn the_setting_can_change_when_a_run_resumes() {
    let dir = with_random_labels();
    dir.train("long.yaml --out run --set train.epochs=3 --set train.schedule.name=constant");
    dir.train(
        "long.yaml --out other --set train.schedule.name=constant --set train.scale_branches=false",
    );
    dir.train("--resume run --set train.epochs=6 --set train.scale_branches=false");
    assert!(scales(&dir, "run")[2].is_some() && scales(&dir, "run")[5].is_none());
    let model = |run: &str| dir.bytes(&format!("{run}/last/model.safetensors"));
    assert!(model("run") == model("other"));
}

#[test]
fn nothing_is_scaled_without_both_branches_or_if_one_is_frozen() {
    let dir = with_random_labels();
    for set in [
        "--set model.lstm=null",
        "--set model.ngrams=null",
        "--set train.freeze=[head]",
        "--set train.freeze=[ngrams]",
    ] {
        dir.train(&format!("long.yaml --out run --set train.epochs=1 {set}"))
            .stderr(contains("LSTM × ").not());
        assert_eq!(scales(&dir, "run"), [None], "{set}");
        std::fs::remove_dir_all(dir.path("run")).unwrap();
    }
}

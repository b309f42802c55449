//! The linear branch over n-grams: alone and beside the LSTM, in every command that uses a model.

use predicates::str::contains;

use crate::common::{
    TestDir, assert_fails, probability_of, stdout, stdout_json, stdout_json_lines,
};
use crate::training::{COSINE, Training, assert_same_run, with_noise};

const LINEAR: &str = "--set model.lstm=null --set model.ngrams.sizes=[1,2]";
const JOINT: &str = "--set model.ngrams.sizes=[1,2,3] --set model.ngrams.min_count=1";

#[test]
fn a_linear_model_is_trained_and_used_without_an_lstm() {
    let dir = TestDir::with_data();
    dir.train(&format!("small.yaml --out run {LINEAR}")).stderr(contains("ngrams"));
    assert!(dir.test_accuracy("run") > 0.9);
    let evaluation = dir.lstmtext("evaluate run --split test --json").assert().success();
    assert_eq!(stdout_json(&evaluation)["loss"], dir.summary("run")["test"]["loss"]);
    let predicted = dir.lstmtext("predict run --top 2 --format jsonl").args(["pos1 pos2"]).assert();
    assert!(probability_of(&stdout_json_lines(&predicted.success())[0], "pos") > 0.5);
    let explained = dir.lstmtext("explain run --class pos --json").arg("pos1 pos2 neg3").assert();
    let explanation = &stdout_json(&explained.success())[0];
    let ngrams = explanation["inputs"][0]["ngrams"].as_array().unwrap();
    assert!(ngrams.iter().any(|ngram| ngram["ngram"] == "pos1"), "{ngrams:?}");
    let gap = explanation["integration"]["completeness_gap"].as_f64().unwrap();
    assert!(gap.abs() < 1e-5, "contributions are exact: {gap}");
    assert_fails(dir.lstmtext("states run pos1"), 1, &["no LSTM", "model.lstm"]);
    for line in ["runs .", "summary small.yaml", "bench small.yaml --steps 2 --rounds 1"] {
        let set = if line.starts_with("runs") { "" } else { LINEAR };
        dir.lstmtext(&format!("{line} {set}")).assert().success();
    }
}

#[test]
fn an_input_has_an_lstm_or_ngrams() {
    let dir = TestDir::with_data();
    let command = dir.lstmtext("train small.yaml --set model.lstm=null --set model.ngrams=null");
    assert_fails(command, 2, &["model.lstm", "needs an LSTM, n-grams"]);
    let command = dir.lstmtext(&format!("train small.yaml {JOINT} --set model.ngrams.sizes=[0,1]"));
    assert_fails(command, 2, &["model.ngrams.sizes", "from 1 to 10"]);
    let command =
        dir.lstmtext(&format!("train small.yaml {LINEAR} --set model.ngrams.min_count=9999"));
    assert_fails(command, 1, &["model.ngrams", "min_count"]);
}

#[test]
fn a_run_with_ngrams_that_was_interrupted_is_bit_identical() {
    for set in [JOINT, LINEAR] {
        let dir = with_noise(COSINE);
        let set =
            format!("{set} --set train.early_stopping.patience=3 --set train.average.method=ema");
        dir.train(&format!("long.yaml --out whole {set}"));
        let mut training = Training::start(&dir, &format!("long.yaml --out stopped {set}"));
        training.wait_for_validations(&dir, "stopped", 1);
        training.stop(libc::SIGINT);
        dir.train("--resume stopped");
        assert_same_run(&dir, "whole", "stopped");
    }
}

/// Texts are scored alike however they are read: from the data, from a file, or one by one.
#[test]
fn hashed_and_counted_ngrams_predict_alike_in_every_command() {
    let dir = TestDir::with_data();
    for set in [JOINT, "--set model.ngrams.sizes=[1,2] --set model.ngrams.buckets=1000"] {
        dir.train(&format!("small.yaml --out run {set}"));
        let one = dir.lstmtext("predict run --top 2 --format jsonl").args(["n1 pos3 n2"]).assert();
        let one = probability_of(&stdout_json_lines(&one.success())[0], "pos");
        let explained = dir.lstmtext("explain run --class pos --json").arg("n1 pos3 n2").assert();
        let explanation = &stdout_json(&explained.success())[0];
        assert!((explanation["probability"].as_f64().unwrap() - one).abs() < 1e-6);
        let has_index = dir.path("run/best/ngrams.safetensors").exists();
        assert_eq!(has_index, !set.contains("buckets"));
        dir.lstmtext("export run --to weights.npz").assert().success();
        dir.lstmtext("import run weights.npz --to imported").assert().success();
        let line = "evaluate imported --split test --json";
        let imported = stdout_json(&dir.lstmtext(line).assert().success());
        assert_eq!(imported["loss"], dir.summary("run")["test"]["loss"]);
        let printed = dir.lstmtext("explain run").args(["pos3 pos4"]).assert().success();
        assert!(stdout(&printed).contains("pos3 pos4"));
        for name in ["run", "imported"] {
            std::fs::remove_dir_all(dir.path(name)).unwrap();
        }
        std::fs::remove_file(dir.path("weights.npz")).unwrap();
    }
}

//! Run directories in unusual states: damaged, incomplete, or used by two processes.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::checkpoints::seal;
use crate::common::{TestDir, assert_fails, stderr};
use crate::training::Training;

/// Creates a directory with a run of `small.yaml` that has ended, but not finished: it has no summary.
fn unfinished() -> TestDir {
    let dir = TestDir::with_run();
    fs::remove_file(dir.path("run/summary.json")).unwrap();
    dir
}

/// Changes the progress in both checkpoints of a run.
fn change_progress(dir: &TestDir, change: &Value) {
    for checkpoint in ["run/best", "run/last"] {
        let mut progress = dir.json(&format!("{checkpoint}/progress.json"));
        progress.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let path = dir.path(&format!("{checkpoint}/progress.json"));
        fs::write(path, progress.to_string()).unwrap();
        seal(dir, checkpoint);
    }
}

#[test]
fn impossible_progress_is_an_error() {
    let dir = unfinished();
    for change in [
        json!({"epoch": 1, "batch": 1000, "step": 30}),
        // Within the steps, but beyond the batches of its epoch.
        json!({"epoch": 1, "batch": 1000, "step": 3000}),
        json!({"epoch": 99}),
        json!({"epoch": -1}),
        json!({"step": u64::MAX}),
        json!({"waited": 9999}),
        json!({"best": {"epoch": 9, "validation": {"loss": 0.5, "accuracy": 0.5}}}),
        json!({"seconds": null}),
        json!({"plateau": {"factor": -1.0, "waited": 0}}),
    ] {
        let dir = unfinished();
        change_progress(&dir, &change);
        let message = assert_fails(dir.lstmtext("train --resume run"), 1, &["error: "]);
        assert!(message.contains("progress.json") || message.contains("batch"), "{message}");
    }
    dir.train("--resume run");
}

#[test]
fn a_deleted_best_checkpoint_is_replaced() {
    for line in ["", " --set train.epochs=6"] {
        let dir = TestDir::with_run();
        let weights = dir.bytes("run/last/model.safetensors");
        fs::remove_dir_all(dir.path("run/best")).unwrap();
        let done = dir.train(&format!("--resume run{line}"));
        assert!(stderr(&done).contains("the checkpoint of the best validation is missing"));
        assert!(dir.path("run/summary.json").exists());
        dir.lstmtext("predict run x").assert().success();
        if line.is_empty() {
            assert_eq!(dir.best_weights("run"), weights);
        }
    }
}

#[test]
fn a_damaged_best_checkpoint_is_reported_before_training() {
    let dir = TestDir::with_run();
    fs::write(dir.path("run/best/model.safetensors"), "damaged").unwrap();
    let steps = dir.metrics("run").len();
    let resume = dir.lstmtext("train --resume run --set train.epochs=6");
    assert_fails(resume, 1, &["run/best", "run/last\" is intact", "delete the damaged checkpoint"]);
    assert_eq!(dir.metrics("run").len(), steps);
}

#[test]
fn damaged_metrics_lose_one_line() {
    let dir = unfinished();
    let lines = dir.read("run/metrics.jsonl");
    fs::write(dir.path("run/metrics.jsonl"), lines.replacen("\"epoch\":2", "\"epoch\":", 1))
        .unwrap();
    dir.lstmtext("runs run").assert().success();
    let done = dir.train("--resume run");
    assert!(stderr(&done).contains("metrics.jsonl:2: damaged line"), "{}", stderr(&done));
    let epochs: Vec<u64> =
        dir.metrics("run").iter().map(|line| line["epoch"].as_u64().unwrap()).collect();
    assert_eq!(epochs, [1, 3, 4]);
}

#[test]
fn a_run_killed_after_its_test_score_has_one_test_score() {
    let dir = TestDir::with_run();
    fs::remove_file(dir.path("run/summary.json")).unwrap();
    dir.train("--resume run");
    let sizes: Vec<usize> = dir
        .names("run/test")
        .iter()
        .map(|name| dir.bytes(&format!("run/test/{name}")).len())
        .collect();
    let header = *sizes.iter().min().unwrap();
    // All other files have only the header left.
    assert_eq!(sizes.iter().filter(|size| **size > header).count(), 1, "{sizes:?}");
    let events = dir.names("run").into_iter().filter(|name| name.starts_with("events."));
    let has_score = |name: &String| {
        dir.bytes(&format!("run/{name}")).windows(14).any(|bytes| bytes == b"best/test_loss")
    };
    assert_eq!(events.filter(has_score).count(), 1);
}

/// A process was killed between writing its first file and renaming it.
#[test]
fn a_run_starts_in_a_directory_that_a_killed_process_has_left() {
    let dir =
        TestDir::with_data().file("run/.lock", "").file("run/.config.yaml.aB3dE6.tmp", "data:");
    dir.train("small.yaml --out run");
    assert!(!dir.path("run/.config.yaml.aB3dE6.tmp").exists());
    let dir = TestDir::with_data().file("run/.mine.aB3dE6.tmp", "");
    assert_fails(dir.lstmtext("train small.yaml --out run"), 2, &["is not empty", ".mine"]);
}

#[test]
fn a_directory_that_cannot_be_resumed_names_what_is_in_the_way() {
    let dir = TestDir::with_data().file("run/error.txt", "mine");
    let train = dir.lstmtext("train small.yaml --out run");
    assert_fails(train, 1, &["contains \"error.txt\"", "another --out"]);
    assert_eq!(dir.names("run"), ["error.txt"]);
}

#[test]
fn a_run_resumes_without_its_configuration_file() {
    let dir = TestDir::with_run();
    fs::remove_file(dir.path("run/config.yaml")).unwrap();
    dir.train("--resume run --set train.epochs=5");
    assert!(dir.read("run/config.yaml").contains("epochs: 5"));
}

#[test]
fn a_signal_before_training_ends_the_process_at_once() {
    let rows: String =
        (0..400_000).map(|row| format!("word{row} good film,{}\n", row % 2)).collect();
    let dir = TestDir::with_data().file("large.csv", format!("text,label\n{rows}"));
    let start = |line: &str| {
        let training = Training::start(&dir, line);
        // The lock is written before the data is read.
        std::thread::sleep(Duration::from_millis(50));
        training
    };
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut training = start("small.yaml --out new --set data.train=large.csv");
        training.wait_until(|| dir.path("new/config.yaml").exists());
        let began = Instant::now();
        let (code, stderr) = training.stop(signal);
        assert_eq!(code, Some(128 + signal), "{stderr}");
        assert!(stderr.contains("stopped before training began"), "{stderr}");
        assert!(began.elapsed() < Duration::from_secs(2));
        assert!(!dir.path("new").exists());
    }
    dir.train("small.yaml --out run");
    let before = dir.read("run/metrics.jsonl");
    let set = "--set data.train=large.csv --set train.epochs=9";
    let training = start(&format!("--resume run {set}"));
    assert_eq!(training.stop(libc::SIGTERM).0, Some(143));
    assert_eq!(dir.read("run/metrics.jsonl"), before);
    dir.train("--resume run --set train.epochs=5");
}

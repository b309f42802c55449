//! Checkpoints that are damaged or of another version.

use std::fs;

use serde_json::json;

use crate::common::{TestDir, assert_fails};

/// Creates a run and changes the file `name` of its best checkpoint.
fn damaged(name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> TestDir {
    let dir = TestDir::with_run();
    let path = format!("run/best/{name}");
    let changed = change(dir.bytes(&path));
    dir.file(&path, changed)
}

/// Expects that the checkpoint cannot be opened, and that the message names it.
fn assert_rejected(dir: &TestDir, parts: &[&str]) {
    let message = assert_fails(dir.lstmtext("predict run text"), 1, parts);
    assert!(message.contains("run/best"), "{message}");
}

#[test]
fn a_changed_bit_in_the_weights_is_detected() {
    let dir = damaged("model.safetensors", |mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    });
    assert_rejected(&dir, &["model.safetensors is damaged"]);
    assert_fails(dir.lstmtext("evaluate run"), 1, &["run/best", "model.safetensors is damaged"]);
}

/// Covers every file, including the manifest.
#[test]
fn every_change_of_a_file_is_detected() {
    let dir = TestDir::with_run();
    let expected = dir.lstmtext("predict run some_words pos3").assert().success();
    for name in dir.names("run/best") {
        let path = dir.path("run/best").join(&name);
        let intact = fs::read(&path).unwrap();
        let positions = (0..12).map(|part| part * (intact.len() - 1) / 11);
        for (index, position) in positions.enumerate() {
            let mut bytes = intact.clone();
            bytes[position] ^= 1 << (index % 8);
            fs::write(&path, bytes).unwrap();
            assert_rejected(&dir, &[&name]);
        }
        for length in [0, 1, intact.len() / 3, intact.len() - 1] {
            fs::write(&path, &intact[..length]).unwrap();
            assert_rejected(&dir, &[&name]);
        }
        fs::write(&path, [&intact[..], b"\n"].concat()).unwrap();
        assert_rejected(&dir, &[&name]);
        fs::write(&path, intact).unwrap();
    }
    let after = dir.lstmtext("predict run some_words pos3").assert().success();
    after.stdout(expected.get_output().stdout.clone());
}

#[test]
fn a_truncated_vocabulary_is_detected() {
    let dir = damaged("vocabulary.json", |bytes| bytes[..bytes.len() / 2].to_vec());
    assert_rejected(&dir, &["vocabulary.json has", "bytes"]);
}

#[test]
fn a_missing_file_is_detected() {
    let dir = TestDir::with_run();
    for name in ["progress.json", "optimizer.safetensors", "model.safetensors", "config.yaml"] {
        let path = dir.path("run/best").join(name);
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_rejected(&dir, &[name]);
        fs::write(&path, content).unwrap();
    }
    dir.lstmtext("predict run text").assert().success();
}

#[test]
fn a_checkpoint_of_a_later_version_is_rejected() {
    let dir = TestDir::with_run();
    let mut manifest = dir.json("run/best/checkpoint.json");
    manifest["version"] = json!(99);
    // A later version may have more fields.
    manifest["compression"] = json!("zstd");
    let dir = dir.file("run/best/checkpoint.json", manifest.to_string());
    assert_rejected(&dir, &["version 99", "newer lstmtext"]);
}

#[test]
fn an_invalid_manifest_is_rejected() {
    let mut dir = TestDir::with_run();
    for content in ["", "{", "[]", "{\"format\": \"pickle\", \"version\": 1}", "\u{0}\u{1}"] {
        dir = dir.file("run/best/checkpoint.json", content);
        assert_rejected(&dir, &["checkpoint.json"]);
    }
}

#[test]
fn paths_without_a_checkpoint_are_reported() {
    let dir = TestDir::with_data().file("empty/readme", "");
    assert_fails(dir.lstmtext("predict nowhere text"), 1, &["no checkpoint \"nowhere\""]);
    assert_fails(dir.lstmtext("predict empty text"), 1, &["checkpoint.json is missing"]);
    assert_fails(dir.lstmtext("evaluate small.yaml"), 1, &["\"small.yaml\" is a file"]);
}

#[test]
fn a_run_is_not_resumed_from_a_damaged_checkpoint() {
    let dir = TestDir::with_run();
    let progress = dir.read("run/last/progress.json").replacen('1', "2", 1);
    let dir = dir.file("run/last/progress.json", progress);
    let before = dir.read("run/metrics.jsonl");
    let command = dir.lstmtext("train --resume run --set train.epochs=9");
    let advice = "run/best\" is intact: use it, or delete the damaged checkpoint to resume";
    assert_fails(command, 1, &["progress.json is damaged", "run/last", advice]);
    assert_eq!(dir.read("run/metrics.jsonl"), before);
    fs::remove_dir_all(dir.path("run/last")).unwrap();
    dir.train("--resume run --set train.epochs=9");
    assert_eq!(dir.metrics("run").last().unwrap()["epoch"], 9);
}

#[test]
fn an_unreadable_progress_file_does_not_lose_steps() {
    for checkpoint in ["last", "best"] {
        let dir = TestDir::with_run();
        let path = format!("run/{checkpoint}/progress.json");
        let progress = dir.read(&path);
        for damaged in [&progress[..progress.len() / 2], ""] {
            fs::write(dir.path(&path), damaged).unwrap();
            let command = dir.lstmtext("train --resume run --set train.epochs=9");
            let advice = "is intact: use it, or delete the damaged checkpoint";
            assert_fails(command, 1, &["progress.json has", &path[..8], advice]);
        }
    }
}

#[test]
fn prediction_needs_only_the_checkpoint_directory() {
    let dir = TestDir::with_run();
    let before = dir.lstmtext("predict run some_words pos3").assert().success();
    let elsewhere = TestDir::new();
    fs::rename(dir.path("run/best"), elsewhere.path("model")).unwrap();
    drop(dir);
    let after = elsewhere.lstmtext("predict model some_words pos3").assert().success();
    after.stdout(before.get_output().stdout.clone());
}

//! Checkpoints that were damaged on the way, or that another version wrote.

use std::fs;

use serde_json::json;

use crate::common::{Place, assert_fails};

/// A place where `run` is a checkpoint whose file `name` was changed.
fn damaged(name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Place {
    let place = Place::with_run();
    let path = format!("run/best/{name}");
    let changed = change(place.bytes(&path));
    place.file(&path, changed)
}

/// Opening the checkpoint fails, and the message says what is wrong with which.
fn assert_refused(place: &Place, words: &[&str]) {
    let message = assert_fails(place.lstmtext("predict run text"), 1, words);
    assert!(message.contains("run/best"), "{message}");
}

#[test]
fn one_changed_byte_among_the_weights_is_found() {
    let place = damaged("model.safetensors", |mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    });
    assert_refused(&place, &["model.safetensors is damaged"]);
    assert_fails(place.lstmtext("evaluate run"), 1, &["run/best", "model.safetensors is damaged"]);
}

/// In every file, the manifest among them.
#[test]
fn no_byte_can_change_unseen() {
    let place = Place::with_run();
    let expected = place.lstmtext("predict run some_words pos3").assert().success();
    for name in place.names("run/best") {
        let path = place.path("run/best").join(&name);
        let whole = fs::read(&path).unwrap();
        let places = (0..12).map(|part| part * (whole.len() - 1) / 11);
        for (number, at) in places.enumerate() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (number % 8);
            fs::write(&path, bytes).unwrap();
            assert_refused(&place, &[&name]);
        }
        for length in [0, 1, whole.len() / 3, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_refused(&place, &[&name]);
        }
        fs::write(&path, [&whole[..], b"\n"].concat()).unwrap();
        assert_refused(&place, &[&name]);
        fs::write(&path, whole).unwrap();
    }
    let after = place.lstmtext("predict run some_words pos3").assert().success();
    after.stdout(expected.get_output().stdout.clone());
}

#[test]
fn a_truncated_vocabulary_is_found() {
    let place = damaged("vocabulary.json", |bytes| bytes[..bytes.len() / 2].to_vec());
    assert_refused(&place, &["vocabulary.json has", "bytes"]);
}

#[test]
fn a_missing_file_is_found() {
    let place = Place::with_run();
    for name in ["progress.json", "optimizer.safetensors", "model.safetensors", "config.yaml"] {
        let path = place.path("run/best").join(name);
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_refused(&place, &[name]);
        fs::write(&path, content).unwrap();
    }
    place.lstmtext("predict run text").assert().success();
}

#[test]
fn a_checkpoint_of_a_later_version_is_not_guessed_at() {
    let place = Place::with_run();
    let mut manifest = place.json("run/best/checkpoint.json");
    manifest["version"] = json!(99);
    // A later version may have other fields besides.
    manifest["compression"] = json!("zstd");
    let place = place.file("run/best/checkpoint.json", manifest.to_string());
    assert_refused(&place, &["version 99", "newer lstmtext"]);
}

#[test]
fn a_manifest_that_is_none_is_refused() {
    let mut place = Place::with_run();
    for content in ["", "{", "[]", "{\"format\": \"pickle\", \"version\": 1}", "\u{0}\u{1}"] {
        place = place.file("run/best/checkpoint.json", content);
        assert_refused(&place, &["checkpoint.json"]);
    }
}

#[test]
fn what_is_no_checkpoint_is_called_so() {
    let place = Place::with_data().file("empty/readme", "");
    assert_fails(place.lstmtext("predict nowhere text"), 1, &["no checkpoint \"nowhere\""]);
    assert_fails(place.lstmtext("predict empty text"), 1, &["checkpoint.json is missing"]);
    assert_fails(place.lstmtext("evaluate small.yaml"), 1, &["checkpoint.json is missing"]);
}

#[test]
fn a_damaged_last_checkpoint_is_not_resumed_from() {
    let place = Place::with_run();
    let progress = place.read("run/last/progress.json").replacen('1', "2", 1);
    let place = place.file("run/last/progress.json", progress);
    let before = place.read("run/metrics.jsonl");
    let command = place.lstmtext("train --resume run --set train.epochs=9");
    let advice = "run/best\" is whole: name it instead, or remove the damaged one to resume";
    assert_fails(command, 1, &["progress.json is damaged", "run/last", advice]);
    assert_eq!(place.read("run/metrics.jsonl"), before);
    fs::remove_dir_all(place.path("run/last")).unwrap();
    place.train("--resume run --set train.epochs=9");
    assert_eq!(place.metrics("run").last().unwrap()["epoch"], 9);
}

#[test]
fn a_checkpoint_folder_is_all_that_prediction_needs() {
    let place = Place::with_run();
    let before = place.lstmtext("predict run some_words pos3").assert().success();
    let elsewhere = Place::new();
    fs::rename(place.path("run/best"), elsewhere.path("model")).unwrap();
    drop(place);
    let after = elsewhere.lstmtext("predict model some_words pos3").assert().success();
    after.stdout(before.get_output().stdout.clone());
}

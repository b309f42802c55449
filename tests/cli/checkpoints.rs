//! Checkpoints that are damaged or of another version.

use std::fs;

use lstmtext::model::named_tensors;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::common::{TestDir, assert_fails, checkout, probability_of, stdout_json};

/// Creates a run and changes the file `name` of its best checkpoint.
fn damaged(name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> TestDir {
    let dir = TestDir::with_run();
    let path = format!("run/best/{name}");
    let changed = change(dir.bytes(&path));
    dir.file(&path, changed)
}

/// Changes the values of a tensor in a file of a checkpoint, and seals the checkpoint again.
fn change_values(dir: &TestDir, path: &str, tensor: &str, change: impl FnOnce(&mut [f32])) {
    let file = dir.path(path);
    let mut tensors = named_tensors::read(&file).unwrap();
    change(&mut tensors.iter_mut().find(|each| each.name == tensor).unwrap().values);
    named_tensors::write(&file, &tensors).unwrap();
    seal(dir, path.rsplit_once('/').unwrap().0);
}

/// Updates the SHA-256 of every file in the manifest of a checkpoint, and its own.
pub fn seal(dir: &TestDir, checkpoint: &str) {
    let path = format!("{checkpoint}/checkpoint.json");
    let (mut text, manifest) = (dir.read(&path), dir.json(&path));
    let sha256 = |bytes: &[u8]| -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let recorded = |entry: &Value| entry["sha256"].as_str().unwrap().to_owned();
    for (name, entry) in manifest["files"].as_object().unwrap() {
        let content = dir.bytes(&format!("{checkpoint}/{name}"));
        text = text.replace(&recorded(entry), &sha256(&content));
    }
    text = text.replace(&recorded(&manifest), "");
    let own = sha256(text.as_bytes());
    text = text.replace("\"sha256\": \"\"", &format!("\"sha256\": \"{own}\""));
    fs::write(dir.path(&path), text).unwrap();
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

/// Values that are not finite never become a prediction, a score or an exported file.
#[test]
fn weights_that_are_not_finite_are_rejected_by_every_command() {
    let dir = TestDir::with_run();
    change_values(&dir, "run/best/model.safetensors", "head.bias", |values| values[0] = f32::NAN);
    for line in [
        "predict run text",
        "predict run text --format jsonl",
        "evaluate run",
        "evaluate run/last --compare run",
        "explain run text",
        "states run text",
        "export run --to exported",
        "export run --to exported.npz",
        "export run --to exported.onnx",
        "import run weights.npz --to imported",
        "plot run --to plots",
        "serve run --port 0",
    ] {
        let mut command = dir.lstmtext(line);
        let output = command.unwrap_err().as_output().unwrap().clone();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {message}");
        let expected = "head.bias has the value NaN, which is not finite";
        assert!(message.contains(expected) && message.contains("run/best"), "{line}: {message}");
    }
    for path in ["exported", "exported.npz", "exported.onnx"] {
        assert!(!dir.path(path).exists(), "{path}");
    }
}

#[test]
fn a_run_is_not_resumed_from_values_that_are_not_finite() {
    for (file, tensor) in [
        ("model.safetensors", "embedding.weight"),
        ("optimizer.safetensors", "exp_avg.head.weight"),
    ] {
        let dir = TestDir::with_run();
        let change = |values: &mut [f32]| values[3] = f32::INFINITY;
        change_values(&dir, &format!("run/last/{file}"), tensor, change);
        let before = dir.read("run/metrics.jsonl");
        let command = dir.lstmtext("train --resume run --set train.epochs=9");
        assert_fails(command, 1, &[tensor, "has the value inf", "run/last"]);
        assert_eq!(dir.read("run/metrics.jsonl"), before);
    }
}

/// Checkpoints of lstmtext 0.1 have no `text.version`, and the vocabulary of its tokenizer.
#[test]
fn checkpoints_keep_the_tokenizer_that_they_were_trained_with() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set text.version=1 --set text.min_count=1");
    dir.train("small.yaml --out new --set text.min_count=1");
    let texts = ["pos1\u{301} neg2\u{200D}neg3", "I\u{307}neg1"];
    let known = |run: &str| -> Vec<usize> {
        let command = format!("explain {run} --json");
        let done = dir.lstmtext(&command).args(texts).assert().success();
        let texts = stdout_json(&done);
        let words = |text: &Value| text["inputs"][0]["words"].as_array().unwrap().len();
        texts.as_array().unwrap().iter().map(words).collect()
    };
    assert_eq!((known("run"), known("new")), (vec![5, 3], vec![2, 1]));
    for checkpoint in ["run/best", "run/last"] {
        let config = dir.read(&format!("{checkpoint}/config.yaml"));
        let (data, text) = config.split_once("\ntext:").unwrap();
        // As long as the line that it replaces, whose length the manifest records.
        let text = text.replacen("\n  version: 1", "\n  # ersion: ", 1);
        fs::write(dir.path(&format!("{checkpoint}/config.yaml")), format!("{data}\ntext:{text}"))
            .unwrap();
        seal(&dir, checkpoint);
    }
    assert_eq!(known("run"), [5, 3]);
    dir.train("--resume run --set train.epochs=5");
    assert_eq!(known("run"), [5, 3]);
    assert_eq!(dir.metrics("run").len(), 5);
}

#[test]
fn finite_weights_that_overflow_are_an_error() {
    let dir = TestDir::with_run();
    // Every gate is open and every hidden state positive, so that the logit is infinite.
    let weights = "run/best/model.safetensors";
    change_values(&dir, weights, "embedding.weight", |values| values.fill(1.0));
    change_values(&dir, weights, "lstm.weight_ih_l0", |values| values.fill(f32::MAX));
    change_values(&dir, weights, "head.weight", |values| values.fill(f32::MAX));
    for line in ["predict run text", "evaluate run", "explain run text", "states run text --json"] {
        assert_fails(dir.lstmtext(line), 1, &["overflow"]);
    }
}

/// The files in `versions` were written by the first program of each version. The calibrated models predict the
/// less probable class; the last one is quantized.
#[test]
fn checkpoints_of_every_version_are_read() {
    let dir = TestDir::new();
    for (version, label, probability) in [
        ("2", "pos", 0.5003430197874247),
        ("3", "neg", 0.5279471549092124),
        ("4", "neg", 0.522599416987578),
    ] {
        let path = checkout().join("tests/cli/versions").join(version);
        let mut command = dir.lstmtext("predict --format jsonl --top 2");
        let done = command.arg(path).arg("n1 pos1 n2").assert().success();
        let prediction = stdout_json(&done);
        assert_eq!(prediction["label"], label, "{version}");
        assert!((probability_of(&prediction, "pos") - probability).abs() < 1e-6, "{prediction}");
    }
}

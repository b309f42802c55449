//! A checkpoint is open to other programs: NumPy computes from its files what lstmtext answers.

use serde_json::Value;

use crate::common::{TestDir, python, stdout};

/// The probability of "pos", here and in NumPy, is the same for texts of one word and of many, known
/// and unknown.
fn assert_same_as_numpy(fields: &str, pooling: &[&str]) {
    let dir = TestDir::with_data();
    dir.train(&format!("small.yaml --out run --set text.tokenizer=whitespace {fields}"));
    let checkpoint = dir.path("run/best");
    for text in ["pos1", "n3 neg2 n9 n9 n41 neg7", "n1 neverseen pos4 n2 neg5 n0 n0 n0"] {
        let done = dir.lstmtext("predict run --format jsonl --top 2").arg(text).assert().success();
        let answer: Value = serde_json::from_str(&stdout(&done)).unwrap();
        let classes = answer["classes"].as_array().unwrap();
        let pos = classes.iter().find(|class| class["label"] == "pos").unwrap();
        let ours = pos["probability"].as_f64().unwrap();
        let arguments = [&[checkpoint.to_str().unwrap(), text], pooling].concat();
        let theirs = python("numpy_forward.py", &arguments)["pos"].as_f64().unwrap();
        assert!((ours - theirs).abs() < 1e-5, "{text}: {ours} here, {theirs} in NumPy");
    }
}

#[test]
fn numpy_computes_the_same_probabilities_from_a_checkpoint() {
    assert_same_as_numpy("--set model.pooling=mean", &["mean"]);
}

#[test]
fn padding_in_front_is_read_as_keras_reads_it() {
    let fields = "--set model.pooling=last --set text.pad=front --set text.max_length=12";
    assert_same_as_numpy(fields, &["last", "12"]);
}

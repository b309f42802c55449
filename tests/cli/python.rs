//! Other programs can use a checkpoint: NumPy computes the same predictions from its files.

use crate::common::{TestDir, checkout, probability_of, python, run_python, stdout_json};

/// Compares the probability of "pos" with that of NumPy, for texts of one word and of many, known and
/// unknown.
fn assert_same_as_numpy(fields: &str, pooling: &[&str]) {
    let dir = TestDir::with_data();
    dir.train(&format!("small.yaml --out run --set text.tokenizer=whitespace {fields}"));
    let checkpoint = dir.path("run/best");
    for text in ["pos1", "n3 neg2 n9 n9 n41 neg7", "n1 neverseen pos4 n2 neg5 n0 n0 n0"] {
        let done = dir.lstmtext("predict run --format jsonl --top 2").arg(text).assert().success();
        let ours = probability_of(&stdout_json(&done), "pos");
        let arguments = [&[checkpoint.to_str().unwrap(), text], pooling].concat();
        let theirs = python("numpy_forward.py", &arguments)["pos"].as_f64().unwrap();
        assert!((ours - theirs).abs() < 1e-5, "{text}: {ours} in lstmtext, {theirs} in NumPy");
    }
}

#[test]
fn numpy_computes_the_same_probabilities_from_a_checkpoint() {
    for pooling in ["mean", "attention"] {
        assert_same_as_numpy(&format!("--set model.pooling={pooling}"), &[pooling]);
    }
}

#[test]
fn numpy_computes_the_same_probabilities_with_padding_in_front() {
    let fields = "--set model.pooling=last --set text.pad=front --set text.max_length=12";
    assert_same_as_numpy(fields, &["last", "12"]);
}

#[test]
fn the_model_of_clusters_computes_what_it_says() {
    run_python(&checkout().join("benchmarks/clusters.py"), &["--self-test"]);
}

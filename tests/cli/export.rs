//! `lstmtext export`: PyTorch and ONNX Runtime compute the same predictions from an exported
//! directory as lstmtext.

use serde_json::json;

use crate::common::{
    TestDir, assert_fails, checkout, floats, probability_of, python, read, run_python, stdout_json,
};

/// Texts of different lengths, with known and unknown words.
const TEXTS: [&str; 4] =
    ["pos1", "n3 neg2 n9 n9 n41 neg7", "n1 neverseen pos4 n2 neg5 n0 n0 n0 n7", "n5 n8 neg1"];

/// Trains a model with these fields and exports it to the directory `exported`.
fn exported(labels: &[&str], fields: &str) -> TestDir {
    let dir = TestDir::with_data().data(labels);
    export(dir, &format!("small.yaml --set text.tokenizer=whitespace {fields}"))
}

fn export(dir: TestDir, line: &str) -> TestDir {
    dir.train(&format!("{line} --out run --set train.epochs=1"));
    dir.lstmtext("export run --to exported").assert().success().stdout("exported\n");
    dir
}

/// Returns true if .venv has PyTorch. It does not if .libtorch is a link to the user's own libtorch.
#[allow(clippy::print_stderr, reason = "tests")]
fn has_torch() -> bool {
    let is_link = checkout().join(".libtorch").is_symlink();
    if is_link {
        eprintln!("skipped: .venv has no PyTorch, because .libtorch is a link to another libtorch");
    }
    !is_link
}

/// Returns the probability of each label, in the order of the labels.
fn probabilities(dir: &TestDir, inputs: &[(&str, &str)]) -> Vec<f64> {
    let mut command = dir.lstmtext("predict run --format jsonl --top 9");
    match inputs {
        [(_, alone)] => {
            command.arg(alone);
        }
        _ => {
            let inputs = inputs.iter().map(|(column, text)| format!("--input={column}={text}"));
            command.args(inputs);
        }
    }
    let answer = stdout_json(&command.assert().success());
    let labels = dir.json("exported/model.json")["labels"].clone();
    let labels = labels.as_array().unwrap().iter();
    labels.map(|label| probability_of(&answer, label.as_str().unwrap())).collect()
}

/// Compares logits with probabilities, which determine logits up to a constant. A sigmoid has one logit;
/// that of the other class is 0.
fn assert_same(mut logits: Vec<f64>, probabilities: &[f64]) {
    if logits.len() == 1 {
        logits.insert(0, 0.0);
    }
    assert_eq!(logits.len(), probabilities.len());
    for (logit, probability) in logits.iter().zip(probabilities) {
        let theirs = logit - logits[0];
        let ours = probability.ln() - probabilities[0].ln();
        assert!((ours - theirs).abs() < 1e-5, "{ours} in lstmtext, {theirs} in Python");
    }
}

fn assert_same_in_the_documented_script(labels: &[&str], fields: &str) {
    if !has_torch() {
        return;
    }
    let dir = exported(labels, fields);
    let page = read(&checkout().join("docs/python-onnx.md"));
    let (_, rest) = page.split_once("```python\n").expect("the start of the example");
    let (example, _) = rest.split_once("```\n").expect("the end of the example");
    let dir = dir.file("example.py", example);
    let directory = dir.path("exported");
    let text = TEXTS[2];
    let arguments = [directory.to_str().unwrap(), text];
    let theirs = stdout_json(&run_python(&dir.path("example.py"), &arguments));
    assert_same(floats(&theirs), &probabilities(&dir, &[("text", text)]));
}

#[test]
fn the_documented_script_matches_mean_pooling() {
    let fields = "--set model.pooling=mean --set model.lstm.bidirectional=true";
    assert_same_in_the_documented_script(&["neg", "pos"], fields);
}

#[test]
fn the_documented_script_matches_pooling_of_the_last_states() {
    let fields = "--set model.pooling=last --set model.lstm.bidirectional=true \
                  --set model.lstm.layers=2";
    assert_same_in_the_documented_script(&["neg", "pos", "other"], fields);
}

#[test]
fn the_documented_script_matches_concatenated_poolings() {
    let fields =
        "--set model.pooling=[attention,last,max,mean] --set model.lstm.bidirectional=true";
    assert_same_in_the_documented_script(&["neg", "pos"], fields);
}

#[test]
fn the_documented_script_matches_max_pooling() {
    assert_same_in_the_documented_script(&["neg", "pos"], "--set model.head.activation=softmax");
}

#[test]
fn onnx_runtime_runs_models_with_attention() {
    let labels = ["neg", "pos", "other"];
    let fields = "--set model.lstm.bidirectional=true --set model.pooling=";
    assert_one_input_in_onnx(&labels, &format!("{fields}[max,attention]"));
    let front = "attention --set text.pad=front --set text.max_length=12";
    assert_one_input_in_onnx(&labels, &format!("{fields}{front}"));
}

/// ONNX Runtime computes all examples as one batch. The ONNX file was traced with one text of two
/// tokens.
fn assert_same_in_onnx(dir: &TestDir, columns: &[&str], examples: &[Vec<&str>]) {
    let (directory, file) = (dir.path("exported"), dir.path("model.onnx"));
    let paths = [directory.to_str().unwrap(), file.to_str().unwrap()];
    run_python(&checkout().join("scripts/export_onnx.py"), &paths).stderr("");
    let outputs = python("onnx_logits.py", &[paths[1], &json!(examples).to_string()]);
    assert_eq!(outputs["labels"], dir.json("exported/model.json")["labels"]);
    for (row, example) in examples.iter().enumerate() {
        let inputs: Vec<_> = columns.iter().copied().zip(example.iter().copied()).collect();
        let ours = probabilities(dir, &inputs);
        assert_same(floats(&outputs["logits"][row]), &ours);
        for (ours, theirs) in ours.iter().zip(floats(&outputs["probabilities"][row])) {
            assert!((ours - theirs).abs() < 1e-6, "{ours} in lstmtext, {theirs} in ONNX Runtime");
        }
    }
}

fn assert_one_input_in_onnx(labels: &[&str], fields: &str) {
    if has_torch() {
        let dir = exported(labels, fields);
        assert_same_in_onnx(&dir, &["text"], &TEXTS.map(|text| vec![text]));
    }
}

#[test]
fn onnx_runtime_runs_bidirectional_models() {
    let fields = "--set model.lstm.bidirectional=true --set model.lstm.layers=2";
    assert_one_input_in_onnx(&["neg", "pos"], &format!("{fields} --set model.pooling=last"));
    assert_one_input_in_onnx(&["neg", "pos"], &format!("{fields} --set model.pooling=mean"));
}

#[test]
fn onnx_runtime_runs_models_with_ngrams() {
    let ngrams = "--set model.ngrams.sizes=[1,3] --set model.ngrams.min_count=1";
    assert_one_input_in_onnx(&["neg", "pos"], &format!("{ngrams} --set model.lstm=null"));
    let buckets = "--set model.ngrams.buckets=50 --set model.ngrams.weighting=none";
    assert_one_input_in_onnx(&["neg", "pos", "other"], &format!("{ngrams} {buckets}"));
}

#[test]
fn onnx_runtime_runs_models_with_padding_in_front() {
    let fields =
        "--set text.pad=front --set text.max_length=12 --set model.lstm.bidirectional=true";
    let labels = ["neg", "pos", "other"];
    assert_one_input_in_onnx(&labels, &format!("{fields} --set model.pooling=last"));
    assert_one_input_in_onnx(&labels, &format!("{fields} --set model.pooling=max"));
}

const TWO_INPUTS: &str = "\
data: {train: train.csv, label_column: label, version: 1}
text: {tokenizer: whitespace}
model: {lstm: {bidirectional: false}, ngrams: null}
inputs:
  story: {column: text, embedding: {size: 8}, lstm: {units: 8}}
  question: {column: label, embedding: {size: 4}, lstm: {units: 3, layers: 2}, pooling: mean,
    text: {pad: front, max_length: 5, start_token: false}}
train: {learning_rate: 0.05}
";

#[test]
fn onnx_runtime_runs_models_with_two_inputs() {
    if !has_torch() {
        return;
    }
    let dir = export(TestDir::with_data().file("two.yaml", TWO_INPUTS), "two.yaml");
    let examples = [vec!["n1 pos3 n7 n9", "neg"], vec!["neg1", "pos other pos"]];
    assert_same_in_onnx(&dir, &["text", "label"], &examples);
}

#[test]
fn an_exported_directory_has_weights_and_a_description() {
    let dir = export(TestDir::with_data().file("two.yaml", TWO_INPUTS), "two.yaml");
    assert_eq!(dir.names("exported"), ["model.json", "model.safetensors"]);
    assert_eq!(dir.bytes("exported/model.safetensors"), dir.best_weights("run"));
    let mut description = dir.json("exported/model.json");
    let [story, question] = &mut description["inputs"].as_array_mut().unwrap()[..] else {
        panic!("two inputs")
    };
    assert_eq!(story["prefix"], "story.");
    assert_eq!(story["vocabulary"], dir.json("run/best/story.vocabulary.json"));
    let vocabulary = question["vocabulary"].take();
    assert_eq!(vocabulary, json!(["<pad>", "<start>", "<oov>", "<unused>", "neg", "pos"]));
    let expected = json!({
        "name": "question", "prefix": "question.", "columns": ["label"],
        "tokenizer": {
            "kind": "whitespace", "lowercase": true, "strip_tags": true, "version": 3,
        },
        "start_token": false, "max_length": 5, "ngrams": null, "truncate": "middle", "pad": "front",
        "ids": {"pad": 0, "start": 1, "oov": 2}, "embedding": {"size": 4},
        "lstm": {"units": 3, "layers": 2, "bidirectional": false}, "pooling": "mean",
        "vocabulary": null,
    });
    assert_eq!(*question, expected);
    assert_eq!(
        (&description["labels"], &description["activation"]),
        (&json!(["neg", "pos"]), &json!("sigmoid"))
    );
}

#[test]
fn an_existing_directory_is_not_overwritten() {
    let dir = TestDir::with_data().file("taken/mine", "");
    dir.train("small.yaml --out run --set train.epochs=1");
    assert_fails(dir.lstmtext("export run --to taken"), 1, &["\"taken\" already exists"]);
    assert_eq!(dir.names("taken"), ["mine"]);
    let parts = ["\"model.onnx\"", ".npz", "scripts/export_onnx.py"];
    assert_fails(dir.lstmtext("export run --to model.onnx"), 2, &parts);
    assert_fails(dir.lstmtext("export nowhere --to new/directory"), 1, &["\"nowhere\""]);
    assert!(!dir.path("new").exists());
}

/// The logits stay those of the network.
#[test]
fn onnx_runtime_computes_calibrated_probabilities() {
    if !has_torch() {
        return;
    }
    let one = [&["neg", "pos"][..], &["neg", "pos", "other"]].map(|labels| exported(labels, ""));
    let several = TestDir::with_label_sets();
    several.lstmtext("export run --to exported").assert().success();
    for dir in one.into_iter().chain([several]) {
        let text = "n3 happy1 pos1 n9";
        let uncalibrated = probabilities(&dir, &[("text", text)]);
        dir.lstmtext("calibrate run").assert().success();
        dir.lstmtext("export run --to calibrated").assert().success();
        let (directory, file) = (dir.path("calibrated"), dir.path("calibrated.onnx"));
        let paths = [directory.to_str().unwrap(), file.to_str().unwrap()];
        run_python(&checkout().join("scripts/export_onnx.py"), &paths).stderr("");
        let outputs = python("onnx_logits.py", &[paths[1], &json!([[text]]).to_string()]);
        let ours = probabilities(&dir, &[("text", text)]);
        assert!((ours[0] - uncalibrated[0]).abs() > 1e-4, "{ours:?} {uncalibrated:?}");
        for (ours, theirs) in ours.iter().zip(floats(&outputs["probabilities"][0])) {
            assert!((ours - theirs).abs() < 1e-6, "{ours} in lstmtext, {theirs} in ONNX Runtime");
        }
    }
}

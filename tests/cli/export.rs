//! `lstmtext export`: PyTorch and ONNX Runtime compute the same predictions from exported models as
//! lstmtext.

use std::fs;

use serde_json::{Value, json};

use crate::common::{
    TestDir, assert_fails, checkout, floats, probability_of, python, read, run_python, stdout_json,
    stdout_json_lines,
};

/// Texts of different lengths, with known and unknown words.
const TEXTS: [&str; 4] =
    ["pos1", "n3 neg2 n9 n9 n41 neg7", "n1 neverseen pos4 n2 neg5 n0 n0 n0 n7", "n5 n8 neg1"];

/// Trains a model with these fields, and exports it.
fn exported(labels: &[&str], fields: &str) -> TestDir {
    let dir = TestDir::with_data().data(labels);
    dir.train(&format!(
        "small.yaml --out run --set train.epochs=1 --set text.tokenizer=whitespace {fields}"
    ));
    export(dir)
}

/// Exports the run to the directory `exported` and the file `model.onnx`.
fn export(dir: TestDir) -> TestDir {
    for path in ["exported", "model.onnx"] {
        let line = format!("export run --to {path}");
        dir.lstmtext(&line).assert().success().stdout(format!("{path}\n")).stderr("");
    }
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
    let labels = dir.json("run/best/checkpoint.json")["labels"].clone();
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

fn assert_close(ours: &[f64], theirs: &Value) {
    let theirs = floats(theirs);
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() < 1e-6, "{ours} in lstmtext, {theirs} in Python");
    }
}

/// Returns the first Python script in a section of the documentation.
fn documented_example(section: &str) -> String {
    let page = read(&checkout().join("docs/python-onnx.md"));
    let (_, rest) = page.split_once(&format!("\n## {section}\n")).expect("the section");
    let (_, rest) = rest.split_once("```python\n").expect("the start of the example");
    let (example, _) = rest.split_once("```\n").expect("the end of the example");
    example.to_owned()
}

fn assert_same_in_the_documented_script(labels: &[&str], fields: &str) {
    if !has_torch() {
        return;
    }
    let dir = exported(labels, fields).file("example.py", documented_example("PyTorch"));
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
fn the_documented_script_matches_in_onnx_runtime() {
    let scripts = format!("import sys; sys.path.insert(0, {:?})\n", checkout().join("scripts"));
    let ngrams = "--set model.ngrams.sizes=[1,2] --set model.ngrams.min_count=1";
    let dir =
        exported(&["neg", "pos"], ngrams).file("example.py", scripts + &documented_example("ONNX"));
    let file = dir.path("model.onnx");
    let mut arguments = vec![file.to_str().unwrap()];
    arguments.extend(TEXTS);
    let rows = stdout_json_lines(&run_python(&dir.path("example.py"), &arguments));
    assert_eq!(rows.len(), TEXTS.len());
    for (row, text) in rows.iter().zip(TEXTS) {
        let theirs = json!([row["neg"], row["pos"]]);
        assert_close(&probabilities(&dir, &[("text", text)]), &theirs);
    }
}

/// ONNX Runtime and PyTorch compute all examples as one batch.
fn assert_same_in_python(dir: &TestDir, columns: &[&str], examples: &[Vec<&str>]) {
    let outputs = onnx_outputs(dir, examples);
    assert_eq!(outputs["description"], dir.json("exported/model.json"));
    let in_pytorch = pytorch_outputs(dir, examples);
    for (row, example) in examples.iter().enumerate() {
        let inputs: Vec<_> = columns.iter().copied().zip(example.iter().copied()).collect();
        let ours = probabilities(dir, &inputs);
        for outputs in [Some(&outputs), in_pytorch.as_ref()].into_iter().flatten() {
            assert_same(floats(&outputs["logits"][row]), &ours);
            assert_close(&ours, &outputs["probabilities"][row]);
        }
    }
}

fn onnx_outputs(dir: &TestDir, examples: &[Vec<&str>]) -> Value {
    let file = dir.path("model.onnx");
    python("onnx_logits.py", &[file.to_str().unwrap(), &json!(examples).to_string()])
}

/// Returns the outputs in PyTorch, if it is installed.
fn pytorch_outputs(dir: &TestDir, examples: &[Vec<&str>]) -> Option<Value> {
    let directory = dir.path("exported");
    let arguments = [directory.to_str().unwrap(), &json!(examples).to_string()];
    has_torch().then(|| python("torch_logits.py", &arguments))
}

fn assert_one_input(labels: &[&str], fields: &str) {
    let dir = exported(labels, fields);
    assert_same_in_python(&dir, &["text"], &TEXTS.map(|text| vec![text]));
}

#[test]
fn python_runs_models_with_attention() {
    let labels = ["neg", "pos", "other"];
    let fields = "--set model.lstm.bidirectional=true --set model.pooling=";
    assert_one_input(&labels, &format!("{fields}[max,attention]"));
    let front = "attention --set text.pad=front --set text.max_length=12";
    assert_one_input(&labels, &format!("{fields}{front}"));
}

#[test]
fn python_runs_bidirectional_models() {
    let fields = "--set model.lstm.bidirectional=true --set model.lstm.layers=2";
    assert_one_input(&["neg", "pos"], &format!("{fields} --set model.pooling=last"));
    assert_one_input(&["neg", "pos"], &format!("{fields} --set model.pooling=mean"));
}

#[test]
fn python_runs_deep_models_with_all_poolings() {
    let poolings = "--set model.lstm.layers=3 --set model.pooling=[mean,attention,last,max]";
    let both = format!("{poolings} --set model.lstm.bidirectional=true");
    assert_one_input(&["neg", "pos", "other"], &both);
    let softmax = "--set model.head.activation=softmax";
    assert_one_input(&["neg", "pos"], &format!("{poolings} {softmax}"));
}

/// The states of padding would be 0, larger than all states of the short text.
#[test]
fn python_ignores_the_padding_of_texts_of_very_different_lengths() {
    let long = "n1 pos3 n2 n0 n7 neg4 n9 ".repeat(20);
    for pooling in ["max", "last", "mean"] {
        let fields = format!("--set model.pooling={pooling} --set model.lstm.bidirectional=true");
        let dir = exported(&["neg", "pos"], &fields);
        assert_same_in_python(&dir, &["text"], &[vec!["pos1"], vec![&long], vec!["n2 neg3"]]);
    }
}

#[test]
fn python_runs_models_with_ngrams() {
    let ngrams = "--set model.ngrams.sizes=[1,3] --set model.ngrams.min_count=1";
    let dir = exported(&["neg", "pos"], &format!("{ngrams} --set model.lstm=null"));
    assert_same_in_python(&dir, &["text"], &TEXTS.map(|text| vec![text]));
    // A batch without any n-gram.
    assert_same_in_python(&dir, &["text"], &[vec!["neverseen"]]);
    let buckets = "--set model.ngrams.buckets=50 --set model.ngrams.weighting=none";
    assert_one_input(&["neg", "pos", "other"], &format!("{ngrams} {buckets}"));
}

#[test]
fn python_runs_models_with_padding_in_front() {
    let fields =
        "--set text.pad=front --set text.max_length=12 --set model.lstm.bidirectional=true";
    let labels = ["neg", "pos", "other"];
    assert_one_input(&labels, &format!("{fields} --set model.pooling=last"));
    assert_one_input(&labels, &format!("{fields} --set model.pooling=max"));
    let layers = "--set model.lstm.layers=2 --set model.pooling=[mean,max,last]";
    assert_one_input(&labels, &format!("{fields} {layers}"));
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

fn with_two_inputs() -> TestDir {
    let dir = TestDir::with_data().file("two.yaml", TWO_INPUTS);
    dir.train("two.yaml --out run --set train.epochs=1");
    export(dir)
}

#[test]
fn python_runs_models_with_two_inputs() {
    let examples = [vec!["n1 pos3 n7 n9", "neg"], vec!["neg1", "pos other pos"]];
    assert_same_in_python(&with_two_inputs(), &["text", "label"], &examples);
    // One input with an LSTM and n-grams, one with n-grams only.
    let config = TWO_INPUTS
        .replace("ngrams: null", "ngrams: {sizes: [1, 2], min_count: 1}")
        .replace("lstm: {units: 3, layers: 2}", "lstm: null");
    let dir = TestDir::with_data().file("two.yaml", config);
    dir.train("two.yaml --out run --set train.epochs=1");
    assert_same_in_python(&export(dir), &["text", "label"], &examples);
}

#[test]
fn an_exported_directory_has_weights_and_a_description() {
    let dir = with_two_inputs();
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
fn existing_files_and_directories_are_not_overwritten() {
    let dir = TestDir::with_data().file("taken/mine", "").file("taken.onnx", "mine");
    dir.train("small.yaml --out run --set train.epochs=1");
    assert_fails(dir.lstmtext("export run --to taken"), 1, &["\"taken\" already exists"]);
    assert_eq!(dir.names("taken"), ["mine"]);
    for line in ["export run --to taken.onnx", "export run --onnx --to taken.onnx"] {
        assert_fails(dir.lstmtext(line), 1, &["\"taken.onnx\" already exists"]);
    }
    assert_eq!(dir.read("taken.onnx"), "mine");
    let new = ["new/directory", "new/model.onnx"];
    for to in new {
        assert_fails(dir.lstmtext(&format!("export nowhere --to {to}")), 1, &["\"nowhere\""]);
    }
    assert!(!dir.path("new").exists());
}

#[test]
fn the_extension_or_a_flag_selects_the_format() {
    let dir = exported(&["neg", "pos"], "");
    dir.lstmtext("export run --onnx --to a.bin").assert().success().stdout("a.bin\n");
    dir.lstmtext("export run --onnx --to b").assert().success().stdout("b\n");
    let bytes = dir.bytes("model.onnx");
    assert!(dir.bytes("a.bin") == bytes && dir.bytes("b") == bytes);
    let parts = ["--to \"model.h5\"", "directory", ".onnx", ".npz", "--onnx"];
    assert_fails(dir.lstmtext("export run --to model.h5"), 2, &parts);
}

/// The logits stay those of the network.
#[test]
fn python_computes_calibrated_probabilities() {
    let one = [&["neg", "pos"][..], &["neg", "pos", "other"]].map(|labels| exported(labels, ""));
    let several = export(TestDir::with_label_sets());
    let examples = [vec!["n3 happy1 pos1 n9"], vec!["sad2 neg1"]];
    for dir in one.into_iter().chain([several]) {
        let before = onnx_outputs(&dir, &examples);
        for (row, example) in examples.iter().enumerate() {
            let ours = probabilities(&dir, &[("text", example[0])]);
            assert_close(&ours, &before["probabilities"][row]);
        }
        dir.lstmtext("calibrate run").assert().success();
        fs::remove_dir_all(dir.path("exported")).unwrap();
        fs::remove_file(dir.path("model.onnx")).unwrap();
        let dir = export(dir);
        let after = onnx_outputs(&dir, &examples);
        assert_eq!(after["logits"], before["logits"]);
        assert_ne!(after["probabilities"], before["probabilities"]);
        let in_pytorch = pytorch_outputs(&dir, &examples);
        for (row, example) in examples.iter().enumerate() {
            let ours = probabilities(&dir, &[("text", example[0])]);
            for outputs in [Some(&after), in_pytorch.as_ref()].into_iter().flatten() {
                assert_close(&ours, &outputs["probabilities"][row]);
            }
        }
    }
}

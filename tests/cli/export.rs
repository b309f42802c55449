//! A checkpoint in other hands: PyTorch and ONNX Runtime compute from an exported folder what
//! lstmtext answers.

use serde_json::{Value, json};

use crate::common::{Place, assert_fails, checkout, python, read, run_python, stdout_json};

/// Texts of different lengths, known and unknown words.
const TEXTS: [&str; 4] =
    ["pos1", "n3 neg2 n9 n9 n41 neg7", "n1 neverseen pos4 n2 neg5 n0 n0 n0 n7", "n5 n8 neg1"];

/// The folder `exported` of the model that `fields` describe, trained for a while.
fn exported(labels: &[&str], fields: &str) -> Place {
    let place = Place::with_data().data(labels);
    export(place, &format!("small.yaml --set text.tokenizer=whitespace {fields}"))
}

fn export(place: Place, line: &str) -> Place {
    place.train(&format!("{line} --out run --set train.epochs=1"));
    place.lstmtext("export run --to exported").assert().success().stdout("exported\n");
    place
}

/// The user's own libtorch comes without a PyTorch for Python.
fn has_torch() -> bool {
    let own = checkout().join(".libtorch").is_symlink();
    if own {
        eprintln!("left out: with a libtorch of one's own, .venv has no PyTorch");
    }
    !own
}

/// The probability of each label, in their order.
fn probabilities(place: &Place, inputs: &[(&str, &str)]) -> Vec<f64> {
    let mut command = place.lstmtext("predict run --format jsonl --top 9");
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
    let probability = |label: &Value| {
        let classes = answer["classes"].as_array().unwrap();
        let class = classes.iter().find(|class| class["label"] == *label).unwrap();
        class["probability"].as_f64().unwrap()
    };
    let labels = place.json("exported/model.json")["labels"].clone();
    labels.as_array().unwrap().iter().map(probability).collect()
}

fn numbers(array: &Value) -> Vec<f64> {
    array.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Logits are known from probabilities but for a number that is added to all; that of a sigmoid
/// stands against zero.
fn assert_same(mut logits: Vec<f64>, probabilities: &[f64]) {
    if logits.len() == 1 {
        logits.insert(0, 0.0);
    }
    assert_eq!(logits.len(), probabilities.len());
    for (logit, probability) in logits.iter().zip(probabilities) {
        let theirs = logit - logits[0];
        let ours = probability.ln() - probabilities[0].ln();
        assert!((ours - theirs).abs() < 1e-5, "{ours} here, {theirs} there");
    }
}

fn assert_same_in_the_documented_script(labels: &[&str], fields: &str) {
    if !has_torch() {
        return;
    }
    let place = exported(labels, fields);
    let page = read(&checkout().join("docs/python-onnx.md"));
    let (_, rest) = page.split_once("```python\n").expect("the example begins");
    let (example, _) = rest.split_once("```\n").expect("the example ends");
    let place = place.file("example.py", example);
    let folder = place.path("exported");
    let text = TEXTS[2];
    let arguments = [folder.to_str().unwrap(), text];
    let theirs = stdout_json(&run_python(&place.path("example.py"), &arguments));
    assert_same(numbers(&theirs), &probabilities(&place, &[("text", text)]));
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
fn the_documented_script_matches_max_pooling() {
    assert_same_in_the_documented_script(&["neg", "pos"], "--set model.head.activation=softmax");
}

/// All examples, one text for each column, are one batch for ONNX Runtime; the file was made with
/// one text of two tokens.
fn assert_same_in_onnx(place: &Place, columns: &[&str], examples: &[Vec<&str>]) {
    let (folder, file) = (place.path("exported"), place.path("model.onnx"));
    let paths = [folder.to_str().unwrap(), file.to_str().unwrap()];
    run_python(&checkout().join("scripts/export_onnx.py"), &paths).stderr("");
    let found = python("onnx_logits.py", &[paths[1], &json!(examples).to_string()]);
    assert_eq!(found["labels"], place.json("exported/model.json")["labels"]);
    for (row, example) in examples.iter().enumerate() {
        let inputs: Vec<_> = columns.iter().copied().zip(example.iter().copied()).collect();
        let ours = probabilities(place, &inputs);
        assert_same(numbers(&found["logits"][row]), &ours);
        for (ours, theirs) in ours.iter().zip(numbers(&found["probabilities"][row])) {
            assert!((ours - theirs).abs() < 1e-6, "{ours} here, {theirs} in ONNX Runtime");
        }
    }
}

fn assert_one_input_in_onnx(labels: &[&str], fields: &str) {
    if has_torch() {
        let place = exported(labels, fields);
        assert_same_in_onnx(&place, &["text"], &TEXTS.map(|text| vec![text]));
    }
}

#[test]
fn onnx_runtime_reads_in_two_directions() {
    let fields = "--set model.lstm.bidirectional=true --set model.lstm.layers=2";
    assert_one_input_in_onnx(&["neg", "pos"], &format!("{fields} --set model.pooling=last"));
    assert_one_input_in_onnx(&["neg", "pos"], &format!("{fields} --set model.pooling=mean"));
}

#[test]
fn onnx_runtime_reads_padding_in_front() {
    let fields =
        "--set text.pad=front --set text.max_length=12 --set model.lstm.bidirectional=true";
    let labels = ["neg", "pos", "other"];
    assert_one_input_in_onnx(&labels, &format!("{fields} --set model.pooling=last"));
    assert_one_input_in_onnx(&labels, &format!("{fields} --set model.pooling=max"));
}

const TWO_INPUTS: &str = "\
data: {train: train.csv, label_column: label}
text: {tokenizer: whitespace}
inputs:
  story: {column: text, embedding: {size: 8}, lstm: {units: 8}}
  question: {column: label, embedding: {size: 4}, lstm: {units: 3, layers: 2}, pooling: mean,
    text: {pad: front, max_length: 5, start_token: false}}
train: {learning_rate: 0.05}
";

#[test]
fn onnx_runtime_reads_two_inputs() {
    if !has_torch() {
        return;
    }
    let place = export(Place::with_data().file("two.yaml", TWO_INPUTS), "two.yaml");
    let examples = [vec!["n1 pos3 n7 n9", "neg"], vec!["neg1", "pos other pos"]];
    assert_same_in_onnx(&place, &["text", "label"], &examples);
}

#[test]
fn a_folder_has_weights_and_a_description() {
    let place = export(Place::with_data().file("two.yaml", TWO_INPUTS), "two.yaml");
    assert_eq!(place.names("exported"), ["model.json", "model.safetensors"]);
    assert_eq!(place.bytes("exported/model.safetensors"), place.best_weights("run"));
    let mut found = place.json("exported/model.json");
    let [story, question] = &mut found["inputs"].as_array_mut().unwrap()[..] else {
        panic!("two inputs")
    };
    assert_eq!(story["prefix"], "story.");
    assert_eq!(story["vocabulary"], place.json("run/best/story.vocabulary.json"));
    let vocabulary = question["vocabulary"].take();
    assert_eq!(vocabulary, json!(["<pad>", "<start>", "<oov>", "<unused>", "neg", "pos"]));
    let expected = json!({
        "name": "question", "prefix": "question.", "columns": ["label"],
        "tokenizer": {"kind": "whitespace", "lowercase": true, "strip_tags": true},
        "start_token": false, "max_length": 5, "truncate": "middle", "pad": "front",
        "ids": {"pad": 0, "start": 1, "oov": 2}, "embedding": {"size": 4},
        "lstm": {"units": 3, "layers": 2, "bidirectional": false}, "pooling": "mean",
        "vocabulary": null,
    });
    assert_eq!(*question, expected);
    assert_eq!(
        (&found["labels"], &found["activation"]),
        (&json!(["neg", "pos"]), &json!("sigmoid"))
    );
}

#[test]
fn only_a_new_folder_is_written() {
    let place = Place::with_data().file("taken/mine", "");
    place.train("small.yaml --out run --set train.epochs=1");
    assert_fails(place.lstmtext("export run --to taken"), 1, &["\"taken\"", "new folder"]);
    assert_eq!(place.names("taken"), ["mine"]);
    let words = ["\"model.onnx\"", ".npz", "scripts/export_onnx.py"];
    assert_fails(place.lstmtext("export run --to model.onnx"), 2, &words);
    assert_fails(place.lstmtext("export nowhere --to new/folder"), 1, &["\"nowhere\""]);
    assert!(!place.path("new").exists());
}

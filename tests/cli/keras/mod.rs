//! Import and export of Keras's weights, and hidden states. `make_keras.py` computed the expected
//! values with Keras.

use std::path::PathBuf;

use lstmtext::interchange::numpy::{read_npy, read_npz, write_npz};
use lstmtext::model::named_tensors::NamedTensor;
use serde_json::{Value, json};

use crate::common::{TestDir, assert_fails, stdout, stdout_json};

const CASES: [(&str, &str); 3] = [
    ("single", "lstm: {units: 3}"),
    ("stacked", "lstm: {units: 3, layers: 2}, head: {activation: softmax}"),
    ("both", "lstm: {units: 3, bidirectional: true}"),
];

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cli/keras").join(name)
}

fn answers() -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden("answers.json")).unwrap()).unwrap()
}

/// Creates a directory with a configuration, a vocabulary whose words are `w` and their id, and the
/// weights of `case`. The data file of the configuration does not exist.
fn with_weights(case: &str, model: &str, labels: &str) -> TestDir {
    let model = match model.contains("bidirectional") {
        true => model.to_owned(),
        false => model.replace("lstm: {", "lstm: {bidirectional: false, "),
    };
    let config = format!(
        "data: {{train: none.csv, labels: [{labels}]}}\n\
         text: {{tokenizer: whitespace, vocabulary: words.json}}\n\
         model: {{embedding: {{size: 4}}, pooling: last, ngrams: null, {model}}}\n"
    );
    let words: Vec<String> = (4..12).map(|id| format!("w{id}")).collect();
    let dictionary = json!({
        "format": "lstmtext vocabulary", "tokenizer": "whitespace", "lowercase": true,
        "strip_tags": true, "words": words,
    });
    TestDir::new()
        .file("keras.yaml", config)
        .file("words.json", dictionary.to_string())
        .file("weights.npz", std::fs::read(golden(&format!("{case}.npz"))).unwrap())
}

fn imported(case: &str, model: &str) -> TestDir {
    let labels = if case == "stacked" { "a, b, c" } else { "a, b" };
    let dir = with_weights(case, model, labels);
    dir.lstmtext("import keras.yaml weights.npz --to checkpoint").assert().success();
    dir
}

fn array(name: &str, shape: &[usize], values: &[f32]) -> NamedTensor {
    NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values: values.to_vec() }
}

fn text(ids: &Value) -> String {
    let words = ids.as_array().unwrap().iter().map(|id| format!("w{id}"));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn imported_weights_give_the_predictions_of_keras() {
    let answers = answers();
    for (case, model) in CASES {
        let dir = imported(case, model);
        for (ids, expected) in answers["texts"]
            .as_array()
            .unwrap()
            .iter()
            .zip(answers["outputs"][case].as_array().unwrap())
        {
            let mut command = dir.lstmtext("predict checkpoint --format jsonl --top 3");
            let answer = stdout_json(&command.arg(text(ids)).assert().success());
            let mut classes: Vec<(String, f64)> = answer["classes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|class| {
                    let label = class["label"].as_str().unwrap().to_owned();
                    (label, class["probability"].as_f64().unwrap())
                })
                .collect();
            classes.sort_by(|a, b| a.0.cmp(&b.0));
            let expected: Vec<f64> =
                expected.as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
            // A sigmoid's output is the probability of the second class.
            let actual = &classes[classes.len() - expected.len()..];
            for ((_, actual), expected) in actual.iter().zip(&expected) {
                assert!((actual - expected).abs() < 1e-6, "{case}: {actual}, Keras has {expected}");
            }
        }
    }
}

#[test]
fn exported_weights_equal_the_imported_ones() {
    for (case, model) in CASES {
        let dir = imported(case, model);
        dir.lstmtext("export checkpoint --to again.npz").assert().success();
        let read = |path: PathBuf| read_npz(&path).unwrap();
        let exported = read(dir.path("again.npz"));
        assert_eq!(exported, read(golden(&format!("{case}.npz"))), "{case}");
    }
}

#[test]
fn states_match_keras() {
    let answers = answers();
    let (case, model) = CASES[0];
    let dir = imported(case, model);
    let mut command = dir.lstmtext("states checkpoint --json");
    let texts = answers["texts"].as_array().unwrap();
    let states = stdout_json(&command.args(texts.iter().map(text)).assert().success());
    for (state, expected) in
        states.as_array().unwrap().iter().zip(answers["states"].as_array().unwrap())
    {
        let direction = &state["directions"][0];
        for part in ["h", "c"] {
            assert_close(&numbers(&direction[part]), &numbers(&expected[part]));
        }
        assert_close(&numbers(&direction["states"]), &numbers(&expected["states"]));
    }
}

/// Returns all numbers in nested lists.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

fn assert_close(actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(expected) {
        assert!((actual - expected).abs() < 1e-6, "{actual}, expected {expected}");
    }
}

/// Output of "LSTM from theory to code" for an LSTM(1) and six sequences of three numbers: the
/// sequence, its hidden states, and the final cell state. The weights of this LSTM follow.
const PRINTED: [([&str; 3], [f64; 3], f64); 6] = [
    ([".1", ".2", ".3"], [0.00190693, 0.00490441, 0.00844267], 0.01655067),
    ([".3", ".2", ".1"], [0.0055262, 0.00704476, 0.00617958], 0.01227413),
    ([".2", ".6", ".3"], [0.00374958, 0.01259477, 0.01279002], 0.02506882),
    ([".8", ".2", ".3"], [0.01337298, 0.01142679, 0.01231858], 0.02414548),
    ([".3", ".5", ".1"], [0.0055262, 0.01206062, 0.009055], 0.01798305),
    ([".2", ".6", ".2"], [0.00374958, 0.01259477, 0.01108878], 0.02187706),
];
const KERNEL: [f32; 4] = [-0.455_759_68, -0.642_880_5, 0.077_537_16, 0.134_208_77];
const RECURRENT_KERNEL: [f32; 4] = [0.881_046_56, 0.160_723_1, -0.438_371_18, 0.075_866_73];

/// Compares the table that the command prints: three hidden states, final h and final c.
#[test]
fn states_match_the_published_output_of_an_lstm() {
    let words = [".1", ".2", ".3", ".5", ".6", ".8"];
    let vectors: Vec<f32> =
        [0.0; 4].into_iter().chain(words.iter().map(|word| word.parse::<f32>().unwrap())).collect();
    let arrays = [
        array("embedding/embeddings", &[10, 1], &vectors),
        array("lstm/kernel", &[1, 4], &KERNEL),
        array("lstm/recurrent_kernel", &[1, 4], &RECURRENT_KERNEL),
        array("lstm/bias", &[4], &[0.0, 1.0, 0.0, 0.0]),
        array("dense/kernel", &[1, 1], &[1.0]),
        array("dense/bias", &[1], &[0.0]),
    ];
    let dictionary = json!({
        "format": "lstmtext vocabulary", "tokenizer": "whitespace", "lowercase": true,
        "strip_tags": true, "words": words,
    });
    let dir = with_weights("single", "lstm: {units: 1}", "a, b")
        .file("words.json", dictionary.to_string());
    write_npz(&dir.path("weights.npz"), &arrays).unwrap();
    let line = "import keras.yaml weights.npz --to checkpoint --set model.embedding.size=1";
    dir.lstmtext(line).assert().success();
    for (sequence, states, cell_state) in PRINTED {
        let mut command = dir.lstmtext("states checkpoint");
        let printed = stdout(&command.arg(sequence.join(" ")).assert().success());
        let last = |line: &str| line.split_whitespace().last().unwrap().parse::<f64>().unwrap();
        let values: Vec<f64> = printed.lines().skip(1).map(last).collect();
        assert_close(&values, &[states[0], states[1], states[2], states[2], cell_state]);
    }
}

#[test]
fn states_are_written_in_numpy_formats() {
    let (case, model) = CASES[2];
    let dir = imported(case, model);
    dir.lstmtext("states checkpoint --to s.npz").arg("w5 w6").assert().success();
    let arrays = read_npz(&dir.path("s.npz")).unwrap();
    let sizes: Vec<(&str, Vec<usize>)> =
        arrays.iter().map(|array| (array.name.as_str(), array.shape.clone())).collect();
    let expected = [
        ("backward/c", vec![3]),
        ("backward/gates", vec![2, 4]),
        ("backward/h", vec![3]),
        ("backward/states", vec![2, 3]),
        ("c", vec![3]),
        ("gates", vec![2, 4]),
        ("h", vec![3]),
        ("probabilities", vec![2, 2]),
        ("states", vec![2, 3]),
    ];
    assert_eq!(sizes, expected);
    // The backward direction ends at the first word.
    let values = |name: &str| &arrays.iter().find(|array| array.name == name).unwrap().values;
    assert_eq!(values("backward/states")[..3], values("backward/h")[..]);
    assert_eq!(values("states")[3..], values("h")[..]);
    dir.lstmtext("states checkpoint --to s.npy").arg("w5 w6").assert().success();
    assert_eq!(read_npy(&dir.path("s.npy")).unwrap().shape, [2, 6]);
    let two = dir.lstmtext("states checkpoint w5 w6 --to s.npy");
    assert_fails(two, 2, &["2 texts", "at most 1"]);
    assert_fails(dir.lstmtext("states checkpoint w5 --to s.txt"), 2, &[".npz, .npy, .svg or .png"]);
    assert_fails(
        dir.lstmtext("states checkpoint w5 --layer 2"),
        2,
        &["--layer 2", "layers 1 to 1"],
    );
    assert_fails(dir.lstmtext("states checkpoint"), 2, &["no text given"]);
}

#[test]
fn weights_that_do_not_fit_the_model_are_rejected() {
    let (case, model) = CASES[0];
    let dir = imported(case, model);
    let fails = |line: &str, words: &[&str]| {
        assert_fails(dir.lstmtext(&format!("import {line} --to other")), 1, words);
        assert!(!dir.path("other").exists());
    };
    fails(
        "keras.yaml weights.npz --set model.lstm.units=4",
        &["weights.npz", "lstm/kernel", "[4, 12]", "[4, 16]"],
    );
    fails("keras.yaml weights.npz --set model.lstm.layers=2", &["lstm_1/kernel is missing"]);
    fails("keras.yaml none.npz", &["none.npz"]);
    fails("keras.yaml words.json", &["words.json"]);
    let mut extra = read_npz(&dir.path("weights.npz")).unwrap();
    extra.push(array("gru/kernel", &[1], &[1.0]));
    write_npz(&dir.path("extra.npz"), &extra).unwrap();
    fails("keras.yaml extra.npz", &["gru/kernel", "no such layer"]);
    assert_fails(
        dir.lstmtext("import keras.yaml weights.npz --to checkpoint"),
        1,
        &["already exists"],
    );
    assert_fails(dir.lstmtext("export checkpoint --to weights.h5"), 2, &[".npz"]);
    // A checkpoint can define the model, too.
    dir.lstmtext("import checkpoint weights.npz --to second").assert().success();
    assert_eq!(dir.bytes("second/model.safetensors"), dir.bytes("checkpoint/model.safetensors"));
}

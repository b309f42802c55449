//! Data in Parquet files and JSON arrays.

use std::fs;

use crate::common::{TestDir, assert_fails, checkout, csv, examples, stderr, stdout_json};

const TRAIN: &str = "train --set train.epochs=8 --out run";

/// Writes the Parquet files of a Hugging Face data set, and a configuration for them.
pub fn with_hub_files() -> TestDir {
    let config = "\
data:
  train: data/train-*.parquet
  test: data/test-*.parquet
  label_names: {0: neg, 1: pos}
model: {embedding: {size: 8}, lstm: {units: 8}, head: {dropout: 0.2}}
train: {learning_rate: 0.05}
";
    let mut dir = TestDir::new().file("hub.yaml", config);
    for part in ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"] {
        let bytes = fs::read(checkout().join(format!("tests/parquet/{part}.parquet"))).unwrap();
        dir = dir.file(&format!("data/{part}.parquet"), bytes);
    }
    dir
}

#[cfg(feature = "parquet")]
#[test]
fn a_model_is_trained_and_scored_on_parquet_files() {
    let dir = with_hub_files();
    dir.lstmtext(&format!("{TRAIN} hub.yaml")).assert().success();
    assert!(dir.test_accuracy("run") > 0.9);
    let own = stdout_json(&dir.lstmtext("evaluate run --json").assert().success());
    let test = "data/test-00000-of-00001.parquet";
    let file = format!("evaluate run --json --data {test}");
    let mut piped = dir.lstmtext("evaluate run --json --data -");
    piped.write_stdin(dir.bytes(test));
    for mut command in [dir.lstmtext(&file), piped] {
        let scored = stdout_json(&command.assert().success());
        assert_eq!(scored["accuracy"], own["accuracy"]);
        assert_eq!(scored["data"], own["data"]);
    }
    let lists = "evaluate run --data data/test-*.parquet --set data.label_column=entities";
    let message =
        "test-00000-of-00001.parquet: data.label_column: the column \"entities\" has lists";
    assert_fails(dir.lstmtext(lists), 1, &[message]);
    fs::write(dir.path("cut.parquet"), &dir.bytes(test)[..3000]).unwrap();
    let cut = "evaluate run --data cut.parquet";
    assert_fails(dir.lstmtext(cut), 1, &["\"cut.parquet\" is not a complete Parquet file"]);
}

#[test]
fn json_arrays_and_several_files_equal_a_single_file() {
    let all = examples(&["neg", "pos"], 300, 1);
    let object = |example: &crate::common::Example| {
        serde_json::json!({"id": [1], "text": example.text, "label": example.label}).to_string()
    };
    let objects: Vec<String> = all.iter().map(object).collect();
    let dir = TestDir::with_data()
        .file("all.csv", csv(&all))
        .file("one.json", format!("[{}]", objects.join(",")))
        .file("pretty.json", format!("[\n  {}\n]\n", objects.join(",\n  ")))
        .file("part-1.json", format!("[{}]", objects[..100].join(",")))
        .file("part-2.json", objects[100..].join("\n"));
    let stats = |train: &str| {
        let mut command = dir.lstmtext("data stats small.yaml --json --set data.test=null");
        let done = command.args(["--set", &format!("data.train={train}")]).assert().success();
        stdout_json(&done)
    };
    let expected = stats("all.csv");
    for train in ["one.json", "pretty.json", "part-*.json"] {
        assert_eq!(stats(train), expected, "{train}");
    }
    let dir = dir.file("part-3.json", "[{\"text\": \"a\", \"label\": \"neg\"}, {\"text\": \"b\"}]");
    let mut command = dir.lstmtext("train small.yaml --set data.train=part-*.json");
    let message = stderr(&command.assert().code(1));
    assert!(
        message.contains("part-3.json, row 2: expected a key \"label\", found text"),
        "{message}"
    );
}

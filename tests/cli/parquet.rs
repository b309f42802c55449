//! Training, predictions and vectors with Parquet files.

use std::fs;

use crate::common::{
    TestDir, assert_fails, checkout, floats, stderr, stdout_json, stdout_json_lines,
};
use crate::tables::{npy, with_tables};

const TRAIN: &str = "train --set train.epochs=8 --out run";

/// Writes the Parquet files of a Hugging Face data set, and a configuration for them.
fn with_hub_files() -> TestDir {
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

/// Writes Parquet files and reads them again.
#[test]
fn predictions_are_read_from_and_written_to_parquet_files() {
    let dir = with_hub_files();
    dir.lstmtext(&format!("{TRAIN} hub.yaml")).assert().success();
    let test = "predict run --file data/test-*.parquet";
    dir.lstmtext(&format!("{test} --to p.parquet --probabilities")).assert().success();
    let show = "predict run --file p.parquet --format jsonl";
    let lines = stdout_json_lines(&dir.lstmtext(show).assert().success());
    assert_eq!(lines.len(), 60);
    for (row, line) in lines.iter().enumerate() {
        assert_eq!(line["idx"], row);
        assert_eq!(line["image"]["bytes"], "89");
        assert_eq!(line["created"], "2023-11-14T22:13:20Z");
        assert_eq!(line["predicted_label"], ["neg", "pos"][row % 2]);
        assert_eq!(line["predicted_predicted_label"], line["predicted_label"]);
        assert_eq!(line["predicted_probability"], line["probability"]);
        assert!(line["pos"].is_number() && line["label"].is_number(), "{line}");
    }
    assert_eq!(lines[0]["entities"][0]["type"], "w");
    // A table without types gets those of all its values.
    let dir = dir.file(
        "t.jsonl",
        "{\"text\": \"pos1\", \"n\": 1, \"x\": 1, \"b\": true, \"m\": 1}\n\
         {\"text\": \"neg1\", \"n\": null, \"x\": 0.5, \"m\": \"a\"}\n",
    );
    dir.lstmtext("predict run --file t.jsonl --to t.parquet").assert().success();
    let show = "predict run --file t.parquet --format jsonl";
    let [first, second] = &stdout_json_lines(&dir.lstmtext(show).assert().success())[..] else {
        panic!("two rows")
    };
    let values = |row: &serde_json::Value| ["n", "x", "b", "m"].map(|name| row[name].to_string());
    assert_eq!(values(first), ["1", "1.0", "true", "\"1\""]);
    assert_eq!(values(second), ["null", "0.5", "null", "\"a\""]);
    let fixture = checkout().join("tests/parquet/types.parquet");
    let nulls = format!("predict run --text large --file {}", fixture.display());
    assert_fails(dir.lstmtext(&nulls), 1, &["types.parquet, row 3: the column \"large\" is null"]);
    let lists = format!("predict run --text lists --file {}", fixture.display());
    assert_fails(dir.lstmtext(&lists), 1, &["the column \"lists\" has lists, expected strings"]);
    let view = format!("predict run --text view --to v.csv --file {}", fixture.display());
    dir.lstmtext(&view).assert().success();
    let written = dir.read("v.csv");
    assert!(written.starts_with("large,view,dictionary,integers,bool,"), "{written}");
    assert_eq!(written.lines().count(), 5);
}

#[test]
fn vectors_are_a_column_of_parquet_files() {
    let dir = with_tables();
    dir.lstmtext("embed run --file t.csv --to v.npy").assert().success();
    dir.lstmtext("embed run --file t.csv --to v.parquet").assert().success();
    let show = dir.lstmtext("predict run --file v.parquet --format jsonl").assert().success();
    let rows = stdout_json_lines(&show);
    let vectors: Vec<f32> =
        rows.iter().flat_map(|row| floats(&row["embedding"])).map(|value| value as f32).collect();
    assert_eq!(vectors, npy(&dir.bytes("v.npy")).1);
    let again = dir.lstmtext("embed run --file v.parquet --to w.parquet").assert().success();
    assert!(stderr(&again).contains("the new one is text_embedding"), "{}", stderr(&again));
}

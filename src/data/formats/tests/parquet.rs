//! Parquet files.

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow_array::ArrayRef;

use super::*;

fn fixture(name: &str) -> PathBuf {
    let name = format!("tests/parquet/{name}.parquet");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Returns labels and texts, or the error message after the name of the directory.
fn read_fixture(name: &str, fields: &str) -> Result<Vec<(String, String)>, String> {
    let read = read(&fixture(name), &data_config(fields)).map_err(|error| {
        let message = format!("{error:#}");
        message.rsplit_once("tests/parquet/").unwrap().1.to_owned()
    })?;
    let owned = |(label, text): (&str, &str)| (label.to_owned(), text.to_owned());
    Ok(pairs(&read).into_iter().map(owned).collect())
}

fn columns(text: &str, label: &str) -> String {
    format!("  text_column: {text}\n  label_column: {label}\n")
}

#[test]
fn exports_of_the_hub_are_read_whatever_other_columns_they_have() {
    let read = read(&fixture("train-*-of-*"), &data_config("")).unwrap();
    assert_eq!((read.len(), read.files.len()), (120, 2));
    assert_eq!(read.label_names, ["0", "1"]);
    for (text, label) in read.texts[0].iter().zip(read.targets.labels().unwrap()) {
        assert!(text.contains(["neg", "pos"][*label as usize]), "{text}");
    }
    assert!(read.location(61).ends_with("train-00001-of-00002.parquet, row 2"));
    let named = "  label_names: {0: neg, 1: pos}\n  filter: {label: 1, idx: 3}\n";
    let [(label, _)] = &read_fixture("test-00000-of-00001", named).unwrap()[..] else { panic!() };
    assert_eq!(label, "pos");
}

#[test]
fn strings_integers_and_booleans_of_all_types_are_read() {
    let pairs = |labels: [&str; 4], texts: [&str; 4]| -> Vec<(String, String)> {
        labels.map(str::to_owned).into_iter().zip(texts.map(str::to_owned)).collect()
    };
    let texts = ["a", "b", "c", "d"];
    for (label, labels) in [
        ("dictionary", ["x", "y", "x", "y"]),
        ("integers", ["1", "2", "1", "2"]),
        ("int8", ["-1", "1", "1", "-1"]),
        ("double", ["1.0", "2.0", "1.0", "2.5"]),
    ] {
        assert_eq!(read_fixture("types", &columns("view", label)).unwrap(), pairs(labels, texts));
    }
    let read = read_fixture("types", &columns("dictionary", "view")).unwrap();
    assert_eq!(read, pairs(texts, ["x", "y", "x", "y"]));
    let skip = columns("large", "bool") + "  broken_lines: skip\n";
    let read = read_fixture("types", &skip).unwrap();
    assert_eq!(
        read,
        [("true".into(), "a".into()), ("false".into(), "b".into()), ("true".into(), "d".into())]
    );
}

#[test]
fn unfit_columns_are_named() {
    for (text, label, message) in [
        ("large", "int8", "types.parquet, row 3: the column \"large\" is null"),
        ("view", "bool", "types.parquet, row 3: the label is empty"),
        ("view", "\"null\"", "types.parquet, row 1: the label is empty"),
        ("view", "lists", "data.label_column: the column \"lists\" has lists, expected strings"),
        ("view", "fixed", "for texts with several labels, set data.multi_label: true"),
        ("view", "struct", "the column \"struct\" has nested fields"),
        ("view", "date", "has values of the type date32"),
        ("view", "decimal", "has values of the type decimal128(5, 2)"),
        (
            "lists",
            "int8",
            "data.text_column: the column \"lists\" has lists, expected strings; join",
        ),
        ("int8", "bool", "the column \"int8\" has values of the type int8, expected strings"),
        ("binary", "bool", "has values of the type binary, expected strings"),
        ("none", "bool", "data.text_column: expected a column \"none\", found large, view"),
    ] {
        let error = read_fixture("types", &columns(text, label)).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_null_is_like_an_empty_cell_but_not_a_text() {
    let config = columns("view", "int8");
    let read = |fields: &str| read(&fixture("types"), &data_config(fields)).unwrap();
    let grouped = read(&format!("{config}  split: {{group: large}}\n"));
    assert_eq!(groups(&grouped), [Some("a"), Some("b"), None, Some("d")]);
    let grouped = read(&format!("{config}  split: {{group: integers}}\n"));
    assert_eq!(groups(&grouped), [Some("1"), Some("2"), Some("1"), Some("2")]);
    let filtered = read(&format!("{config}  filter: {{large: ''}}\n"));
    assert_eq!(pairs(&filtered), [("1", "c")]);
    let filtered = read(&format!("{config}  filter: {{bool: 'true'}}\n"));
    assert_eq!(pairs(&filtered), [("-1", "a"), ("-1", "d")]);
    let lists = format!("{config}  split: {{group: lists}}\n");
    let error = read_fixture("types", &lists).unwrap_err();
    assert!(error.contains("data.split.group: the column \"lists\" has lists"), "{error}");
}

#[test]
fn a_value_has_a_maximum_size() {
    let text = |bytes: usize| "x".repeat(bytes);
    let texts = vec![text(1_000_000), "short".to_owned(), text(1_000_001)];
    let labels = arrow_array::StringArray::from(vec!["a", "b", "a"]);
    let columns: [(&str, ArrayRef); 2] =
        [("text", Arc::new(arrow_array::StringArray::from(texts))), ("label", Arc::new(labels))];
    let batch = arrow_array::RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    assert_eq!(read_file("f.parquet", &bytes, "").unwrap().len(), 3);
    let fields = "  max_line_mb: 1\n";
    let error = read_file("f.parquet", &bytes, fields).unwrap_err().to_string();
    let expected = "f.parquet, row 3: a value exceeds 1 MB, the limit set by data.max_line_mb";
    assert!(error.ends_with(expected), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f.parquet");
    std::fs::write(&path, &bytes).unwrap();
    let batches = ParquetFile::open(&path).unwrap();
    let read = batches.for_each_batch(&data_config(fields), 2, &mut |_, _| Ok(()));
    assert!(read.unwrap_err().to_string().ends_with(expected));
}

#[test]
fn compressed_columns_are_decompressed() {
    for codec in ["none", "snappy", "gzip", "zstd", "lz4"] {
        assert_eq!(read_fixture(codec, "").unwrap().len(), 40, "{codec}");
    }
    let error = read(&fixture("brotli"), &data_config("")).unwrap_err().to_string();
    assert!(error.contains("compressed with brotli; write it with snappy"), "{error}");
    let bytes = std::fs::read(fixture("none")).unwrap();
    let error = read_file("f.parquet.gz", &gzip(&bytes), "").unwrap_err();
    assert!(format!("{error:#}").contains("unpack it, e.g. with gzip -d"), "{error:#}");
}

#[test]
fn damaged_files_are_errors() {
    let bytes = std::fs::read(fixture("types")).unwrap();
    for length in [0, 3, 4, 100, bytes.len() / 2, bytes.len() - 1] {
        let error = read_file("f.parquet", &bytes[..length], "").unwrap_err();
        assert!(format!("{error:#}").contains("is not a complete Parquet file"), "{error:#}");
    }
}

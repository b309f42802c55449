mod labels;

use std::collections::HashSet;
use std::io::Write;

use super::*;
use crate::config;

/// Labels are needed, and no other file has any.
const NONE_KNOWN: Labels = Labels::Required { known: &[] };

fn data_config(fields: &str) -> Config {
    let yaml = format!("data:\n  train: x\n{fields}");
    config::parse(&yaml, "test", &[]).unwrap_or_else(|e| panic!("{e}")).config
}

/// Content of a data file.
#[derive(Debug)]
pub(super) struct Read {
    rows: Rows,
    pub(super) texts: Vec<Vec<String>>,
}

impl std::ops::Deref for Read {
    type Target = Rows;
    fn deref(&self) -> &Rows {
        &self.rows
    }
}

pub(super) fn read(path: &Path, config: &Config) -> anyhow::Result<Read> {
    let (rows, texts) = read_texts(path, config, NONE_KNOWN)?;
    Ok(Read { rows, texts })
}

/// Writes `content` to a file called `name` and reads it as data.
fn read_file(name: &str, content: &[u8], fields: &str) -> anyhow::Result<Read> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join(name);
    std::fs::write(&path, content)?;
    read(&path, &data_config(fields))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn pairs(read: &Read) -> Vec<(&str, &str)> {
    let label = |i: &u32| read.label_names[*i as usize].as_str();
    read.texts[0]
        .iter()
        .zip(read.targets.labels().unwrap())
        .map(|(text, i)| (label(i), text.as_str()))
        .collect()
}

/// Returns the group of each row.
fn groups(read: &Read) -> Vec<Option<&str>> {
    let name = |group: &u32| read.group_names.get_index(*group as usize).map(String::as_str);
    read.groups.iter().map(name).collect()
}

#[test]
fn groups_are_compared_alike_in_all_formats() {
    let expected = [Some("a"), None, Some("a"), None, Some("\u{e9}"), Some("\u{e9}")];
    let values = ["a", "", " a ", "  ", "\u{e9}", "e\u{301}"];
    let fields = "  split: {group: user}\n";
    for (name, header, separator) in
        [("a.csv", "text,label,user\n", ','), ("a.tsv", "text\tlabel\tuser\n", '\t')]
    {
        let row = |value: &str| format!("x{separator}y{separator}{value}\n");
        let content = header.to_owned() + &values.map(row).concat();
        let read = read_file(name, content.as_bytes(), fields).unwrap();
        assert_eq!(groups(&read), expected, "{name}");
    }
    let row = |user: String| format!("{{\"text\": \"x\", \"label\": \"y\"{user}}}\n");
    let strings = values.map(|value| row(format!(", \"user\": \"{value}\""))).concat();
    let others = [", \"user\": null", "", ", \"user\": 7", ", \"user\": \"7\""];
    let others = others.map(|user| row(user.to_owned())).concat();
    let read = read_file("a.jsonl", (strings + &others).as_bytes(), fields).unwrap();
    assert_eq!(groups(&read)[..6], expected);
    assert_eq!(groups(&read)[6..], [None, None, Some("7"), Some("7")]);
}

#[test]
fn a_filter_reads_null_as_an_empty_value() {
    let content = b"{\"text\": \"a\", \"label\": 1, \"kind\": null}\n\
                    {\"text\": \"b\", \"label\": 2, \"kind\": \"\"}\n\
                    {\"text\": \"c\", \"label\": 2, \"kind\": \"x\"}\n";
    let read = read_file("a.jsonl", content, "  filter: {kind: ''}\n").unwrap();
    assert_eq!(pairs(&read), [("1", "a"), ("2", "b")]);
    let read = read_file("a.jsonl", content, "  filter: {kind: x}\n").unwrap();
    assert_eq!(pairs(&read), [("2", "c")]);
    let null = fault("a.jsonl", content, "  text_column: kind\n");
    assert!(null.starts_with("1: \"kind\" must be a string"), "{null}");
}

/// Returns the error message after the file name, which begins with the line number.
fn fault(name: &str, content: &[u8], fields: &str) -> String {
    let error = read_file(name, content, fields).unwrap_err();
    let message = format!("{error:#}");
    message.split_once(&format!("{name}:")).map(|(_, rest)| rest.to_owned()).unwrap_or(message)
}

#[test]
fn csv_follows_rfc_4180() {
    let content =
        b"\xEF\xBB\xBFlabel,text\r\npos,\"good, \"\"very\"\"\r\ntwo lines\"\r\nneg,bad\r\n";
    let read = read_file("a.csv", content, "").unwrap();
    assert_eq!(pairs(&read), [("pos", "good, \"very\"\r\ntwo lines"), ("neg", "bad")]);
    assert_eq!(read.lines, [2, 4]);
}

#[test]
fn tsv_treats_quotes_as_text_and_ignores_empty_lines() {
    let content = b"text\tlabel\n\"open\tpos\n\nit's \"x\"\tneg\r\n\r\n";
    let read = read_file("a.tsv", content, "").unwrap();
    assert_eq!(pairs(&read), [("pos", "\"open"), ("neg", "it's \"x\"")]);
}

#[test]
fn columns_are_found_by_name_or_number() {
    let content = b"1,x,good\n0,y,bad\n";
    let fields = "  header: false\n  text_column: 3\n  label_column: 1\n";
    assert_eq!(pairs(&read_file("a.csv", content, fields).unwrap()), [("1", "good"), ("0", "bad")]);
    let named = "  header: false\n  text_column: 3\n  label_column: 1\n  filter: {source: imdb}\n";
    assert!(fault("a.csv", content, named).contains("without a header"));
    assert_eq!(
        fault("a.csv", b"review,label\n", ""),
        "1: data.text_column: expected a column \"text\", found review, label"
    );
}

#[test]
fn the_filter_selects_rows() {
    let content = b"text,label,source\na,0,imdb\nb,1,yelp\nc,1,imdb\n";
    let read = read_file("a.csv", content, "  filter: {source: imdb}\n").unwrap();
    assert_eq!(pairs(&read), [("0", "a"), ("1", "c")]);
    assert!(fault("a.csv", content, "  filter: {origin: imdb}\n").contains("\"origin\""));
}

#[test]
fn labels_can_be_renamed() {
    let read =
        read_file("a.csv", b"text,label\na,0\nb,1\nc,2\n", "  label_names: {0: bad, 1: good}\n");
    assert_eq!(pairs(&read.unwrap()), [("bad", "a"), ("good", "b"), ("2", "c")]);
}

#[test]
fn json_lines_are_read_by_key() {
    let content = b"{\"text\": \"a\\nb\", \"label\": 1}\n\n{\"text\": \"c\", \"label\": \"x\"}\n";
    let read = read_file("a.jsonl", content, "").unwrap();
    assert_eq!(pairs(&read), [("1", "a\nb"), ("x", "c")]);
    assert_eq!(read.lines, [1, 3]);
    assert!(
        fault("a.jsonl", b"{\"text\": \"a\"}\n", "")
            .contains("expected a key \"label\", found text")
    );
    assert!(
        fault("a.jsonl", b"{\"text\": [], \"label\": 1}\n", "")
            .contains("\"text\" must be a string, a number or a boolean")
    );
    assert!(fault("a.jsonl", b"{\"text\"\n", "").starts_with("1: expected a JSON object: EOF"));
}

#[test]
fn json_arrays_are_read_element_by_element() {
    let elements = [
        r#"{"text": "a ], \"b\" [{", "label": 1, "more": [1, {"x": "]"}]}"#,
        r#"{"label": true, "text": "c\\"}"#,
        "{\n  \"text\": \"d\",\n  \"label\": \"x\"\n}",
    ];
    let expected = [("1", "a ], \"b\" [{"), ("true", "c\\"), ("x", "d")];
    for (separator, end) in [(",", "]"), ("\n , \n", "\n]\n\n"), (",\r\n", "\r\n]")] {
        let content = format!(" \n[{}{end}", elements.join(separator));
        for name in ["f.json", "f.jsonl"] {
            let read = read_file(name, content.as_bytes(), "").unwrap();
            assert_eq!(pairs(&read), expected, "{content}");
            assert_eq!((&*read.lines, read.files[0].unit), (&[1, 2, 3][..], Unit::Row));
            assert!(read.location(2).ends_with("f.json, row 3") || name != "f.json");
        }
        let read = read_file("f.json.gz", &gzip(content.as_bytes()), "").unwrap();
        assert_eq!(pairs(&read), expected);
    }
    let lines = br#"{"text": "a", "label": 1}"#;
    assert_eq!(
        read_file("f.json", lines, "").unwrap().location(0).rsplit_once(':').unwrap().1,
        "1"
    );
    assert!(read_file("f.json", b"[ ]", "").unwrap().is_empty());
}

#[test]
fn faults_in_json_arrays_are_located_by_row() {
    let first = r#"[{"text": "a", "label": 1},"#;
    for (rest, message) in [
        ("{\"text\": \"b\"}]", "f.json, row 2: expected a key \"label\", found text"),
        ("{\"text\": null, \"label\": 1}]", "f.json, row 2: \"text\" must be a string"),
        (", {\"text\": \"b\", \"label\": 1}]", "f.json, row 2: expected a JSON object: EOF"),
        ("{\"text\": \"b\", \"label\": 1", "f.json: the array does not end after row 1"),
        ("{\"text\": \"b, \"label\": 1}]", "f.json: the array does not end after row 1"),
        ("]", "f.json: expected another object after row 1, found the end of the array"),
        ("{\"text\": \"b\", \"label\": 1}] []", "f.json: found text after the end of the array"),
        ("3]", "f.json, row 2: expected a JSON object"),
    ] {
        let error = read_file("f.json", format!("{first}{rest}").as_bytes(), "").unwrap_err();
        assert!(format!("{error:#}").contains(message), "{error:#}");
    }
    let long = format!("{first}{{\"text\": \"{}\"}}]", "a".repeat(1_100_000));
    let error = read_file("f.json", long.as_bytes(), "  max_line_mb: 1\n").unwrap_err();
    assert!(format!("{error:#}").contains("f.json, row 2 exceeds 1 MB"), "{error:#}");
    let many = format!("{first}{}", "{\"text\": \"b\", \"label\": 1},".repeat(50_000));
    let many = many.trim_end_matches(',').to_owned() + "]";
    let read = read_file("f.json", many.as_bytes(), "  max_line_mb: 1\n").unwrap();
    assert_eq!(read.len(), 50_001);
}

#[cfg(feature = "parquet")]
mod parquet_files {
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
        let [(label, _)] = &read_fixture("test-00000-of-00001", named).unwrap()[..] else {
            panic!()
        };
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
            assert_eq!(
                read_fixture("types", &columns("view", label)).unwrap(),
                pairs(labels, texts)
            );
        }
        let read = read_fixture("types", &columns("dictionary", "view")).unwrap();
        assert_eq!(read, pairs(texts, ["x", "y", "x", "y"]));
        let skip = columns("large", "bool") + "  broken_lines: skip\n";
        let read = read_fixture("types", &skip).unwrap();
        assert_eq!(
            read,
            [
                ("true".into(), "a".into()),
                ("false".into(), "b".into()),
                ("true".into(), "d".into())
            ]
        );
    }

    #[test]
    fn unfit_columns_are_named() {
        for (text, label, message) in [
            ("large", "int8", "types.parquet, row 3: the column \"large\" is null"),
            ("view", "bool", "types.parquet, row 3: the label is empty"),
            ("view", "\"null\"", "types.parquet, row 1: the label is empty"),
            (
                "view",
                "lists",
                "data.label_column: the column \"lists\" has lists, expected strings",
            ),
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
        let columns: [(&str, ArrayRef); 2] = [
            ("text", Arc::new(arrow_array::StringArray::from(texts))),
            ("label", Arc::new(labels)),
        ];
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
}

#[test]
fn json_values_without_a_text_are_explained() {
    let surrogate = fault("a.jsonl", b"{\"text\": \"a \\ud800\", \"label\": 1}\n", "");
    assert!(surrogate.starts_with("1: \"text\" is invalid: "), "{surrogate}");
    assert!(surrogate.contains("surrogate") || surrogate.contains("hex escape"), "{surrogate}");
    let large = b"{\"text\": 1e400, \"label\": -1e400}\n";
    assert_eq!(pairs(&read_file("a.jsonl", large, "").unwrap()), [("-1e400", "1e400")]);
    let first = fault("a.jsonl", large, "  version: 1\n");
    assert!(first.starts_with("1: \"text\" is invalid: number out of range"), "{first}");
}

#[test]
fn numbers_in_json_lines_keep_their_spelling() {
    let content = b"{\"text\": 1.10, \"label\": true, \"v\": 1.10}\n\
                    {\"text\": 12345678901234567890123, \"label\": 1e3, \"v\": 1.10}\n\
                    {\"text\": \"a \\u00e9\", \"label\": -0.0, \"v\": \"1.10\"}\n\
                    {\"text\": \"x\", \"label\": 0, \"v\": 1.1}\n";
    let read = read_file("a.jsonl", content, "  filter: {v: 1.10}\n").unwrap();
    let expected = [("true", "1.10"), ("1e3", "12345678901234567890123"), ("-0.0", "a \u{e9}")];
    assert_eq!(pairs(&read), expected);
    // Runs of lstmtext 0.1 dropped the spelling.
    let read = read_file("a.jsonl", content, "  filter: {v: 1.1}\n  version: 1\n").unwrap();
    assert_eq!(pairs(&read)[1].0, "1000.0");
    assert_eq!(read.len(), 3);
}

#[test]
fn fasttext_labels_precede_the_text() {
    let read = read_file("a.txt", b"__label__pos very good\n__label__neg bad\n", "").unwrap();
    assert_eq!(pairs(&read), [("pos", "very good"), ("neg", "bad")]);
    assert!(
        fault("a.txt", b"__label__a x\nno label\n", "").starts_with("2: expected __label__NAME")
    );
    assert_eq!(pairs(&read_file("a.txt", b"__label__a , x\n", "").unwrap()), [("a", ", x")]);
}

#[test]
fn a_second_fasttext_label_anywhere_is_rejected_with_its_line() {
    for line in [
        "__label__a __label__b x",
        "__label__a , __label__b , x",
        "__label__a x __label__b",
        "__label__a,__label__b x",
        "__label__a x\u{a0}__label__b y",
    ] {
        let content = format!("__label__a good\n{line}\n__label__b bad\n");
        let message = fault("a.txt", content.as_bytes(), "");
        assert!(message.starts_with("2: found more than one label, the second in "), "{message}");
        let read = read_file("a.txt", content.as_bytes(), "  broken_lines: skip\n").unwrap();
        assert_eq!((pairs(&read).len(), read.skipped), (2, 1), "{line}");
    }
    let first_rules = read_file("a.txt", b"__label__a x __label__b\n", "  version: 1\n").unwrap();
    assert_eq!(pairs(&first_rules), [("a", "x __label__b")]);
}

#[test]
fn the_label_column_cannot_be_a_text_column() {
    let content = b"text,label\na,x\nb,y\n";
    for fields in ["  text_column: 2\n", "  text_column: [text, 2]\n", "  label_column: 1\n"] {
        let message = fault("a.csv", content, fields);
        assert!(message.contains("is also data.label_column"), "{message}");
        assert!(read_file("a.csv", content, &format!("{fields}  version: 1\n")).is_ok());
    }
}

#[test]
fn labels_are_trimmed_and_composed_in_every_format() {
    let expected = ["caf\u{e9}", "neg"];
    let contents: [(&str, &str); 4] = [
        ("a.csv", "text,label\na,caf\u{e9}\nb,\" cafe\u{301} \"\nc,neg\u{a0}\nd,neg\n"),
        ("a.tsv", "text\tlabel\na\tcaf\u{e9}\nb\t cafe\u{301} \nc\tneg\u{a0}\nd\tneg\n"),
        (
            "a.jsonl",
            "{\"text\": 1, \"label\": \"caf\u{e9}\"}\n{\"text\": 1, \"label\": \" cafe\u{301} \"}\n\
             {\"text\": 1, \"label\": \"neg\\t\"}\n{\"text\": 1, \"label\": \"neg\"}\n",
        ),
        (
            "a.txt",
            "__label__caf\u{e9} a\n__label__cafe\u{301} b\n__label__neg\u{a0}c\n__label__neg d\n",
        ),
    ];
    for (name, content) in contents {
        let read = read_file(name, content.as_bytes(), "").unwrap();
        assert_eq!(read.label_names, expected, "{name}");
        assert_eq!(read.targets.labels(), Some(&[0, 0, 1, 1][..]), "{name}");
    }
    let jsonl = contents[2].1.as_bytes();
    assert_eq!(read_file("a.jsonl", jsonl, "  version: 1\n").unwrap().label_names.len(), 4);
    let renamed = read_file("a.jsonl", jsonl, "  label_names: {' neg': ' bad '}\n").unwrap();
    assert_eq!(renamed.label_names, ["caf\u{e9}", "bad"]);
    let empty = b"{\"text\": 1, \"label\": \" \"}\n";
    assert!(fault("a.jsonl", empty, "").starts_with("1: the label is empty"));
}

#[test]
fn directories_whose_names_differ_in_spaces_are_one_class() {
    let directory = tempfile::tempdir().unwrap();
    for class in ["neg", "pos", "pos "] {
        std::fs::create_dir(directory.path().join(class)).unwrap();
        std::fs::write(directory.path().join(class).join("1.txt"), "text").unwrap();
    }
    for fields in ["", "  labels: [' neg', 'pos ']\n"] {
        let read = read(directory.path(), &data_config(fields)).unwrap();
        assert_eq!(
            (&read.label_names[..], read.targets.labels().unwrap()),
            (&["neg", "pos"].map(str::to_owned)[..], &[0, 1, 1][..])
        );
    }
}

#[test]
fn a_directory_has_a_subdirectory_for_each_class() {
    let directory = tempfile::tempdir().unwrap();
    for (file, text) in [("neg/0_1.txt", "bad"), ("pos/1_9.txt", "good"), ("unsup/2_0.txt", "?")] {
        let path = directory.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::write(directory.path().join("urls.txt"), "not a class").unwrap();
    let read_with = |fields: &str| read(directory.path(), &data_config(fields)).unwrap();
    assert_eq!(pairs(&read_with("  labels: [neg, pos]\n")), [("neg", "bad"), ("pos", "good")]);
    assert_eq!(read_with("").label_names, ["neg", "pos", "unsup"]);
    let renamed = "  label_names: {neg: bad, pos: good}\n  labels: [bad, good]\n";
    assert_eq!(pairs(&read_with(renamed)), [("bad", "bad"), ("good", "good")]);
}

#[test]
fn compressed_files_read_like_plain_ones() {
    let plain = b"text,label\ngood,pos\n";
    let gzip = gzip(plain);
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    for (name, content) in [("a.csv.gz", &gzip), ("a.csv.zst", &zstd)] {
        assert_eq!(pairs(&read_file(name, content, "").unwrap()), [("pos", "good")]);
    }
    for (name, content) in [("a.csv.gz", &gzip), ("a.csv.zst", &zstd)] {
        for length in 1..content.len() {
            let error = read_file(name, &content[..length], "").unwrap_err();
            assert!(format!("{error:#}").contains(name), "{length} bytes: {error:#}");
        }
    }
}

/// A power failure during a write can leave such files.
#[test]
fn nul_bytes_are_ordinary_characters() {
    let read = read_file("a.csv", b"text,label\na\0b,x\nc,y\n", "").unwrap();
    assert_eq!(pairs(&read), [("x", "a\0b"), ("y", "c")]);
    let zeros = [&b"text,label\na,x\nc,y\n"[..], &[0; 4096]].concat();
    assert!(fault("a.csv", &zeros, "").starts_with("4: expected 2 columns"));
    assert_eq!(read_file("a.csv", &zeros, "  broken_lines: skip\n").unwrap().skipped, 1);
    assert!(fault("a.jsonl", &[0; 64], "").starts_with("1: "));
}

#[test]
fn broken_rows_are_errors_or_are_skipped() {
    let content = b"text\tlabel\ngood\tpos\nno label\nbad\tneg\n\xFF\xFE\tneg\nx\t \n";
    assert!(
        fault("a.tsv", content, "").starts_with("3: expected 2 columns as in the header, found 1")
    );
    let read = read_file("a.tsv", content, "  broken_lines: skip\n").unwrap();
    assert_eq!(pairs(&read), [("pos", "good"), ("neg", "bad")]);
    assert_eq!(read.skipped, 3);
}

#[test]
fn skipping_is_advised_only_if_few_rows_are_broken() {
    let advice = |good: usize, broken: usize, behind: usize| {
        let rows = |row: &str, count: usize| row.repeat(count);
        let good =
            rows("good,pos\n", good) + &rows("no label\n", broken) + &rows("bad,neg\n", behind);
        let message = fault("a.csv", format!("text,label\n{good}").as_bytes(), "");
        message.rsplit_once(" (").unwrap().1.to_owned()
    };
    let skip = "to skip such rows, set data.broken_lines: skip)";
    let correct =
        |counts: &str| format!("broken rows: {counts}; correct the file, or check data.format)");
    assert_eq!(advice(19, 1, 0), skip);
    assert_eq!(advice(0, 1, 19), skip);
    let many = "to skip such rows, 9.1 % of the file, set data.broken_lines: skip and increase data.max_skipped)";
    assert_eq!(advice(10, 1, 0), many);
    assert_eq!(advice(0, 1, 10), many);
    assert_eq!(advice(9, 1, 0), correct("1 of 10"));
    assert_eq!(advice(1, 3, 1), correct("3 of 5"));
    // Not the whole file is read.
    assert_eq!(advice(0, 5_000, 9_000), correct("1,001 of 1,001"));
    // A row that lacks nothing but its label is read rightly, however many there are.
    let unlabelled = |name: &str, content: &str| {
        let message = fault(name, content.as_bytes(), "");
        let (fault, advice) = message.split_once(" (").unwrap();
        assert!(fault.ends_with("the label is empty"), "{message}");
        advice.to_owned()
    };
    let most = "to skip such rows, 66.7 % of the file, set data.broken_lines: skip and increase data.max_skipped)";
    assert_eq!(unlabelled("a.csv", "text,label\na,x\nb,\nc, \n"), most);
    let json = "{\"text\": \"a\", \"label\": null}\n{\"text\": \"b\", \"label\": \"\"}\n\
                {\"text\": \"c\", \"label\": 1}\n";
    assert_eq!(unlabelled("a.jsonl", json), most);
    let both = unlabelled("a.csv", "text,label\na,x\nb,\nno label\n");
    assert_eq!(both, correct("2 of 3"));
    // An error of the reader behind a broken row does not hide it.
    let quote = fault("a.csv", b"text,label\nno label\n\"open,x\n", "");
    assert!(quote.starts_with("2: expected 2 columns"), "{quote}");
    let latin = fault("a.csv", b"text,label\n\xE8,x\ngood,pos\n", "");
    assert!(latin.ends_with("set data.encoding: windows-1252"), "{latin}");
    let skipped =
        read_file("a.tsv", b"text\tlabel\n\xE8\tx\nx\na\tb\n", "  broken_lines: skip\n").unwrap();
    assert_eq!((skipped.skipped, skipped.not_utf8), (2, 1));
}

#[test]
fn unknown_and_missing_files_are_rejected() {
    assert!(format!("{:#}", read_file("a.bin", b"", "").unwrap_err()).contains("data.format"));
    let missing = read(Path::new("/nowhere/x.csv"), &data_config("")).unwrap_err();
    assert!(format!("{missing:#}").contains("cannot open \"/nowhere/x.csv\""));
}

#[test]
fn unclosed_quotes_are_detected() {
    let open = b"text,label\na,x\n\"b,y\nc,x\nd,y\n";
    let message = |place: &str, rest: &str| {
        format!(
            "{place}, nothing closes it{rest}; close it, or double each quote inside a quoted field"
        )
    };
    let two = ", and the 2 lines after it would belong to this field";
    let expected = message("3: unclosed quote: it opens here in column 1", two);
    assert_eq!(fault("a.csv", open, ""), expected);
    // Skipping the row would silently drop the rest of the file.
    assert_eq!(fault("a.csv", open, "  broken_lines: skip\n"), expected);
    let last = message("3: unclosed quote: it opens here in column 2", "");
    assert_eq!(fault("a.csv", b"text,label\na,x\nb,\"y", ""), last);
    // The row has a quoted field of several lines before.
    let later = b"text,label\n\"a\nb\",\"x\nc,x\nd,y\n";
    let place = "3: unclosed quote: it opens here in column 2 of the row that begins in line 2";
    assert_eq!(fault("a.csv", later, ""), message(place, two));
    assert_eq!(pairs(&read_file("a.csv", b"text,label\na,x\n\"b\",\"y\"", "").unwrap()).len(), 2);
    assert_eq!(pairs(&read_file("a.csv", b"text,label\na,x\n\"b\n\",y\n\n", "").unwrap()).len(), 2);
    assert!(read_file("a.csv", b"", "").unwrap().is_empty());
}

#[test]
fn rows_that_span_many_lines_are_reported() {
    let content = format!("text,label\nb,y\n\"a\n{}\",y\n", "more\n".repeat(150));
    let read = read_file("a.csv", content.as_bytes(), "").unwrap();
    let (path, line, lines) = read.long_row.clone().unwrap();
    assert_eq!((path.file_name().unwrap().to_str().unwrap(), line, lines), ("a.csv", 3, 152));
    let read = read_file("a.csv", b"text,label\n\"a\n\nb\",x\n", "").unwrap();
    assert_eq!(read.long_row, None);
}

/// Reads CSV rows with the columns text and label, and skips broken ones. Returns the line on which each
/// row begins with its text and label, and the error without `broken_lines: skip`.
fn csv_rows(rows: &str) -> (Vec<(u64, String, String)>, String) {
    let content = format!("text,label\n{rows}");
    let read = read_file("a.csv", content.as_bytes(), "  broken_lines: skip\n").unwrap();
    let pairs = pairs(&read).into_iter().zip(&read.lines);
    let rows = pairs.map(|((label, text), line)| (*line, text.to_owned(), label.to_owned()));
    (rows.collect(), fault("a.csv", content.as_bytes(), ""))
}

#[test]
fn text_after_a_closing_quote_is_a_broken_row() {
    for row in ["\"great\" film,x", "\"great\"film,x", "\"great\" ,\"x\"y", "good,\"x\"y"] {
        let (rows, fault) = csv_rows(&format!("a,x\n{row}\nb,y\n"));
        assert_eq!(rows.len(), 2, "{row}");
        assert!(fault.starts_with("3: "), "{fault}");
    }
    let (_, fault) = csv_rows("\"great\"film,x\n");
    let expected =
        "2: found \"film,x\" after a closing quote; double each quote inside a quoted field";
    assert!(fault.starts_with(expected), "{fault}");
    // A broken text of several lines is one broken row.
    let (rows, fault) = csv_rows("a,x\n\"one\ntwo, x\nthree\" four,x\nb,y\n");
    assert_eq!(rows, [(2, "a".into(), "x".into()), (6, "b".into(), "y".into())]);
    assert!(fault.starts_with("3: found \"four,x\" after a closing quote in line 5; "), "{fault}");
    // Space after the quote is harmless.
    let read = read_file("a.csv", b"text,label\n\"a\" ,\"x\" \r\n", "").unwrap();
    assert_eq!(pairs(&read), [("x", "a")]);
}

#[test]
fn stray_quotes_do_not_swallow_the_rows_between_them() {
    let lines = |rows: &str| {
        let (rows, fault) = csv_rows(rows);
        let lines: Vec<u64> = rows.iter().map(|(line, _, _)| *line).collect();
        (lines, fault.split_once(": ").unwrap().0.to_owned(), rows)
    };
    // Both quotes open a field.
    let (read, first, _) = lines("a,x\n\"b,y\nc,x\nd,y\n\"e,x\nf,y\n");
    assert_eq!((&read[..], &*first), (&[2, 4, 5, 7][..], "3"));
    // The second quote closes a field, and the number of columns fits.
    let (read, first, rows) = lines("a,x\n\"b,y\nc,x\nd,y\n5\",x\nf,y\n");
    assert_eq!((&read[..], &*first), (&[2, 4, 5, 6, 7][..], "3"));
    assert_eq!(rows[3].1, "5\"");
    // In the first rows, before any label is known.
    let (read, first, _) = lines("\"b,y\nc,x\nd 5\",y\na,x\nf,y\n");
    assert_eq!((&read[..], &*first), (&[3, 4, 5, 6][..], "2"));
    // Up to the end of the file.
    let (read, first, _) = lines("a,x\n\"b,x\nc,x\n");
    assert_eq!((&read[..], &*first), (&[2, 4][..], "3"));
    // In the second of three columns, and without a header.
    let content = b"1,a,x\n2,\"b,y\n3,c,x\n4,d\",y\n5,e,y\n";
    let fields = "  header: false\n  text_column: 2\n  label_column: 3\n";
    assert!(
        fault("a.csv", content, fields)
            .starts_with("2: a quote opens in this row and closes in line 4")
    );
    let skip = read_file("a.csv", content, &format!("{fields}  broken_lines: skip\n")).unwrap();
    assert_eq!((&skip.lines[..], skip.skipped), (&[1, 3, 4, 5][..], 1));
}

#[test]
fn stray_quotes_around_labels_do_not_swallow_rows() {
    let lines = |rows: &str| {
        let (rows, fault) = csv_rows(rows);
        let lines: Vec<u64> = rows.iter().map(|(line, _, _)| *line).collect();
        let names: HashSet<String> = rows.into_iter().map(|(_, _, label)| label).collect();
        assert!(names.iter().all(|name| name == "x" || name == "y"), "{names:?}");
        (lines, fault.split_once(": ").unwrap().0.to_owned())
    };
    // The row with the other quote is broken too.
    assert_eq!(lines("a,x\nb,\"y\nc,x\nd,y\"\ne,x\n"), (vec![2, 4, 6], "3".into()));
    assert_eq!(lines("b,\"y\nc,x\nd,y\" \r\ne,x\n"), (vec![3, 5], "2".into()));
    // No label has line breaks, known or not.
    assert_eq!(lines("b,\"y\nc,x\"\n"), (vec![], "2".into()));
    // From the text of a row to the label of another one.
    assert_eq!(lines("a,x\n\"b,y\nc,x\nd,y\"\ne,y\n"), (vec![2, 4, 6], "3".into()));
    // Blank lines, commas in a text, and labels in another case.
    assert_eq!(lines("a,x\nb,y\n\"b,y\n\nc,x\nd 5\",y\n"), (vec![2, 3, 6, 7], "4".into()));
    assert_eq!(lines("a,x\nb,y\n\"b,y\nc,x\nd, 5,y\ne 5\",y\n").1, "4");
    let (rows, _) = csv_rows("a,x\nb,y\n\"b,Y\nc,X\nd 5\",y\n");
    assert_eq!(rows.len(), 4);
    // One of many rows may have a label of its own.
    let (rows, fault) = csv_rows("a,x\nb,y\n\"b,y\nc,x\nd,oops\ne,x\nf,y\ng 5\",x\n");
    assert!(rows.len() == 7 && fault.starts_with("4: "), "{fault}");
    // In the first row of a file without a header.
    let read = |fields: &str| {
        let fields = format!("  header: false\n  text_column: 1\n  label_column: 2\n{fields}");
        read_file("a.csv", b"\"a,x\nb,y\nc 5\",x\nd,y\ne,x\n", &fields)
    };
    assert!(read("").unwrap_err().to_string().contains("a.csv:1: a quote opens in this row"));
    assert_eq!(read("  broken_lines: skip\n").unwrap().lines, [2, 3, 4, 5]);
    // In the middle column.
    let content = b"1,x,a\n2,\"y,b\n3,x,c\n4,y\",d\n5,x,e\n";
    let fields = "  header: false\n  text_column: 3\n  label_column: 2\n  broken_lines: skip\n";
    let read = read_file("a.csv", content, fields).unwrap();
    assert_eq!((&read.lines[..], read.skipped), (&[1, 3, 5][..], 2));
}

/// The last quote that can close a field is in an earlier, longer line.
#[test]
fn an_unclosed_field_with_doubled_quotes_is_an_error() {
    let file = b"text,label\na,x\n\"a long text\"\",x\nb\n";
    assert!(read_file("a.csv", file, "").is_err());
}

#[test]
fn labels_of_other_files_show_where_rows_are_swallowed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.csv");
    std::fs::write(&path, "text,label\n\"b,x\nc,y\nd 5\",z\n").unwrap();
    let config = data_config("");
    assert_eq!(read_texts(&path, &config, NONE_KNOWN).unwrap().0.len(), 1);
    let known = ["x", "y", "z"].map(str::to_owned);
    let labels = Labels::Required { known: &known };
    let error = read_texts(&path, &config, labels).unwrap_err();
    assert!(error.to_string().contains("test.csv:2: a quote opens"), "{error}");
}

#[test]
fn names_and_values_are_equal_if_their_composed_characters_are() {
    let (composed, decomposed) = ("Schl\u{fc}ssel", "Schlu\u{308}ssel");
    for (file, yaml) in [(composed, decomposed), (decomposed, composed), (decomposed, decomposed)] {
        let fields = format!("  text_column: {yaml}\n  filter: {{k{yaml}: {yaml}}}\n");
        let csv = format!("{file},label,k{file}\na,x,{file}\nb,y,z\n");
        let tsv = csv.replace(',', "\t");
        let jsonl = format!(
            "{{\"{file}\": \"a\", \"label\": \"x\", \"k{file}\": \"{file}\"}}\n\
             {{\"{file}\": \"b\", \"label\": \"x\", \"k{file}\": \"z\"}}\n"
        );
        for (name, content) in [("a.csv", csv), ("a.tsv", tsv), ("a.jsonl", jsonl)] {
            let read = read_file(name, content.as_bytes(), &fields).unwrap();
            assert_eq!(pairs(&read), [("x", "a")], "{name}");
            let first_rules = format!("{fields}  version: 1\n");
            let read = read_file(name, content.as_bytes(), &first_rules);
            assert_eq!(read.is_ok(), file == yaml, "{name}");
        }
    }
}

#[test]
fn keys_that_occur_twice_in_an_object_are_errors() {
    let content = b"{\"text\": \"a\", \"label\": \"x\"}\n\
                    {\"text\": \"b\", \"label\": \"x\", \"label\": \"y\"}\n";
    let message = fault("a.jsonl", content, "");
    assert!(message.starts_with("2: "), "{message}");
    assert!(message.contains("found the key \"label\" more than once"), "{message}");
    let read = read_file("a.jsonl", content, "  version: 1\n").unwrap();
    assert_eq!(pairs(&read), [("x", "a"), ("y", "b")]);
}

#[test]
fn quoted_fields_may_contain_line_breaks() {
    let content = "text,label\na,x\n\"Dear all, hello\nfrom here, x\n\",y\n\"yes, no\n\n\"\"no\"\", yes\",x\n\"\n\",y\n";
    let read = read_file("a.csv", content.as_bytes(), "").unwrap();
    let expected = [
        ("x", "a"),
        ("y", "Dear all, hello\nfrom here, x\n"),
        ("x", "yes, no\n\n\"no\", yes"),
        ("y", "\n"),
    ];
    assert_eq!((pairs(&read), read.skipped), (expected.to_vec(), 0));
    // A table in a text.
    let table = b"text,label\na,x\n\"This table:\nb,x\nc,x\n\",x\n";
    assert_eq!(read_file("a.csv", table, "").unwrap().len(), 2);
}

/// Runs of lstmtext 0.1 keep their texts.
#[test]
fn quotes_are_read_leniently_by_the_first_rules() {
    let content = b"text,label\n\"b\"c d\" ,y\n\"b,y\nc,x\nd\",y\n\"e\"\"\"\r\nf,y\n";
    let read = read_file("a.csv", content, "  version: 1\n  broken_lines: skip\n").unwrap();
    assert_eq!(pairs(&read), [("y", "bc d\" "), ("y", "b,y\nc,x\nd"), ("y", "f")]);
}

#[test]
fn rows_without_an_end_are_limited() {
    let rows = [&b"text,label\n\"a\n"[..], &b"more text in this line\n".repeat(90_000)].concat();
    let error = read_file("a.csv", &rows, "  max_line_mb: 1\n").unwrap_err().to_string();
    assert!(
        error.contains("a.csv:2: the row exceeds 1 MB, the limit set by data.max_line_mb"),
        "{error}"
    );
    // The cost is linear in the number of stray quotes.
    let rows = [&b"text,label\n"[..], &b"a,\"x\n".repeat(20_000)].concat();
    let read = read_file("a.csv", &rows, "  broken_lines: skip\n").unwrap();
    assert_eq!((read.len(), read.skipped), (0, 10_000));
}

const FRENCH: &str = "text,label\ntrès bon,pos\ndéçu,neg\n";

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

#[test]
fn files_are_read_in_their_encoding() {
    let little = utf16(FRENCH, u16::to_le_bytes);
    let big = utf16(FRENCH, u16::to_be_bytes);
    let latin: Vec<u8> = FRENCH.chars().map(|c| c as u8).collect();
    let encoding = |name: &str| format!("  encoding: {name}\n");
    for (content, fields) in [
        ([&b"\xFF\xFE"[..], &little].concat(), String::new()),
        ([&b"\xFE\xFF"[..], &big].concat(), String::new()),
        // A byte order mark takes precedence.
        ([&b"\xFE\xFF"[..], &big].concat(), encoding("latin-1")),
        (format!("\u{FEFF}{FRENCH}").into(), encoding("latin-1")),
        (little.clone(), encoding("utf-16")),
        (big, encoding("utf-16be")),
        (latin.clone(), encoding("latin-1")),
        (latin.clone(), encoding("cp1252")),
        (gzip(&latin), encoding("iso-8859-1")),
        (FRENCH.into(), encoding("utf-8")),
    ] {
        let read = read_file("a.csv", &content, &fields).unwrap();
        assert_eq!(pairs(&read), [("pos", "très bon"), ("neg", "déçu")], "{fields}");
    }
    let fault = |content: &[u8], fields: &str| {
        format!("{:#}", read_file("a.csv", content, fields).unwrap_err())
    };
    let error = fault(&little, "");
    assert!(error.ends_with("expected UTF-8; set data.encoding: utf-16le"), "{error}");
    let error = fault(b"\xFF\xFE\0\0t\0\0\0", "");
    assert!(error.contains("is UTF-32, which is not supported; convert it with iconv"), "{error}");
    let jsonl = read_file("a.jsonl", b"{\"text\": \"\x82\xC2\", \"label\": 1}", &encoding("sjis"));
    assert_eq!(pairs(&jsonl.unwrap()), [("1", "つ")]);
}

#[test]
fn bytes_that_are_not_in_the_configured_encoding_are_located() {
    let content = b"text,label\n\x82\xC2,pos\n\x82,neg\nfine,neg\n";
    let fields = "  encoding: shift_jis\n";
    let error = fault("a.csv", content, fields);
    let expected = "3: column 1 is not valid shift_jis; check the encoding that was given";
    assert!(error.starts_with(expected), "{error}");
    let skipped = read_file("a.csv", content, &format!("{fields}  broken_lines: skip\n")).unwrap();
    assert_eq!((skipped.len(), skipped.skipped, skipped.not_utf8), (2, 1, 1));
}

#[test]
fn tables_have_any_delimiter_and_quoting() {
    let none = "  quoting: none\n";
    for (name, content, fields, expected) in [
        ("a.csv", "label;text\npos;\"good; very\"\n", "", "good; very"),
        ("a.csv", "label\ttext\npos\tgood, very\n", "", "good, very"),
        ("a.csv", "label|text\npos|good\n", "", "good"),
        ("a.csv", "label^text\npos^good\n", "  delimiter: '^'\n", "good"),
        ("a.csv", "label,text\npos,\"good\" film\n", none, "\"good\" film"),
        ("a.tsv", "label\ttext\npos\t\"good\nfilm\"\n", "  quoting: standard\n", "good\nfilm"),
        ("a.tsv", "label\ttext\npos\t\"good\n", "", "\"good"),
        ("a.tsv", "label;text\npos;good\n", "  delimiter: semicolon\n", "good"),
    ] {
        let read = read_file(name, content.as_bytes(), fields).unwrap();
        assert_eq!(pairs(&read), [("pos", expected)], "{content}");
    }
    let error = fault("a.csv", b"text;label\na;b\n", "  delimiter: comma\n");
    assert!(error.contains("separated by \";\": set data.delimiter: semicolon"), "{error}");
    let error = fault("a.csv", b"id;review;stars\n1;a;b\n", "");
    assert!(error.contains("expected a column \"text\", found id, review, stars"), "{error}");
    for value in ["'\"'", "a", "ab", "''", "é", "1"] {
        let yaml = format!("data: {{train: x, delimiter: {value}}}\n");
        let error = config::parse(&yaml, "test", &[]).unwrap_err().to_string();
        assert!(error.contains("expected auto, comma, semicolon"), "{value}: {error}");
    }
    let error = config::parse("data: {train: x, encoding: klingon}\n", "test", &[]).unwrap_err();
    assert!(error.to_string().contains("expected auto, utf-8, utf-16, latin-1"), "{error}");
}

#[test]
fn a_bad_byte_in_a_file_that_is_otherwise_utf_8_is_located() {
    for (name, content) in [
        ("a.csv", "text,label\nдобро,pos\nзло X,neg\n"),
        ("a.tsv", "text\tlabel\nдобро\tpos\nзло X\tneg\n"),
        ("a.jsonl", "\n{\"text\": \"добро\", \"label\": 1}\n{\"text\": \"зло X\", \"label\": 2}\n"),
        ("a.txt", "\n__label__pos добро\n__label__neg зло X\n"),
    ] {
        let mut bytes = content.as_bytes().to_vec();
        let bad = bytes.iter().rposition(|byte| *byte == b'X').unwrap();
        bytes[bad] = 0xE9;
        let error = format!("{:#}", read_file(name, &bytes, "").unwrap_err());
        let line_start = bytes[..bad].iter().rposition(|byte| *byte == b'\n').unwrap();
        let place =
            format!("byte {} of line 3 is 0xE9, but the text is otherwise UTF-8", bad - line_start);
        assert!(error.contains(&place) && error.contains("iconv -c"), "{name}: {error}");
    }
}

#[test]
fn advice_on_a_directory_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    for class in ["neg", "pos"] {
        std::fs::create_dir(directory.path().join(class)).unwrap();
        std::fs::write(directory.path().join(class).join("1.txt"), "d\u{e9}\u{e7}u").unwrap();
    }
    let damaged = directory.path().join("pos/1.txt");
    std::fs::write(&damaged, b"d\xC3\xA9\xC3\xA7u\xE9").unwrap();
    let error = format!("{:#}", read(directory.path(), &data_config("")).unwrap_err());
    assert!(error.contains("byte 7 of line 1 is 0xE9"), "{error}");
    assert!(
        error.contains(&format!("iconv -c -f UTF-8 -t UTF-8 {}", damaged.display())),
        "{error}"
    );
}

/// Spreadsheets save CSV files in Windows-1252, where skipping lines would lose those with accents.
#[test]
fn lines_that_are_not_utf_8_can_be_converted() {
    for (name, content) in [
        ("a.csv", &b"text,label\ntr\xE8s bon,pos\n"[..]),
        ("a.tsv", b"text\tlabel\ntr\xE8s bon\tpos\n"),
        ("a.txt", b"__label__pos tr\xE8s bon\n"),
        ("a.jsonl", b"{\"text\": \"tr\xE8s bon\", \"label\": \"pos\"}\n"),
    ] {
        let error = format!("{:#}", read_file(name, content, "").unwrap_err());
        let advice =
            "not valid UTF-8; it is most likely WINDOWS-1252: set data.encoding: windows-1252";
        assert!(error.contains(advice), "{name}: {error}");
    }
    let header = b"text,cat\xE9gorie,label\na,b,x\n";
    assert!(
        fault("a.csv", header, "  label_column: cat\u{E9}gorie\n")
            .starts_with("1: the header is not valid UTF-8; it is most likely")
    );
    assert!(read_file("a.csv", header, "").is_ok());
}

#[test]
fn long_lines_are_rejected() {
    let long = [b"text,label\na,x\n", &vec![b'a'; 3_000_000][..], b",y\nb,y\n"].concat();
    assert_eq!(read_file("a.csv", &long, "").unwrap().len(), 3);
    let fields = "  max_line_mb: 2\n";
    for name in ["a.csv", "a.tsv", "a.jsonl", "a.txt"] {
        let error = format!("{:#}", read_file(name, &long, fields).unwrap_err());
        let expected = "line 3 exceeds 2 MB, the limit set by data.max_line_mb";
        // The other formats reject the first line.
        let first = format!("{name}:1: ");
        assert!(error.contains(expected) || error.contains(&first), "{name}: {error}");
    }
    let directory = tempfile::tempdir().unwrap();
    for (class, text) in [("neg", &b"bad"[..]), ("pos", &vec![b'\n'; 2_000_001][..])] {
        std::fs::create_dir(directory.path().join(class)).unwrap();
        std::fs::write(directory.path().join(class).join("1.txt"), text).unwrap();
    }
    let error = read(directory.path(), &data_config(fields)).unwrap_err();
    assert!(error.to_string().contains("1.txt: the file exceeds 2 MB"), "{error:#}");
}

/// The file has 20 MB of rows in 20 kB.
#[test]
fn the_decompressed_size_is_limited() {
    let rows = format!("text,label\n{}", "good,pos\nbad,neg\n".repeat(1_200_000));
    let zst = zstd::stream::encode_all(rows.as_bytes(), 1).unwrap();
    for (name, bytes) in [("a.csv.gz", gzip(rows.as_bytes())), ("a.csv.zst", zst)] {
        let error = read_file(name, &bytes, "  max_unpacked_mb: 4\n").unwrap_err();
        let expected = "the decompressed size exceeds 4 MB, the limit set by data.max_unpacked_mb";
        assert!(format!("{error:#}").contains(expected), "{error:#}");
        let cut = read_file(name, &bytes[..bytes.len() / 2], "").unwrap_err();
        assert!(format!("{cut:#}").contains("cannot read"), "{cut:#}");
    }
    assert!(read_file("a.csv", rows.as_bytes(), "  max_unpacked_mb: 4\n").is_ok());
}

#[test]
fn duplicate_columns_are_rejected() {
    let content = b"text,text,label\na,b,x\n";
    assert_eq!(
        fault("a.csv", content, ""),
        "1: data.text_column: the header has more than one column \"text\"; use its number, counting \
         from 1"
    );
    let read = read_file("a.csv", content, "  text_column: 2\n").unwrap();
    assert_eq!(pairs(&read), [("x", "b")]);
}

#[cfg(unix)]
#[test]
fn special_files_in_a_directory_are_errors_or_are_skipped() {
    let directory = tempfile::tempdir().unwrap();
    for class in ["neg", "pos"] {
        std::fs::create_dir(directory.path().join(class)).unwrap();
        std::fs::write(directory.path().join(class).join("1.txt"), class).unwrap();
    }
    std::os::unix::fs::symlink("loop", directory.path().join("pos/loop")).unwrap();
    std::os::unix::fs::symlink("..", directory.path().join("pos/up")).unwrap();
    std::os::unix::fs::symlink(".", directory.path().join("round")).unwrap();
    let pipe = directory.path().join("neg/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    let error = read(directory.path(), &data_config("")).unwrap_err();
    assert!(format!("{error:#}").contains("neg/pipe\" is not a regular file"), "{error:#}");
    let read = read(directory.path(), &data_config("  broken_lines: skip\n")).unwrap();
    assert_eq!((read.len(), read.skipped), (2, 2));
    let error = read_texts(&pipe, &data_config("  format: csv\n"), NONE_KNOWN).unwrap_err();
    assert!(format!("{error:#}").contains("expected a regular file"), "{error:#}");
}

/// Reads a file, or a directory of files, without labels. Returns the texts, one list per column, and the
/// rows.
fn unlabelled(files: &[(&str, &str)], name: &str, config: &Config) -> anyhow::Result<Read> {
    let directory = tempfile::tempdir()?;
    for (file, content) in files {
        let path = directory.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap())?;
        std::fs::write(path, content)?;
    }
    let (rows, texts) = read_texts(&directory.path().join(name), config, Labels::Ignored)?;
    Ok(Read { rows, texts })
}

#[test]
fn labels_can_be_ignored_in_every_format() {
    let config = data_config("");
    for (name, content) in [
        ("x.csv", "id,text\n1,one\n2,\"a,b\"\n"),
        ("x.csv", "text,label\none,x\n\"a,b\",\n"),
        ("x.tsv", "text\none\na,b\n"),
        ("x.jsonl", "{\"text\": \"one\"}\n{\"text\": \"a,b\", \"label\": null}\n"),
        ("x.txt", "one\n\na,b\n"),
        ("x.txt", "__label__x one\n__label__x __label__y a,b\n"),
    ] {
        let read = unlabelled(&[(name, content)], name, &config).unwrap();
        assert_eq!(read.texts, [["one", "a,b"]], "{name}: {content}");
        assert_eq!((read.len(), read.targets.len(), read.label_names.len()), (2, 0, 0), "{name}");
    }
    let stories = "data: {train: x, format: babi}\ninputs: {story: {}, question: {}}\n";
    let stories = config::parse(stories, "test", &[]).unwrap().config;
    let story = "1 Mary left.\n2 Who left?\t\n";
    let read = unlabelled(&[("x.txt", story)], "x.txt", &stories).unwrap();
    assert_eq!(read.texts, [["Mary left."], ["Who left?"]]);
}

#[test]
fn directories_without_labels_have_texts_or_directories_of_texts() {
    let config = data_config("  labels: [a, b]\n");
    let texts = [("all/1.txt", "one"), ("all/2.txt", "two")];
    assert_eq!(unlabelled(&texts, "all", &config).unwrap().texts, [["one", "two"]]);
    let nested = [("all/a/1.txt", "one"), ("all/other/1.txt", "two"), ("all/words.txt", "no text")];
    assert_eq!(unlabelled(&nested, "all", &config).unwrap().texts, [["one", "two"]]);
}

#[test]
fn columns_of_texts_are_needed_without_labels_too() {
    let missing = |name: &str, content: &str| {
        let read = unlabelled(&[(name, content)], name, &data_config(""));
        format!("{:#}", read.unwrap_err())
    };
    assert!(missing("x.csv", "body\na\n").contains("data.text_column: expected a column \"text\""));
    assert!(missing("x.jsonl", "{\"body\": \"a\"}\n").contains("expected a key \"text\""));
}

//! Files whose texts have several labels, or a probability for each label.

use super::super::super::targets::Targets;
use super::*;

/// Returns the labels of each row.
fn sets(read: &Read) -> Vec<Vec<&str>> {
    let Targets::LabelSets(sets) = &read.targets else { panic!("{:?}", read.targets) };
    let name = |label: &u32| read.label_names[*label as usize].as_str();
    let mut sets: Vec<Vec<&str>> = sets.iter().map(|set| set.iter().map(name).collect()).collect();
    sets.iter_mut().for_each(|set| set.sort_unstable());
    sets
}

/// Returns the probabilities of all rows.
fn probabilities(read: &Read) -> &[f32] {
    let Targets::Probabilities { classes, probabilities } = &read.targets else {
        panic!("{:?}", read.targets)
    };
    assert_eq!(*classes, read.label_names.len());
    probabilities
}

const COMMA: &str = "  label_separator: ','\n";
const SEVERAL: &str = "  multi_label: true\n";

#[test]
fn labels_are_separated_in_every_format_with_a_label_column() {
    let expected: [&[&str]; 4] = [&["b", "c"], &[], &["c"], &["a b", "b"]];
    let objects = r#"{"text": "v", "label": "c, b"}
        {"text": "w", "label": null}
        {"text": "x", "label": ",c,"}
        {"text": "y", "label": " a b ,b"}"#;
    let array = format!("[{}]", objects.replace("}\n", "},\n"));
    for (name, content) in [
        ("a.csv", "text,label\nv,\"c, b\"\nw,\nx,\",c,\"\ny,\" a b ,b\"\n"),
        ("a.tsv", "text\tlabel\nv\tc, b\nw\t\nx\t,c,\ny\t a b ,b\n"),
        ("a.jsonl", objects),
        ("a.json", &array),
    ] {
        let read = read_file(name, content.as_bytes(), COMMA).unwrap();
        assert_eq!(sets(&read), expected, "{name}");
        assert_eq!(read.texts[0], ["v", "w", "x", "y"]);
    }
    // Without a separator, a value is one label.
    let read = read_file("a.csv", b"text,label\nv,\"c, b\"\nw,\n", SEVERAL).unwrap();
    assert_eq!(sets(&read), [vec!["c, b"], vec![]]);
    let read = read_file("a.csv", b"text,label\nv,\"c, b\"\n", "").unwrap();
    assert_eq!(pairs(&read), [("c, b", "v")]);
}

#[test]
fn labels_are_listed_in_json() {
    let content = br#"{"text": "v", "label": ["c", 1, true]}
        {"text": "w", "label": []}
        {"text": "x", "label": "c"}
        {"text": "y", "label": null}
        {"text": "z", "label": ["a,b", " ", ""]}"#;
    let expected: [&[&str]; 5] = [&["1", "c", "true"], &[], &["c"], &[], &["a,b"]];
    for fields in [SEVERAL, COMMA] {
        assert_eq!(sets(&read_file("a.jsonl", content, fields).unwrap()), expected);
    }
    for (label, message) in [
        (r#"["a", null]"#, "1: in the list of labels, \"label\" must be a string, a number"),
        (r#"["a", ["b"]]"#, "1: in the list of labels, \"label\" must be a string, a number"),
        (r#"{"a": 1}"#, "1: \"label\" must be a string, a number or a boolean"),
        (r#"["a", "b", " a"]"#, "1: found the label \"a\" more than once"),
    ] {
        let content = format!("{{\"text\": \"v\", \"label\": {label}}}");
        let message_found = fault("a.jsonl", content.as_bytes(), SEVERAL);
        assert!(message_found.starts_with(message), "{message_found}");
    }
    let one = fault("a.jsonl", content, "");
    let expected =
        "1: \"label\" is a list; for texts with several labels, set data.multi_label: true";
    assert!(one.starts_with(expected), "{one}");
}

#[test]
fn fasttext_lines_begin_with_any_number_of_labels() {
    let content = b"__label__b __label__a  very good\n no label\n__label__a\n__label__c\tx , y\n";
    let read = read_file("a.txt", content, SEVERAL).unwrap();
    assert_eq!(sets(&read), [vec!["a", "b"], vec![], vec!["a"], vec!["c"]]);
    assert_eq!(read.texts[0], [" very good", "no label", "", "x , y"]);
    for (line, message) in [
        ("__label__a x __label__b", "2: found a label after the beginning of the text"),
        ("__label__ x", "2: expected __label__NAME, found \"__label__\""),
        ("__label__a,__label__b x", "2: expected __label__NAME, found \"__label__a,__label__b\""),
        ("__label__a __label__a x", "2: found the label \"a\" more than once"),
    ] {
        let content = format!("__label__a good\n{line}\n");
        let found = fault("a.txt", content.as_bytes(), SEVERAL);
        assert!(found.starts_with(message), "{found}");
    }
    let one = fault("a.txt", b"__label__a __label__b x\n", "");
    assert!(one.contains("for texts with several labels, set data.multi_label: true"), "{one}");
}

#[test]
fn a_label_occurs_once_in_a_set_unless_others_are_renamed_to_it() {
    let content = "text\tlabel\nv\ta,b\nw\tc,d\nx\ta,c\n".as_bytes();
    let renamed = "  label_separator: ','\n  label_names: {b: a, d: ''}\n";
    let read = read_file("a.tsv", content, renamed).unwrap();
    assert_eq!(sets(&read), [vec!["a"], vec!["c"], vec!["a", "c"]]);
    for again in ["a,b,a", "cafe\u{301}, caf\u{e9}"] {
        let content = format!("text\tlabel\nv\ta\nx\t{again}\n");
        let message = fault("a.tsv", content.as_bytes(), COMMA);
        assert!(message.starts_with("3: found the label "), "{message}");
        assert!(message.contains("more than once"), "{message}");
        let skip = format!("{COMMA}  broken_lines: skip\n");
        let read = read_file("a.tsv", content.as_bytes(), &skip).unwrap();
        // The labels of a skipped row are no classes.
        assert_eq!((sets(&read), read.skipped), (vec![vec!["a"]], 1));
        assert_eq!(read.label_names, ["a"]);
    }
}

const COLUMNS: &str = "  label_columns: [toxic, rude]\n";

#[test]
fn columns_of_zeros_and_ones_are_label_sets() {
    let objects = r#"{"text": "v", "rude": 1, "toxic": true}
        {"text": "w", "rude": 0.0, "toxic": "1.0"}
        {"text": "x", "rude": "False", "toxic": 0}"#;
    for (name, content) in [
        ("a.csv", "rude,text,toxic\n1,v,TRUE\n0.0,w,1\n 0 ,x,false\n"),
        ("a.tsv", "rude\ttext\ttoxic\n1\tv\t1\n0\tw\t1.0\n0\tx\t0\n"),
        ("a.jsonl", objects),
    ] {
        let read = read_file(name, content.as_bytes(), COLUMNS).unwrap();
        assert_eq!(sets(&read), [vec!["rude", "toxic"], vec!["toxic"], vec![]], "{name}");
        assert_eq!(read.label_names, ["toxic", "rude"]);
        let renamed = format!("{COLUMNS}  label_names: {{toxic: bad, rude: bad}}\n");
        let read = read_file(name, content.as_bytes(), &renamed).unwrap();
        assert_eq!(sets(&read), [vec!["bad"], vec!["bad"], vec![]], "{name}");
    }
    let content = b"text,toxic,rude\nv,0.25,1\nw,1,0\n";
    let read = read_file("a.csv", content, COLUMNS).unwrap();
    assert_eq!(probabilities(&read), [0.25, 1.0, 1.0, 0.0]);
    // The rows before the first probability become probabilities too.
    let content = b"text,toxic,rude\nw,1,0\nx,0,0\nv,0.25,1\n";
    let read = read_file("a.csv", content, COLUMNS).unwrap();
    assert_eq!(probabilities(&read), [1.0, 0.0, 0.0, 0.0, 0.25, 1.0]);
}

#[test]
fn columns_of_exclusive_labels_add_up_to_1() {
    let fields = format!("{COLUMNS}  multi_label: false\n");
    let read = read_file("a.csv", b"text,toxic,rude\nv,0,1\nw,1,0\n", &fields).unwrap();
    assert_eq!(pairs(&read), [("rude", "v"), ("toxic", "w")]);
    let content = b"text,toxic,rude\nv,0,1\nw,0.6,0.4\nx,0.3335,0.6670\n";
    let read = read_file("a.csv", content, &fields).unwrap();
    assert_eq!(probabilities(&read)[..4], [0.0, 1.0, 0.6, 0.4]);
    let scaled = probabilities(&read)[4] + probabilities(&read)[5];
    assert!((scaled - 1.0).abs() < 1e-6 && probabilities(&read)[5] < 0.667, "{scaled}");
    for row in ["0,0", "1,1", "0.6,0.402", "0.5,0.49"] {
        let content = format!("text,toxic,rude\nw,1,0\nv,{row}\n");
        let message = fault("a.csv", content.as_bytes(), &fields);
        assert!(message.starts_with("3: the label columns toxic, rude add up to"), "{message}");
        assert!(message.contains("expected 1 (within 0.001)"), "{message}");
    }
    let renamed = format!("{fields}  label_names: {{rude: ''}}\n");
    let message = fault("a.csv", b"text,toxic,rude\nv,0,1\n", &renamed);
    assert!(message.starts_with("2: the label is empty"), "{message}");
}

#[test]
fn faults_of_label_columns_are_located() {
    for value in ["2", "-1", "1.5", "NaN", "inf", "yes", "0,5"] {
        let content = format!("text\ttoxic\trude\nv\t1\t0\nw\t0\t{value}\n");
        let message = fault("a.tsv", content.as_bytes(), COLUMNS);
        let expected = format!("3: the label column \"rude\" has {value:?}; expected 0, 1 or a");
        assert!(message.starts_with(&expected), "{message}");
    }
    let message = fault("a.tsv", b"text\ttoxic\trude\nv\t1\t\n", COLUMNS);
    assert!(message.starts_with("2: the label column \"rude\" is empty"), "{message}");
    for (name, content) in [
        ("a.csv", &b"text,toxic,rud\nv,1,0\n"[..]),
        ("a.jsonl", br#"{"text": "v", "toxic": 1, "rud": 0}"#),
    ] {
        let message = fault(name, content, COLUMNS);
        assert!(message.contains("\"rude\", found ") && message.contains("; did you mean rud?"));
    }
    let message =
        fault("a.csv", b"text,toxic,rude\nv,1,0\n", &format!("{COLUMNS}  text_column: 2\n"));
    assert!(message.contains("the column number 2 is also in data.label_columns"), "{message}");
    let message = fault("a.txt", b"__label__a x\n", COLUMNS);
    assert!(message.contains("data.label_columns needs named columns"), "{message}");
}

#[test]
fn a_directory_per_class_has_one_label_per_text() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("a")).unwrap();
    for (fields, message) in [(SEVERAL, "a text has one label"), (COLUMNS, "needs named columns")] {
        let error = read(directory.path(), &data_config(fields)).unwrap_err();
        assert!(format!("{error:#}").contains(message), "{error:#}");
    }
}

#[test]
fn stray_quotes_do_not_swallow_rows_with_several_labels() {
    let rows = "a,\"x,y\"\nb,x\n\"c,y\nd,\"x, y\"\ne\",\"x,y\"\nf,y\n";
    let content = format!("text,label\n{rows}");
    let message = fault("a.csv", content.as_bytes(), COMMA);
    assert!(message.starts_with("4: "), "{message}");
    let skip = format!("{COMMA}  broken_lines: skip\n");
    let read = read_file("a.csv", content.as_bytes(), &skip).unwrap();
    assert!(read.texts[0].contains(&"d".to_owned()), "{:?}", read.texts);
    let rows = "a,1,0\n\"b,0,0\nc,0,1\nd\",1,1\ne,1,0\n";
    let content = format!("text,toxic,rude\n{rows}");
    let message = fault("a.csv", content.as_bytes(), COLUMNS);
    assert!(message.starts_with("3: a quote opens in this row and closes in line 5"), "{message}");
}

#[test]
fn labels_of_any_kind_can_be_ignored() {
    for (name, content, fields) in [
        ("a.csv", "text,label\nv,\"a,a\"\n", COMMA),
        ("a.csv", "text,toxic,rude\nv,7,\n", COLUMNS),
        ("a.csv", "text\nv\n", COLUMNS),
        ("a.jsonl", "{\"text\": \"v\", \"label\": [[]]}", SEVERAL),
        ("a.jsonl", "{\"text\": \"v\"}", COLUMNS),
        ("a.txt", "__label__a __label__a v\n", SEVERAL),
    ] {
        let read = unlabelled(&[(name, content)], name, &data_config(fields)).unwrap();
        assert_eq!(
            (&read.texts[0][..], read.targets.len()),
            (&["v".to_owned()][..], 0),
            "{content}"
        );
    }
}

#[cfg(feature = "parquet")]
mod parquet_labels {
    use std::sync::Arc;

    use ::parquet::arrow::ArrowWriter;
    use arrow_array::types::Int32Type;
    use arrow_array::{
        ArrayRef, BooleanArray, Float64Array, Int8Array, LargeListArray, ListArray, RecordBatch,
        StringArray,
    };

    use super::*;

    fn read_columns(columns: Vec<(&str, ArrayRef)>, fields: &str) -> anyhow::Result<Read> {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["v", "w", "x"]));
        let columns = columns.into_iter().chain([("text", texts)]);
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.map(|(name, column)| (name, column, true)),
        )?;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("a.parquet");
        let mut writer = ArrowWriter::try_new(std::fs::File::create(&path)?, batch.schema(), None)?;
        writer.write(&batch)?;
        writer.close()?;
        read(&path, &data_config(fields))
    }

    fn numbers() -> ArrayRef {
        let rows = [Some(vec![Some(27), Some(3)]), None, Some(vec![])];
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows))
    }

    #[test]
    fn lists_are_label_sets() {
        let rows = [Some(vec![Some(27), Some(3)]), None, Some(vec![])];
        let large = LargeListArray::from_iter_primitive::<Int32Type, _, _>(rows);
        for column in [numbers(), Arc::new(large)] {
            let read = read_columns(vec![("label", column)], SEVERAL).unwrap();
            assert_eq!(sets(&read), [vec!["27", "3"], vec![], vec![]]);
            assert_eq!(read.texts[0], ["v", "w", "x"]);
        }
        let named = "  multi_label: true\n  label_names: {27: neutral, 3: anger}\n";
        let read = read_columns(vec![("label", numbers())], named).unwrap();
        assert_eq!(sets(&read)[0], ["anger", "neutral"]);
        let strings: ArrayRef = Arc::new(StringArray::from(vec![Some("a,b"), None, Some("b")]));
        let read = read_columns(vec![("label", strings)], COMMA).unwrap();
        assert_eq!(sets(&read), [vec!["a", "b"], vec![], vec!["b"]]);
    }

    #[test]
    fn faults_in_lists_are_located() {
        let error = |rows: Vec<Option<Vec<Option<i32>>>>, fields: &str| {
            let column = ListArray::from_iter_primitive::<Int32Type, _, _>(rows);
            let error = read_columns(vec![("label", Arc::new(column))], fields).unwrap_err();
            format!("{error:#}")
        };
        let one = Some(vec![Some(1)]);
        let message = error(vec![one.clone(), Some(vec![Some(1), None]), None], SEVERAL);
        assert!(message.contains("a.parquet, row 2: the list of labels has a null"), "{message}");
        let message = error(vec![one.clone(), one.clone(), Some(vec![Some(1); 2])], SEVERAL);
        assert!(message.contains("a.parquet, row 3: found the label \"1\" more"), "{message}");
        let message = error(vec![one.clone(), one.clone(), one], "");
        assert!(message.contains("set data.multi_label: true"), "{message}");
    }

    #[test]
    fn columns_have_booleans_or_numbers() {
        let columns = |rude: Vec<Option<f64>>| -> Vec<(&'static str, ArrayRef)> {
            vec![
                ("toxic", Arc::new(BooleanArray::from(vec![true, false, false]))),
                ("rude", Arc::new(Float64Array::from(rude))),
            ]
        };
        let read = read_columns(columns(vec![Some(1.0), Some(0.0), Some(1.0)]), COLUMNS).unwrap();
        assert_eq!(sets(&read), [vec!["rude", "toxic"], vec![], vec!["rude"]]);
        let read = read_columns(columns(vec![Some(0.5), Some(0.0), Some(1.0)]), COLUMNS).unwrap();
        assert_eq!(probabilities(&read), [1.0, 0.5, 0.0, 0.0, 0.0, 1.0]);
        let error = read_columns(columns(vec![Some(1.0), None, None]), COLUMNS).unwrap_err();
        let expected = "a.parquet, row 2: the label column \"rude\" is empty";
        assert!(format!("{error:#}").contains(expected), "{error:#}");
        let lists =
            vec![("toxic", numbers()), ("rude", Arc::new(Int8Array::from(vec![1; 3])) as _)];
        let error = read_columns(lists, COLUMNS).unwrap_err();
        let expected = "data.label_columns: the column \"toxic\" has lists, expected";
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
}

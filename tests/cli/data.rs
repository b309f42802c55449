//! `lstmtext data` and the data formats.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::common::{Example, TestDir, assert_fails, csv, examples, stderr, stdout, stdout_json};

/// Creates examples with characters that CSV and JSON must escape, but without tabs and line breaks,
/// which not every format supports. They are sorted by class, the order in which directories are read.
fn with_special_characters(count: usize, seed: u64) -> Vec<Example> {
    let mut examples = examples(&["neg", "pos"], count, seed);
    for (number, example) in examples.iter_mut().enumerate() {
        example.text += [", \"so\" it's", " café \\ naïve", " {a: [b]} 中文", ""][number % 4];
    }
    examples.sort_by(|a, b| a.label.cmp(&b.label));
    examples
}

fn tsv(examples: &[Example]) -> Vec<u8> {
    let rows = examples.iter().map(|example| format!("{}\t{}\n", example.label, example.text));
    ("label\ttext\n".to_owned() + &rows.collect::<String>()).into()
}

fn jsonl(examples: &[Example]) -> Vec<u8> {
    let object = |example: &Example| json!({"label": example.label, "text": example.text, "n": 1});
    examples.iter().map(|example| format!("{}\n", object(example))).collect::<String>().into()
}

fn fasttext(examples: &[Example]) -> Vec<u8> {
    let line = |example: &Example| format!("__label__{} {}\n", example.label, example.text);
    examples.iter().map(line).collect::<String>().into()
}

/// Compresses bytes with gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 0).unwrap()
}

/// Adds `directory/LABEL/NUMBER.txt` for every example.
fn with_directory(mut dir: TestDir, directory: &str, examples: &[Example]) -> TestDir {
    for (number, example) in examples.iter().enumerate() {
        dir = dir.file(&format!("{directory}/{}/{number:04}.txt", example.label), &example.text);
    }
    dir
}

fn stats(dir: &TestDir, line: &str) -> Value {
    let command = format!("data stats small.yaml --json {line}");
    stdout_json(&dir.lstmtext(&command).assert().success())
}

fn example(label: &str, text: &str) -> Example {
    Example { label: label.into(), text: text.into() }
}

#[test]
fn all_formats_train_the_same_model() {
    let (train, test) = (with_special_characters(200, 1), with_special_characters(40, 2));
    let mut dir = TestDir::with_data();
    let mut names = vec!["folder".to_owned()];
    for (name, examples) in [("train", &train), ("test", &test)] {
        dir = with_directory(dir, &format!("{name}.folder"), examples);
        for (extension, bytes) in [
            ("csv", csv(examples)),
            ("tsv", tsv(examples)),
            ("jsonl", jsonl(examples)),
            ("txt", fasttext(examples)),
            ("csv.gz", gzip(&csv(examples))),
            ("jsonl.zst", zst(&jsonl(examples))),
        ] {
            dir = dir.file(&format!("{name}.{extension}"), bytes);
            if name == "train" {
                names.push(extension.to_owned());
            }
        }
    }
    let files = |name: &str| format!("--set data.train=train.{name} --set data.test=test.{name}");
    let expected = stats(&dir, &files("csv"));
    assert_eq!((&expected["parts"][0]["examples"], &expected["notes"]), (&json!(180), &json!([])));
    for name in &names {
        assert_eq!(stats(&dir, &files(name)), expected, "{name}");
        dir.train(&format!("small.yaml --out {name} --set train.epochs=1 {}", files(name)));
        assert!(dir.best_weights(name) == dir.best_weights("folder"), "{name}");
        let vocabulary = |run: &str| dir.read(&format!("{run}/best/vocabulary.json"));
        assert_eq!(vocabulary(name), vocabulary("folder"), "{name}");
    }
}

#[test]
fn data_format_overrides_the_extension() {
    let dir = TestDir::with_data().file("train.dat", tsv(&with_special_characters(100, 1)));
    let line = "--set data.train=train.dat --set data.test=null";
    let unknown = dir.lstmtext(&format!("data stats small.yaml {line}"));
    assert_fails(unknown, 1, &["train.dat", "data.format"]);
    assert_eq!(stats(&dir, &format!("{line} --set data.format=tsv"))["parts"][0]["examples"], 90);
}

#[test]
fn broken_rows_are_errors_or_are_skipped_and_counted() {
    let good = with_special_characters(100, 1);
    let broken = |bytes: Vec<u8>, line: &str| {
        let mut lines: Vec<String> =
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
        lines.insert(50, line.to_owned());
        lines.join("\n") + "\n"
    };
    for (name, content) in [
        ("train.csv", broken(csv(&good), "only one column")),
        ("train.tsv", broken(tsv(&good), "a\tb\tc")),
        ("train.jsonl", broken(jsonl(&good), "{\"text\": \"no label\"}")),
        ("train.txt", broken(fasttext(&good), "no label")),
    ] {
        let dir = TestDir::with_data().file(name, content);
        let line = format!("--set data.train={name} --set data.test=null");
        let command = dir.lstmtext(&format!("train small.yaml {line}"));
        assert_fails(command, 1, &[&format!("{name}:51: "), "data.broken_lines: skip"]);
        let line = format!("{line} --set data.broken_lines=skip");
        let skipped = stats(&dir, &line);
        assert_eq!(skipped["parts"][0]["examples"], 90, "{name}");
        let note = skipped["notes"][0].as_str().unwrap();
        assert!(note.starts_with("skipped 1 broken row of 101; the first is "), "{note}");
        assert!(note.contains(&format!("{name}:51: ")), "{note}");
    }
}

#[test]
fn statistics_match_a_count_by_hand() {
    let texts = |words: &[&str]| -> Vec<Example> {
        let example = |text: &&str| Example {
            label: if text.contains('a') { "x" } else { "y" }.into(),
            text: (*text).into(),
        };
        words.iter().map(example).collect()
    };
    let dir = TestDir::with_data()
        .file("train.csv", csv(&texts(&["a b", "a b c", "b b b b b b", "a", "c b"])))
        .file("validation.csv", csv(&texts(&["a", "b unknown"])))
        .file("test.csv", csv(&texts(&["a b", "c c unknown unknown"])));
    let line = "--set data.validation=validation.csv --set text.min_count=1 \
                --set text.max_length=3";
    let report = stats(&dir, line);
    assert_eq!((&report["labels"], &report["vocabularies"]), (&json!(["x", "y"]), &json!([4 + 3])));
    let [train, validation, test] = &report["parts"].as_array().unwrap()[..] else { panic!() };
    assert_eq!(train["labels"], json!([["x", 3], ["y", 2]]));
    for (split, examples, tokens, longest, truncated, unknown) in [
        (train, 5, 14, 6, 1.0 / 5.0, 0.0),
        (validation, 2, 3, 2, 0.0, 1.0 / 3.0),
        (test, 2, 6, 4, 0.5, 2.0 / 6.0),
    ] {
        assert_eq!((&split["examples"], &split["tokens"]), (&json!(examples), &json!(tokens)));
        assert_eq!((&split["longest"], &split["cut_share"]), (&json!(longest), &json!(truncated)));
        assert_eq!(split["unknown_share"], unknown);
    }
    assert_eq!(
        report["notes"],
        json!([
            "2 labels have fewer than 10 examples: \"x\" (5), \"y\" (4); add examples, or merge labels with \
             data.label_names",
            "1 of 2 validation texts is also a training text, up to case, spaces, punctuation and tags",
            "1 of 2 test texts is also a training text, up to case, spaces, punctuation and tags"
        ])
    );
}

#[test]
fn statistics_are_printed_as_a_table() {
    let dir = TestDir::with_data();
    let printed = stdout(&dir.lstmtext("data stats small.yaml").assert().success());
    let (_, labels) = printed.split_once("\nlabels\n").unwrap();
    assert!(labels.starts_with("train       neg 270, pos 270\n"), "{printed}");
    assert!(labels.contains("\nvalidation  neg 30, pos 30\n"), "{printed}");
    assert!(labels.contains("\ntest        neg 100, pos 100\n"), "{printed}");
    assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
    let renamed = "data stats small.yaml --set data.label_names.neg=1";
    let printed = stdout(&dir.lstmtext(renamed).assert().success());
    assert!(printed.contains("\ntrain       \"1\" 270, pos 270\n"), "{printed}");
}

#[test]
fn the_filter_selects_rows() {
    let rows: String = (0..100)
        .map(|n| format!("{},film w{n},{}\n", ["imdb", "other"][n % 2], n % 4 / 2))
        .collect();
    let dir = TestDir::with_data().file("train.csv", format!("source,text,label\n{rows}"));
    let report = stats(
        &dir,
        "--set data.filter.source=imdb --set data.test=null --set data.label_names.0=negative",
    );
    assert_eq!(report["parts"][0]["labels"], json!([["1", 22], ["negative", 23]]));
}

#[test]
fn a_saved_vocabulary_is_used_for_another_corpus() {
    let corpus = |words: &str| csv(&[example("x", words), example("y", words), example("x", "z")]);
    let dir = TestDir::with_data()
        .file("first.csv", corpus("the the the film film was"))
        .file("second.csv", corpus("was was was unknown the"));
    let set = "--set text.min_count=1 --set data.split.validation=1 --set data.test=null";
    let first = format!("data vocab small.yaml --set data.train=first.csv {set} --to words.json");
    let done = dir.lstmtext(&first).assert().success();
    assert_eq!(stdout(&done), "words.json\n");
    let second = format!("small.yaml --set data.train=second.csv {set} --set train.epochs=1");
    dir.train(&format!("{second} --set text.vocabulary=words.json --out run"));
    let words = dir.json("run/best/vocabulary.json");
    assert_eq!(words.as_array().unwrap()[4..7], ["the", "film", "was"].map(Value::from));
    assert!(!words.as_array().unwrap().contains(&"unknown".into()));
    let other = format!("train {second} --out other --set text.vocabulary=words.json");
    assert_fails(
        dir.lstmtext(&format!("{other} --set text.tokenizer=keras")),
        1,
        &["text.vocabulary", "words.json", "tokenizer: words", "text.tokenizer is keras"],
    );
    assert_fails(
        dir.lstmtext("data vocab small.yaml --to words.json --input story"),
        1,
        &["--input story", "a single unnamed input"],
    );
}

#[test]
fn the_vocabulary_and_the_classes_need_only_the_training_file() {
    let dir = TestDir::with_data();
    let vocabulary = || {
        dir.lstmtext("data vocab small.yaml --to words.json").assert().success();
        dir.bytes("words.json")
    };
    let complete = vocabulary();
    std::fs::remove_file(dir.path("test.csv")).unwrap();
    assert_eq!(vocabulary(), complete);
    let done = dir.lstmtext("summary small.yaml").assert().success();
    assert!(!stderr(&done).contains("assuming 2 classes"), "{}", stderr(&done));
    // Labels of the other files may become classes.
    let command =
        dir.lstmtext("data vocab small.yaml --to words.json --set data.unseen_labels=class");
    assert_fails(command, 1, &["data.test", "test.csv"]);
}

#[test]
fn splits_are_written_to_files() {
    let dir = TestDir::with_data();
    dir.lstmtext("data split small.yaml --to splits").assert().success();
    assert_eq!(dir.names("splits"), ["test.jsonl", "train.jsonl", "validation.jsonl"]);
    let stats = stats(&dir, "");
    for (index, split) in ["train", "validation", "test"].into_iter().enumerate() {
        let lines = dir.read(&format!("splits/{split}.jsonl"));
        assert_eq!(stats["parts"][index]["examples"], lines.lines().count(), "{split}");
    }
    // The files train the same model as the original data.
    dir.train("small.yaml --out whole --set train.epochs=1");
    dir.train(
        "small.yaml --out from-files --set train.epochs=1 --set data.train=splits/train.jsonl --set \
         data.validation=splits/validation.jsonl --set data.test=splits/test.jsonl",
    );
    assert_eq!(dir.best_weights("whole"), dir.best_weights("from-files"));
    let again = dir.lstmtext("data split small.yaml --to splits");
    assert_fails(again, 1, &["already exists"]);
}

#[test]
fn long_texts_are_dropped_from_training_but_not_from_the_test_split() {
    let long = "n1 n2 n3 n4 n5 n6 n7 n8";
    let mut texts = examples(&["neg", "pos"], 40, 1);
    texts.extend((0..20).map(|i| example(["neg", "pos"][i % 2], &format!("{long} n{i}"))));
    let dir = TestDir::with_data()
        .file("train.csv", csv(&texts))
        .file("test.csv", csv(&[example("neg", long), example("pos", "n1")]));
    let report = stats(&dir, "--set text.train_max_length=8 --set data.split.validation=0.3");
    let longest = |split: usize| report["parts"][split]["longest"].as_u64().unwrap();
    assert!(longest(0) <= 8 && longest(1) <= 8);
    assert_eq!(longest(2), 8);
    let notes = report["notes"].to_string();
    assert!(notes.contains("training texts that exceed text.train_max_length"), "{notes}");
    let none = dir.lstmtext("data stats small.yaml --set text.train_max_length=1");
    assert_fails(none, 1, &["text.train_max_length leaves no training examples"]);
}

fn notes(dir: &TestDir, line: &str) -> Vec<String> {
    let report = stats(dir, line);
    let notes = report["notes"].as_array().unwrap().iter();
    notes.map(|note| note.as_str().unwrap().to_owned()).collect()
}

#[test]
fn labels_inside_the_text_are_rejected() {
    let dir = TestDir::with_data()
        .file("two.txt", "__label__a good\n__label__b bad __label__c\n__label__a good\n");
    let command = dir.lstmtext("train small.yaml --set data.train=two.txt --set data.test=null");
    assert_fails(command, 1, &["two.txt:2: found more than one label", "__label__c"]);
    let command = dir.lstmtext("train small.yaml --set data.text_column=[text,label]");
    assert_fails(command, 2, &["data.text_column", "is also data.label_column"]);
    let command = dir.lstmtext("data stats small.yaml --set data.text_column=2");
    assert_fails(command, 1, &["train.csv:1: data.text_column: the column number 2 is also"]);
}

#[test]
fn look_alike_labels_and_missing_classes_are_reported_by_every_command() {
    let mut examples = examples(&["neg", "pos"], 40, 1);
    examples[3].label = "Pos".into();
    examples.sort_by_key(|example| example.label.to_lowercase());
    let dir = TestDir::with_data().file("train.csv", csv(&examples));
    let alike = "the labels \"pos\" (19), \"Pos\" (1) look alike";
    let position = "--set data.split.method=position --set data.test=null";
    let sorted = "all validation examples have the label \"pos\": the file may be sorted by label";
    let stats = notes(&dir, position);
    assert!(stats[0].starts_with(alike) && stats[2].starts_with(sorted), "{stats:?}");
    for line in ["train small.yaml --out run", "data split small.yaml --to parts"] {
        let done = dir.lstmtext(&format!("{line} {position}")).assert().success();
        for note in [alike, sorted, "1 label has fewer than 10 examples: \"Pos\" (1)"] {
            assert!(stderr(&done).contains(&format!("note: {note}")), "{}", stderr(&done));
        }
    }
}

/// A run of lstmtext 0.1, whose configuration has no data.version, ended before its first checkpoint.
#[test]
fn resumed_runs_keep_the_rules_for_their_data() {
    let rows: String = (0..40)
        .map(|n| format!("{{\"text\": \"w{n}\", \"label\": \"{}\"}}\n", ["a", "b", "a "][n % 3]))
        .collect();
    let yaml = "data: {train: train.jsonl}\ntext: {min_count: 1}\ntrain: {epochs: 1}\n";
    let dir = TestDir::with_data().file("train.jsonl", rows).file("run/config.yaml", yaml);
    let done = dir.train("--resume run");
    assert!(stderr(&done).contains("labels a, a , b"), "{}", stderr(&done));
    assert!(dir.read("run/best/config.yaml").contains("\n  version: 1\n"));
    dir.lstmtext("evaluate run").assert().success();
    assert!(dir.read("run/config.yaml").contains("\n  version: 1\n"));
    dir.lstmtext("train run/config.yaml --out new").assert().success();
    let fresh = dir.file("new.yaml", yaml);
    let done = fresh.train("new.yaml --out fresh");
    assert!(stderr(&done).contains("labels a, b\n"), "{}", stderr(&done));
}

/// Excel saves tables with the delimiter and in the encoding of its language.
#[test]
fn tables_of_excel_are_read_by_every_command() {
    let table = |rows: usize| -> Vec<u8> {
        let row = |n: usize| match n % 2 {
            0 => format!("très réussi, né {n};pos\n"),
            _ => format!("gâché, déçu {n};neg\n"),
        };
        let text = "text;label\n".to_owned() + &(0..rows).map(row).collect::<String>();
        text.chars().map(|c| c as u8).collect()
    };
    let yaml = "data: {train: train.csv, encoding: cp1252}\ntext: {min_count: 1}\n\
                model: {embedding: {size: 8}, lstm: {units: 8}}\ntrain: {epochs: 3, learning_rate: 0.05}\n";
    let dir = TestDir::new()
        .file("train.csv", table(40))
        .file("test.csv", table(10))
        .file("utf8.csv", "label,text\npos,très réussi\nneg,déçu\n")
        .file("c.yaml", yaml);
    assert_fails(
        dir.lstmtext("train c.yaml --set data.encoding=auto"),
        1,
        &["train.csv:2: column 1 is not valid UTF-8", "set data.encoding: windows-1252"],
    );
    dir.train("c.yaml --out run");
    assert!(dir.read("run/config.yaml").contains("encoding: windows-1252\n"));
    dir.lstmtext("evaluate run").assert().success();
    // Another file is recognized anew.
    dir.lstmtext("evaluate run --data utf8.csv").assert().success();
    let data = "evaluate run --data test.csv";
    dir.lstmtext(data).assert().success();
    dir.lstmtext(&format!("{data} --set data.encoding=cp1252")).assert().success();
    dir.train("--resume run --set train.epochs=4");
    let cached = "train c.yaml --set data.cache=always --out";
    let cache = |out: &str, more: &str| {
        let mut command = dir.lstmtext(&format!("{cached} {out} {more}"));
        command.env("LSTMTEXT_CACHE", dir.path("cache")).assert().success();
    };
    cache("first", "");
    cache("second", "");
    assert_eq!(dir.best_weights("first"), dir.best_weights("second"));
    assert_eq!(dir.names("cache").len(), 1);
    cache("third", "--set data.encoding=koi8-r");
    assert_eq!(dir.names("cache").len(), 2);
}

//! Answers to what users of other programs try first.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::common::{BINARY, ENVIRONMENT, TestDir, assert_fails, stderr, stdout, stdout_json};

/// Returns a directory with small data files in several formats.
fn data_files() -> TestDir {
    let rows = |format: fn(usize, String) -> String| -> String {
        (0..40).map(|i| format(i, format!("word{i} some text"))).collect()
    };
    let csv = rows(|i, text| format!("{i},\"{text}, it is\",{}\n", i % 2));
    let mut dir = TestDir::new()
        .file("reviews.csv", format!("id,review: text,stars\n{csv}"))
        .file("it's here.csv", rows(|i, text| format!("{},{text}\n", i % 2)))
        .file("a.tsv", format!("text\tlabel\n{}", rows(|i, text| format!("{text}\t{}\n", i % 2))))
        .file(
            "reviews.jsonl",
            rows(|i, text| format!("{{\"n\": {i}, \"body\": \"{text}\", \"true\": {}}}\n", i % 2)),
        )
        .file("fast.txt", rows(|i, text| format!("__label__{} {text}\n", i % 2)));
    for class in ["neg", "pos"] {
        for i in 0..10 {
            dir = dir.file(&format!("folder/train/{class}/{i}.txt"), format!("word{i} {class}"));
        }
    }
    dir
}

#[test]
fn a_data_file_takes_the_place_of_a_configuration() {
    let mut dir = data_files().file("c.yaml", "data: {train: a.tsv}\n");
    let small = "--set train.epochs=1 --set model.lstm.units=8 --set text.min_count=1";
    for (number, data) in [
        "reviews.csv",
        "it's here.csv",
        "a.tsv",
        "reviews.jsonl",
        "fast.txt",
        "folder",
        "folder/train",
    ]
    .iter()
    .enumerate()
    {
        let mut init = dir.lstmtext("init --set text.min_count=1");
        let written = init.arg(data).assert().success();
        let (yaml, told) = (stdout(&written), stderr(&written));
        assert!((8..=18).contains(&yaml.lines().count()), "{yaml}");
        assert!(
            told.starts_with(&format!("{data}: ")) && told.contains(" train mine.yaml"),
            "{told}"
        );
        dir = dir.file("mine.yaml", &yaml);
        dir.lstmtext("data stats mine.yaml").assert().success();
        let mut train = dir.lstmtext(&format!("train {small} --out run{number}"));
        let told = stderr(&train.arg(data).assert().success());
        assert!(told.starts_with(&format!("{data}: ")), "{told}");
        assert!(told.contains("train.batch_size: 8"), "{told}");
        assert!(told.contains("to change the configuration, save it: "), "{told}");
        assert!(
            told.contains(" --set text.min_count=1") && told.contains(" > mine.yaml"),
            "{told}"
        );
        // The run is like any other.
        let config = dir.read(&format!("run{number}/config.yaml"));
        assert!(config.contains("batch_size: 8\n") && config.contains("units: 8\n"), "{config}");
        dir.lstmtext(&format!("evaluate run{number}")).assert().success();
        dir.train(&format!("--resume run{number} --set train.epochs=2"));
    }
    let named = dir.train(&format!("reviews.csv {small}"));
    let larger = dir.train(&format!("reviews.csv {small} --set train.batch_size=16 --out larger"));
    assert!(!stderr(&larger).contains("batch_size: "), "{}", stderr(&larger));
    assert!(dir.names("runs")[0].starts_with("reviews-"), "{}", stderr(&named));
    dir.lstmtext("summary reviews.csv").assert().success();
    let stats = dir.lstmtext("data stats reviews.csv --set text.min_count=1").assert().success();
    assert!(stdout(&stats).contains("\nvalidation "));
    assert_fails(dir.lstmtext("sweep a.tsv"), 2, &["sweep: nothing varies", "--set 'sweep."]);
}

#[test]
fn a_data_file_can_be_swept_and_cross_validated() {
    let dir = data_files();
    let small = "--set train.epochs=1 --set model.lstm.units=8 --set text.min_count=1";
    let sweep = format!("a.tsv {small} --set sweep.seed=[1,2]");
    let done = dir.lstmtext(&format!("sweep {sweep}")).assert().success();
    let told = stderr(&done);
    assert!(told.starts_with("a.tsv: 40 examples; the text is in text"), "{told}");
    assert!(told.contains("to change the configuration, save it: "), "{told}");
    assert_eq!(dir.names("sweeps/a"), ["leaderboard.json", "seed=1", "seed=2"]);
    for run in ["seed=1", "seed=2"] {
        let config = dir.read(&format!("sweeps/a/{run}/config.yaml"));
        assert!(config.contains("batch_size: 8\n") && config.contains("name: a\n"), "{config}");
    }
    // The saved configuration describes the same sweep.
    let yaml = stdout(&dir.lstmtext(&format!("init {sweep}")).assert().success());
    let dir = dir.file("mine.yaml", yaml);
    let list =
        dir.lstmtext("sweep mine.yaml --list --out sweeps/a --set name=a").assert().success();
    assert_eq!(stdout(&list).matches("finished").count(), 2, "{}", stdout(&list));
    let folds = format!("folds reviews.csv --k 2 {small}");
    let told = stderr(&dir.lstmtext(&folds).assert().success());
    assert!(told.starts_with("reviews.csv: 40 examples"), "{told}");
    assert!(dir.path("folds/reviews/scores.json").exists());
    let mut command = dir.lstmtext("folds reviews.csv --k 2 --label stars --list --text");
    command.arg("review: text").assert().success();
    assert_fails(dir.lstmtext("folds reviews.csv --label id2"), 2, &["did you mean id?"]);
    assert_fails(
        dir.lstmtext(&format!("train {sweep}")),
        2,
        &["a sweep trains several models; use `lstmtext sweep`"],
    );
}

#[test]
fn columns_may_have_the_default_name_of_another() {
    let rows: String =
        (0..40).map(|i| format!("some words {i},{}\n", ["good", "bad"][i % 2])).collect();
    let swapped: String =
        (0..40).map(|i| format!("{},some words {i}\n", ["good", "bad"][i % 2])).collect();
    let dir = TestDir::new()
        .file("label.csv", format!("label,stars\n{rows}"))
        .file("text.csv", format!("text,said\n{swapped}"))
        .file("bare.csv", &rows);
    for (line, columns) in [
        ("label.csv --text label", "text_column: label\n  label_column: stars\n"),
        ("label.csv --text label --label stars", "text_column: label\n  label_column: stars\n"),
        ("text.csv --label text", "text_column: said\n  label_column: text\n"),
        ("bare.csv --set data.header=false --text 1", "text_column: 1\n  label_column: 2\n"),
    ] {
        let yaml = stdout(&dir.lstmtext(&format!("init {line}")).assert().success());
        assert!(yaml.contains(columns), "{line}: {yaml}");
        dir.train(&format!("{line} --set train.epochs=1"));
    }
    let same = "train label.csv --text label --label label";
    assert_fails(dir.lstmtext(same), 2, &["the column \"label\" is also data.label_column"]);
}

#[test]
fn columns_can_be_named() {
    let rows: String =
        (0..40).map(|i| format!("title {i},a long story,{},{}\n", i % 2, i % 3)).collect();
    let dir = TestDir::new().file("a.csv", format!("title,story,one,two\n{rows}"));
    let unclear = ["a.csv", "several columns can be the text", "--text title"];
    assert_fails(dir.lstmtext("train a.csv"), 2, &unclear);
    assert_fails(dir.lstmtext("init a.csv --text story"), 2, &["--label one"]);
    assert_eq!(dir.names(""), ["a.csv"]);
    let choice = "a.csv --text title --text story --label two";
    let yaml = stdout(&dir.lstmtext(&format!("init {choice}")).assert().success());
    assert!(yaml.contains("text_column: [title, story]\n  label_column: two\n"), "{yaml}");
    let run = dir.train(&format!("{choice} --set train.epochs=1 --json"));
    let run = stdout_json(&run)["run"].as_str().unwrap().to_owned();
    assert!(dir.read(&format!("{run}/config.yaml")).contains("label_column: two\n"));
    // They are short for fields of a configuration.
    let dir = dir.file("c.yaml", "data: {train: a.csv}\n");
    let by_number = dir.lstmtext("data stats c.yaml --text 1 --label 3").assert().success();
    assert!(stdout(&by_number).contains("\"0\" 18, \"1\" 18"), "{}", stdout(&by_number));
    let missing = dir.lstmtext("train a.csv --text other --label one");
    assert_fails(missing, 2, &["it has no column other, only title, story, one, two"]);
    let wrong = dir.lstmtext("train a.csv --text title --label one --set train.epochs=x");
    assert_fails(wrong, 2, &["--set train.epochs: found \"x\""]);
}

#[test]
fn data_that_cannot_be_guessed_is_explained() {
    let dir = TestDir::new()
        .file("array.json", "[{\"text\": \"a\"}]")
        .file("one.csv", "x\n1\n2\n")
        .file("empty.csv", "")
        .file("header.csv", "text,label\n")
        .file("notes.csv", "text,note\na great film,x\na poor film,x\n")
        .file("broken.yaml", "a: [")
        .file("other/x.md", "")
        .file("script.py", "import os, sys\nfor a in b:\n    print(a, b)\n")
        .file("letter.txt", "Dear all, this is\nno data, but text\n")
        .file("numbers.json", "[1, 2]")
        .file("ids.jsonl", "{\"id\": 1, \"n\": 2}\n{\"id\": 2, \"n\": 2}\n")
        .file("nested.jsonl", "{\"a\": {\"b\": 1}}\n{\"a\": [1]}\n")
        .file("quote.csv", "text,label\n\"good,pos\nbad,neg\n")
        .file("bad.csv", b"text,label\ntr\xC3\xA8s \xE9,pos\n");
    for (line, answer) in [
        ("train array.json", "it has a single column, text"),
        ("train one.csv", "is a data file, but it has a single column, x"),
        ("train empty.csv", "has no rows from which a configuration can be guessed"),
        ("init empty.csv", "has no rows from which a configuration can be guessed"),
        ("train header.csv", "but no row below its header can be read"),
        (
            "train notes.csv",
            "no column is clearly the label: text (a great film, a poor film), note (x); choose one, e.g. with --label note",
        ),
        ("train other", "has neither a subdirectory with .txt files for each class nor data files"),
        ("train bad.csv", "byte 7 of line 2 is 0xE9, but the text is otherwise UTF-8"),
        ("train nothere.csv", "error: cannot open \"nothere.csv\": No such file"),
        ("data check nothere", "error: cannot open \"nothere\": No such file"),
        ("train nothere.yaml", "`lstmtext init DATA > nothere.yaml` writes one for data"),
        ("init nothere.csv", "cannot open \"nothere.csv\": No such file"),
        (
            "train script.py",
            "\"script.py\" is neither a configuration (.yaml) nor data: a table (.csv",
        ),
        ("train letter.txt", "\"letter.txt\" is neither a configuration (.yaml) nor data"),
        ("train numbers.json", "\"numbers.json\" has no JSON objects with a text and a label"),
        ("train ids.jsonl", "\"ids.jsonl\" is a data file, but no column has texts, only numbers"),
        ("train nested.jsonl", "but its rows have no strings, numbers or booleans"),
        ("train quote.csv", "line 2 has an unclosed quote in column 1; close it"),
        ("init broken.yaml", "\"broken.yaml\" is not data"),
        ("train broken.yaml", "broken.yaml:2:1: invalid YAML"),
    ] {
        assert_fails(dir.lstmtext(line), 2, &[answer]);
    }
    let rows: String = (0..9).map(|row| format!("word{row} and more,{row}\n")).collect();
    let dir = dir.file("ids.csv", format!("text,label\n{rows}"));
    let ids = dir.lstmtext("train ids.csv");
    assert_fails(ids, 1, &["each of the 9 labels occurs once; check data.label_column"]);
}

#[test]
fn tables_of_spreadsheets_can_be_trained_on_as_they_are() {
    let rows: String =
        (0..40).map(|i| format!("très {} {i};{}\n", ["bon", "déçu"][i % 2], i % 2)).collect();
    let text = format!("avis;note\n{rows}");
    let tabs = text.replace(';', "\t");
    let utf16: Vec<u8> = tabs.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let dir = TestDir::new()
        .file("latin.csv", text.chars().map(|c| c as u8).collect::<Vec<u8>>())
        .file("utf16.csv", [&b"\xFF\xFE"[..], &utf16].concat())
        .file("bare.csv", utf16);
    let init = |data: &str| stdout(&dir.lstmtext(&format!("init {data}")).assert().success());
    let latin = init("latin.csv");
    assert!(latin.contains("delimiter: semicolon\n") && latin.contains("encoding: windows-1252\n"));
    assert!(init("utf16.csv").contains("delimiter: tab\n"));
    assert_fails(dir.lstmtext("init bare.csv"), 2, &["set data.encoding: utf-16le"]);
    assert!(init("bare.csv --set data.encoding=utf-16").contains("encoding: utf-16\n"));
    for data in ["latin.csv", "utf16.csv", "bare.csv --set data.encoding=utf-16le"] {
        dir.train(&format!("{data} --set train.epochs=1"));
    }
    let dir = dir.file("semicolons.csv", "text;label\na good one;pos\n");
    let dir = dir.file("c.yaml", "data: {train: semicolons.csv, delimiter: comma}\n");
    let advice = "separated by \";\": set data.delimiter: semicolon";
    assert_fails(dir.lstmtext("train c.yaml"), 1, &["found text;label", advice]);
}

#[test]
fn a_run_in_place_of_a_configuration_can_be_resumed() {
    let dir = TestDir::new().file("my run/config.yaml", "data: {train: /x.csv}\n");
    let mut command = dir.lstmtext("train");
    command.arg("my run");
    assert_fails(command, 2, &["is a run, not a configuration", " train --resume 'my run'"]);
}

#[test]
fn runs_in_place_of_data_are_explained() {
    let dir = TestDir::with_run();
    dir.train("small.yaml --set train.epochs=1 --out many/a");
    // Data files beside a run are data.
    dir.train(". --set train.epochs=1 --out beside");
    let fold = "--set train.epochs=1 --k 2 --out all/folds";
    dir.lstmtext(&format!("folds small.yaml {fold}")).assert().success();
    for (line, answer) in [
        (
            "data check run",
            "\"run\" is a run, not a configuration or data; its configuration is run/config.yaml",
        ),
        ("train run/best", "\"run/best\" is a checkpoint of a run, not a configuration or data"),
        ("data check all/folds", "\"all/folds\" is the directory of a cross-validation"),
        (
            "train many",
            "\"many\" is a directory of runs, not a configuration or data; each of its runs",
        ),
        ("evaluate run --data many", "--data: \"many\" is a directory of runs, not data"),
        ("evaluate run --data run", "--data: \"run\" is a run, not data; name the data file"),
        ("evaluate run --data all/folds", "is the directory of a cross-validation, not data"),
    ] {
        assert_fails(dir.lstmtext(line), 2, &[answer]);
    }
    assert_fails(dir.lstmtext("predict run --file run"), 1, &["\"run\" is a run, not data"]);
    let directory = "\"all\" is a directory; name a file, or a pattern such as \"all/*.csv\"";
    assert_fails(dir.lstmtext("predict run --file all"), 1, &[directory]);
}

#[test]
fn arguments_of_other_programs_are_answered_with_ours() {
    let dir = TestDir::new();
    for (arguments, answer) in [
        ("--epochs 3", "unknown argument --epochs; use --set train.epochs=3"),
        ("--num_train_epochs 3", "--set train.epochs=3"),
        ("--per_device_train_batch_size 8", "--set train.batch_size=8"),
        ("--bidirectional", "--set model.lstm.bidirectional=true"),
        ("-wordNgrams 2", "--set 'model.ngrams.sizes=[1, 2]'"),
        ("-dim 50", "--set model.embedding.size=50"),
        ("-input a.txt", "--set data.train=a.txt"),
        ("--validation_split 0.2", "--set data.split.validation=0.2"),
        ("--patience 2", "--set train.early_stopping.patience=2"),
        ("--clipnorm 1", "--set train.gradient_clip=1"),
        ("--logging_steps 10", "--set train.log_every=10"),
        ("--sep x", "--set data.delimiter=x"),
        ("--model_dir x", "use --out"),
        ("--epochs=3", "--set train.epochs=3"),
        ("-epoch 3", "--set train.epochs=3"),
        ("-lr 0.1", "--set train.learning_rate=0.1"),
        ("--learning-rate", "--set train.learning_rate=VALUE"),
        ("--batch_size 8", "--set train.batch_size=8"),
        ("-minCount 2", "--set text.min_count=2"),
        ("--seed -1", "--set train.seed=-1"),
        ("--hidden-size 64", "--set model.lstm.units=64"),
        ("--weight-decay --json", "--set train.weight_decay=VALUE"),
        ("--text-column a*b", "--set 'data.text_column=a*b'"),
        ("--output_dir x", "--out"),
        ("--gpu", "--device cuda"),
        ("--cpu", "--device cpu"),
        ("-o x", "use --out"),
        ("--config y.yaml", "name the file without it"),
        ("--train.epochs 3", "--set train.epochs=3"),
        ("train.epochs=3", "--set train.epochs=3"),
        ("lr=3", "--set train.learning_rate=3"),
        ("--data x.csv", "--set data.train=x.csv"),
        ("--validation v.csv", "--set data.validation=v.csv"),
        ("--name x", "--set name=x"),
        ("some=thing", "unexpected argument 'some=thing'"),
        ("--frobnicate", "unexpected argument '--frobnicate'"),
    ] {
        assert_fails(dir.lstmtext(&format!("train x.yaml {arguments}")), 2, &[answer]);
    }
    assert_fails(dir.lstmtext("data stats x.yaml --lr 1"), 2, &["--set train.learning_rate=1"]);
    assert_fails(dir.lstmtext("runs --lr 1"), 2, &["unexpected argument '--lr'"]);
    assert_fails(dir.lstmtext("predict x --json"), 2, &["use --format jsonl"]);
    let dir = dir.file("more.csv", "text,label\n").file("b/config.yaml", "");
    assert_fails(dir.lstmtext("evaluate x more.csv"), 2, &["use --data more.csv"]);
    assert_fails(dir.lstmtext("evaluate x b"), 2, &["use --compare b"]);
    let answer = "--set train.validation_batch_size=3";
    assert_fails(dir.lstmtext("evaluate x --batch-size 3"), 2, &[answer]);
}

#[test]
fn a_run_needs_a_directory_of_its_own() {
    let dir = data_files().file("c.yaml", "data: {train: a.tsv}\n");
    let home = dir.path("folder");
    let train = |out: &str| {
        let mut command = dir.lstmtext("train c.yaml --out");
        command.env("HOME", &home).arg(out);
        command
    };
    let before = dir.names("");
    for (out, reason) in [
        ("/", "is the root directory"),
        ("/../.", "is the root directory"),
        ("folder", "is your home directory"),
        ("folder/../folder/", "is your home directory"),
        (".", "is not empty"),
        ("folder/train", "is not empty"),
    ] {
        assert_fails(train(out), 2, &[reason, "choose a new"]);
    }
    let dir = dir.file("s.yaml", "data: {train: a.tsv}\nsweep: {seed: [1]}\n");
    assert_fails(dir.lstmtext("sweep s.yaml --out /"), 2, &["is the root directory"]);
    assert_eq!(dir.names("").len(), before.len() + 1);
}

#[test]
fn the_set_up_says_how_to_get_a_recent_rust() {
    for (cargo, answer) in [
        ("echo cargo 1.63.0", "cargo 1.63.0 is too old; lstmtext needs Rust 1.89 or newer"),
        (
            "echo error: no toolchain; exit 1",
            "cargo does not run: error: no toolchain; lstmtext needs",
        ),
    ] {
        let dir = TestDir::new();
        for (name, script) in [("cargo", cargo), ("rustup", "exit 0")] {
            let file = dir.path(name);
            std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:{}", dir.path("").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("scripts/setup.sh");
        command.arg("program").env("PATH", path).current_dir(env!("CARGO_MANIFEST_DIR"));
        let rustup = "rustup installs: rustup update stable && rustup default stable";
        assert_fails(command.into(), 1, &[answer, rustup]);
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let dir = TestDir::new();
    for line in ["--help", "train --help", "--version", "config", "completions bash", "devices"] {
        let mut command = dir.process(line);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(message.contains("cannot write to stdout: No space left on device"), "{message}");
    }
}

#[test]
fn printed_commands_can_be_pasted() {
    let dir = TestDir::with_data();
    let mut train = dir.lstmtext("train small.yaml --out");
    let messages = stderr(&train.arg("it's a \"run\"").assert().success());
    let next = messages.lines().find(|line| line.contains(" predict ")).unwrap();
    let shell = |command: &str| {
        let mut shell = Command::new("bash");
        shell.args(["-c", command]).current_dir(dir.path("")).envs(ENVIRONMENT);
        shell.output().unwrap()
    };
    let output = shell(next);
    assert!(output.status.success(), "{next}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.stdout.is_empty() && next.trim().starts_with(BINARY), "{next}");
}

//! Answers to what users of other programs try first.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::common::{BINARY, ENVIRONMENT, TestDir, assert_fails, stderr, stdout};

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
fn a_data_file_in_place_of_a_configuration_gets_lines_that_work() {
    let mut dir = data_files();
    for data in [
        "reviews.csv",
        "it's here.csv",
        "a.tsv",
        "reviews.jsonl",
        "fast.txt",
        "folder",
        "folder/train",
    ] {
        let mut command = dir.lstmtext("train");
        command.arg(data);
        let message = assert_fails(command, 2, &["save these lines as ", "pass that file instead"]);
        let lines = &message[message.find("\ndata:\n").unwrap()..];
        assert!(lines.lines().count() <= 7, "{message}");
        dir = dir.file("mine.yaml", lines);
        let done = dir.lstmtext("data stats mine.yaml --set text.min_count=1").assert().success();
        assert!(stdout(&done).contains("\nvalidation "), "{data}");
    }
    assert_fails(dir.lstmtext("summary reviews.csv"), 2, &["stars", "save these lines"]);
    for (name, content, answer) in [
        (
            "sparse.csv",
            "id,Comment,Happy?,country\n1,a good one,yes,\n2,a bad one,no,DE\n3,a fair one,yes,\n",
            "label_column: \"Happy?\"\n",
        ),
        ("plain", "text,label\na good one,pos\na bad one,neg\n", "  format: csv\n"),
        ("data.yaml", "text\tlabel\na good one\tpos\na bad one\tneg\n", "  format: tsv\n"),
        ("data.bin", "__label__a good\n__label__b bad\n", "  format: fasttext\n"),
        ("semicolons.csv", "text;label\na good one;pos\n", "save it as CSV with commas"),
        (
            "array.json",
            "[{\"review\": \"a good one\", \"y\": \"b\"},\n {\"review\": \"a bad one\", \"y\": \"c\"}]",
            "text_column: review",
        ),
    ] {
        dir = dir.file(name, content);
        assert_fails(dir.lstmtext(&format!("train {name}")), 2, &[name, answer]);
    }
    let utf16 =
        "\u{feff}text,label\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    std::fs::write(dir.path("utf16.csv"), utf16).unwrap();
    assert_fails(dir.lstmtext("train utf16.csv"), 2, &["utf16.csv", "is a data file"]);
    assert_fails(dir.lstmtext("train nothere.csv"), 2, &["nothere.csv", "No such file"]);
    let dir = dir.file("c.yaml", "data: {train: semicolons.csv}\n");
    let separator = "separated by \";\": set data.delimiter: semicolon";
    let commas = dir.lstmtext("train c.yaml --set data.delimiter=comma");
    assert_fails(commas, 1, &["found text;label", separator]);
    let rows: String = (0..9).map(|row| format!("word{row} and more,{row}\n")).collect();
    let dir = dir.file("ids.csv", format!("text,label\n{rows}"));
    let ids = dir.lstmtext("train c.yaml --set data.train=ids.csv");
    assert_fails(ids, 1, &["each of the 9 labels occurs once; check data.label_column"]);
    let dir = dir.file("one.csv", "x\n1\n2\n").file("broken.yaml", "a: [");
    assert_fails(dir.lstmtext("train one.csv"), 2, &["is a data file, not a configuration"]);
    assert_fails(dir.lstmtext("train broken.yaml"), 2, &["broken.yaml:2:1: invalid YAML"]);
}

#[test]
fn a_run_in_place_of_a_configuration_can_be_resumed() {
    let dir = TestDir::new().file("my run/config.yaml", "data: {train: /x.csv}\n");
    let mut command = dir.lstmtext("train");
    command.arg("my run");
    assert_fails(command, 2, &["is a run, not a configuration", " train --resume 'my run'"]);
}

#[test]
fn arguments_of_other_programs_are_answered_with_ours() {
    let dir = TestDir::new();
    for (arguments, answer) in [
        ("--epochs 3", "--set train.epochs=3"),
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

//! Content of files and arguments, which never reaches a terminal raw.

use assert_cmd::Command;
use lstmtext::output::sanitize::is_unprintable;

use crate::common::{TestDir, csv, examples, stdout, stdout_json, stdout_json_lines};

/// Sets the title of a terminal, colors, moves, reorders and hides.
const HOSTILE: &str =
    "\u{1b}]0;owned\u{7}\u{9b}31m\r\u{8}\u{202e}x\u{2066}\u{200b}\u{ad}\u{feff}\u{2028}!";

/// Runs a command and expects nothing unprintable on its standard streams but newlines and tabs.
fn assert_printable(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let raw: Vec<char> =
        text.chars().filter(|c| is_unprintable(*c) && !matches!(c, '\n' | '\t')).collect();
    assert!(raw.is_empty(), "{command:?} prints {raw:?} in {text:?}");
    text
}

/// Creates a directory with a run whose second label is [`HOSTILE`].
fn with_hostile_label() -> TestDir {
    let mut labeled = examples(&["neg", "pos"], 200, 1);
    for example in &mut labeled {
        example.label = example.label.replace("pos", HOSTILE);
    }
    let dir = TestDir::new().file("data.csv", csv(&labeled));
    let yaml = "data: {train: data.csv}\nmodel: {embedding: {size: 4}, lstm: {units: 4}}\n\
                train: {learning_rate: 0.05, epochs: 3}\n";
    let dir = dir.file("c.yaml", yaml);
    let text = assert_printable(dir.lstmtext("train c.yaml --out run"));
    assert!(dir.path("run/summary.json").exists(), "{text}");
    dir
}

#[test]
fn labels_and_words_are_printed_without_control_characters() {
    let dir = with_hostile_label();
    let text = format!("pos1 {HOSTILE} pos2");
    let all = [
        "predict run --top 2",
        "predict run --top 2 --format jsonl",
        "explain run",
        "explain run --json",
        "explain run --class nosuch",
        "states run",
        "states run --json",
    ];
    for line in all {
        let mut command = dir.lstmtext(line);
        command.arg(&text);
        assert_printable(command);
    }
    for line in [
        "evaluate run --split validation",
        "evaluate run --split validation --json",
        "data stats c.yaml",
        "data stats c.yaml --json",
        "runs .",
        "runs . --json",
    ] {
        assert_printable(dir.lstmtext(line));
    }
    let page = ["explain", "run", &text, "--html", "page.html"];
    let mut command = dir.lstmtext("");
    command.args(page);
    assert_printable(command);
    assert!(!dir.read("page.html").contains(|c| is_unprintable(c) && c != '\n'));
}

#[test]
fn json_keeps_labels_and_texts_and_tsv_escapes_only_control_characters() {
    let dir = with_hostile_label();
    let text = "pos1 \u{1b}[1m\u{200f} pos2\tpos3";
    let predict = |format: &str| {
        dir.lstmtext(&format!("predict run --format {format}")).arg(text).assert().success()
    };
    let json = stdout_json_lines(&predict("jsonl"));
    assert_eq!((json[0]["label"].as_str(), json[0]["text"].as_str()), (Some(HOSTILE), Some(text)));
    let fields = stdout(&predict("tsv"));
    let fields: Vec<&str> = fields.trim_end_matches('\n').split('\t').collect();
    let label = "\\u{1b}]0;owned\\u{7}\\u{9b}31m \\u{8}\u{202e}x\u{2066}\u{200b}\u{ad}\u{feff} !";
    assert_eq!([fields[0], fields[2]], [label, "pos1 \\u{1b}[1m\u{200f} pos2 pos3"]);
    let report = dir.lstmtext("evaluate run --split validation --json").assert().success();
    assert_eq!(stdout_json(&report)["classes"][0]["label"], HOSTILE);
}

#[test]
fn errors_quote_names_keys_and_arguments_without_control_characters() {
    let dir = TestDir::with_data().file("bad.yaml", "\"mo\\e[31mdel\\u202E\": {}\n");
    for arguments in [
        vec!["config", "bad.yaml"],
        vec!["config", HOSTILE],
        vec!["train", HOSTILE],
        vec!["predict", HOSTILE, "text"],
        vec!["config", "small.yaml", "--set", HOSTILE],
        vec!["config", "small.yaml", "--set", "data.train=\u{1b}[31m\u{202e}"],
        vec![HOSTILE],
        vec!["train", HOSTILE, HOSTILE],
        vec!["predict", "run", "--top", HOSTILE],
        vec!["runs", "--sort", HOSTILE],
        vec!["--help", HOSTILE],
    ] {
        let mut command = dir.lstmtext("");
        command.args(&arguments);
        assert!(!assert_printable(command).is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_printed_configuration_keeps_strings_with_control_characters() {
    let dir = TestDir::with_data();
    let command = || {
        let mut command = dir.lstmtext("config small.yaml");
        command.args(["--set", r#"data.train="a\x7f\u202e\U000e0041.csv""#]);
        command
    };
    let printed = assert_printable(command());
    let yaml: serde_yaml::Value = serde_yaml::from_str(&printed).unwrap();
    let path = yaml["data"]["train"].as_str().unwrap();
    assert!(path.ends_with("a\u{7f}\u{202e}\u{e0041}.csv"), "{path:?}");
}

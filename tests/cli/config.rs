//! Configurations, `--set`, help texts and usage errors.

use std::fs;

use predicates::prelude::*;
use predicates::str::{contains, is_match};

use crate::common::{BINARY, DEADLINE, TestDir, assert_fails, stdout};

/// Nearly every type of value, each with something special to YAML or a shell.
const UNUSUAL: &str = "\
name: 'a: b #c'
data:
  train: /some where/x.csv
  format: tsv
  text_column: 2
  label_column: 'no'
  filter: {source: imdb, '1': 'true', empty: ''}
  label_names: {0: 'null', 1: \"it's\"}
  labels: [neg, '1', 'true', '~']
  split: {validation: 2500, test: 0.25, method: position}
text: {tokenizer: characters, max_length: 1e3}
model: {lstm: {layers: 2, dropout: 1e-1}}
train:
  token_budget: 4096
  gradient_clip: null
  class_weights: {neg: 2.5, '1': 1e-3}
  validate_every: 10
  checkpoint_every: epoch
  adam: {epsilon: 1e-8}
  early_stopping: {patience: null}
";

#[test]
fn all_faults_are_reported_at_once_with_their_positions() {
    let faulty = "\
data:
  train: x.csv
  text_colum: review
model:
  pooling: sum
  lstm: {units: 0}
train:
  epochs: many
";
    let dir = TestDir::new().file("faulty.yaml", faulty);
    let expected = "\
error: 5 errors in the configuration
faulty.yaml:3:3: data.text_colum: unknown field; did you mean data.text_column?
faulty.yaml:5:3: model.pooling: found \"sum\", expected last, mean, max, attention or a list of these, each at most once
faulty.yaml:6:10: model.lstm.units: found 0, expected an integer from 1 to 65536
faulty.yaml:8:3: train.epochs: found \"many\", expected an integer from 1 to 1000000
--set train.seed: found -1, expected an integer ≥ 0
";
    for command in ["train", "config", "summary", "data stats"] {
        let command = dir.lstmtext(&format!("{command} faulty.yaml --set train.seed=-1"));
        let message = assert_fails(command, 2, &[]);
        assert_eq!(message, expected);
    }
    assert_eq!(dir.names(""), ["faulty.yaml"], "nothing is written if there are faults");
}

#[test]
fn misspelt_fields_on_the_command_line_get_a_suggestion() {
    let dir = TestDir::with_data();
    let rejects = |set: &str, words: &[&str]| {
        assert_fails(dir.lstmtext(&format!("train small.yaml --set {set}")), 2, words);
    };
    rejects("train.epoch=3", &["--set train.epoch: ", "did you mean train.epochs?"]);
    rejects("units=3", &["did you mean model.lstm.units?"]);
    rejects("train.epochs", &["expected FIELD=VALUE"]);
    rejects("train.epochs=[", &["train.epochs=[", "YAML"]);
    rejects("model=5", &["--set model: found 5"]);
    assert!(!dir.path("runs").exists());
}

#[test]
fn errors_name_a_configuration_that_cannot_be_read() {
    let dir = TestDir::new()
        .file("latin.yaml", b"name: x\ndata: {train: \xE4.csv}\n")
        .file("syntax.yaml", "data: {train: x.csv}\ntrain: [1,\n");
    let rejects = |file: &str, words: &[&str]| {
        for command in ["train", "config"] {
            assert_fails(dir.lstmtext(&format!("{command} {file}")), 2, words);
        }
    };
    rejects("none.yaml", &["cannot read the configuration \"none.yaml\""]);
    rejects(".", &["the directory \".\" has neither a subdirectory with .txt files"]);
    rejects("latin.yaml", &["latin.yaml:2: ", "UTF-8"]);
    rejects("syntax.yaml", &["syntax.yaml:", "invalid YAML"]);
    let yaml = "name: имя\ndata: {train: x.csv}\n";
    let little: Vec<u8> = yaml.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = yaml.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (name, bytes, encoding) in [
        ("le.yaml", little.clone(), "UTF-16LE"),
        ("be.yaml", big, "UTF-16BE"),
        ("mark.yaml", [b"\xFF\xFE", &little[..]].concat(), "UTF-16"),
    ] {
        fs::write(dir.path(name), bytes).unwrap();
        rejects(name, &[&format!("{name}: the file is {encoding}; save it as UTF-8")]);
    }
}

#[test]
fn stdin_cannot_be_the_data_of_a_run() {
    let dir = TestDir::with_data();
    for field in ["train", "validation", "test"] {
        let message = format!("data.{field}: stdin cannot be read again");
        let yaml = format!("data:\n  train: train.csv\n  {field}: \"-\"\n").replacen(
            "  train: train.csv\n  train",
            "  train",
            1,
        );
        fs::write(dir.path("stdin.yaml"), yaml).unwrap();
        for line in [&format!("config small.yaml --set data.{field}=-"), "config stdin.yaml"] {
            assert_fails(dir.lstmtext(line), 2, &[&message, "save the examples to a file"]);
        }
    }
}

#[test]
fn a_printed_configuration_prints_the_same_again() {
    let dir = TestDir::with_data().file("unusual.yaml", UNUSUAL);
    for file in ["unusual.yaml", "small.yaml"] {
        let once = stdout(&dir.lstmtext(&format!("config {file}")).assert().success());
        fs::write(dir.path("printed.yaml"), &once).unwrap();
        let twice = stdout(&dir.lstmtext("config printed.yaml").assert().success());
        assert_eq!(once, twice);
    }
}

#[test]
fn the_printed_configuration_has_overrides_and_defaults() {
    let dir = TestDir::new().file("unusual.yaml", UNUSUAL);
    let line = "config unusual.yaml --set train.epochs=7 --set text.pad=front";
    let printed = stdout(&dir.lstmtext(line).assert().success());
    let value: serde_yaml::Value = serde_yaml::from_str(&printed).unwrap();
    let yaml = |text: &str| serde_yaml::from_str::<serde_yaml::Value>(text).unwrap();
    assert_eq!(value["name"], yaml("'a: b #c'"));
    assert_eq!(value["data"]["labels"], yaml("[neg, '1', 'true', '~']"));
    assert_eq!(value["data"]["label_column"], yaml("'no'"));
    assert_eq!(value["data"]["split"]["test"], yaml("0.25"));
    assert_eq!(value["train"]["epochs"], yaml("7"));
    assert_eq!(value["train"]["gradient_clip"], yaml("null"));
    assert_eq!(value["text"]["pad"], yaml("front"));
    assert_eq!(value["text"]["max_length"], yaml("1000"));
    // A field that is not set has its default.
    assert_eq!(value["train"]["batch_size"], yaml("32"));
}

#[test]
fn the_defaults_are_printed_without_a_configuration() {
    let dir = TestDir::new();
    let printed = stdout(&dir.lstmtext("config").assert().success());
    let value: serde_yaml::Value = serde_yaml::from_str(&printed).unwrap();
    assert_eq!(value["train"]["epochs"].as_u64(), Some(20));
    let reference = stdout(&dir.lstmtext("config --reference").assert().success());
    assert!(reference.contains("| `train.learning_rate` | a number > 0 or null | `null` |"));
}

#[test]
fn paths_are_relative_to_the_current_directory() {
    let dir = TestDir::with_data().file("configs/deep.yaml", crate::common::SMALL);
    let printed = stdout(&dir.lstmtext("config configs/deep.yaml").assert().success());
    let value: serde_yaml::Value = serde_yaml::from_str(&printed).unwrap();
    let train = fs::canonicalize(value["data"]["train"].as_str().unwrap()).unwrap();
    assert_eq!(train, fs::canonicalize(dir.path("train.csv")).unwrap());
}

const COUNTED: &str = "\
data: {train: not_there.csv}
text: {vocabulary_size: 10000}
model: {embedding: {size: 64}, lstm: {units: 32, bidirectional: false}, ngrams: null}
";

#[test]
fn the_summary_has_the_parameter_count_of_keras_even_without_data() {
    let dir = TestDir::new().file("counted.yaml", COUNTED);
    let done = dir.lstmtext("summary counted.yaml").assert().success();
    assert!(stdout(&done).contains("\nTotal params: 652,449\n"));
    done.stderr(contains("assuming 2 classes"));
}

#[test]
fn the_summary_has_the_parameter_count_of_training() {
    let dir = TestDir::with_data().data(&["a", "b", "c"]);
    let fields = "--set model.lstm.layers=2 --set model.lstm.bidirectional=true \
                  --set text.vocabulary_size=50 --set train.epochs=1";
    dir.train(&format!("small.yaml --out run {fields}"));
    let parameters = dir.summary("run")["parameters"].as_u64().unwrap();
    let done = dir.lstmtext(&format!("summary small.yaml {fields}")).assert().success();
    let total = format!("\nTotal params: {},{:03}\n", parameters / 1_000, parameters % 1_000);
    assert!(stdout(&done).contains(&total));
}

#[test]
fn usage_errors_have_their_own_exit_code() {
    let dir = TestDir::with_data();
    for line in [
        "",
        "trian small.yaml",
        "train",
        "train small.yaml --resume run",
        "train --resume run --out other",
        "train small.yaml --epochs 3",
        "predict",
        "data fetch mnist",
        "config small.yaml --reference",
        "completions cmd",
    ] {
        let done = dir.lstmtext(line).assert().code(2).stdout("");
        done.stderr(
            contains("Usage: lstmtext")
                .or(contains("possible values"))
                .or(contains("expected"))
                .or(contains("--set train.epochs=3").or(contains("--resume continues a run"))),
        );
    }
}

#[test]
fn help_goes_to_stdout_and_has_examples() {
    let dir = TestDir::new();
    for command in [
        "",
        "train",
        "evaluate",
        "predict",
        "summary",
        "config",
        "data fetch",
        "data stats",
        "completions",
    ] {
        let done = dir.lstmtext(&format!("{command} --help")).assert().success().stderr("");
        done.stdout(contains("Usage: lstmtext").and(contains("Example")));
    }
    dir.lstmtext("--version")
        .assert()
        .success()
        .stdout(is_match(r"^lstmtext \d+\.\d+\.\d+\n$").unwrap());
}

#[test]
fn completions_are_generated_for_every_shell() {
    let dir = TestDir::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let done = dir.lstmtext(&format!("completions {shell}")).assert().success().stderr("");
        done.stdout(contains("lstmtext").and(contains("evaluate")));
    }
}

#[test]
fn completions_have_the_fields_of_set_and_the_devices() {
    let dir = TestDir::new();
    for shell in ["bash", "fish", "zsh"] {
        let script = stdout(&dir.lstmtext(&format!("completions {shell}")).assert().success());
        assert!(script.contains("train.epochs="), "{shell}");
    }
    let script = stdout(&dir.lstmtext("completions bash").assert().success());
    let dir = dir.file("completions.bash", script);
    let complete = |words: &str, previous: &str, word: &str| {
        let line = format!(
            "source completions.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _lstmtext lstmtext '{word}' '{previous}'; echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = std::process::Command::new("bash");
        let output = bash.args(["-c", &line]).current_dir(dir.path("")).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("lstmtext train --set train.ep", "--set", "train.ep"), "train.epochs=");
    assert_eq!(complete("lstmtext serve --device c", "--device", "c"), "cpu cuda");
    assert!(
        !stdout(&dir.lstmtext("train --help").assert().success()).contains("train.schedule.decay=")
    );
}

#[test]
fn the_program_runs_from_any_directory_without_an_environment() {
    let dir = TestDir::with_data();
    let bare = |line: &str| {
        let mut command = assert_cmd::Command::new(BINARY);
        command.env_clear().current_dir("/").timeout(DEADLINE).args(line.split_whitespace());
        command
    };
    bare("devices").assert().success().stdout(contains("cpu: "));
    let path = |name: &str| dir.path(name).display().to_string();
    let train = format!(
        "train {} --out {} --device cpu --set data.train={} --set data.test={}",
        path("small.yaml"),
        path("run"),
        path("train.csv"),
        path("test.csv")
    );
    bare(&train).assert().success().stdout(contains("test  "));
    let predict = format!("predict {} --device cpu pos1", path("run"));
    bare(&predict).assert().success().stdout(is_match("^pos  ").unwrap());
}

/// Each file is rejected quickly, with the position of the fault.
#[test]
fn malicious_yaml_is_rejected() {
    let mut laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (before, name) in ('a'..'i').zip('b'..='i') {
        let many = vec![format!("*{before}"); 9].join(", ");
        laughs.push_str(&format!("{name}: &{name} [{many}]\n"));
    }
    let dir = TestDir::new()
        .file("laughs.yaml", laughs)
        .file("deep.yaml", format!("data: {}{}", "[".repeat(10_000), "]".repeat(10_000)))
        .file("maps.yaml", "{a: ".repeat(10_000))
        .file("twice.yaml", "data: {train: x.csv, train: y.csv}\n")
        .file("tab.yaml", "data:\n\ttrain: x.csv\n")
        .file("numbers.yaml", "data: {train: x}\ntrain: {learning_rate: .nan, epochs: -3}\n")
        .file("wide.yaml", "data: {train: x}\nmodel: {lstm: {units: 99999999}}\n")
        .file("large.yaml", "");
    std::fs::File::options()
        .write(true)
        .open(dir.path("large.yaml"))
        .and_then(|file| file.set_len(1 << 30))
        .unwrap();
    for (name, words) in [
        ("laughs", &["more than 500000 values"][..]),
        ("deep", &["deep.yaml:1:", "nested more than 128 levels deep"]),
        ("maps", &["maps.yaml:1:", "nested more than 128 levels deep"]),
        ("twice", &["twice.yaml:1:22", "data.train: duplicate key; the first is in line 1"]),
        ("tab", &["tab.yaml:2:1", "cannot start any token"]),
        ("numbers", &["train.learning_rate: found .nan", "train.epochs: found -3"]),
        ("wide", &["wide.yaml:2:16", "found 99999999, expected an integer from 1 to"]),
        ("large", &["1073741824 bytes, but at most 1048576 bytes"]),
    ] {
        let started = std::time::Instant::now();
        assert_fails(dir.lstmtext(&format!("summary {name}.yaml")), 2, words);
        assert!(started.elapsed().as_secs() < 20, "{name}");
    }
}

#[test]
fn texts_of_a_configuration_keep_their_spelling() {
    let rows: String = (0..40)
        .map(|i| {
            format!("word{i} some text,{},{}\n", ["True", "False"][i % 2], ["1.10", "1.1"][i / 30])
        })
        .collect();
    let yaml = "\u{FEFF}data:\r\n  train: x.csv\r\n  label_column: spam\r\n  filter: {version: 1.10}\r\n  \
                label_names: {True: yes, False: no}\r\n  labels: [no, yes]\r\n";
    let dir =
        TestDir::new().file("x.csv", format!("text,spam,version\n{rows}")).file("c.yaml", yaml);
    let out =
        stdout(&dir.lstmtext("data stats c.yaml --set data.split.validation=4").assert().success());
    assert!(out.contains("no 13, yes 13"), "{out}");
    let sets = "--set data.split.validation=4 --set data.filter.version=1.1";
    let out = stdout(&dir.lstmtext(&format!("data stats c.yaml {sets}")).assert().success());
    assert!(out.contains("no 3, yes 3"), "{out}");
}

#[test]
fn the_defaults_can_be_printed_with_changes() {
    let dir = TestDir::new();
    let out = stdout(&dir.lstmtext("config --set train.epochs=7").assert().success());
    assert!(out.contains("\n  epochs: 7\n"), "{out}");
    let set = dir.lstmtext("config --set train.epochs=-3 --set train.lr=1");
    assert_fails(set, 2, &["train.epochs: found -3", "did you mean train.learning_rate?"]);
    assert_fails(dir.lstmtext("config --reference --set train.epochs=3"), 2, &["--reference"]);
}

#[test]
fn man_pages_have_the_text_of_the_help() {
    let dir = TestDir::new();
    dir.lstmtext("man --to pages/man1").assert().success().stdout("").stderr("");
    let page = dir.read("pages/man1/lstmtext-train.1");
    assert!(page.contains("lstmtext train") && page.contains("\\-\\-resume"), "{page}");
    let stats = dir.read("pages/man1/lstmtext-data-stats.1");
    assert!(stats.contains("Examples:") || stats.contains("Example:"), "{stats}");
    assert!(dir.read("pages/man1/lstmtext.1").contains("lstmtext\\-train"));
    let printed = stdout(&dir.lstmtext("man data stats").assert().success().stderr(""));
    assert_eq!(printed.trim_end(), stats.trim_end());
    let unknown = dir.lstmtext("man trian").assert().code(2).stdout("");
    unknown.stderr(contains("\"lstmtext\" has no command trian; `lstmtext --help` lists all"));
}

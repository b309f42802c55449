//! `lstmtext evaluate`.

use std::fs;
use std::io::Write;

use predicates::Predicate;
use predicates::str::{contains, is_match};
use serde_json::{Value, json};

use crate::checkpoints::seal;
use crate::common::{
    BINARY, ENVIRONMENT, SMALL, TestDir, assert_fails, csv, examples, noise, stderr, stdout,
    stdout_json, stdout_json_lines,
};

impl TestDir {
    /// Creates a directory with a run that makes mistakes, because some labels are random.
    fn with_noisy_run() -> Self {
        let mixed =
            |count, seed| [examples(&["neg", "pos"], count, seed), noise(count, seed + 9)].concat();
        let dir = Self::new()
            .file("small.yaml", SMALL)
            .file("train.csv", csv(&mixed(300, 1)))
            .file("test.csv", csv(&mixed(100, 2)));
        dir.train("small.yaml --out run");
        dir
    }
}

fn evaluate(dir: &TestDir, line: &str) -> Value {
    stdout_json(&dir.lstmtext(&format!("evaluate {line} --json")).assert().success())
}

#[test]
fn test_scores_match_those_of_training() {
    let dir = TestDir::with_run();
    let mut score = dir.summary("run")["test"].clone();
    score["examples"] = json!(200);
    // The default is the test split of the best checkpoint.
    for line in ["run", "run --split test", "run/best", "run --data test.csv"] {
        let evaluation = evaluate(&dir, line);
        let actual = ["loss", "accuracy", "examples"].map(|key| (key, evaluation[key].clone()));
        assert_eq!(actual.into_iter().collect::<Value>(), score, "{line}");
    }
}

#[test]
fn validation_scores_match_those_of_training() {
    let dir = TestDir::with_run();
    let validation = |checkpoint| {
        let score = evaluate(&dir, &format!("{checkpoint} --split validation"));
        assert_eq!(score["examples"], 60);
        json!({"loss": score["loss"], "accuracy": score["accuracy"]})
    };
    assert_eq!(validation("run/best"), dir.summary("run")["validation"]);
    assert_eq!(validation("run/last"), dir.metrics("run").last().unwrap()["validation"]);
}

#[test]
fn accuracy_and_loss_match_the_predictions() {
    let dir = TestDir::with_run();
    let test = examples(&["neg", "pos"], 200, 2);
    let texts: Vec<&str> = test.iter().map(|example| example.text.as_str()).collect();
    let done = dir.lstmtext("predict run --format jsonl").args(&texts).assert().success();
    let (mut hits, mut loss) = (0.0, 0.0);
    for (prediction, example) in stdout_json_lines(&done).iter().zip(&test) {
        let hit = prediction["label"] == *example.label;
        let probability = prediction["probability"].as_f64().unwrap();
        hits += f64::from(hit);
        loss -= if hit { probability } else { 1.0 - probability }.ln();
    }
    let score = dir.summary("run")["test"].clone();
    assert_eq!(score["accuracy"], hits / 200.0);
    assert!((score["loss"].as_f64().unwrap() - loss / 200.0).abs() < 1e-4, "{score} {loss}");
}

#[test]
fn scores_are_printed_as_tables() {
    let dir = TestDir::with_run();
    let printed = stdout(&dir.lstmtext("evaluate run").assert().success());
    for pattern in [
        r"^test: 200 examples\n",
        r"\naccuracy  +\d+\.\d\d %  \(95 % CI: \d+\.\d\d to \d+\.\d\d %\)\n",
        r"\nROC-AUC  +\d\.\d{4}\n",
        r"\nneg  +\d+\.\d\d %  +\d+\.\d\d %  +\d+\.\d\d %  +100\n",
        r"\nlabel +neg +pos\nneg +\d+ +\d+\npos +\d+ +\d+\n",
        r"\n\d+ to 19 +\d+ +\d+\.\d\d %",
    ] {
        assert!(is_match(pattern).unwrap().eval(&printed), "{pattern}: {printed}");
    }
    assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
}

#[test]
fn tables_of_many_classes_fit_a_terminal() {
    let labels: Vec<String> = (0..12).map(|n| format!("quite-a-long-label-{n}")).collect();
    for count in [4, 12] {
        let labels: Vec<&str> = labels[..count].iter().map(String::as_str).collect();
        let dir = TestDir::new().data(&labels).file("small.yaml", SMALL);
        dir.train("small.yaml --out run --set train.epochs=1");
        let printed = stdout(&dir.lstmtext("evaluate run").assert().success());
        assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
        assert_eq!(printed.contains("most frequent mistakes"), count == 12, "{printed}");
    }
}

#[test]
fn scores_are_consistent() {
    let dir = TestDir::with_noisy_run();
    let evaluation = evaluate(&dir, "run");
    let sum = |values: &Value| -> f64 {
        values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).sum()
    };
    let confusion = evaluation["confusion"].as_array().unwrap();
    assert_eq!(confusion.iter().map(sum).sum::<f64>(), 200.0);
    let correct = confusion[0][0].as_f64().unwrap() + confusion[1][1].as_f64().unwrap();
    assert_eq!(evaluation["accuracy"].as_f64().unwrap(), correct / 200.0);
    for key in ["lengths", "calibration"] {
        let buckets = evaluation[key].as_array().unwrap();
        let values = |key: &str| -> Vec<f64> {
            buckets.iter().map(|bucket| bucket[key].as_f64().unwrap()).collect()
        };
        assert_eq!(values("examples").iter().sum::<f64>(), 200.0, "{key}");
        let bucket_correct =
            values("examples").into_iter().zip(values("accuracy")).map(|(n, a)| n * a);
        assert!((bucket_correct.sum::<f64>() - correct).abs() < 1e-6, "{key}");
    }
    assert!((0.0..1.0).contains(&evaluation["roc_auc"].as_f64().unwrap()));
}

#[test]
fn mistakes_are_written_with_their_texts() {
    let dir = TestDir::with_noisy_run();
    let wrong = 200 - (200.0 * evaluate(&dir, "run")["accuracy"].as_f64().unwrap()).round() as u64;
    assert!(wrong > 3, "the model makes mistakes");
    let test: Vec<String> = dir.read("test.csv").lines().map(str::to_owned).collect();
    for name in ["errors.jsonl", "errors.csv", "errors.tsv"] {
        let done = dir.lstmtext(&format!("evaluate run --errors {name}")).assert().success();
        done.stderr(contains(format!("{name}: {wrong} mistakes")));
    }
    let mistakes = dir.json_lines("errors.jsonl");
    assert_eq!(mistakes.len() as u64, wrong);
    let mut last = 1.0;
    for mistake in &mistakes {
        assert_ne!(mistake["label"], mistake["predicted"]);
        let probability = mistake["probability"].as_f64().unwrap();
        assert!(probability <= last);
        last = probability;
        // The reported line has the text and the label.
        let line = &test[mistake["line"].as_u64().unwrap() as usize - 1];
        let expected =
            format!("{},{}", mistake["text"].as_str().unwrap(), mistake["label"].as_str().unwrap());
        assert_eq!(*line, expected);
    }
    let csv = dir.read("errors.csv");
    assert_eq!(
        csv.lines().next(),
        Some("label,predicted,probability,label_probability,file,line,text")
    );
    let first = mistakes[0]["text"].as_str().unwrap();
    assert!(csv.lines().nth(1).unwrap().ends_with(first), "{csv}");
    assert!(dir.read("errors.tsv").lines().nth(1).unwrap().ends_with(first));
    let command = dir.lstmtext("evaluate run --errors mistakes.xls");
    assert_fails(command, 2, &["mistakes.xls", ".csv, .tsv or .jsonl"]);
    let before = dir.read("test.csv");
    let command = dir.lstmtext("evaluate run --data test.csv --errors ./test.csv");
    assert_fails(command, 2, &["test.csv", "would overwrite"]);
    assert_eq!(dir.read("test.csv"), before);
}

#[test]
fn two_checkpoints_are_compared_on_the_same_examples() {
    let dir = TestDir::with_noisy_run();
    dir.train("small.yaml --out other --set model.lstm.units=3 --set text.lowercase=false --set train.epochs=1");
    let compared = evaluate(&dir, "run --compare other");
    let (first, other) = (evaluate(&dir, "run"), evaluate(&dir, "other"));
    let comparison = &compared["comparison"];
    assert_eq!(comparison["accuracy"], other["accuracy"]);
    assert_eq!(comparison["loss"], other["loss"]);
    let count = |key: &str| comparison[key].as_f64().unwrap();
    let both = count("both_right");
    assert_eq!((both + count("only_first")) / 200.0, first["accuracy"].as_f64().unwrap());
    assert_eq!((both + count("only_other")) / 200.0, other["accuracy"].as_f64().unwrap());
    let itself = &evaluate(&dir, "run --compare run/best")["comparison"];
    assert_eq!((&itself["p_value"], &itself["only_first"]), (&json!(1.0), &json!(0)));
    let done = dir.lstmtext("evaluate run --compare other").assert().success();
    assert!(stdout(&done).contains("McNemar's test: p "));
    done.stderr("");

    // The training examples of another split may be among the compared ones.
    dir.train("small.yaml --out split --set data.split.seed=2 --set train.epochs=1");
    let done = dir.lstmtext("evaluate run --split validation --compare split").assert().success();
    done.stderr(contains("trained on a different split"));
    let line = "evaluate run --split validation --set data.split.seed=2";
    dir.lstmtext(line)
        .assert()
        .success()
        .stderr(contains("because --set changes data.split.seed (60 then"));
    let dir = dir.data(&["neg", "pos", "meh"]);
    dir.train("small.yaml --out three --set train.epochs=1");
    let command = dir.lstmtext("evaluate three --compare run");
    assert_fails(command, 1, &["labels neg, pos", "meh", "cannot compare"]);
}

#[test]
fn other_data_may_have_other_columns() {
    let dir = TestDir::with_run();
    let renamed = dir.read("test.csv").replacen("text,label", "review,sentiment", 1);
    let dir = dir.file("other.csv", renamed);
    let columns = "--set data.text_column=review --set data.label_column=sentiment";
    let score = evaluate(&dir, &format!("run --data other.csv {columns}"));
    assert_eq!(score["loss"], dir.summary("run")["test"]["loss"]);
    let without = dir.lstmtext("evaluate run --data other.csv");
    assert_fails(without, 1, &["other.csv:1", "expected a column \"text\""]);
}

#[test]
fn training_texts_in_other_data_are_counted() {
    let dir = TestDir::with_run();
    let text = dir.read("train.csv").lines().nth(1).unwrap().split(',').next().unwrap().to_owned();
    let rows = format!("review,label\n{},neg\nn1 other,pos\n", text.to_uppercase());
    let dir = dir.file("other.csv", rows);
    let messages = || {
        let line = "evaluate run --data other.csv --set data.text_column=review";
        stderr(&dir.lstmtext(line).assert().success())
    };
    let note = "note: 1 of 2 texts is also a training text, up to case, spaces";
    assert!(messages().contains(note), "{}", messages());
    fs::write(dir.path("train.csv"), "text,label\na,pos\nb,neg\n").unwrap();
    assert!(!messages().contains("training text"), "{}", messages());
    fs::remove_file(dir.path("train.csv")).unwrap();
    assert!(!messages().contains("training text"), "{}", messages());
    assert!(messages().contains("may be training examples: the training data cannot be read"));
    let moved = dir.lstmtext("evaluate run --split validation");
    assert_fails(moved, 1, &["train.csv", "--set data.train=PATH"]);
}

#[test]
fn known_labels_show_which_rows_a_stray_quote_swallows() {
    let dir = TestDir::with_run().file("dev.csv", "text,label\n\"n1 pos1,pos\nn2 neg1\",neg\n");
    let expected = "dev.csv:2: a quote opens in this row and closes in line 3";
    assert_fails(dir.lstmtext("evaluate run --data dev.csv"), 1, &[expected]);
    for field in ["test", "validation"] {
        let command = dir.lstmtext(&format!("train small.yaml --set data.{field}=dev.csv"));
        assert_fails(command, 1, &[&format!("data.{field}: "), expected]);
        let line = format!("evaluate run --split {field} --set data.{field}=dev.csv");
        assert_fails(dir.lstmtext(&line), 1, &[expected]);
    }
}

#[test]
fn a_filter_that_fails_on_other_data_is_reported() {
    let mut dir = TestDir::with_data();
    let mut rows = String::new();
    for (number, line) in dir.read("train.csv").lines().enumerate() {
        rows += &format!("{line},{}\n", if number == 0 { "part" } else { "a" });
    }
    dir = dir.file("train.csv", rows);
    let mut command = dir.lstmtext("train small.yaml --out run --set data.test=null");
    command.args(["--set", "data.filter={part: a}"]).assert().success();
    let command = dir.lstmtext("evaluate run --data test.csv");
    assert_fails(command, 1, &["--set data.filter={}", "part"]);
    dir.lstmtext("evaluate run --data test.csv --set data.filter={}").assert().success();
}

#[test]
fn scores_do_not_depend_on_the_batch_size() {
    let dir = TestDir::with_run();
    let score =
        |size: u32| evaluate(&dir, &format!("run --set train.validation_batch_size={size}"));
    let (one, many) = (score(1), score(64));
    assert_eq!(one["accuracy"], many["accuracy"]);
    let loss = |score: &Value| score["loss"].as_f64().unwrap();
    assert!((loss(&one) - loss(&many)).abs() < 1e-6);
}

#[test]
fn unknown_labels_are_reported_with_their_line() {
    let dir = TestDir::with_run();
    let mut strange = examples(&["neg", "pos"], 5, 3);
    strange[3].label = "meh".into();
    let dir = dir.file("strange.csv", csv(&strange));
    let command = dir.lstmtext("evaluate run --data strange.csv");
    assert_fails(command, 1, &["strange.csv:5", "\"meh\"", "neg, pos"]);
}

#[test]
fn an_empty_split_is_an_error() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set data.test=null --set train.epochs=1");
    assert_fails(dir.lstmtext("evaluate run --split test"), 1, &["no test examples"]);
    assert_fails(dir.lstmtext("evaluate run --split tset"), 2, &["tset", "validation"]);
    assert_fails(dir.lstmtext("evaluate run --data none.csv"), 1, &["none.csv"]);
    assert_fails(dir.lstmtext("evaluate run --data test.csv --split test"), 2, &["--split"]);
    // Without test examples, the validation split is evaluated.
    assert_eq!(evaluate(&dir, "run")["examples"], 60);
}

#[test]
fn only_the_file_of_the_split_is_needed() {
    let dir = TestDir::with_data();
    let dir = dir.file("dev.csv", csv(&examples(&["neg", "pos"], 50, 3)));
    let fields = "--set data.validation=dev.csv --set train.epochs=1";
    dir.train(&format!("small.yaml --out run {fields}"));
    let splits = [("train", "train.csv"), ("validation", "dev.csv"), ("test", "test.csv")];
    let scores = splits.map(|(split, _)| evaluate(&dir, &format!("run --split {split}")));
    for (own, file) in splits {
        let (path, aside) = (dir.path(file), dir.path("aside"));
        fs::rename(&path, &aside).unwrap();
        for ((split, _), score) in splits.iter().zip(&scores) {
            let line = format!("run --split {split}");
            if *split == own {
                assert_fails(dir.lstmtext(&format!("evaluate {line}")), 1, &["data.", file]);
            } else {
                assert_eq!(evaluate(&dir, &line), *score, "{split} without {file}");
            }
        }
        fs::rename(&aside, &path).unwrap();
    }
    // The default split is the test split, or else the validation split.
    fs::remove_file(dir.path("train.csv")).unwrap();
    assert_eq!(evaluate(&dir, "run"), scores[2]);
    fs::remove_file(dir.path("test.csv")).unwrap();
    assert_eq!(evaluate(&dir, "run --set data.test=null"), scores[1]);
}

#[test]
fn a_split_of_the_training_file_needs_only_that_file() {
    let dir = TestDir::with_run();
    let scores =
        ["train", "validation"].map(|split| evaluate(&dir, &format!("run --split {split}")));
    fs::remove_file(dir.path("test.csv")).unwrap();
    for (split, score) in ["train", "validation"].iter().zip(&scores) {
        assert_eq!(evaluate(&dir, &format!("run --split {split}")), *score);
    }
    let changed = dir.read("train.csv") + "fine,meh\n";
    let dir = dir.file("train.csv", changed);
    let command = dir.lstmtext("evaluate run --split validation");
    assert_fails(command, 1, &["train.csv:602: unknown label \"meh\"", "neg, pos"]);
}

#[test]
fn runs_can_be_evaluated_from_any_directory() {
    let dir = TestDir::with_run();
    let other = TestDir::new();
    let mut command = other.lstmtext("evaluate --json");
    let score = stdout_json(&command.arg(dir.path("run")).assert().success());
    assert_eq!(score["loss"], dir.summary("run")["test"]["loss"]);
}

#[test]
fn examples_may_come_from_stdin_or_a_pipe() {
    let dir = TestDir::with_run();
    let from_file = dir.lstmtext("evaluate run --data test.csv --json").assert().success();
    for data in ["-", "/dev/stdin"] {
        let line = format!("evaluate run --json --errors errors.csv --compare run --data {data}");
        let mut command = dir.lstmtext(&line);
        let done = command.write_stdin(dir.read("test.csv")).assert().success();
        let (mut piped, file) = (stdout_json(&done), stdout_json(&from_file));
        piped.as_object_mut().unwrap().remove("comparison").unwrap();
        assert_eq!(piped, file);
    }
    let mut command = dir.lstmtext("evaluate run --data -");
    command.write_stdin(&b"text,label\ncaf\xE9,neg\n"[..]);
    command
        .assert()
        .success()
        .stderr(contains("stdin is read as windows-1252; --set data.encoding="));
    let mut command = dir.lstmtext("evaluate run --data - --set data.format=jsonl");
    command.write_stdin("no json\n");
    assert_fails(command, 1, &["error: stdin:1: expected a JSON object"]);
    let shown = dir.lstmtext("evaluate run --data -").write_stdin(dir.read("test.csv")).output();
    assert!(String::from_utf8(shown.unwrap().stdout).unwrap().starts_with("stdin"));
}

#[test]
fn errors_in_a_stream_name_the_stream() {
    let dir = TestDir::with_run().file("bad.csv", "text,label\npos1,pos\nneg1,meh\n");
    let fails = |data: &str, name: &str, parts: &[&str]| {
        let line = format!("\"$0\" evaluate run --data {data}");
        let mut command = assert_cmd::Command::new("bash");
        command.args(["-c", &line, BINARY]).current_dir(dir.path("")).envs(ENVIRONMENT);
        let message = assert_fails(command, 1, parts);
        assert!(message.starts_with(&format!("error: {name}")), "{data}: {message}");
    };
    let unknown = [":3: unknown label \"meh\""];
    fails("- < bad.csv", "stdin", &unknown);
    fails("- < <(gzip -c bad.csv)", "stdin", &unknown);
    fails("<(cat bad.csv)", "/dev/fd/", &unknown);
    fails("/dev/stdin < bad.csv", "/dev/stdin", &unknown);
    fails("- < /dev/null", "\"stdin\"", &["has no examples"]);
    // A file of this name is not the stream.
    fs::write(dir.path("stdin"), "text,label\npos1,pos\n").unwrap();
    fails("- < bad.csv --set data.cache=always", "stdin", &unknown);
    let mut folder = dir.lstmtext("evaluate run --data - --set data.format=folder");
    folder.write_stdin("text,label\n");
    assert_fails(folder, 2, &["the format of \"stdin\" is unknown; pass it"]);
}

#[test]
fn a_signal_while_a_stream_is_read_leaves_no_file() {
    let dir = TestDir::with_run().file("temporary/.keep", "");
    let mut command = dir.process("evaluate run --data -");
    let mut process = command.env("TMPDIR", dir.path("temporary")).spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    // More than fits in the buffer of a pipe, so that some of it has been copied.
    stdin.write_all(&vec![b'a'; 1 << 20]).unwrap();
    assert_eq!(dir.names("temporary"), [".keep"]);
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(dir.names("temporary"), [".keep"]);
}

/// The same rows in another order turn validation examples into training examples.
#[test]
fn examples_that_are_not_those_of_the_training_are_noted() {
    let dir = TestDir::with_run();
    let note = |line: &str| {
        let done = dir.lstmtext(&format!("evaluate run {line}")).assert().success();
        stderr(&done)
    };
    for line in ["", "--split train", "--split validation", "--data test.csv"] {
        assert!(!note(line).contains("note: "), "{line}: {}", note(line));
    }
    let all = "these examples include all training examples of the checkpoint";
    assert!(note("--data train.csv").contains(all));
    // A part of them, with others.
    let mut mixed = examples(&["neg", "pos"], 600, 1)[..300].to_vec();
    mixed.extend(examples(&["neg", "pos"], 200, 2));
    fs::write(dir.path("mixed.csv"), csv(&mixed)).unwrap();
    let message = note("--data mixed.csv");
    let expected = " of 500 texts are also training texts";
    assert!(message.contains(expected), "{message}");
    let data = |line| evaluate(&dir, line)["data"].clone();
    assert_eq!(data("run"), data("run --data test.csv"));
    assert_ne!(data("run"), data("run --split validation"));

    let mut reversed = examples(&["neg", "pos"], 600, 1);
    reversed.reverse();
    fs::write(dir.path("train.csv"), csv(&reversed)).unwrap();
    for split in ["train", "validation"] {
        let message = note(&format!("--split {split}"));
        let split = if split == "train" { "training" } else { split };
        let expected =
            format!("the run had other {split} examples, because the data has changed since");
        assert!(message.contains(&expected), "{message}");
    }
    assert!(note("--split validation").contains("some of these examples may be training examples"));
    assert!(note("--data train.csv").contains(all), "their order does not matter");
    assert!(!note("--split test").contains("note: "));
    // The changed file still has all training examples. Without some of them, they are unknown.
    fs::write(dir.path("train.csv"), csv(&reversed[..500])).unwrap();
    let message = note("--data mixed.csv");
    assert!(message.contains("some of these examples may be training examples"), "{message}");
}

/// Checkpoints of earlier versions do not record them.
#[test]
fn unknown_training_examples_are_noted() {
    let dir = TestDir::with_run();
    for checkpoint in ["best", "last"] {
        let path = format!("run/{checkpoint}/progress.json");
        let (bytes, mut progress) = (dir.bytes(&path).len(), dir.json(&path));
        progress.as_object_mut().unwrap().remove("data").unwrap();
        // The manifest records the size.
        fs::write(dir.path(&path), format!("{:bytes$}", progress.to_string())).unwrap();
        seal(&dir, &format!("run/{checkpoint}"));
    }
    for line in ["--data test.csv", "--split test"] {
        let done = dir.lstmtext(&format!("evaluate run {line}")).assert().success();
        done.stderr(contains("note: the checkpoint does not record its examples"));
    }
    let resume = dir.lstmtext("train --resume run --set train.epochs=5").assert().success();
    resume.stderr(contains("note: the checkpoint does not record its validation examples"));
}

#[test]
fn a_comparison_notes_which_checkpoint_has_seen_the_examples() {
    let dir = TestDir::with_run();
    dir.train("small.yaml --out same --set train.seed=2 --set train.epochs=1");
    dir.train("small.yaml --out other --set data.split.seed=2 --set train.epochs=1");
    let swapped = "--set data.train=test.csv --set data.test=null --set data.validation=train.csv";
    dir.train(&format!("small.yaml --out swapped {swapped} --set train.epochs=1"));
    let note = |line: &str| {
        stderr(&dir.lstmtext(&format!("evaluate run --compare {line}")).assert().success())
    };
    assert!(!note("same --split validation").contains("note: "));
    assert!(note("other --split validation").contains("which may include some of these examples"));
    assert!(!note("other --split test").contains("note: "), "the other's test examples");
    assert!(note("swapped --split test").contains("swapped/best\" was trained on these examples"));
}

//! Pipes whose reader exits early, such as `head`.

use std::io::{BufRead, BufReader, Read, Write};

use crate::common::{
    BINARY, DEADLINE, ENVIRONMENT, TestDir, examples, lines, python, stdout, wait,
};

#[test]
fn predict_exits_silently_when_stdout_is_closed() {
    let dir = TestDir::with_run();
    // More than fits in the buffer of a pipe.
    let texts = lines(&examples(&["neg", "pos"], 20_000, 8));
    let dir = dir.file("texts.txt", texts);
    let mut process = dir.process("predict run --file texts.txt").spawn().unwrap();
    let mut first = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("neg  "), "{first}");
    assert_eq!(wait(process), (Some(0), String::new()));
}

/// With `pipefail` the pipeline fails if any command fails.
#[test]
fn predict_can_be_piped_to_head() {
    let texts = lines(&examples(&["neg", "pos"], 20_000, 8));
    let dir = TestDir::with_run().file("texts.txt", texts);
    let pipeline = format!("set -o pipefail; '{BINARY}' predict run --file texts.txt | head -n 2");
    let done = assert_cmd::Command::new("bash")
        .args(["-c", &pipeline])
        .current_dir(dir.path(""))
        .envs(ENVIRONMENT)
        .timeout(DEADLINE)
        .assert()
        .success()
        .stderr("");
    assert_eq!(stdout(&done).lines().count(), 2);
}

/// Includes a terminal of one cell and one without a size.
#[test]
fn training_continues_while_its_terminal_is_resized() {
    let dir = TestDir::with_data();
    let directory = dir.path("").display().to_string();
    let shown = python("terminal.py", &[&directory, BINARY, "train", "small.yaml", "--out", "run"]);
    let text = shown["shown"].as_str().unwrap();
    assert_eq!(shown["status"], 0, "{text}");
    assert!(shown["resized"].as_u64().unwrap() > 3, "{text}");
    assert!(text.contains("test ") && !text.contains("panicked"), "{text}");
    assert_eq!(dir.metrics("run").len(), 4);
}

#[test]
fn predict_exits_while_its_stdin_is_open() {
    let dir = TestDir::with_run();
    let mut process = dir.process("predict run").spawn().unwrap();
    drop(process.stdout.take());
    let mut stdin = process.stdin.take().unwrap();
    writeln!(stdin, "pos1").unwrap();
    assert_eq!(wait(process), (Some(0), String::new()));
    drop(stdin);
}

#[test]
fn a_closed_stdout_is_not_an_error() {
    let dir = TestDir::with_run();
    for line in [
        "config",
        "config --reference",
        "summary small.yaml",
        "completions bash",
        "evaluate run",
        "--help",
    ] {
        let mut process = dir.process(line).spawn().unwrap();
        drop(process.stdout.take());
        let (code, stderr) = wait(process);
        assert!(code == Some(0) && !stderr.contains("panicked"), "{line}: {code:?} {stderr}");
    }
}

/// `lstmtext train … 2>&1 | head -1` must not stop the run.
#[test]
fn training_continues_when_stderr_is_closed() {
    let dir = TestDir::with_data();
    let mut process = dir.process("train small.yaml --out run").spawn().unwrap();
    drop(process.stderr.take());
    let mut stdout = process.stdout.take().unwrap();
    assert_eq!(wait(process).0, Some(0));
    let mut result = String::new();
    stdout.read_to_string(&mut result).unwrap();
    assert!(result.contains("test  "), "{result}");
    assert_eq!(dir.metrics("run").len(), 4);
}

#[test]
fn exit_codes_do_not_depend_on_stderr() {
    let dir = TestDir::new();
    let mut process = dir.process("predict nowhere text").spawn().unwrap();
    drop(process.stderr.take());
    assert_eq!(wait(process).0, Some(1));
}

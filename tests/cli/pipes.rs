//! Readers that go away before everything is said, as `head` does.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{BINARY, DEADLINE, ENVIRONMENT, Place, examples, lines, python, stdout};

/// Waits for the end: the exit code and what is left to read on stderr.
fn end(mut process: Child) -> (Option<i32>, String) {
    let begun = Instant::now();
    let status = loop {
        match process.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() < DEADLINE => thread::sleep(Duration::from_millis(5)),
            None => {
                let _ = process.kill();
                panic!("it does not end");
            }
        }
    };
    let mut said = String::new();
    if let Some(mut stderr) = process.stderr.take() {
        stderr.read_to_string(&mut said).unwrap();
    }
    (status.code(), said)
}

#[test]
fn predict_ends_quietly_when_nobody_reads_on() {
    let place = Place::with_run();
    // More than any pipe holds.
    let texts = lines(&examples(&["neg", "pos"], 20_000, 8));
    let place = place.file("texts.txt", texts);
    let mut process = place.process("predict run --file texts.txt").spawn().unwrap();
    let mut first = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("neg  "), "{first}");
    assert_eq!(end(process), (Some(0), String::new()));
}

/// The whole pipeline fails where any part of it does.
#[test]
fn head_ends_predict_quietly() {
    let texts = lines(&examples(&["neg", "pos"], 20_000, 8));
    let place = Place::with_run().file("texts.txt", texts);
    let pipeline = format!("set -o pipefail; '{BINARY}' predict run --file texts.txt | head -n 2");
    let done = assert_cmd::Command::new("bash")
        .args(["-c", &pipeline])
        .current_dir(place.path(""))
        .envs(ENVIRONMENT)
        .timeout(DEADLINE)
        .assert()
        .success()
        .stderr("");
    assert_eq!(stdout(&done).lines().count(), 2);
}

/// Down to a terminal of one cell, and one that has no size.
#[test]
fn training_goes_on_while_its_terminal_is_resized() {
    let place = Place::with_data();
    let folder = place.path("").display().to_string();
    let shown = python("terminal.py", &[&folder, BINARY, "train", "small.yaml", "--out", "run"]);
    let text = shown["shown"].as_str().unwrap();
    assert_eq!(shown["status"], 0, "{text}");
    assert!(shown["resized"].as_u64().unwrap() > 3, "{text}");
    assert!(text.contains("test ") && !text.contains("panicked"), "{text}");
    assert_eq!(place.metrics("run").len(), 4);
}

#[test]
fn predict_ends_though_its_stdin_stays_open() {
    let place = Place::with_run();
    let mut process = place.process("predict run").spawn().unwrap();
    drop(process.stdout.take());
    let mut stdin = process.stdin.take().unwrap();
    writeln!(stdin, "pos1").unwrap();
    assert_eq!(end(process), (Some(0), String::new()));
    drop(stdin);
}

#[test]
fn results_that_nobody_reads_are_no_fault() {
    let place = Place::with_run();
    for line in [
        "config",
        "config --reference",
        "summary small.yaml",
        "completions bash",
        "evaluate run",
        "--help",
    ] {
        let mut process = place.process(line).spawn().unwrap();
        drop(process.stdout.take());
        let (code, said) = end(process);
        assert!(code == Some(0) && !said.contains("panicked"), "{line}: {code:?} {said}");
    }
}

/// `lstmtext train … 2>&1 | head -1` is no reason to lose a run.
#[test]
fn training_goes_on_when_nobody_reads_its_progress() {
    let place = Place::with_data();
    let mut process = place.process("train small.yaml --out run").spawn().unwrap();
    drop(process.stderr.take());
    let mut stdout = process.stdout.take().unwrap();
    assert_eq!(end(process).0, Some(0));
    let mut result = String::new();
    stdout.read_to_string(&mut result).unwrap();
    assert!(result.contains("test  "), "{result}");
    assert_eq!(place.metrics("run").len(), 4);
}

#[test]
fn an_error_that_nobody_reads_is_still_an_error() {
    let place = Place::new();
    let mut process = place.process("predict nowhere text").spawn().unwrap();
    drop(process.stderr.take());
    assert_eq!(end(process).0, Some(1));
}

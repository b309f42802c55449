//! Readers that go away before everything is said, as `head` does.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::thread;

use crate::common::{Place, examples, lines};

/// Waits for the end: the exit code and what is on stderr.
fn end(mut process: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    if let Some(mut stderr) = process.stderr.take() {
        stderr.read_to_string(&mut said).unwrap();
    }
    (process.wait().unwrap().code(), said)
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
    let reader = thread::spawn(move || {
        let mut said = String::new();
        stdout.read_to_string(&mut said).map(|_| said)
    });
    assert_eq!(process.wait().unwrap().code(), Some(0));
    assert!(reader.join().unwrap().unwrap().contains("test  "));
    assert_eq!(place.metrics("run").len(), 4);
}

#[test]
fn an_error_that_nobody_reads_is_still_an_error() {
    let place = Place::new();
    let mut command = place.process("predict nowhere text");
    let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(process.stderr.take());
    assert_eq!(process.wait().unwrap().code(), Some(1));
}

//! The memory that a model needs, estimated before it is created.

use std::fs;
use std::io::Read;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::common::{TestDir, assert_fails, fails_with_limit, stdout, stdout_json};

/// Returns the number of bytes in a text such as `about 1.2 GB`, which follows `before`.
fn bytes_after(text: &str, before: &str) -> f64 {
    let mut words = text.split_once(before).unwrap().1.split_whitespace();
    let number: f64 = words.next().unwrap().parse().unwrap();
    let unit = words.next().unwrap().trim_matches(|c: char| !c.is_ascii_alphabetic());
    let power = ["B", "kB", "MB", "GB"].iter().position(|each| *each == unit).unwrap();
    number * 1000_f64.powi(power as i32)
}

/// Creates a directory with data of 30,000 distinct words, for a large embedding, and with `large.yaml`,
/// a configuration with this section `model`.
fn with_many_words(model: &str) -> TestDir {
    let text =
        |line: usize| (0..1500).map(|word| format!("w{} ", line * 1500 + word)).collect::<String>();
    let lines: String = (0..20).map(|line| format!("{},{}\n", text(line), line % 2)).collect();
    TestDir::new().file("train.csv", format!("text,label\n{lines}")).file(
        "large.yaml",
        format!(
            "data: {{train: train.csv, validation: train.csv, test: train.csv}}\n\
             text: {{min_count: 1, vocabulary_size: 40000, max_length: 20}}\n\
             model: {model}\n\
             train: {{epochs: 1, optimizer: sgd}}\n"
        ),
    )
}

/// Runs a command with little output. Returns its stderr, and its peak memory in bytes.
fn peak_memory(mut command: std::process::Command) -> (String, f64) {
    let mut process = command.spawn().unwrap();
    let file = format!("/proc/{}/status", process.id());
    let mut peak = 0.0;
    // The peak that Linux reports at the end may be that of this process, from which the other is forked.
    let status = loop {
        let status = fs::read_to_string(&file).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kilobytes) = line.and_then(|line| line.split_whitespace().next()) {
            peak = kilobytes.parse::<f64>().unwrap() * 1024.0;
        }
        match process.try_wait().unwrap() {
            Some(status) => break status,
            None => thread::sleep(Duration::from_millis(1)),
        }
    };
    let mut stderr = String::new();
    process.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(status.success(), "{stderr}");
    (stderr, peak)
}

#[test]
fn the_estimate_is_close_to_the_memory_that_training_takes() {
    let dir = with_many_words("{embedding: {size: 150}, lstm: {units: 8}, ngrams: null}");
    let (stderr, measured) = peak_memory(dir.process("train large.yaml --out run"));
    let estimated =
        bytes_after(&stderr, "needs about ") + bytes_after(&stderr, "of memory, besides ");
    let ratio = estimated / measured;
    assert!(measured > 7e7 && (0.75..1.3).contains(&ratio), "{measured} bytes: {stderr}");
}

#[test]
fn a_model_that_does_not_fit_in_memory_is_refused_before_it_is_created() {
    let dir = TestDir::with_data();
    let mut command = dir.lstmtext("train small.yaml --out run --set model.lstm.units=65536");
    command.args(["--set", "model.lstm.layers=64"]);
    assert_fails(command, 1, &["not enough memory", "TB", "lower model.lstm.units"]);
    assert!(!dir.path("run").exists());
    let command = dir.process("train small.yaml --out run --set model.lstm.units=2000");
    let error = fails_with_limit(command, libc::RLIMIT_AS, 300_000_000);
    assert!(error.contains("not enough memory") && error.contains("ulimit -v"), "{error}");
    assert!(!dir.path("run").exists());
}

#[test]
fn the_summary_says_how_much_memory_training_takes() {
    let dir = TestDir::with_data();
    let done = dir.lstmtext("summary small.yaml --set model.lstm.units=512").assert().success();
    let text = stdout(&done);
    let memory = text.lines().last().unwrap();
    assert!(memory.starts_with("Memory for training: about "), "{text}");
    assert!(bytes_after(memory, "about ") > 1e7, "{memory}");
    let done =
        dir.lstmtext("summary small.yaml --set model.lstm.units=512 --json").assert().success();
    let report: Value = stdout_json(&done);
    assert!(report["training_memory"]["weights"].as_u64().unwrap() > 4_000_000);
}

#[test]
fn a_checkpoint_that_does_not_fit_in_memory_is_refused_by_every_command() {
    let dir = with_many_words("{embedding: {size: 800}, lstm: {units: 2}, ngrams: null}");
    dir.train("large.yaml --out run");
    dir.lstmtext("export run --to weights.npz").assert().success();
    for line in [
        "predict run w1",
        "evaluate run",
        "explain run w1",
        "states run w1",
        "serve run --port 0",
        "export run --to exported",
        "export run --to exported.npz",
        "export run --to exported.onnx",
        "import run weights.npz --to imported",
    ] {
        let error = fails_with_limit(dir.process(line), libc::RLIMIT_AS, 200_000_000);
        assert!(error.contains("not enough memory"), "{line}: {error}");
        assert!(error.contains("ulimit -v"), "{line}: {error}");
    }
    for path in ["exported", "exported.npz", "exported.onnx", "imported"] {
        assert!(!dir.path(path).exists());
    }
}

#[test]
fn an_allocation_that_fails_is_an_error() {
    let row = format!("{},a\n", "some words of a text ".repeat(50));
    let dir = TestDir::with_data().file("big.csv", "text,label\n".to_owned() + &row.repeat(30_000));
    dir.train("small.yaml --out run");
    let fails = |line: &str| {
        // A limit on the address space would count the program itself, whose size depends on the build.
        let error = fails_with_limit(dir.process(line), libc::RLIMIT_DATA, 50_000_000);
        assert!(
            error.contains("error: not enough memory: the system refused more"),
            "{line}: {error}"
        );
        assert!(error.contains("ulimit -v"), "{line}: {error}");
        error
    };
    let big = "--set data.train=big.csv";
    fails(&format!("train small.yaml --out new {big}"));
    assert!(!dir.path("new").exists());
    fails(&format!("data stats small.yaml {big}"));
    fails("evaluate run --data big.csv");
    for name in ["best", "last", "summary.json"] {
        let path = dir.path("run").join(name);
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
    }
    let error = fails(&format!("train --resume run {big}"));
    let saved = dir.read("run/error.txt");
    assert!(error.contains(saved.trim_end()), "{saved}");
}

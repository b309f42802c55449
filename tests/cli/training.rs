//! Training processes that tests stop.

use std::io::Read;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{DEADLINE, TestDir, csv, noise, wait};

/// Configuration with all state that a resumed run could lose: every kind of dropout, the order of the
/// examples, optimizer state, schedule and early stopping. Validation is at the end of each epoch, and
/// the signal arrives inside one.
pub const COSINE: &str = "\
data: {train: train.csv, test: test.csv}
model:
  embedding: {size: 8, dropout: 0.1, word_dropout: 0.1}
  lstm: {units: 8, layers: 2, dropout: 0.2, bidirectional: true}
train:
  epochs: 60
  batch_size: 8
  schedule: {name: cosine, warmup_steps: 20}
  early_stopping: {patience: 9}
";

/// Configuration with another optimizer, a schedule with state, batches by token budget, and
/// validations and checkpoints inside epochs.
pub const PLATEAU: &str = "\
data: {train: train.csv, test: test.csv}
model:
  embedding: {size: 8}
  lstm: {units: 8}
train:
  epochs: 40
  token_budget: 120
  bucketing_window: 10
  optimizer: rmsprop
  learning_rate: 0.005
  rmsprop: {momentum: 0.5}
  schedule: {name: plateau, patience: 4, factor: 0.7}
  early_stopping: {patience: 16, metric: validation_accuracy}
  validate_every: 37
  checkpoint_every: 23
";

/// Options of a run that lasts until it is stopped.
pub const ENDLESS: &str = "--set train.epochs=100000 --set train.early_stopping.patience=null";

/// Writes `config` and data with random labels, so that early stopping takes effect.
pub fn with_noise(config: &str) -> TestDir {
    TestDir::new()
        .file("long.yaml", config)
        .file("train.csv", csv(&noise(600, 1)))
        .file("test.csv", csv(&noise(100, 2)))
}

/// A training process.
pub struct Training {
    process: Child,
}

impl Training {
    pub fn start(dir: &TestDir, line: &str) -> Self {
        Self::spawn(&mut dir.process(&format!("train {line}")))
    }

    pub fn spawn(command: &mut Command) -> Self {
        Self::of(command.spawn().unwrap())
    }

    /// Takes over a running process.
    pub fn of(process: Child) -> Self {
        Self { process }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the process to end. Returns exit code and stderr.
    pub fn end(self) -> (Option<i32>, String) {
        wait(self.process)
    }

    /// Waits until the run has had `count` validations.
    pub fn wait_for_validations(&mut self, dir: &TestDir, run: &str, count: usize) {
        let metrics = dir.path(run).join("metrics.jsonl");
        self.wait_until(|| {
            std::fs::read_to_string(&metrics).unwrap_or_default().lines().count() >= count
        });
    }

    /// Waits until the next checkpoint is written.
    pub fn wait_for_checkpoint(&mut self, dir: &TestDir, run: &str) {
        assert!(self.reaches_checkpoint(dir, run), "training ended too early");
    }

    /// Waits until the next checkpoint is written. Returns false if training ends before.
    pub fn reaches_checkpoint(&mut self, dir: &TestDir, run: &str) -> bool {
        let file = dir.path(run).join("last/checkpoint.json");
        let written = || std::fs::metadata(&file).and_then(|file| file.modified()).ok();
        let before = written();
        self.reaches(|| written().is_some_and(|now| Some(now) != before))
    }

    /// Waits until the event files exist, just before the first step.
    pub fn wait_for_curves(&mut self, dir: &TestDir, run: &str) {
        let has_events = || dir.names(run).iter().any(|name| name.starts_with("events."));
        self.wait_until(|| dir.path(run).exists() && has_events());
    }

    pub fn wait_until(&mut self, reached: impl Fn() -> bool) {
        assert!(self.reaches(reached), "training ended too early");
    }

    /// Waits for a state. Returns false if training ends before.
    fn reaches(&mut self, reached: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        while !reached() {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if start.elapsed() > DEADLINE {
                let _ = self.process.kill();
                panic!("training did not reach the expected state");
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        let id = libc::pid_t::try_from(self.process.id()).unwrap();
        // SAFETY: kill takes plain integers. The process is a child that has not been waited for, so
        // its id is still valid.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0);
    }

    /// Kills the process. Returns false if it had already ended successfully.
    pub fn kill(self) -> bool {
        self.signal(libc::SIGKILL);
        let (code, stderr) = self.end();
        assert!(matches!(code, None | Some(0)), "{stderr}");
        code.is_none()
    }

    /// Sends a signal and waits for the process to end. Returns exit code and stderr.
    pub fn stop(self, signal: i32) -> (Option<i32>, String) {
        self.signal(signal);
        let mut process = self.process;
        let stdout = process.stdout.take();
        let ended = wait(process);
        let mut result = String::new();
        if let Some(mut stdout) = stdout {
            stdout.read_to_string(&mut result).unwrap();
        }
        assert!(result.is_empty(), "an unfinished run prints no result");
        ended
    }
}

/// Expects that two runs have the same weights, optimizer state, vocabulary, metrics and scores.
pub fn assert_same_run(dir: &TestDir, a: &str, b: &str) {
    let metrics = |run: &str| dir.read(&format!("{run}/metrics.jsonl"));
    assert_eq!(metrics(a), metrics(b));
    assert_eq!(dir.timeless_summary(a), dir.timeless_summary(b));
    for part in ["best", "last"] {
        let raw = |run: &str| std::fs::read(dir.path(run).join(part).join("raw.safetensors")).ok();
        assert!(raw(a) == raw(b), "{part}/raw.safetensors differs");
        for name in ["model.safetensors", "optimizer.safetensors", "vocabulary.json"] {
            let bytes = |run: &str| dir.bytes(&format!("{run}/{part}/{name}"));
            assert!(bytes(a) == bytes(b), "{part}/{name} differs");
        }
    }
    assert_eq!(dir.read(&format!("{a}/config.yaml")), dir.read(&format!("{b}/config.yaml")));
}

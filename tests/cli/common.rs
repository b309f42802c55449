//! A folder to run lstmtext in, made-up data for it, and what a run leaves there.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::Value;
use tempfile::TempDir;

/// The program under test: `lstmtext`, or `lstmtext-torch` in the tests of that package.
pub const BINARY: &str =
    match (option_env!("CARGO_BIN_EXE_lstmtext"), option_env!("CARGO_BIN_EXE_lstmtext-torch")) {
        (Some(program), _) | (None, Some(program)) => program,
        (None, None) => panic!("cargo names the program under test"),
    };

/// Longer than anything here takes on a slow machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Commands compute on one CPU thread, so that tests that run side by side neither wait for each
/// other's threads nor depend on the machine; where a test asks for more, they wait asleep.
pub const ENVIRONMENT: [(&str, &str); 3] =
    [("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "passive"), ("CUDA_VISIBLE_DEVICES", "")];

/// A model that learns [`examples`] in a fraction of a second.
pub const SMALL: &str = "\
data: {train: train.csv, test: test.csv}
model: {embedding: {size: 8}, lstm: {units: 8}, head: {dropout: 0.2}}
train: {learning_rate: 0.05, epochs: 4}
";

/// A folder that every command is run in; it goes when the test ends.
pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    /// With `small.yaml` and its data, two classes.
    pub fn with_data() -> Self {
        Self::new().data(&["neg", "pos"]).file("small.yaml", SMALL)
    }

    /// With a finished run of `small.yaml` in `run`.
    pub fn with_run() -> Self {
        let place = Self::with_data();
        place.train("small.yaml --out run");
        place
    }

    /// Adds `train.csv` and `test.csv`, which share no text.
    pub fn data(self, labels: &[&str]) -> Self {
        self.file("train.csv", csv(&examples(labels, 600, 1)))
            .file("test.csv", csv(&examples(labels, 200, 2)))
    }

    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        read(&self.path(name))
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// The names in a folder, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// `lstmtext` with the words of `line` as arguments.
    pub fn lstmtext(&self, line: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.current_dir(self.folder.path()).envs(ENVIRONMENT).timeout(DEADLINE);
        command.args(line.split_whitespace());
        command
    }

    /// Trains, and expects it to end well.
    pub fn train(&self, line: &str) -> Assert {
        self.lstmtext(&format!("train {line}")).assert().success()
    }

    /// `lstmtext` as a process to talk to.
    pub fn process(&self, line: &str) -> std::process::Command {
        let mut command = std::process::Command::new(BINARY);
        command.current_dir(self.folder.path()).envs(ENVIRONMENT).args(line.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The lines of a run's `metrics.jsonl`.
    pub fn metrics(&self, run: &str) -> Vec<Value> {
        self.json_lines(&format!("{run}/metrics.jsonl"))
    }

    pub fn json_lines(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn summary(&self, run: &str) -> Value {
        self.json(&format!("{run}/summary.json"))
    }

    /// The same without what a clock says.
    pub fn timeless_summary(&self, run: &str) -> Value {
        let mut summary = self.summary(run);
        for key in ["seconds", "tokens_per_second"] {
            summary.as_object_mut().unwrap().remove(key).unwrap();
        }
        summary
    }

    pub fn test_accuracy(&self, run: &str) -> f64 {
        self.summary(run)["test"]["accuracy"].as_f64().unwrap()
    }

    pub fn best_weights(&self, run: &str) -> Vec<u8> {
        self.bytes(&format!("{run}/best/model.safetensors"))
    }
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn stdout(done: &Assert) -> String {
    String::from_utf8(done.get_output().stdout.clone()).unwrap()
}

pub fn stderr(done: &Assert) -> String {
    String::from_utf8(done.get_output().stderr.clone()).unwrap()
}

/// What a command printed to stdout, which is one JSON value.
pub fn stdout_json(done: &Assert) -> Value {
    serde_json::from_str(&stdout(done)).unwrap()
}

/// Expects the exit code, all of `words` on stderr, nothing on stdout, and no panic.
pub fn assert_fails(mut command: Command, code: i32, words: &[&str]) -> String {
    let done = command.assert().code(code).stdout("");
    let message = stderr(&done);
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
    message
}

/// A made-up labelled text.
#[derive(Clone)]
pub struct Example {
    pub label: String,
    pub text: String,
}

/// Texts of 3 to 17 neutral words and two words of their class, which are never at a fixed place;
/// the classes take turns.
pub fn examples(labels: &[&str], count: usize, seed: u64) -> Vec<Example> {
    let mut random = Pcg64::seed_from_u64(seed);
    let example = |number: usize| {
        let label = labels[number % labels.len()];
        let neutral = random.random_range(3..18);
        let mut words: Vec<String> =
            (0..neutral).map(|_| format!("n{}", random.random_range(0..60))).collect();
        for _ in 0..2 {
            let place = random.random_range(0..=words.len());
            words.insert(place, format!("{label}{}", random.random_range(0..10)));
        }
        Example { label: label.to_owned(), text: words.join(" ") }
    };
    (0..count).map(example).collect()
}

/// Texts that say nothing of their label.
pub fn noise(count: usize, seed: u64) -> Vec<Example> {
    let mut random = Pcg64::seed_from_u64(seed ^ 0xC0FFEE);
    let mut examples = examples(&["neg", "pos"], count, seed);
    for example in &mut examples {
        example.label = ["neg", "pos"][random.random_range(0..2)].to_owned();
    }
    examples
}

/// The examples as a CSV file with the columns `text` and `label`.
pub fn csv(examples: &[Example]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["text", "label"]).unwrap();
    for example in examples {
        writer.write_record([&example.text, &example.label]).unwrap();
    }
    writer.into_inner().unwrap()
}

/// Only the texts, a line each.
pub fn lines(examples: &[Example]) -> String {
    examples.iter().map(|example| format!("{}\n", example.text)).collect()
}

/// Runs a script that lies beside these tests with the Python of the checkout, and reads the JSON
/// that it prints.
pub fn python(script: &str, arguments: &[&str]) -> Value {
    stdout_json(&run_python(&checkout().join("tests/cli").join(script), arguments))
}

/// Runs a script with the Python of the checkout, and expects it to end well.
pub fn run_python(script: &Path, arguments: &[&str]) -> Assert {
    let python = checkout().join(".venv/bin/python");
    assert!(python.exists(), "the Python tools are missing: run `make setup`");
    let mut command = Command::new(python);
    command.arg("-I").arg(script).args(arguments).envs(ENVIRONMENT).timeout(DEADLINE);
    command.assert().success()
}

pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a command says that fails for lack of a resource of which it has so many bytes.
pub fn fails_with_limit(mut command: std::process::Command, resource: u32, bytes: u64) -> String {
    // SAFETY: setrlimit takes a plain structure and is safe to call between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
            match libc::setrlimit(resource, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let done = command.output().unwrap();
    let message = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{message}");
    message
}

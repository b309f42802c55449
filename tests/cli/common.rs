//! A directory to run lstmtext in, synthetic data, and access to the files of a run.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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

/// Timeout of a command, longer than any test takes on a slow machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Environment of all commands. Commands use one CPU thread, so that concurrent tests neither wait for
/// each other's threads nor depend on the machine. If a test asks for more threads, idle threads
/// sleep.
pub const ENVIRONMENT: [(&str, &str); 3] =
    [("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "passive"), ("CUDA_VISIBLE_DEVICES", "")];

/// Configuration of a model that learns [`examples`] in a fraction of a second.
pub const SMALL: &str = "\
data: {train: train.csv, test: test.csv}
model: {embedding: {size: 8, word_dropout: 0}, lstm: {units: 8, bidirectional: false}, head: {dropout: 0.2}, ngrams: null}
train: {learning_rate: 0.05, epochs: 4}
";

/// Temporary working directory of the commands, deleted at the end of the test.
pub struct TestDir {
    directory: TempDir,
}

impl TestDir {
    pub fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    /// Creates a directory with `small.yaml` and its data of two classes.
    pub fn with_data() -> Self {
        Self::new().data(&["neg", "pos"]).file("small.yaml", SMALL)
    }

    /// Creates a directory with a finished run of `small.yaml` in `run`.
    pub fn with_run() -> Self {
        let dir = Self::with_data();
        dir.train("small.yaml --out run");
        dir
    }

    /// Writes `train.csv` and `test.csv`, which share no text.
    pub fn data(self, labels: &[&str]) -> Self {
        self.file("train.csv", csv(&examples(labels, 600, 1)))
            .file("test.csv", csv(&examples(labels, 200, 2)))
    }

    /// Writes a file.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
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

    /// Returns the file names in a directory, sorted.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Returns the command `lstmtext` with the words of `line` as arguments.
    pub fn lstmtext(&self, line: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.current_dir(self.directory.path()).envs(ENVIRONMENT).timeout(DEADLINE);
        command.args(line.split_whitespace());
        command
    }

    /// Runs `lstmtext train` and expects success.
    pub fn train(&self, line: &str) -> Assert {
        self.lstmtext(&format!("train {line}")).assert().success()
    }

    /// Returns the command `lstmtext` with pipes for its standard streams.
    pub fn process(&self, line: &str) -> std::process::Command {
        let mut command = std::process::Command::new(BINARY);
        command.current_dir(self.directory.path()).envs(ENVIRONMENT).args(line.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Reads the lines of a run's `metrics.jsonl`.
    pub fn metrics(&self, run: &str) -> Vec<Value> {
        self.json_lines(&format!("{run}/metrics.jsonl"))
    }

    pub fn json_lines(&self, name: &str) -> Vec<Value> {
        json_lines(&self.read(name))
    }

    pub fn summary(&self, run: &str) -> Value {
        self.json(&format!("{run}/summary.json"))
    }

    /// Reads the summary of a run and removes the measured times.
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

    /// Asserts that two runs have ended with the same weights and optimizer state.
    pub fn assert_same_state(&self, a: &str, b: &str) {
        for file in ["last/model.safetensors", "last/optimizer.safetensors"] {
            let bytes = |run: &str| self.bytes(&format!("{run}/{file}"));
            assert!(bytes(a) == bytes(b), "{file}");
        }
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

/// Parses the JSON value that a command printed to stdout.
pub fn stdout_json(done: &Assert) -> Value {
    serde_json::from_str(&stdout(done)).unwrap()
}

/// Parses the JSON values that a command printed to stdout, one per line.
pub fn stdout_json_lines(done: &Assert) -> Vec<Value> {
    json_lines(&stdout(done))
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the probability of a label in a line of `predict --format jsonl`.
pub fn probability_of(prediction: &Value, label: &str) -> f64 {
    let mut classes = prediction["classes"].as_array().unwrap().iter();
    let class = classes.find(|class| class["label"] == label).unwrap();
    class["probability"].as_f64().unwrap()
}

/// Returns the elements of a JSON array of numbers.
pub fn floats(array: &Value) -> Vec<f64> {
    array.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

/// Expects this exit code, all `parts` on stderr, nothing on stdout, and no panic. Returns stderr.
pub fn assert_fails(mut command: Command, code: i32, parts: &[&str]) -> String {
    let done = command.assert().code(code).stdout("");
    let message = stderr(&done);
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
    message
}

/// A synthetic example.
#[derive(Clone)]
pub struct Example {
    pub label: String,
    pub text: String,
}

/// Generates texts of 3 to 17 neutral words, with two words of their class at random positions. The
/// classes alternate.
pub fn examples(labels: &[&str], count: usize, seed: u64) -> Vec<Example> {
    let mut random = Pcg64::seed_from_u64(seed);
    let example = |index: usize| {
        let label = labels[index % labels.len()];
        let neutral = random.random_range(3..18);
        let mut words: Vec<String> =
            (0..neutral).map(|_| format!("n{}", random.random_range(0..60))).collect();
        for _ in 0..2 {
            let position = random.random_range(0..=words.len());
            words.insert(position, format!("{label}{}", random.random_range(0..10)));
        }
        Example { label: label.to_owned(), text: words.join(" ") }
    };
    (0..count).map(example).collect()
}

/// Generates texts with random labels.
pub fn noise(count: usize, seed: u64) -> Vec<Example> {
    let mut random = Pcg64::seed_from_u64(seed ^ 0xC0FFEE);
    let mut examples = examples(&["neg", "pos"], count, seed);
    for example in &mut examples {
        example.label = ["neg", "pos"][random.random_range(0..2)].to_owned();
    }
    examples
}

/// Settings of a small language model in both directions.
pub const LANGUAGE_MODEL: &str = "--set model.embedding.size=8 --set model.lstm.units=16 \
    --set pretrain.language_model.batch_size=8 --set pretrain.language_model.sequence_length=16 \
    --set pretrain.language_model.negatives=8 --set pretrain.language_model.learning_rate=0.02 \
    --set pretrain.held_out=20";

/// Returns a directory with texts for a language model, and with others.
pub fn with_texts() -> TestDir {
    TestDir::new().file("texts.txt", chains(400, 1)).file("other.txt", chains(50, 2))
}

/// Returns the perplexity of each direction.
pub fn perplexities(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|each| each.as_f64().unwrap()).collect()
}

/// Returns texts, one per line, in which each word determines the next one up to two choices.
pub fn chains(count: usize, seed: u64) -> String {
    let mut random = Pcg64::seed_from_u64(seed);
    let mut text = || {
        let mut word = random.random_range(0..20_u32);
        let words = (0..random.random_range(3..20)).map(|_| {
            word = (2 * word + random.random_range(0..2_u32)) % 20;
            format!("w{word}")
        });
        words.collect::<Vec<_>>().join(" ")
    };
    (0..count).map(|_| text() + "\n").collect()
}

/// Returns the examples as a CSV file with the columns `text` and `label`.
pub fn csv(examples: &[Example]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["text", "label"]).unwrap();
    for example in examples {
        writer.write_record([&example.text, &example.label]).unwrap();
    }
    writer.into_inner().unwrap()
}

/// Returns the texts, one per line.
pub fn lines(examples: &[Example]) -> String {
    examples.iter().map(|example| format!("{}\n", example.text)).collect()
}

/// Runs a script of this directory with the checkout's Python, and parses the JSON that it prints.
pub fn python(script: &str, arguments: &[&str]) -> Value {
    stdout_json(&run_python(&checkout().join("tests/cli").join(script), arguments))
}

/// Runs a script with the checkout's Python and expects success.
pub fn run_python(script: &Path, arguments: &[&str]) -> Assert {
    let python = checkout().join(".venv/bin/python");
    assert!(python.exists(), "the Python tools are missing; run `make setup`");
    let mut command = Command::new(python);
    command.arg("-I").arg(script).args(arguments).envs(ENVIRONMENT).timeout(DEADLINE);
    command.assert().success()
}

pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Waits for the process to end. Returns the exit code and the rest of stderr.
pub fn wait(mut process: Child) -> (Option<i32>, String) {
    let started = Instant::now();
    let status = loop {
        match process.try_wait().unwrap() {
            Some(status) => break status,
            None if started.elapsed() < DEADLINE => thread::sleep(Duration::from_millis(5)),
            None => {
                let _ = process.kill();
                panic!("the process did not end");
            }
        }
    };
    let mut rest = String::new();
    if let Some(mut stderr) = process.stderr.take() {
        stderr.read_to_string(&mut rest).unwrap();
    }
    (status.code(), rest)
}

/// Runs a command with a limit on a resource, and expects it to fail. Returns stderr.
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

//! Runs the program on the device.

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::device;

const CONFIG: &str = "\
data: {train: train.csv}
text: {min_count: 1}
deterministic: true
model: {embedding: {size: 32}, lstm: {units: 32, bidirectional: true}, pooling: max}
train: {epochs: 4, batch_size: 32, schedule: {name: constant}, early_stopping: {patience: null}}
";

/// Temporary working directory of the program, with data.
pub struct TestDir(TempDir);

impl TestDir {
    /// Creates a directory with texts of many lengths, whose words mostly determine the label.
    pub fn new() -> Self {
        let dir = Self(TempDir::new().unwrap());
        let rows = (0..600).map(|i: usize| {
            let words = (0..5 + i * 37 % 60).map(|step| match (step + i).is_multiple_of(7) {
                true => ["bad", "good"][i % 2].to_owned(),
                false => format!("w{}", (i * 31 + step * step) % 300),
            });
            format!("{},{}\n", words.collect::<Vec<_>>().join(" "), ["neg", "pos"][i % 2])
        });
        dir.write("train.csv", &format!("text,label\n{}", rows.collect::<String>()));
        dir.write("small.yaml", CONFIG);
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Runs the program in the parent of this test's directory. The tests may have been built on
    /// another machine.
    pub fn run(&self, line: &str, environment: &[(&str, &str)]) -> Output {
        let test_program = std::env::current_exe().unwrap();
        let program = test_program.parent().unwrap().parent().unwrap().join("lstmtext");
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).args(line.split_whitespace());
        command.envs(environment.iter().copied()).output().unwrap()
    }

    /// Runs the program, expects success, and returns stdout and stderr.
    pub fn succeeds(&self, line: &str) -> (String, String) {
        let done = self.run(line, &[("TORCH_CPP_LOG_LEVEL", "WARNING")]);
        let [stdout, stderr] =
            [done.stdout, done.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(done.status.success(), "{line}: {stdout}{stderr}");
        (stdout, stderr)
    }

    /// Runs the program, expects exit code 1, and returns stderr.
    fn fails(&self, line: &str, environment: &[(&str, &str)]) -> String {
        let done = self.run(line, environment);
        assert_eq!(done.status.code(), Some(1), "{line}");
        String::from_utf8(done.stderr).unwrap()
    }
}

fn on_cuda() -> bool {
    device() != tch::Device::Cpu
}

/// Options that make a new run use the device under test.
fn device_options() -> &'static str {
    if on_cuda() { "--device cuda" } else { "--device cpu --set backend=libtorch" }
}

#[test]
#[ignore = "needs a CUDA device"]
fn auto_uses_the_device_without_warnings() {
    if !on_cuda() {
        return;
    }
    let dir = TestDir::new();
    assert!(dir.succeeds("devices").0.contains("cuda:0 "));
    for precision in ["fp32", "tf32", "bf16", "fp16"] {
        let line = format!("train small.yaml --out {precision} --set precision={precision}");
        let (_, stderr) = dir.succeeds(&line);
        assert!(stderr.contains("on:   CUDA device 0"), "{stderr}");
        // cuDNN warns if the weights are not in one buffer.
        assert!(!stderr.contains("contiguous"), "{stderr}");
        assert!(!stderr.contains("Warning") && !stderr.contains("[W"), "{stderr}");
    }
    let hidden = dir.run("train small.yaml --out cpu", &[("CUDA_VISIBLE_DEVICES", "")]);
    assert!(String::from_utf8(hidden.stderr).unwrap().contains("on:   CPU"));
    let error = dir.fails("train small.yaml --device cuda", &[("CUDA_VISIBLE_DEVICES", "")]);
    assert!(error.contains("CUDA_VISIBLE_DEVICES is \"\""), "{error}");
    let error = dir.fails("train small.yaml --device cuda:99", &[]);
    assert!(error.contains("--device cuda:99: the driver finds only cuda:0"), "{error}");
}

#[test]
#[ignore = "needs a CUDA device"]
fn predictions_agree_with_the_cpu() {
    if !on_cuda() {
        return;
    }
    let dir = TestDir::new();
    dir.succeeds("train small.yaml --out run --device cuda --set precision=fp32");
    let probabilities = |device: &str| -> Vec<f64> {
        let line = format!("predict run good bad w1 --json --device {device}");
        let stdout = dir.succeeds(&line).0;
        let value: Vec<serde_json::Value> =
            serde_json::Deserializer::from_str(&stdout).into_iter().map(Result::unwrap).collect();
        let mut probabilities = Vec::new();
        collect(&serde_json::Value::from(value), &mut probabilities);
        assert!(probabilities.len() >= 3, "{stdout}");
        probabilities
    };
    for (cpu, cuda) in probabilities("cpu").into_iter().zip(probabilities("cuda")) {
        assert!((cpu - cuda).abs() < 1e-4, "{cpu} {cuda}");
    }
}

/// Collects all numbers up to 1, which are the probabilities.
fn collect(value: &serde_json::Value, probabilities: &mut Vec<f64>) {
    match value {
        serde_json::Value::Number(number) => {
            probabilities.extend(number.as_f64().filter(|x| *x <= 1.0))
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| collect(item, probabilities))
        }
        serde_json::Value::Object(fields) => {
            fields.values().for_each(|value| collect(value, probabilities));
        }
        _ => {}
    }
}

#[test]
#[ignore = "needs a CUDA device"]
fn resumed_deterministic_runs_have_identical_bits() {
    let dir = TestDir::new();
    for optimizer in ["adam", "rmsprop", "adadelta", "sgd"] {
        for precision in ["tf32", "fp16"] {
            let [whole, resumed] =
                ["whole", "resumed"].map(|run| format!("{run}-{optimizer}-{precision}"));
            let set = format!(
                "--set train.optimizer={optimizer} --set precision={precision} {}",
                device_options()
            );
            dir.succeeds(&format!("train small.yaml --out {whole} {set}"));
            dir.succeeds(&format!("train small.yaml --out {resumed} {set} --set train.epochs=2"));
            dir.succeeds(&format!("train --resume {resumed} --set train.epochs=4"));
            for name in ["model.safetensors", "optimizer.safetensors"] {
                let bytes = |run: &str| dir.bytes(&format!("{run}/last/{name}"));
                assert!(bytes(&whole) == bytes(&resumed), "{optimizer} {precision} {name}");
            }
            let metrics = |run: &str| dir.read(&format!("{run}/metrics.jsonl"));
            assert_eq!(metrics(&whole), metrics(&resumed));
        }
    }
}

/// A resumed run differs from uninterrupted runs no more than these differ from each other.
#[test]
#[ignore = "needs a CUDA device"]
fn resumed_runs_are_as_good_as_uninterrupted_runs() {
    let dir = TestDir::new();
    let loss = |run: &str| -> f64 {
        let line = dir.read(&format!("{run}/metrics.jsonl"));
        let record: serde_json::Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
        record["validation"]["loss"].as_f64().unwrap()
    };
    let set = format!("--set deterministic=false {}", device_options());
    let uninterrupted: Vec<f64> = (0..5)
        .map(|run| {
            dir.succeeds(&format!("train small.yaml --out run{run} {set}"));
            loss(&format!("run{run}"))
        })
        .collect();
    dir.succeeds(&format!("train small.yaml --out resumed {set} --set train.epochs=2"));
    dir.succeeds("train --resume resumed --set train.epochs=4");
    let lowest = uninterrupted.iter().copied().fold(f64::MAX, f64::min);
    let highest = uninterrupted.iter().copied().fold(0.0, f64::max);
    let tolerance = 3.0 * (highest - lowest).max(1e-6);
    let resumed = loss("resumed");
    println!("loss of uninterrupted runs: {lowest} to {highest}, of the resumed run: {resumed}");
    let expected = lowest - tolerance..=highest + tolerance;
    assert!(expected.contains(&resumed), "{uninterrupted:?}");
}

#[test]
#[ignore = "needs a CUDA device"]
fn running_out_of_memory_keeps_the_last_checkpoint() {
    if !on_cuda() {
        return;
    }
    let dir = TestDir::new();
    let rows =
        (0..60).map(|i| format!("{} w{i},{}\n", "word ".repeat(19_990), ["neg", "pos"][i % 2]));
    dir.write("train.csv", &format!("text,label\n{}", rows.collect::<String>()));
    let large = "text: {min_count: 1, max_length: 20000}\nmodel: {embedding: {size: 16384}, lstm: {units: 8}}\n\
                 train: {epochs: 1, batch_size: 1, validation_batch_size: 1}\n";
    dir.write("large.yaml", &format!("data: {{train: train.csv}}\n{large}"));
    dir.succeeds("train large.yaml --out run --device cuda");
    let before = dir.bytes("run/last/model.safetensors");
    let line = "train --resume run --device cuda --set train.epochs=2 --set train.batch_size=60";
    let error = dir.fails(line, &[]);
    println!("{error}");
    assert!(
        error.contains("out of memory on the device in a training batch of 54 examples"),
        "{error}"
    );
    assert!(error.contains("GiB is needed") && error.contains("is intact"), "{error}");
    assert!(dir.bytes("run/last/model.safetensors") == before);
    let line =
        "train --resume run --device cuda --set train.epochs=2 --set train.token_budget=auto";
    let (_, stderr) = dir.succeeds(line);
    println!("{stderr}");
    assert!(stderr.contains("train.token_budget: auto is "), "{stderr}");
    assert!(!dir.read("run/config.yaml").contains("token_budget: auto"));
}

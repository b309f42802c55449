//! The program on the device.

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

/// A folder with data in which the program runs.
struct Place(TempDir);

impl Place {
    /// Texts of many lengths whose words tell the label mostly.
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        let rows = (0..600).map(|i: usize| {
            let words = (0..5 + i * 37 % 60).map(|step| match (step + i).is_multiple_of(7) {
                true => ["bad", "good"][i % 2].to_owned(),
                false => format!("w{}", (i * 31 + step * step) % 300),
            });
            format!("{},{}\n", words.collect::<Vec<_>>().join(" "), ["neg", "pos"][i % 2])
        });
        place.write("train.csv", &format!("text,label\n{}", rows.collect::<String>()));
        place.write("small.yaml", CONFIG);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The program that lies beside the folder of this one: the tests may have been built elsewhere.
    fn run(&self, line: &str, settings: &[(&str, &str)]) -> Output {
        let own = std::env::current_exe().unwrap();
        let program = own.parent().unwrap().parent().unwrap().join("lstmtext");
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).args(line.split_whitespace());
        command.envs(settings.iter().copied()).output().unwrap()
    }

    /// What it prints, and what it says beside that, where it ends well.
    fn succeeds(&self, line: &str) -> (String, String) {
        let done = self.run(line, &[("TORCH_CPP_LOG_LEVEL", "WARNING")]);
        let texts = [done.stdout, done.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(done.status.success(), "{line}: {}{}", texts[0], texts[1]);
        let [printed, said] = texts;
        (printed, said)
    }

    fn fails(&self, line: &str, settings: &[(&str, &str)]) -> String {
        let done = self.run(line, settings);
        assert_eq!(done.status.code(), Some(1), "{line}");
        String::from_utf8(done.stderr).unwrap()
    }
}

fn on_cuda() -> bool {
    device() != tch::Device::Cpu
}

/// What makes a new run use the device.
fn there() -> &'static str {
    if on_cuda() { "--device cuda" } else { "--device cpu --set backend=libtorch" }
}

#[test]
#[ignore = "needs a CUDA device"]
fn auto_takes_the_device_and_cudnn_takes_the_weights_as_they_lie() {
    if !on_cuda() {
        return;
    }
    let place = Place::new();
    assert!(place.succeeds("devices").0.contains("cuda:0 "));
    for precision in ["fp32", "tf32", "bf16", "fp16"] {
        let line = format!("train small.yaml --out {precision} --set precision={precision}");
        let (_, said) = place.succeeds(&line);
        assert!(said.contains("on:   CUDA device 0"), "{said}");
        assert!(!said.contains("contiguous"), "{said}");
        assert!(!said.contains("Warning") && !said.contains("[W"), "{said}");
    }
    let hidden = place.run("train small.yaml --out cpu", &[("CUDA_VISIBLE_DEVICES", "")]);
    assert!(String::from_utf8(hidden.stderr).unwrap().contains("on:   CPU"));
    let error = place.fails("train small.yaml --device cuda", &[("CUDA_VISIBLE_DEVICES", "")]);
    assert!(error.contains("CUDA_VISIBLE_DEVICES is \"\""), "{error}");
    let error = place.fails("train small.yaml --device cuda:99", &[]);
    assert!(error.contains("--device cuda:99: the driver shows "), "{error}");
}

#[test]
#[ignore = "needs a CUDA device"]
fn a_checkpoint_says_the_same_on_both() {
    if !on_cuda() {
        return;
    }
    let place = Place::new();
    place.succeeds("train small.yaml --out run --device cuda --set precision=fp32");
    let probabilities = |device: &str| -> Vec<f64> {
        let line = format!("predict run good bad w1 --json --device {device}");
        let printed = place.succeeds(&line).0;
        let value: Vec<serde_json::Value> =
            serde_json::Deserializer::from_str(&printed).into_iter().map(Result::unwrap).collect();
        let mut numbers = Vec::new();
        collect(&serde_json::Value::from(value), &mut numbers);
        assert!(numbers.len() >= 3, "{printed}");
        numbers
    };
    for (here, there) in probabilities("cpu").into_iter().zip(probabilities("cuda")) {
        assert!((here - there).abs() < 1e-4, "{here} {there}");
    }
}

/// All numbers that are probabilities.
fn collect(value: &serde_json::Value, numbers: &mut Vec<f64>) {
    match value {
        serde_json::Value::Number(number) => numbers.extend(number.as_f64().filter(|x| *x <= 1.0)),
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, numbers)),
        serde_json::Value::Object(fields) => {
            fields.values().for_each(|value| collect(value, numbers));
        }
        _ => {}
    }
}

#[test]
#[ignore = "needs a CUDA device"]
fn a_deterministic_run_that_was_resumed_ends_with_the_same_bits() {
    let place = Place::new();
    for optimizer in ["adam", "rmsprop", "adadelta", "sgd"] {
        for precision in ["tf32", "fp16"] {
            let [whole, stopped] =
                ["whole", "stopped"].map(|run| format!("{run}-{optimizer}-{precision}"));
            let set = format!(
                "--set train.optimizer={optimizer} --set precision={precision} {}",
                there()
            );
            place.succeeds(&format!("train small.yaml --out {whole} {set}"));
            place.succeeds(&format!("train small.yaml --out {stopped} {set} --set train.epochs=2"));
            place.succeeds(&format!("train --resume {stopped} --set train.epochs=4"));
            for name in ["model.safetensors", "optimizer.safetensors"] {
                let bytes = |run: &str| place.bytes(&format!("{run}/last/{name}"));
                assert!(bytes(&whole) == bytes(&stopped), "{optimizer} {precision} {name}");
            }
            let metrics = |run: &str| place.read(&format!("{run}/metrics.jsonl"));
            assert_eq!(metrics(&whole), metrics(&stopped));
        }
    }
}

/// Not bit by bit, then, but as near as two fresh runs are to each other.
#[test]
#[ignore = "needs a CUDA device"]
fn a_run_that_was_resumed_is_like_a_fresh_one() {
    let place = Place::new();
    let loss = |run: &str| -> f64 {
        let line = place.read(&format!("{run}/metrics.jsonl"));
        let record: serde_json::Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
        record["validation"]["loss"].as_f64().unwrap()
    };
    let set = format!("--set deterministic=false {}", there());
    let fresh: Vec<f64> = (0..5)
        .map(|run| {
            place.succeeds(&format!("train small.yaml --out fresh{run} {set}"));
            loss(&format!("fresh{run}"))
        })
        .collect();
    place.succeeds(&format!("train small.yaml --out resumed {set} --set train.epochs=2"));
    place.succeeds("train --resume resumed --set train.epochs=4");
    let (least, most) =
        (fresh.iter().copied().fold(f64::MAX, f64::min), fresh.iter().copied().fold(0.0, f64::max));
    let noise = (most - least).max(1e-6);
    println!("fresh runs: {least} to {most}, resumed: {}", loss("resumed"));
    assert!((least - 3.0 * noise..=most + 3.0 * noise).contains(&loss("resumed")), "{fresh:?}");
}

#[test]
#[ignore = "needs a CUDA device"]
fn a_batch_that_is_too_large_leaves_the_last_checkpoint() {
    if !on_cuda() {
        return;
    }
    let place = Place::new();
    let rows =
        (0..60).map(|i| format!("{} w{i},{}\n", "word ".repeat(19_990), ["neg", "pos"][i % 2]));
    place.write("train.csv", &format!("text,label\n{}", rows.collect::<String>()));
    let large = "text: {min_count: 1, max_length: 20000}\nmodel: {embedding: {size: 16384}, lstm: {units: 8}}\n\
                 train: {epochs: 1, batch_size: 1, validation_batch_size: 1}\n";
    place.write("large.yaml", &format!("data: {{train: train.csv}}\n{large}"));
    place.succeeds("train large.yaml --out run --device cuda");
    let before = place.bytes("run/last/model.safetensors");
    let line = "train --resume run --device cuda --set train.epochs=2 --set train.batch_size=60";
    let error = place.fails(line, &[]);
    println!("{error}");
    assert!(
        error.contains("the device has not enough memory for a training batch of 54 examples"),
        "{error}"
    );
    assert!(error.contains("GiB are needed") && error.contains("is intact"), "{error}");
    assert!(place.bytes("run/last/model.safetensors") == before);
    let line =
        "train --resume run --device cuda --set train.epochs=2 --set train.token_budget=auto";
    let (_, said) = place.succeeds(line);
    println!("{said}");
    assert!(said.contains("train.token_budget: auto is "), "{said}");
    assert!(!place.read("run/config.yaml").contains("token_budget: auto"));
}

//! Training with `backend: libtorch`, and how `lstmtext` hands over to this program.

use std::path::{Path, PathBuf};

use predicates::str::contains;

use crate::common::{BINARY, ENVIRONMENT, TestDir, assert_fails, fails_with_limit, stdout};

/// `lstmtext`, which a build of the workspace puts beside this program.
fn lstmtext() -> PathBuf {
    let program = Path::new(BINARY).with_file_name("lstmtext");
    assert!(program.exists(), "{} is missing: run cargo build", program.display());
    program
}

fn links_libtorch(program: &Path) -> bool {
    let bytes = std::fs::read(program).unwrap();
    // As the name of a dynamic library stands in the file.
    let name = b"\0libtorch_cpu.so\0";
    bytes.windows(name.len()).any(|window| window == name)
}

#[test]
fn lstmtext_does_without_libtorch_until_it_is_needed() {
    assert!(!links_libtorch(&lstmtext()));
    assert!(links_libtorch(Path::new(BINARY)));
    let dir = TestDir::with_data();
    let run = |line: &str| {
        let mut command = assert_cmd::Command::new(lstmtext());
        command.current_dir(dir.path("")).envs(ENVIRONMENT).args(line.split_whitespace());
        command.assert().success()
    };
    run("train small.yaml --out native --set train.epochs=1").stderr(contains("on:   CPU, "));
    let train = "train small.yaml --out libtorch --set train.epochs=1 --set backend=libtorch";
    run(train).stderr(contains("on:   CPU, libtorch, 1 thread"));
    run("predict libtorch pos1").stdout(contains("pos"));
    run("devices").stdout(contains("libtorch 2.11.0"));
}

#[test]
fn devices_begins_with_libtorch() {
    let dir = TestDir::new();
    let done = dir.lstmtext("devices").assert().success();
    let printed = stdout(&done);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "libtorch 2.11.0");
    let instructions = ["AVX-512", "AVX2 with FMA", "NEON", "portable"];
    let known = instructions.map(|name| format!("cpu: 1 thread, {name}"));
    assert!(known.iter().any(|line| line == lines[1]), "{printed}");
    assert!(lines[2].starts_with("cuda: "), "{printed}");
}

#[test]
fn both_backends_start_from_the_same_weights() {
    let dir = TestDir::with_data();
    let weights = |backend: &str| {
        // A step so small that no weight of single precision changes.
        let line = "--set train.epochs=1 --set train.learning_rate=1e-30 --set train.optimizer=sgd";
        dir.train(&format!("small.yaml --out {backend} --set backend={backend} {line}"));
        dir.best_weights(backend)
    };
    assert!(weights("native") == weights("libtorch"));
}

/// Both need the weights, and histograms the gradients, of the backend.
#[test]
fn both_backends_log_histograms_and_word_vectors() {
    let dir = TestDir::with_data();
    let summaries = "--set train.tensorboard.histograms=10 --set train.tensorboard.projector=20";
    for backend in ["native", "libtorch"] {
        dir.train(&format!(
            "small.yaml --out {backend} --set backend={backend} --set train.epochs=1 {summaries}"
        ));
        let [file] = &dir.names(&format!("{backend}/train"))[..] else { panic!("one event file") };
        let events = dir.bytes(&format!("{backend}/train/{file}"));
        for kind in ["weights", "gradients"] {
            for name in ["embedding.weight", "lstm.weight_hh_l0", "head.bias"] {
                let tag = format!("{kind}/{name}");
                let has_tag = events.windows(tag.len()).any(|bytes| bytes == tag.as_bytes());
                assert!(has_tag, "{backend}: {tag}");
            }
        }
        let vectors = dir.names(&format!("{backend}/plugins/org_tensorflow_tensorboard_projector"));
        assert_eq!(vectors.len(), 3, "{vectors:?}");
    }
}

#[test]
fn a_token_budget_is_measured_on_cuda_devices_only() {
    let dir = TestDir::with_data();
    let line = "train small.yaml --out run --set train.token_budget=auto --set backend=libtorch";
    let expected = ["train.token_budget: auto", "name a number of tokens"];
    assert_fails(dir.lstmtext(line), 2, &expected);
    assert!(!dir.path("run").exists(), "a run that cannot start leaves nothing behind");
}

#[test]
fn divergence_ends_a_run() {
    let dir = TestDir::with_data();
    let line = "train small.yaml --out run --set train.optimizer=sgd --set backend=libtorch \
                --set train.learning_rate=1e38 --set train.gradient_clip=null \
                --set train.schedule.name=constant";
    assert_fails(dir.lstmtext(line), 1, &["training diverged"]);
    assert!(dir.read("run/error.txt").starts_with("training diverged at step "));
}

/// 16-bit precision works on the CPU, too, though it is not faster there.
#[test]
fn sixteen_bits_learn_as_well_on_libtorch() {
    let dir = TestDir::with_data();
    let scores = ["fp32", "bf16", "fp16"].map(|precision| {
        let set = ["backend=libtorch".to_owned(), format!("precision={precision}")];
        let set: String = set.iter().map(|field| format!(" --set {field}")).collect();
        dir.train(&format!("small.yaml --out {precision}{set}"));
        dir.test_accuracy(precision)
    });
    assert!(scores.iter().all(|accuracy| *accuracy > 0.9), "{scores:?}");
    let metrics = |run: &str| dir.read(&format!("{run}/metrics.jsonl"));
    assert!(metrics("fp32") != metrics("bf16") && metrics("bf16") != metrics("fp16"));
}

#[test]
fn a_batch_without_enough_memory_leaves_the_last_checkpoint() {
    let long = (0..60).map(|i| format!("{} w{i}", "word ".repeat(390)));
    let rows: String = long
        .zip(["neg", "pos"].into_iter().cycle())
        .map(|(text, label)| format!("{text},{label}\n"))
        .collect();
    let dir = TestDir::new().file("train.csv", format!("text,label\n{rows}")).file(
        "wide.yaml",
        "data: {train: train.csv}\nbackend: libtorch\ntext: {min_count: 1}\n\
         model: {embedding: {size: 4096}, lstm: {units: 2}}\n\
         train: {epochs: 1, batch_size: 1, validation_batch_size: 1}\n",
    );
    dir.train("wide.yaml --out run");
    let before = dir.bytes("run/last/model.safetensors");
    let line = "train --resume run --set train.epochs=2 --set train.batch_size=60";
    let message = fails_with_limit(dir.process(line), libc::RLIMIT_AS, 2 << 30);
    let named = "not enough memory for a training batch of 54 examples, the longest of 391 tokens: \
                  1.95 GiB at once were refused; lower train.batch_size";
    assert!(message.contains(named), "{message}");
    assert!(message.contains("train --resume"), "{message}");
    assert!(message.contains("is intact"), "{message}");
    assert_eq!(message.lines().filter(|line| line.starts_with("error")).count(), 1, "{message}");
    assert!(!message.contains("panicked"), "{message}");
    assert!(dir.read("run/error.txt").contains("not enough memory"));
    assert!(dir.bytes("run/last/model.safetensors") == before);
    dir.train("--resume run --set train.epochs=2");
    assert_eq!(dir.metrics("run").len(), 2);
}

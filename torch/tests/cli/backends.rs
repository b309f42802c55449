//! Training with `backend: libtorch`, and the launch of `lstmtext-torch` by `lstmtext`.

use std::path::Path;

use lstmtext::model::named_tensors;
use predicates::str::contains;

use crate::common::{BINARY, TestDir, assert_fails, fails_with_limit, stdout};
use crate::{lstmtext, lstmtext_path};

fn links_libtorch(program: &Path) -> bool {
    let bytes = std::fs::read(program).unwrap();
    // The name of a dynamic library in the binary ends with a null byte.
    let name = b"\0libtorch_cpu.so\0";
    bytes.windows(name.len()).any(|window| window == name)
}

#[test]
fn lstmtext_launches_lstmtext_torch_only_for_libtorch() {
    assert!(!links_libtorch(&lstmtext_path()));
    assert!(links_libtorch(Path::new(BINARY)));
    let dir = TestDir::with_data();
    let run = |line: &str| lstmtext(&dir, line).assert().success();
    run("train small.yaml --out native --set train.epochs=1").stderr(contains("on:   CPU, "));
    let train = "train small.yaml --out libtorch --set train.epochs=1 --set backend=libtorch";
    run(train).stderr(contains("on:   CPU, libtorch, 1 thread"));
    run("predict libtorch pos1").stdout(contains("pos"));
    run("devices").stdout(contains("libtorch 2.11.0"));
}

#[test]
fn devices_starts_with_the_version_of_libtorch() {
    let dir = TestDir::new();
    let done = dir.lstmtext("devices").assert().success();
    let output = stdout(&done);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "libtorch 2.11.0");
    let instructions = ["AVX-512", "AVX2 with FMA", "NEON", "portable"];
    let expected = instructions.map(|name| format!("cpu: 1 thread, {name}"));
    assert!(expected.iter().any(|line| line == lines[1]), "{output}");
    assert!(lines[2].starts_with("cuda: "), "{output}");
}

#[test]
fn both_backends_start_from_the_same_weights() {
    let dir = TestDir::with_data();
    let weights = |backend: &str| {
        // Steps so small that no weight changes, unless it is 0.
        let line = "--set train.epochs=1 --set train.learning_rate=1e-30 --set train.optimizer=sgd";
        dir.train(&format!("small.yaml --out {backend} --set backend={backend} {line}"));
        let path = dir.path(&format!("{backend}/best/model.safetensors"));
        let mut tensors = named_tensors::read(&path).unwrap();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        for value in tensors.iter_mut().flat_map(|tensor| &mut tensor.values) {
            if value.abs() < 1e-20 {
                *value = 0.0;
            }
        }
        tensors
    };
    assert_eq!(weights("native"), weights("libtorch"));
}

#[test]
fn both_backends_log_histograms_and_word_vectors() {
    let dir = TestDir::with_data();
    let summaries = "--set train.tensorboard.histograms=10 --set train.tensorboard.projector=20";
    for backend in ["native", "libtorch"] {
        dir.train(&format!(
            "small.yaml --out {backend} --set backend={backend} --set train.epochs=1 {summaries}"
        ));
        let files = dir.names(&format!("{backend}/train"));
        let [file] = &files[..] else { panic!("expected one event file: {files:?}") };
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
fn an_automatic_token_budget_needs_a_cuda_device() {
    let dir = TestDir::with_data();
    let line = "train small.yaml --out run --set train.token_budget=auto --set backend=libtorch";
    let expected = ["train.token_budget: auto", "set a number of tokens"];
    assert_fails(dir.lstmtext(line), 2, &expected);
    assert!(!dir.path("run").exists(), "a run that cannot start must not create a directory");
}

#[test]
fn divergence_stops_training() {
    let dir = TestDir::with_data();
    let line = "train small.yaml --out run --set train.optimizer=sgd --set backend=libtorch \
                --set train.learning_rate=1e38 --set train.gradient_clip=null \
                --set train.schedule.name=constant";
    assert_fails(dir.lstmtext(line), 1, &["training diverged"]);
    assert!(dir.read("run/error.txt").starts_with("training diverged at step "));
}

/// The CPU supports half precision, although it is not faster there.
#[test]
fn half_precision_learns_as_well_as_fp32() {
    let dir = TestDir::with_data();
    let accuracies = ["fp32", "bf16", "fp16"].map(|precision| {
        let set = format!("--set backend=libtorch --set precision={precision}");
        dir.train(&format!("small.yaml --out {precision} {set}"));
        dir.test_accuracy(precision)
    });
    assert!(accuracies.iter().all(|accuracy| *accuracy > 0.9), "{accuracies:?}");
    let metrics = |run: &str| dir.read(&format!("{run}/metrics.jsonl"));
    assert!(metrics("fp32") != metrics("bf16") && metrics("bf16") != metrics("fp16"));
}

#[test]
fn running_out_of_memory_keeps_the_last_checkpoint() {
    let texts = (0..60).map(|i| format!("{} w{i}", "word ".repeat(390)));
    let rows: String = texts
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
    let expected = "out of memory on this machine in a training batch of 54 examples with up to 391 \
                    tokens: cannot allocate 1.95 GiB; lower train.batch_size";
    assert!(message.contains(expected), "{message}");
    assert!(message.contains("train --resume"), "{message}");
    assert!(message.contains("is intact"), "{message}");
    assert_eq!(message.lines().filter(|line| line.starts_with("error")).count(), 1, "{message}");
    assert!(!message.contains("panicked"), "{message}");
    assert!(dir.read("run/error.txt").contains("out of memory"));
    assert!(dir.bytes("run/last/model.safetensors") == before);
    dir.train("--resume run --set train.epochs=2");
    assert_eq!(dir.metrics("run").len(), 2);
}

//! `lstmtext pretrain` in several processes.

use lstmtext::model::named_tensors;

use crate::common::TestDir;
use crate::launcher::Launch;
use crate::training::{run_alone, run_together};

const MODEL: &str = "--set backend=native --set train.shards=3 --set model.embedding.size=8 \
    --set model.lstm.units=8 --set text.min_count=1 --set pretrain.held_out=20 \
    --set pretrain.language_model.batch_size=8 --set pretrain.language_model.sequence_length=8 \
    --set pretrain.language_model.negatives=8 --set pretrain.language_model.epochs=2 \
    --set pretrain.language_model.weight_dropout=0.1";

fn directory() -> TestDir {
    let text = |index: u32| {
        let words = (0..5 + index % 9).map(|word| format!("w{}", (index * 7 + word * 3) % 23));
        words.collect::<Vec<_>>().join(" ") + "\n"
    };
    TestDir::new().file("texts.txt", (0..200).map(text).collect::<String>())
}

fn assert_same_run(dir: &TestDir, a: &str, b: &str) {
    for file in ["last/model.safetensors", "last/optimizer.safetensors", "best/model.safetensors"] {
        assert!(dir.bytes(&format!("{a}/{file}")) == dir.bytes(&format!("{b}/{file}")), "{file}");
    }
    assert_eq!(dir.read(&format!("{a}/metrics.jsonl")), dir.read(&format!("{b}/metrics.jsonl")));
}

#[test]
fn the_number_of_processes_changes_no_bit_of_a_language_model() {
    let dir = directory();
    run_alone(&dir, 2, &format!("pretrain texts.txt --out alone {MODEL}"));
    for size in [2, 3] {
        let out = format!("processes-{size}");
        let line = format!("pretrain texts.txt --out {out} {MODEL}");
        let printed = run_together(&dir, size, &line).stderr;
        assert!(printed.contains(&format!("{size} processes on 1 host, Gloo")), "{printed}");
        assert_same_run(&dir, "alone", &out);
    }
    let more = "--set pretrain.language_model.epochs=3";
    run_alone(&dir, 1, &format!("pretrain --resume alone {more}"));
    run_together(&dir, 2, &format!("pretrain --resume processes-3 {more}"));
    assert_same_run(&dir, "alone", "processes-3");
    run_alone(&dir, 1, "perplexity processes-3 --file texts.txt");
}

/// Processes add gradients in another order than a single one, so weights agree only nearly.
#[test]
fn libtorch_trains_a_language_model_in_several_processes() {
    let dir = directory();
    let model = format!("{MODEL} --set backend=libtorch --set pretrain.language_model.dropout=0.1");
    run_alone(&dir, 1, &format!("pretrain texts.txt --out alone {model}"));
    run_together(&dir, 3, &format!("pretrain texts.txt --out processes {model}"));
    let files = ["last/model.safetensors", "last/optimizer.safetensors"];
    let tensors = |run: &str, file: &str| {
        let mut tensors = named_tensors::read(&dir.path(&format!("{run}/{file}"))).unwrap();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    };
    let assert_near = || {
        for file in files {
            for (one, other) in tensors("alone", file).iter().zip(tensors("processes", file)) {
                assert_eq!((&one.name, &one.shape), (&other.name, &other.shape));
                for (a, b) in one.values.iter().zip(&other.values) {
                    assert!((a - b).abs() < 1e-3, "{file}: {}: {a} and {b}", one.name);
                }
            }
        }
    };
    assert_near();
    let more = "--set pretrain.language_model.epochs=3";
    run_alone(&dir, 1, &format!("pretrain --resume alone {more}"));
    // The states of all rows are in the checkpoint, however many processes resume it.
    run_together(&dir, 2, &format!("pretrain --resume processes {more}"));
    assert_near();

    let line =
        format!("pretrain texts.txt --out few {model} --set pretrain.language_model.batch_size=1");
    for process in Launch::of(2).start_in(&dir, |_| line.clone()).end() {
        assert_eq!(process.code, Some(1), "{process:#?}");
    }
}

#[test]
fn several_processes_run_the_stages_of_a_run() {
    let dir = directory().data(&["neg", "pos"]);
    let model = MODEL.replace("--set pretrain.held_out=20", "--set pretrain.held_out=5");
    let line = |run: &str| {
        format!(
            "train train.csv --out {run} {model} --set pretrain.stages=[vectors,language_model] \
             --set data.unlabelled=texts.txt --set train.epochs=1 --set model.ngrams=null"
        )
    };
    run_together(&dir, 2, &line("together"));
    assert!(dir.path("together/vectors.npy").exists());
    let summary = dir.json("together/language_model/summary.json");
    assert_eq!(summary["epochs"], 2, "{summary}");
    let resumed = run_together(&dir, 2, "train --resume together --set train.epochs=2").stderr;
    assert!(!resumed.contains("stage"), "{resumed}");

    // The classifier of an interrupted run has not begun.
    for file in ["last", "best", "summary.json", "metrics.jsonl"] {
        let path = dir.path(&format!("together/{file}"));
        let _ = std::fs::remove_dir_all(&path);
        let _ = std::fs::remove_file(&path);
    }
    let resumed = run_together(&dir, 2, "train --resume together").stderr;
    for stage in ["vectors", "language_model"] {
        assert!(resumed.contains(&format!("stage {stage}: ")), "{resumed}");
    }
    assert_eq!(resumed.matches("is done").count(), 2, "{resumed}");
}

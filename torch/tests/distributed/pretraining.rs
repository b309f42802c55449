//! `lstmtext pretrain` in several processes.

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

#[test]
fn libtorch_trains_a_language_model_in_one_process() {
    let dir = directory();
    let line = format!("pretrain texts.txt --out run {MODEL} --set backend=libtorch");
    for process in Launch::of(2).start_in(&dir, |_| line.clone()).end() {
        assert_eq!(process.code, Some(2), "{process:#?}");
    }
}

//! `train.language_model_weight`: a joint language model.

use lstmtext::events;

use crate::common::{
    LANGUAGE_MODEL, TestDir, assert_fails, chains, stderr, stdout_json, with_texts,
};

/// Options of a run with a language model. Its 17 steps per epoch and the batches of the texts end in different steps.
const JOINT: &str = "--set train.language_model_weight=0.5 --set pretrain.language_model.batch_size=4 \
                     --set pretrain.language_model.sequence_length=6 --set train.schedule.name=constant \
                     --set pretrain.language_model.dropout=0.1 --set data.unlabelled=texts.txt";

/// Returns the lines of a directory that has `small.yaml`, its data and `texts.txt`.
fn with_data() -> TestDir {
    let texts = (0..60).map(|i| format!("neg{} pos{} n{}\n", i % 5, i % 7, i % 3));
    TestDir::with_data().file("texts.txt", texts.collect::<String>())
}

#[test]
fn the_language_model_learns_and_its_loss_is_logged() {
    let dir = with_data();
    let done = dir.train(&format!("small.yaml --out run {JOINT} --set train.log_every=1"));
    let shown = stderr(&done);
    let losses: Vec<f64> = dir
        .metrics("run")
        .iter()
        .map(|record| record["added"]["language_model_loss"].as_f64().unwrap())
        .collect();
    assert!(losses.last() < losses.first() && losses.iter().all(|loss| *loss > 0.0), "{losses:?}");
    assert!(shown.contains(&format!(", language model loss {:.4}", losses[0])), "{shown}");
    let names = ["language_model_loss"];
    let curves = events::scalars(&dir.path("run"), events::SubRun::Train, names).unwrap();
    assert_eq!(curves[0].len(), 17 * losses.len());
    assert!(dir.test_accuracy("run") > 0.9);
    dir.train("small.yaml --out plain --set train.schedule.name=constant");
    assert!(dir.best_weights("run") != dir.best_weights("plain"));
    for line in
        ["lr-find small.yaml --json --steps 20", "bench small.yaml --json --steps 2 --rounds 1"]
    {
        stdout_json(&dir.lstmtext(&format!("{line} {JOINT}")).assert().success());
    }
}

#[test]
fn a_resumed_run_and_one_with_other_threads_are_bit_identical() {
    let dir = with_data();
    let train =
        |run: &str, rest: &str| dir.train(&format!("small.yaml --out {run} {JOINT} {rest}"));
    train("run", "--set train.epochs=4");
    train("halves", "--set train.epochs=2");
    dir.train("--resume halves --set train.epochs=4");
    dir.assert_same_state("run", "halves");
    train("threads", "--threads 3 --set train.shards=2");
    train("thread", "--threads 1 --set train.shards=2");
    dir.assert_same_state("threads", "thread");
    let bf16 = |run: &str, epochs: usize| {
        train(run, &format!("--set precision=bf16 --set train.epochs={epochs}"));
    };
    bf16("bf16", 3);
    bf16("bf16-halves", 1);
    dir.train("--resume bf16-halves --set train.epochs=3");
    dir.assert_same_state("bf16", "bf16-halves");
    let other =
        "train --resume halves --set pretrain.language_model.batch_size=3 --set train.epochs=5";
    let parts = ["pretrain.language_model.batch_size: expected 4", "start a new run"];
    assert_fails(dir.lstmtext(other), 2, &parts);
    // A run can get a language model, and lose it.
    train("other", "--set train.epochs=2 --set train.language_model_weight=0");
    dir.train("--resume other --set train.epochs=3 --set train.language_model_weight=0.5");
    let done = dir.train("--resume other --set train.epochs=4 --set train.language_model_weight=0");
    assert!(!stderr(&done).contains("texts have changed"));
    assert!(dir.metrics("other")[3].get("added").is_none());
}

/// The layers above the LSTMs come from the language model, too: its first loss is low.
#[test]
fn it_starts_from_a_language_model() {
    let texts = chains(80, 3);
    let rows = texts.lines().enumerate().map(|(i, text)| format!("{text},{}\n", ["a", "b"][i % 2]));
    let csv = format!("text,label\n{}", rows.collect::<String>());
    let dir = with_texts().file("labels.csv", csv);
    dir.lstmtext(&format!("pretrain texts.txt --out lm {LANGUAGE_MODEL}")).assert().success();
    let yaml = "data: {train: labels.csv, unlabelled: texts.txt}\ntext: {min_count: 1}\n\
                train: {epochs: 1, batch_size: 60, learning_rate: 1.0e-9, language_model_weight: 1}\n";
    let dir = dir.file("joint.yaml", yaml);
    let loss = |run: &str, rest: &str, source: &str| {
        let done = dir.train(&format!("joint.yaml --out {run} {LANGUAGE_MODEL} {rest}"));
        assert!(stderr(&done).contains(&format!("joint language model: {source}")));
        dir.metrics(run)[0]["added"]["language_model_loss"].as_f64().unwrap()
    };
    let (from, new) = (loss("from", "--from lm", "all layers of "), loss("new", "", "new layers"));
    assert!(from < new - 0.3, "{from} {new}");
}

#[test]
fn what_has_no_language_model_is_refused() {
    let dir = with_data();
    for (fields, part) in [
        ("--set model.lstm=null --set model.ngrams.sizes=[1]", "needs an LSTM"),
        (
            "--set model.embedding.subwords.sizes=[3,4]",
            "cannot be combined with model.embedding.subwords",
        ),
        ("--set data.shard=true", "data.shard divides them"),
        ("--set train.finetune=frozen", "train.finetune: frozen"),
        ("--set precision=fp16", "fp16"),
        ("--set train.language_model_weight=-1", "≥ 0"),
    ] {
        let command = dir.lstmtext(&format!("train small.yaml --out run {JOINT} {fields}"));
        assert_fails(command, 2, &["train.language_model_weight", part]);
        assert!(!dir.path("run").exists());
    }
}

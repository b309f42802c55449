//! `lstmtext train --from`, frozen layers, and rates of single layers.

use std::fs;

use lstmtext::model::NamedTensor;
use lstmtext::model::named_tensors;
use predicates::str::contains;

use crate::common::{SMALL, TestDir, assert_fails, csv, examples, stderr};

/// A directory with a finished run of two labels in `source`, and data with their labels, a new one, and
/// new words in `new.csv`.
fn with_source(fields: &str) -> TestDir {
    let dir = TestDir::with_data();
    dir.train(&format!("small.yaml --out source {fields}"));
    let new = SMALL.replace("train.csv", "new.csv").replace(", test: test.csv", "");
    dir.file("new.csv", csv(&examples(&["pos", "meh", "neg"], 300, 3))).file("new.yaml", new)
}

fn tensor(dir: &TestDir, path: &str, name: &str) -> NamedTensor {
    let path = dir.path(&format!("{path}/model.safetensors"));
    let tensors = named_tensors::read(&path).unwrap();
    tensors.into_iter().find(|tensor| tensor.name == name).unwrap()
}

fn words(dir: &TestDir, path: &str) -> Vec<String> {
    serde_json::from_str(&dir.read(&format!("{path}/vocabulary.json"))).unwrap()
}

const FROZEN: &str = "--set train.freeze=[embedding,lstm.0] --set train.epochs=1";

#[test]
fn a_run_starts_from_the_words_labels_and_layers_of_a_model() {
    let dir = with_source("");
    let done = dir.train(&format!("new.yaml --from source --out run {FROZEN}"));
    let printed = stderr(&done);
    for part in [
        "from: ",
        "source/best",
        "words: 80 of 90 known, 10 new drawn like the known ones",
        "labels: neg, pos known, meh new",
        "rates: head, lstm.0 frozen, embedding frozen",
        "Non-trainable params",
    ] {
        assert!(printed.contains(part), "{part:?} is not in: {printed}");
    }
    let (before, after) = (words(&dir, "source/best"), words(&dir, "run/last"));
    assert_eq!(after[..before.len()], before, "known words keep their ids");
    assert_eq!(after.len(), before.len() + 10);
    let embedding = |path: &str| tensor(&dir, path, "embedding.weight").values;
    let (before, after) = (embedding("source/best"), embedding("run/last"));
    assert_eq!(after[..before.len()], before);
    let new = &after[before.len()..];
    let deviation = |values: &[f32]| {
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt()
    };
    let ratio = deviation(new) / deviation(&before[4 * 8..]);
    assert!((0.6..1.4).contains(&ratio), "{ratio}");
    for name in ["lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0"] {
        assert_eq!(tensor(&dir, "source/best", name), tensor(&dir, "run/last", name), "{name}");
    }
    let source = dir.json("source/best/checkpoint.json")["sha256"].clone();
    assert_eq!(dir.summary("run")["source"]["sha256"], source);
    assert_eq!(dir.json("run/last/progress.json")["source"]["sha256"], source);
}

#[test]
fn a_model_that_starts_from_another_is_good_at_once() {
    let dir = with_source("");
    let accuracy = |from: &str| {
        let fields = "--set train.epochs=1 --set train.learning_rate=0.0001";
        dir.train(&format!("small.yaml {from} --out new {fields}"));
        let accuracy = dir.summary("new")["validation"]["accuracy"].as_f64().unwrap();
        fs::remove_dir_all(dir.path("new")).unwrap();
        accuracy
    };
    assert!(accuracy("--from source") > 0.95);
    assert!(accuracy("") < 0.8);
}

#[test]
fn ngrams_are_matched_and_can_be_frozen() {
    let ngrams = "--set model.ngrams.sizes=[1,2]";
    let dir = with_source(ngrams);
    let line = format!(
        "new.yaml --from source --out run {ngrams} --set train.epochs=1 --set train.freeze=[ngrams]"
    );
    let printed = stderr(&dir.train(&line));
    assert!(printed.contains("n-grams: "), "{printed}");
    let terms = |path: &str| {
        let [weight, value] =
            ["weight", "value"].map(|name| tensor(&dir, path, &format!("ngrams.{name}")).values);
        weight.iter().zip(&value).map(|(weight, value)| weight * value).collect::<Vec<_>>()
    };
    // The single logit of the source belongs to pos, the third label of meh, neg, pos.
    let (before, after) = (terms("source/best"), terms("run/last"));
    for (ngram, term) in before.iter().enumerate() {
        let rows = &after[3 * ngram..][..3];
        assert_eq!((rows[1], rows[2]), (-term / 2.0, term / 2.0));
        assert_eq!(rows[0], 0.0, "the weight of a new label starts at 0");
    }
    assert!(before.iter().any(|term| *term != 0.0));
}

#[test]
fn ngrams_without_a_known_label_are_not_said_to_be_unknown() {
    let ngrams = "--set model.ngrams.sizes=[1,2]";
    let dir = with_source(ngrams).data(&["left", "right"]);
    let line = format!("small.yaml --from source --out run {ngrams} --set train.epochs=1");
    let printed = stderr(&dir.train(&line));
    assert!(printed.contains(" start anew, as the labels are new"), "{printed}");
    assert!(!printed.contains("n-grams: 0 of"), "{printed}");
}

#[test]
fn the_vocabulary_of_the_checkpoint_can_be_kept() {
    let dir = with_source("");
    let fields = "--set text.vocabulary=checkpoint --set train.epochs=1";
    dir.train(&format!("new.yaml --from source --out run {fields}"))
        .stderr(contains("words: 80 of 80 known"));
    assert_eq!(words(&dir, "source/best"), words(&dir, "run/best"));
    let message = ["text.vocabulary", "needs a checkpoint", "train --from CHECKPOINT"];
    assert_fails(dir.lstmtext(&format!("train new.yaml {fields}")), 2, &message);
}

#[test]
fn a_run_resumes_exactly_although_its_source_is_gone() {
    let dir = with_source("");
    let fields = "--set train.unfreeze.every_epochs=1 --set train.layer_decay=0.4 \
                  --set train.schedule.name=constant";
    let train = |out: &str, more: &str| {
        dir.lstmtext(&format!("train new.yaml --from source --out {out} {fields} {more}"))
    };
    train("whole", "")
        .assert()
        .success()
        .stderr(contains("rates: head, lstm.0 x 0.4 from epoch 2, embedding x 0.16 from epoch 3"));
    train("part", "--set train.epochs=2").assert().success();
    fs::remove_dir_all(dir.path("source")).unwrap();
    dir.train("--resume part --set train.epochs=4");
    dir.assert_same_state("whole", "part");
    assert_eq!(dir.metrics("whole"), dir.metrics("part"));
    let message = ["train.from", "no checkpoint", "source"];
    assert_fails(dir.lstmtext("train new.yaml --from source --out other"), 1, &message);
    assert!(!dir.path("other").exists());
}

#[test]
fn a_run_has_a_checkpoint_before_its_first_step() {
    let dir = with_source("");
    let train = |out: &str, more: &str| {
        dir.lstmtext(&format!(
            "train new.yaml --from source --out {out} --set train.epochs=2 {more}"
        ))
    };
    train("whole", "").assert().success();
    let diverges = "--set train.learning_rate=1e30 --set train.gradient_clip=null";
    train("early", diverges).assert().failure().stderr(contains("the last good checkpoint"));
    fs::remove_dir_all(dir.path("source")).unwrap();
    let restored = "--set train.learning_rate=0.05 --set train.gradient_clip=1";
    dir.train(&format!("--resume early {restored}")).stderr(contains("resuming after step 0"));
    dir.assert_same_state("whole", "early");
    assert_eq!(dir.metrics("whole"), dir.metrics("early"));
}

#[test]
fn resume_and_from_name_each_other_where_the_wrong_one_is_used() {
    let dir = with_source("");
    for (line, parts) in [
        ("small.yaml --resume source", ["--resume continues a run", "use --from source"]),
        ("--from source", ["--from starts a new run", "--resume source"]),
        (
            "small.yaml --from source --resume source",
            ["--resume continues a run", "use one of them"],
        ),
        ("--resume source --set train.from=source", ["train.from starts a new run", "--from"]),
        ("small.yaml --from source --out source", ["already", "--resume"]),
    ] {
        let done = dir.lstmtext(&format!("train {line}")).assert().failure();
        parts.iter().for_each(|part| assert!(stderr(&done).contains(part), "{}", stderr(&done)));
    }
    dir.lstmtext("train --resume source/best").assert().failure().stderr(contains("--from"));
}

#[test]
fn layers_of_other_sizes_are_rejected_with_the_settings_that_fit() {
    let dir = with_source("");
    let sizes = "--set model.lstm.units=5 --set model.embedding.size=6";
    let message = [
        "model.embedding.size is 6, but 8 there",
        "--set model.embedding.size=8 --set model.lstm.units=8",
    ];
    assert_fails(dir.lstmtext(&format!("train new.yaml --from source {sizes}")), 2, &message);
    let more = "--set model.lstm.layers=2 --set model.pooling=[mean,max] --set train.epochs=1";
    let printed = stderr(&dir.train(&format!("new.yaml --from source --out run {more}")));
    assert!(printed.contains("labels: neg, pos known, meh new; the head starts anew"), "{printed}");
    assert!(printed.contains("new layers: lstm.1, head"), "{printed}");
}

#[test]
fn layers_can_be_trained_at_different_rates() {
    let dir = TestDir::with_data();
    let fields = "--set train.epochs=1 --set train.optimizer=sgd --set train.gradient_clip=null";
    let initial = {
        dir.train(&format!("small.yaml --out still {fields} --set train.learning_rate=1e-30"));
        tensor(&dir, "still/last", "lstm.weight_hh_l0")
    };
    let change = |out: &str, more: &str| {
        let batch = "--set train.batch_size=1000 --set train.learning_rate=0.01";
        dir.train(&format!("small.yaml --out {out} {fields} {batch} {more}"));
        let after = tensor(&dir, &format!("{out}/last"), "lstm.weight_hh_l0");
        after.values.iter().zip(&initial.values).map(|(a, b)| f64::from(a - b)).sum::<f64>()
    };
    let ratio = change("slow", "--set train.layer_decay=0.25") / change("fast", "");
    assert!((ratio - 0.25).abs() < 0.02, "{ratio}");
    assert_eq!(change("frozen", "--set train.unfreeze.every_epochs=1"), 0.0);
}

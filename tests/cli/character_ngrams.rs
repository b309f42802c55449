//! Words with character n-grams: `model.embedding.subwords`.

use std::fs;

use crate::common::{
    SMALL, TestDir, assert_fails, csv, examples, probability_of, stderr, stdout_json,
    stdout_json_lines,
};

const SUBWORDS: &str =
    "--set model.embedding.subwords.sizes=[2,4] --set model.embedding.subwords.buckets=500";

fn with_data() -> TestDir {
    let data = csv(&examples(&["neg", "pos"], 120, 1));
    let small = SMALL.replace(", test: test.csv", "");
    TestDir::new().file("small.yaml", small).file("train.csv", data)
}

fn probability(dir: &TestDir, model: &str, text: &str) -> f64 {
    let line = format!("predict {model} --format jsonl --top 2 {text}");
    probability_of(&stdout_json_lines(&dir.lstmtext(&line).assert().success())[0], "pos")
}

#[test]
fn unknown_words_get_vectors_in_predictions() {
    let dir = with_data();
    let line = format!("small.yaml --out run --set model.ngrams=null {SUBWORDS}");
    let printed = stderr(&dir.train(&line));
    assert!(printed.contains("500 buckets of 2 to 4 characters"), "{printed}");
    // Words of the classes are pos0, pos1, … and neg0, neg1, …
    let [pos, neg] = ["posx", "negx"].map(|word| probability(&dir, "run", word));
    assert!(pos > neg + 0.1, "{pos} {neg}");
    for text in ["pos1-posx,zzz-negy", "posx"] {
        let explained = dir.lstmtext(&format!("explain run --json {text}")).assert().success();
        let explained = &stdout_json(&explained)[0];
        let gap = explained["integration"]["completeness_gap"].as_f64().unwrap();
        assert!(gap.abs() < 0.05, "{explained}");
        let words = explained["inputs"][0]["words"].as_array().unwrap();
        let unknown = words.iter().find(|word| word["word"] == "posx").unwrap();
        assert!(unknown["contribution"].as_f64().unwrap() != 0.0, "{explained}");
    }
    dir.lstmtext("states run --to states.svg posx").assert().success();
    // The same in every format of a checkpoint.
    dir.lstmtext("export run --to compact --quantize int8").assert().success();
    for (text, expected) in [("posx", pos), ("negx", neg)] {
        let compact = probability(&dir, "compact", text);
        assert!((compact - expected).abs() < 0.02, "{compact} {expected}");
    }
    dir.lstmtext("export run --to model.onnx").assert().success();
    dir.lstmtext("export run --to weights.npz").assert().success();
    dir.lstmtext("import run weights.npz --to imported").assert().success();
    assert_eq!(probability(&dir, "imported", "posx"), pos);
    dir.lstmtext("export run --to pytorch").assert().success();
    let model = dir.json("pytorch/model.json");
    assert_eq!(model["inputs"][0]["embedding"]["subwords"]["buckets"], 500);
}

#[test]
fn training_resumes_exactly() {
    let dir = with_data();
    let line = |out: &str, epochs: usize| {
        format!(
            "small.yaml --out {out} --set train.epochs={epochs} --set train.schedule.name=constant {SUBWORDS}"
        )
    };
    dir.train(&line("whole", 4));
    dir.train(&line("parts", 2));
    dir.train("--resume parts --set train.epochs=4");
    dir.assert_same_state("whole", "parts");
    // A classifier that starts from another one has its n-grams, too.
    let printed = stderr(&dir.train(&format!("small.yaml --from whole --out next {SUBWORDS}")));
    assert!(printed.contains("known"), "{printed}");
    let fault = "embedding.subwords.buckets is 9, but 500 there";
    let line = format!(
        "train small.yaml --from whole {SUBWORDS} --set model.embedding.subwords.buckets=9"
    );
    assert_fails(dir.lstmtext(&line), 2, &[fault]);
}

#[test]
fn vectors_bring_their_character_ngrams() {
    let dir = with_data();
    let set = format!("{SUBWORDS} --set model.embedding.size=8");
    dir.lstmtext(&format!("vectors small.yaml --to words.npy {set}")).assert().success();
    assert!(dir.path("words.subwords-2-4.npy").exists());
    let train =
        format!("small.yaml --set model.embedding.vectors=words.npy --set train.epochs=1 {set}");
    let without = "the file has no vectors of character n-grams; they start at 0";
    let printed = stderr(&dir.train(&format!("{train} --out run")));
    assert!(!printed.contains(without), "{printed}");
    let fault = "words.subwords-2-4.npy\" has 500 buckets, but embedding.subwords.buckets is 7";
    let line = format!("train {train} --set model.embedding.subwords.buckets=7");
    assert_fails(dir.lstmtext(&line), 1, &[fault]);
    fs::write(dir.path("words.subwords-2-4.npy"), "damaged").unwrap();
    assert_fails(dir.lstmtext(&format!("train {train}")), 1, &["words.subwords-2-4.npy"]);
    fs::remove_file(dir.path("words.subwords-2-4.npy")).unwrap();
    let printed = stderr(&dir.train(&format!("{train} --out without")));
    assert!(printed.contains(without), "{printed}");
    // Stages learn both.
    let staged = format!("small.yaml --set pretrain.stages=[vectors] --out staged {set}");
    dir.train(&staged);
    assert!(dir.path("staged/vectors.subwords-2-4.npy").exists());
}

#[test]
fn impossible_combinations_are_explained() {
    let dir = with_data().file("texts.txt", "a b c d\n".repeat(200));
    for (settings, part) in [
        ("--set train.adversarial.epsilon=1", "cannot be combined with train.adversarial"),
        ("--set data.shard=true", "cannot be combined with data.shard"),
        ("--set model.embedding.subwords.sizes=[6,3]", "a list of two integers"),
        ("--set model.embedding.subwords.sizes=[3]", "a list of two integers"),
    ] {
        let line = format!("train small.yaml {SUBWORDS} {settings}");
        assert_fails(dir.lstmtext(&line), 2, &["embedding.subwords", part]);
    }
    let line = format!("pretrain texts.txt --out lm {SUBWORDS}");
    assert_fails(dir.lstmtext(&line), 1, &["has no character n-grams"]);
    dir.train("small.yaml --out off --set model.embedding.subwords=null --set train.epochs=1");
}

//! Language models with `backend: libtorch`.

use predicates::str::contains;

use crate::common::{
    LANGUAGE_MODEL, TestDir, assert_fails, examples, perplexities, stderr, stdout_json, with_texts,
};
use crate::lstmtext;
use crate::training::Training;

/// `lstmtext` launches `lstmtext-torch` for it.
#[test]
fn a_language_model_learns_and_scores_texts() {
    let dir = with_texts();
    let line = format!(
        "pretrain texts.txt --out lm --set backend=libtorch {LANGUAGE_MODEL} --set pretrain.language_model.epochs=8 --json"
    );
    let done = lstmtext(&dir, &line).assert().success();
    let printed = stderr(&done);
    for part in ["on:    CPU, libtorch, 1 thread", "both directions", "--from lm"] {
        assert!(printed.contains(part), "{part:?} is not in: {printed}");
    }
    let best = perplexities(&stdout_json(&done)["best"]["perplexity"]);
    // Two choices for each word, and the end of the text; the first word is one of 20.
    assert!(best.len() == 2 && best.iter().all(|value| *value < 6.0), "{best:?}");
    let score = |line: &str| {
        let done = lstmtext(&dir, line).assert().success();
        perplexities(&stdout_json(&done)["perplexity"])
    };
    let known = score("perplexity lm --file other.txt --json");
    assert!(known.iter().all(|value| *value < 6.0), "{known:?}");
    let other = score("perplexity lm --json w1 w1 w1 w1");
    assert!(other[0] > 2.0 * known[0], "{known:?} {other:?}");
}

#[test]
fn an_interrupted_language_model_resumes_with_the_same_metrics() {
    let dir = with_texts();
    let line = format!(
        "texts.txt --set backend=libtorch {LANGUAGE_MODEL} --set pretrain.language_model.epochs=30 \
         --set model.lstm.bidirectional=false --set model.lstm.layers=2 \
         --set pretrain.language_model.validate_every=7 --set pretrain.language_model.dropout=0.2 \
         --set pretrain.language_model.embedding_dropout=0.1 \
         --set pretrain.language_model.input_dropout=0.1 \
         --set pretrain.language_model.hidden_dropout=0.1 \
         --set pretrain.language_model.weight_dropout=0.1"
    );
    dir.lstmtext(&format!("pretrain {line} --out whole")).assert().success();
    let mut training = Training::spawn(&mut dir.process(&format!("pretrain {line} --out stopped")));
    training.wait_for_validations(&dir, "stopped", 3);
    let (code, printed) = training.stop(libc::SIGINT);
    assert_eq!(code, Some(130), "{printed}");
    assert!(dir.metrics("stopped").len() < dir.metrics("whole").len());
    dir.lstmtext("pretrain --resume stopped")
        .assert()
        .success()
        .stderr(contains("resuming after step "));
    assert_eq!(dir.read("whole/metrics.jsonl"), dir.read("stopped/metrics.jsonl"));
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let [whole, stopped] =
            ["whole", "stopped"].map(|run| dir.bytes(&format!("{run}/last/{file}")));
        assert!(whole == stopped, "{file}");
    }
}

const STAGES: &str = "\
data: {train: train.csv, test: test.csv, unlabelled: more.txt}
backend: libtorch
model: {embedding: {size: 8, word_dropout: 0}, lstm: {units: 8}, ngrams: null}
train: {learning_rate: 0.05, epochs: 2}
pretrain:
  stages: language_model
  language_model: {batch_size: 4, sequence_length: 8, epochs: 2}
";

#[test]
fn classifiers_start_from_language_models() {
    let more = examples(&["neg", "pos"], 300, 5);
    let more: String = more.iter().map(|example| example.text.clone() + "\n").collect();
    let dir = TestDir::with_data().file("more.txt", more).file("staged.yaml", STAGES);
    let printed = stderr(&dir.train("staged.yaml --out run"));
    for part in ["stage language_model:", "on:    CPU, libtorch", "from: ", "test"] {
        assert!(printed.contains(part), "{part:?} is not in: {printed}");
    }
    assert!(dir.path("run/language_model/summary.json").exists());
    // The native backend continues from what libtorch has learned.
    let line = "staged.yaml --set backend=native --set pretrain.stages=[] \
                --from run/language_model --out other";
    let printed = stderr(&dir.train(line));
    assert!(printed.contains("words: "), "{printed}");
    let line = "pretrain staged.yaml --set precision=fp16";
    assert_fails(dir.lstmtext(line), 2, &["precision: fp16 needs loss scaling"]);
}

//! `lstmtext pretrain`, `perplexity`, and classifiers that start from language models.

use std::fs;

use predicates::str::contains;
use serde_json::Value;

use crate::common::{
    LANGUAGE_MODEL, SMALL, TestDir, assert_fails, csv, examples, perplexities, stderr, stdout,
    stdout_json, with_texts,
};
use crate::training::Training;

#[test]
fn a_language_model_learns_both_directions_and_scores_texts() {
    let dir = with_texts();
    let line = format!(
        "pretrain texts.txt --out lm {LANGUAGE_MODEL} --set pretrain.language_model.epochs=8 --json"
    );
    let done = dir.lstmtext(&line).assert().success();
    let printed = stderr(&done);
    for part in ["texts: 380 with ", "20 held out", "both directions", "next:", "--from lm"] {
        assert!(printed.contains(part), "{part:?} is not in: {printed}");
    }
    let summary = stdout_json(&done);
    let best = perplexities(&summary["best"]["perplexity"]);
    // Two choices for each word, and the end of the text; the first word is one of 20.
    assert!(best.len() == 2 && best.iter().all(|value| *value < 6.0), "{best:?}");
    let names = [
        "best",
        "config.yaml",
        "last",
        "metrics.jsonl",
        "summary.json",
        "times.jsonl",
        "train",
        "validation",
    ];
    let events = |name: &String| !name.starts_with("events.");
    assert_eq!(dir.names("lm").into_iter().filter(events).collect::<Vec<_>>(), names);
    let losses: Vec<f64> =
        dir.metrics("lm").iter().map(|record| record["train_loss"].as_f64().unwrap()).collect();
    assert!(losses.len() == 8 && losses[7] < losses[0] - 1.0, "{losses:?}");

    let score = |line: &str| stdout_json(&dir.lstmtext(line).assert().success());
    let known = score("perplexity lm --file other.txt --json");
    let known = perplexities(&known["perplexity"]);
    assert!(known.iter().all(|value| *value < 6.0), "{known:?}");
    let each = score("perplexity lm --file other.txt --each --json");
    let texts = each["texts"].as_array().unwrap();
    assert_eq!(texts.len(), 50);
    let tokens = |value: &Value| value["tokens"].as_u64().unwrap();
    assert_eq!(texts.iter().map(tokens).sum::<u64>(), tokens(&each));
    let sum: f64 = texts
        .iter()
        .map(|text| tokens(text) as f64 * perplexities(&text["perplexity"])[0].ln())
        .sum();
    let total = (sum / tokens(&each) as f64).exp();
    assert!((total / known[0] - 1.0).abs() < 1e-6, "{total} {}", known[0]);
    let shuffled = score("perplexity lm --json w1 w1 w1 w1");
    assert!(perplexities(&shuffled["perplexity"])[0] > 2.0 * known[0]);
    let lines =
        dir.lstmtext("perplexity lm --each").write_stdin("w1 w2 w4\nw1\n").assert().success();
    assert_eq!(stdout(&lines).lines().count(), 2);
    assert!(stdout(&lines).starts_with("4\t"));
}

#[test]
fn tokens_that_fill_no_step_are_noted() {
    let dir = with_texts();
    for (steps, is_noted) in [(16, false), (300, true)] {
        let line = format!(
            "pretrain texts.txt --out lm{steps} {LANGUAGE_MODEL} --set pretrain.language_model.epochs=1 \
             --set pretrain.language_model.sequence_length={steps}"
        );
        let printed = stderr(&dir.lstmtext(&line).assert().success());
        assert_eq!(printed.contains("note: each epoch leaves out "), is_noted, "{printed}");
    }
}

/// Everything random depends on the seed and the step, and the checkpoint has all states.
#[test]
fn an_interrupted_language_model_resumes_bit_by_bit() {
    let dir = with_texts();
    let line = format!(
        "texts.txt {LANGUAGE_MODEL} --set pretrain.language_model.epochs=120 \
         --set pretrain.language_model.validate_every=7 --set pretrain.language_model.dropout=0.2 \
         --set pretrain.language_model.embedding_dropout=0.1 \
         --set pretrain.language_model.input_dropout=0.1 \
         --set pretrain.language_model.weight_dropout=0.1"
    );
    dir.lstmtext(&format!("pretrain {line} --out whole")).assert().success();
    let mut training = Training::spawn(&mut dir.process(&format!("pretrain {line} --out stopped")));
    training.wait_for_validations(&dir, "stopped", 3);
    let (code, printed) = training.stop(libc::SIGINT);
    assert_eq!(code, Some(130), "{printed}");
    assert!(printed.contains("pretrain --resume stopped"), "{printed}");
    assert!(dir.metrics("stopped").len() < dir.metrics("whole").len());
    let mut training = Training::spawn(&mut dir.process("pretrain --resume stopped"));
    training.wait_for_validations(&dir, "stopped", 20);
    training.kill();
    dir.lstmtext("pretrain --resume stopped")
        .assert()
        .success()
        .stderr(contains("resuming after step "));
    assert_eq!(dir.read("whole/metrics.jsonl"), dir.read("stopped/metrics.jsonl"));
    for name in ["best", "last"] {
        for file in ["model.safetensors", "optimizer.safetensors"] {
            let [whole, stopped] =
                ["whole", "stopped"].map(|run| dir.bytes(&format!("{run}/{name}/{file}")));
            assert!(whole == stopped, "{name}/{file}");
        }
    }
}

#[test]
fn a_classifier_starts_from_a_language_model() {
    let dir = TestDir::with_data()
        .file("lm.yaml", SMALL.replace("test: test.csv", "unlabelled: more.txt"));
    let more: String = examples(&["neg", "pos"], 300, 5)
        .iter()
        .map(|example| example.text.clone() + "\n")
        .collect();
    let dir = dir.file("more.txt", more);
    let line = "pretrain lm.yaml --out lm --set pretrain.language_model.batch_size=4 \
                --set pretrain.language_model.sequence_length=8";
    dir.lstmtext(line).assert().success();
    let done = dir.train("small.yaml --from lm --out run --set train.epochs=1");
    let printed = stderr(&done);
    for part in ["from: ", "lm/best", "words: ", "new layers: head"] {
        assert!(printed.contains(part), "{part:?} is not in: {printed}");
    }
    let fitted = dir.train(
        "small.yaml --from lm --out fitted --set train.fit_head=true \
         --set train.freeze=[embedding,lstm.0,head] --set model.ngrams.sizes=[1] --set train.epochs=1",
    );
    let printed = stderr(&fitted);
    for part in ["head: fitted to ", "(L2 penalty ", "head frozen"] {
        assert!(printed.contains(part), "{part:?} is not in: {printed}");
    }
    let fault = "needs a trained model from which the training starts";
    assert_fails(dir.lstmtext("train small.yaml --set train.fit_head=true"), 2, &[fault]);
    // The language model may be gone, or change.
    fs::remove_dir_all(dir.path("lm")).unwrap();
    dir.train("--resume run --set train.epochs=2");
}

#[test]
fn wrong_uses_of_language_models_are_explained() {
    let dir = with_texts().file("train.csv", csv(&examples(&["neg", "pos"], 60, 1)));
    let dir = dir.file("small.yaml", SMALL.replace(", test: test.csv", ""));
    dir.lstmtext(&format!("pretrain texts.txt --out lm {LANGUAGE_MODEL}")).assert().success();
    dir.train("small.yaml --out run --set train.epochs=1");
    for (line, code, parts) in [
        ("predict lm x", 1, &["is a language model", "train CONFIG --from lm"][..]),
        ("evaluate lm", 1, &["is a language model"]),
        ("export lm --to x.npz", 1, &["is a language model"]),
        ("train --resume lm", 1, &["is the run of a language model", "pretrain --resume lm"]),
        ("plot lm", 1, &["whose curves are in TensorBoard"]),
        (
            "pretrain --resume lm --set pretrain.language_model.sequence_length=8",
            1,
            &["cannot change while a run resumes"],
        ),
        ("vectors texts.txt --to texts.txt", 2, &["would overwrite the input"]),
        ("perplexity run x", 1, &["is a classifier, not a language model"]),
        ("pretrain --resume run", 1, &["is a classifier"]),
        ("pretrain", 2, &["name a configuration, or files of texts"]),
        ("pretrain none.txt", 1, &["none.txt"]),
        ("pretrain small.yaml texts.txt", 2, &["is a configuration: pass it alone"]),
        ("pretrain texts.txt --out lm", 1, &["already contains a run"]),
        ("pretrain texts.txt --set backend=native --device cuda", 2, &["backend: native"]),
        ("pretrain texts.txt --set model.lstm=null", 2, &["needs an LSTM"]),
        ("train small.yaml --from lm", 2, &["model.lstm.units is 8", "--set model.lstm.units=16"]),
    ] {
        assert_fails(dir.lstmtext(line), code, parts);
    }
    let empty = dir.file("empty.txt", "a\n");
    assert_fails(empty.lstmtext("pretrain empty.txt"), 1, &["text.min_count"]);
    assert!(!empty.path("runs").exists(), "a run that cannot start leaves nothing behind");
    let listed = empty.lstmtext("runs .").assert().success();
    assert!(stdout(&listed).contains("run") && !stdout(&listed).contains("damaged"));
    assert!(stderr(&listed).contains("language model lm: perplexity "), "{}", stderr(&listed));
}

#[test]
fn vectors_are_the_embedding_of_a_language_model() {
    let vectors: String =
        (0..20).map(|word| format!("w{word} {word} {} 0.5 1\n", 20 - word)).collect();
    let dir = with_texts().file("vectors.txt", vectors);
    let line = format!(
        "pretrain texts.txt --out lm {LANGUAGE_MODEL} --set model.embedding.size=4 --vectors vectors.txt"
    );
    let done = dir.lstmtext(&line).assert().success();
    done.stderr(contains("vectors: 100.00 % of the words"));
    let yaml = dir.read("lm/config.yaml");
    assert!(yaml.contains("vectors.txt"), "{yaml}");
}

const STAGES: &str = "\
data: {train: train.csv, test: test.csv, unlabelled: more.txt}
model: {embedding: {size: 8, word_dropout: 0}, lstm: {units: 8}, ngrams: null}
train: {learning_rate: 0.05, epochs: 2}
pretrain:
  stages: [vectors, language_model]
  vectors: {epochs: 2}
  language_model: {batch_size: 4, sequence_length: 8, epochs: 20, validate_every: 20}
";

fn with_stages() -> TestDir {
    let more = examples(&["neg", "pos"], 300, 5);
    let more: String = more.iter().map(|example| example.text.clone() + "\n").collect();
    TestDir::with_data().file("more.txt", more).file("staged.yaml", STAGES)
}

#[test]
fn one_command_runs_all_stages() {
    let dir = with_stages();
    let printed = stderr(&dir.train("staged.yaml --out run"));
    for part in ["stage vectors:", "stage language_model:", "vectors: 100.00 %", "from: ", "test"] {
        assert!(printed.contains(part), "{part:?} is not in: {printed}");
    }
    for file in
        ["vectors.npy", "vectors.txt", "language_model/summary.json", "best/checkpoint.json"]
    {
        assert!(dir.path(&format!("run/{file}")).exists(), "{file}");
    }
    // The same again, but for the stages, which are done.
    let config = dir.read("run/config.yaml");
    for name in ["best", "last"] {
        fs::remove_dir_all(dir.path(&format!("run/{name}"))).unwrap();
    }
    let before = dir.metrics("run");
    let printed = stderr(&dir.train("--resume run"));
    assert!(printed.contains("it starts from the beginning"), "{printed}");
    assert_eq!((dir.read("run/config.yaml"), dir.metrics("run")), (config, before));
    // Once the classifier has started, they are what they are.
    let fault = "pretrain.vectors.epochs: the stages of the run are done";
    let line = "train --resume run --set train.epochs=3 --set pretrain.vectors.epochs=3";
    assert_fails(dir.lstmtext(line), 2, &[fault]);
    // Before, stages whose inputs have changed run again.
    for name in ["best", "last"] {
        fs::remove_dir_all(dir.path(&format!("run/{name}"))).unwrap();
    }
    let vectors = dir.bytes("run/vectors.npy");
    let printed = stderr(&dir.train("--resume run --set pretrain.vectors.epochs=3"));
    for stage in ["vectors", "language_model"] {
        let part = format!(
            "stage {stage}: runs again, because its inputs have changed: pretrain.vectors.epochs"
        );
        assert!(printed.contains(&part), "{printed}");
    }
    assert_ne!(dir.bytes("run/vectors.npy"), vectors);
    fs::write(dir.path("more.txt"), "neg1 n1 n2\n".repeat(300)).unwrap();
    for name in ["best", "last"] {
        fs::remove_dir_all(dir.path(&format!("run/{name}"))).unwrap();
    }
    let printed = stderr(&dir.train("--resume run"));
    assert!(printed.contains("inputs have changed: data.unlabelled"), "{printed}");
}

#[test]
fn an_interrupted_stage_is_resumed() {
    let dir = with_stages();
    dir.train("staged.yaml --out whole");
    let mut training = Training::start(&dir, "staged.yaml --out stopped");
    training.wait_for_validations(&dir, "stopped/language_model", 2);
    let (code, printed) = training.stop(libc::SIGINT);
    assert_eq!(code, Some(130), "{printed}");
    assert!(printed.contains("train --resume ") && !printed.contains("pretrain --resume"));
    let printed = stderr(&dir.train("--resume stopped"));
    assert!(printed.contains("resuming after step "), "{printed}");
    for run in ["language_model", ""] {
        let read = |of: &str| dir.bytes(&format!("{of}/{run}/last/model.safetensors"));
        assert!(read("whole") == read("stopped"), "{run}");
    }
    assert_eq!(dir.metrics("whole"), dir.metrics("stopped"));
}

/// Returns the lines of the metrics of a run.
fn metrics(dir: &TestDir, run: &str) -> Vec<String> {
    let text = fs::read_to_string(dir.path(run).join("metrics.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_frozen_language_model_is_an_alternative_to_a_fine_tuned_one() {
    let dir = with_texts().file("train.csv", csv(&examples(&["neg", "pos"], 80, 1)));
    let dir = dir.file("small.yaml", SMALL.replace(", test: test.csv", ""));
    dir.lstmtext(&format!("pretrain texts.txt --out lm {LANGUAGE_MODEL}")).assert().success();
    let set = "--set model.lstm.units=16 --set model.lstm.bidirectional=true \
               --set model.ngrams.sizes=[1] --set train.average.method=ema --set train.epochs=2";
    for separate in [false, true] {
        let train = |finetune: &str, out: &str| {
            let line = format!(
                "small.yaml --from lm --out {out} {set} --set train.finetune={finetune} \
                 --set train.separate_branches={separate}"
            );
            stderr(&dir.train(&line))
        };
        let name = |name: &str| format!("{name}_{separate}");
        let printed = train("frozen", &name("frozen"));
        for part in
            ["head: fitted to ", "n-grams: fitted to ", "only the output layers were fitted"]
        {
            assert!(printed.contains(part), "{part:?} is not in: {printed}");
        }
        let frozen = metrics(&dir, &name("frozen"));
        assert_eq!(frozen.len(), 1);
        assert!(frozen[0].contains(r#""epoch":0,"step":0"#), "{frozen:?}");
        // The training of all layers is the same as without the frozen model.
        train("full", &name("full"));
        train("auto", &name("auto"));
        let auto = metrics(&dir, &name("auto"));
        assert_eq!(auto[0], frozen[0]);
        assert_eq!(auto[1..], metrics(&dir, &name("full")));
        for run in ["frozen", "auto"] {
            let run = name(run);
            dir.lstmtext(&format!("predict {run} n1")).assert().success();
            dir.lstmtext(&format!("plot {run}")).assert().success();
        }
    }
    let listed = stdout(&dir.lstmtext("runs .").assert().success());
    assert!(listed.contains("frozen_true"), "{listed}");
    // A run that is killed before the state with which training begins is saved starts over.
    let (run, before) = (dir.path("frozen_true"), metrics(&dir, "frozen_true"));
    fs::remove_dir_all(run.join("last")).unwrap();
    fs::remove_file(run.join("summary.json")).unwrap();
    let printed = stderr(&dir.train("--resume frozen_true"));
    assert!(printed.contains("starts from the beginning"), "{printed}");
    assert_eq!(metrics(&dir, "frozen_true"), before);
    dir.train("--resume auto_true --set train.epochs=3");
    let fault = "train.finetune: needs a trained model";
    assert_fails(dir.lstmtext("train small.yaml --set train.finetune=auto"), 2, &[fault]);
}

/// Such settings are wrong in a configuration without a model to start from, as that of the language model is.
#[test]
fn stages_precede_a_classifier_with_settings_of_fine_tuning() {
    let tuned = "--set train.fit_head=true --set train.freeze=[embedding,lstm.0,head] \
                 --set model.ngrams.sizes=[1] --set pretrain.language_model.epochs=1";
    let dir = with_stages();
    let printed = stderr(&dir.train(&format!("staged.yaml --out run {tuned}")));
    assert!(printed.contains("head: fitted to "), "{printed}");
    dir.lstmtext(&format!("pretrain run/config.yaml --out lm {tuned}")).assert().success();
}

#[test]
fn stages_that_cannot_run_are_explained() {
    let dir = with_stages();
    fs::write(dir.path("given.vec"), "pos1 1 2 3 4 5 6 7 8\n").unwrap();
    let line = "train staged.yaml --set model.embedding.vectors=given.vec --out run";
    assert_fails(dir.lstmtext(line), 2, &["pretrain.stages", "model.embedding.vectors"]);
    dir.train("small.yaml --out other --set train.epochs=1");
    let line = "train staged.yaml --from other --set model.lstm.bidirectional=false --out run";
    assert_fails(dir.lstmtext(line), 2, &["pretrain.stages", "remove one of them"]);
    let line = "train staged.yaml --set data.unlabelled=none.txt --out run";
    assert_fails(dir.lstmtext(line), 1, &["none.txt"]);
    assert!(!dir.path("run").exists(), "a run that cannot start leaves nothing behind");
}

//! Ensembles: choosing weights, and use by every command.

use std::fs;
use std::thread;
use std::time::Duration;

use lstmtext::Classifier;
use predicates::str::contains;
use serde_json::{Value, json};

use crate::common::{
    TestDir, assert_fails, csv, examples, fails_with_limit, floats, lines, noise, probability_of,
    stderr, stdout, stdout_json, stdout_json_lines, wait,
};
use crate::serve::Server;
use crate::training::with_noise;

const LINEAR: &str = "--set model.lstm=null --set model.ngrams.sizes=[1,2]";
const LETTERS: &str = "--set text.tokenizer=characters --set train.epochs=2";

/// Trains an LSTM of words in `a`, a linear model in `b` and an LSTM of characters in `c`.
fn with_runs() -> TestDir {
    let dir = TestDir::with_run();
    fs::rename(dir.path("run"), dir.path("a")).unwrap();
    dir.train(&format!("small.yaml --out b {LINEAR}"));
    dir.train(&format!("small.yaml --out c {LETTERS}"));
    dir
}

fn ensemble(dir: &TestDir, line: &str) -> Value {
    stdout_json(&dir.lstmtext(&format!("ensemble {line} --json")).assert().success())
}

fn predictions(dir: &TestDir, model: &str, texts: &[&str]) -> Vec<f64> {
    let mut command = dir.lstmtext(&format!("predict {model} --top 2 --format jsonl"));
    let done = command.args(texts).assert().success();
    let lines = stdout_json_lines(&done);
    lines.iter().map(|prediction| probability_of(prediction, "pos")).collect()
}

fn loss(report: &Value) -> f64 {
    report["validation"]["loss"].as_f64().unwrap()
}

#[test]
fn an_ensemble_is_used_like_a_checkpoint() {
    let dir = with_runs();
    let report = ensemble(&dir, "a b c --to deep/ens");
    fs::rename(dir.path("deep/ens"), dir.path("ens")).unwrap();
    let members = report["members"].as_array().unwrap();
    let weights: Vec<f64> =
        members.iter().map(|member| member["weight"].as_f64().unwrap()).collect();
    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(members.iter().all(|member| loss(&report) <= loss(member) + 1e-4), "{report}");
    for (run, member) in ["a", "b", "c"].iter().zip(members) {
        let line = format!("evaluate {run} --split validation --json");
        let alone = stdout_json(&dir.lstmtext(&line).assert().success());
        assert_eq!(
            (&alone["loss"], &alone["data"]),
            (&member["validation"]["loss"], &report["data"])
        );
    }
    let line = "evaluate ens --split validation --json";
    let evaluated = dir.lstmtext(line).assert().success().stderr("");
    let evaluated = stdout_json(&evaluated);
    assert!((evaluated["loss"].as_f64().unwrap() - loss(&report)).abs() < 1e-12);
    assert_eq!((&evaluated["data"], &evaluated["epoch"]), (&report["data"], &Value::Null));
    dir.lstmtext("evaluate a --split test --compare ens")
        .assert()
        .success()
        .stdout(contains("McNemar"));
    let table = dir.lstmtext("evaluate ens --split test").assert().success();
    assert!(stdout(&table).contains("ens (3 models)"));

    let texts = ["n1 pos2 n3", "neg1 pos1", ""];
    let each = ["a", "b", "c"].map(|run| predictions(&dir, run, &texts));
    let together = predictions(&dir, "ens", &texts);
    let library = Classifier::load(dir.path("ens")).unwrap().predict(&texts).unwrap();
    for index in 0..texts.len() {
        let expected: f64 = weights.iter().zip(&each).map(|(w, each)| w * each[index]).sum();
        assert!((together[index] - expected).abs() < 1e-9);
        let class = library[index].classes.iter().find(|class| class.label == "pos").unwrap();
        assert!((class.probability - expected).abs() < 1e-9);
    }
    let server = Server::start(&dir, "ens");
    let (status, served) = server.post("/predict", &json!({"text": texts[0]}));
    assert_eq!(status, 200);
    assert!((probability_of(&served, "pos") - together[0]).abs() < 1e-9);
    let (_, health) = server.request("GET", "/healthz", b"");
    assert!(health.contains(r#""methods":["leave-one-out"]"#), "{health}");
    let explain =
        |method: Value| server.post("/explain", &json!({"text": texts[0], "method": method}));
    assert_eq!(explain(Value::Null).1["method"], "leave-one-out");
    let (status, refused) = explain("integrated-gradients".into());
    assert_eq!(status, 422, "{refused}");
}

#[test]
fn several_models_can_be_named_instead_of_an_ensemble() {
    let dir = with_runs();
    ensemble(&dir, "a b --weights equal --to equal");
    let texts = ["n1 pos3 neg4 pos5", "neg1 n2"];
    assert_eq!(predictions(&dir, "a --with b", &texts), predictions(&dir, "equal", &texts));
    let three = predictions(&dir, "equal --with c", &texts);
    let [equal, c] = ["equal", "c"].map(|model| predictions(&dir, model, &texts));
    let mean: Vec<f64> = equal.iter().zip(c).map(|(a, b)| (a + b) / 2.0).collect();
    assert!(three.iter().zip(mean).all(|(a, b)| (a - b).abs() < 1e-6));
    let evaluate = |model: &str| {
        stdout_json(&dir.lstmtext(&format!("evaluate {model} --json")).assert().success())["loss"]
            .clone()
    };
    assert_eq!(evaluate("a --with b"), evaluate("equal"));
    ensemble(&dir, "a b --average log-odds --weights equal --to odds");
    let message = ["odds\" averages log-odds", "lstmtext ensemble"];
    assert_fails(dir.lstmtext("predict a --with odds text"), 1, &message);
    let dir = dir.data(&["x", "y"]);
    dir.train("small.yaml --out other");
    assert_fails(dir.lstmtext("predict a --with other text"), 1, &["has the labels x, y"]);
}

#[test]
fn averaged_log_odds_are_explained_exactly() {
    let dir = with_runs();
    ensemble(&dir, "a b c --to ens --average log-odds --weights 3,2,1");
    let explain = |model: &str| {
        let mut command = dir.lstmtext(&format!("explain {model} --class pos --json"));
        stdout_json(&command.arg("n1 pos2 neg3").assert().success())[0].take()
    };
    let whole = explain("ens");
    let log_odds = |explanation: &Value| explanation["log_odds"].as_f64().unwrap();
    let members = ["a", "ens/members/2", "c/best"].map(explain);
    let members = members.iter().map(log_odds);
    let expected: f64 =
        [3.0, 2.0, 1.0].iter().zip(members).map(|(w, member)| w * member / 6.0).sum();
    assert!((log_odds(&whole) - expected).abs() < 1e-6);
    let words = whole["inputs"][0]["words"].as_array().unwrap();
    let sum: f64 = words.iter().map(|word| word["contribution"].as_f64().unwrap()).sum();
    let integration = &whole["integration"];
    let [baseline, gap] =
        ["baseline_log_odds", "completeness_gap"].map(|key| integration[key].as_f64().unwrap());
    assert!((sum - gap - (log_odds(&whole) - baseline)).abs() < 1e-6);
    assert!(words.iter().any(|word| word["word"] == "pos2" && word["known"] == true));
    dir.lstmtext("explain ens pos1").assert().success().stdout(contains("pos1"));
}

#[test]
fn weights_are_equal_or_given_or_chosen_on_validation_examples() {
    let dir = with_runs();
    let weights = |report: &Value| -> Vec<f64> {
        let members = report["members"].as_array().unwrap();
        members.iter().map(|member| member["weight"].as_f64().unwrap()).collect()
    };
    let equal = ensemble(&dir, "a b --to equal --weights equal");
    assert_eq!(weights(&equal), [0.5, 0.5]);
    assert_eq!(weights(&ensemble(&dir, "a b --to given --weights 1,3")), [0.25, 0.75]);
    for average in ["probabilities", "log-odds"] {
        let line = format!("a c --average {average} --weights equal --to equal-{average}");
        let equal = ensemble(&dir, &line);
        let chosen = ensemble(&dir, &format!("a c --average {average} --to {average}"));
        assert!(loss(&chosen) <= loss(&equal) + 1e-6, "{chosen}");
        let again =
            ensemble(&dir, &format!("a c --average {average} --to again-{average} --threads 3"));
        assert_eq!(weights(&again), weights(&chosen));
        let manifest = dir.json(&format!("{average}/ensemble.json"));
        assert_eq!(manifest["average"], average.replace('-', "_"));
    }
    let table = dir.lstmtext("ensemble a b --to table").assert().success();
    let table = stdout(&table);
    for part in ["validation: 60 examples", "weight", "accuracy", "a/best", "b/best", "table"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    for (line, code, parts) in [
        ("a b --weights 1", 2, &["a number for each of the 2 models, found 1"][..]),
        ("a b --weights 0,0", 2, &["not all 0"]),
        ("a b --weights -1,2", 2, &[]),
        ("a b --weights some", 2, &["auto, equal, or numbers"]),
        ("a", 2, &[]),
        ("a a", 2, &["\"a\" is given twice"]),
        ("a equal", 2, &["is an ensemble", "equal/members/1"]),
        ("a none", 1, &["no checkpoint \"none\""]),
    ] {
        assert_fails(dir.lstmtext(&format!("ensemble {line} --to new")), code, parts);
        assert!(!dir.path("new").exists());
    }
    let before = dir.bytes("equal/ensemble.json");
    assert_fails(dir.lstmtext("ensemble a b --to equal"), 1, &["already exists"]);
    assert_eq!(dir.bytes("equal/ensemble.json"), before);
}

#[test]
fn weights_are_not_chosen_on_training_examples() {
    let dir = with_runs();
    dir.train("small.yaml --out other --set data.split.seed=7");
    let line = "ensemble a other --to ens";
    let parts =
        ["cannot choose weights; pass --weights equal", "other/best", "was trained on some"];
    assert_fails(dir.lstmtext(line), 1, &parts);
    let done = dir.lstmtext(&format!("{line} --weights equal")).assert().success();
    assert!(stderr(&done).contains("its score says little"), "{}", stderr(&done));
    let split = dir.lstmtext("evaluate ens --split validation").assert().success();
    assert!(stderr(&split).contains("was trained on a different split"), "{}", stderr(&split));
    fs::rename(dir.path("train.csv"), dir.path("moved.csv")).unwrap();
    assert_fails(dir.lstmtext("ensemble a b --to moved"), 1, &["train.csv", "--weights equal"]);
    let report = ensemble(&dir, "a b --to moved --set data.train=moved.csv");
    assert!(report["validation"]["loss"].is_number());
    let done = dir.lstmtext("ensemble a b --to blind --weights equal --json").assert().success();
    assert!(stderr(&done).contains("no validation scores"));
    assert_eq!(stdout_json(&done)["validation"], Value::Null);
}

#[test]
fn models_with_other_labels_or_columns_do_not_fit_together() {
    let dir = with_runs();
    let data = csv(&examples(&["yes", "no"], 100, 1));
    let columns = String::from_utf8(data.clone()).unwrap().replacen("text,", "body,", 1);
    let dir = dir.file("labels.csv", &data).file("columns.csv", columns);
    let set = "--set data.test=null --set train.epochs=1";
    dir.train(&format!("small.yaml --out labels --set data.train=labels.csv {set}"));
    dir.train(&format!("small.yaml --out reversed --set data.labels=[pos,neg] {set}"));
    dir.train(&format!(
        "small.yaml --out columns --set data.train=columns.csv {set} --set data.text_column=body"
    ));
    let command = |line: &str| dir.lstmtext(&format!("ensemble {line} --to ens --weights equal"));
    assert_fails(command("a labels"), 1, &["labels/best", "no, yes", "neg, pos"]);
    assert_fails(command("a reversed"), 1, &["same labels in the same order"]);
    assert_fails(command("labels columns"), 1, &["text columns body", "reads text"]);
    assert!(!dir.path("ens").exists());
}

#[test]
fn commands_that_need_a_single_model_say_so() {
    let dir = with_runs();
    ensemble(&dir, "a b --to ens");
    let error = ["is an ensemble", "ens/members/1"];
    for line in ["export ens --to out", "states ens pos1", "import ens x.npz --to out"] {
        assert_fails(dir.lstmtext(line), 1, &error);
    }
    for line in ["train ens", "train --resume ens", "plot ens", "runs diff ens a", "summary ens"] {
        let done = dir.lstmtext(line).assert().failure();
        assert!(stderr(&done).contains("is an ensemble"), "{line}: {}", stderr(&done));
    }
    dir.lstmtext("export ens/members/2 --to out").assert().success();
    dir.lstmtext("evaluate ens/members/1 --split test").assert().success();
    let listed = stdout(&dir.lstmtext("runs . --json").assert().success());
    assert!(!listed.contains("members"), "{listed}");
}

#[test]
fn a_damaged_ensemble_is_rejected() {
    let dir = with_runs();
    ensemble(&dir, "a b --to ens");
    let manifest = dir.read("ens/ensemble.json");
    let predict = || dir.lstmtext("predict ens pos1");
    for (damaged, part) in [
        (manifest.replacen("\"weight\": 0", "\"weight\": 1", 1), "damaged"),
        (manifest.replacen("\"version\": 1", "\"version\": 9", 1), "newer lstmtext"),
        (manifest.replacen("lstmtext ensemble", "other", 1), "has the format \"other\""),
        ("{".to_owned(), "cannot parse"),
    ] {
        fs::write(dir.path("ens/ensemble.json"), damaged).unwrap();
        assert_fails(predict(), 1, &["cannot use the ensemble \"ens\"", part]);
    }
    fs::write(dir.path("ens/ensemble.json"), manifest).unwrap();
    predict().assert().success();
    fs::rename(dir.path("ens/members/1"), dir.path("first")).unwrap();
    assert_fails(predict(), 1, &["cannot use the ensemble", "members/1"]);
    fs::rename(dir.path("ens/members/2"), dir.path("ens/members/1")).unwrap();
    fs::rename(dir.path("first"), dir.path("ens/members/2")).unwrap();
    assert_fails(predict(), 1, &["members/1\" is not the checkpoint that ensemble.json records"]);
}

#[test]
fn a_full_disk_or_a_signal_leaves_nothing_behind() {
    let dir = with_runs();
    let before = dir.names(".");
    let line = "ensemble a b --to ens --weights equal";
    let error = fails_with_limit(dir.process(line), libc::RLIMIT_FSIZE, 2_000);
    assert!(error.contains("cannot save the ensemble \"ens\""), "{error}");
    assert_eq!(dir.names("."), before);
    for milliseconds in [10, 40, 60, 80, 100, 120, 150, 200] {
        let process = dir.process(line).spawn().unwrap();
        thread::sleep(Duration::from_millis(milliseconds));
        // SAFETY: the process has not been waited for, so its ID is its own.
        unsafe { libc::kill(process.id() as libc::pid_t, libc::SIGINT) };
        match wait(process) {
            (Some(0), _) => {
                dir.lstmtext("evaluate ens --split test").assert().success();
                fs::remove_dir_all(dir.path("ens")).unwrap();
            }
            (code, stderr) => assert!(matches!(code, None | Some(130)), "{code:?}: {stderr}"),
        }
        assert_eq!(dir.names("."), before);
    }
}

#[test]
fn an_ensemble_of_models_that_learned_nothing_predicts_texts_of_a_file() {
    let config = "data: {train: train.csv}\nmodel: {lstm: {units: 2}}\ntrain: {epochs: 1}\n";
    let dir = with_noise(config).file("texts.txt", lines(&noise(20, 3)));
    for seed in [1, 2] {
        dir.train(&format!("long.yaml --set train.seed={seed} --out run{seed}"));
    }
    let report = ensemble(&dir, "run1 run2 --to ens");
    let weights =
        report["members"].as_array().unwrap().iter().map(|member| member["weight"].clone());
    assert!((floats(&weights.collect()).iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let done = dir.lstmtext("predict ens --file texts.txt --format jsonl").assert().success();
    assert_eq!(stdout_json_lines(&done).len(), 20);
}

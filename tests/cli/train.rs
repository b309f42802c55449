//! `lstmtext train`: files, messages and errors.

use std::fs;
use std::path::Path;

use predicates::prelude::*;
use predicates::str::{contains, is_match};
use serde_json::{Value, json};

use crate::common::{ENVIRONMENT, TestDir, assert_fails, csv, noise, stderr, stdout, stdout_json};

/// Number of steps per epoch: 600 examples, of which 60 are for validation, in batches of 32.
pub const STEPS: u64 = 540_u64.div_ceil(32);

/// Trains `small.yaml` with these fields in the directory `run`.
pub fn train_with(dir: &TestDir, run: &str, fields: &[&str]) {
    let sets: String = fields.iter().map(|field| format!(" --set {field}")).collect();
    dir.train(&format!("small.yaml --out {run}{sets}"));
}

pub fn values(records: &[Value], pointer: &str) -> Vec<f64> {
    records.iter().map(|record| record.pointer(pointer).unwrap().as_f64().unwrap()).collect()
}

#[test]
fn the_run_directory_has_all_documented_files() {
    let dir = TestDir::with_run();
    let names = dir.names("run");
    let (events, others): (Vec<&str>, Vec<&str>) =
        names.iter().map(String::as_str).partition(|name| name.starts_with("events.out.tfevents."));
    assert_eq!(
        others,
        [
            "best",
            "config.yaml",
            "last",
            "metrics.jsonl",
            "summary.json",
            "test",
            "times.jsonl",
            "train",
            "validation"
        ]
    );
    assert_eq!(events.len(), 1, "{events:?}");
    for sub_run in ["test", "train", "validation"] {
        assert_eq!(dir.names(&format!("run/{sub_run}")).len(), 1, "{sub_run}");
    }
    let checkpoint = [
        "checkpoint.json",
        "config.yaml",
        "model.safetensors",
        "optimizer.safetensors",
        "progress.json",
        "vocabulary.json",
    ];
    assert_eq!(
        (dir.names("run/best"), dir.names("run/last")),
        (checkpoint.map(str::to_owned).to_vec(), checkpoint.map(str::to_owned).to_vec())
    );
}

#[test]
fn metrics_have_one_line_per_validation() {
    let dir = TestDir::with_run();
    let records = dir.metrics("run");
    assert_eq!(values(&records, "/epoch"), [1.0, 2.0, 3.0, 4.0]);
    let steps: Vec<f64> = (1..=4).map(|epoch| (epoch * STEPS) as f64).collect();
    assert_eq!(values(&records, "/step"), steps);
    for record in &records {
        let keys: Vec<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.len(), 5, "{keys:?}");
        for field in ["learning_rate", "train/loss", "validation/loss"] {
            assert!(record.pointer(&format!("/{field}")).unwrap().as_f64().unwrap() > 0.0);
        }
        for split in ["train", "validation"] {
            let accuracy = record[split]["accuracy"].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&accuracy), "{record}");
            assert_eq!(record[split].as_object().unwrap().len(), 2, "{record}");
        }
    }
}

#[test]
fn the_summary_describes_the_best_epoch() {
    let dir = TestDir::with_run();
    let (summary, records) = (dir.summary("run"), dir.metrics("run"));
    let losses = values(&records, "/validation/loss");
    let best = (0..losses.len()).min_by(|a, b| losses[*a].total_cmp(&losses[*b])).unwrap();
    assert_eq!(summary["best_epoch"], best + 1);
    assert_eq!(summary["validation"], records[best]["validation"]);
    let seconds = summary["seconds"].as_f64().unwrap();
    let times = dir.json_lines("run/times.jsonl");
    assert_eq!(values(&times, "/step"), values(&records, "/step"));
    assert!((seconds - values(&times, "/train_seconds").iter().sum::<f64>()).abs() < 1e-9);
    assert!(summary["tokens_per_second"].as_f64().unwrap() > 0.0);
    // Embedding, LSTM with one bias per gate, and the head's weights and bias.
    let words = dir.json("run/best/vocabulary.json").as_array().unwrap().len();
    assert_eq!(summary["parameters"], words * 8 + 4 * 8 * (8 + 8 + 1) + 8 + 1);
    let mut keys: Vec<&String> = summary.as_object().unwrap().keys().collect();
    keys.sort();
    let documented = [
        "best_epoch",
        "notes",
        "parameters",
        "scored",
        "seconds",
        "test",
        "test_data",
        "tokens_per_second",
        "validation",
        "validation_data",
        "validation_examples",
        "warnings",
    ];
    assert_eq!(keys, documented);
    assert_eq!(summary["scored"], json!({"checkpoint": "best", "epoch": best + 1}));
}

/// The validation score is that of the same weights.
#[test]
fn the_last_weights_are_scored_if_the_best_are_not_restored() {
    let dir = TestDir::with_data().file("train.csv", csv(&noise(600, 1)));
    let overfit = "--set train.epochs=6 --set train.early_stopping.patience=null";
    dir.train(&format!("small.yaml --out best {overfit}"));
    dir.train(&format!(
        "small.yaml --out last {overfit} --set train.early_stopping.restore_best=false"
    ));
    assert_eq!(dir.best_weights("best"), dir.best_weights("last"));
    assert!(dir.summary("last")["best_epoch"].as_u64().unwrap() < 6, "the model must overfit");
    for run in ["best", "last"] {
        let done = dir.lstmtext(&format!("evaluate {run}/{run} --json")).assert().success();
        assert_eq!(dir.summary(run)["test"]["loss"], stdout_json(&done)["loss"], "{run}");
        let line = format!("evaluate {run}/{run} --split validation --json");
        let validation = stdout_json(&dir.lstmtext(&line).assert().success());
        let summary = dir.summary(run);
        assert_eq!(summary["validation"]["loss"], validation["loss"], "{run}");
        assert_eq!(summary["scored"]["checkpoint"], run);
        assert_eq!(summary["scored"]["epoch"], validation["epoch"], "{run}");
    }
    // Every command that names a run says which weights its scores belong to.
    let note = "these are the scores of \"last/best\"; the run reports those of \"last/last\"";
    let evaluation = dir.lstmtext("evaluate last").assert().success().stderr(contains(note));
    evaluation.stdout(contains("last/best (epoch "));
    let compared = dir.lstmtext("evaluate best --compare last --json").assert().success();
    let comparison = &stdout_json(&compared.stderr(contains(note)))["comparison"];
    assert_eq!(
        (&comparison["checkpoint"], &comparison["epoch"]),
        (&json!("last/best"), &dir.summary("last")["best_epoch"])
    );
    let compared = dir.lstmtext("evaluate best --compare last").assert().success();
    compared.stdout(contains("best/best ").and(contains("last/best ")));
    dir.lstmtext("evaluate last/last").assert().success().stderr(contains(note).not());
    dir.lstmtext("runs .").assert().success().stdout(contains("last of 6"));
}

#[test]
fn scores_are_on_stdout_and_everything_else_on_stderr() {
    let dir = TestDir::with_data();
    let done = dir.train("small.yaml --out run");
    let score = r"accuracy \d+\.\d\d %  loss \d\.\d{4}  best/ \(epoch \d\)\n";
    let result = format!("^validation  {score}test        {score}$");
    let done = done.stdout(is_match(result).unwrap());
    let parameters = dir.summary("run")["parameters"].as_u64().unwrap();
    let total = format!("Total params: {},{:03}\n", parameters / 1_000, parameters % 1_000);
    done.stderr(
        contains("540 training, 60 validation, 200 test examples; labels neg, pos")
            .and(contains(total))
            .and(contains("stopped: trained 4 epochs; best was epoch "))
            .and(contains("tensorboard --logdir ")),
    );
}

#[test]
fn each_new_best_is_marked() {
    let dir = TestDir::with_data().file("train.csv", csv(&noise(600, 1)));
    let done = dir.train(
        "small.yaml --out run --set train.epochs=6 --set train.early_stopping.patience=null",
    );
    let shown: Vec<bool> = stderr(&done)
        .lines()
        .filter(|line| line.contains("; validation loss "))
        .map(|line| line.ends_with("; best so far"))
        .collect();
    let losses = values(&dir.metrics("run"), "/validation/loss");
    let expected: Vec<bool> = (0..losses.len())
        .map(|epoch| losses[..epoch].iter().all(|earlier| losses[epoch] < *earlier))
        .collect();
    assert_eq!(shown, expected, "{losses:?}");
    assert!(expected.contains(&false), "the test needs an epoch that is not a new best");
}

#[test]
fn the_printed_next_command_works() {
    let dir = TestDir::with_data();
    let done = dir.train("small.yaml").stderr(contains("\nnext:\n  "));
    let stderr = stderr(&done);
    let command = stderr.lines().find(|line| line.contains(" predict ")).unwrap();
    assert_cmd::Command::new("sh")
        .args(["-c", command.trim()])
        .current_dir(dir.path(""))
        .envs(ENVIRONMENT)
        .assert()
        .success()
        .stdout(is_match(r"^(neg|pos)  0\.\d{4}  Your text").unwrap());
}

#[test]
fn json_on_stdout_is_the_summary() {
    let dir = TestDir::with_data();
    let done = dir.train("small.yaml --out run --json");
    let mut printed = stdout_json(&done);
    let run = printed.as_object_mut().unwrap().remove("run").unwrap();
    assert_eq!(Path::new(run.as_str().unwrap()), dir.path("run").canonicalize().unwrap());
    assert_eq!(printed, dir.summary("run"));
}

#[test]
fn no_test_leaves_the_test_examples_unscored() {
    let dir = TestDir::with_run();
    let done = dir.train("small.yaml --out untested --no-test");
    assert!(!stdout(&done).contains("test") && stdout(&done).contains("validation"));
    assert!(stderr(&done).contains("note: 200 test examples are not scored (--no-test)"));
    assert!(dir.summary("untested")["test"].is_null());
    assert_eq!(dir.read("run/metrics.jsonl"), dir.read("untested/metrics.jsonl"));
    let scored = stdout_json(&dir.lstmtext("evaluate untested --json").assert().success());
    assert_eq!(scored["accuracy"], dir.summary("run")["test"]["accuracy"]);
}

#[test]
fn a_run_without_test_examples_has_no_test_score() {
    let dir = TestDir::with_data();
    let done = dir.train("small.yaml --out run --set data.test=null");
    assert_eq!(dir.summary("run")["test"], Value::Null);
    assert_eq!(stdout(&done).lines().count(), 1);
}

#[test]
fn a_run_is_never_overwritten() {
    let dir = TestDir::with_run();
    let before = dir.read("run/metrics.jsonl");
    assert_fails(
        dir.lstmtext("train small.yaml --out run"),
        1,
        &["already contains a run", "--resume"],
    );
    assert_eq!(dir.read("run/metrics.jsonl"), before);
}

#[test]
fn runs_are_named_after_configuration_and_time() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --set train.epochs=1");
    dir.train("small.yaml --set train.epochs=1 --set name=other");
    // The second run may start in the same second as the first.
    let named = |name: &str| is_match(format!(r"^{name}-\d{{8}}-\d{{6}}(-2)?$")).unwrap();
    let names = dir.names("runs");
    assert!(
        names.len() == 2 && named("other").eval(&names[0]) && named("small").eval(&names[1]),
        "{names:?}"
    );
}

/// For example after a typing error, which the user corrects and then uses the same --out.
#[test]
fn a_run_that_cannot_start_leaves_its_directory_usable() {
    let dir = TestDir::with_data();
    let wrong = dir.lstmtext("train small.yaml --out run --set data.train=trian.csv");
    assert_fails(wrong, 1, &["trian.csv"]);
    dir.train("small.yaml --out run --set train.epochs=1");
}

#[test]
fn runs_depend_on_the_seed_only() {
    let dir = TestDir::with_data();
    for run in ["a --threads 2", "b --threads 2", "c --threads 2 --set train.seed=2"] {
        dir.train(&format!("small.yaml --set model.embedding.word_dropout=0.2 --out {run}"));
    }
    for checkpoint in ["best", "last"] {
        let weights = |run| dir.bytes(&format!("{run}/{checkpoint}/model.safetensors"));
        assert!(weights("a") == weights("b"), "{checkpoint} differs");
        assert!(weights("a") != weights("c"), "{checkpoint} is the same");
    }
    assert_eq!(dir.metrics("a"), dir.metrics("b"));
    assert_eq!(dir.timeless_summary("a"), dir.timeless_summary("b"));
    assert_ne!(dir.metrics("a"), dir.metrics("c"));
    // The split does not depend on the seed, so runs with several seeds are comparable.
    let vocabulary = |run| dir.bytes(&format!("{run}/best/vocabulary.json"));
    assert_eq!(vocabulary("a"), vocabulary("c"));
}

#[test]
fn the_number_of_threads_is_configurable() {
    let dir = TestDir::with_data();
    for threads in [1, 2] {
        let done = dir.train(&format!("small.yaml --threads {threads} --set train.epochs=1"));
        done.stderr(contains(format!(", {threads} thread")));
    }
    assert_fails(dir.lstmtext("train small.yaml --threads 0"), 2, &["--threads"]);
}

#[test]
fn validation_runs_every_n_steps_and_at_the_end() {
    let dir = TestDir::with_data();
    train_with(&dir, "run", &["train.validate_every=10", "train.epochs=2"]);
    let records = dir.metrics("run");
    assert_eq!(values(&records, "/step"), [10.0, 20.0, 30.0, 2.0 * STEPS as f64]);
    assert_eq!(values(&records, "/epoch"), [1.0, 2.0, 2.0, 2.0]);
}

#[test]
fn an_automatic_token_budget_needs_cuda() {
    let dir = TestDir::with_data();
    let line = "train small.yaml --out run --set train.token_budget=auto";
    let expected = ["train.token_budget: auto", "set a number of tokens"];
    assert_fails(dir.lstmtext(line), 2, &expected);
    assert!(!dir.path("run").exists(), "a run that cannot start leaves nothing behind");
    dir.train("small.yaml --out run");
    dir.lstmtext("evaluate run --set train.token_budget=auto").assert().success();
}

/// Options for CUDA do not change a run of the native backend.
#[test]
fn precision_and_determinism_apply_to_cuda_only() {
    let dir = TestDir::with_data();
    train_with(&dir, "plain", &[]);
    let run = "small.yaml --out half --set precision=fp16 --set deterministic=true";
    dir.train(run).stderr(contains("note: precision: fp16 is for CUDA; the native backend"));
    assert_eq!(dir.read("plain/metrics.jsonl"), dir.read("half/metrics.jsonl"));
}

#[test]
fn a_diverging_run_fails_and_reports_the_step() {
    let dir = TestDir::with_data();
    let command = dir.lstmtext(
        "train small.yaml --out run --set train.optimizer=sgd --set train.learning_rate=1e38 \
         --set train.gradient_clip=null --set train.schedule.name=constant",
    );
    let message = assert_fails(command, 1, &["diverged", "lower train.learning_rate"]);
    let position = r"step (\d+) \(epoch \d, batch \d+\): loss .*learning rate 1(0{38}|e38)";
    assert!(is_match(position).unwrap().eval(&message), "{message}");
    assert!(!fs::exists(dir.path("run/summary.json")).unwrap());
}

/// The run ends with exit code 0, but no command hides that its model is useless.
#[test]
fn a_model_that_has_learned_nothing_is_reported() {
    let dir = TestDir::with_data();
    let mut warnings = 0;
    for (run, fields, expected) in [
        (
            "diverged",
            "train.optimizer=sgd --set train.learning_rate=1e5",
            "lower train.learning_rate, lower train.gradient_clip, or",
        ),
        (
            "unclipped",
            "train.optimizer=sgd --set train.learning_rate=1e3 --set train.gradient_clip=null",
            "lower train.learning_rate, set train.gradient_clip, or",
        ),
        (
            "cold",
            "train.schedule.warmup_steps=1000000000",
            "is 1000000000, but the run has 68 steps",
        ),
        ("still", "train.learning_rate=1e-9", "better than always predicting \""),
    ] {
        let line = format!("small.yaml --out {run} --set {fields}");
        let fields = "--set train.early_stopping.patience=null";
        let message = stderr(&dir.train(&format!("{line} {fields}")));
        assert!(message.contains("\nwarning: ") && message.contains(expected), "{message}");
        let summary = dir.summary(run);
        assert!(summary["warnings"].to_string().contains(expected.trim_end_matches('"')));
        assert!(!message.contains("class_weights"), "the classes are balanced: {message}");
        warnings += summary["warnings"].as_array().unwrap().len();
    }
    let listed = stdout(&dir.lstmtext("runs .").assert().success());
    assert_eq!(listed.matches("    warning: ").count(), warnings, "{listed}");
    let message = stderr(&dir.train("small.yaml --out good"));
    assert!(!message.contains("warning: "), "{message}");
}

#[test]
fn class_weights_are_advised_for_unbalanced_classes_without_them() {
    let label = |index: usize| if index.is_multiple_of(10) { "rare" } else { "often" };
    let rows: String = (0..200).map(|index| format!("film {index},{}\n", label(index))).collect();
    let dir = TestDir::with_data().file("rare.csv", format!("text,label\n{rows}"));
    let warning = |fields: &str| {
        let line = "train small.yaml --set data.train=rare.csv --set data.test=null \
                    --set train.learning_rate=1e-9";
        stderr(&dir.lstmtext(&format!("{line} {fields}")).assert().success())
    };
    let advice = "train.class_weights: balanced";
    let message = warning("--out none");
    assert!(message.contains("better than always predicting \"often\" (accuracy 90."), "{message}");
    assert!(message.contains("on the validation examples, the model (accuracy "), "{message}");
    assert!(message.contains(advice), "{message}");
    let message = warning("--out balanced --set train.class_weights=balanced");
    assert!(message.contains("warning: ") && !message.contains(advice), "{message}");
}

#[test]
fn a_run_that_cannot_start_leaves_no_directory() {
    let dir = TestDir::with_data();
    let overrides =
        ["data.train=missing.csv", "data.text_column=nope", "data.labels=[pos,neg,other]"];
    for set in overrides {
        assert_fails(dir.lstmtext(&format!("train small.yaml --set {set}")), 1, &[]);
        assert!(!dir.path("runs").exists());
    }
}

#[test]
fn weights_that_are_not_finite_are_not_saved_as_best() {
    let dir = TestDir::with_data();
    let command = dir.lstmtext(
        "train small.yaml --out run --set train.optimizer=sgd --set train.gradient_clip=null \
         --set train.learning_rate=1e300 --set train.validate_every=1",
    );
    assert_fails(
        command,
        1,
        &["diverged at the validation after step 1", "1e300", "no checkpoint"],
    );
    assert!(!dir.path("run/best").exists() && !dir.path("run/metrics.jsonl").exists());
}

#[test]
fn an_unknown_device_is_rejected() {
    let dir = TestDir::with_data();
    assert_fails(dir.lstmtext("train small.yaml --device gpu"), 2, &["cuda:N"]);
}

/// Returns the notes of a command about texts of which nothing is known.
fn unknown_texts(dir: &TestDir, line: &str) -> Vec<String> {
    let done = dir.lstmtext(line).assert().success();
    let lines = stderr(&done) + &stdout(&done);
    let is_about = |line: &&str| {
        line.starts_with("note: ")
            && ["known word", " empty", "script"].iter().any(|part| line.contains(part))
    };
    lines.lines().filter(is_about).map(str::to_owned).collect()
}

#[test]
fn texts_of_which_nothing_is_known_are_counted() {
    let row = |n: usize| match n % 4 {
        0 => format!(",{}\n", ["neg", "pos"][n / 4 % 2]),
        1 => format!("w{n},neg\n"),
        _ => format!("{} {n},{}\n", ["bad", "good"][n % 2], ["neg", "pos"][n % 2]),
    };
    let rows: String = (0..80).map(row).collect();
    let yaml = "data: {train: train.csv, validation: validation.csv}\n\
                model: {embedding: {size: 4}, lstm: {units: 4}}\ntrain: {epochs: 1}\n";
    let dir = TestDir::new()
        .file("train.csv", format!("text,label\n{rows}"))
        .file("validation.csv", "text,label\nbad,neg\ngood,pos\n,pos\nnew,neg\n")
        .file("c.yaml", yaml);
    let notes = unknown_texts(&dir, "train c.yaml --out run");
    let empty = "empty; remove them, or check data.text_column";
    let rare =
        "no known word; lower text.min_count, which drops words that occur less than 2 times";
    let expected = [
        format!("note: 20 of 80 training texts are {empty}"),
        format!("note: 20 of 80 training texts have {rare}"),
        format!("note: 1 of 4 validation texts is {empty}"),
        format!("note: 1 of 4 validation texts has {rare}"),
    ];
    assert_eq!(notes, expected);
    let stats = unknown_texts(&dir, "data stats c.yaml");
    assert_eq!(stats[1], expected[1]);
    let evaluated = unknown_texts(&dir, "evaluate run --data validation.csv");
    assert_eq!(evaluated[1], format!("note: 1 of 4 texts has {rare}"));
    let all = unknown_texts(&dir, "train c.yaml --out all --set text.min_count=1");
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!(all[2], "note: 1 of 4 validation texts has no known word");
}

/// Chinese has no spaces, so that every clause would be a word of its own if it were not split.
#[test]
fn a_tokenizer_that_does_not_fit_the_script_is_reported() {
    let row = |n: usize| match n % 2 {
        0 => format!("导演手法实在平庸{n}，画面效果相当平庸{n}。,neg\n"),
        _ => format!("背景音乐非常有趣{n}，故事情节真的出色{n}。,pos\n"),
    };
    let rows: String = (0..40).map(row).collect();
    let dir = TestDir::with_data().file("train.csv", format!("text,label\n{rows}"));
    let line = "train small.yaml --set data.test=null --set train.epochs=1 --out";
    let notes = unknown_texts(&dir, &format!("{line} clauses --set text.version=2"));
    assert!(notes[0].ends_with("which text.version: 2 does not split; set text.version: 3"));
    assert_eq!(notes[1], "note: 36 of 36 training texts have no known word");
    // Without a word that occurs twice, there is no vocabulary.
    let row = |n: u32| {
        let own = char::from_u32(0x4E00 + n).unwrap();
        format!("{own}好看,{}\n", ["neg", "pos"][n as usize % 2])
    };
    let short: String = (0..40).map(row).collect();
    let dir = dir.file("short.csv", format!("text,label\n{short}"));
    for command in ["train", "data stats"] {
        let line = format!("{command} small.yaml --set data.test=null --set data.train=short.csv");
        let whitespace = format!("{line} --set text.tokenizer=whitespace");
        assert_fails(dir.lstmtext(&whitespace), 1, &["set text.tokenizer: words"]);
    }
    for tokenizer in ["words", "characters"] {
        let line = format!("{line} {tokenizer} --set text.tokenizer={tokenizer}");
        assert_eq!(unknown_texts(&dir, &line), [""; 0]);
    }
    // The tokens of a recorded run stay as they were.
    let found = stdout(&dir.lstmtext("explain words 导演真有趣 --json").assert().success());
    assert!(found.contains("\"导\"") && found.contains("\"趣\""), "{found}");
}

#[test]
fn a_column_of_empty_texts_is_reported_with_its_name() {
    let row = |n: usize| format!(",film {n},{}\n", ["neg", "pos"][n % 2]);
    let rows: String = (0..40).map(row).collect();
    let dir = TestDir::with_data().file("empty.csv", format!("notes,text,label\n{rows}"));
    let line = "small.yaml --set data.test=null --set data.train=empty.csv";
    for command in ["train", "data stats", "data split --to new"] {
        let all = dir.lstmtext(&format!("{command} {line} --set data.text_column=notes"));
        let message =
            "error: all 40 training texts are empty; check data.text_column, which is notes\n";
        assert_fails(all, 1, &[message]);
        let inputs = "--set inputs.a.column=text --set inputs.b.column=notes";
        if command != "data split --to new" {
            let one = dir.lstmtext(&format!("{command} {line} {inputs}"));
            assert_fails(one, 1, &["b: all ", "check inputs.b.column, which is notes"]);
        }
    }
}

//! `lstmtext train`: results, files and messages.

use std::f64::consts::PI;
use std::fs;

use predicates::prelude::*;
use predicates::str::{contains, is_match};
use serde_json::Value;

use crate::common::{
    ENVIRONMENT, Example, TestDir, assert_fails, csv, examples, noise, stderr, stdout, stdout_json,
};

/// Fields without a useful default.
const FOUR_FIELDS: &str = "\
data:
  train: train.csv
  test: test.csv
  text_column: review
  label_column: sentiment
";

/// Number of steps per epoch: 600 examples, of which 60 are for validation, in batches of 32.
const STEPS: u64 = 540_u64.div_ceil(32);

/// Creates `defaults.yaml`, and data in columns whose names are not the default ones.
fn with_defaults(train: &[Example], test: &[Example]) -> TestDir {
    let renamed = |examples| {
        let text = String::from_utf8(csv(examples)).unwrap();
        text.replacen("text,label", "review,sentiment", 1)
    };
    TestDir::new()
        .file("defaults.yaml", FOUR_FIELDS)
        .file("train.csv", renamed(train))
        .file("test.csv", renamed(test))
}

/// Trains `small.yaml` with these fields in the directory `run`.
fn train_with(dir: &TestDir, run: &str, fields: &[&str]) {
    let sets: String = fields.iter().map(|field| format!(" --set {field}")).collect();
    dir.train(&format!("small.yaml --out {run}{sets}"));
}

fn values(records: &[Value], pointer: &str) -> Vec<f64> {
    records.iter().map(|record| record.pointer(pointer).unwrap().as_f64().unwrap()).collect()
}

#[test]
fn four_fields_are_enough_to_learn_two_classes() {
    let dir =
        with_defaults(&examples(&["neg", "pos"], 2_000, 1), &examples(&["neg", "pos"], 200, 2));
    let done = dir.train("defaults.yaml --out run");
    assert!(dir.test_accuracy("run") > 0.95, "each class has half of the test texts");
    // Test texts must differ from training texts for a meaningful score.
    assert!(!stderr(&done).contains("also training texts"));
}

#[test]
fn four_fields_are_enough_to_learn_four_classes() {
    let classes = ["sport", "money", "art", "law"];
    let dir = with_defaults(&examples(&classes, 2_400, 1), &examples(&classes, 200, 2));
    dir.train("defaults.yaml --out run");
    assert!(dir.test_accuracy("run") > 0.9, "each class has a quarter of the test texts");
}

/// Counterpart of the two tests above: scores are high only if the labels depend on the texts.
#[test]
fn random_labels_cannot_be_learned() {
    let dir = with_defaults(&noise(600, 1), &noise(400, 2));
    dir.train("defaults.yaml --out run");
    let accuracy = dir.test_accuracy("run");
    assert!((0.38..0.62).contains(&accuracy), "{accuracy}");
}

/// The classes differ only in the order of two words, which a bag of words cannot tell apart.
#[test]
fn word_order_is_learned() {
    let ordered = |count, seed| {
        let mut texts = examples(&["x", "y"], count, seed);
        for (index, example) in texts.iter_mut().enumerate() {
            let neutral = example.text.split(' ').filter(|word| word.starts_with('n'));
            let mut words: Vec<&str> = neutral.take(4).collect();
            let pair = if index % 2 == 0 { ["up", "down"] } else { ["down", "up"] };
            words.insert(index / 2 % (words.len() + 1), pair[0]);
            let first = words.iter().position(|word| *word == pair[0]).unwrap();
            words.insert(first + 1 + index / 7 % (words.len() - first), pair[1]);
            example.text = words.join(" ");
        }
        texts
    };
    let dir = TestDir::with_data()
        .file("train.csv", csv(&ordered(600, 1)))
        .file("test.csv", csv(&ordered(200, 2)));
    train_with(&dir, "run", &["model.pooling=last", "model.head.dropout=0", "train.epochs=12"]);
    assert!(dir.test_accuracy("run") > 0.9, "{}", dir.summary("run"));
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
        "parameters",
        "seconds",
        "test",
        "tokens_per_second",
        "validation",
        "validation_examples",
    ];
    assert_eq!(keys, documented);
}

#[test]
fn the_last_weights_are_tested_if_the_best_are_not_restored() {
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
    }
}

#[test]
fn scores_are_on_stdout_and_everything_else_on_stderr() {
    let dir = TestDir::with_data();
    let done = dir.train("small.yaml --out run");
    let result = r"^validation  accuracy \d+\.\d\d %  loss \d\.\d{4}\ntest        accuracy \d+\.\d\d %  loss \d\.\d{4}\n$";
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
fn an_asterisk_marks_each_new_best() {
    let dir = TestDir::with_data().file("train.csv", csv(&noise(600, 1)));
    let done = dir.train(
        "small.yaml --out run --set train.epochs=6 --set train.early_stopping.patience=null",
    );
    let is_row = is_match(r"^\d/6 ").unwrap();
    let shown: Vec<bool> = stderr(&done)
        .lines()
        .filter(|line| is_row.eval(line))
        .map(|line| line.ends_with('*'))
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
    assert_eq!(stdout_json(&done), dir.summary("run"));
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
fn every_optimizer_learns_and_differs_from_the_others() {
    let dir = TestDir::with_data();
    let optimizers =
        [("adam", 0.03), ("adamw", 0.03), ("rmsprop", 0.01), ("adadelta", 2.0), ("sgd", 0.5)];
    for (optimizer, rate) in optimizers {
        let rate = format!("train.learning_rate={rate}");
        let fields = [
            "train.sgd.momentum=0.9",
            "train.weight_decay=0.001",
            "train.schedule.name=constant",
            &rate,
        ];
        let name = format!("train.optimizer={optimizer}");
        train_with(&dir, optimizer, &[&fields[..], &[&name]].concat());
        assert!(dir.test_accuracy(optimizer) > 0.9, "{optimizer}");
    }
    // With the same seed, only the optimizer makes a difference.
    let mut weights = optimizers.map(|(optimizer, _)| dir.best_weights(optimizer)).to_vec();
    weights.sort();
    weights.dedup();
    assert_eq!(weights.len(), optimizers.len());
}

#[test]
fn learning_rates_follow_the_formula_of_each_schedule() {
    let (epochs, warmup, end) = (4, 5, 0.1);
    let total = (epochs * STEPS - warmup) as f64;
    // Factor of the learning rate. `done` is the fraction of the steps after the warm-up.
    type Formula = fn(done: f64, epoch: f64, end: f64) -> f64;
    let schedules: [(&str, Formula); 4] = [
        ("constant", |_, _, _| 1.0),
        ("linear", |done, _, end| 1.0 + (end - 1.0) * done),
        ("cosine", |done, _, end| end + (1.0 - end) * (1.0 + (PI * done).cos()) / 2.0),
        ("exponential", |_, epoch, _| 0.9_f64.powf(epoch)),
    ];
    let dir = TestDir::with_data();
    for (schedule, formula) in schedules {
        train_with(
            &dir,
            schedule,
            &[
                &format!("train.schedule.name={schedule}"),
                &format!("train.schedule.end_factor={end}"),
                &format!("train.schedule.warmup_steps={warmup}"),
                "train.validate_every=1",
                "train.early_stopping.patience=null",
                "train.epochs=4",
            ],
        );
        let rates = values(&dir.metrics(schedule), "/learning_rate");
        assert_eq!(rates.len() as u64, epochs * STEPS);
        for (step, rate) in rates.iter().enumerate() {
            let after = step as f64 - warmup as f64;
            let factor = match after < 0.0 {
                true => (step + 1) as f64 / warmup as f64,
                false => formula(after / total, (after / STEPS as f64).floor(), end),
            };
            assert!((rate - 0.05 * factor).abs() < 1e-12, "{schedule}, step {step}: {rate}");
        }
    }
}

#[test]
fn the_plateau_schedule_halves_the_rate_when_validation_stops_improving() {
    let dir = TestDir::with_data().file("train.csv", csv(&noise(600, 1)));
    train_with(
        &dir,
        "run",
        &[
            "train.schedule.name=plateau",
            "train.schedule.patience=1",
            "train.early_stopping.patience=null",
            "train.epochs=8",
        ],
    );
    let (mut best, mut waited, mut rate) = (f64::INFINITY, 0, 0.05);
    for record in dir.metrics("run") {
        assert_eq!(record["learning_rate"], rate);
        let loss = record["validation"]["loss"].as_f64().unwrap();
        waited = if loss < best { 0 } else { waited + 1 };
        best = best.min(loss);
        if waited > 1 {
            (waited, rate) = (0, rate / 2.0);
        }
    }
    assert!(rate < 0.05, "there was no plateau");
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
fn the_token_budget_determines_the_number_of_steps() {
    let dir = TestDir::with_data();
    let budget = |tokens: usize| {
        let run = format!("budget{tokens}");
        train_with(&dir, &run, &[&format!("train.token_budget={tokens}"), "train.epochs=1"]);
        dir.metrics(&run)[0]["step"].as_u64().unwrap() as usize
    };
    let parts = stdout_json(&dir.lstmtext("data stats small.yaml --json").assert().success());
    let tokens = parts["parts"][0]["tokens"].as_u64().unwrap() as usize;
    for budget_tokens in [100, 1_000] {
        // Batches are nearly full, because texts are sorted by length.
        let (minimum, steps) = (tokens.div_ceil(budget_tokens), budget(budget_tokens));
        assert!((minimum..minimum * 3 / 2 + 2).contains(&steps), "{steps} steps, not {minimum}");
    }
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
fn balanced_class_weights_raise_the_weight_of_the_rare_class() {
    let mut rare = noise(600, 1);
    for (index, example) in rare.iter_mut().enumerate() {
        example.label = if index % 8 == 0 { "pos" } else { "neg" }.to_owned();
    }
    let only_pos: Vec<Example> = noise(200, 2)
        .into_iter()
        .map(|example| Example { label: "pos".into(), ..example })
        .collect();
    let dir = TestDir::with_data().file("train.csv", csv(&rare)).file("pos.csv", csv(&only_pos));
    let probability = |weights: &str| {
        train_with(
            &dir,
            weights,
            &[&format!("train.class_weights={weights}"), "train.learning_rate=0.005"],
        );
        let line = format!("evaluate {weights} --data pos.csv --json");
        let loss = &stdout_json(&dir.lstmtext(&line).assert().success())["loss"];
        (-loss.as_f64().unwrap()).exp()
    };
    // The texts carry no information, so the probability of "pos" is the weight of that class.
    let (unweighted, balanced) = (probability("none"), probability("balanced"));
    assert!(unweighted < 0.25 && balanced > 0.4, "{unweighted} and {balanced}");
}

#[test]
fn label_smoothing_keeps_the_training_loss_above_its_entropy() {
    let dir = TestDir::with_data();
    train_with(&dir, "run", &["train.label_smoothing=0.4"]);
    // Smoothing moves a fifth of the target to the other class.
    let entropy = -(0.2 * 0.2_f64.ln() + 0.8 * 0.8_f64.ln());
    assert!(values(&dir.metrics("run"), "/train/loss").iter().all(|loss| *loss > entropy));
    assert!(dir.test_accuracy("run") > 0.9);
}

#[test]
fn every_architecture_learns() {
    let dir = TestDir::with_data();
    let words = 80 + 4; // 60 neutral words, 10 of each class, 4 special ids
    let (one, layer) = (4 * 8 * (8 + 8 + 1), |inputs: usize| 4 * 8 * (inputs + 8 + 1));
    let architectures: [(&str, &[&str], usize); 6] = [
        ("last", &["model.pooling=last"], one + 9),
        ("mean", &["model.pooling=mean"], one + 9),
        ("max", &["model.pooling=max"], one + 9),
        ("bidirectional", &["model.lstm.bidirectional=true"], 2 * one + 17),
        ("deep", &["model.lstm.layers=2", "model.lstm.dropout=0.2"], 2 * one + 9),
        (
            "all",
            &[
                "model.lstm.layers=2",
                "model.lstm.dropout=0.2",
                "model.lstm.bidirectional=true",
                "model.head.activation=softmax",
                "model.embedding.dropout=0.1",
                "model.initialization=pytorch",
            ],
            2 * one + 2 * layer(16) + 2 * 17,
        ),
    ];
    for (run, fields, parameters) in architectures {
        train_with(&dir, run, fields);
        assert!(dir.test_accuracy(run) > 0.9, "{run}: {}", dir.summary(run));
        assert_eq!(dir.summary(run)["parameters"], words * 8 + parameters, "{run}");
    }
    let distinct: std::collections::HashSet<_> =
        ["last", "mean", "max"].map(|pooling| dir.best_weights(pooling)).into_iter().collect();
    assert_eq!(distinct.len(), 3, "pooling must make a difference");
}

#[test]
fn models_learn_with_padding_in_front() {
    let dir = TestDir::with_data();
    let max_length = "text.max_length=20";
    train_with(&dir, "front", &["text.pad=front", max_length]);
    train_with(&dir, "back", &["text.pad=back", max_length]);
    assert!(dir.test_accuracy("front") > 0.9, "{}", dir.summary("front"));
    assert!(dir.best_weights("front") != dir.best_weights("back"));
}

#[test]
fn early_stopping_ends_a_run_that_does_not_improve() {
    let dir = TestDir::with_data().file("train.csv", csv(&noise(600, 1)));
    let done = dir
        .train("small.yaml --out run --set train.epochs=200 --set train.early_stopping.patience=2");
    let records = dir.metrics("run");
    let losses = values(&records, "/validation/loss");
    let [before @ .., _, _] = &losses[..] else { panic!("{losses:?}") };
    let best = before.len();
    assert!(losses.iter().all(|loss| *loss >= before[best - 1]), "{losses:?}");
    assert_eq!(dir.summary("run")["best_epoch"], best);
    done.stderr(contains(format!(
        "stopped: no improvement in 2 validations; best was epoch {best}"
    )));
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

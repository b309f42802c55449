//! Models, optimizers, schedules and objectives with which `lstmtext train` learns.

use std::f64::consts::PI;

use predicates::str::contains;

use crate::common::{Example, TestDir, csv, examples, noise, stderr, stdout_json};
use crate::train::{STEPS, train_with, values};

/// Fields without a useful default.
const FOUR_FIELDS: &str = "\
data:
  train: train.csv
  test: test.csv
  text_column: review
  label_column: sentiment
";

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
fn adversarial_training_learns_and_resumes_exactly() {
    let dir = TestDir::with_data();
    let fields = ["train.adversarial.epsilon=1", "train.schedule.name=constant", "train.epochs=4"];
    train_with(&dir, "run", &fields);
    assert!(dir.test_accuracy("run") > 0.9, "{}", dir.summary("run"));
    train_with(&dir, "plain", &fields[1..]);
    assert!(dir.best_weights("run") != dir.best_weights("plain"));
    train_with(&dir, "halves", &[fields[0], fields[1], "train.epochs=2"]);
    dir.train("--resume halves --set train.epochs=4");
    dir.assert_same_state("run", "halves");
}

#[test]
fn every_architecture_learns() {
    let dir = TestDir::with_data();
    let words = 80 + 4; // 60 neutral words, 10 of each class, 4 special ids
    let (one, layer) = (4 * 8 * (8 + 8 + 1), |inputs: usize| 4 * 8 * (inputs + 8 + 1));
    let architectures: [(&str, &[&str], usize); 8] = [
        ("last", &["model.pooling=last"], one + 9),
        ("mean", &["model.pooling=mean"], one + 9),
        ("max", &["model.pooling=max"], one + 9),
        ("attention", &["model.pooling=attention"], one + 8 + 9),
        (
            "poolings",
            &["model.pooling=[last,mean,max,attention]", "model.lstm.bidirectional=true"],
            2 * one + 16 + 65,
        ),
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
    let poolings = ["last", "mean", "max", "attention"];
    let distinct: std::collections::HashSet<_> =
        poolings.map(|pooling| dir.best_weights(pooling)).into_iter().collect();
    assert_eq!(distinct.len(), poolings.len(), "pooling must make a difference");
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

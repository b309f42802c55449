//! `lstmtext evaluate`.

use predicates::str::is_match;
use serde_json::{Value, json};

use crate::common::{Place, assert_fails, csv, examples, stdout_json};

fn evaluate(place: &Place, line: &str) -> Value {
    stdout_json(&place.lstmtext(&format!("evaluate {line} --json")).assert().success())
}

#[test]
fn the_test_split_scores_as_at_the_end_of_training() {
    let place = Place::with_run();
    let mut score = place.summary("run")["test"].clone();
    score["examples"] = json!(200);
    // Test is what is evaluated where nothing else is said, and a run means its best.
    for line in ["run", "run --split test", "run/best", "run --data test.csv"] {
        assert_eq!(evaluate(&place, line), score, "{line}");
    }
}

#[test]
fn the_validation_split_scores_as_in_training() {
    let place = Place::with_run();
    let validation = |checkpoint| {
        let score = evaluate(&place, &format!("{checkpoint} --split validation"));
        assert_eq!(score["examples"], 60);
        json!({"loss": score["loss"], "accuracy": score["accuracy"]})
    };
    assert_eq!(validation("run/best"), place.summary("run")["validation"]);
    assert_eq!(validation("run/last"), place.metrics("run").last().unwrap()["validation"]);
}

#[test]
fn accuracy_and_loss_are_those_of_the_predictions() {
    let place = Place::with_run();
    let test = examples(&["neg", "pos"], 200, 2);
    let texts: Vec<&str> = test.iter().map(|example| example.text.as_str()).collect();
    let done = place.lstmtext("predict run --format jsonl").args(&texts).assert().success();
    let answers = crate::common::stdout(&done);
    let (mut hits, mut loss) = (0.0, 0.0);
    for (line, example) in answers.lines().zip(&test) {
        let answer: Value = serde_json::from_str(line).unwrap();
        let hit = answer["label"] == *example.label;
        let probability = answer["probability"].as_f64().unwrap();
        hits += f64::from(hit);
        loss -= if hit { probability } else { 1.0 - probability }.ln();
    }
    let score = place.summary("run")["test"].clone();
    assert_eq!(score["accuracy"], hits / 200.0);
    assert!((score["loss"].as_f64().unwrap() - loss / 200.0).abs() < 1e-4, "{score} {loss}");
}

#[test]
fn people_get_a_line() {
    let place = Place::with_run();
    let done = place.lstmtext("evaluate run").assert().success();
    done.stdout(is_match(r"^test: 200 examples  accuracy \d+\.\d\d %  loss \d\.\d{4}\n$").unwrap());
}

#[test]
fn other_data_may_have_other_columns() {
    let place = Place::with_run();
    let renamed = place.read("test.csv").replacen("text,label", "review,sentiment", 1);
    let place = place.file("other.csv", renamed);
    let columns = "--set data.text_column=review --set data.label_column=sentiment";
    let score = evaluate(&place, &format!("run --data other.csv {columns}"));
    assert_eq!(score["loss"], place.summary("run")["test"]["loss"]);
    let without = place.lstmtext("evaluate run --data other.csv");
    assert_fails(without, 1, &["other.csv", "line 1", "expected a column \"text\""]);
}

#[test]
fn the_batch_size_changes_no_score() {
    let place = Place::with_run();
    let score =
        |size: u32| evaluate(&place, &format!("run --set train.validation_batch_size={size}"));
    let (one, many) = (score(1), score(64));
    assert_eq!(one["accuracy"], many["accuracy"]);
    let loss = |score: &Value| score["loss"].as_f64().unwrap();
    assert!((loss(&one) - loss(&many)).abs() < 1e-6);
}

#[test]
fn a_label_that_training_never_saw_is_named_with_its_line() {
    let place = Place::with_run();
    let mut strange = examples(&["neg", "pos"], 5, 3);
    strange[3].label = "meh".into();
    let place = place.file("strange.csv", csv(&strange));
    let command = place.lstmtext("evaluate run --data strange.csv");
    assert_fails(command, 1, &["strange.csv", "line 5", "\"meh\"", "neg, pos"]);
}

#[test]
fn a_part_that_is_not_there_is_an_error() {
    let place = Place::with_data();
    place.train("small.yaml --out run --set data.test=null --set train.epochs=1");
    assert_fails(place.lstmtext("evaluate run --split test"), 1, &["no test examples"]);
    assert_fails(place.lstmtext("evaluate run --split tset"), 2, &["tset", "validation"]);
    assert_fails(place.lstmtext("evaluate run --data none.csv"), 1, &["none.csv"]);
    assert_fails(place.lstmtext("evaluate run --data test.csv --split test"), 2, &["--split"]);
    // Without test examples validation is what there is.
    assert_eq!(evaluate(&place, "run")["examples"], 60);
}

#[test]
fn a_run_is_evaluated_from_any_folder() {
    let place = Place::with_run();
    let elsewhere = Place::new();
    let mut command = elsewhere.lstmtext("evaluate --json");
    let score = stdout_json(&command.arg(place.path("run")).assert().success());
    assert_eq!(score["loss"], place.summary("run")["test"]["loss"]);
}

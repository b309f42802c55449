//! `lstmtext lr-find`.

use predicates::str::contains;

use crate::common::{TestDir, assert_fails, stdout, stdout_json};

#[test]
fn a_range_test_draws_the_loss_and_suggests_a_rate() {
    let dir = TestDir::with_data();
    let done = dir.lstmtext("lr-find small.yaml").assert().success();
    done.stderr(contains("the loss is lowest at"));
    let json =
        stdout_json(&dir.lstmtext("lr-find small.yaml --json --to a.png").assert().success());
    let suggestion = json["suggestion"].as_f64().unwrap();
    let lowest = json["lowest"].as_f64().unwrap();
    assert!(1e-4 < suggestion && suggestion <= lowest && lowest <= 1.0, "{suggestion} {lowest}");
    let points = json["points"].as_array().unwrap();
    let rates: Vec<f64> =
        points.iter().map(|point| point["learning_rate"].as_f64().unwrap()).collect();
    assert_eq!(rates[0], 1e-6);
    assert!(rates.is_sorted() && rates.len() > 50);
    let svg = dir.read("lr-find.svg");
    assert!(svg.contains("small: training loss") && svg.contains("learning rate"));
    assert!(dir.bytes("a.png").starts_with(b"\x89PNG"));
    assert!(!dir.path("runs").exists());
    // Reproducible, with any number of threads.
    let again = dir.lstmtext("lr-find small.yaml --json --to a.png --threads 3").assert().success();
    assert_eq!(stdout_json(&again), json);
}

#[test]
fn the_suggested_rate_trains_a_good_model() {
    let dir = TestDir::with_data();
    let line = stdout(&dir.lstmtext("lr-find small.yaml").assert().success());
    let set = line.trim().strip_prefix("suggestion: ").unwrap();
    dir.train(&format!("small.yaml --out run {set} --set train.epochs=6"));
    assert!(dir.test_accuracy("run") > 0.8);
}

#[test]
fn wrong_arguments_are_rejected() {
    let dir = TestDir::with_data();
    for (arguments, part) in [
        ("--min-lr 1 --max-lr 0.1", "--min-lr 1 is not below --max-lr 0.1"),
        ("--min-lr 0", "expected a number > 0"),
        ("--steps 5", "at least 20 steps"),
        ("--to rates.pdf", "must end in .svg or .png"),
        ("--set train.learning_rat=1", "train.learning_rat"),
    ] {
        let done = dir.lstmtext(&format!("lr-find small.yaml {arguments}")).assert().code(2);
        done.stderr(contains(part));
    }
    let data = dir.read("train.csv");
    let message = ["the loss does not fall"];
    dir.lstmtext("lr-find small.yaml --max-lr 1e-5")
        .assert()
        .success()
        .stderr(contains(message[0]));
    assert_fails(dir.lstmtext("lr-find missing.yaml"), 2, &["missing.yaml"]);
    assert_eq!(dir.read("train.csv"), data);
}

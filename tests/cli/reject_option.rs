//! Labels of predictions that are too uncertain.

use serde_json::{Value, json};

use crate::common::{TestDir, assert_fails, stdout, stdout_json, stdout_json_lines};
use crate::serve::Server;

const UNSURE: &str = "--unsure ask --min-probability 0.95";

/// Predicts the texts of a file as JSON lines.
fn predict(dir: &TestDir, options: &str) -> Vec<Value> {
    let line = format!("predict run --file new.txt --format jsonl {options}");
    stdout_json_lines(&dir.lstmtext(&line).assert().success())
}

#[test]
fn uncertain_predictions_have_a_label_of_their_own() {
    let dir =
        TestDir::with_run().file("new.txt", "pos1 pos2 pos3\nn1 n2 n3\nneg1 pos1\nneg1 neg2\n");
    let (before, after) = (predict(&dir, "--top 2"), predict(&dir, UNSURE));
    let mut rejected = 0;
    for (before, after) in before.iter().zip(&after) {
        let is_certain = before["probability"].as_f64().unwrap() >= 0.95;
        let label = if is_certain { before["label"].clone() } else { json!("ask") };
        assert_eq!((&after["label"], &after["probability"]), (&label, &before["probability"]));
        rejected += usize::from(!is_certain);
    }
    assert!((1..4).contains(&rejected), "{after:?}");
    let all = predict(&dir, &format!("{UNSURE} --probabilities"));
    assert!(all.iter().all(|row| row["classes"].as_array().unwrap().len() == 2));
    let printed = dir.lstmtext(&format!("predict run --file new.txt {UNSURE}")).assert().success();
    assert_eq!(stdout(&printed).matches("ask  0.").count(), rejected);
    let server = Server::start(&dir, &format!("run {UNSURE}"));
    for row in &after {
        let (status, served) = server.post("/predict", &json!({ "text": row["text"] }));
        assert_eq!((status, &served["label"]), (200, &row["label"]));
        assert_eq!(served["labels"][0]["label"], row["label"]);
        assert_eq!(served["classes"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn texts_without_a_probable_label_are_rejected() {
    let dir = TestDir::with_label_sets().file("new.txt", "happy1 n2\nn1 n2\nhappy1 angry1\n");
    let after = predict(&dir, "--unsure none --min-probability 0.6");
    let names = |row: &Value| -> Vec<String> {
        let labels = row["labels"].as_array().unwrap().iter();
        labels.map(|label| label["label"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&after[0]), ["happy"]);
    assert_eq!(names(&after[1]), ["none"]);
    assert_eq!(names(&after[2]).len(), 2);
    let line = "predict run --file new.txt --format csv --unsure none --min-probability 0.6";
    let table = stdout(&dir.lstmtext(line).assert().success());
    assert!(table.lines().nth(2).unwrap().starts_with("none,0."), "{table}");
}

#[test]
fn the_reject_option_needs_a_new_label_and_a_probability() {
    let dir = TestDir::with_run();
    for (options, part) in [
        ("--unsure ask", "--min-probability"),
        ("--min-probability 0.95", "--unsure"),
        ("--unsure ask --min-probability 90", "expected a number from 0 to 1"),
        ("--unsure pos --min-probability 0.95", "--unsure: \"pos\" is a label of the model"),
    ] {
        for command in ["predict run text", "serve run --port 0"] {
            assert_fails(dir.lstmtext(&format!("{command} {options}")), 2, &[part]);
        }
    }
}

/// The table of the evaluation has the probabilities with which predictions are rejected.
#[test]
fn an_evaluation_shows_the_accuracy_of_what_is_kept() {
    for dir in [TestDir::with_run(), TestDir::with_label_sets()] {
        let evaluation = stdout_json(&dir.lstmtext("evaluate run --json").assert().success());
        let all = evaluation["coverage"].as_array().unwrap();
        assert_eq!(
            (&all[0]["coverage"], &all[0]["accuracy"]),
            (&json!(1.0), &evaluation["accuracy"])
        );
        let printed = stdout(&dir.lstmtext("evaluate run").assert().success());
        assert!(printed.contains("coverage  examples"), "{printed}");
        for each in &all[1..] {
            let least = &each["min_probability"];
            let line = format!(
                "predict run --file test.csv --to kept.jsonl --unsure ? --min-probability {least}"
            );
            dir.lstmtext(&line).assert().success();
            let kept = dir.read("kept.jsonl").lines().filter(|row| !row.contains("\"?\"")).count();
            assert_eq!(each["examples"], kept, "{each}");
            assert!(printed.contains(&format!("{:.4}", least.as_f64().unwrap())), "{printed}");
        }
    }
}

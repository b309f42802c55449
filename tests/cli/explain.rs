//! `lstmtext explain`.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

use crate::common::{TestDir, assert_fails, probability_of, stdout, stdout_json};

const TEXT: &str = "n1 pos3 <b>n2</b> neg4 pos5 unheard";

fn explain(dir: &TestDir, line: &str, texts: &[&str]) -> Value {
    let mut command = dir.lstmtext(&format!("explain {line} --json"));
    stdout_json(&command.args(texts).assert().success())
}

fn words(explanation: &Value) -> Vec<(String, f64)> {
    let words = explanation["inputs"][0]["words"].as_array().unwrap();
    let word = |word: &Value| {
        (word["word"].as_str().unwrap().to_owned(), word["contribution"].as_f64().unwrap())
    };
    words.iter().map(word).collect()
}

fn number(explanation: &Value, pointer: &str) -> f64 {
    explanation.pointer(pointer).unwrap().as_f64().unwrap()
}

#[test]
fn words_of_a_class_contribute_to_it() {
    let dir = TestDir::with_run();
    for method in ["integrated-gradients", "leave-one-out"] {
        let explanations = explain(&dir, &format!("run --class pos --method {method}"), &[TEXT]);
        let words = words(&explanations[0]);
        let names: Vec<&str> = words.iter().map(|(word, _)| word.as_str()).collect();
        assert_eq!(names, ["n1", "pos3", "n2", "neg4", "pos5", "unheard"]);
        let of = |name: &str| words.iter().find(|(word, _)| word == name).unwrap().1;
        assert!(of("pos3") > 0.0 && of("pos5") > 0.0, "{method}: {words:?}");
        assert!(of("neg4") < 0.0, "{method}: {words:?}");
        assert_eq!(explanations[0]["inputs"][0]["words"][5]["known"], false);
    }
}

#[test]
fn contributions_add_up_to_the_change_in_log_odds() {
    let dir = TestDir::with_run();
    let explanations = explain(&dir, "run", &[TEXT, "pos1", ""]);
    for explanation in explanations.as_array().unwrap() {
        let sum: f64 = words(explanation).iter().map(|(_, contribution)| contribution).sum();
        let expected = number(explanation, "/log_odds")
            - number(explanation, "/integration/baseline_log_odds")
            + number(explanation, "/integration/completeness_gap");
        assert!((sum - expected).abs() < 1e-6, "{explanation}");
        let probability = number(explanation, "/probability");
        let log_odds = (probability / (1.0 - probability)).ln();
        assert!((log_odds - number(explanation, "/log_odds")).abs() < 1e-6, "{explanation}");
    }
}

#[test]
fn leave_one_out_matches_the_predict_command() {
    let dir = TestDir::with_run();
    let log_odds = |text: &str| {
        let mut command = dir.lstmtext("predict run --format jsonl --top 2");
        let prediction = stdout_json(&command.arg(text).assert().success());
        probability_of(&prediction, "neg").ln() - probability_of(&prediction, "pos").ln()
    };
    let explanations = explain(&dir, "run --method leave-one-out --class neg", &["n1 neg3 pos2"]);
    let expected =
        ["neg3 pos2", "n1 pos2", "n1 neg3"].map(|rest| log_odds("n1 neg3 pos2") - log_odds(rest));
    for ((word, actual), expected) in words(&explanations[0]).iter().zip(expected) {
        assert!((actual - expected).abs() < 1e-4, "{word}: {actual}, not {expected}");
    }
}

#[test]
fn explanations_are_printed_for_a_terminal() {
    let dir = TestDir::with_run();
    let shown = |color: &str| {
        let mut command = dir.lstmtext(&format!("explain run --color {color}"));
        stdout(&command.arg(TEXT).assert().success())
    };
    let plain = shown("never");
    assert_eq!(plain, shown("auto"), "no colors without a terminal");
    for part in
        [TEXT, "\nfor pos ", "   for neg\n", "integrated gradients with ", "completeness gap "]
    {
        assert!(plain.contains(part), "{part}: {plain}");
    }
    assert!(plain.lines().all(|line| line.chars().count() <= 80), "{plain}");
    let colored = shown("always");
    assert!(colored.contains("\u{1b}[") && colored.contains("unheard"), "{colored}");
    let mut without = dir.lstmtext("explain run");
    without.arg(TEXT).env("NO_COLOR", "1").assert().success().stdout(contains("\u{1b}").not());
}

#[test]
fn html_pages_are_self_contained_and_escaped() {
    let dir = TestDir::with_run();
    let mut command = dir.lstmtext("explain run --html page.html");
    let hostile = "pos1 <script>alert(1)</script> \"quoted\" neg2";
    command.args([TEXT, hostile]).assert().success().stderr(contains("page.html: 2 texts"));
    let page = dir.read("page.html");
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    for part in ["http:", "https:", "src=", "<script", "url("] {
        assert!(!page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<article>").count(), 2);
    assert!(page.contains("&quot;") && page.contains(">pos1</span>"));
}

/// Characters between words are not marked as truncated.
#[test]
fn truncated_text_is_marked() {
    let dir = TestDir::with_data();
    dir.train("small.yaml --out run --set text.max_length=3 --set text.tokenizer=keras");
    let mut command = dir.lstmtext("explain run --html page.html");
    let done = command.arg("pos1 & \"pos2\" pos3 pos4 pos5").assert().success();
    assert!(stdout(&done).contains("note: the text has 5 tokens and is truncated to 3"));
    let page = dir.read("page.html");
    assert_eq!(page.matches("class=\"truncated\"").count(), 1, "{page}");
    let explanations = explain(&dir, "run", &["pos1 pos2 pos3 pos4", ""]);
    assert_eq!(explanations[0]["inputs"][0]["tokens_unread"], 1);
    let shown = dir.lstmtext("explain run ").arg("").assert().success();
    assert!(stdout(&shown).contains("note: the text has no words"));
}

#[test]
fn texts_of_several_inputs_are_explained() {
    let lines: String = (0..60)
        .map(|n| {
            let label = ["yes", "no"][n % 2];
            format!("{{\"story\": \"a {label}{} b\", \"question\": \"is it {n}\", \"label\": \"{label}\"}}\n", n % 7)
        })
        .collect();
    let config = "data: {train: data.jsonl}\ntext: {min_count: 1}\ntrain: {epochs: 3}\n\
        inputs:\n  story: {embedding: {size: 4}, lstm: {units: 4}}\n  question: {embedding: {size: 3}, lstm: {units: 2}}\n";
    let dir = TestDir::new().file("data.jsonl", lines).file("two.yaml", config);
    dir.train("two.yaml --out run");
    let mut command = dir.lstmtext("explain run --json");
    command.args(["--input", "story=a yes1 b", "--input", "question=is it 5"]);
    let explanations = stdout_json(&command.assert().success());
    let names: Vec<&Value> =
        explanations[0]["inputs"].as_array().unwrap().iter().map(|input| &input["input"]).collect();
    assert_eq!(names, ["story", "question"]);
    assert_fails(dir.lstmtext("explain run text"), 2, &["story, question", "--input"]);
}

#[test]
fn invalid_arguments_are_errors() {
    let dir = TestDir::with_run();
    assert_fails(dir.lstmtext("explain run"), 2, &["no text given"]);
    assert_fails(dir.lstmtext("explain run x --class meh"), 2, &["--class meh", "neg, pos"]);
    assert_fails(dir.lstmtext("explain nowhere x"), 1, &["no checkpoint \"nowhere\""]);
    assert_fails(dir.lstmtext("explain run x --method magic"), 2, &["magic", "leave-one-out"]);
    assert_fails(dir.lstmtext("explain run x --html train.csv/page.html"), 1, &["train.csv"]);
    assert_fails(dir.lstmtext("explain run x --html train.csv"), 2, &["train.csv", ".html"]);
}

#[test]
fn unknown_words_are_marked_without_colors() {
    let dir = TestDir::with_run();
    let text = "pos1 quixotic, pos1";
    let plain = dir.lstmtext("explain run").arg(text).assert().success();
    let plain = stdout(&plain);
    assert!(plain.contains("\npos1 quixotic[?],[?] pos1\n"), "{plain}");
    assert!(plain.contains("note: words marked [?] are not in the vocabulary"), "{plain}");
    let colored = dir.lstmtext("explain run --color always").arg(text).assert().success();
    assert!(!stdout(&colored).contains("[?]"), "{}", stdout(&colored));
    let known = dir.lstmtext("explain run pos1").assert().success();
    assert!(!stdout(&known).contains("[?]"), "{}", stdout(&known));
}

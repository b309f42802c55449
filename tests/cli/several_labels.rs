//! Models that predict any number of labels for each text.

use std::collections::BTreeSet;

use predicates::str::contains;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::{Value, json};

use crate::common::{
    SMALL, TestDir, assert_fails, floats, probability_of, stdout, stdout_json, stdout_json_lines,
};
use crate::serve::Server;

const LABELS: [&str; 3] = ["angry", "happy", "tired"];

/// Generates texts with any number of labels, and a word of each label of the text.
fn examples(count: usize, seed: u64) -> Vec<(String, Vec<&'static str>)> {
    let mut random = Pcg64::seed_from_u64(seed);
    let example = |_| {
        let neutral = random.random_range(3..8);
        let mut words: Vec<String> =
            (0..neutral).map(|_| format!("n{}", random.random_range(0..40))).collect();
        let mut labels = Vec::new();
        for label in LABELS {
            if random.random_range(0..10) < 4 {
                labels.push(label);
                let position = random.random_range(0..=words.len());
                words.insert(position, format!("{label}{}", random.random_range(0..4)));
            }
        }
        (words.join(" "), labels)
    };
    (0..count).map(example).collect()
}

fn csv(examples: &[(String, Vec<&str>)]) -> String {
    let rows = examples.iter().map(|(text, labels)| format!("{text},{}\n", labels.join("|")));
    format!("text,label\n{}", rows.collect::<String>())
}

impl TestDir {
    /// Creates a directory with a finished run, `run`, on texts with several labels. Some labels are missing in
    /// the test examples.
    pub fn with_label_sets() -> Self {
        let mut test = examples(150, 2);
        test.iter_mut().step_by(5).for_each(|(_, labels)| {
            labels.pop();
        });
        let config = SMALL.replace("test.csv", "test.csv, label_separator: \"|\"");
        let dir = Self::new()
            .file("small.yaml", config)
            .file("train.csv", csv(&examples(500, 1)))
            .file("test.csv", csv(&test));
        dir.train("small.yaml --out run --set train.epochs=8");
        dir
    }
}

fn evaluate(dir: &TestDir, line: &str) -> Value {
    stdout_json(&dir.lstmtext(&format!("evaluate {line} --json")).assert().success())
}

/// Labels of a prediction in JSON.
fn names(labels: &Value) -> BTreeSet<&str> {
    let labels = labels.as_array().unwrap();
    labels.iter().map(|label| label["label"].as_str().unwrap()).collect()
}

#[test]
fn label_sets_are_evaluated() {
    let dir = TestDir::with_label_sets();
    let evaluation = evaluate(&dir, "run");
    assert_eq!(evaluation["accuracy"], dir.summary("run")["test"]["accuracy"]);
    let score = |key: &str| evaluation[key].as_f64().unwrap();
    assert!((0.5..0.95).contains(&score("accuracy")), "{evaluation}");
    assert!(score("hamming_loss") > 0.0 && score("hamming_loss") < 0.2, "{evaluation}");
    assert!(score("label_ranking_average_precision") > 0.8);
    assert_eq!(evaluation["confusion"], json!(null));
    for class in evaluation["classes"].as_array().unwrap() {
        let counts = class["counts"].as_object().unwrap().values();
        assert_eq!(counts.map(|count| count.as_u64().unwrap()).sum::<u64>(), 150);
    }
    let printed = stdout(&dir.lstmtext("evaluate run").assert().success());
    for part in
        ["subset accuracy", "Hamming loss", "micro average", "samples average", "precision at 3"]
    {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert!(!printed.contains("confusion"), "{printed}");
    assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
}

#[test]
fn mistakes_in_label_sets_can_be_read_again() {
    let dir = TestDir::with_label_sets();
    for name in ["errors.csv", "errors.jsonl"] {
        let done = dir.lstmtext(&format!("evaluate run --errors {name}")).assert().success();
        done.stderr(contains("mistakes, those with the largest loss first"));
    }
    let mistakes = dir.json_lines("errors.jsonl");
    let losses: Vec<f64> = mistakes.iter().map(|row| row["loss"].as_f64().unwrap()).collect();
    assert!(losses.is_sorted_by(|a, b| a >= b) && losses.len() > 3);
    assert!(mistakes.iter().all(|row| row["label"].is_array() && row["label"] != row["predicted"]));
    let header = dir.read("errors.csv").lines().next().unwrap().to_owned();
    assert_eq!(header, "label,predicted,loss,file,line,text");
    for name in ["errors.csv", "errors.jsonl"] {
        let evaluation = evaluate(&dir, &format!("run --data {name}"));
        assert_eq!(evaluation["examples"], mistakes.len());
        assert_eq!(evaluation["accuracy"], 0.0);
    }
}

#[test]
fn models_of_label_sets_are_compared_by_f1() {
    let dir = TestDir::with_label_sets();
    dir.train("small.yaml --out other --set train.epochs=1");
    let evaluation = evaluate(&dir, "run --compare other");
    let comparison = &evaluation["comparison"];
    for average in ["macro", "micro"] {
        let score = &comparison[format!("{average}_f1")];
        assert_eq!(score["first"], evaluation[format!("{average}_average")]["f1"]);
        let [low, high] = floats(&score["interval"])[..] else { panic!("{score}") };
        let difference = score["difference"].as_f64().unwrap();
        assert!(low <= difference && difference <= high, "{score}");
    }
    let printed = stdout(&dir.lstmtext("evaluate run --compare other").assert().success());
    assert!(printed.contains("micro F1") && printed.contains("bootstrap"), "{printed}");
    let one =
        csv(&examples(300, 3).into_iter().filter(|each| each.1.len() == 1).collect::<Vec<_>>());
    let dir = dir.file("one.csv", one).file("one.yaml", SMALL.replace("train.csv", "one.csv"));
    dir.train("one.yaml --out one --set data.test=null --set train.epochs=1");
    let command = dir.lstmtext("evaluate run --compare one");
    assert_fails(command, 1, &["cannot compare \"one/best\", which predicts exactly one label"]);
}

#[test]
fn all_predicted_labels_are_printed() {
    let dir = TestDir::with_label_sets();
    let texts = ["n1 happy1 n2 angry2 happy3", "n1 n2 n3 n4"];
    let printed = stdout(&dir.lstmtext("predict run").args(texts).assert().success());
    let lines: Vec<&str> = printed.lines().collect();
    assert!(
        lines[0].contains("happy 0.") && lines[0].contains(", ") && lines[0].ends_with(texts[0])
    );
    assert!(!lines[0].contains("tired"), "{printed}");
    assert_eq!(lines[1], format!("(none)  {}", texts[1]));
    let done = dir.lstmtext("predict run --top 2").args(texts).assert().success();
    assert!(stdout(&done).lines().all(|line| line.matches("0.").count() == 2));
    let done = dir.lstmtext("predict run --format jsonl").args(texts).assert().success();
    let rows = stdout_json_lines(&done);
    assert_eq!(names(&rows[0]["labels"]), BTreeSet::from(["angry", "happy"]));
    assert_eq!(rows[1], json!({"labels": [], "text": texts[1]}));
    let done = dir.lstmtext("predict run --format csv").args(texts).assert().success();
    let table = stdout(&done);
    assert!(table.starts_with("label,angry,happy,tired,text\n"), "{table}");
    assert!(table.contains("angry|happy,0."), "{table}");
}

/// A model learns from the probabilities of another one, and from its labels.
#[test]
fn predictions_are_training_data() {
    let dir = TestDir::with_label_sets();
    let texts: Vec<String> = examples(200, 4).into_iter().map(|(text, _)| text).collect();
    let dir = dir.file("new.csv", format!("text\n{}\n", texts.join("\n")));
    let files: &[&str] = match cfg!(feature = "parquet") {
        true => &["soft.csv", "soft.jsonl", "soft.parquet"],
        false => &["soft.csv", "soft.jsonl"],
    };
    let columns = "--set data.label_columns=[angry,happy,tired]";
    for file in files {
        dir.lstmtext(&format!("predict run --file new.csv --to {file}")).assert().success();
        let data = format!("--set data.train={file} --set data.test=null --set train.epochs=1");
        let soft = format!(
            "small.yaml --out {file}-soft {data} {columns} --set data.label_separator=null"
        );
        dir.train(&soft);
        let hard = format!("small.yaml --out {file}-hard {data}");
        dir.train(&hard);
    }
    let rows = dir.json_lines("soft.jsonl");
    let predicted = rows[0]["label"].as_array().unwrap();
    let probable = LABELS.iter().filter(|label| rows[0][**label].as_f64().unwrap() >= 0.5);
    assert_eq!(predicted.len(), probable.count());
}

/// The probabilities of classes that exclude each other add up to 1.
#[test]
fn probabilities_of_one_label_are_training_data() {
    let dir = TestDir::with_run();
    let line = "predict run --file test.csv --to soft.csv --probabilities";
    dir.lstmtext(line).assert().success();
    let data = "--set data.train=soft.csv --set data.test=null --set data.label_columns=[neg,pos]";
    dir.train(&format!("small.yaml --out student {data} --set data.multi_label=false"));
    assert!(dir.summary("student")["validation"]["accuracy"].as_f64().unwrap() > 0.9);
    let done = dir.lstmtext("predict student --format jsonl pos1").assert().success();
    assert_eq!(stdout_json_lines(&done)[0]["label"], "pos");
}

#[test]
fn each_label_is_explained() {
    let dir = TestDir::with_label_sets();
    let text = "n1 happy1 n2 angry2";
    let explain = |line: &str| {
        let mut command = dir.lstmtext(&format!("explain run {line}"));
        stdout(&command.arg(text).assert().success())
    };
    let explained: Value = serde_json::from_str(&explain("--class tired --json")).unwrap();
    let explained = &explained[0];
    assert_eq!(explained["label"], "tired");
    assert_eq!(names(&explained["labels"]), BTreeSet::from(["angry", "happy"]));
    let (p, log_odds) =
        (probability_of(explained, "tired"), explained["log_odds"].as_f64().unwrap());
    assert!((log_odds - (p / (1.0 - p)).ln()).abs() < 1e-6);
    assert!(explain("--class happy").starts_with("label happy  0."));
    let printed = explain("");
    assert!(printed.contains("\npredicted: ") && printed.contains("for "), "{printed}");
    dir.lstmtext("explain run --html why.html").arg(text).assert().success();
    assert!(dir.read("why.html").contains("<h3>labels</h3>"));
}

#[test]
fn states_and_embeddings_of_label_sets_are_shown() {
    let dir = TestDir::with_label_sets();
    let mut command = dir.lstmtext("states run --json");
    let states = stdout_json(&command.arg("happy1 angry2").assert().success());
    let last = floats(&states[0]["probabilities"][1]);
    assert!(last[0] > 0.5 && last[1] > 0.5, "{last:?}");
    dir.lstmtext("states run happy1 --to states.svg").assert().success();
    assert!(dir.read("states.svg").contains("probability of each label"));
    dir.lstmtext("embed run --to vectors.npy --file test.csv").assert().success();
}

#[test]
fn label_sets_are_combined_and_cross_validated() {
    let dir = TestDir::with_label_sets();
    dir.train("small.yaml --out other --set train.seed=2 --set train.epochs=2");
    dir.lstmtext("ensemble run other --to both").assert().success();
    let both = evaluate(&dir, "both");
    assert!(both["hamming_loss"].as_f64().unwrap() < 0.2);
    let folds = "folds small.yaml --k 2 --out folds --set data.test=null --set train.epochs=1";
    dir.lstmtext(folds).assert().success();
    let predictions = dir.read("folds/predictions.csv");
    assert!(predictions.starts_with("seed,fold,file,line,label,predicted,angry,happy,tired\n"));
    assert_eq!(predictions.lines().count(), 501);
    assert!(dir.json("folds/scores.json")["macro_f1"]["mean"].is_number());
    let command = dir.lstmtext(&format!("{folds} --issues wrong.csv"));
    assert_fails(command, 2, &["--issues", "exactly one"]);
    let sweep = dir.read("small.yaml") + "sweep: {train.seed: [1, 2]}\n";
    let dir = dir.file("sweep.yaml", sweep);
    let line = "sweep sweep.yaml --out sweep --test --json --set train.epochs=1";
    let board = stdout(&dir.lstmtext(line).assert().success());
    assert!(board.contains("\"test\""), "{board}");
}

#[test]
fn label_sets_are_served() {
    let dir = TestDir::with_label_sets();
    let server = Server::start(&dir, "run");
    let (_, health) = server.request("GET", "/healthz", b"");
    assert!(health.contains("\"multi_label\":true"), "{health}");
    let request = json!({"texts": ["n1 happy1 n2 angry2", "n1 n2 n3"], "top": 1});
    let (status, response) = server.post("/predict", &request);
    assert_eq!(status, 200);
    let predictions = response["predictions"].as_array().unwrap();
    assert_eq!(names(&predictions[0]["labels"]), BTreeSet::from(["angry", "happy"]));
    assert_eq!(predictions[1]["labels"], json!([]));
    assert!(predictions.iter().all(|each| each["classes"].as_array().unwrap().len() == 1));
    let request = json!({"text": "n1 happy1 n2", "class": "tired"});
    let (status, explanation) = server.post("/explain", &request);
    assert_eq!((status, &explanation["label"]), (200, &json!("tired")));
    assert_eq!(names(&explanation["labels"]), BTreeSet::from(["happy"]));
}

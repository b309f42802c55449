//! Training, resuming, combining and exporting models with several labels per text.

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

use crate::common::{TestDir, assert_fails, stderr, stdout, stdout_json};

/// Configuration of a model that learns [`examples`] in a fraction of a second.
const CONFIG: &str = "\
data: {train: train.csv, test: test.csv, label_separator: \"|\"}
model: {embedding: {size: 8, word_dropout: 0}, lstm: {units: 8}, head: {dropout: 0.2}, ngrams: {sizes: [1]}}
train: {learning_rate: 0.05, epochs: 6, early_stopping: {patience: null}}
";

/// Returns a table of texts with none to three labels, each of which has a word of its own.
fn examples(count: usize, first: usize) -> String {
    let row = |index: usize| {
        let number = index.wrapping_mul(2_654_435_761) >> 3;
        let has = |bit: usize| number >> (2 * bit) & 3 == 0;
        let labels: Vec<&str> = ["joy", "love", "anger"]
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| has(*bit))
            .map(|(_, label)| label)
            .collect();
        let words = [("glad", 0), ("dear", 1), ("furious", 2)];
        let words = words.iter().filter(|(_, bit)| has(*bit)).map(|(word, _)| *word);
        let filler = format!("the text {} of {}", number % 7, number % 11);
        let text: Vec<&str> = std::iter::once(filler.as_str()).chain(words).collect();
        format!("{},{}\n", text.join(" "), labels.join("|"))
    };
    "text,label\n".to_owned() + &(first..first + count).map(row).collect::<String>()
}

pub fn directory() -> TestDir {
    TestDir::new()
        .file("config.yaml", CONFIG)
        .file("train.csv", examples(600, 0))
        .file("test.csv", examples(200, 600))
}

fn accuracy(dir: &TestDir, run: &str) -> f64 {
    dir.summary(run)["test"]["accuracy"].as_f64().unwrap()
}

#[test]
fn a_model_learns_sets_of_labels() {
    let dir = directory();
    let done = dir.train("config.yaml --out run");
    done.stderr(contains("labels anger, joy, love").and(contains("sigmoid")));
    assert!(accuracy(&dir, "run") > 0.9, "{}", dir.summary("run"));
    let report = stdout_json(&dir.lstmtext("evaluate run --json").assert().success());
    assert!(report["accuracy"].as_f64().unwrap() > 0.9, "{report}");
    let explained = dir.lstmtext("explain run --class love").arg("a dear and glad text").assert();
    explained.success().stdout(contains("love").and(contains("dear")));
}

#[test]
fn losses_and_weights_of_labels_are_used() {
    let dir = directory();
    dir.train("config.yaml --out plain");
    for (name, fields) in [
        ("balanced", "--set train.class_weights=balanced"),
        ("given", "--set train.class_weights={love: 3}"),
        ("smooth", "--set train.label_smoothing=0.1"),
        ("focal", "--set train.loss=focal"),
    ] {
        let mut command = dir.lstmtext(&format!("train config.yaml --out {name}"));
        command.args(["--set", fields.trim_start_matches("--set ")]).assert().success();
        assert!(accuracy(&dir, name) > 0.9, "{name}: {}", dir.summary(name));
        assert_ne!(dir.best_weights("plain"), dir.best_weights(name), "{name}");
    }
    let mut unknown = dir.lstmtext("train config.yaml --out unknown");
    unknown.args(["--set", "train.class_weights={hate: 3}"]);
    assert_fails(unknown, 1, &["train.class_weights: unknown label \"hate\""]);
}

#[test]
fn the_same_weights_result_from_resuming_and_any_number_of_threads() {
    let dir = directory();
    let line = "config.yaml --set train.shards=4 --set train.schedule.name=constant";
    dir.train(&format!("{line} --out whole --set train.epochs=4"));
    dir.train(&format!("{line} --out parts --set train.epochs=2"));
    dir.train("--resume parts --set train.epochs=4");
    dir.train(&format!("{line} --out threads --set train.epochs=4 --threads 4"));
    dir.assert_same_state("whole", "parts");
    dir.assert_same_state("whole", "threads");
}

#[test]
fn unlabelled_texts_help_models_of_several_labels() {
    let dir = directory().file("texts.csv", examples(400, 900));
    dir.train(
        "config.yaml --out run --set data.unlabelled=texts.csv --set train.entropy_weight=0.1 \
         --set train.virtual_adversarial.epsilon=1",
    );
    assert!(accuracy(&dir, "run") > 0.9, "{}", dir.summary("run"));
}

#[test]
fn an_ensemble_of_several_labels_is_scored_and_used() {
    let dir = directory();
    dir.train("config.yaml --out a");
    dir.train("config.yaml --out b --set train.seed=2 --set model.ngrams=null");
    for averaging in ["probabilities", "log-odds"] {
        let name = format!("ensemble_of_{averaging}");
        let line = format!("ensemble a b --to {name} --average {averaging} --json");
        let done = dir.lstmtext(&line).assert().success();
        let report: Value = stdout_json(&done);
        let loss = |value: &Value| value["validation"]["loss"].as_f64().unwrap();
        let members = report["members"].as_array().unwrap();
        assert!(members.iter().all(|member| loss(&report) <= loss(member) + 1e-4), "{report}");
        let done = dir.lstmtext(&format!("predict {name}")).arg("a dear text").assert().success();
        assert!(stdout(&done).contains("love"), "{}", stdout(&done));
    }
    let one = dir.file("one.csv", "text,label\na dear text,love\na glad text,joy\nfurious,anger\n");
    one.train(
        "config.yaml --out one --set data.train=one.csv --set data.label_separator=null \
               --set data.validation=one.csv --set data.test=null",
    );
    let mixed = one.lstmtext("ensemble a one --to mixed");
    assert_fails(mixed, 1, &["a text has one label in one model and several in the other"]);
}

#[test]
fn a_table_always_has_the_probability_of_each_label() {
    let dir = directory();
    dir.train("config.yaml --out run --set train.epochs=1");
    dir.lstmtext("predict run --file test.csv --to p.csv --top 1").assert().success();
    let table = dir.read("p.csv");
    let header = table.lines().next().unwrap();
    assert!(header.ends_with("anger,joy,love"), "{header}");
    assert!(table.lines().all(|line| !line.ends_with(',')), "{table}");
}

/// The number of labels per text belongs to the model; other data may have it in other columns.
#[test]
fn overrides_do_not_change_how_many_labels_a_text_has() {
    let dir = directory();
    dir.train("config.yaml --out run --set train.epochs=2");
    let rows = examples(40, 600);
    let rows = rows.lines().skip(1).map(|row| {
        let (text, labels) = row.split_once(',').unwrap();
        let has = |label: &str| u8::from(labels.split('|').any(|other| other == label));
        format!("{text},{},{},{}\n", has("anger"), has("joy"), has("love"))
    });
    let dir =
        dir.file("columns.csv", "text,anger,joy,love\n".to_owned() + &rows.collect::<String>());
    let line = "evaluate run --data columns.csv --set data.label_columns=[anger,joy,love]";
    dir.lstmtext(line).assert().success().stdout(contains("subset accuracy"));
    for field in ["data.multi_label=false", "data.multi_label=null"] {
        let line = format!("evaluate run --set {field} --set data.label_separator=null");
        let message = "with this model, a text can have several labels, which cannot change";
        assert_fails(dir.lstmtext(&line), 2, &["--set data.multi_label", message]);
    }
    let dir = TestDir::with_run();
    for field in ["data.multi_label=true", "data.label_separator=,"] {
        let message = "with this model, a text has exactly one label, which cannot change";
        let line = format!("predict run text --set {field}");
        assert_fails(dir.lstmtext(&line), 2, &["--set data.", message]);
    }
}

#[test]
fn a_separator_needs_no_quotes_and_columns_of_labels_are_suggested() {
    let dir = directory();
    let line = "config.yaml --set train.epochs=1 --set data.label_separator=";
    dir.train(&format!("{line}| --out bar"));
    assert!(dir.read("bar/config.yaml").contains("label_separator: \"|\""));
    let dir = dir.file("columns.csv", "text,joy,love\na glad text,1,0\na dear text,0,1\nno,0,0\n");
    let advice = "if each of them is a label, pass --set 'data.label_columns=[joy, love]'";
    assert_fails(dir.lstmtext("train columns.csv --out columns"), 2, &[advice]);
}

#[test]
fn lists_of_labels_in_json_need_no_setting() {
    let rows = examples(200, 0);
    let rows = rows.lines().skip(1).map(|row| {
        let (text, labels) = row.split_once(',').unwrap();
        let labels: Vec<&str> = labels.split('|').filter(|label| !label.is_empty()).collect();
        serde_json::json!({"text": text, "label": labels}).to_string() + "\n"
    });
    let config = CONFIG.replace("train.csv, test: test.csv, label_separator: \"|\"", "lists.jsonl");
    let dir =
        TestDir::new().file("config.yaml", config).file("lists.jsonl", rows.collect::<String>());
    dir.train("config.yaml --out run --set train.epochs=1");
    assert!(dir.read("run/config.yaml").contains("multi_label: true"));
    dir.lstmtext("data stats config.yaml").assert().success().stdout(contains("love"));
    dir.lstmtext("data vocab config.yaml --to words.json").assert().success();
    let summary = dir.lstmtext("summary config.yaml").assert().success();
    assert!(!stderr(&summary).contains("assuming 2 classes"), "{}", stderr(&summary));
    dir.lstmtext("evaluate run --split validation").assert().success();
}

#[test]
fn an_exported_model_says_that_texts_have_several_labels() {
    let dir = directory();
    dir.train("config.yaml --out run --set train.epochs=1");
    dir.lstmtext("export run --to model").assert().success();
    let description = dir.json("model/model.json");
    assert_eq!(description["multi_label"], Value::Bool(true));
    assert_eq!(description["activation"], Value::from("sigmoid"));
}

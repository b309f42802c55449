//! Data with several labels per text, or with a probability for each label.

use std::fs;

use crate::common::{TestDir, stderr, stdout, stdout_json};

/// Writes `data.EXTENSION` with 200 texts, of which `labels` returns the fields, and a configuration.
fn directory(
    extension: &str,
    header: &str,
    fields: &str,
    row: impl Fn(usize) -> String,
) -> TestDir {
    let dir = TestDir::new();
    let rows: String = (0..200).map(|index| row(index) + "\n").collect();
    fs::write(dir.path(&format!("data.{extension}")), format!("{header}{rows}")).unwrap();
    let yaml = format!("data: {{train: data.{extension}, split: {{test: 20}}, {fields}}}\n");
    fs::write(dir.path("labels.yaml"), yaml).unwrap();
    dir
}

/// Returns the labels of a text: any of a, b and c.
fn labels(index: usize) -> Vec<&'static str> {
    let has =
        |(bit, label): (usize, &'static str)| (((index * 7 % 8) >> bit) & 1 == 1).then_some(label);
    ["a", "b", "c"].into_iter().enumerate().filter_map(has).collect()
}

fn value(index: usize, label: &str) -> u8 {
    u8::from(labels(index).contains(&label))
}

fn separated() -> TestDir {
    let row = |index: usize| format!("text number {index}\t{}", labels(index).join(","));
    directory("tsv", "text\tlabel\n", "label_separator: ','", row)
}

#[test]
fn labels_that_data_split_writes_are_read_again() {
    let list = |index: usize| {
        format!("{{\"text\": \"text number {index}\", \"label\": {:?}}}", labels(index))
    };
    let words = |index: usize| {
        let labels: String = labels(index).iter().map(|it| format!("__label__{it} ")).collect();
        format!("{labels}text number {index}")
    };
    let columns =
        |index: usize| format!("text number {index},{},{}", value(index, "a"), value(index, "b"));
    let soft = |index: usize| format!("text number {index},0.{index},{}", value(index, "b"));
    let exclusive = |index: usize| {
        let share = index as f64 / 199.0;
        format!("text number {index},{share},{}", 1.0 - share)
    };
    let header = "text,toxic,rude\n";
    let columns_of = |fields: &str| format!("label_columns: [toxic, rude]{fields}");
    for (dir, expected) in [
        (separated(), "\"label\":[\"a\",\"c\"]"),
        (directory("jsonl", "", "multi_label: true", list), "\"label\":[\"a\",\"c\"]"),
        (directory("txt", "", "multi_label: true", words), "\"label\":[\"a\",\"c\"]"),
        (directory("csv", header, &columns_of(""), columns), "\"rude\":0"),
        (
            directory("csv", header, &columns_of(", label_names: {rude: bad}"), columns),
            "\"rude\":0",
        ),
        (directory("csv", header, &columns_of(""), soft), "\"toxic\":0.17"),
        (directory("csv", header, &columns_of(", multi_label: false"), exclusive), "\"rude\":1"),
    ] {
        dir.lstmtext("data split labels.yaml --to first").assert().success();
        let files = "data.train=first/train.jsonl --set data.validation=first/validation.jsonl \
                     --set data.test=first/test.jsonl --set data.format=jsonl";
        dir.lstmtext(&format!("data split labels.yaml --to second --set {files}"))
            .assert()
            .success();
        let mut all = String::new();
        for (part, count) in [("train", 160), ("validation", 20), ("test", 20)] {
            let [first, second] =
                ["first", "second"].map(|of| dir.read(&format!("{of}/{part}.jsonl")));
            assert_eq!(first, second, "{part}, {expected}");
            assert_eq!(first.lines().count(), count, "{part}, {expected}");
            all += &first;
        }
        assert!(all.contains(expected), "{expected}: {}", &all[..500]);
    }
}

#[test]
fn labels_per_text_are_counted() {
    let dir = separated();
    let printed = stdout(&dir.lstmtext("data stats labels.yaml").assert().success());
    let expected = "\nlabels per text\ntrain       1.51 on average, 0 to 3; 20 texts without\n";
    assert!(printed.contains(expected), "{printed}");
    let report = stdout_json(&dir.lstmtext("data stats labels.yaml --json").assert().success());
    let part = &report["parts"][0]["labels_per_text"];
    assert_eq!((part["min"].as_u64(), part["max"].as_u64()), (Some(0), Some(3)));
    assert_eq!(part["unlabelled"].as_u64(), Some(20));
}

/// Returns the message of a finding, if there is one.
fn finding(dir: &TestDir, check: &str) -> Option<String> {
    let done = dir.lstmtext("data check labels.yaml --json").assert().success();
    let report = stdout_json(&done);
    let findings = report["findings"].as_array().unwrap();
    let is_note = |it: &&serde_json::Value| it["check"] == check && it["level"] == "note";
    findings.iter().find(is_note).map(|it| it["message"].as_str().unwrap().to_owned())
}

#[test]
fn label_sets_are_checked() {
    let dir = separated();
    for check in ["several_labels", "repeated_texts", "placeholder_labels", "missing_labels"] {
        assert_eq!(finding(&dir, check), None);
    }
    let row = |index: usize| format!("text number {index}\t{}", labels(index).join("; "));
    let dir = directory("tsv", "text\tlabel\n", "label_separator: '|'", row);
    let expected =
        "no training text has more than one label; check data.label_separator, which is \"|\"";
    assert_eq!(finding(&dir, "several_labels").as_deref(), Some(expected));
    let told = stderr(&dir.lstmtext("data split labels.yaml --to parts").assert().success());
    assert!(told.contains(expected), "{told}");
    // The same texts with equal and with other sets, and a label that is a placeholder.
    let row = |index: usize| {
        let other = if index < 20 && index.is_multiple_of(2) { ",n/a" } else { "" };
        format!("text number {}\ta,b{other}", index / 2)
    };
    let dir = directory("tsv", "text\tlabel\n", "label_separator: ','", row);
    let message = finding(&dir, "repeated_texts").unwrap();
    assert!(message.contains("texts with the same tokens have different labels"), "{message}");
    let message = finding(&dir, "placeholder_labels").unwrap();
    assert!(
        message.ends_with("to remove them, set data.label_names: {\"n/a\": \"\"}"),
        "{message}"
    );
}

#[test]
fn faults_of_labels_name_their_line() {
    let dir = separated();
    fs::write(dir.path("data.tsv"), "text\tlabel\nx\ta\ny\tb,a,b\nz\tb\n").unwrap();
    let told = stderr(&dir.lstmtext("data stats labels.yaml").assert().code(1));
    assert!(told.contains("data.tsv:3: found the label \"b\" more than once"), "{told}");
}

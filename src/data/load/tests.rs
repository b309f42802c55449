use super::*;
use crate::config;

pub(super) fn load_files(files: &[(&str, &str)], fields: &str) -> anyhow::Result<DataSplits> {
    let directory = tempfile::tempdir()?;
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content)?;
    }
    let yaml = fields.replace("DIR", &directory.path().display().to_string());
    load(&config::parse(&yaml, "test", &[])?.config, None)
}

const TRAIN: &str = "text,label\na,10\nb,9\nc,10\nd,9\ne,10\nf,9\n";

#[test]
fn numeric_labels_are_sorted_by_value_and_shared_by_all_splits() {
    let splits = load_files(
        &[("train.csv", TRAIN), ("test.csv", "text,label\nx,10\na,9\n")],
        "data: {train: DIR/train.csv, test: DIR/test.csv, split: {validation: 2}}",
    )
    .unwrap();
    assert_eq!(splits.labels, ["9", "10"]);
    assert_eq!(splits.test.targets.labels().unwrap(), [1, 0]);
    assert_eq!((splits.train.len(), splits.validation.len()), (4, 2));
}

#[test]
fn three_examples_can_be_split() {
    let files = [("train.csv", "text,label\na,x\nb,y\nc,x\n")];
    let splits = load_files(&files, "data: {train: DIR/train.csv}").unwrap();
    assert_eq!((splits.train.len(), splits.validation.len()), (2, 1));
}

#[test]
fn splits_for_which_no_text_is_left_are_reported() {
    let rows = "a,x\nb,x\nc,y\nd,y\n".repeat(3);
    let files = [("train.csv", &*format!("text,label\n{rows}"))];
    let fields = "data: {train: DIR/train.csv, split: {validation: 6, test: 1}}";
    let splits = load_files(&files, fields).unwrap();
    let notes = notes(&splits);
    assert!(notes[0].starts_with("there are no test examples; set data.test, or "), "{notes:?}");
    let files = [("train.csv", "text,label\na,x\nb,y\n")];
    let error = load_files(&files, "data: {train: DIR/train.csv}").unwrap_err().to_string();
    assert!(error.starts_with("there are no validation examples; set data.validation"), "{error}");
}

#[test]
fn other_labels_are_sorted_as_text() {
    let labels = |content: &str| {
        let files = [("train.csv", content)];
        load_files(&files, "data: {train: DIR/train.csv, split: {validation: 1}}").unwrap().labels
    };
    assert_eq!(labels("text,label\na,1a\nb,9\nc,10\nd,9\n"), ["10", "1a", "9"]);
    assert_eq!(labels("text,label\na,-1\nb,9\nc,10\nd,9\n"), ["-1", "9", "10"]);
}

#[test]
fn labels_of_the_test_examples_can_be_added_as_classes() {
    let files = [("train.csv", TRAIN), ("test.csv", "text,label\nx,10\ny,8\n")];
    let fields = "data: {train: DIR/train.csv, test: DIR/test.csv, unseen_labels: class}";
    let splits = load_files(&files, fields).unwrap();
    assert_eq!(splits.labels, ["8", "9", "10"]);
    assert_eq!(splits.test.targets.labels().unwrap(), [2, 0]);
}

#[test]
fn configured_labels_without_examples_are_rejected() {
    let fields = "data: {train: DIR/train.csv, labels: ['9', '10', '11']}";
    let error = load_files(&[("train.csv", TRAIN)], fields).unwrap_err().to_string();
    assert!(error.contains("no example of \"11\""), "{error}");
}

#[test]
fn texts_in_two_splits_are_counted() {
    let splits = load_files(
        &[("train.csv", TRAIN), ("other.csv", "text,label\na,9\nq,10\n")],
        "data: {train: DIR/train.csv, validation: DIR/other.csv}",
    )
    .unwrap();
    assert_eq!(splits.validation.shared_with(&splits.train), 1);
    let splits = load_files(
        &[("train.csv", TRAIN), ("other.csv", "text,label\n<br> A.,9\nq,10\n")],
        "data: {train: DIR/train.csv, validation: DIR/other.csv}",
    )
    .unwrap();
    assert_eq!(splits.validation.shared_with(&splits.train), 1);
}

#[test]
fn texts_that_a_model_reads_alike_stay_in_one_split() {
    let rows: String = (0..40)
        .map(|n| {
            format!("good film {n},x\nGood film  {n},x\n\"good<br />film, {n}!\",x\nbad {n},y\n")
        })
        .collect();
    let files = [("train.csv", &*format!("text,label\n{rows}"))];
    let splits = |fields: &str| {
        load_files(&files, &format!("data: {{train: DIR/train.csv{fields}}}\n")).unwrap()
    };
    let split = splits(", split: {validation: 40, test: 20}");
    assert_eq!((split.validation.shared_with(&split.train), split.validation.len()), (0, 40));
    // The tokenizer has no influence, so that runs with other tokenizers can be compared.
    let keras =
        splits(", split: {validation: 40, test: 20}}\ntext: {tokenizer: keras, lowercase: false");
    assert_eq!(split.validation.rows, keras.validation.rows);
    let first = splits(", version: 1, split: {validation: 40, test: 20}");
    assert_ne!(split.validation.rows, first.validation.rows);
    let position = splits(", split: {method: position, validation: 38}");
    assert_eq!(position.validation.shared_with(&position.train), 1);
}

/// Returns the findings, apart from those on the small number of examples.
fn notes(splits: &DataSplits) -> Vec<&str> {
    let others = splits.findings.iter().filter(|finding| finding.check != Check::RareLabels);
    others.map(|finding| finding.message.as_str()).collect()
}

/// Loads examples with these labels, each with a text of its own.
fn load_labels(labels: &[&str], fields: &str) -> DataSplits {
    let row = |(number, label): (usize, &&str)| format!("text {number},{label}\n");
    let rows: String = labels.iter().enumerate().map(row).collect();
    let files = [("train.csv", &*format!("text,label\n{rows}"))];
    load_files(&files, &format!("data: {{train: DIR/train.csv{fields}}}")).unwrap()
}

/// Reads films with reviews of both labels.
fn load_films(format: &str, fields: &str) -> anyhow::Result<DataSplits> {
    let rows: Vec<(usize, String, &str)> =
        (0..120).map(|n| (n / 4, format!("text {n}"), ["neg", "pos"][n % 2])).collect();
    let content: String = match format {
        "csv" => {
            let row = |(film, text, label): &(_, _, _)| format!("{film},{text},{label}\n");
            "film,text,label\n".to_owned() + &rows.iter().map(row).collect::<String>()
        }
        _ => {
            let row = |(film, text, label): &(_, _, _)| {
                format!("{{\"film\": {film}, \"text\": \"{text}\", \"label\": \"{label}\"}}\n")
            };
            rows.iter().map(row).collect()
        }
    };
    let name = format!("train.{format}");
    let fields = fields.replace("FILE", &format!("DIR/{name}"));
    load_files(&[(&name, &content)], &fields)
}

#[test]
fn no_group_is_in_two_splits() {
    for format in ["csv", "jsonl"] {
        let folds = "folds: 3, fold: 2";
        let validation_folds = "folds: 3, fold: 2, fold_use: validation, test: 0.2";
        for split in ["validation: 0.2, test: 0.2", folds, validation_folds] {
            let fields = format!("data: {{train: FILE, split: {{group: film, {split}}}}}");
            let splits = load_films(format, &fields).unwrap();
            let films = |name: SplitName| -> HashSet<u32> {
                splits.split(name).rows.iter().map(|row| row / 4).collect()
            };
            let [train, validation, test] = SplitName::ALL.map(films);
            assert!(train.is_disjoint(&validation) && train.is_disjoint(&test), "{split}");
            assert!(validation.is_disjoint(&test), "{split}");
            assert_eq!(train.len() + validation.len() + test.len(), 30);
            assert!(validation.len() >= 2 && test.len() >= 5, "{split}");
        }
    }
    let missing = load_films("csv", "data: {train: FILE, split: {group: movie}}").unwrap_err();
    let message = "has a value in a column \"movie\"";
    assert!(missing.to_string().contains(message), "{missing}");
}

#[test]
fn each_example_is_in_the_test_split_of_one_fold() {
    let mut rows = Vec::new();
    for fold in 1..=4 {
        let fields = format!("data: {{train: FILE, split: {{folds: 4, fold: {fold}}}}}");
        let splits = load_films("csv", &fields).unwrap();
        assert_eq!((splits.test.len(), splits.validation.len()), (30, 9));
        rows.extend(splits.test.rows);
    }
    rows.sort_unstable();
    assert_eq!(rows, (0..120).collect::<Vec<_>>());
    let few = "data: {train: FILE, split: {group: film, folds: 40}}";
    let error = load_films("csv", few).unwrap_err().to_string();
    assert!(error.contains("fold 31 of 40 would be empty"), "{error}");
}

/// The test examples are the same for all folds, and no example is in two parts.
#[test]
fn each_example_that_is_not_for_testing_is_in_the_validation_split_of_one_fold() {
    let (mut rows, mut tests) = (Vec::new(), Vec::new());
    for fold in 1..=4 {
        let folds = format!("{{folds: 4, fold: {fold}, fold_use: validation, test: 20}}");
        let splits = load_films("csv", &format!("data: {{train: FILE, split: {folds}}}")).unwrap();
        assert_eq!((splits.train.len(), splits.validation.len(), splits.test.len()), (75, 25, 20));
        let parts = SplitName::ALL.map(|name| splits.split(name).rows.to_vec());
        let mut all = parts.concat();
        all.sort_unstable();
        assert_eq!(all, (0..120).collect::<Vec<_>>());
        rows.extend(splits.validation.rows);
        tests.push(splits.test.rows);
    }
    tests.dedup();
    assert_eq!(tests.len(), 1);
    rows.extend(tests.remove(0));
    rows.sort_unstable();
    assert_eq!(rows, (0..120).collect::<Vec<_>>());
}

#[test]
fn labels_that_look_alike_or_are_rare_are_reported() {
    let mut labels = ["neg", "pos"].repeat(10);
    labels.extend(["Neg", "Neg", "postive"]);
    let splits = load_labels(&labels, "");
    let all: Vec<&str> = splits.findings.iter().map(|it| it.message.as_str()).collect();
    let alike = "the labels \"neg\" (10), \"Neg\" (2) look alike, but are separate classes";
    assert!(all[0].starts_with(alike), "{all:?}");
    let rare = "2 labels have fewer than 10 examples: \"Neg\" (2), \"postive\" (1); add examples";
    assert!(all[1].starts_with(rare), "{all:?}");
    let alike = load_labels(&["0", "1", "1.0"].repeat(9), ", label_names: {0: neg, 1: pos}");
    let note = "data.label_names renames \"1\", but not \"1.0\", which looks like it";
    assert_eq!(notes(&alike), [note]);
    let renamed = ", label_names: {Neg: neg, postive: pos}";
    assert_eq!(notes(&load_labels(&labels, renamed)), [""; 0]);
}

#[test]
fn an_unknown_label_is_compared_with_the_known_ones() {
    let files = [("train.csv", TRAIN), ("test.csv", "text,label\nx,10.0\n")];
    let fields = "data: {train: DIR/train.csv, test: DIR/test.csv}";
    let error = format!("{:#}", load_files(&files, fields).unwrap_err());
    assert!(error.contains("unknown label \"10.0\"; it looks like \"10\""), "{error}");
}

#[test]
fn splits_without_examples_of_a_class_are_reported() {
    let sorted = [vec!["a"; 10], vec!["b"; 10], vec!["c"; 2]].concat();
    let position = ", split: {method: position, validation: 3, test: 2}";
    assert_eq!(
        notes(&load_labels(&sorted, position)),
        [
            "no training example has the label \"c\": the file may be sorted by label; set \
             data.split.shuffle: true",
            "all validation examples have the label \"b\": the file may be sorted by label; set \
             data.split.shuffle: true",
            "all test examples have the label \"c\": the file may be sorted by label; set \
             data.split.shuffle: true",
        ]
    );
    let stratified = load_labels(&sorted, ", split: {validation: 6, test: 6}");
    assert_eq!(stratified.train.targets.class_counts(3).iter().filter(|n| **n == 0.0).count(), 0);
    let files =
        [("train.csv", TRAIN), ("test.csv", "text,label\nx,10\ny,10\n"), ("dev.csv", TRAIN)];
    let fields = "data: {train: DIR/train.csv, test: DIR/test.csv, validation: DIR/dev.csv}";
    let splits = load_files(&files, fields).unwrap();
    let notes = notes(&splits);
    assert!(notes[0].starts_with("all test examples have the label \"10\"; "), "{notes:?}");
}

#[test]
fn unusable_data_is_rejected() {
    let fault = |files: &[(&str, &str)], fields: &str| {
        format!("{:#}", load_files(files, fields).unwrap_err())
    };
    let one = [("train.csv", "text,label\na,1\nb,1\n")];
    assert!(fault(&one, "data: {train: DIR/train.csv}").contains("only the label \"1\""));
    let none = [("train.csv", "text,label\n")];
    assert!(fault(&none, "data: {train: DIR/train.csv}").contains("no examples"));
    let broken = [("train.csv", "text,label\na,\n")];
    let skipped = fault(&broken, "data: {train: DIR/train.csv, broken_lines: skip}");
    assert!(skipped.contains("no examples: 1 broken row skipped; the first is "), "{skipped}");
    let new = [("train.csv", TRAIN), ("test.csv", "text,label\nx,10\ny,8\n")];
    assert!(
        fault(&new, "data: {train: DIR/train.csv, test: DIR/test.csv}")
            .ends_with("test.csv:3: unknown label \"8\"; known labels are 9, 10 (to add it as a class, set data.unseen_labels: class)")
    );
    let all = [("train.csv", TRAIN)];
    assert!(
        fault(&all, "data: {train: DIR/train.csv, split: {validation: 6}}").contains("leaves none")
    );
}

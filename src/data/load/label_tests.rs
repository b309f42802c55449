//! Splits and classes of texts with several labels, or with a probability for each label.

use super::has_several_labels;
use super::tests::load_files;
use crate::data::targets::Target;

#[test]
fn classes_of_label_sets_are_sorted_and_shared_by_all_splits() {
    let train = "text\tlabel\na\t10,9\nb\t9\nc\t\nd\t10\ne\t9, 10\nf\t9\ng\t\nh\t10\n";
    let dev = "text\tlabel\nx\t10,9\ny\t\n";
    let files = [("train.tsv", train), ("dev.tsv", dev)];
    let fields = "data: {train: DIR/train.tsv, validation: DIR/dev.tsv, label_separator: ',', \
                  split: {test: 2}}";
    let splits = load_files(&files, fields).unwrap();
    assert_eq!(splits.labels, ["9", "10"]);
    let targets: Vec<Target> = splits.validation.targets.iter().collect();
    assert_eq!(targets, [Target::LabelSet(&[0, 1]), Target::LabelSet(&[])]);
    assert_eq!((splits.train.len(), splits.test.len()), (6, 2));
    let unknown = [("train.tsv", train), ("dev.tsv", "text\tlabel\nx\t9\ny\t10,11\n")];
    let error = format!("{:#}", load_files(&unknown, fields).unwrap_err());
    assert!(error.contains("dev.tsv:3: unknown label \"11\"; known labels are 9, 10"), "{error}");
    let none = [("train.tsv", "text\tlabel\na\t\nb\t\n"), ("dev.tsv", dev)];
    let error = format!("{:#}", load_files(&none, fields).unwrap_err());
    assert!(error.contains("train.tsv\" has no text with a label"), "{error}");
}

#[test]
fn probabilities_follow_the_order_of_the_classes() {
    let train = "text,b,a\nu,0.9,0.2\nv,0,1\nw,0.1,0.7\nx,1,0.3\n";
    let dev = "text,a,b\ny,0.25,0.5\n";
    let files = [("train.csv", train), ("dev.csv", dev)];
    let fields = "data: {train: DIR/train.csv, validation: DIR/dev.csv, label_columns: [b, a]}";
    let splits = load_files(&files, fields).unwrap();
    assert_eq!(splits.labels, ["a", "b"]);
    assert_eq!(splits.validation.targets.get(0), Target::Probabilities(&[0.25, 0.5]));
    assert_eq!(splits.train.targets.get(0), Target::Probabilities(&[0.2, 0.9]));
    let ordered = fields.replace("label_columns", "labels: [b, a], label_columns");
    let splits = load_files(&files, &ordered).unwrap();
    assert_eq!(splits.validation.targets.get(0), Target::Probabilities(&[0.5, 0.25]));
    let other = fields.replace("label_columns", "labels: [b, c], label_columns");
    assert!(load_files(&files, &other).is_err());
}

#[test]
fn probabilities_are_split_by_the_labels_that_they_suggest() {
    let row = |index: usize| match index % 4 {
        0 => format!("t{index},0.8,0.2\n"),
        _ => format!("t{index},0.4,0.6\n"),
    };
    let content = "text,a,b\n".to_owned() + &(0..40).map(row).collect::<String>();
    for labelling in ["", ", multi_label: false"] {
        let fields = format!(
            "data: {{train: DIR/train.csv, label_columns: [a, b], split: {{validation: 8}}{labelling}}}"
        );
        let splits = load_files(&[("train.csv", &content)], &fields).unwrap();
        let is_a = |target: &Target| matches!(target, Target::Probabilities([a, _]) if *a > 0.5);
        let count = splits.validation.targets.iter().filter(is_a).count();
        assert_eq!((splits.validation.len(), count), (8, 2), "{labelling}");
    }
}

/// Returns what the training data in columns a and b, with these rows, tells about its labels.
fn tells_several(rows: &str, fields: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("train.csv");
    std::fs::write(&path, format!("text,label,a,b\n{rows}")).unwrap();
    let data = format!("train: {}, label_columns: [a, b]{fields}", path.display());
    let config = crate::config::parse_plain(&format!("data: {{{data}}}\n")).config;
    has_several_labels(&config, None).unwrap()
}

#[test]
fn columns_of_probabilities_tell_if_labels_exclude_each_other() {
    assert!(tells_several("t,a,1,0\nu,b,0,1\n", ""));
    assert!(tells_several("t,a,0.5,0.2\nu,b,0.3,0.9\n", ""));
    assert!(!tells_several("t,a,0.7,0.3\nu,b,0,1\n", ""));
    assert!(!tells_several("t,a,0.7,0.3\nu,b,0.2,0.8\nv,b,0.4,0.4\n", ""));
    assert!(tells_several("t,a,0.7,0.3\nu,b,0,1\n", ", multi_label: true"));
    // Columns of the same label are added up.
    assert!(!tells_several("t,a,0.7,0.3\nu,b,0.4,0.6\n", ", label_names: {a: c, b: c}"));
    assert!(!tells_several("t,a,1,0\nu,b,0,1\n", ", multi_label: false"));
}

#[test]
fn distillation_reads_labels_and_probabilities() {
    let train = "text,label,b,a\nt,a,0.1,0.9\nu,b,0.8,0.2\nv,a,0.4,0.6\n";
    let files = [("train.csv", train), ("dev.csv", "text,label\nx,b\n")];
    let fields = "data: {train: DIR/train.csv, validation: DIR/dev.csv, label_columns: [a, b]}\n\
                  train: {distillation: {weight: 0.5}}\n";
    let splits = load_files(&files, fields).unwrap();
    assert_eq!(splits.labels, ["a", "b"]);
    let first = Target::Distilled { labels: &[1.0, 0.0], teacher: &[0.9, 0.1] };
    assert_eq!(splits.train.targets.get(0), first);
    assert_eq!(splits.validation.targets.get(0), Target::Label(1));

    let other = [("train.csv", "text,label,b,a\nt,c,0.1,0.9\nu,b,0.8,0.2\n"), files[1]];
    let error = format!("{:#}", load_files(&other, fields).unwrap_err());
    assert!(error.contains("unknown label \"a\"") || error.contains("no column"), "{error}");
    let sum = [("train.csv", "text,label,b,a\nt,a,0.1,0.9\nu,b,0.8,0.3\n"), files[1]];
    let error = format!("{:#}", load_files(&sum, fields).unwrap_err());
    assert!(error.contains("train.csv:3: the label columns a, b add up to 1.1"), "{error}");
}

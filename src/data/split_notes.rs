//! Notes on splits from which a model learns less, or scores better, than the user may expect.

use super::data_splits::DataSplits;
use super::examples::Examples;
use super::labels::{look_alikes, named, not_renamed};
use super::split_name::SplitName;
use crate::config::{DataConfig, SplitMethod, UnseenLabels};
use crate::output::format::{join_names, pluralize};

/// Returns a note if a renamed label does not occur: its old name may be misspelled.
pub fn unused_name_note(config: &DataConfig, labels: &[String]) -> Option<String> {
    let (old, _) = config.label_names.iter().find(|(_, new)| !labels.contains(new))?;
    Some(format!("data.label_names: no training example has the label \"{old}\""))
}

/// Returns notes on labels that look alike or are rare, and on splits that lack classes.
pub fn class_notes(splits: &DataSplits, config: &DataConfig) -> Vec<String> {
    let labels = &splits.labels;
    let count = |name: SplitName| splits.split(name).targets.class_counts(labels.len());
    let [train, validation, test] = SplitName::ALL.map(count);
    let total = |class: usize| (train[class] + validation[class] + test[class]) as usize;
    let totals: Vec<(&str, usize)> =
        labels.iter().enumerate().map(|(class, label)| (label.as_str(), total(class))).collect();
    let mut notes = look_alikes(&totals);
    notes.extend(not_renamed(labels, &config.label_names));

    let single = named(labels, totals.iter().map(|(_, count)| *count == 1));
    if !single.is_empty() {
        let labels = pluralize(single.len(), "label");
        let have = if single.len() == 1 { "has" } else { "have" };
        notes.push(format!("{labels} {have} a single example: {}", join_names(&single)));
    }
    let untrained = named(labels, train.iter().map(|count| *count == 0.0));
    if !untrained.is_empty() {
        let advice = match is_by_position(config) && config.unseen_labels == UnseenLabels::Error {
            true => SORTED,
            false => "; the model cannot learn to predict it",
        };
        let labels = if untrained.len() == 1 { "the label" } else { "any of the labels" };
        notes.push(format!("no training example has {labels} {}{advice}", join_names(&untrained)));
    }
    for name in SplitName::ALL {
        notes.extend(single_label_note(name, splits.split(name), labels, config));
    }
    notes
}

/// Returns a note if all examples of the validation or test split have the same label.
pub fn single_label_note(
    name: SplitName,
    examples: &Examples,
    labels: &[String],
    config: &DataConfig,
) -> Option<String> {
    let has_file = match name {
        SplitName::Train => return None,
        SplitName::Validation => config.validation.is_some(),
        SplitName::Test => config.test.is_some(),
    };
    let counts = examples.targets.class_counts(labels.len());
    let present = named(labels, counts.iter().map(|count| *count > 0.0));
    let [only] = &present[..] else { return None };
    if examples.len() == 1 {
        return None;
    }
    let advice = match is_by_position(config) && !has_file {
        true => SORTED,
        false => "; their scores say nothing about the other labels",
    };
    Some(format!("all {name} examples have the label {only}{advice}"))
}

/// Returns true if the file's order decides which examples are in which split.
fn is_by_position(config: &DataConfig) -> bool {
    config.split.method == SplitMethod::Position && !config.split.shuffle
}

/// Advice for a split by position.
const SORTED: &str = ": the file may be sorted by label; set data.split.shuffle: true";

/// Returns a note if texts of the `name` examples also occur in `others`, the training examples or unlabelled
/// texts as `kind` says, which inflates their scores.
pub fn overlap_note(
    others: &Examples,
    kind: &str,
    name: &str,
    examples: &Examples,
    config: &DataConfig,
) -> Option<String> {
    let common = examples.shared_with(others);
    let also = match (common, kind.starts_with('u')) {
        (1, false) => format!("is also a {kind} text"),
        (1, true) => format!("is also an {kind} text"),
        _ => format!("are also {kind} texts"),
    };
    let alike = match config.has_first_rules() {
        true => "",
        false => ", up to case, spaces, punctuation and tags",
    };
    (common > 0).then(|| format!("{common} of {} {name}texts {also}{alike}", examples.len()))
}

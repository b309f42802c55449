//! Findings on splits from which a model learns less, or scores better, than the user may expect.

use crate::config::{DataConfig, Labelling, SplitMethod, UnseenLabels};
use crate::data::data_splits::DataSplits;
use crate::data::examples::Examples;
use crate::data::finding::{Check, Finding};
use crate::data::labels::{joined, look_alikes, named, not_renamed, numeric, placeholders, rare};
use crate::data::split_name::SplitName;
use crate::data::targets::Targets;
use crate::output::format::join_names;

/// Returns a finding if a renamed label does not occur: its old name may be misspelled.
pub fn unused_name(config: &DataConfig, labels: &[String]) -> Option<Finding> {
    // Rows whose new label is empty are skipped.
    let mut names = config.label_names.iter().filter(|(_, new)| !new.is_empty());
    let (old, _) = names.find(|(_, new)| !labels.contains(new))?;
    let message = format!("data.label_names: no training example has the label \"{old}\"");
    let found = Finding::new(Check::SimilarLabels, message).counted(1, config.label_names.len());
    Some(found.setting("data.label_names"))
}

/// Returns findings on labels that look alike, are rare or have many numeric values, and on splits that lack
/// classes.
pub fn class_findings(splits: &DataSplits, config: &DataConfig) -> Vec<Finding> {
    let labels = &splits.labels;
    let count = |name: SplitName| splits.split(name).targets.class_counts(labels.len());
    let [train, validation, test] = SplitName::ALL.map(count);
    let total = |class: usize| (train[class] + validation[class] + test[class]) as usize;
    let totals: Vec<(&str, usize)> =
        labels.iter().enumerate().map(|(class, label)| (label.as_str(), total(class))).collect();
    let mut findings = look_alikes(&totals);
    findings.extend(not_renamed(labels, &config.label_names));
    findings.extend(placeholders(&totals, config.labelling()));
    findings.extend(single_labels(&splits.train, config));
    findings.extend(rare(&totals));
    findings.extend(numeric(labels));
    findings.extend((config.labelling() == Labelling::One).then(|| joined(labels)).flatten());
    let untrained = named(labels, train.iter().map(|count| *count == 0.0));
    if !untrained.is_empty() {
        let (advice, setting) =
            match is_by_position(config) && config.unseen_labels == UnseenLabels::Error {
                true => (SORTED, Some(SHUFFLE)),
                false => ("; the model cannot learn to predict it", None),
            };
        let which = if untrained.len() == 1 { "the label" } else { "any of the labels" };
        let message = format!("no training example has {which} {}{advice}", join_names(&untrained));
        let found = Finding::new(Check::MissingLabels, message);
        let setting = setting.map(str::to_owned);
        findings.push(Finding { setting, ..found.counted(untrained.len(), labels.len()) });
    }
    for name in SplitName::ALL {
        findings.extend(single_label(name, splits.split(name), labels, config));
    }
    findings
}

/// Returns a finding if all examples of the validation or test split have the same label.
pub fn single_label(
    name: SplitName,
    examples: &Examples,
    labels: &[String],
    config: &DataConfig,
) -> Option<Finding> {
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
    let (advice, setting) = match is_by_position(config) && !has_file {
        true => (SORTED, Some(SHUFFLE)),
        false => ("; their scores say nothing about the other labels", None),
    };
    let message = match config.labelling() {
        Labelling::One => format!("all {name} examples have the label {only}{advice}"),
        Labelling::Several => format!("all labels of {name} examples are {only}{advice}"),
    };
    let found = Finding::new(Check::MissingLabels, message);
    let setting = setting.map(str::to_owned);
    Some(Finding { setting, ..found.counted(labels.len() - 1, labels.len()) })
}

/// Returns a finding if a text can have several labels, but none of the training texts has.
fn single_labels(train: &Examples, config: &DataConfig) -> Option<Finding> {
    let Targets::LabelSets(sets) = &train.targets else { return None };
    if sets.iter().any(|set| set.len() > 1) {
        return None;
    }
    let (advice, setting) = match &config.label_separator {
        Some(separator) => (
            format!("; check data.label_separator, which is {separator:?}"),
            "data.label_separator",
        ),
        None => (
            "; if each has exactly one, data.multi_label: false fits better".to_owned(),
            "data.multi_label",
        ),
    };
    let message = format!("no training text has more than one label{advice}");
    let found = Finding::new(Check::SeveralLabels, message).counted(sets.len(), sets.len());
    Some(found.setting(setting))
}

/// Returns true if the file's order decides which examples are in which split.
fn is_by_position(config: &DataConfig) -> bool {
    config.split.method == SplitMethod::Position && !config.split.shuffle
}

/// Field for a split by position.
const SHUFFLE: &str = "data.split.shuffle";
/// Advice for a split by position.
const SORTED: &str = ": the file may be sorted by label; set data.split.shuffle: true";

//! Labels in notes: their excerpts, and those that look alike, such as "neg" and "Neg", which are separate
//! classes most likely by mistake.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::finding::{Check, Finding};
use crate::config::Labelling;
use crate::data::appearance::appearance;
use crate::data::formats::excerpt;
use crate::output::format::{group_digits, join_names, pluralize};

/// Maximum number of groups of labels in the notes.
const SHOWN: usize = 5;

/// Returns excerpts of the labels for which `is_named` has true.
pub fn named(labels: &[String], is_named: impl Iterator<Item = bool>) -> Vec<String> {
    let named = labels.iter().zip(is_named).filter(|(_, is_named)| *is_named);
    named.map(|(label, _)| format!("{:?}", excerpt(label))).collect()
}

/// Returns findings on labels that look alike. `counts` has each label with its number of examples.
pub fn look_alikes(counts: &[(&str, usize)]) -> Vec<Finding> {
    let mut groups: BTreeMap<String, Vec<(&str, usize)>> = BTreeMap::new();
    for (label, count) in counts {
        groups.entry(appearance(label)).or_default().push((label, *count));
    }
    let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort_by_key(|group| {
        std::cmp::Reverse(group.iter().map(|(_, count)| count).max().copied())
    });
    let finding = |message: String, labels: usize| {
        let found = Finding::new(Check::SimilarLabels, message).counted(labels, counts.len());
        found.setting("data.label_names")
    };
    let mut findings: Vec<Finding> =
        groups.iter().take(SHOWN).map(|group| finding(note(group), group.len())).collect();
    if groups.len() > SHOWN {
        let labels = groups.iter().skip(SHOWN).map(Vec::len).sum();
        let message = format!("{} more groups of labels look alike", groups.len() - SHOWN);
        findings.push(finding(message, labels));
    }
    findings
}

/// Values of a missing label in the files of other programs, in lowercase. "none" is a class too often.
const PLACEHOLDERS: [&str; 12] =
    ["-", "--", "n/a", "#n/a", "n.a.", "na", "#na", "<na>", "nan", "-nan", "null", "nil"];

/// Returns a finding on labels that stand for a missing value. `counts` has each label with its number of
/// examples.
pub fn placeholders(counts: &[(&str, usize)], labelling: Labelling) -> Option<Finding> {
    let is_placeholder =
        |(label, _): &&(&str, usize)| PLACEHOLDERS.contains(&label.to_lowercase().as_str());
    let found: Vec<&(&str, usize)> = counts.iter().filter(is_placeholder).collect();
    let shown: Vec<String> = found
        .iter()
        .map(|(label, count)| format!("{:?} ({})", excerpt(label), group_digits(*count)))
        .collect();
    let removed: Vec<String> = found.iter().map(|(label, _)| format!("{label:?}: \"\"")).collect();
    let missing: usize = found.iter().map(|(_, count)| count).sum();
    let all: usize = counts.iter().map(|(_, count)| count).sum();
    let share = (100.0 * missing as f64 / all as f64).ceil() / 100.0;
    let (labels, look) = match found.len() {
        1 => ("label", "looks like a missing value, but is a class"),
        _ => ("labels", "look like missing values, but are classes"),
    };
    let names = format!("data.label_names: {{{}}}", removed.join(", "));
    let advice = match labelling {
        Labelling::One => format!(
            "to leave such rows out, set {names}, data.broken_lines: skip and data.max_skipped to at least \
             {share}"
        ),
        Labelling::Several => format!("to remove them, set {names}"),
    };
    let message = format!("the {labels} {} {look}; {advice}", join_names(&shown));
    let finding =
        Finding::new(Check::PlaceholderLabels, message).counted(found.len(), counts.len());
    (!found.is_empty()).then(|| finding.setting("data.label_names"))
}

/// Number of examples below which a label is rare: a tenth of them is less than one validation example.
const FEW_EXAMPLES: usize = 10;
/// Number of labels above which numbers look like the values of a regression.
const MANY_NUMBERS: usize = 100;
/// Number of labels above which numbers with fractions do.
const MANY_FRACTIONS: usize = 10;

/// Returns a finding on labels with few examples. `counts` has each label with its number of examples.
pub fn rare(counts: &[(&str, usize)]) -> Option<Finding> {
    let rare: Vec<&(&str, usize)> =
        counts.iter().filter(|(_, count)| (1..FEW_EXAMPLES).contains(count)).collect();
    let shown: Vec<String> =
        rare.iter().map(|(label, count)| format!("{:?} ({count})", excerpt(label))).collect();
    let have = if rare.len() == 1 { "has" } else { "have" };
    let message = format!(
        "{} {have} fewer than {FEW_EXAMPLES} examples: {}; add examples, or merge labels with \
         data.label_names",
        pluralize(rare.len(), "label"),
        join_names(&shown)
    );
    let found = Finding::new(Check::RareLabels, message).counted(rare.len(), counts.len());
    (!rare.is_empty()).then(|| found.setting("data.label_names"))
}

/// Characters between several labels in the files of other programs.
const SEPARATORS: [&str; 4] = [",", ";", "|", "/"];
/// Number of labels that consist of others above which they are most likely several labels.
const FEW_JOINED: usize = 1;

/// Returns a finding on labels that consist of other labels with a separator between them, such as "joy,love":
/// a text can most likely have several labels.
pub fn joined(labels: &[String]) -> Option<Finding> {
    let known: HashSet<&str> = labels.iter().map(String::as_str).collect();
    let of_others = |separator: &str| -> Vec<&String> {
        let is_joined = |label: &&String| {
            let mut parts = label.split(separator).map(str::trim);
            label.contains(separator) && parts.all(|part| known.contains(part))
        };
        labels.iter().filter(is_joined).collect()
    };
    let found = SEPARATORS.map(|separator| (separator, of_others(separator)));
    let (separator, joined) = found.into_iter().max_by_key(|(_, joined)| joined.len())?;
    if joined.len() <= FEW_JOINED {
        return None;
    }
    let message = format!(
        "{} labels, such as {:?}, consist of other labels; if a text can have several labels, set \
         data.label_separator: \"{separator}\"",
        group_digits(joined.len()),
        excerpt(joined[0]),
    );
    let found = Finding::new(Check::SeveralLabels, message).counted(joined.len(), labels.len());
    Some(found.setting("data.label_separator"))
}

/// Returns a finding on labels that are numbers with so many values that they look like those of a
/// regression.
pub fn numeric(labels: &[String]) -> Option<Finding> {
    let numbers: Option<Vec<f64>> = labels.iter().map(|label| label.parse().ok()).collect();
    let numbers = numbers?;
    let has_fractions = numbers.iter().any(|number| number.fract() != 0.0);
    let limit = if has_fractions { MANY_FRACTIONS } else { MANY_NUMBERS };
    let shown: Vec<String> = labels.iter().take(3).map(|label| excerpt(label)).collect();
    let message = format!(
        "the {} labels are numbers ({}, …), of which a classifier does not know that they have an order; \
         map them to a few ranges with data.label_names, or check data.label_column",
        group_digits(labels.len()),
        shown.join(", ")
    );
    let found = Finding::new(Check::NumericLabels, message).counted(labels.len(), labels.len());
    (labels.len() > limit).then(|| found.setting("data.label_names"))
}

fn note(group: &[(&str, usize)]) -> String {
    let mut group = group.to_vec();
    group.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let shown: Vec<String> = group
        .iter()
        .map(|(label, count)| format!("{:?} ({})", excerpt(label), group_digits(*count)))
        .collect();
    format!(
        "the labels {} look alike, but are separate classes; data.label_names can make them one",
        join_names(&shown)
    )
}

/// Returns the label among `known` that looks like `label`.
pub fn similar<'a>(label: &str, known: &'a [String]) -> Option<&'a str> {
    let appearance_of_label = appearance(label);
    known.iter().find(|known| appearance(known) == appearance_of_label).map(String::as_str)
}

/// Returns a finding on labels that `data.label_names` does not rename, but that look like one it renames.
pub fn not_renamed(labels: &[String], label_names: &BTreeMap<String, String>) -> Option<Finding> {
    let renamed: HashMap<String, &String> =
        label_names.keys().map(|label| (appearance(label), label)).collect();
    let new: HashSet<&String> = label_names.values().collect();
    let mut kept = labels.iter().filter(|label| !renamed.is_empty() && !new.contains(label));
    let (label, old) = kept.find_map(|label| Some((label, renamed.get(&appearance(label))?)))?;
    let message = format!(
        "data.label_names renames {:?}, but not {:?}, which looks like it",
        excerpt(old),
        excerpt(label)
    );
    let found = Finding::new(Check::SimilarLabels, message).counted(1, labels.len());
    Some(found.setting("data.label_names"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_look_alike_are_noted_with_their_counts() {
        let alike: [&[&str]; 4] =
            [&["neg", "Neg", "NEG"], &["1", "\"1\"", "1.0"], &["1,000", "1000"], &["a-b", "a_b"]];
        for labels in alike {
            let counts: Vec<(&str, usize)> = labels.iter().map(|label| (*label, 1_200)).collect();
            let notes = look_alikes(&counts);
            assert_eq!(notes.len(), 1, "{labels:?}: {notes:?}");
            assert_eq!(notes[0].message.matches("(1,200)").count(), labels.len(), "{notes:?}");
        }
        let different = ["neg", "pos", "-1", "1", "12345678901234567890", "12345678901234567891"];
        assert_eq!(look_alikes(&different.map(|label| (label, 1))), []);
    }

    #[test]
    fn labels_that_consist_of_others_are_noted() {
        let labels = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
        let emotions: Vec<String> = labels(&["joy", "joy, love", "love", "love,joy", "fear,x"]);
        let note = joined(&emotions).unwrap();
        assert!(note.message.starts_with("2 labels, such as \"joy, love\","), "{note}");
        assert!(note.message.ends_with("data.label_separator: \",\""), "{note}");
        for others in [&["a", "b", "a/b"][..], &["a,b", "c,d", "a"], &["1,5", "2,5"]] {
            assert_eq!(joined(&labels(others)), None, "{others:?}");
        }
    }

    #[test]
    fn notes_on_many_groups_are_shortened() {
        let labels: Vec<String> =
            (0..40).map(|n| format!("{}{}", ["a", "A"][n % 2], n / 2)).collect();
        let counts: Vec<(&str, usize)> = labels.iter().map(|label| (&**label, 1)).collect();
        let notes = look_alikes(&counts);
        assert_eq!(notes.len(), 6);
        assert_eq!(notes[SHOWN].message, "15 more groups of labels look alike");
    }

    #[test]
    fn labels_with_few_examples_are_counted() {
        assert_eq!(rare(&[("a", 10), ("b", 0)]), None);
        let message = rare(&[("a", 10), ("b", 9), ("c", 1)]).unwrap().message;
        let expected =
            "2 labels have fewer than 10 examples: \"b\" (9), \"c\" (1); add examples, or merge";
        assert!(message.starts_with(expected), "{message}");
    }

    #[test]
    fn numbers_with_many_values_look_like_a_regression() {
        let labels = |count: usize, step: f64| -> Vec<String> {
            (0..count).map(|number| (number as f64 * step).to_string()).collect()
        };
        assert_eq!(numeric(&labels(100, 1.0)), None);
        assert_eq!(numeric(&labels(10, 0.5)), None);
        assert_eq!(numeric(&[labels(200, 1.0), vec!["x".to_owned()]].concat()), None);
        for labels in [labels(101, 1.0), labels(11, 0.5)] {
            let message = numeric(&labels).unwrap().message;
            let expected = format!("the {} labels are numbers ({}, ", labels.len(), labels[0]);
            assert!(message.starts_with(&expected), "{message}");
        }
    }
}

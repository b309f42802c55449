//! Labels in notes: their excerpts, and those that look alike, such as "neg" and "Neg", which are separate
//! classes most likely by mistake.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::appearance::appearance;
use super::formats::excerpt;
use crate::output::format::{group_digits, join_names};

/// Maximum number of groups of labels in the notes.
const SHOWN: usize = 5;

/// Returns excerpts of the labels for which `is_named` has true.
pub fn named(labels: &[String], is_named: impl Iterator<Item = bool>) -> Vec<String> {
    let named = labels.iter().zip(is_named).filter(|(_, is_named)| *is_named);
    named.map(|(label, _)| format!("{:?}", excerpt(label))).collect()
}

/// Returns notes on labels that look alike. `counts` has each label with its number of examples.
pub fn look_alikes(counts: &[(&str, usize)]) -> Vec<String> {
    let mut groups: BTreeMap<String, Vec<(&str, usize)>> = BTreeMap::new();
    for (label, count) in counts {
        groups.entry(appearance(label)).or_default().push((label, *count));
    }
    let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort_by_key(|group| {
        std::cmp::Reverse(group.iter().map(|(_, count)| count).max().copied())
    });
    let mut notes: Vec<String> = groups.iter().take(SHOWN).map(|group| note(group)).collect();
    if groups.len() > SHOWN {
        notes.push(format!("{} more groups of labels look alike", groups.len() - SHOWN));
    }
    notes
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

/// Returns a note on labels that `data.label_names` does not rename, but that look like one it renames.
pub fn not_renamed(labels: &[String], label_names: &BTreeMap<String, String>) -> Option<String> {
    let renamed: HashMap<String, &String> =
        label_names.keys().map(|label| (appearance(label), label)).collect();
    let new: HashSet<&String> = label_names.values().collect();
    let mut kept = labels.iter().filter(|label| !renamed.is_empty() && !new.contains(label));
    let (label, old) = kept.find_map(|label| Some((label, renamed.get(&appearance(label))?)))?;
    Some(format!(
        "data.label_names renames {:?}, but not {:?}, which looks like it",
        excerpt(old),
        excerpt(label)
    ))
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
            assert_eq!(notes[0].matches("(1,200)").count(), labels.len(), "{notes:?}");
        }
        let different = ["neg", "pos", "-1", "1", "12345678901234567890", "12345678901234567891"];
        assert_eq!(look_alikes(&different.map(|label| (label, 1))), [] as [String; 0]);
    }

    #[test]
    fn notes_on_many_groups_are_shortened() {
        let labels: Vec<String> =
            (0..40).map(|n| format!("{}{}", ["a", "A"][n % 2], n / 2)).collect();
        let counts: Vec<(&str, usize)> = labels.iter().map(|label| (&**label, 1)).collect();
        let notes = look_alikes(&counts);
        assert_eq!((notes.len(), &*notes[SHOWN]), (6, "15 more groups of labels look alike"));
    }
}

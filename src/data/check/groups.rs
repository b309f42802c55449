//! Groups of `data.split.group` whose examples are in several parts, as they are if the parts have files of
//! their own.

use rustc_hash::FxHashSet;

use crate::config::{Column, DataConfig};
use crate::data::data_splits::DataSplits;
use crate::data::examples::Examples;
use crate::data::finding::{Check, Finding, Level};
use crate::data::formats::{NO_GROUP, excerpt};
use crate::data::split_name::SplitName;
use crate::output::format::share;

/// Returns a finding on each pair of parts that have examples of the same groups; none without groups.
pub fn findings(splits: &DataSplits, config: &DataConfig) -> Vec<Finding> {
    let Some(column) = &config.split.group else { return Vec::new() };
    let mut findings = Vec::new();
    for (name, others) in [
        (SplitName::Validation, &[SplitName::Train][..]),
        (SplitName::Test, &[SplitName::Train, SplitName::Validation]),
    ] {
        let examples = splits.split(name);
        if !examples.is_empty() && groups(examples).all(|group| group.is_none()) {
            findings.push(ungrouped(name, examples, column));
            continue;
        }
        for other in others {
            findings.extend(shared((name, examples), (*other, splits.split(*other)), column));
        }
    }
    if findings.is_empty() {
        let passed = Check::SharedGroups.passed();
        findings.push(Finding::new(Check::SharedGroups, passed).level(Level::Ok));
    }
    findings
}

/// Returns the group of each example; `None` if it belongs to none.
fn groups(examples: &Examples) -> impl Iterator<Item = Option<&str>> {
    let rows = &examples.source.rows;
    examples.rows.iter().map(|row| match rows.groups.get(*row as usize) {
        None | Some(&NO_GROUP) => None,
        Some(group) => rows.group_names.get_index(*group as usize).map(String::as_str),
    })
}

fn ungrouped(name: SplitName, examples: &Examples, column: &Column) -> Finding {
    let examples_of_part = format!("{} examples", name.adjective());
    let none = share(0, examples.len(), &examples_of_part);
    let message = format!(
        "{none} have a group: without the column {column} (data.split.group), it is unknown whether training \
         examples have the same groups"
    );
    let found = Finding::new(Check::SharedGroups, message).counted(examples.len(), examples.len());
    found.setting("data.split.group")
}

fn shared(
    (name, examples): (SplitName, &Examples),
    (other_name, other): (SplitName, &Examples),
    column: &Column,
) -> Option<Finding> {
    let known: FxHashSet<&str> = groups(other).flatten().collect();
    let mut found: FxHashSet<&str> = FxHashSet::default();
    let (mut count, mut first) = (0, None);
    for group in groups(examples).flatten().filter(|group| known.contains(group)) {
        count += 1;
        found.insert(group);
        first.get_or_insert(group);
    }
    let first = first?;
    let (name, other_name, key) = (name.adjective(), other_name.adjective(), column.key());
    let (verb, them) = if count == 1 { ("is", "its score") } else { ("are", "their scores") };
    let groups = match found.len() {
        1 => format!(
            "a group (data.split.group: {key}) that {other_name} examples have too, {:?}",
            excerpt(first)
        ),
        groups => format!(
            "{groups} groups (data.split.group: {key}) that {other_name} examples have too, such as {:?}",
            excerpt(first)
        ),
    };
    let message = format!(
        "{} {verb} of {groups}: {them} may not hold for new groups; move each group to one file",
        share(count, examples.len(), &format!("{name} examples"))
    );
    let finding = Finding::new(Check::SharedGroups, message).counted(count, examples.len());
    Some(finding.setting("data.split.group"))
}

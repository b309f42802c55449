//! Splits examples into training, validation and test examples. All functions are pure.

use std::collections::HashMap;
use std::hash::Hash;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use super::formats::NO_GROUP;

/// Indices of the examples of each split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Split {
    pub train: Vec<usize>,
    pub validation: Vec<usize>,
    pub test: Vec<usize>,
}

/// Takes the validation and then the test examples from the end of the file. With `shuffle_seed`, the
/// examples are shuffled first, and each split stays shuffled.
pub fn by_position(
    examples: usize,
    validation: usize,
    test: usize,
    shuffle_seed: Option<u64>,
) -> Split {
    let mut order: Vec<usize> = (0..examples).collect();
    if let Some(seed) = shuffle_seed {
        order.shuffle(&mut Pcg64::seed_from_u64(seed));
    }
    let test = order.split_off(examples - test);
    let validation = order.split_off(order.len() - validation);
    Split { train: order, validation, test }
}

/// Draws `validation` and `test` examples at random with the label proportions of all examples.
/// Examples with identical `texts` stay in one split. With `keep_classes`, the last group of identical
/// texts that has an example of a class stays in the training split. A split may therefore be smaller than
/// requested.
pub fn stratified<T: Eq + Hash>(
    texts: &[T],
    labels: &[u32],
    validation: usize,
    test: usize,
    keep_classes: bool,
    seed: u64,
) -> Split {
    let examples = texts.len();
    let mut classes = groups_by_label(texts, labels);
    let kept = usize::from(keep_classes);
    let sizes: Vec<usize> =
        classes.iter().map(|groups| groups.iter().map(Vec::len).sum()).collect();
    let mut random = Pcg64::seed_from_u64(seed);
    for groups in &mut classes {
        groups.shuffle(&mut random);
    }
    let mut left = groups_of_labels(&classes, labels);
    let mut draw = |total: usize| {
        let limits = if keep_classes { available(&classes, kept) } else { sizes.clone() };
        let shares = apportion(&sizes, &limits, total);
        draw(&mut classes, &shares, labels, &mut left, kept)
    };
    let mut split = Split {
        test: draw(test),
        validation: draw(validation),
        train: Vec::with_capacity(examples),
    };
    split.train = classes.into_iter().flatten().flatten().collect();
    for indices in [&mut split.train, &mut split.validation, &mut split.test] {
        indices.sort_unstable();
    }
    split
}

/// Returns a number for each example, the same for examples that have the same text or the same group, also
/// by way of others. Examples without a group have only their text; `groups` may be empty.
pub fn connected<T: Eq + Hash>(texts: &[T], groups: &[u32]) -> Vec<u32> {
    let mut first_of: HashMap<&T, u32> = HashMap::with_capacity(texts.len());
    let mut unit: Vec<u32> =
        (0..).zip(texts).map(|(i, text)| *first_of.entry(text).or_insert(i)).collect();
    let mut first_of_group: HashMap<u32, u32> = HashMap::new();
    for (example, group) in groups.iter().enumerate().filter(|(_, group)| **group != NO_GROUP) {
        let root = root(&mut unit, example as u32);
        let other = *first_of_group.entry(*group).or_insert(root);
        let other = self::root(&mut unit, other);
        unit[root.max(other) as usize] = root.min(other);
    }
    (0..unit.len() as u32).map(|example| root(&mut unit, example)).collect()
}

/// Follows the examples to which an example is connected to the first one, and shortens the way.
fn root(unit: &mut [u32], example: u32) -> u32 {
    let mut at = example;
    while unit[at as usize] != at {
        unit[at as usize] = unit[unit[at as usize] as usize];
        at = unit[at as usize];
    }
    at
}

/// Assigns examples to `count` folds, from 0, of about the same size and with about the same label proportions.
/// Examples of the same unit are in the same fold.
///
/// Large units come first. Each goes to the fold that has the smallest share of its labels so far, as in
/// scikit-learn's StratifiedGroupKFold.
pub fn folds(units: &[u32], labels: &[u32], count: usize, seed: u64) -> Vec<usize> {
    let mut groups: Vec<Vec<usize>> =
        groups_by_label(units, labels).into_iter().flatten().collect();
    groups.shuffle(&mut Pcg64::seed_from_u64(seed));
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    let classes = labels.iter().max().map_or(0, |label| *label as usize + 1);
    let mut totals = vec![0.0_f64; classes];
    labels.iter().for_each(|label| totals[*label as usize] += 1.0);
    let (mut counts, mut sizes) = (vec![vec![0.0_f64; classes]; count], vec![0; count]);
    let mut fold_of = vec![0; units.len()];
    for group in groups {
        let classes = group.iter().map(|example| labels[*example] as usize);
        let share = |fold: &usize| -> f64 {
            classes.clone().map(|class| counts[*fold][class] / totals[class]).sum()
        };
        let order = |a: &usize, b: &usize| {
            share(a).total_cmp(&share(b)).then_with(|| sizes[*a].cmp(&sizes[*b]))
        };
        let fold = (0..count).min_by(order).unwrap_or(0);
        classes.for_each(|class| counts[fold][class] += 1.0);
        sizes[fold] += group.len();
        group.into_iter().for_each(|example| fold_of[example] = fold);
    }
    fold_of
}

/// Groups examples with identical texts, and the groups by the label of their first example.
fn groups_by_label<T: Eq + Hash>(texts: &[T], labels: &[u32]) -> Vec<Vec<Vec<usize>>> {
    let mut group_of: HashMap<&T, usize> = HashMap::with_capacity(texts.len());
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let group = *group_of.entry(text).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(index);
    }
    let classes = labels.iter().max().map_or(0, |label| *label as usize + 1);
    let mut by_label = vec![Vec::new(); classes];
    for group in groups {
        by_label[labels[group[0]] as usize].push(group);
    }
    by_label
}

/// Returns the labels of a group, which can be several if the same text is labelled differently.
fn labels_of(group: &[usize], labels: &[u32]) -> Vec<usize> {
    let mut found: Vec<usize> = group.iter().map(|index| labels[*index] as usize).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Counts the groups that have an example of each label.
fn groups_of_labels(classes: &[Vec<Vec<usize>>], labels: &[u32]) -> Vec<usize> {
    let mut counts = vec![0; classes.len()];
    for label in classes.iter().flatten().flat_map(|group| labels_of(group, labels)) {
        counts[label] += 1;
    }
    counts
}

/// Returns the number of examples of each label without the smallest `kept` groups.
fn available(classes: &[Vec<Vec<usize>>], kept: usize) -> Vec<usize> {
    let of_class = |groups: &Vec<Vec<usize>>| {
        let mut sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
        sizes.sort_unstable();
        sizes.iter().skip(kept).sum()
    };
    classes.iter().map(of_class).collect()
}

/// Divides `total` in proportion to `sizes`, by the largest remainder method, into shares of at most
/// `limits`.
fn apportion(sizes: &[usize], limits: &[usize], total: usize) -> Vec<usize> {
    let all: usize = sizes.iter().sum::<usize>().max(1);
    let shares = sizes.iter().zip(limits).map(|(size, limit)| (size * total / all).min(*limit));
    let mut shares: Vec<usize> = shares.collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&label| std::cmp::Reverse(sizes[label] * total % all));
    let possible = total.min(limits.iter().sum());
    let mut missing = possible.saturating_sub(shares.iter().sum());
    for &label in order.iter().cycle() {
        if missing == 0 {
            break;
        }
        if shares[label] < limits[label] {
            shares[label] += 1;
            missing -= 1;
        }
    }
    shares
}

/// Removes whole groups from each label until its share is reached. Skips groups that do not fit, and
/// leaves at least `kept` groups with each label. `left` has the number of groups with each label.
fn draw(
    classes: &mut [Vec<Vec<usize>>],
    shares: &[usize],
    labels: &[u32],
    left: &mut [usize],
    kept: usize,
) -> Vec<usize> {
    let mut drawn = Vec::new();
    for (groups, &share) in classes.iter_mut().zip(shares) {
        let mut remaining = share;
        groups.retain(|group| {
            let found = labels_of(group, labels);
            let fits = group.len() <= remaining && found.iter().all(|label| left[*label] > kept);
            if fits {
                remaining -= group.len();
                found.iter().for_each(|label| left[*label] -= 1);
                drawn.extend_from_slice(group);
            }
            !fits
        });
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(count: usize, distinct: usize) -> Vec<String> {
        (0..count).map(|i| format!("text {}", i % distinct)).collect()
    }

    fn all(split: &Split) -> Vec<usize> {
        let mut all = [&split.train[..], &split.validation, &split.test].concat();
        all.sort_unstable();
        all
    }

    #[test]
    fn stratified_splits_are_a_partition_with_equal_proportions() {
        let labels: Vec<u32> = (0..1_000).map(|i| u32::from(i >= 700)).collect();
        let split = stratified(&texts(1_000, 1_000), &labels, 100, 50, true, 7);
        assert_eq!(all(&split), (0..1_000).collect::<Vec<_>>());
        let ones = |indices: &[usize]| indices.iter().filter(|i| labels[**i] == 1).count();
        assert_eq!((split.validation.len(), ones(&split.validation)), (100, 30));
        assert_eq!((split.test.len(), ones(&split.test)), (50, 15));
    }

    #[test]
    fn identical_texts_stay_in_one_split() {
        let texts = texts(1_000, 300);
        let split = stratified(&texts, &vec![0; 1_000], 100, 100, true, 1);
        let set = |indices: &[usize]| {
            indices.iter().map(|i| &texts[*i]).collect::<std::collections::HashSet<_>>()
        };
        assert!(set(&split.train).is_disjoint(&set(&split.validation)));
        assert!(set(&split.train).is_disjoint(&set(&split.test)));
        assert!(set(&split.validation).is_disjoint(&set(&split.test)));
        assert!(split.validation.len() > 96 && split.test.len() > 96, "groups of 3 or 4 fill 100");
    }

    #[test]
    fn examples_are_connected_by_texts_and_groups() {
        let none = NO_GROUP;
        assert_eq!(connected(&["a", "b", "a", "c", "d"], &[]), [0, 1, 0, 3, 4]);
        let groups = [none, 7, none, 7, 5];
        assert_eq!(connected(&["a", "b", "a", "c", "d"], &groups), [0, 1, 0, 1, 4]);
        // b and d are connected by way of the text c.
        assert_eq!(connected(&["a", "b", "c", "c", "d"], &[none, 3, 3, 4, 4]), [0, 1, 1, 1, 1]);
    }

    #[test]
    fn folds_have_equal_sizes_and_proportions_and_keep_units_together() {
        let labels: Vec<u32> = (0..1_000).map(|i| u32::from(i % 10 < 3)).collect();
        let alone: Vec<u32> = (0..1_000).collect();
        let fold_of = folds(&alone, &labels, 5, 3);
        for fold in 0..5 {
            let of_fold: Vec<usize> = (0..1_000).filter(|i| fold_of[*i] == fold).collect();
            let ones = of_fold.iter().filter(|i| labels[**i] == 1).count();
            assert_eq!((of_fold.len(), ones), (200, 60));
        }
        assert_ne!(fold_of, folds(&alone, &labels, 5, 4));
        assert_eq!(fold_of, folds(&alone, &labels, 5, 3));
        // Units of 1 to 40 examples.
        let units: Vec<u32> = (0..1_000_u32).map(|i| ((i * 2) as f64).sqrt() as u32).collect();
        let fold_of = folds(&units, &labels, 5, 3);
        for fold in 0..5 {
            let size = fold_of.iter().filter(|other| **other == fold).count();
            assert!((180..220).contains(&size), "{size}");
        }
        for (a, b) in fold_of.windows(2).zip(units.windows(2)).filter(|(_, b)| b[0] == b[1]) {
            assert_eq!(a[0], a[1], "unit {}", b[0]);
        }
    }

    #[test]
    fn splits_depend_on_the_seed_only() {
        let labels = vec![0; 100];
        let draw = |seed| stratified(&texts(100, 100), &labels, 10, 10, true, seed);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn apportioned_shares_add_up_to_the_total() {
        assert_eq!(apportion(&[2, 1, 1], &[9; 3], 4), [2, 1, 1]);
        assert_eq!(apportion(&[2, 1], &[9; 2], 3), [2, 1]);
        assert_eq!(apportion(&[5, 0], &[9; 2], 2), [2, 0]);
        assert_eq!(apportion(&[8, 2, 1, 1], &[7, 1, 0, 0], 6), [5, 1, 0, 0]);
        assert_eq!(apportion(&[1, 1], &[0, 0], 1), [0, 0]);
    }

    #[test]
    fn each_class_keeps_a_training_example() {
        for (seed, rare) in (0..20).flat_map(|seed| (1..5).map(move |rare| (seed, rare))) {
            // Two classes with one or more examples each, first in the file or last.
            let mut labels = vec![1; 30];
            labels[..rare].fill(0);
            labels.extend(vec![2; rare]);
            let split = stratified(&texts(99, 99)[..labels.len()], &labels, 10, 10, true, seed);
            assert_eq!((split.validation.len(), split.test.len()), (10, 10));
            for class in 0..3 {
                assert!(split.train.iter().any(|index| labels[*index] == class), "{split:?}");
            }
        }
        let split = stratified(&["a", "a", "b", "b"], &[0, 0, 1, 1], 1, 1, true, 1);
        assert_eq!(split.train, [0, 1, 2, 3]);
    }

    #[test]
    fn a_text_with_several_labels_counts_for_each_of_them() {
        // Label 1 occurs only in groups that begin with label 0.
        let (mut texts, mut labels) = (texts(40, 40), vec![0; 40]);
        texts.extend([0, 0, 3].map(|n| format!("text {n}")));
        labels.extend([1, 1, 1]);
        for seed in 0..200 {
            let split = stratified(&texts, &labels, 18, 18, true, seed);
            assert!(split.train.iter().any(|index| labels[*index] == 1), "{seed}: {split:?}");
            assert_eq!(all(&split), (0..43).collect::<Vec<_>>());
        }
    }

    /// Runs of lstmtext 0.1 keep their splits: these indices are from that version.
    #[test]
    fn splits_by_the_first_rules_do_not_change() {
        let mut labels: Vec<u32> = (0..40).map(|i| [0, 0, 0, 1, 1, 2, 0, 1][i % 8]).collect();
        labels[39] = 3;
        let split = stratified(&texts(40, 33), &labels, 9, 7, false, 5);
        assert_eq!(split.validation, [1, 11, 15, 21, 22, 24, 26, 28, 34]);
        assert_eq!(split.test, [7, 10, 13, 14, 16, 23, 32]);
    }

    #[test]
    fn positional_splits_are_taken_from_the_end() {
        let split = by_position(10, 3, 2, None);
        assert_eq!(
            (split.train, split.validation, split.test),
            ((0..5).collect(), vec![5, 6, 7], vec![8, 9])
        );
    }

    #[test]
    fn shuffled_positional_splits_are_a_partition_that_depends_on_the_seed() {
        let draw = |seed| by_position(100, 20, 10, Some(seed));
        assert_eq!(all(&draw(1)), (0..100).collect::<Vec<_>>());
        assert_eq!((draw(1).validation.len(), draw(1).test.len()), (20, 10));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_ne!(draw(1).test, (90..100).collect::<Vec<_>>());
    }
}

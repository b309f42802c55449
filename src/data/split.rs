//! Splits examples into training, validation and test examples. All functions are pure.

use std::collections::HashMap;
use std::ops::Range;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use rayon::prelude::*;

use super::formats::NO_GROUP;

/// Indices of the examples of each split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Split {
    pub train: Vec<usize>,
    pub validation: Vec<usize>,
    pub test: Vec<usize>,
}

/// Groups of examples with identical texts.
struct Groups {
    /// Examples, group by group.
    examples: Vec<u32>,
    /// Groups by the label of their first example, as ranges of `examples`.
    by_label: Vec<Vec<Range<u32>>>,
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
pub fn stratified<T: Ord + Sync>(
    texts: &[T],
    labels: &[u32],
    validation: usize,
    test: usize,
    keep_classes: bool,
    seed: u64,
) -> Split {
    let mut groups = Groups::new(texts, labels);
    let kept = usize::from(keep_classes);
    let sizes: Vec<usize> =
        groups.by_label.iter().map(|groups| groups.iter().map(Range::len).sum()).collect();
    let mut random = Pcg64::seed_from_u64(seed);
    for groups in &mut groups.by_label {
        groups.shuffle(&mut random);
    }
    let mut left = groups.count_by_labels(labels);
    let mut draw = |total: usize| {
        let limits = if keep_classes { groups.available(kept) } else { sizes.clone() };
        let shares = apportion(&sizes, &limits, total);
        groups.draw(&shares, labels, &mut left, kept)
    };
    let (test, validation) = (draw(test), draw(validation));
    let mut split = Split { test, validation, train: groups.examples().collect() };
    for indices in [&mut split.train, &mut split.validation, &mut split.test] {
        indices.sort_unstable();
    }
    split
}

/// Returns a number for each example, the same for examples that have the same text or the same group, also
/// by way of others. Examples without a group have only their text; `groups` may be empty.
pub fn connected<T: Ord + Sync>(texts: &[T], groups: &[u32]) -> Vec<u32> {
    let text = |example: &u32| &texts[*example as usize];
    let mut order: Vec<u32> = (0..texts.len() as u32).collect();
    order.par_sort_unstable_by_key(|example| (text(example), *example));
    let mut unit = vec![0; texts.len()];
    for same in order.chunk_by(|a, b| text(a) == text(b)) {
        same.iter().for_each(|example| unit[*example as usize] = same[0]);
    }
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
    let Groups { examples, by_label } = Groups::new(units, labels);
    let mut groups: Vec<Range<u32>> = by_label.into_iter().flatten().collect();
    groups.shuffle(&mut Pcg64::seed_from_u64(seed));
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    let classes = labels.iter().max().map_or(0, |label| *label as usize + 1);
    let mut totals = vec![0.0_f64; classes];
    labels.iter().for_each(|label| totals[*label as usize] += 1.0);
    let (mut counts, mut sizes) = (vec![vec![0.0_f64; classes]; count], vec![0; count]);
    let mut fold_of = vec![0; units.len()];
    for group in groups {
        let classes = of_group(&examples, &group).map(|example| labels[example] as usize);
        let share = |fold: &usize| -> f64 {
            classes.clone().map(|class| counts[*fold][class] / totals[class]).sum()
        };
        let order = |a: &usize, b: &usize| {
            share(a).total_cmp(&share(b)).then_with(|| sizes[*a].cmp(&sizes[*b]))
        };
        let fold = (0..count).min_by(order).unwrap_or(0);
        classes.for_each(|class| counts[fold][class] += 1.0);
        sizes[fold] += group.len();
        of_group(&examples, &group).for_each(|example| fold_of[example] = fold);
    }
    fold_of
}

impl Groups {
    fn new<T: Ord + Sync>(texts: &[T], labels: &[u32]) -> Self {
        let first_of = connected(texts, &[]);
        let mut sizes = vec![0_u32; texts.len()];
        first_of.iter().for_each(|first| sizes[*first as usize] += 1);
        let classes = labels.iter().max().map_or(0, |label| *label as usize + 1);
        let mut by_label = vec![Vec::new(); classes];
        // Next free index in `examples` for each group.
        let mut next = vec![0_u32; texts.len()];
        let mut start = 0;
        for (first, size) in sizes.iter().enumerate().filter(|(_, size)| **size > 0) {
            by_label[labels[first] as usize].push(start..start + size);
            next[first] = start;
            start += size;
        }
        let mut examples = vec![0; texts.len()];
        for (example, first) in (0..).zip(&first_of) {
            let place = &mut next[*first as usize];
            examples[*place as usize] = example;
            *place += 1;
        }
        Self { examples, by_label }
    }

    /// Examples of the groups that are left.
    fn examples(&self) -> impl Iterator<Item = usize> {
        self.by_label.iter().flatten().flat_map(|group| of_group(&self.examples, group))
    }

    /// Counts the groups that have an example of each label.
    fn count_by_labels(&self, labels: &[u32]) -> Vec<usize> {
        let mut counts = vec![0; self.by_label.len()];
        for group in self.by_label.iter().flatten() {
            let found = labels_of(of_group(&self.examples, group), labels);
            found.into_iter().for_each(|label| counts[label] += 1);
        }
        counts
    }

    /// Returns the number of examples of each label without the smallest `kept` groups.
    fn available(&self, kept: usize) -> Vec<usize> {
        let of_class = |groups: &Vec<Range<u32>>| {
            let mut sizes: Vec<usize> = groups.iter().map(Range::len).collect();
            sizes.sort_unstable();
            sizes.iter().skip(kept).sum()
        };
        self.by_label.iter().map(of_class).collect()
    }

    /// Removes whole groups from each label until its share is reached. Skips groups that do not fit, and
    /// leaves at least `kept` groups with each label. `left` has the number of groups with each label.
    fn draw(
        &mut self,
        shares: &[usize],
        labels: &[u32],
        left: &mut [usize],
        kept: usize,
    ) -> Vec<usize> {
        let mut drawn = Vec::new();
        for (groups, &share) in self.by_label.iter_mut().zip(shares) {
            let mut remaining = share;
            groups.retain(|group| {
                let found = labels_of(of_group(&self.examples, group), labels);
                let fits =
                    group.len() <= remaining && found.iter().all(|label| left[*label] > kept);
                if fits {
                    remaining -= group.len();
                    found.iter().for_each(|label| left[*label] -= 1);
                    drawn.extend(of_group(&self.examples, group));
                }
                !fits
            });
        }
        drawn
    }
}

/// Returns the examples of a group, which is a range of `examples`.
fn of_group(examples: &[u32], group: &Range<u32>) -> impl Iterator<Item = usize> + Clone {
    let examples = &examples[group.start as usize..group.end as usize];
    examples.iter().map(|example| *example as usize)
}

/// Returns the labels of a group, which can be several if the same text is labelled differently.
fn labels_of(group: impl Iterator<Item = usize>, labels: &[u32]) -> Vec<usize> {
    let mut found: Vec<usize> = group.map(|index| labels[index] as usize).collect();
    found.sort_unstable();
    found.dedup();
    found
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

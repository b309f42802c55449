//! Splits examples with label sets so that each part has about the same proportion of every label: iterative
//! stratification (Sechidis, Tsoumakas and Vlahavas 2011). All functions are pure.

use std::collections::HashMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use super::split::Split;
use super::targets::LabelSets;

/// Part of the training examples.
const TRAIN: usize = 0;

/// Draws `validation` and `test` examples at random with the label proportions of all examples. Examples of the
/// same unit stay together, and the last unit with an example of a label stays in the training split. A
/// split may therefore be smaller than requested.
pub fn stratified_sets(
    units: &[u32],
    sets: &LabelSets,
    validation: usize,
    test: usize,
    seed: u64,
) -> Split {
    let train = units.len().saturating_sub(validation + test);
    let part_of = assign(units, sets, &[train, validation, test], Some(TRAIN), seed);
    let of_part = |part: usize| (0..units.len()).filter(|index| part_of[*index] == part).collect();
    Split { train: of_part(TRAIN), validation: of_part(1), test: of_part(2) }
}

/// Assigns examples with label sets to `count` folds, from 0, of about the same size and with about the same label
/// proportions. Examples of the same unit are in the same fold.
pub fn folds_of_sets(units: &[u32], sets: &LabelSets, count: usize, seed: u64) -> Vec<usize> {
    let sizes: Vec<usize> = (0..count)
        .map(|fold| units.len() / count + usize::from(fold < units.len() % count))
        .collect();
    assign(units, sets, &sizes, None, seed)
}

/// A unit of examples that stay together.
struct Unit {
    examples: Vec<usize>,
    /// Number of its examples with each label that they have.
    labels: Vec<(u32, usize)>,
    is_assigned: bool,
}

/// Returns the part of each example. `kept` is the part in which each label has an example.
///
/// In each round, the units with the label that the fewest remaining examples have are assigned, each to
/// the part that lacks the most examples of the label; of several, to the one that lacks the most examples.
/// A part that would become too large is left out. Examples without a label count as if they had one of their own.
fn assign(
    units: &[u32],
    sets: &LabelSets,
    sizes: &[usize],
    kept: Option<usize>,
    seed: u64,
) -> Vec<usize> {
    let none = sets.labels().iter().max().map_or(0, |label| *label + 1);
    let mut units = grouped(units, sets, none);
    units.shuffle(&mut Pcg64::seed_from_u64(seed));
    let mut parts = Parts::new(&units, none as usize + 1, sizes, kept);
    while let Some(label) = parts.rarest_label() {
        for index in std::mem::take(&mut parts.units_of[label]) {
            if !units[index].is_assigned {
                parts.assign(&mut units[index], label);
            }
        }
    }
    parts.part_of
}

/// Groups examples by their unit, in the order of the first example of each. Examples without a label get
/// the label `none`.
fn grouped(units: &[u32], sets: &LabelSets, none: u32) -> Vec<Unit> {
    let mut index_of: HashMap<u32, usize> = HashMap::with_capacity(units.len());
    let mut grouped: Vec<Unit> = Vec::new();
    for (example, unit) in units.iter().enumerate() {
        let index = *index_of.entry(*unit).or_insert_with(|| {
            grouped.push(Unit { examples: Vec::new(), labels: Vec::new(), is_assigned: false });
            grouped.len() - 1
        });
        let unit = &mut grouped[index];
        unit.examples.push(example);
        let labels = match sets.get(example) {
            [] => std::slice::from_ref(&none),
            labels => labels,
        };
        for label in labels {
            match unit.labels.iter_mut().find(|(known, _)| known == label) {
                Some((_, count)) => *count += 1,
                None => unit.labels.push((*label, 1)),
            }
        }
    }
    grouped
}

/// The parts, and the examples that are not assigned yet.
struct Parts {
    part_of: Vec<usize>,
    /// Number of examples that each part lacks; negative if it has too many.
    missing: Vec<f64>,
    /// Number of examples of each label that each part lacks: [labels, parts].
    missing_of: Vec<Vec<f64>>,
    /// Number of remaining examples of each label.
    remaining: Vec<usize>,
    /// Number of remaining units of each label.
    remaining_units: Vec<usize>,
    /// Indices of the units with each label.
    units_of: Vec<Vec<usize>>,
    /// Part in which each label has an example, and whether it has one already.
    kept: Option<usize>,
    has_kept: Vec<bool>,
}

impl Parts {
    fn new(units: &[Unit], labels: usize, sizes: &[usize], kept: Option<usize>) -> Self {
        let mut remaining = vec![0; labels];
        let mut units_of = vec![Vec::new(); labels];
        for (index, unit) in units.iter().enumerate() {
            for (label, count) in &unit.labels {
                remaining[*label as usize] += count;
                units_of[*label as usize].push(index);
            }
        }
        let all = sizes.iter().sum::<usize>().max(1) as f64;
        let shares = |count: usize| -> Vec<f64> {
            sizes.iter().map(|size| count as f64 * *size as f64 / all).collect()
        };
        Self {
            part_of: vec![0; units.iter().map(|unit| unit.examples.len()).sum()],
            missing: sizes.iter().map(|size| *size as f64).collect(),
            missing_of: remaining.iter().map(|count| shares(*count)).collect(),
            remaining_units: units_of.iter().map(Vec::len).collect(),
            has_kept: vec![false; labels],
            remaining,
            units_of,
            kept,
        }
    }

    /// Returns the label of the fewest remaining examples, if any of them has one.
    fn rarest_label(&self) -> Option<usize> {
        let labels = self.remaining.iter().enumerate().filter(|(_, count)| **count > 0);
        labels.min_by_key(|(_, count)| **count).map(|(label, _)| label)
    }

    /// Assigns a unit to the part that needs it most for a label.
    fn assign(&mut self, unit: &mut Unit, label: usize) {
        let size = unit.examples.len() as f64;
        let need = |part: &usize| (self.missing_of[label][*part], self.missing[*part]);
        let order = |a: &usize, b: &usize| {
            let ((a_label, a_size), (b_label, b_size)) = (need(a), need(b));
            // The first of equal parts is the greatest.
            a_label.total_cmp(&b_label).then(a_size.total_cmp(&b_size)).then(b.cmp(a))
        };
        let parts = 0..self.missing.len();
        let has_room = |part: &usize| self.missing[*part] >= size;
        let fitting = parts.clone().filter(has_room).max_by(order);
        let largest = || parts.clone().max_by(|a, b| self.missing[*a].total_cmp(&self.missing[*b]));
        let is_last = |(label, _): &(u32, usize)| {
            let label = *label as usize;
            !self.has_kept[label] && self.remaining_units[label] == 1
        };
        let needed = self.kept.filter(|_| unit.labels.iter().any(is_last));
        let part = needed.or(fitting).or(self.kept).or_else(largest).unwrap_or(0);
        self.missing[part] -= size;
        for (label, count) in &unit.labels {
            let label = *label as usize;
            self.missing_of[label][part] -= *count as f64;
            self.remaining[label] -= count;
            self.remaining_units[label] -= 1;
            self.has_kept[label] |= self.kept == Some(part);
        }
        unit.examples.iter().for_each(|example| self.part_of[*example] = part);
        unit.is_assigned = true;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Sets of up to 3 of 8 labels of very different frequencies.
    fn sets(examples: usize) -> LabelSets {
        let has = |example: usize, label: usize| {
            (example * 7919 + label * 104_729).is_multiple_of(3 + 12 * label)
        };
        let set = |example: usize| -> Vec<u32> {
            (0..8).filter(|label| has(example, *label)).take(3).map(|label| label as u32).collect()
        };
        let all: Vec<Vec<u32>> = (0..examples).map(set).collect();
        all.iter().map(Vec::as_slice).collect()
    }

    fn counts(sets: &LabelSets, examples: &[usize]) -> Vec<f64> {
        let mut counts = vec![0.0; 8];
        for label in examples.iter().flat_map(|example| sets.get(*example)) {
            counts[*label as usize] += 1.0;
        }
        counts
    }

    #[test]
    fn each_part_has_its_size_and_the_proportion_of_every_label() {
        let (count, alone) = (2_000, (0..2_000).collect::<Vec<u32>>());
        let sets = sets(count);
        let split = stratified_sets(&alone, &sets, 200, 100, 5);
        let parts = [(&split.train, 1_700), (&split.validation, 200), (&split.test, 100)];
        let all = counts(&sets, &(0..count).collect::<Vec<_>>());
        for (part, size) in parts {
            assert_eq!(part.len(), size);
            assert!(part.is_sorted());
            for (of_part, all) in counts(&sets, part).iter().zip(&all) {
                let expected = all * size as f64 / count as f64;
                assert!((of_part - expected).abs() <= 2.0, "{of_part} of {all}, {expected}");
            }
            let unlabelled = part.iter().filter(|example| sets.get(**example).is_empty()).count();
            let all = sets.iter().filter(|set| set.is_empty()).count();
            let expected = all as f64 * size as f64 / count as f64;
            assert!((unlabelled as f64 - expected).abs() <= 2.0, "{unlabelled}, not {expected}");
        }
        assert_eq!(split, stratified_sets(&alone, &sets, 200, 100, 5));
        assert_ne!(split, stratified_sets(&alone, &sets, 200, 100, 6));
    }

    #[test]
    fn folds_have_equal_sizes_and_the_proportion_of_every_label() {
        let (count, alone) = (1_003, (0..1_003).collect::<Vec<u32>>());
        let sets = sets(count);
        let fold_of = folds_of_sets(&alone, &sets, 5, 3);
        let all = counts(&sets, &(0..count).collect::<Vec<_>>());
        for fold in 0..5 {
            let part: Vec<usize> = (0..count).filter(|example| fold_of[*example] == fold).collect();
            assert!(part.len() == 200 || part.len() == 201, "{}", part.len());
            for (of_part, all) in counts(&sets, &part).iter().zip(&all) {
                assert!((of_part - all / 5.0).abs() <= 2.0, "{of_part} of {all}");
            }
        }
        assert_ne!(fold_of, folds_of_sets(&alone, &sets, 5, 4));
    }

    fn any_sets() -> impl Strategy<Value = (Vec<u32>, Vec<Vec<u32>>)> {
        (1_usize..80).prop_flat_map(|examples| {
            let units = prop::collection::vec(0..40_u32, examples);
            let set = prop::collection::btree_set(0..6_u32, 0..4);
            let set = set.prop_map(|set| set.into_iter().collect::<Vec<u32>>());
            (units, prop::collection::vec(set, examples))
        })
    }

    proptest! {
        #[test]
        fn units_stay_together_and_labels_keep_a_training_example(
            (units, sets) in any_sets(),
            seed in any::<u64>(),
        ) {
            let sets: LabelSets = sets.iter().map(Vec::as_slice).collect();
            let (validation, test) = (units.len() / 4, units.len() / 5);
            let split = stratified_sets(&units, &sets, validation, test, seed);
            let mut all = [&split.train[..], &split.validation, &split.test].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..units.len()).collect::<Vec<_>>());
            prop_assert!(split.validation.len() <= validation && split.test.len() <= test);
            let of = |part: &[usize]| part.iter().map(|i| units[*i]).collect::<HashSet<u32>>();
            let [train, validation, test] =
                [&split.train, &split.validation, &split.test].map(|part| of(part));
            prop_assert!(train.is_disjoint(&validation) && train.is_disjoint(&test));
            prop_assert!(validation.is_disjoint(&test));
            let trained: HashSet<u32> =
                split.train.iter().flat_map(|i| sets.get(*i)).copied().collect();
            prop_assert!(sets.labels().iter().all(|label| trained.contains(label)));
        }
    }
}

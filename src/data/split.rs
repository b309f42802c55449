//! Splits examples into training, validation and test examples. All functions are pure.

use std::collections::HashMap;
use std::hash::Hash;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

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
/// Examples with identical texts stay in one split. A split may therefore be smaller than requested,
/// if only larger groups of identical texts are left.
pub fn stratified<T: Eq + Hash>(
    texts: &[T],
    labels: &[u32],
    validation: usize,
    test: usize,
    seed: u64,
) -> Split {
    let examples = texts.len();
    let mut classes = groups_by_label(texts, labels);
    let sizes: Vec<usize> =
        classes.iter().map(|groups| groups.iter().map(Vec::len).sum()).collect();
    let mut random = Pcg64::seed_from_u64(seed);
    for groups in &mut classes {
        groups.shuffle(&mut random);
    }
    let mut split = Split {
        test: draw(&mut classes, &apportion(&sizes, test)),
        validation: draw(&mut classes, &apportion(&sizes, validation)),
        train: Vec::with_capacity(examples),
    };
    split.train = classes.into_iter().flatten().flatten().collect();
    for indices in [&mut split.train, &mut split.validation, &mut split.test] {
        indices.sort_unstable();
    }
    split
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

/// Divides `total` in proportion to `sizes`, by the largest remainder method.
fn apportion(sizes: &[usize], total: usize) -> Vec<usize> {
    let all: usize = sizes.iter().sum::<usize>().max(1);
    let mut shares: Vec<usize> = sizes.iter().map(|size| size * total / all).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&label| std::cmp::Reverse(sizes[label] * total % all));
    let missing = total.saturating_sub(shares.iter().sum());
    for &label in order.iter().cycle().take(missing) {
        shares[label] += 1;
    }
    shares
}

/// Removes whole groups from each label until its share is reached. Skips groups that do not fit.
fn draw(classes: &mut [Vec<Vec<usize>>], shares: &[usize]) -> Vec<usize> {
    let mut drawn = Vec::new();
    for (groups, &share) in classes.iter_mut().zip(shares) {
        let mut remaining = share;
        groups.retain(|group| {
            let fits = group.len() <= remaining;
            if fits {
                remaining -= group.len();
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
        let split = stratified(&texts(1_000, 1_000), &labels, 100, 50, 7);
        assert_eq!(all(&split), (0..1_000).collect::<Vec<_>>());
        let ones = |indices: &[usize]| indices.iter().filter(|i| labels[**i] == 1).count();
        assert_eq!((split.validation.len(), ones(&split.validation)), (100, 30));
        assert_eq!((split.test.len(), ones(&split.test)), (50, 15));
    }

    #[test]
    fn identical_texts_stay_in_one_split() {
        let texts = texts(1_000, 300);
        let split = stratified(&texts, &vec![0; 1_000], 100, 100, 1);
        let set = |indices: &[usize]| {
            indices.iter().map(|i| &texts[*i]).collect::<std::collections::HashSet<_>>()
        };
        assert!(set(&split.train).is_disjoint(&set(&split.validation)));
        assert!(set(&split.train).is_disjoint(&set(&split.test)));
        assert!(set(&split.validation).is_disjoint(&set(&split.test)));
        assert!(split.validation.len() > 96 && split.test.len() > 96, "groups of 3 or 4 fill 100");
    }

    #[test]
    fn splits_depend_on_the_seed_only() {
        let labels = vec![0; 100];
        let draw = |seed| stratified(&texts(100, 100), &labels, 10, 10, seed);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn apportioned_shares_add_up_to_the_total() {
        assert_eq!(apportion(&[1, 1, 1], 4), [2, 1, 1]);
        assert_eq!(apportion(&[2, 1], 3), [2, 1]);
        assert_eq!(apportion(&[5, 0], 2), [2, 0]);
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

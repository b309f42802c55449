//! The binary tree in which the gradients of the shards of a batch are added.
//!
//! Its shape depends only on the number of shards: the sum of some shards is the sum of the first half of them,
//! rounded up to a power of two, plus the sum of the others. The rounding errors are therefore the same
//! whatever threads and whatever processes compute the shards.

use std::ops::Range;

/// Number of shards in the left half of `shards` of them, at least 2.
pub fn left_half(shards: usize) -> usize {
    shards.next_power_of_two() / 2
}

/// Returns the left and the right half of a subtree with at least 2 shards.
pub fn halves(tree: &Range<usize>) -> [Range<usize>; 2] {
    let middle = tree.start + left_half(tree.len());
    [tree.start..middle, middle..tree.end]
}

/// Returns the largest subtrees of the tree of `shards` shards that have only shards in `range`, in order.
pub fn subtrees(shards: usize, range: &Range<usize>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    collect(0..shards, range, &mut found);
    found
}

fn collect(tree: Range<usize>, range: &Range<usize>, found: &mut Vec<Range<usize>>) {
    let is_disjoint = tree.end <= range.start || range.end <= tree.start;
    if is_disjoint || tree.is_empty() {
        return;
    }
    if range.start <= tree.start && tree.end <= range.end {
        found.push(tree);
        return;
    }
    halves(&tree).into_iter().for_each(|half| collect(half, range, found));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::distributed::Worker;

    proptest! {
        #[test]
        fn the_subtrees_of_all_processes_have_every_shard_once(
            shards in 1_usize..70, size in 1_usize..70,
        ) {
            let of_process = |rank| subtrees(shards, &Worker { rank, world_size: size }.part_of(shards));
            let all: Vec<Range<usize>> = (0..size).flat_map(of_process).collect();
            prop_assert_eq!(all.into_iter().flatten().collect::<Vec<_>>(), Vec::from_iter(0..shards));
            for rank in 0..size {
                let count = Worker { rank, world_size: size }.part_of(shards).len();
                prop_assert!(count == shards / size || count == shards.div_ceil(size));
            }
        }
    }

    #[test]
    fn powers_of_two_give_each_process_one_subtree() {
        for size in [1, 2, 4, 8, 16] {
            for rank in 0..size {
                assert_eq!(subtrees(16, &Worker { rank, world_size: size }.part_of(16)).len(), 1);
            }
        }
        assert_eq!(subtrees(16, &(5..11)), [5..6, 6..8, 8..10, 10..11]);
    }
}

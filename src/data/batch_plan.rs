//! Divides examples into batches: a pure function of lengths, options, seed and epoch.

use std::cmp::Ordering;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use crate::config::TrainConfig;
use crate::random::{SeedPurpose, derive_seed};

/// Limit on the size of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BatchLimit {
    /// Maximum number of examples.
    Examples(usize),
    /// Maximum number of positions B · T of all inputs, including padding. A longer example forms a
    /// batch of its own.
    Tokens(usize),
}

/// Options for forming batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucketing {
    /// Limit on the size of a batch.
    pub limit: BatchLimit,
    /// Number of batches whose examples are sorted by length together. `None` disables sorting.
    pub window: Option<usize>,
}

/// Batches of one epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchPlan {
    /// Indices of all examples.
    order: Vec<u32>,
    /// End of each batch in `order`.
    ends: Vec<usize>,
}

impl BatchPlan {
    /// Number of batches.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns true if there are no batches.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the examples of the batch at `index`, at least one.
    pub fn batch(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.order[start..self.ends[index]]
    }

    /// Returns all batches in order.
    pub fn batches(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len()).map(|index| self.batch(index))
    }
}

impl BatchLimit {
    /// Returns the configured limit for evaluation.
    pub fn for_evaluation(config: &TrainConfig) -> Self {
        match config.tokens() {
            Some(tokens) => Self::Tokens(tokens),
            None => Self::Examples(config.validation_batch_size),
        }
    }
}

impl Bucketing {
    /// Returns the configured options for training.
    pub fn new(config: &TrainConfig) -> Self {
        let limit = match config.tokens() {
            Some(tokens) => BatchLimit::Tokens(tokens),
            None => BatchLimit::Examples(config.batch_size),
        };
        Self { limit, window: config.bucketing.then_some(config.bucketing_window) }
    }

    /// Plans a training epoch: shuffles the examples, sorts them by length within windows, divides
    /// them into batches, and shuffles the batches. `lengths[k][i]` is the number of time steps of
    /// example i in input k. Examples are sorted by the longest input first; ties are broken by the
    /// other inputs.
    pub fn plan(&self, lengths: &[Vec<usize>], seed: u64, epoch: usize) -> BatchPlan {
        let mut random = Pcg64::seed_from_u64(derive_seed(seed, SeedPurpose::Shuffle(epoch)));
        let mut order = all_examples(lengths);
        order.shuffle(&mut random);
        let Some(window) = self.window else { return self.divide(order, lengths) };

        let size = window.saturating_mul(self.examples_per_batch(lengths)).max(1);
        let inputs = longest_first(lengths);
        for window in order.chunks_mut(size) {
            sort_by_length(window, &inputs);
        }
        let sorted = self.divide(order, lengths);
        let mut batches: Vec<usize> = (0..sorted.len()).collect();
        batches.shuffle(&mut random);
        let mut plan =
            BatchPlan { order: Vec::with_capacity(sorted.order.len()), ends: Vec::new() };
        for batch in batches {
            plan.order.extend_from_slice(sorted.batch(batch));
            plan.ends.push(plan.order.len());
        }
        plan
    }

    /// Plans an evaluation: sorts all examples by length, without any randomness.
    pub fn sorted(limit: BatchLimit, lengths: &[Vec<usize>]) -> BatchPlan {
        let mut order = all_examples(lengths);
        sort_by_length(&mut order, &longest_first(lengths));
        Self { limit, window: None }.divide(order, lengths)
    }

    /// Divides examples into batches that are as large as the limit allows.
    fn divide(&self, order: Vec<u32>, lengths: &[Vec<usize>]) -> BatchPlan {
        let mut ends = Vec::new();
        let mut start = 0;
        // Number of time steps T of the current batch, for each input.
        let mut widths = vec![0; lengths.len()];
        let widen = |widths: &mut [usize], example: usize| {
            for (width, lengths) in widths.iter_mut().zip(lengths) {
                *width = lengths[example].max(*width);
            }
        };
        for (position, example) in order.iter().enumerate() {
            let mut wider = widths.clone();
            widen(&mut wider, *example as usize);
            let examples = position + 1 - start;
            let full = match self.limit {
                BatchLimit::Examples(limit) => examples > limit,
                BatchLimit::Tokens(limit) => {
                    examples.saturating_mul(wider.iter().sum::<usize>()) > limit
                }
            };
            if full && position > start {
                ends.push(position);
                start = position;
                widths.fill(0);
            }
            widen(&mut widths, *example as usize);
        }
        if start < order.len() {
            ends.push(order.len());
        }
        BatchPlan { order, ends }
    }

    fn examples_per_batch(&self, lengths: &[Vec<usize>]) -> usize {
        match self.limit {
            BatchLimit::Examples(examples) => examples,
            BatchLimit::Tokens(tokens) => {
                let examples = lengths.first().map_or(0, Vec::len);
                let total: usize = lengths.iter().flatten().sum();
                tokens.saturating_mul(examples) / total.max(1)
            }
        }
    }
}

fn all_examples(lengths: &[Vec<usize>]) -> Vec<u32> {
    (0..lengths.first().map_or(0, Vec::len) as u32).collect()
}

/// Returns the lengths of each input, the input with the most time steps first.
fn longest_first(lengths: &[Vec<usize>]) -> Vec<&Vec<usize>> {
    let mut inputs: Vec<&Vec<usize>> = lengths.iter().collect();
    inputs.sort_by_key(|lengths| std::cmp::Reverse(lengths.iter().sum::<usize>()));
    inputs
}

/// Sorts by the length in the first input, then by that in the second, and so on.
fn sort_by_length(examples: &mut [u32], inputs: &[&Vec<usize>]) {
    examples.sort_by(|a, b| {
        let orders = inputs.iter().map(|lengths| lengths[*a as usize].cmp(&lengths[*b as usize]));
        orders.fold(Ordering::Equal, Ordering::then)
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit() -> impl Strategy<Value = BatchLimit> {
        prop_oneof![
            (1_usize..40).prop_map(BatchLimit::Examples),
            (1_usize..900).prop_map(BatchLimit::Tokens)
        ]
    }

    proptest! {
        #[test]
        fn an_epoch_is_a_partition_within_the_limit(
            pairs in prop::collection::vec((1_usize..300, 1_usize..20), 0..400),
            inputs in 1_usize..3,
            limit in limit(),
            window in prop::option::of(1_usize..60),
            seed: u64,
            epoch in 0_usize..50,
        ) {
            let (first, second): (Vec<usize>, Vec<usize>) = pairs.iter().copied().unzip();
            let lengths = &[first, second][..inputs];
            let plan = Bucketing { limit, window }.plan(lengths, seed, epoch);
            let mut all: Vec<u32> = plan.batches().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..pairs.len() as u32).collect::<Vec<_>>());
            for batch in plan.batches() {
                prop_assert!(!batch.is_empty());
                let widest = |input: &Vec<usize>| batch.iter().map(|i| input[*i as usize]).max();
                let width: usize = lengths.iter().map(|input| widest(input).unwrap()).sum();
                match limit {
                    BatchLimit::Examples(limit) => prop_assert!(batch.len() <= limit),
                    BatchLimit::Tokens(limit) => {
                        prop_assert!(batch.len() == 1 || batch.len() * width <= limit);
                    }
                }
            }
        }
    }

    fn bucketing(limit: BatchLimit, window: Option<usize>) -> Bucketing {
        Bucketing { limit, window }
    }

    #[test]
    fn an_oversized_first_example_is_a_batch_of_its_own() {
        let plan = bucketing(BatchLimit::Tokens(10), None).divide(vec![0, 1, 2], &[vec![50, 5, 5]]);
        assert_eq!(plan.batches().collect::<Vec<_>>(), [&[0][..], &[1, 2]]);
    }

    #[test]
    fn plans_depend_on_seed_and_epoch_only() {
        let lengths = [(0..100).map(|i| i % 17 + 1).collect()];
        let plan =
            |seed, epoch| bucketing(BatchLimit::Examples(8), Some(4)).plan(&lengths, seed, epoch);
        assert_eq!(plan(1, 0), plan(1, 0));
        assert_ne!(plan(1, 0), plan(1, 1));
        assert_ne!(plan(1, 0), plan(2, 0));
    }

    #[test]
    fn bucketing_reduces_padding() {
        let lengths: Vec<usize> = (0..2_000).map(|i| i * 7919 % 400 + 1).collect();
        let positions = |window| {
            let plan = bucketing(BatchLimit::Examples(32), window).plan(
                std::slice::from_ref(&lengths),
                3,
                0,
            );
            plan.batches()
                .map(|batch| {
                    batch.len() * batch.iter().map(|i| lengths[*i as usize]).max().unwrap()
                })
                .sum::<usize>()
        };
        let real: usize = lengths.iter().sum();
        assert!(positions(Some(50)) < real * 105 / 100);
        assert!(positions(None) > real * 180 / 100);
    }

    #[test]
    fn batches_have_similar_lengths_in_every_input() {
        let first: Vec<usize> = (0..960).map(|i| i * 7919 % 6 * 10 + 10).collect();
        let second: Vec<usize> = (0..960).map(|i| i * 104_729 % 5 + 1).collect();
        let plan = bucketing(BatchLimit::Examples(16), Some(60)).plan(
            &[second.clone(), first.clone()],
            1,
            0,
        );
        let kinds = |batch: &[u32], lengths: &[usize]| {
            let mut kinds: Vec<usize> = batch.iter().map(|i| lengths[*i as usize]).collect();
            kinds.sort_unstable();
            kinds.dedup();
            kinds.len()
        };
        for batch in plan.batches() {
            assert!(kinds(batch, &first) <= 2 && kinds(batch, &second) <= 2);
        }
    }
}

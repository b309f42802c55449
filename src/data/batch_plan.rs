//! Which examples form which batch: a pure function of (lengths, options, seed, epoch).

use std::cmp::Ordering;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use crate::config::TrainConfig;
use crate::random::{SeedPurpose, derive_seed};

/// What limits a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BatchLimit {
    /// So many examples.
    Examples(usize),
    /// So many positions, padding included, of all inputs together; a longer text is a batch of
    /// its own.
    Tokens(usize),
}

/// How batches are formed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucketing {
    /// What limits a batch.
    pub limit: BatchLimit,
    /// Batches whose examples are sorted by length together; `None` sorts nothing.
    pub window: Option<usize>,
}

/// The batches of one epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// All examples.
    order: Vec<u32>,
    /// Where each batch ends in `order`.
    ends: Vec<usize>,
}

impl Plan {
    /// The number of batches.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no batch.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The examples of batch number `index`, at least one.
    pub fn batch(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.order[start..self.ends[index]]
    }

    /// All batches in turn.
    pub fn batches(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len()).map(|index| self.batch(index))
    }
}

impl BatchLimit {
    /// The limit where nothing is trained.
    pub fn of_validation(config: &TrainConfig) -> Self {
        match config.tokens() {
            Some(tokens) => Self::Tokens(tokens),
            None => Self::Examples(config.validation_batch_size),
        }
    }
}

impl Bucketing {
    /// The options of the configuration.
    pub fn of(config: &TrainConfig) -> Self {
        let limit = match config.tokens() {
            Some(tokens) => BatchLimit::Tokens(tokens),
            None => BatchLimit::Examples(config.batch_size),
        };
        Self { limit, window: config.bucketing.then_some(config.bucketing_window) }
    }

    /// The batches of training epoch `epoch`: shuffled, sorted by length inside windows, cut, and
    /// the batches shuffled again. `lengths[k][i]` is what example i fills of the width of a batch
    /// of input k; examples of equal length in one input go by their lengths in the next.
    pub fn plan(&self, lengths: &[Vec<usize>], seed: u64, epoch: usize) -> Plan {
        let mut random = Pcg64::seed_from_u64(derive_seed(seed, SeedPurpose::Shuffle(epoch)));
        let mut order = all_examples(lengths);
        order.shuffle(&mut random);
        let Some(window) = self.window else { return self.cut(order, lengths) };

        let size = window.saturating_mul(self.examples_per_batch(lengths)).max(1);
        let inputs = longest_first(lengths);
        for part in order.chunks_mut(size) {
            sort_by_length(part, &inputs);
        }
        let sorted = self.cut(order, lengths);
        let mut numbers: Vec<usize> = (0..sorted.len()).collect();
        numbers.shuffle(&mut random);
        let mut plan = Plan { order: Vec::with_capacity(sorted.order.len()), ends: Vec::new() };
        for number in numbers {
            plan.order.extend_from_slice(sorted.batch(number));
            plan.ends.push(plan.order.len());
        }
        plan
    }

    /// Batches for evaluation: sorted by length, nothing left to chance.
    pub fn sorted(limit: BatchLimit, lengths: &[Vec<usize>]) -> Plan {
        let mut order = all_examples(lengths);
        sort_by_length(&mut order, &longest_first(lengths));
        Self { limit, window: None }.cut(order, lengths)
    }

    /// Cuts an order of examples into batches as full as the limit allows.
    fn cut(&self, order: Vec<u32>, lengths: &[Vec<usize>]) -> Plan {
        let mut ends = Vec::new();
        let mut start = 0;
        // The width of each input's part of the batch.
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
                BatchLimit::Examples(most) => examples > most,
                BatchLimit::Tokens(most) => {
                    examples.saturating_mul(wider.iter().sum::<usize>()) > most
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
        Plan { order, ends }
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

/// The lengths of every input, those of the one that has most to read first.
fn longest_first(lengths: &[Vec<usize>]) -> Vec<&Vec<usize>> {
    let mut inputs: Vec<&Vec<usize>> = lengths.iter().collect();
    inputs.sort_by_key(|lengths| std::cmp::Reverse(lengths.iter().sum::<usize>()));
    inputs
}

/// Sorts by the length in the first input, then in the next, and so on.
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
        /// Habit of the best loaders: an epoch is a partition, whatever the lengths.
        #[test]
        fn an_epoch_is_a_partition(
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
                    BatchLimit::Examples(most) => prop_assert!(batch.len() <= most),
                    BatchLimit::Tokens(most) => {
                        prop_assert!(batch.len() == 1 || batch.len() * width <= most);
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
        let plan = bucketing(BatchLimit::Tokens(10), None).cut(vec![0, 1, 2], &[vec![50, 5, 5]]);
        assert_eq!(plan.batches().collect::<Vec<_>>(), [&[0][..], &[1, 2]]);
    }

    #[test]
    fn epochs_differ_and_repeat() {
        let lengths = [(0..100).map(|i| i % 17 + 1).collect()];
        let plan =
            |seed, epoch| bucketing(BatchLimit::Examples(8), Some(4)).plan(&lengths, seed, epoch);
        assert_eq!(plan(1, 0), plan(1, 0));
        assert_ne!(plan(1, 0), plan(1, 1));
        assert_ne!(plan(1, 0), plan(2, 0));
    }

    #[test]
    fn bucketing_saves_padding() {
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
    fn batches_are_of_like_length_in_every_input() {
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

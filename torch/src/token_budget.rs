//! Search for the largest token budget whose batches fit into a device's memory.

use crate::libtorch::{LibtorchError, unless_out_of_memory};
use lstmtext::backend::{AddTexts, Learner};
use lstmtext::data::Dataset;
use lstmtext::data::batch_plan::{BatchLimit, BatchPlan, Bucketing};
use lstmtext::distributed::{Group, Worker};

/// Returns the largest token budget with which the learner can make a step, less a safety margin. `added` adds the other
/// batches of a step.
///
/// # Errors
/// Returns an error if not even the longest example fits, or if a step fails for another reason.
pub fn search(
    learner: &mut dyn Learner,
    data: &Dataset,
    added: &mut AddTexts,
    clip: Option<f64>,
) -> anyhow::Result<usize> {
    let lengths = data.lengths();
    let tokens = |example: usize| lengths.iter().map(|input| input[example]).sum::<usize>();
    let (mut min, mut max) = (1, 0);
    for example in 0..data.len() {
        min = tokens(example).max(min);
        max += tokens(example);
    }
    let mut prepare = learner.preparer(Worker::ALONE);
    let mut step = |examples: &[u32]| -> anyhow::Result<()> {
        let batch = added(prepare(data, examples, 0));
        // A learning rate of 0 changes nothing.
        learner.step(&batch, Group::ALONE, clip, 0.0)?;
        learner.drain_step_stats();
        Ok(())
    };
    let plan = |budget| Bucketing::sorted(BatchLimit::Tokens(budget), &lengths);
    // Fails if the smallest budget does not fit: the error of libtorch explains why.
    largest_batches(&plan(min), &lengths).into_iter().try_for_each(&mut step)?;
    find_largest(min, max, |budget| {
        let plan = plan(budget);
        for examples in largest_batches(&plan, &lengths) {
            match unless_out_of_memory(|| step(examples)) {
                Some(Ok(())) => {}
                Some(Err(error)) if !is_out_of_memory(&error) => return Err(error),
                _ => return Ok(false),
            }
        }
        Ok(true)
    })
}

fn is_out_of_memory(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(LibtorchError::is_out_of_memory)
}

/// Returns the batch with the most tokens, padding included, and the batch with the most examples.
/// One of them takes the most memory.
fn largest_batches<'a>(plan: &'a BatchPlan, lengths: &[Vec<usize>]) -> Vec<&'a [u32]> {
    let tokens = |batch: &&[u32]| -> usize {
        let time_steps = |input: &Vec<usize>| batch.iter().map(|i| input[*i as usize]).max();
        batch.len() * lengths.iter().filter_map(time_steps).sum::<usize>()
    };
    let most_tokens = plan.batches().max_by_key(tokens);
    most_tokens.into_iter().chain(plan.batches().max_by_key(|batch| batch.len())).collect()
}

/// Finds the largest number that fits between `min`, which fits, and `max`. Searches to within 5%
/// and subtracts a tenth, because other batches of an epoch may need more memory. Returns `max` if
/// it fits.
fn find_largest(
    min: usize,
    max: usize,
    mut fits: impl FnMut(usize) -> anyhow::Result<bool>,
) -> anyhow::Result<usize> {
    let mut fitting = min;
    let mut failing = None;
    loop {
        let next = match failing {
            None if fitting >= max => return Ok(max.max(min)),
            None => fitting.saturating_mul(2).min(max),
            Some(failing) if failing - fitting <= fitting / 20 + 1 => {
                return Ok((fitting / 10 * 9).max(min));
            }
            Some(failing) => fitting.midpoint(failing),
        };
        match fits(next)? {
            true => fitting = next,
            false => failing = Some(next),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The result fits with a tenth to spare, and is close to the largest possible result.
        #[test]
        fn the_largest_number_is_found(
            min in 1_usize..5_000,
            range in 0_usize..1 << 40,
            limit: u64,
        ) {
            let max = min + range;
            let limit = min + (limit as usize) % (2 * range + 1);
            let mut calls = 0;
            let largest = find_largest(min, max, |tokens| {
                calls += 1;
                Ok(tokens <= limit)
            });
            let largest = largest.unwrap();
            prop_assert!(largest >= min && largest <= limit && largest <= max);
            match limit >= max {
                true => prop_assert_eq!(largest, max),
                false => {
                    prop_assert!(largest == min || largest <= limit * 9 / 10);
                    prop_assert!(largest + 20 >= limit * 17 / 20, "{} of {}", largest, limit);
                }
            }
            prop_assert!(calls < 50);
        }
    }

    #[test]
    fn other_errors_end_the_search() {
        let error = find_largest(1, 100, |_| bail!("broken")).unwrap_err();
        assert_eq!(error.to_string(), "broken");
    }

    #[test]
    fn the_largest_batches_have_the_most_tokens_or_examples() {
        let lengths = [vec![1, 1, 1, 9, 9, 30]];
        let plan = Bucketing::sorted(BatchLimit::Tokens(20), &lengths);
        assert_eq!(largest_batches(&plan, &lengths), [&[5][..], &[0, 1, 2]]);
    }
}

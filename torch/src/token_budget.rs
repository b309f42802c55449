//! The search for the largest token budget that fits into the memory of a device.

use crate::libtorch::{LibtorchError, unless_out_of_memory};
use lstmtext::backend::Learner;
use lstmtext::data::Dataset;
use lstmtext::data::batch_plan::{BatchLimit, BatchPlan, Bucketing};

/// The largest token budget with which the learner can make a step, with some room left.
///
/// # Errors
/// Where not even the longest text alone fits, or a step fails otherwise.
pub fn search(
    learner: &mut dyn Learner,
    data: &Dataset,
    clip: Option<f64>,
) -> anyhow::Result<usize> {
    let lengths = data.lengths();
    let width = |example: usize| lengths.iter().map(|input| input[example]).sum::<usize>();
    let (mut least, mut most) = (1, 0);
    for example in 0..data.len() {
        least = width(example).max(least);
        most += width(example);
    }
    let mut prepare = learner.preparer();
    let mut step = |examples: &[u32]| -> anyhow::Result<()> {
        let batch = prepare(data, examples, 0);
        // So small a rate changes nothing.
        learner.compute_gradients(&batch)?;
        learner.clip_gradients(clip)?;
        learner.update(0.0)?;
        learner.drain_step_stats();
        Ok(())
    };
    // Where this does not fit, the error says what would be needed.
    let plan = |budget| Bucketing::sorted(BatchLimit::Tokens(budget), &lengths);
    heaviest(&plan(least), &lengths).into_iter().try_for_each(&mut step)?;
    largest(least, most, |budget| {
        let plan = plan(budget);
        for examples in heaviest(&plan, &lengths) {
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

/// The batch with the most positions and that with the most examples: one of them takes the most
/// memory.
fn heaviest<'a>(plan: &'a BatchPlan, lengths: &[Vec<usize>]) -> Vec<&'a [u32]> {
    let positions = |batch: &&[u32]| -> usize {
        let width = |input: &Vec<usize>| batch.iter().map(|i| input[*i as usize]).max();
        batch.len() * lengths.iter().filter_map(width).sum::<usize>()
    };
    let widest = plan.batches().max_by_key(positions);
    widest.into_iter().chain(plan.batches().max_by_key(|batch| batch.len())).collect()
}

/// The largest number from `least`, which fits, to `most` that does, as nearly as 5 %, less a tenth
/// for what other orders of the examples may need; `most`, where that fits.
fn largest(
    least: usize,
    most: usize,
    mut fits: impl FnMut(usize) -> anyhow::Result<bool>,
) -> anyhow::Result<usize> {
    let mut fitting = least;
    let mut failing = None;
    loop {
        let next = match failing {
            None if fitting >= most => return Ok(most.max(least)),
            None => fitting.saturating_mul(2).min(most),
            Some(failing) if failing - fitting <= fitting / 20 + 1 => {
                return Ok((fitting / 10 * 9).max(least));
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
        /// Whatever fits, the answer does, with a tenth to spare, and is not much less than it might
        /// be.
        #[test]
        fn the_largest_is_found(least in 1_usize..5_000, more in 0_usize..1 << 40, limit: u64) {
            let most = least + more;
            let limit = least + (limit as usize) % (2 * more + 1);
            let mut tries = 0;
            let found = largest(least, most, |tokens| {
                tries += 1;
                Ok(tokens <= limit)
            });
            let found = found.unwrap();
            prop_assert!(found >= least && found <= limit && found <= most);
            match limit >= most {
                true => prop_assert_eq!(found, most),
                false => {
                    prop_assert!(found == least || found <= limit * 9 / 10);
                    prop_assert!(found + 20 >= limit * 17 / 20, "{} of {}", found, limit);
                }
            }
            prop_assert!(tries < 50);
        }
    }

    #[test]
    fn an_error_that_is_not_memory_ends_the_search() {
        let error = largest(1, 100, |_| bail!("broken")).unwrap_err();
        assert_eq!(error.to_string(), "broken");
    }

    #[test]
    fn the_heaviest_batches_are_the_widest_and_the_fullest() {
        let lengths = [vec![1, 1, 1, 9, 9, 30]];
        let plan = Bucketing::sorted(BatchLimit::Tokens(20), &lengths);
        assert_eq!(heaviest(&plan, &lengths), [&[5][..], &[0, 1, 2]]);
    }
}

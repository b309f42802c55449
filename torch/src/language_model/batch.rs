//! The words of a training step in the memory of the device. Weights don't belong here.

use std::ops::Range;

use tch::{Device, Tensor};

use crate::batch::to_device;
use lstmtext::backend::LanguageModelBatch;
use lstmtext::backend::language_model::{DropoutMasks, NegativeSampler};

/// Words of a step. All of its tensors refer to words by their indices in `words`.
pub struct StepBatch {
    /// Distinct words that are read, predicted or negatives, sorted, int64 [U].
    pub words: Tensor,
    /// Factors of the vectors of these words as inputs, float [U, 1]; `None` if no word is dropped.
    pub word_factors: Option<Tensor>,
    /// Distinct negatives, int64 [N].
    pub negatives: Tensor,
    /// Minus the logarithm of the probability that a step draws each negative, float [N].
    pub negative_terms: Tensor,
    /// Tokens of each direction in the rows of this process.
    pub directions: Vec<DirectionBatch>,
}

/// Tokens of a direction in B rows. Those of a time step of all rows stand together.
pub struct DirectionBatch {
    /// Words that are read, int64 [T, B].
    pub inputs: Tensor,
    /// Words that are predicted, int64 [T·B].
    pub targets: Tensor,
    /// Minus the logarithm of the probability that a step draws each of `targets`, float [T·B].
    pub target_terms: Tensor,
    /// Ids of the distinct words that are predicted in all rows of the batch, or negatives, sorted, int64 [O].
    pub output_words: Tensor,
    /// Indices in `output_words` of the targets, int64 [T·B].
    pub output_targets: Tensor,
    /// Indices in `output_words` of the negatives, int64 [N].
    pub output_negatives: Tensor,
}

impl StepBatch {
    /// Collects the words of a batch and of the negatives of a step, and the tokens of some of its rows. The words are
    /// those of all rows, so that their gradients can be added up.
    pub fn new(
        batch: &LanguageModelBatch,
        rows: &Range<usize>,
        sampler: &NegativeSampler,
        step: u64,
        masks: &DropoutMasks,
        device: Device,
    ) -> Self {
        let negatives = sampler.distinct(step);
        let all = batch.ids.iter().chain([&negatives]).flatten();
        let words = sorted(all.copied().collect());
        let indices = |ids: &[u32]| indices_in(&words, ids, device);
        let terms = negatives.iter().map(|word| -sampler.log_inclusion(*word));
        let factors = || words.iter().map(|word| masks.word(*word)).collect::<Vec<f32>>();
        let direction = |ids: &Vec<u32>| {
            let width = batch.steps() + 1;
            let (inputs, targets) =
                time_major(&ids[rows.start * width..rows.end * width], rows.len());
            let (_, of_all_rows) = time_major(ids, batch.rows);
            let terms: Vec<f32> =
                targets.iter().map(|word| -sampler.log_inclusion(*word)).collect();
            let output_words = sorted(of_all_rows.iter().chain(&negatives).copied().collect());
            DirectionBatch {
                inputs: indices(&inputs).view([-1, rows.len() as i64]),
                targets: indices(&targets),
                target_terms: to_device(&terms, device),
                output_targets: indices_in(&output_words, &targets, device),
                output_negatives: indices_in(&output_words, &negatives, device),
                output_words: ids_on(&output_words, device),
            }
        };
        Self {
            directions: batch.ids.iter().map(direction).collect(),
            negatives: indices(&negatives),
            negative_terms: to_device(&terms.collect::<Vec<f32>>(), device),
            word_factors: masks.drops_words().then(|| to_device(&factors(), device).unsqueeze(1)),
            words: ids_on(&words, device),
        }
    }
}

/// Returns the ids that rows [B, T + 1] read, and those that they predict, [T, B] each.
pub fn time_major(ids: &[u32], rows: usize) -> (Vec<u32>, Vec<u32>) {
    let width = ids.len() / rows;
    let at = |step: usize| ids.iter().skip(step).step_by(width).copied();
    ((0..width - 1).flat_map(at).collect(), (1..width).flat_map(at).collect())
}

/// Copies ids to a device as int64.
pub fn ids_on(ids: &[u32], device: Device) -> Tensor {
    to_device(&ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>(), device)
}

/// Returns the indices of ids in a sorted list that has all of them, int64.
fn indices_in(sorted: &[u32], ids: &[u32], device: Device) -> Tensor {
    let index = |id: &u32| sorted.partition_point(|other| other < id) as i64;
    to_device(&ids.iter().map(index).collect::<Vec<_>>(), device)
}

/// Returns the different ids of a list, sorted.
fn sorted(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_a_time_step_stand_together() {
        let (inputs, targets) = time_major(&[1, 2, 3, 4, 5, 6, 7, 8], 2);
        assert_eq!(inputs, [1, 5, 2, 6, 3, 7]);
        assert_eq!(targets, [2, 6, 3, 7, 4, 8]);
    }
}

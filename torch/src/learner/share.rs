//! The share of a process in the batches of a group.

use tch::Tensor;

use lstmtext::data::Dataset;
use lstmtext::distributed::Worker;
use lstmtext::objective::{CrossEntropy, LossFunction};

/// The part of a batch that a process computes.
pub struct Share {
    /// Its examples; if it has none, one whose gradients do not count.
    pub examples: Vec<u32>,
    /// Part of the weight of the whole batch.
    pub factor: f64,
    /// Part of the texts of the whole batch.
    pub text_factor: f64,
}

impl Share {
    /// Returns the share of the process `worker` in a batch. Texts of similar length are neighbors in a batch, so
    /// each process gets every N-th. Without an objective, all examples have the same weight.
    pub fn new(
        worker: Worker,
        batch: &[u32],
        data: &Dataset,
        objective: Option<&CrossEntropy>,
    ) -> Self {
        let own: Vec<u32> =
            batch.iter().copied().skip(worker.rank).step_by(worker.world_size).collect();
        let weight = |examples: &[u32]| match objective {
            Some(objective) if worker != Worker::ALONE => {
                objective.weight(&data.targets.select(examples))
            }
            _ => examples.len() as f64,
        };
        let part = weight(&own);
        Self {
            factor: if part > 0.0 { part / weight(batch) } else { 0.0 },
            text_factor: own.len() as f64 / batch.len() as f64,
            examples: if own.is_empty() { batch[..1].to_vec() } else { own },
        }
    }

    /// Seed of the random numbers of a process for a batch with this seed.
    pub fn seed(worker: Worker, seed: u64) -> u64 {
        seed.wrapping_add((worker.rank as u64) << u32::BITS)
    }
}

/// Multiplies gradients by the share of a process. Gradients that do not count may not be finite.
pub fn scale<'a>(gradients: impl IntoIterator<Item = &'a mut Tensor>, factor: f64) {
    for gradient in gradients {
        let _ = match factor {
            1.0 => continue,
            0.0 => gradient.zero_(),
            _ => gradient.g_mul_scalar_(factor),
        };
    }
}

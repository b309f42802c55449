//! The share of a process in the batches of a group, and the sum of the gradients of all processes.

use std::any::Any;

use tch::{Device, Kind, Tensor};

use super::distinct_ids::DistinctIds;
use crate::process_group::ProcessGroup;
use lstmtext::backend::{Collective, Worker};
use lstmtext::data::Dataset;
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

/// Tensors whose values are summed over all processes, in one buffer.
#[derive(Default)]
pub struct SumBuffer {
    parts: Vec<Tensor>,
}

impl SumBuffer {
    /// Adds a tensor.
    pub fn push(&mut self, tensor: &Tensor) {
        self.parts.push(tensor.flatten(0, -1));
    }

    /// Sums all tensors. Returns the sums in the order in which the tensors were added, flattened.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn sum(self, collective: &dyn Collective) -> anyhow::Result<impl Iterator<Item = Tensor>> {
        let flat = Tensor::cat(&self.parts, 0);
        sum(&flat, collective)?;
        let mut offset = 0;
        Ok(self.parts.into_iter().map(move |part| {
            let length = part.size()[0];
            let sum = flat.narrow(0, offset, length);
            offset += length;
            sum
        }))
    }
}

/// Replaces the values of a float tensor by their sums over all processes. With NCCL, the host does not wait.
fn sum(flat: &Tensor, collective: &dyn Collective) -> anyhow::Result<()> {
    if let Some(group) = (collective as &dyn Any).downcast_ref::<ProcessGroup>() {
        return group.sum_tensor(flat);
    }
    let mut values = Vec::<f32>::try_from(flat.to_device(Device::Cpu))?;
    collective.all_reduce(&mut values)?;
    flat.shallow_clone().copy_(&Tensor::from_slice(&values));
    Ok(())
}

/// Returns rows in the order of `all`, which has all ids of `own`; zeros for the others. Both are sorted.
pub fn spread_rows(own: &Tensor, rows: &Tensor, all: &DistinctIds) -> Tensor {
    let size = [all.host_ids.len() as i64, rows.size()[1]];
    let mut spread = Tensor::zeros(size, (Kind::Float, rows.device()));
    let _ = spread.index_copy_(0, &Tensor::bucketize(own, &all.ids, false, false), rows);
    spread
}

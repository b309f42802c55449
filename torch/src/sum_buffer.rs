//! Sums of many tensors over all processes, with one exchange.

use std::any::Any;

use tch::{Device, Tensor};

use crate::process_group::ProcessGroup;
use lstmtext::distributed::Collective;

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

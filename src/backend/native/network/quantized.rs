//! Networks of quantized models, which predict.

use super::{BranchIndices, Network};
use crate::backend::kernel::{Instructions, QuantizedCell, QuantizedRows};
use crate::backend::native::branch::Branch;
use crate::model::quantization::in_order;
use crate::model::{ModelSpec, NamedTensor, QuantizedTensor, StoredTensor, parameters};

impl Network {
    /// Creates the network of `spec` from the tensors of a quantized model. It cannot be trained.
    ///
    /// # Errors
    /// Returns an error if a tensor is missing, unknown, or has another shape or precision.
    pub fn quantized(
        spec: &ModelSpec,
        tensors: Vec<StoredTensor>,
        instructions: Instructions,
    ) -> anyhow::Result<Self> {
        let parameters = parameters(spec)?;
        let (mut full, mut quantized) = (Vec::new(), Vec::new());
        for (tensor, parameter) in in_order(&parameters, tensors)?.into_iter().zip(&parameters) {
            let (name, shape) = (parameter.name.clone(), parameter.shape.clone());
            let without_values = NamedTensor { name, shape, values: Vec::new() };
            let (tensor, integers) = match tensor {
                Some(StoredTensor::Full(tensor)) => (tensor, None),
                Some(StoredTensor::Quantized(integers)) => (without_values, Some(integers)),
                None => (without_values, None),
            };
            full.push(tensor);
            quantized.push(integers);
        }
        let mut network = Self::with_tensors(spec, &parameters, full, instructions)?;
        for (weight, quantized) in network.weights.iter_mut().zip(quantized) {
            weight.quantized = quantized;
        }
        network.pack_quantized();
        Ok(network)
    }

    /// Packs the weights for the kernel.
    fn pack_quantized(&mut self) {
        for (index, indices) in self.indices.iter().enumerate() {
            if let Some(cells) = self.quantized_cells(&self.branches[index], indices) {
                self.branches[index].set_quantized_cells(cells);
            }
        }
        self.pack();
        // The tensors of the cells are packed now.
        for first in self.indices.iter().flat_map(|indices| indices.cells.iter().flatten()) {
            for at in [*first, first + 1] {
                self.weights[at].quantized = None;
            }
        }
    }

    /// Packs the weights of all cells of a branch; `None` if one is not quantized.
    fn quantized_cells(
        &self,
        branch: &Branch,
        indices: &BranchIndices,
    ) -> Option<Vec<Vec<QuantizedCell>>> {
        fn rows(tensor: &QuantizedTensor) -> QuantizedRows<'_> {
            QuantizedRows { values: &tensor.values, scales: &tensor.scales }
        }
        let layers = branch.cells.iter().zip(&indices.cells);
        let layer = layers.map(|(cells, indices)| {
            let cells = cells.iter().zip(indices).map(|(cell, first)| {
                let weight = |at: usize| self.weights[first + at].quantized.as_ref().map(rows);
                Some(QuantizedCell::new(
                    (cell.inputs, cell.units),
                    cell.lanes,
                    branch.integer_instructions(),
                    (weight(0)?, weight(1)?),
                    &self.weights[first + 2].tensor.values,
                ))
            });
            cells.collect()
        });
        layer.collect()
    }
}

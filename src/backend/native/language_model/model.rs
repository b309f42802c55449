//! The weights of a language model, plain and packed for the kernel. Passes over texts don't belong here.

use rayon::prelude::*;

use crate::backend::kernel::{AlignedVec, Cell, Instructions, OperandFormat, PackedMatrix};
use crate::backend::language_model::DropoutMasks;
use crate::backend::native::weight::Weight;
use crate::model::parameters::in_order;
use crate::model::{LanguageModelSpec, NamedTensor};

/// Index of the word vectors among the weights.
pub const EMBEDDING: usize = 0;

/// The weights of a language model.
pub struct Model {
    pub instructions: Instructions,
    /// Format of the operands of the layers and the softmax.
    pub format: OperandFormat,
    /// Weights in the order of the specification.
    pub weights: Vec<Weight>,
    /// Vocabulary size, V.
    pub vocabulary_size: usize,
    /// Size of a word vector, E.
    pub size: usize,
    /// Packed weights of each direction.
    pub directions: Vec<Direction>,
}

/// Packed weights of a direction.
pub struct Direction {
    /// Cells of the layers, from the lowest one.
    pub cells: Vec<Cell>,
    /// Pᵀ / √E, [H, E].
    pub projection: PackedMatrix,
    /// P / √E, [E, H].
    pub projection_transposed: PackedMatrix,
    /// p / √E, `[E]` with padding.
    pub projection_bias: AlignedVec,
    /// Index of weight_ih of the first layer among the weights.
    first_weight: usize,
}

impl Direction {
    /// Index of weight_ih of a layer; weight_hh and bias_ih follow it.
    pub fn cell_index(&self, layer: usize) -> usize {
        self.first_weight + 4 * layer
    }

    /// Index of the projection; its bias follows it.
    pub fn projection_index(&self) -> usize {
        self.cell_index(self.cells.len())
    }

    /// Index of the output bias.
    pub fn output_bias_index(&self) -> usize {
        self.projection_index() + 2
    }
}

impl Model {
    /// Creates the model of `spec` from all of its weights.
    ///
    /// # Errors
    /// Returns an error if a tensor is missing, unknown, or has another shape.
    pub fn new(
        spec: &LanguageModelSpec,
        weights: Vec<NamedTensor>,
        instructions: Instructions,
        format: OperandFormat,
    ) -> anyhow::Result<Self> {
        let parameters = spec.parameters();
        let tensors = in_order(&parameters, weights)?.into_iter().zip(&parameters);
        let weights = tensors.map(|(tensor, parameter)| Weight {
            tensor,
            quantized: None,
            trainable: parameter.trainable,
            ngram_l2: None,
            rate_factor: 1.0,
        });
        let (size, units, layers) =
            (spec.input.embedding.size, spec.input.lstm.units, spec.layers());
        let lanes = instructions.lanes();
        let cell = |layer: usize| {
            let inputs = if layer == 0 { size } else { units };
            Cell::new(inputs, units, lanes, [format; 2])
        };
        let direction = |direction: usize| Direction {
            cells: (0..layers).map(cell).collect(),
            projection: PackedMatrix::new(format),
            projection_transposed: PackedMatrix::new(format),
            projection_bias: AlignedVec::zeros(size.next_multiple_of(lanes)),
            // After the embedding, each direction has four tensors per layer, the projection with its bias, and the
            // output bias.
            first_weight: EMBEDDING + 1 + direction * (4 * layers + 3),
        };
        let mut model = Self {
            instructions,
            format,
            weights: weights.collect(),
            vocabulary_size: spec.vocabulary_size,
            size,
            directions: (0..spec.input.lstm.directions()).map(direction).collect(),
        };
        model.pack();
        Ok(model)
    }

    /// Packs the weights in this format, in which the layers and the softmax compute from now on.
    pub fn set_format(&mut self, format: OperandFormat) {
        if format == self.format {
            return;
        }
        for direction in &mut self.directions {
            for cell in &mut direction.cells {
                *cell = Cell::new(cell.inputs, cell.units, cell.lanes, [format; 2]);
            }
            direction.projection = PackedMatrix::new(format);
            direction.projection_transposed = PackedMatrix::new(format);
        }
        self.format = format;
        self.pack();
    }

    /// Size of a word vector with padding.
    pub fn padded_size(&self) -> usize {
        self.size.next_multiple_of(self.instructions.lanes())
    }

    /// Number of hidden units with padding, P.
    pub fn padded_units(&self) -> usize {
        self.directions[0].cells[0].padded_units
    }

    /// Factor of the logits, 1 / √E.
    pub fn scale(&self) -> f32 {
        (1.0 / (self.size as f64).sqrt()) as f32
    }

    /// Returns the values of a weight.
    pub fn values(&self, index: usize) -> &[f32] {
        &self.weights[index].tensor.values
    }

    /// Returns the vector of a word, `[E]`.
    pub fn word_vector(&self, word: u32) -> &[f32] {
        &self.values(EMBEDDING)[word as usize * self.size..][..self.size]
    }

    /// Packs the weights for the kernel.
    pub fn pack(&mut self) {
        let (size, scale, lanes) = (self.size, self.scale(), self.instructions.lanes());
        let weights = &self.weights;
        let values = |index: usize| &weights[index].tensor.values[..];
        self.directions.par_iter_mut().for_each(|direction| {
            for layer in 0..direction.cells.len() {
                let first = direction.cell_index(layer);
                let [ih, hh, bias] = [0, 1, 2].map(|n| values(first + n));
                let (forward, backward) = direction.cells[layer].packing(ih, hh, bias);
                rayon::join(forward, backward);
            }
            let units = direction.cells[0].units;
            let index = direction.projection_index();
            let row = |row: usize| &values(index)[row * units..][..units];
            direction.projection.pack_columns([units, size, lanes], scale, row);
            direction.projection_transposed.pack_rows([size, units, lanes], scale, row);
            let bias = direction.projection_bias.iter_mut().zip(values(index + 1));
            bias.for_each(|(to, from)| *to = from * scale);
        });
    }

    /// Packs the recurrent weights times their dropout masks, until [`Model::pack`] packs them without.
    pub fn drop_recurrent_weights(&mut self, masks: &DropoutMasks) {
        let weights = &self.weights;
        for (index, direction) in self.directions.iter_mut().enumerate() {
            for layer in 0..direction.cells.len() {
                let mut dropped = weights[direction.cell_index(layer) + 1].tensor.values.clone();
                let cell = &mut direction.cells[layer];
                mask_recurrent_weights(masks, [index, layer], cell.units, &mut dropped);
                cell.pack_recurrent(&dropped);
            }
        }
    }
}

/// Multiplies the recurrent weights of a direction and layer, or their gradient, [4H, H], with their dropout masks.
pub fn mask_recurrent_weights(
    masks: &DropoutMasks,
    [direction, layer]: [usize; 2],
    units: usize,
    values: &mut [f32],
) {
    values.par_chunks_mut(units).enumerate().for_each_init(Vec::new, |mask, (row, values)| {
        mask.resize(units, 0.0);
        masks.weights(direction, layer, row, mask);
        values.iter_mut().zip(mask).for_each(|(value, factor)| *value *= *factor);
    });
}

//! Layers with quantized weights, for prediction.

use super::layers::Branch;
use super::workspace::Workspace;
use crate::backend::kernel::{
    Cell, InputScales, IntegerInstructions, QuantizedCell, QuantizedProjection,
};
use crate::backend::native::sharding::ShardTexts;
use crate::model::QuantizedTensor;

/// The word vectors of an input, [V, E].
#[derive(Clone, Copy)]
pub enum EmbeddingRows<'a> {
    /// In single precision.
    Full(&'a [f32]),
    /// As 8-bit integers.
    Quantized(&'a QuantizedTensor),
}

impl EmbeddingRows<'_> {
    /// Writes the vector of a word, multiplied by `factor`.
    pub(super) fn copy_row(self, word: u32, factor: f32, to: &mut [f32]) {
        let range = word as usize * to.len()..(word as usize + 1) * to.len();
        match self {
            Self::Full(values) => {
                for (to, from) in to.iter_mut().zip(&values[range]) {
                    *to = from * factor;
                }
            }
            Self::Quantized(tensor) => {
                let scale = tensor.scales[word as usize];
                for (to, from) in to.iter_mut().zip(&tensor.values[range]) {
                    *to = f32::from(*from) * scale * factor;
                }
            }
        }
    }
}

impl Branch {
    /// Lets the layers compute with these cells, for each layer one for each direction.
    pub fn set_quantized_cells(&mut self, cells: Vec<Vec<QuantizedCell>>) {
        for cell in self.cells.iter_mut().flatten() {
            *cell = Cell::without_weights(cell.inputs, cell.units, cell.lanes);
        }
        self.quantized_cells = cells;
    }

    /// Returns true if the layers have quantized cells.
    pub fn is_quantized(&self) -> bool {
        !self.quantized_cells.is_empty()
    }

    /// Instructions for which quantized weights are packed.
    pub fn integer_instructions(&self) -> IntegerInstructions {
        IntegerInstructions::beside(self.instructions)
    }

    /// Projects each distinct word of some texts once, and a row of zeros.
    pub(super) fn project_quantized(
        &self,
        texts: &ShardTexts,
        embedding: &QuantizedTensor,
        work: &mut Workspace,
    ) {
        let (size, count) = (self.input.embedding.size, texts.words.len() + 1);
        let Some(cells) = self.quantized_cells.first() else { return };
        let width = cells.first().map_or(0, |cell| cell.words(size));
        work.activations.resize(count * width);
        let activations: &mut [i32] = bytemuck::cast_slice_mut(&mut work.activations);
        work.word_scales.clear();
        let words = texts.words.iter().zip(activations.chunks_exact_mut(width));
        for (word, activations) in words {
            let word = *word as usize;
            let values = &embedding.values[word * size..][..size];
            self.integer_instructions().pack(values, activations);
            work.word_scales.push(embedding.scales[word]);
        }
        self.integer_instructions().pack(&[], &mut activations[(count - 1) * width..]);
        work.word_scales.push(0.0);
        for (direction, cell) in cells.iter().enumerate() {
            let projected = &mut work.projected[direction];
            projected.resize(count * cell.shape.gates_width());
            let scales = InputScales::Rows(&work.word_scales);
            QuantizedProjection { cell, inputs: activations, scales, projected }.run();
        }
    }
}

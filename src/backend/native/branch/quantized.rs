//! Layers with quantized weights, for prediction.

use super::layers::Branch;
use super::vector_tables::VectorTables;
use super::workspace::Workspace;
use crate::backend::kernel::{
    Cell, InputScales, IntegerInstructions, QuantizedCell, QuantizedProjection,
};
use crate::backend::native::sharding::ShardTexts;
use crate::model::QuantizedTensor;
use crate::model::quantization::quantize;

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
        (vectors, embedding): (VectorTables, &QuantizedTensor),
        work: &mut Workspace,
    ) {
        let (size, count) = (self.input.embedding.size, texts.words.len() + 1);
        let Some(cells) = self.quantized_cells.first() else { return };
        let width = cells.first().map_or(0, |cell| cell.words(size));
        work.activations.resize(count * width);
        let activations: &mut [i32] = bytemuck::cast_slice_mut(&mut work.activations);
        work.word_scales.clear();
        let words = texts.words.iter().zip(activations.chunks_exact_mut(width));
        let (mut vector, mut integers) = (vec![0.0; size], vec![0; size]);
        for (index, (word, activations)) in words.enumerate() {
            let word = *word as usize;
            let (values, scale) = match texts.buckets {
                None => (&embedding.values[word * size..][..size], embedding.scales[word]),
                Some(_) => {
                    vectors.copy_vector(texts, index, 1.0, &mut vector);
                    let scale = quantize(&vector, &mut integers);
                    (&integers[..], scale)
                }
            };
            self.integer_instructions().pack(values, activations);
            work.word_scales.push(scale);
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

//! The LSTM layers of a shard, forward and backward. The softmax above them doesn't belong here.

use super::model::Model;
use super::shard::{LayerBuffers, Shard};
use super::states::States;
use crate::backend::kernel::{
    AlignedVec, Backward, BiasGradient, Cell, Forward, HiddenGradient, InputGradient,
    InputProjection, ScatterAdd, WeightGradient,
};
use crate::backend::language_model::DropoutMasks;
use crate::backend::native::branch::CellGradient;

impl Model {
    /// Forward pass of the layers over a shard, from the states after the batch before. With dropout masks, a
    /// backward pass follows.
    pub fn layers_forward(&self, shard: &mut Shard, states: &States, masks: Option<&DropoutMasks>) {
        let cells = &self.directions[shard.direction].cells;
        let (tokens, rows, padded_units) =
            (shard.tokens(), shard.rows.clone(), self.padded_units());
        shard.word_dropout.draw(masks, shard.input_words, &shard.words, &shard.word_table);
        let mut layers = std::mem::take(&mut shard.layers);
        layers.resize_with(cells.len(), LayerBuffers::default);
        for (index, cell) in cells.iter().enumerate() {
            let (below, from_here) = layers.split_at_mut(index);
            let layer = &mut from_here[0];
            let stride = if index == 0 { self.padded_size() } else { padded_units };
            layer.draw_input_mask(masks, [shard.direction, index], &rows, [stride, cell.inputs]);
            let of_words = index == 0 && layer.input_mask.is_empty();
            let (input_rows, projected) = if of_words {
                let mut projected = std::mem::take(&mut shard.projected);
                projected.resize(shard.input_words * cell.gates_width());
                self.project(cell, shard.input_table(), stride, &mut projected);
                shard.projected = projected;
                (shard.inputs(), &shard.projected)
            } else {
                layer.inputs.resize(tokens * stride);
                match below.last() {
                    None => shard.copy_inputs(stride, &mut layer.inputs),
                    Some(below) => below.copy_states(rows.len(), stride, 0, &mut layer.inputs),
                }
                mask_rows(&mut layer.inputs, &layer.input_mask);
                layer.projected.resize(tokens * cell.gates_width());
                self.project(cell, &layer.inputs, stride, &mut layer.projected);
                (&shard.token_rows[..], &layer.projected)
            };
            layer.cache.prepare(&shard.layout, padded_units, masks.is_some());
            states.load(index, rows.clone(), &mut layer.cache);
            self.instructions.multiply(Forward {
                cell,
                layout: &shard.layout,
                input_rows,
                projected,
                cache: &mut layer.cache,
                zero_initial_state: false,
            });
        }
        shard.layers = layers;
    }

    /// Computes the input projection of some inputs, [n, stride].
    fn project(&self, cell: &Cell, inputs: &[f32], row_stride: usize, projected: &mut AlignedVec) {
        self.instructions.multiply(InputProjection { cell, inputs, row_stride, projected });
    }

    /// Backward pass of the layers over a shard, from the gradient of the hidden states of the top layer. No gradient
    /// leaves the shard through its initial states.
    pub fn layers_backward(&self, shard: &mut Shard) {
        let cells = &self.directions[shard.direction].cells;
        let (rows, padded_units) = (shard.rows.len(), self.padded_units());
        let mut layers = std::mem::take(&mut shard.layers);
        shard.sums.cells.resize_with(cells.len(), CellGradient::default);
        for (index, cell) in cells.iter().enumerate().rev() {
            let (below, from_here) = layers.split_at_mut(index);
            let layer = &mut from_here[0];
            let (inputs, columns) = (cell.inputs, cell.gates_width());
            shard.carry.resize_zeroed(rows * padded_units);
            self.instructions.multiply(Backward {
                cell,
                layout: &shard.layout,
                hidden_gradient: HiddenGradient::PerStep(&layer.hidden_gradient),
                cache: &mut layer.cache,
                cell_gradient: None,
                carry: &mut shard.carry,
            });
            let gradients = &layer.cache.gates;
            let sums = &mut shard.sums.cells[index];
            sums.recurrent.resize_zeroed(cell.units * columns);
            sums.input.resize_zeroed(inputs * columns);
            sums.bias.resize_zeroed(columns);
            self.instructions.multiply(WeightGradient {
                sum: &mut sums.recurrent,
                left: &layer.cache.hidden,
                left_stride: padded_units,
                right: gradients,
                depth: cell.units,
                columns,
                format: cell.recurrent.format,
            });
            // The inputs, their stride and gradients: of each token, or of each distinct word.
            let of_words = index == 0 && layer.input_mask.is_empty();
            let (left, left_stride, gradients, to) = match below.last_mut() {
                Some(below) => {
                    (&layer.inputs[..], padded_units, gradients, &mut below.hidden_gradient)
                }
                None if !of_words => {
                    let to = &mut layer.input_gradient;
                    (&layer.inputs[..], self.padded_size(), gradients, to)
                }
                None => {
                    let sum = &mut shard.projected_gradient;
                    sum.resize_zeroed(shard.input_words * columns);
                    let rows = &shard.word_rows[..shard.layout.tokens()];
                    self.instructions.run(ScatterAdd { sum, rows, gradients, columns });
                    let sum = &shard.projected_gradient;
                    let table = shard.word_dropout.table(&shard.word_table);
                    (table, self.padded_size(), sum, &mut shard.sums.inputs)
                }
            };
            self.instructions.run(BiasGradient { sum: &mut sums.bias, rows: gradients });
            self.instructions.multiply(WeightGradient {
                sum: &mut sums.input,
                left,
                left_stride,
                right: gradients,
                depth: inputs,
                columns,
                format: cell.input.format,
            });
            to.resize(gradients.len() / columns * left_stride);
            self.instructions.multiply(InputGradient {
                cell,
                packed: &cell.input_transposed,
                gradients,
                inputs: to,
                columns: left_stride,
            });
            mask_rows(to, &layer.input_mask);
            if index == 0 && !of_words {
                let sum = &mut shard.sums.inputs;
                sum.resize_zeroed(shard.input_words * left_stride);
                let rows = &shard.word_rows[..shard.layout.tokens()];
                let gradients = &layer.input_gradient;
                self.instructions.run(ScatterAdd { sum, rows, gradients, columns: left_stride });
            }
        }
        shard.word_dropout.mask(&mut shard.sums.inputs, self.padded_size());
        shard.layers = layers;
    }
}

/// Multiplies the values of each time step, [rows, stride], with a mask, if there is one.
fn mask_rows(values: &mut [f32], mask: &[f32]) {
    if mask.is_empty() {
        return;
    }
    for values in values.chunks_exact_mut(mask.len()) {
        values.iter_mut().zip(mask).for_each(|(value, factor)| *value *= factor);
    }
}

//! The LSTM layers of a shard, forward and backward. The softmax above them doesn't belong here.

use super::model::Model;
use super::shard::{LayerBuffers, Shard};
use super::states::States;
use crate::backend::kernel::{
    Backward, BiasGradient, Forward, HiddenGradient, InputGradient, InputProjection, ScatterAdd,
    WeightGradient,
};
use crate::backend::native::branch::CellGradient;

impl Model {
    /// Forward pass of the layers over a shard, from the states after the batch before. `backward` is true if a
    /// backward pass follows.
    pub fn layers_forward(&self, shard: &mut Shard, states: &States, backward: bool) {
        let cells = &self.directions[shard.direction].cells;
        let (tokens, rows, padded_units) =
            (shard.tokens(), shard.rows.clone(), self.padded_units());
        shard.projected.resize(shard.input_words * cells[0].gates_width());
        self.instructions.run(InputProjection {
            cell: &cells[0],
            inputs: &shard.word_table,
            row_stride: self.padded_size(),
            projected: &mut shard.projected,
        });
        let mut layers = std::mem::take(&mut shard.layers);
        layers.resize_with(cells.len(), LayerBuffers::default);
        for (index, cell) in cells.iter().enumerate() {
            let (below, from_here) = layers.split_at_mut(index);
            let layer = &mut from_here[0];
            let (input_rows, projected) = match below.last() {
                None => (shard.inputs(), &shard.projected),
                Some(below) => {
                    layer.inputs.resize(tokens * padded_units);
                    below.copy_states(rows.len(), padded_units, 0, &mut layer.inputs);
                    layer.projected.resize(tokens * cell.gates_width());
                    self.instructions.run(InputProjection {
                        cell,
                        inputs: &layer.inputs,
                        row_stride: padded_units,
                        projected: &mut layer.projected,
                    });
                    (&shard.token_rows[..], &layer.projected)
                }
            };
            layer.cache.prepare(&shard.layout, padded_units, backward);
            states.load(index, rows.clone(), &mut layer.cache);
            self.instructions.run(Forward {
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
            self.instructions.run(Backward {
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
            self.instructions.run(WeightGradient {
                sum: &mut sums.recurrent,
                left: &layer.cache.hidden,
                left_stride: padded_units,
                right: gradients,
                depth: cell.units,
                columns,
            });
            // The inputs, their stride and gradients: of each token, or of each distinct word.
            let (left, left_stride, gradients, to) = match below.last_mut() {
                Some(below) => (&layer.inputs, padded_units, gradients, &mut below.hidden_gradient),
                None => {
                    let sum = &mut shard.projected_gradient;
                    sum.resize_zeroed(shard.input_words * columns);
                    let rows = &shard.word_rows[..shard.layout.tokens()];
                    self.instructions.run(ScatterAdd { sum, rows, gradients, columns });
                    let sum = &shard.projected_gradient;
                    (&shard.word_table, self.padded_size(), sum, &mut shard.sums.inputs)
                }
            };
            self.instructions.run(BiasGradient { sum: &mut sums.bias, rows: gradients });
            self.instructions.run(WeightGradient {
                sum: &mut sums.input,
                left,
                left_stride,
                right: gradients,
                depth: inputs,
                columns,
            });
            to.resize(gradients.len() / columns * left_stride);
            self.instructions.run(InputGradient {
                cell,
                packed: &cell.input_transposed,
                gradients,
                inputs: to,
                columns: left_stride,
            });
        }
        shard.layers = layers;
    }
}

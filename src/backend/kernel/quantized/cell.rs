//! Quantized weights of one direction of one layer, packed for the register tiles.

use super::super::aligned_vec::AlignedVec;
use super::super::cell::{Cell, GATE_FACTORS, GATES, packed_index};
use super::instructions::IntegerInstructions;
use super::product::{LIMIT, Weights};

/// A matrix of quantized weights in PyTorch's layout.
#[derive(Clone, Copy)]
pub struct QuantizedRows<'a> {
    /// [4H, columns].
    pub values: &'a [i8],
    /// Scale of each row, `[4H]`.
    pub scales: &'a [f32],
}

/// Packed weights; see [`Cell`].
pub struct QuantizedCell {
    /// The shape; its weights are empty.
    pub shape: Cell,
    /// Instructions for which the weights are packed.
    pub instructions: IntegerInstructions,
    /// W.
    pub(super) input: PackedMatrix,
    /// U, for hidden states that are multiplied by 127.
    pub(super) recurrent: PackedMatrix,
    /// b, [P/lanes, i f g o, lanes].
    pub(super) bias: AlignedVec,
}

/// A packed matrix.
pub(super) struct PackedMatrix {
    /// Number of 32-bit words of a row.
    words: usize,
    /// Weights, [P/lanes, words, i f g o, lanes].
    packed: AlignedVec,
    /// Initial values of the sums, [P/lanes, i f g o, lanes].
    offsets: AlignedVec,
    /// Scales of the sums, [P/lanes, i f g o, lanes].
    pub scales: AlignedVec,
}

impl PackedMatrix {
    /// Packs the rows of all gates of H units. The sums are multiplied by the scale of the row and `factor`.
    fn new(
        rows: QuantizedRows,
        shape: &Cell,
        columns: usize,
        factor: f32,
        instructions: IntegerInstructions,
    ) -> Self {
        let (lanes, group) = (shape.lanes, instructions.group());
        let (words, vector_width) = (columns.div_ceil(group), GATES * lanes);
        let mut packed = AlignedVec::zeros(shape.gates_width() * words);
        let mut offsets = AlignedVec::zeros(shape.gates_width());
        let mut scales = AlignedVec::zeros(shape.gates_width());
        // Where weights are floats, all offsets are zero, which has the same bits.
        let integers: &mut [i32] = bytemuck::cast_slice_mut(&mut offsets);
        let weights: &mut [i32] = bytemuck::cast_slice_mut(&mut packed);
        for (gate, gate_factor) in GATE_FACTORS.into_iter().enumerate() {
            for unit in 0..shape.units {
                let (row, at) = (gate * shape.units + unit, packed_index(gate, unit, lanes));
                let values = &rows.values[row * columns..][..columns];
                let sum: i32 = values.iter().map(|value| i32::from(*value)).sum();
                integers[at] = -instructions.offset() * sum;
                scales[at] = rows.scales[row] * gate_factor * factor;
                let (vector, within) = (at / vector_width, at % vector_width);
                for (index, values) in values.chunks(group).enumerate() {
                    weights[(vector * words + index) * vector_width + within] = word(values, group);
                }
            }
        }
        Self { words, packed, offsets, scales }
    }

    /// Returns the weights of a vector of units with this number of lanes.
    #[inline(always)]
    pub fn vector(&self, vector: usize, lanes: usize) -> Weights<'_> {
        let width = GATES * lanes;
        let words: &[i32] = bytemuck::cast_slice(&self.packed);
        let offsets: &[i32] = bytemuck::cast_slice(&self.offsets);
        Weights {
            words: &words[vector * self.words * width..][..self.words * width],
            offsets: &offsets[vector * width..][..width],
        }
    }
}

/// Packs up to `group` weights, bytes, 16-bit integers or a float, into a 32-bit word.
fn word(weights: &[i8], group: usize) -> i32 {
    let at = |index: usize| weights.get(index).copied().unwrap_or(0);
    match group {
        4 => bytemuck::cast([at(0), at(1), at(2), at(3)]),
        2 => bytemuck::cast([i16::from(at(0)), i16::from(at(1))]),
        _ => f32::from(at(0)).to_bits().cast_signed(),
    }
}

impl QuantizedCell {
    /// Packs the weights of a cell with this number of inputs and hidden units. `bias` is the sum of both
    /// biases, `[4H]`.
    pub fn new(
        (inputs, units): (usize, usize),
        lanes: usize,
        instructions: IntegerInstructions,
        (weight_ih, weight_hh): (QuantizedRows, QuantizedRows),
        bias: &[f32],
    ) -> Self {
        let shape = Cell::without_weights(inputs, units, lanes);
        let mut packed_bias = AlignedVec::zeros(shape.gates_width());
        for (gate, factor) in GATE_FACTORS.into_iter().enumerate() {
            for unit in 0..units {
                let at = packed_index(gate, unit, lanes);
                packed_bias[at] = bias[gate * units + unit] * factor;
            }
        }
        Self {
            input: PackedMatrix::new(weight_ih, &shape, inputs, 1.0, instructions),
            recurrent: PackedMatrix::new(weight_hh, &shape, units, LIMIT.recip(), instructions),
            bias: packed_bias,
            shape,
            instructions,
        }
    }

    /// Number of 32-bit words of a vector of `count` activations, in whole vectors of lanes.
    pub fn words(&self, count: usize) -> usize {
        count.next_multiple_of(self.shape.lanes) / self.instructions.group()
    }
}

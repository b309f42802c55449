//! The weights of one direction of one layer, packed for the register tiles.

use super::aligned_vec::AlignedVec;
use super::operands::OperandFormat;

/// Number of gates of a unit.
pub const GATES: usize = 4;

/// Factors of the packed weights for the gates i, f, g, o: σ(z) is computed from tanh(z/2).
pub(super) const GATE_FACTORS: [f32; GATES] = [0.5, 0.5, 1.0, 0.5];

/// Packed weights. H units are padded to P, a whole number of vectors of `lanes` floats. Padding
/// units have zero weights, so their states stay zero.
pub struct Cell {
    /// Number of units, H.
    pub units: usize,
    /// Number of units with padding, P.
    pub padded_units: usize,
    /// Number of inputs of a step, besides the hidden state.
    pub inputs: usize,
    /// Number of floats in a vector.
    pub lanes: usize,
    /// W, [P/lanes, inputs in words, i f g o, lanes].
    pub input: PackedWeights,
    /// U, [P/lanes, H in words, i f g o, lanes].
    pub recurrent: PackedWeights,
    /// b, [P/lanes, i f g o, lanes].
    pub bias: AlignedVec,
    /// W packed for the gradient of the inputs: groups of 4, 2 or 1 vectors of inputs, each
    /// [4P in words, group].
    pub input_transposed: PackedWeights,
    /// U packed for the gradient of the hidden state, in the same groups.
    pub recurrent_transposed: PackedWeights,
}

/// Weights that are packed for the register tiles.
#[derive(Default)]
pub struct PackedWeights {
    /// Format of the operands.
    pub format: OperandFormat,
    /// Words with the weights.
    pub words: AlignedVec,
}

impl PackedWeights {
    /// Returns zeros: blocks of `terms` rows, `width` values in all blocks together.
    fn zeros(format: OperandFormat, terms: usize, width: usize) -> Self {
        Self { format, words: AlignedVec::zeros(format.words(terms) * width) }
    }
}

impl Cell {
    /// Returns a cell of this shape with zero weights, of which W and U are packed in these formats.
    pub fn new(
        inputs: usize,
        units: usize,
        lanes: usize,
        [of_input, of_recurrent]: [OperandFormat; 2],
    ) -> Self {
        let padded_units = units.next_multiple_of(lanes);
        let gates_width = GATES * padded_units;
        let padded_inputs = inputs.next_multiple_of(lanes);
        Self {
            units,
            padded_units,
            inputs,
            lanes,
            input: PackedWeights::zeros(of_input, inputs, gates_width),
            recurrent: PackedWeights::zeros(of_recurrent, units, gates_width),
            bias: AlignedVec::zeros(gates_width),
            input_transposed: PackedWeights::zeros(of_input, gates_width, padded_inputs),
            recurrent_transposed: PackedWeights::zeros(of_recurrent, gates_width, padded_units),
        }
    }

    /// Returns a cell of this shape, without room for weights.
    pub fn without_weights(inputs: usize, units: usize, lanes: usize) -> Self {
        let padded_units = units.next_multiple_of(lanes);
        let [input, recurrent, input_transposed, recurrent_transposed] = Default::default();
        let bias = AlignedVec::default();
        Self {
            units,
            padded_units,
            inputs,
            lanes,
            input,
            recurrent,
            bias,
            input_transposed,
            recurrent_transposed,
        }
    }

    /// Packs weights in PyTorch's layout: [4H, inputs], [4H, H] and [4H].
    pub fn pack(&mut self, weight_ih: &[f32], weight_hh: &[f32], bias: &[f32]) {
        let (forward, backward) = self.packing(weight_ih, weight_hh, bias);
        forward();
        backward();
    }

    /// Returns the two halves of [`Cell::pack`], for the forward and for the backward pass, which threads can run
    /// concurrently.
    pub fn packing<'a>(
        &'a mut self,
        weight_ih: &'a [f32],
        weight_hh: &'a [f32],
        bias: &'a [f32],
    ) -> (impl FnOnce() + Send + 'a, impl FnOnce() + Send + 'a) {
        debug_assert!(self.bias.len() == self.gates_width());
        let Self { units, inputs, lanes, .. } = *self;
        let Self { input, recurrent, bias: packed_bias, .. } = self;
        let Self { input_transposed, recurrent_transposed, .. } = self;
        let forward = move || {
            pack_forward(input, weight_ih, inputs, units, lanes);
            pack_forward(recurrent, weight_hh, units, units, lanes);
            pack_floats(packed_bias, bias, 1, units, lanes);
        };
        let backward = move || {
            pack_transposed(input_transposed, weight_ih, inputs, units, lanes);
            pack_transposed(recurrent_transposed, weight_hh, units, units, lanes);
        };
        (forward, backward)
    }

    /// Packs recurrent weights [4H, H] in place of those before.
    pub fn pack_recurrent(&mut self, weight_hh: &[f32]) {
        let Self { units, lanes, .. } = *self;
        pack_forward(&mut self.recurrent, weight_hh, units, units, lanes);
        pack_transposed(&mut self.recurrent_transposed, weight_hh, units, units, lanes);
    }

    /// Number of gate values of a row, with padding: 4P.
    pub fn gates_width(&self) -> usize {
        GATES * self.padded_units
    }

    /// Ranges of a row of gate gradients [P/lanes, i f g o, lanes] that belong to units rather than
    /// padding, as (start, length).
    pub fn unit_ranges(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (lanes, partial) = (self.lanes, self.units % self.lanes);
        let whole = (self.units - partial) * GATES;
        let tail = (0..if partial == 0 { 0 } else { GATES })
            .map(move |gate| (whole + gate * lanes, partial));
        std::iter::once((0, whole)).chain(tail)
    }
}

/// Index of a gate of a unit in a row of [P/lanes, i f g o, lanes].
pub fn packed_index(gate: usize, unit: usize, lanes: usize) -> usize {
    (unit / lanes * GATES + gate) * lanes + unit % lanes
}

/// Packs [4H, columns] as [P/lanes, columns in words, i f g o, lanes] and halves the weights of i, f and o.
fn pack_forward(
    packed: &mut PackedWeights,
    weights: &[f32],
    columns: usize,
    units: usize,
    lanes: usize,
) {
    let widths = std::iter::repeat_n(GATES * lanes, units.div_ceil(lanes));
    let PackedWeights { format, words } = packed;
    format.pack(words, columns, widths, |floats| {
        pack_floats(floats, weights, columns, units, lanes);
    });
}

/// Packs [4H, columns] as [P/lanes, columns, i f g o, lanes] and halves the weights of i, f and o.
fn pack_floats(packed: &mut [f32], weights: &[f32], columns: usize, units: usize, lanes: usize) {
    let vectors = packed.chunks_exact_mut(columns * GATES * lanes).enumerate();
    for (vector, packed) in vectors {
        let first = vector * lanes;
        let count = lanes.min(units - first);
        for (gate, factor) in GATE_FACTORS.into_iter().enumerate() {
            let rows = &weights[(gate * units + first) * columns..][..count * columns];
            for (column, packed) in packed.chunks_exact_mut(GATES * lanes).enumerate() {
                let packed = packed[gate * lanes..][..count].iter_mut();
                for (unit, packed) in packed.enumerate() {
                    *packed = rows[unit * columns + column] * factor;
                }
            }
        }
    }
}

/// Packs [4H, columns] as one [4P in words, group] for each group of column vectors.
fn pack_transposed(
    packed: &mut PackedWeights,
    weights: &[f32],
    columns: usize,
    units: usize,
    lanes: usize,
) {
    let widths = vector_groups(columns.div_ceil(lanes)).map(|(_, group)| group * lanes);
    let PackedWeights { format, words } = packed;
    format.pack(words, units.next_multiple_of(lanes) * GATES, widths, |floats| {
        pack_transposed_floats(floats, weights, columns, units, lanes);
    });
}

/// Packs [4H, columns] as one [4P, group] for each group of column vectors.
fn pack_transposed_floats(
    packed: &mut [f32],
    weights: &[f32],
    columns: usize,
    units: usize,
    lanes: usize,
) {
    let gates_width = units.next_multiple_of(lanes) * GATES;
    for (vector, group) in vector_groups(columns.div_ceil(lanes)) {
        let width = group * lanes;
        let count = (columns - vector * lanes).min(width);
        for gate in 0..GATES {
            for unit in 0..units {
                let row = &weights[(gate * units + unit) * columns + vector * lanes..][..count];
                let to = vector * lanes * gates_width + packed_index(gate, unit, lanes) * width;
                packed[to..to + count].copy_from_slice(row);
            }
        }
    }
}

/// Cuts vectors into groups of 4, then 2, then 1, as (first vector, number of vectors).
pub fn vector_groups(vectors: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let mut first = 0;
    std::iter::from_fn(move || {
        let group = match vectors - first {
            0 => return None,
            1 => 1,
            2 | 3 => 2,
            _ => 4,
        };
        first += group;
        Some((first - group, group))
    })
}

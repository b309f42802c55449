//! The weights of one direction of one layer, packed for the register tiles.

use super::memory::Floats;

/// The gates of a unit.
pub const GATES: usize = 4;

/// The gates in PyTorch's order, and what each is multiplied by in the forward pass: σ(z) needs
/// tanh(z/2).
const FACTORS: [f32; 4] = [0.5, 0.5, 1.0, 0.5];

/// Packed weights. P places hold H units in whole vectors of `lanes`; padding places have zero
/// weights, so that their states stay zero.
pub struct Cell {
    /// H.
    pub units: usize,
    /// P, the multiple of `lanes` that holds H.
    pub places: usize,
    /// The numbers that one step reads besides the hidden state.
    pub inputs: usize,
    /// The floats in a vector.
    pub lanes: usize,
    /// [P/lanes, inputs, i f g o, lanes]
    pub input: Floats,
    /// [P/lanes, H, i f g o, lanes]
    pub recurrent: Floats,
    /// [P/lanes, i f g o, lanes]
    pub bias: Floats,
    /// W once more, for gradients of the inputs: groups of 4, 2 or 1 vectors of inputs, each
    /// [4P, group].
    pub input_back: Floats,
    /// U once more, in groups of units.
    pub recurrent_back: Floats,
}

impl Cell {
    /// An empty cell of this shape.
    pub fn new(inputs: usize, units: usize, lanes: usize) -> Self {
        let places = units.next_multiple_of(lanes);
        Self {
            units,
            places,
            inputs,
            lanes,
            input: Floats::zeros(4 * places * inputs),
            recurrent: Floats::zeros(4 * places * units),
            bias: Floats::zeros(4 * places),
            input_back: Floats::zeros(4 * places * inputs.next_multiple_of(lanes)),
            recurrent_back: Floats::zeros(4 * places * places),
        }
    }

    /// Takes weights in PyTorch's layout: [4H, inputs], [4H, H] and [4H].
    pub fn pack(&mut self, weight_ih: &[f32], weight_hh: &[f32], bias: &[f32]) {
        let (units, lanes, places) = (self.units, self.lanes, self.places);
        pack_forward(&mut self.input, weight_ih, self.inputs, units, lanes);
        pack_forward(&mut self.recurrent, weight_hh, units, units, lanes);
        pack_forward(&mut self.bias, bias, 1, units, lanes);
        pack_backward(&mut self.input_back, weight_ih, self.inputs, units, lanes);
        pack_backward(&mut self.recurrent_back, weight_hh, units, units, lanes);
        debug_assert!(self.bias.len() == 4 * places);
    }

    /// The numbers of all gates, padding included: 4P.
    pub fn wide(&self) -> usize {
        GATES * self.places
    }

    /// The stretches of a row of gate gradients [P/lanes, i f g o, lanes] that belong to units:
    /// where each begins and how long it is.
    pub fn depths(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (lanes, rest) = (self.lanes, self.units % self.lanes);
        let whole = (self.units - rest) * 4;
        let tail = (0..if rest == 0 { 0 } else { 4 }).map(move |gate| (whole + gate * lanes, rest));
        std::iter::once((0, whole)).chain(tail)
    }
}

/// Where gate and unit stand in a row of [P/lanes, i f g o, lanes].
pub fn place(gate: usize, unit: usize, lanes: usize) -> usize {
    (unit / lanes * 4 + gate) * lanes + unit % lanes
}

/// [4H, columns] → [P/lanes, columns, i f g o, lanes], σ gates halved.
fn pack_forward(packed: &mut [f32], weights: &[f32], columns: usize, units: usize, lanes: usize) {
    let vectors = packed.chunks_exact_mut(columns * GATES * lanes).enumerate();
    for (vector, packed) in vectors {
        let first = vector * lanes;
        let here = lanes.min(units - first);
        for (gate, factor) in FACTORS.into_iter().enumerate() {
            let rows = &weights[(gate * units + first) * columns..][..here * columns];
            for (column, packed) in packed.chunks_exact_mut(GATES * lanes).enumerate() {
                let packed = packed[gate * lanes..][..here].iter_mut();
                for (unit, packed) in packed.enumerate() {
                    *packed = rows[unit * columns + column] * factor;
                }
            }
        }
    }
}

/// [4H, columns] → for each group of column vectors [4P, group].
fn pack_backward(packed: &mut [f32], weights: &[f32], columns: usize, units: usize, lanes: usize) {
    let wide = units.next_multiple_of(lanes) * 4;
    for (vector, group) in groups(columns.div_ceil(lanes)) {
        let width = group * lanes;
        let columns_here = (columns - vector * lanes).min(width);
        for gate in 0..4 {
            for unit in 0..units {
                let row =
                    &weights[(gate * units + unit) * columns + vector * lanes..][..columns_here];
                let to = vector * lanes * wide + place(gate, unit, lanes) * width;
                packed[to..to + columns_here].copy_from_slice(row);
            }
        }
    }
}

/// Cuts vectors into groups of 4, then 2, then 1: where each begins and how many it has.
pub fn groups(vectors: usize) -> impl Iterator<Item = (usize, usize)> {
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

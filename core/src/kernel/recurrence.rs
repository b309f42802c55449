//! One direction of one LSTM layer over a block of texts, forward and backward.

use pulp::{Simd, WithSimd};

use super::activation::{gates, tanh};
use super::cell::{Cell, GATES, groups};
use super::instructions::{mul_add, negate_mul_add};
use super::memory::Floats;
use super::product::{Left, Right, for_row_tiles, load, multiply_add, store};

/// Where the steps of a block lie: texts sorted by falling length are the rows, and step t of all
/// rows that are not over lies behind step t − 1. Nothing is padded.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Where each step begins; one more than there are steps.
    starts: Vec<usize>,
}

impl Layout {
    /// The layout of rows with these lengths, which fall.
    pub fn new(lengths: &[usize]) -> Self {
        debug_assert!(lengths.is_sorted_by(|a, b| a >= b));
        let steps = lengths.first().copied().unwrap_or(0);
        let mut starts = Vec::with_capacity(steps + 1);
        let mut active = lengths.len();
        let mut start = 0;
        starts.push(start);
        for step in 0..steps {
            while lengths[active - 1] <= step {
                active -= 1;
            }
            start += active;
            starts.push(start);
        }
        Self { starts }
    }

    /// The steps of the longest row.
    pub fn steps(&self) -> usize {
        self.starts.len() - 1
    }

    /// Steps of all rows together.
    pub fn tokens(&self) -> usize {
        self.starts[self.steps()]
    }

    /// Where row 0 of a step lies; row r lies r behind it.
    pub fn start(&self, step: usize) -> usize {
        self.starts[step]
    }

    /// The rows that have this step.
    pub fn active(&self, step: usize) -> usize {
        match step < self.steps() {
            true => self.starts[step + 1] - self.starts[step],
            false => 0,
        }
    }
}

/// What the backward pass needs of the forward pass; H units stand in P ≥ H places, so that
/// vectors are whole.
#[derive(Default)]
pub struct Trace {
    /// The gates [tokens, P/lanes, i f g o, lanes]; after the backward pass the gradients of what
    /// their activations were taken of. Empty where there is no backward pass.
    pub gates: Floats,
    /// The hidden state before each step, [tokens, P].
    pub hidden: Floats,
    /// The cell state before each step, [tokens, P]; only [rows, P], the latest, without gates.
    pub memory: Floats,
    /// The hidden state after the last step of each row, [rows, P].
    pub last_hidden: Floats,
    /// The cell state after it, [rows, P]; without gates it is in `memory`.
    pub last_memory: Floats,
}

impl Trace {
    /// Room for a block that begins with zero states.
    pub fn prepare(&mut self, layout: &Layout, places: usize, backward: bool) {
        let (tokens, rows) = (layout.tokens(), layout.active(0));
        self.gates.resize(if backward { tokens * GATES * places } else { 0 });
        self.hidden.resize(tokens * places);
        self.memory.resize(if backward { tokens * places } else { rows * places });
        self.last_hidden.resize(rows * places);
        self.last_memory.resize(if backward { rows * places } else { 0 });
        self.hidden[..rows * places].fill(0.0);
        self.memory[..rows * places].fill(0.0);
    }
}

/// The forward pass.
pub struct Forward<'a> {
    /// The weights U.
    pub cell: &'a Cell,
    /// Where the steps lie.
    pub layout: &'a Layout,
    /// For each token the row of `projected` with its input products.
    pub rows: &'a [u32],
    /// W x + b, [inputs, P/lanes, i f g o, lanes].
    pub projected: &'a [f32],
    /// What [`Trace::prepare`] made ready, with the first states.
    pub trace: &'a mut Trace,
    /// Whether the first states are zero.
    pub fresh: bool,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { cell, layout, rows, projected, trace, fresh } = self;
        let lanes = S::F32_LANES;
        let (units, places) = (cell.units, cell.places);
        let backward = !trace.gates.is_empty();
        assert_eq!(cell.lanes, lanes);
        assert_eq!(rows.len(), layout.tokens());
        assert!(trace.hidden.len() == layout.tokens() * places);
        let inputs = projected.len() / (GATES * places);
        assert!(rows.iter().all(|row| (*row as usize) < inputs));
        for step in 0..layout.steps() {
            let (start, next_start) = (layout.start(step), layout.start(step + 1));
            let (active, next_active) = (layout.active(step), layout.active(step + 1));
            let (before, after) = trace.hidden.split_at_mut(next_start * places);
            let hidden = &before[start * places..];
            let depth = if step == 0 && fresh { 0 } else { units };
            for block in 0..places / lanes {
                let weights = Right {
                    values: &cell.recurrent[block * units * GATES * lanes..],
                    step: GATES * lanes,
                };
                // Rows that go on, then those of which this is the last step.
                for (tile_rows, goes_on) in [(0..next_active, true), (next_active..active, false)] {
                    let (hidden_out, memory_out): (&mut [f32], &mut [f32]);
                    let memory_in: *const f32;
                    (hidden_out, _) = if goes_on {
                        after.split_at_mut(next_active * places)
                    } else {
                        trace.last_hidden.split_at_mut(active * places)
                    };
                    if backward {
                        let (memory_before, memory_after) =
                            trace.memory.split_at_mut(next_start * places);
                        memory_in = memory_before[start * places..].as_ptr();
                        memory_out = if goes_on { memory_after } else { &mut trace.last_memory };
                    } else {
                        memory_out = &mut trace.memory;
                        memory_in = memory_out.as_ptr();
                    }
                    let memory_out = memory_out.as_mut_ptr();
                    let memory_in = if backward { memory_in } else { memory_out.cast_const() };
                    let hidden_out = hidden_out.as_mut_ptr();
                    for_row_tiles!(S, tile_rows, |row, M| {
                        let mut tile = [[simd.splat_f32s(0.0); GATES]; M];
                        for m in 0..M {
                            let from = rows[start + row + m] as usize * GATES * places
                                + block * GATES * lanes;
                            for n in 0..GATES {
                                // SAFETY: every row is below the number of inputs, asserted above.
                                tile[m][n] =
                                    unsafe { load::<S>(projected.as_ptr(), from + n * lanes) };
                            }
                        }
                        let left = Left { values: &hidden[row * places..], row: places, step: 1 };
                        let tile = multiply_add::<S, M, GATES>(simd, tile, left, weights, depth);
                        for m in 0..M {
                            let at = (row + m) * places + block * lanes;
                            // SAFETY: row + m < active, block < places / lanes; the buffers have
                            // `places` floats for every row.
                            unsafe {
                                let [i, f, g, o] = gates(simd, tile[m]);
                                let c = load::<S>(memory_in, at);
                                let c = mul_add(simd, f, c, simd.mul_f32s(i, g));
                                let h = simd.mul_f32s(o, tanh(simd, c));
                                store::<S>(memory_out, at, c);
                                store::<S>(hidden_out, at, h);
                                if backward {
                                    let to =
                                        (start + row + m) * GATES * places + block * GATES * lanes;
                                    for (n, gate) in [i, f, g, o].into_iter().enumerate() {
                                        store::<S>(trace.gates.as_mut_ptr(), to + n * lanes, gate);
                                    }
                                }
                            }
                        }
                    });
                }
            }
        }
    }
}

/// Where the gradient of the hidden states comes from.
#[derive(Clone, Copy)]
pub enum Upstream<'a> {
    /// From the state after the last step of each row, [rows, P].
    Last(&'a [f32]),
    /// From every step of a row alike, [rows, P].
    Every(&'a [f32]),
    /// From every step, [tokens, P].
    Each(&'a [f32]),
}

/// The backward pass: turns the gates of a trace into gradients.
pub struct Backward<'a> {
    /// The weights U.
    pub cell: &'a Cell,
    /// Where the steps lie.
    pub layout: &'a Layout,
    /// The gradient of the hidden states.
    pub upstream: Upstream<'a>,
    /// What the forward pass left.
    pub trace: &'a mut Trace,
    /// Gradients of the cell states after each step, [tokens, P], besides those that arise here.
    pub memory_upstream: Option<&'a [f32]>,
    /// The gradient of the cell state, [rows, P]; zeros at first, that of the first state at last.
    pub carry: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { cell, layout, upstream, memory_upstream, trace, carry } = self;
        let lanes = S::F32_LANES;
        let places = cell.places;
        let wide = GATES * places;
        assert_eq!(cell.lanes, lanes);
        assert!(trace.gates.len() == layout.tokens() * wide);
        assert!(trace.memory.len() == layout.tokens() * places);
        assert!(carry.len() >= layout.active(0) * places);
        assert!(match upstream {
            Upstream::Last(values) | Upstream::Every(values) =>
                values.len() >= layout.active(0) * places,
            Upstream::Each(values) => values.len() >= layout.tokens() * places,
        });
        assert!(memory_upstream.is_none_or(|values| values.len() >= layout.tokens() * places));
        let memory = trace.memory.as_ptr();
        let carry = carry.as_mut_ptr();
        for step in (0..layout.steps()).rev() {
            let (start, next_start) = (layout.start(step), layout.start(step + 1));
            let (active, next_active) = (layout.active(step), layout.active(step + 1));
            let (here, later) = trace.gates.split_at_mut(next_start * wide);
            let here = here[start * wide..].as_mut_ptr();
            macro_rules! columns {
                ($block:ident, $N:literal) => {
                    for (tile_rows, goes_on) in
                        [(0..next_active, true), (next_active..active, false)]
                    {
                        for_row_tiles!(S, tile_rows, |row, M| {
                            let mut tile = [[simd.splat_f32s(0.0); $N]; M];
                            if goes_on {
                                for (offset, depth) in cell.depths() {
                                    let left = Left {
                                        values: &later[row * wide + offset..],
                                        row: wide,
                                        step: 1,
                                    };
                                    let at = ($block * wide + offset * $N) * lanes;
                                    let right = Right {
                                        values: &cell.recurrent_back[at..],
                                        step: $N * lanes,
                                    };
                                    tile = multiply_add::<S, M, $N>(simd, tile, left, right, depth);
                                }
                            }
                            for m in 0..M {
                                for n in 0..$N {
                                    let unit = ($block + n) * lanes;
                                    let at = (row + m) * places + unit;
                                    // SAFETY: row + m < active and $block + n < places / lanes, for
                                    // which all buffers have room, as asserted above.
                                    unsafe {
                                        let mut dh = tile[m][n];
                                        match upstream {
                                            Upstream::Last(values) => {
                                                if !goes_on {
                                                    dh = load::<S>(values.as_ptr(), at);
                                                }
                                            }
                                            Upstream::Every(values) => {
                                                dh = simd
                                                    .add_f32s(dh, load::<S>(values.as_ptr(), at));
                                            }
                                            Upstream::Each(values) => {
                                                let at = (start + row + m) * places + unit;
                                                dh = simd
                                                    .add_f32s(dh, load::<S>(values.as_ptr(), at));
                                            }
                                        }
                                        let z = (row + m) * wide + unit * GATES;
                                        let [i, f, g, o] =
                                            [0, 1, 2, 3].map(|n| load::<S>(here, z + n * lanes));
                                        let before = load::<S>(memory, start * places + at);
                                        let one = simd.splat_f32s(1.0);
                                        let ig = simd.mul_f32s(i, g);
                                        let tanh_c = tanh(simd, mul_add(simd, f, before, ig));
                                        let d_o = simd.mul_f32s(dh, tanh_c);
                                        let slope = negate_mul_add(simd, tanh_c, tanh_c, one);
                                        let mut dc = load::<S>(carry, at);
                                        if let Some(values) = memory_upstream {
                                            dc = simd.add_f32s(
                                                dc,
                                                load::<S>(values.as_ptr(), start * places + at),
                                            );
                                        }
                                        let dc = mul_add(simd, simd.mul_f32s(dh, o), slope, dc);
                                        store::<S>(carry, at, simd.mul_f32s(dc, f));
                                        let sigmoid_slope = |y| negate_mul_add(simd, y, y, y);
                                        let dz = [
                                            simd.mul_f32s(simd.mul_f32s(dc, g), sigmoid_slope(i)),
                                            simd.mul_f32s(
                                                simd.mul_f32s(dc, before),
                                                sigmoid_slope(f),
                                            ),
                                            simd.mul_f32s(
                                                simd.mul_f32s(dc, i),
                                                negate_mul_add(simd, g, g, one),
                                            ),
                                            simd.mul_f32s(d_o, sigmoid_slope(o)),
                                        ];
                                        for (n, dz) in dz.into_iter().enumerate() {
                                            store::<S>(here, z + n * lanes, dz);
                                        }
                                    }
                                }
                            }
                        });
                    }
                };
            }
            for (block, group) in groups(places / lanes) {
                match group {
                    4 => {
                        columns!(block, 4);
                    }
                    2 => {
                        columns!(block, 2);
                    }
                    _ => {
                        columns!(block, 1);
                    }
                }
            }
        }
    }
}

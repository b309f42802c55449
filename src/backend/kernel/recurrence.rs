//! One direction of one LSTM layer over a block of texts, forward and backward.

use pulp::{Simd, WithSimd};

use super::activation::{gates, tanh};
use super::cell::{Cell, GATES, groups};
use super::dense::backproject_tile;
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
pub struct ForwardCache {
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

impl ForwardCache {
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
    /// What [`ForwardCache::prepare`] made ready, with the first states.
    pub trace: &'a mut ForwardCache,
    /// Whether the first states are zero.
    pub fresh: bool,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { cell, layout, rows, projected, trace, fresh } = self;
        let lanes = S::F32_LANES;
        let (places, wide) = (cell.places, cell.wide());
        let (tokens, most_rows) = (layout.tokens(), layout.active(0));
        let keep = !trace.gates.is_empty();
        assert_eq!(cell.lanes, lanes);
        assert_eq!(rows.len(), tokens);
        assert!(rows.iter().all(|row| (*row as usize) < projected.len() / wide));
        assert!(trace.hidden.len() == tokens * places);
        assert!(trace.last_hidden.len() == most_rows * places);
        if keep {
            assert!(trace.gates.len() == tokens * wide && trace.memory.len() == tokens * places);
            assert!(trace.last_memory.len() == most_rows * places);
        } else {
            assert!(trace.memory.len() == most_rows * places);
        }
        for step in 0..layout.steps() {
            let (start, next_start) = (layout.start(step), layout.start(step + 1));
            let (active, next_active) = (layout.active(step), layout.active(step + 1));
            let (before, after) = trace.hidden.split_at_mut(next_start * places);
            let (memory_before, memory_after) = match keep {
                true => trace.memory.split_at_mut(next_start * places),
                false => trace.memory.split_at_mut(0),
            };
            let last = (trace.last_hidden.as_mut_ptr(), trace.last_memory.as_mut_ptr());
            let (hidden_out, memory_out) = (after.as_mut_ptr(), memory_after.as_mut_ptr());
            let step = ForwardStep {
                cell,
                projected,
                rows: &rows[start..next_start],
                hidden: &before[start * places..],
                memory: match keep {
                    true => memory_before[start * places..].as_ptr(),
                    false => memory_out.cast_const(),
                },
                depth: if step == 0 && fresh { 0 } else { cell.units },
                // SAFETY: the gates of all tokens are there, as asserted above.
                gates: keep.then(|| unsafe { trace.gates.as_mut_ptr().add(start * wide) }),
            };
            // Rows of which this is the last step go elsewhere; without gates only the latest cell
            // state is kept, where it was.
            let done = if keep { last } else { (last.0, memory_out) };
            for block in 0..places / lanes {
                for_row_tiles!(S, 0..next_active, |row, M| {
                    step.tile::<S, M>(simd, row, block, (hidden_out, memory_out));
                });
                for_row_tiles!(S, next_active..active, |row, M| {
                    step.tile::<S, M>(simd, row, block, done);
                });
            }
        }
    }
}

/// A step of all rows of a block.
struct ForwardStep<'a> {
    cell: &'a Cell,
    projected: &'a [f32],
    /// The row of `projected` for each row of the block, all of them there.
    rows: &'a [u32],
    /// The hidden states before the step, [rows, P].
    hidden: &'a [f32],
    /// The cell states before it, [rows, P].
    memory: *const f32,
    /// H, or 0 where the hidden states are zero.
    depth: usize,
    /// Where the gates go, [rows, 4P].
    gates: Option<*mut f32>,
}

impl ForwardStep<'_> {
    /// One vector of units of M rows; hidden and cell states go to `out`, [rows, P].
    #[inline(always)]
    fn tile<S: Simd, const M: usize>(
        &self,
        simd: S,
        row: usize,
        block: usize,
        out: (*mut f32, *mut f32),
    ) {
        let lanes = S::F32_LANES;
        let (places, wide, window) = (self.cell.places, self.cell.wide(), GATES * lanes);
        let mut tile = [[simd.splat_f32s(0.0); GATES]; M];
        for m in 0..M {
            let from = self.rows[row + m] as usize * wide + block * window;
            for n in 0..GATES {
                // SAFETY: every row of `rows` is there in `projected`.
                tile[m][n] = unsafe { load::<S>(self.projected.as_ptr(), from + n * lanes) };
            }
        }
        let left = Left { values: &self.hidden[row * places..], row: places, step: 1 };
        let packed = &self.cell.recurrent[block * self.cell.units * window..];
        let right = Right { values: packed, step: window };
        let tile = multiply_add::<S, M, GATES>(simd, tile, left, right, self.depth);
        for m in 0..M {
            let at = (row + m) * places + block * lanes;
            // SAFETY: the caller has as many rows everywhere, each of P numbers or 4P.
            unsafe {
                let (gates, c, h) = cell_forward(simd, tile[m], load::<S>(self.memory, at));
                store::<S>(out.0, at, h);
                store::<S>(out.1, at, c);
                if let Some(to) = self.gates {
                    let at = (row + m) * wide + block * window;
                    for n in 0..GATES {
                        store::<S>(to, at + n * lanes, gates[n]);
                    }
                }
            }
        }
    }
}

/// Forward, for a vector of units: from what the activations are taken of and the cell state the
/// gates, the new cell state and the hidden state.
#[inline(always)]
fn cell_forward<S: Simd>(
    simd: S,
    halved: [S::f32s; GATES],
    c: S::f32s,
) -> ([S::f32s; GATES], S::f32s, S::f32s) {
    let gates = gates(simd, halved);
    let [i, f, g, o] = gates;
    let c = mul_add(simd, f, c, simd.mul_f32s(i, g));
    (gates, c, simd.mul_f32s(o, tanh(simd, c)))
}

/// Backward, for a vector of units: from the gates, the cell state before the step and the
/// gradients dh and dc those of what the activations were taken of, and dc of the step before.
#[inline(always)]
fn cell_backward<S: Simd>(
    simd: S,
    [i, f, g, o]: [S::f32s; GATES],
    before: S::f32s,
    dh: S::f32s,
    dc: S::f32s,
) -> ([S::f32s; GATES], S::f32s) {
    let one = simd.splat_f32s(1.0);
    let tanh_c = tanh(simd, mul_add(simd, f, before, simd.mul_f32s(i, g)));
    let tanh_slope = negate_mul_add(simd, tanh_c, tanh_c, one);
    let dc = mul_add(simd, simd.mul_f32s(dh, o), tanh_slope, dc);
    let di = simd.mul_f32s(simd.mul_f32s(dc, g), negate_mul_add(simd, i, i, i));
    let df = simd.mul_f32s(simd.mul_f32s(dc, before), negate_mul_add(simd, f, f, f));
    let dg = simd.mul_f32s(simd.mul_f32s(dc, i), negate_mul_add(simd, g, g, one));
    let d_o = simd.mul_f32s(simd.mul_f32s(dh, tanh_c), negate_mul_add(simd, o, o, o));
    ([di, df, dg, d_o], simd.mul_f32s(dc, f))
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
    pub trace: &'a mut ForwardCache,
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
        let (places, wide) = (cell.places, cell.wide());
        let (tokens, most_rows) = (layout.tokens(), layout.active(0));
        assert_eq!(cell.lanes, S::F32_LANES);
        assert!(trace.gates.len() == tokens * wide && trace.memory.len() == tokens * places);
        assert!(carry.len() >= most_rows * places);
        assert!(match upstream {
            Upstream::Last(values) | Upstream::Every(values) => values.len() >= most_rows * places,
            Upstream::Each(values) => values.len() >= tokens * places,
        });
        assert!(memory_upstream.is_none_or(|values| values.len() >= tokens * places));
        for step in (0..layout.steps()).rev() {
            let (start, next_start) = (layout.start(step), layout.start(step + 1));
            let (active, next_active) = (layout.active(step), layout.active(step + 1));
            let (here, later) = trace.gates.split_at_mut(next_start * wide);
            let step = BackwardStep {
                cell,
                upstream,
                memory_upstream: memory_upstream.map(|values| &values[start * places..]),
                start,
                later,
                gates: here[start * wide..].as_mut_ptr(),
                memory: &trace.memory[start * places..],
                carry: carry.as_mut_ptr(),
            };
            for (block, group) in groups(places / S::F32_LANES) {
                match group {
                    4 => step.columns::<S, 4>(simd, block, active, next_active),
                    2 => step.columns::<S, 2>(simd, block, active, next_active),
                    _ => step.columns::<S, 1>(simd, block, active, next_active),
                }
            }
        }
    }
}

/// A step of all rows of a block, backwards.
struct BackwardStep<'a> {
    cell: &'a Cell,
    upstream: Upstream<'a>,
    /// [rows, P]
    memory_upstream: Option<&'a [f32]>,
    /// The token of row 0.
    start: usize,
    /// The gate gradients of the step behind, [rows that go on, 4P].
    later: &'a [f32],
    /// The gates, which become gradients, [rows, 4P].
    gates: *mut f32,
    /// The cell states before the step, [rows, P].
    memory: &'a [f32],
    /// dc, [rows, P].
    carry: *mut f32,
}

impl BackwardStep<'_> {
    /// N vectors of units of all rows; those before `next_active` go on.
    #[inline(always)]
    fn columns<S: Simd, const N: usize>(
        &self,
        simd: S,
        block: usize,
        active: usize,
        next_active: usize,
    ) {
        for_row_tiles!(S, 0..next_active, |row, M| {
            let (packed, later) =
                (&self.cell.recurrent_back, &self.later[row * self.cell.wide()..]);
            let tile = backproject_tile::<S, M, N>(simd, self.cell, packed, later, block);
            self.tile::<S, M, N>(simd, row, block, Some(tile));
        });
        for_row_tiles!(S, next_active..active, |row, M| {
            self.tile::<S, M, N>(simd, row, block, None);
        });
    }

    /// N vectors of units of M rows; `dh` is what the step behind sends back, where there is one.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        row: usize,
        block: usize,
        dh: Option<[[S::f32s; N]; M]>,
    ) {
        let lanes = S::F32_LANES;
        let places = self.cell.places;
        for m in 0..M {
            for n in 0..N {
                let unit = (block + n) * lanes;
                let at = (row + m) * places + unit;
                let z = (row + m) * self.cell.wide() + unit * GATES;
                // SAFETY: row + m is a row of the block and block + n a vector of its units, for
                // which the caller has seen that all buffers have room.
                unsafe {
                    let from = |values: &[f32], at: usize| load::<S>(values.as_ptr(), at);
                    let zero = simd.splat_f32s(0.0);
                    let sent = dh.map_or(zero, |dh| dh[m][n]);
                    let dh = match (self.upstream, dh) {
                        (Upstream::Last(_), Some(_)) => sent,
                        (Upstream::Last(values), None) => from(values, at),
                        (Upstream::Every(values), _) => simd.add_f32s(sent, from(values, at)),
                        (Upstream::Each(values), _) => {
                            simd.add_f32s(sent, from(values, self.start * places + at))
                        }
                    };
                    let mut dc = load::<S>(self.carry, at);
                    if let Some(values) = self.memory_upstream {
                        dc = simd.add_f32s(dc, from(values, at));
                    }
                    let gates = [0, 1, 2, 3].map(|gate| load::<S>(self.gates, z + gate * lanes));
                    let (dz, dc) = cell_backward(simd, gates, from(self.memory, at), dh, dc);
                    store::<S>(self.carry, at, dc);
                    for gate in 0..GATES {
                        store::<S>(self.gates, z + gate * lanes, dz[gate]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_rows_take_no_room() {
        let layout = Layout::new(&[4, 2, 2, 1]);
        assert_eq!((layout.steps(), layout.tokens()), (4, 9));
        assert_eq!([0, 1, 2, 3, 4].map(|step| layout.active(step)), [4, 3, 1, 1, 0]);
        assert_eq!([0, 1, 2, 3, 4].map(|step| layout.start(step)), [0, 4, 7, 8, 9]);
        let nothing = Layout::new(&[]);
        assert_eq!((nothing.steps(), nothing.tokens(), nothing.active(0)), (0, 0, 0));
    }
}

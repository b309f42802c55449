//! One direction of one LSTM layer over a block of texts, forward and backward.

use std::hint::black_box;
use std::marker::PhantomData;

use pulp::Simd;

use super::activation::{gates, tanh};
use super::buffer::Buffer;
use super::cell::{Cell, GATES, vector_groups};
use super::dense::input_gradient_tile;
use super::instructions::{mul_add, negate_mul_add};
use super::layout::{ForwardCache, Layout};
use super::operands::{OperandFormat, OperandRows, ProductOperation, Products};
use super::product::{Left, Right, for_row_tiles, load, multiply_add, store};

/// Product of U with the hidden states before a step.
pub(super) trait RecurrentProduct<S: Simd> {
    /// Prepares a step of all rows with these hidden states, [rows, P].
    fn begin_step(&mut self, simd: S, hidden: &[f32]);

    /// Returns the left operand of the step: hidden states, [rows, P], or what they were converted to.
    fn operand<'b>(&'b self, hidden: &'b [f32]) -> &'b [f32];

    /// Adds the product to z of one vector of units of M rows. `operand` is that of the step.
    fn add<const M: usize>(
        &self,
        simd: S,
        z: [[S::f32s; GATES]; M],
        operand: &[f32],
        row: usize,
        vector: usize,
    ) -> [[S::f32s; GATES]; M];
}

/// The product with the weights of a cell.
struct CellProduct<'a, P> {
    cell: &'a Cell,
    products: P,
    /// Hidden states of the step in words, if they must be converted.
    words: Buffer,
}

impl<S: Simd, P: Products<S>> RecurrentProduct<S> for CellProduct<'_, P> {
    #[inline(always)]
    fn begin_step(&mut self, _: S, hidden: &[f32]) {
        if self.products.converts() {
            let width = self.cell.padded_units;
            let count = hidden.len() / width;
            let rows = OperandRows { values: hidden, stride: width, count, width };
            self.products.convert_rows(rows, &mut self.words);
        }
    }

    #[inline(always)]
    fn operand<'b>(&'b self, hidden: &'b [f32]) -> &'b [f32] {
        let operand = if self.products.converts() { &self.words[..] } else { hidden };
        // If the compiler knows that it is one of two, the tiles of floats take twice as long.
        black_box(operand)
    }

    #[inline(always)]
    fn add<const M: usize>(
        &self,
        simd: S,
        z: [[S::f32s; GATES]; M],
        operand: &[f32],
        row: usize,
        vector: usize,
    ) -> [[S::f32s; GATES]; M] {
        let Self { cell, products, .. } = self;
        let (tile_width, depth) = (GATES * S::F32_LANES, products.words(cell.units));
        // A vector has a whole number of words.
        let row_stride = cell.padded_units / P::GROUP;
        let left = Left { values: &operand[row * row_stride..], row_stride, column_stride: 1 };
        let packed = &cell.recurrent.words[vector * depth * tile_width..];
        let right = Right { values: packed, row_stride: tile_width };
        multiply_add::<S, P, M, GATES>((simd, *products), z, left, right, depth)
    }
}

/// Forward pass over a block.
pub struct Forward<'a> {
    /// Weights U.
    pub cell: &'a Cell,
    /// Order of the tokens.
    pub layout: &'a Layout,
    /// Row of `projected` for each token.
    pub input_rows: &'a [u32],
    /// W x + b, [inputs, P/lanes, i f g o, lanes].
    pub projected: &'a [f32],
    /// Result, resized by [`ForwardCache::prepare`], with the initial states.
    pub cache: &'a mut ForwardCache,
    /// `true` if the initial states are zero.
    pub zero_initial_state: bool,
}

impl ProductOperation for Forward<'_> {
    fn format(&self) -> OperandFormat {
        self.cell.recurrent.format
    }

    #[inline(always)]
    fn compute<S: Simd, P: Products<S>>(self, simd: S, products: P) {
        let product = CellProduct { cell: self.cell, products, words: Buffer::take() };
        self.run(simd, product);
    }
}

impl Forward<'_> {
    /// Computes the pass with this product of U.
    #[inline(always)]
    pub(super) fn run<S: Simd>(self, simd: S, mut product: impl RecurrentProduct<S>) {
        let Self { cell, layout, input_rows, projected, cache, zero_initial_state } = self;
        let lanes = S::F32_LANES;
        let (padded_units, gates_width) = (cell.padded_units, cell.gates_width());
        let (tokens, rows) = (layout.tokens(), layout.active_rows(0));
        let keep_gates = !cache.gates.is_empty();
        assert_eq!(cell.lanes, lanes);
        assert_eq!(input_rows.len(), tokens);
        assert!(input_rows.iter().all(|row| (*row as usize) < projected.len() / gates_width));
        assert!(cache.hidden.len() == tokens * padded_units);
        assert!(cache.last_hidden.len() == rows * padded_units);
        if keep_gates {
            assert!(cache.gates.len() == tokens * gates_width);
            assert!(cache.cell_state.len() == tokens * padded_units);
            assert!(cache.last_cell_state.len() == rows * padded_units);
        } else {
            assert!(cache.cell_state.len() == rows * padded_units);
        }
        for step in 0..layout.steps() {
            let (offset, next_offset) = (layout.offset(step), layout.offset(step + 1));
            let (active, next_active) = (layout.active_rows(step), layout.active_rows(step + 1));
            let (hidden, next_hidden) = cache.hidden.split_at_mut(next_offset * padded_units);
            let (cell_state, next_cell_state) = match keep_gates {
                true => cache.cell_state.split_at_mut(next_offset * padded_units),
                false => cache.cell_state.split_at_mut(0),
            };
            let (next_hidden, next_cell_state) =
                (next_hidden.as_mut_ptr(), next_cell_state.as_mut_ptr());
            let last = (cache.last_hidden.as_mut_ptr(), cache.last_cell_state.as_mut_ptr());
            let hidden = &hidden[offset * padded_units..];
            let has_state = step > 0 || !zero_initial_state;
            if has_state {
                product.begin_step(simd, hidden);
            }
            let step = ForwardStep {
                cell,
                projected,
                input_rows: &input_rows[offset..next_offset],
                operand: product.operand(hidden),
                product: has_state.then_some(&product),
                cell_state: match keep_gates {
                    true => cell_state[offset * padded_units..].as_ptr(),
                    false => next_cell_state.cast_const(),
                },
                // SAFETY: `gates` has room for all tokens, as asserted above.
                gates: keep_gates
                    .then(|| unsafe { cache.gates.as_mut_ptr().add(offset * gates_width) }),
                simd: PhantomData,
            };
            // The final states of a row that ends here go to separate buffers. Without gates, the
            // cell state is updated in place.
            let last = if keep_gates { last } else { (last.0, next_cell_state) };
            for vector in 0..padded_units / lanes {
                for_row_tiles!(S, 0..next_active, |row, M| {
                    step.tile::<M>(simd, row, vector, (next_hidden, next_cell_state));
                });
                for_row_tiles!(S, next_active..active, |row, M| {
                    step.tile::<M>(simd, row, vector, last);
                });
            }
        }
    }
}

/// One step of all active rows.
struct ForwardStep<'a, S, Product> {
    cell: &'a Cell,
    projected: &'a [f32],
    /// Row of `projected` for each row of the block; all of them exist.
    input_rows: &'a [u32],
    /// Left operand of the product.
    operand: &'a [f32],
    /// Cell state before the step, [rows, P].
    cell_state: *const f32,
    /// Product of U; `None` if the hidden state is zero.
    product: Option<&'a Product>,
    /// Destination of the gates, [rows, 4P].
    gates: Option<*mut f32>,
    simd: PhantomData<S>,
}

impl<S: Simd, Product: RecurrentProduct<S>> ForwardStep<'_, S, Product> {
    /// Computes one vector of units of M rows and writes hidden and cell states to `out`, [rows, P]
    /// each.
    #[inline(always)]
    fn tile<const M: usize>(&self, simd: S, row: usize, vector: usize, out: (*mut f32, *mut f32)) {
        let lanes = S::F32_LANES;
        let (padded_units, gates_width) = (self.cell.padded_units, self.cell.gates_width());
        let tile_width = GATES * lanes;
        let mut tile = [[simd.splat_f32s(0.0); GATES]; M];
        for m in 0..M {
            let from = self.input_rows[row + m] as usize * gates_width + vector * tile_width;
            for n in 0..GATES {
                // SAFETY: `projected` has all rows that `input_rows` names.
                tile[m][n] = unsafe { load::<S>(self.projected.as_ptr(), from + n * lanes) };
            }
        }
        if let Some(product) = self.product {
            tile = product.add(simd, tile, self.operand, row, vector);
        }
        for m in 0..M {
            let at = (row + m) * padded_units + vector * lanes;
            // SAFETY: The caller's buffers all hold row + m, of P or 4P floats.
            unsafe {
                let (gates, c, h) = cell_forward(simd, tile[m], load::<S>(self.cell_state, at));
                store::<S>(out.0, at, h);
                store::<S>(out.1, at, c);
                if let Some(to) = self.gates {
                    let at = (row + m) * gates_width + vector * tile_width;
                    for n in 0..GATES {
                        store::<S>(to, at + n * lanes, gates[n]);
                    }
                }
            }
        }
    }
}

/// Forward pass of a vector of units. `halved` is z, halved for i, f and o; `c` is the cell state
/// before the step. Returns the gates, the new cell state and the new hidden state.
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

/// Backward pass of a vector of units, from the gates, the cell state before the step and the
/// gradients dh and dc. Returns dz and dc of the step before.
#[inline(always)]
fn cell_backward<S: Simd>(
    simd: S,
    [i, f, g, o]: [S::f32s; GATES],
    previous_c: S::f32s,
    dh: S::f32s,
    dc: S::f32s,
) -> ([S::f32s; GATES], S::f32s) {
    let one = simd.splat_f32s(1.0);
    let tanh_c = tanh(simd, mul_add(simd, f, previous_c, simd.mul_f32s(i, g)));
    let tanh_slope = negate_mul_add(simd, tanh_c, tanh_c, one);
    let dc = mul_add(simd, simd.mul_f32s(dh, o), tanh_slope, dc);
    let di = simd.mul_f32s(simd.mul_f32s(dc, g), negate_mul_add(simd, i, i, i));
    let df = simd.mul_f32s(simd.mul_f32s(dc, previous_c), negate_mul_add(simd, f, f, f));
    let dg = simd.mul_f32s(simd.mul_f32s(dc, i), negate_mul_add(simd, g, g, one));
    let d_o = simd.mul_f32s(simd.mul_f32s(dh, tanh_c), negate_mul_add(simd, o, o, o));
    ([di, df, dg, d_o], simd.mul_f32s(dc, f))
}

/// Gradient of the hidden states, without the part that arises in the recurrence itself.
#[derive(Clone, Copy)]
pub enum HiddenGradient<'a> {
    /// Gradient of the state after the last step of each row, [rows, P].
    LastStep(&'a [f32]),
    /// Gradient of the state after any step of a row, the same for all steps, [rows, P].
    SameForAllSteps(&'a [f32]),
    /// Gradient of the state after each step, [tokens, P].
    PerStep(&'a [f32]),
}

/// Backward pass over a block: turns the gates of the cache into the gradients of z.
pub struct Backward<'a> {
    /// Weights U.
    pub cell: &'a Cell,
    /// Order of the tokens.
    pub layout: &'a Layout,
    /// Gradient of the hidden states.
    pub hidden_gradient: HiddenGradient<'a>,
    /// Results of the forward pass.
    pub cache: &'a mut ForwardCache,
    /// Gradient of the cell state after each step, [tokens, P], without the part that arises in the
    /// recurrence itself.
    pub cell_gradient: Option<&'a [f32]>,
    /// Gradient dc, [rows, P]: zeros at the start, the gradient of the initial cell state at the end.
    pub carry: &'a mut [f32],
}

impl ProductOperation for Backward<'_> {
    fn format(&self) -> OperandFormat {
        self.cell.recurrent_transposed.format
    }

    #[inline(always)]
    fn compute<S: Simd, P: Products<S>>(self, simd: S, products: P) {
        let Self { cell, layout, hidden_gradient, cell_gradient, cache, carry } = self;
        let (padded_units, gates_width) = (cell.padded_units, cell.gates_width());
        let (tokens, rows) = (layout.tokens(), layout.active_rows(0));
        assert_eq!(cell.lanes, S::F32_LANES);
        assert!(cache.gates.len() == tokens * gates_width);
        assert!(cache.cell_state.len() == tokens * padded_units);
        assert!(carry.len() >= rows * padded_units);
        assert!(match hidden_gradient {
            HiddenGradient::LastStep(values) | HiddenGradient::SameForAllSteps(values) => {
                values.len() >= rows * padded_units
            }
            HiddenGradient::PerStep(values) => values.len() >= tokens * padded_units,
        });
        assert!(cell_gradient.is_none_or(|values| values.len() >= tokens * padded_units));
        let (with, mut words) = ((simd, products), Buffer::take());
        for step in (0..layout.steps()).rev() {
            let (offset, next_offset) = (layout.offset(step), layout.offset(step + 1));
            let (active, next_active) = (layout.active_rows(step), layout.active_rows(step + 1));
            let (gates, next_gradients) = cache.gates.split_at_mut(next_offset * gates_width);
            let (values, width) = (&*next_gradients, gates_width);
            let rows = OperandRows { values, stride: width, count: next_active, width };
            let (next_gradients, _) = rows.left(products, &mut words);
            let step = BackwardStep {
                cell,
                hidden_gradient,
                cell_gradient: cell_gradient.map(|values| &values[offset * padded_units..]),
                offset,
                next_gradients,
                gates: gates[offset * gates_width..].as_mut_ptr(),
                cell_state: &cache.cell_state[offset * padded_units..],
                carry: carry.as_mut_ptr(),
            };
            for (vector, group) in vector_groups(padded_units / S::F32_LANES) {
                match group {
                    4 => step.group::<S, P, 4>(with, vector, active, next_active),
                    2 => step.group::<S, P, 2>(with, vector, active, next_active),
                    _ => step.group::<S, P, 1>(with, vector, active, next_active),
                }
            }
        }
    }
}

/// One step of all active rows, backward.
struct BackwardStep<'a> {
    cell: &'a Cell,
    hidden_gradient: HiddenGradient<'a>,
    /// [rows, P].
    cell_gradient: Option<&'a [f32]>,
    /// Index of the first row's token.
    offset: usize,
    /// dz of the next step in words, [rows that continue, 4P in words].
    next_gradients: &'a [f32],
    /// Gates, which are replaced by dz, [rows, 4P].
    gates: *mut f32,
    /// Cell state before the step, [rows, P].
    cell_state: &'a [f32],
    /// dc, [rows, P].
    carry: *mut f32,
}

impl BackwardStep<'_> {
    /// Computes N vectors of units of all rows. The first `next_active` rows have a next step.
    #[inline(always)]
    fn group<S: Simd, P: Products<S>, const N: usize>(
        &self,
        (simd, products): (S, P),
        vector: usize,
        active: usize,
        next_active: usize,
    ) {
        for_row_tiles!(S, 0..next_active, |row, M| {
            let (cell, with) = (self.cell, (simd, products));
            let packed = &cell.recurrent_transposed.words[..];
            let gradients = &self.next_gradients[row * cell.gates_width() / P::GROUP..];
            let tile = input_gradient_tile::<S, P, M, N>(with, cell, packed, gradients, vector);
            self.tile::<S, M, N>(simd, row, vector, Some(tile));
        });
        for_row_tiles!(S, next_active..active, |row, M| {
            self.tile::<S, M, N>(simd, row, vector, None);
        });
    }

    /// Computes N vectors of units of M rows. `dh` is the gradient that the next step sends back, if
    /// there is one.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        row: usize,
        vector: usize,
        dh: Option<[[S::f32s; N]; M]>,
    ) {
        let lanes = S::F32_LANES;
        let padded_units = self.cell.padded_units;
        for m in 0..M {
            for n in 0..N {
                let unit = (vector + n) * lanes;
                let at = (row + m) * padded_units + unit;
                let z = (row + m) * self.cell.gates_width() + unit * GATES;
                // SAFETY: row + m is an active row and vector + n a vector of its units, for which
                // the caller has checked the lengths of all buffers.
                unsafe {
                    let from = |values: &[f32], at: usize| load::<S>(values.as_ptr(), at);
                    let zero = simd.splat_f32s(0.0);
                    let recurrent = dh.map_or(zero, |dh| dh[m][n]);
                    let dh = match (self.hidden_gradient, dh) {
                        (HiddenGradient::LastStep(_), Some(_)) => recurrent,
                        (HiddenGradient::LastStep(values), None) => from(values, at),
                        (HiddenGradient::SameForAllSteps(values), _) => {
                            simd.add_f32s(recurrent, from(values, at))
                        }
                        (HiddenGradient::PerStep(values), _) => {
                            simd.add_f32s(recurrent, from(values, self.offset * padded_units + at))
                        }
                    };
                    let mut dc = load::<S>(self.carry, at);
                    if let Some(values) = self.cell_gradient {
                        dc = simd.add_f32s(dc, from(values, at));
                    }
                    let gates = [0, 1, 2, 3].map(|gate| load::<S>(self.gates, z + gate * lanes));
                    let (dz, dc) = cell_backward(simd, gates, from(self.cell_state, at), dh, dc);
                    store::<S>(self.carry, at, dc);
                    for gate in 0..GATES {
                        store::<S>(self.gates, z + gate * lanes, dz[gate]);
                    }
                }
            }
        }
    }
}

//! Matrix products and sums over all rows of inputs or gradients at once.

use pulp::{Simd, WithSimd};

use super::buffer::Buffer;
use super::cell::{Cell, GATES, PackedWeights, vector_groups};
use super::operands::{OperandFormat, OperandRows, ProductOperation, Products};
use super::product::{Left, Right, for_row_tiles, load, multiply_add, store};

/// Computes W x + b for every row of inputs.
pub struct InputProjection<'a> {
    /// Weights W and b.
    pub cell: &'a Cell,
    /// [n, inputs], with `row_stride` floats from one row to the next.
    pub inputs: &'a [f32],
    /// Distance between rows of `inputs`.
    pub row_stride: usize,
    /// Result, [n, P/lanes, i f g o, lanes].
    pub projected: &'a mut [f32],
}

impl ProductOperation for InputProjection<'_> {
    fn format(&self) -> OperandFormat {
        self.cell.input.format
    }

    #[inline(always)]
    fn compute<S: Simd, P: Products<S>>(self, simd: S, products: P) {
        let Self { cell, inputs, row_stride, projected } = self;
        let lanes = S::F32_LANES;
        let (gates_width, tile_width) = (cell.gates_width(), GATES * lanes);
        assert!(cell.lanes == lanes && cell.bias.len() == gates_width);
        let (count, width) = (projected.len() / gates_width, cell.inputs);
        let mut words = Buffer::take();
        let rows = OperandRows { values: inputs, stride: row_stride, count, width };
        let (inputs, row_stride) = rows.left(products, &mut words);
        let depth = products.words(width);
        for vector in 0..gates_width / tile_width {
            let at = vector * tile_width;
            let right = Right { values: &cell.input.words[at * depth..], row_stride: tile_width };
            for_row_tiles!(S, 0..count, |first, M| {
                let mut tile = [[simd.splat_f32s(0.0); GATES]; M];
                for m in 0..M {
                    for n in 0..GATES {
                        // SAFETY: at + tile_width <= gates_width, the length of the bias.
                        tile[m][n] = unsafe { load::<S>(cell.bias.as_ptr(), at + n * lanes) };
                    }
                }
                let values = &inputs[first * row_stride..];
                let left = Left { values, row_stride, column_stride: 1 };
                let tile =
                    multiply_add::<S, P, M, GATES>((simd, products), tile, left, right, depth);
                for m in 0..M {
                    for n in 0..GATES {
                        let to = (first + m) * gates_width + at + n * lanes;
                        // SAFETY: first + m is a row of `projected`; at + tile_width <= gates_width.
                        unsafe { store::<S>(projected.as_mut_ptr(), to, tile[m][n]) };
                    }
                }
            });
        }
    }
}

/// Computes the gradient of the vectors that W or U was multiplied with: gate gradients [n, 4P] · W
/// or U.
pub struct InputGradient<'a> {
    /// Shape of the weights.
    pub cell: &'a Cell,
    /// [`Cell::input_transposed`] or [`Cell::recurrent_transposed`].
    pub packed: &'a PackedWeights,
    /// Gate gradients, [n, P/lanes, i f g o, lanes].
    pub gradients: &'a [f32],
    /// Result, [n, columns].
    pub inputs: &'a mut [f32],
    /// Number of columns, a multiple of the lanes.
    pub columns: usize,
}

impl ProductOperation for InputGradient<'_> {
    fn format(&self) -> OperandFormat {
        self.packed.format
    }

    #[inline(always)]
    fn compute<S: Simd, P: Products<S>>(self, simd: S, products: P) {
        let lanes = S::F32_LANES;
        let rows = self.gradients.len() / self.cell.gates_width();
        assert!(self.cell.lanes == lanes && self.columns.is_multiple_of(lanes));
        assert!(self.inputs.len() >= rows * self.columns);
        let mut words = Buffer::take();
        let mut this = self;
        let (values, width) = (this.gradients, this.cell.gates_width());
        let of_gradients = OperandRows { values, stride: width, count: rows, width };
        (this.gradients, _) = of_gradients.left(products, &mut words);
        let with = (simd, products);
        for (vector, group) in vector_groups(this.columns / lanes) {
            match group {
                4 => this.group::<S, P, 4>(with, vector, rows),
                2 => this.group::<S, P, 2>(with, vector, rows),
                _ => this.group::<S, P, 1>(with, vector, rows),
            }
        }
    }
}

impl InputGradient<'_> {
    /// Computes N vectors of columns of all rows, with gradients in words.
    #[inline(always)]
    fn group<S: Simd, P: Products<S>, const N: usize>(
        &mut self,
        with: (S, P),
        vector: usize,
        rows: usize,
    ) {
        let lanes = S::F32_LANES;
        for_row_tiles!(S, 0..rows, |first, M| {
            let gradients = &self.gradients[first * self.cell.gates_width() / P::GROUP..];
            let (cell, packed) = (self.cell, &self.packed.words[..]);
            let tile = input_gradient_tile::<S, P, M, N>(with, cell, packed, gradients, vector);
            for m in 0..M {
                for n in 0..N {
                    let to = (first + m) * self.columns + (vector + n) * lanes;
                    // SAFETY: first + m < rows, (vector + n + 1) * lanes <= columns.
                    unsafe { store::<S>(self.inputs.as_mut_ptr(), to, tile[m][n]) };
                }
            }
        });
    }
}

/// Multiplies M rows of gate gradients in words with N vectors of columns of a transposed packed matrix.
#[inline(always)]
pub fn input_gradient_tile<S: Simd, P: Products<S>, const M: usize, const N: usize>(
    (simd, products): (S, P),
    cell: &Cell,
    packed: &[f32],
    gradients: &[f32],
    vector: usize,
) -> [[S::f32s; N]; M] {
    // A vector has a whole number of words, so that the units of a gate start with one.
    let (lanes, row_stride) = (S::F32_LANES, cell.gates_width() / P::GROUP);
    let mut tile = [[simd.splat_f32s(0.0); N]; M];
    for (offset, depth) in cell.unit_ranges() {
        let (offset, depth) = (offset / P::GROUP, products.words(depth));
        let left = Left { values: &gradients[offset..], row_stride, column_stride: 1 };
        let packed = &packed[(vector * row_stride + offset * N) * lanes..];
        let right = Right { values: packed, row_stride: N * lanes };
        tile = multiply_add::<S, P, M, N>((simd, products), tile, left, right, depth);
    }
    tile
}

/// Adds leftᵀ · right to the gradient of a matrix: hidden states and gate gradients for U, inputs
/// and gate gradients for W.
pub struct WeightGradient<'a> {
    /// Gradient to add to, [K, columns].
    pub sum: &'a mut [f32],
    /// [n, K], with `left_stride` floats from one row to the next.
    pub left: &'a [f32],
    /// Distance between rows of `left`.
    pub left_stride: usize,
    /// [n, columns].
    pub right: &'a [f32],
    /// Number of rows of the gradient, K.
    pub depth: usize,
    /// Number of columns, a multiple of the lanes.
    pub columns: usize,
    /// Format to which both operands are converted.
    pub format: OperandFormat,
}

/// Number of words that are multiplied at a time, so that the columns in use fit into the L1 cache.
const CHUNK: usize = 64;

impl ProductOperation for WeightGradient<'_> {
    fn format(&self) -> OperandFormat {
        self.format
    }

    #[inline(always)]
    fn compute<S: Simd, P: Products<S>>(mut self, simd: S, products: P) {
        let (lanes, columns) = (S::F32_LANES, self.columns);
        assert!(columns.is_multiple_of(lanes) && self.sum.len() >= self.depth * columns);
        let count = self.right.len() / columns;
        let chunk = CHUNK * P::GROUP;
        let [mut left_words, mut right_words] = [(); 2].map(|()| Buffer::take());
        for first in (0..count).step_by(chunk) {
            let count = chunk.min(count - first);
            let Self { left, left_stride, right, depth, .. } = self;
            let (left, right) = (&left[first * left_stride..], &right[first * columns..]);
            let operands = match products.converts() {
                true => {
                    let rows =
                        OperandRows { values: left, stride: left_stride, count, width: depth };
                    products.convert_terms(rows, &mut left_words);
                    let rows =
                        OperandRows { values: right, stride: columns, count, width: columns };
                    products.convert_terms(rows, &mut right_words);
                    Operands { left: &left_words, left_stride: depth, right: &right_words }
                }
                false => Operands { left, left_stride, right },
            };
            let (with, words) = ((simd, products), products.words(count));
            for (vector, group) in vector_groups(columns / lanes) {
                let column = vector * lanes;
                match group {
                    4 => self.group::<S, P, 4>(with, operands, words, column),
                    2 => self.group::<S, P, 2>(with, operands, words, column),
                    _ => self.group::<S, P, 1>(with, operands, words, column),
                }
            }
        }
    }
}

/// Some rows of both operands of a [`WeightGradient`], in words.
#[derive(Clone, Copy)]
struct Operands<'a> {
    /// [words, K], with `left_stride` from one to the next.
    left: &'a [f32],
    left_stride: usize,
    /// [words, columns].
    right: &'a [f32],
}

impl WeightGradient<'_> {
    /// Adds some words of terms to N vectors of columns of the gradient.
    #[inline(always)]
    fn group<S: Simd, P: Products<S>, const N: usize>(
        &mut self,
        (simd, products): (S, P),
        Operands { left, left_stride, right }: Operands,
        words: usize,
        column: usize,
    ) {
        let columns = self.columns;
        let right = Right { values: &right[column..], row_stride: columns };
        for_row_tiles!(S, 0..self.depth, |k, M| {
            let mut tile = [[simd.splat_f32s(0.0); N]; M];
            let at = self.sum[k * columns + column..].as_mut_ptr();
            for m in 0..M {
                for n in 0..N {
                    // SAFETY: k + m < depth and column + N vectors <= columns, and `sum` holds depth * columns
                    // values, as the caller has asserted.
                    tile[m][n] = unsafe { load::<S>(at, m * columns + n * S::F32_LANES) };
                }
            }
            let left = Left { values: &left[k..], row_stride: 1, column_stride: left_stride };
            let tile = multiply_add::<S, P, M, N>((simd, products), tile, left, right, words);
            for m in 0..M {
                for n in 0..N {
                    // SAFETY: As for the load.
                    unsafe { store::<S>(at, m * columns + n * S::F32_LANES, tile[m][n]) };
                }
            }
        });
    }
}

/// Adds gradients to the rows of the inputs that they belong to: `sum[rows[i]] += gradients[i]`.
pub struct ScatterAdd<'a> {
    /// [rows, columns].
    pub sum: &'a mut [f32],
    /// Row of `sum` for each gradient, [n].
    pub rows: &'a [u32],
    /// [n, columns].
    pub gradients: &'a [f32],
    /// Number of columns, a multiple of the lanes.
    pub columns: usize,
}

impl WithSimd for ScatterAdd<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sum, rows, gradients, columns } = self;
        for (row, gradient) in rows.iter().zip(gradients.chunks_exact(columns)) {
            let to = &mut sum[*row as usize * columns..][..columns];
            let (to, _) = S::as_mut_simd_f32s(to);
            let (gradient, _) = S::as_simd_f32s(gradient);
            for (to, gradient) in to.iter_mut().zip(gradient) {
                *to = simd.add_f32s(*to, *gradient);
            }
        }
    }
}

/// Adds the gate gradients of all rows to the gradient of a bias: `sum[j] += Σ rows[i][j]`.
pub struct BiasGradient<'a> {
    /// Gradient to add to, [columns], a multiple of the lanes.
    pub sum: &'a mut [f32],
    /// Gate gradients, [n, columns].
    pub rows: &'a [f32],
}

impl WithSimd for BiasGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (sum, _) = S::as_mut_simd_f32s(self.sum);
        for row in self.rows.chunks_exact(sum.len() * S::F32_LANES) {
            for (sum, value) in sum.iter_mut().zip(S::as_simd_f32s(row).0) {
                *sum = simd.add_f32s(*sum, *value);
            }
        }
    }
}

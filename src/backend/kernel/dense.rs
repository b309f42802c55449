//! Products with whole tables of inputs or gradients.

use pulp::{Simd, WithSimd};

use super::cell::{Cell, GATES, groups};
use super::product::{Left, Right, for_row_tiles, load, multiply_add, store};

/// W x + b for every row of a table of inputs.
pub struct Project<'a> {
    /// The weights W and b.
    pub cell: &'a Cell,
    /// [n, inputs], each row `row` behind the one before it.
    pub inputs: &'a [f32],
    /// How far each row lies behind the one before it.
    pub row: usize,
    /// [n, P/lanes, i f g o, lanes]
    pub projected: &'a mut [f32],
}

impl WithSimd for Project<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { cell, inputs, row, projected } = self;
        let lanes = S::F32_LANES;
        let (wide, window) = (cell.wide(), GATES * lanes);
        assert!(cell.lanes == lanes && cell.bias.len() == wide);
        for block in 0..wide / window {
            let at = block * window;
            let right = Right { values: &cell.input[at * cell.inputs..], step: window };
            for_row_tiles!(S, 0..projected.len() / wide, |first, M| {
                let mut tile = [[simd.splat_f32s(0.0); GATES]; M];
                for m in 0..M {
                    for n in 0..GATES {
                        // SAFETY: the bias has `wide` numbers.
                        tile[m][n] = unsafe { load::<S>(cell.bias.as_ptr(), at + n * lanes) };
                    }
                }
                let left = Left { values: &inputs[first * row..], row, step: 1 };
                let tile = multiply_add::<S, M, GATES>(simd, tile, left, right, cell.inputs);
                for m in 0..M {
                    for n in 0..GATES {
                        let to = (first + m) * wide + at + n * lanes;
                        // SAFETY: first + m is below the rows of `projected`, at + window <= wide.
                        unsafe { store::<S>(projected.as_mut_ptr(), to, tile[m][n]) };
                    }
                }
            });
        }
    }
}

/// The gradients of what a matrix was multiplied with: gate gradients [n, 4P] · Wᵀ or Uᵀ.
pub struct Backproject<'a> {
    /// The weights.
    pub cell: &'a Cell,
    /// The matrix as [`Cell::input_back`] or [`Cell::recurrent_back`] has it.
    pub packed: &'a [f32],
    /// [n, P/lanes, i f g o, lanes]
    pub gradients: &'a [f32],
    /// [n, columns in whole vectors]
    pub inputs: &'a mut [f32],
    /// The columns, whole vectors of them.
    pub columns: usize,
}

impl WithSimd for Backproject<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = S::F32_LANES;
        let rows = self.gradients.len() / self.cell.wide();
        assert!(self.cell.lanes == lanes && self.columns.is_multiple_of(lanes));
        assert!(self.inputs.len() >= rows * self.columns);
        let mut this = self;
        for (vector, group) in groups(this.columns / lanes) {
            match group {
                4 => this.columns::<S, 4>(simd, vector, rows),
                2 => this.columns::<S, 2>(simd, vector, rows),
                _ => this.columns::<S, 1>(simd, vector, rows),
            }
        }
    }
}

impl Backproject<'_> {
    /// N vectors of columns of all rows.
    #[inline(always)]
    fn columns<S: Simd, const N: usize>(&mut self, simd: S, vector: usize, rows: usize) {
        let lanes = S::F32_LANES;
        for_row_tiles!(S, 0..rows, |first, M| {
            let gradients = &self.gradients[first * self.cell.wide()..];
            let tile = backproject_tile::<S, M, N>(simd, self.cell, self.packed, gradients, vector);
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

/// M rows of gate gradients times N vectors of columns of a matrix that is packed for it.
#[inline(always)]
pub fn backproject_tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    cell: &Cell,
    packed: &[f32],
    gradients: &[f32],
    vector: usize,
) -> [[S::f32s; N]; M] {
    let (lanes, wide) = (S::F32_LANES, cell.wide());
    let mut tile = [[simd.splat_f32s(0.0); N]; M];
    for (offset, depth) in cell.depths() {
        let left = Left { values: &gradients[offset..], row: wide, step: 1 };
        let packed = &packed[(vector * wide + offset * N) * lanes..];
        let right = Right { values: packed, step: N * lanes };
        tile = multiply_add::<S, M, N>(simd, tile, left, right, depth);
    }
    tile
}

/// Adds leftᵀ · right to the gradient of a matrix: that of U from hidden states and gate
/// gradients, that of W from inputs and theirs.
pub struct Outer<'a> {
    /// [K, columns]
    pub sum: &'a mut [f32],
    /// [n, K]
    pub left: &'a [f32],
    /// How far each row of `left` lies behind the one before it.
    pub left_row: usize,
    /// [n, columns]
    pub right: &'a [f32],
    /// K.
    pub depth: usize,
    /// The columns, groups of four vectors.
    pub columns: usize,
}

/// Rows that are multiplied while the windows they are read through stay in the first-level cache.
const CHUNK: usize = 64;

impl WithSimd for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sum, left, left_row, right, depth, columns } = self;
        let window = GATES * S::F32_LANES;
        let count = right.len() / columns;
        assert!(columns.is_multiple_of(window) && sum.len() >= depth * columns);
        for first in (0..count).step_by(CHUNK) {
            let chunk = CHUNK.min(count - first);
            for column in (0..columns).step_by(window) {
                let right = Right { values: &right[first * columns + column..], step: columns };
                for_row_tiles!(S, 0..depth, |k, M| {
                    let mut tile = [[simd.splat_f32s(0.0); GATES]; M];
                    let at = sum[k * columns + column..].as_mut_ptr();
                    for m in 0..M {
                        for n in 0..GATES {
                            // SAFETY: k + m < depth, column + window <= columns: asserted above.
                            tile[m][n] = unsafe { load::<S>(at, m * columns + n * S::F32_LANES) };
                        }
                    }
                    let left =
                        Left { values: &left[first * left_row + k..], row: 1, step: left_row };
                    let tile = multiply_add::<S, M, GATES>(simd, tile, left, right, chunk);
                    for m in 0..M {
                        for n in 0..GATES {
                            // SAFETY: as above.
                            unsafe { store::<S>(at, m * columns + n * S::F32_LANES, tile[m][n]) };
                        }
                    }
                });
            }
        }
    }
}

/// Adds up gradients by input: `sum[rows[i]] += gradients[i]`, all rows `columns` wide.
pub struct Scatter<'a> {
    /// [rows, columns]
    pub sum: &'a mut [f32],
    /// For each gradient the row it is added to, [n].
    pub rows: &'a [u32],
    /// [n, columns]
    pub gradients: &'a [f32],
    /// The columns, whole vectors of them.
    pub columns: usize,
}

impl WithSimd for Scatter<'_> {
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

/// Adds up all rows: `sum[j] += Σ rows[i][j]`.
pub struct SumRows<'a> {
    /// [columns], whole vectors of them
    pub sum: &'a mut [f32],
    /// [n, as many as `sum` has]
    pub rows: &'a [f32],
}

impl WithSimd for SumRows<'_> {
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

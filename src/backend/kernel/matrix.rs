//! Products with a packed matrix, for any number of rows, columns and terms. Products with the weights of an
//! LSTM cell don't belong here: see `dense.rs` and `recurrence.rs`.

use pulp::Simd;

use super::aligned_vec::AlignedVec;
use super::buffer::Buffer;
use super::operands::{OperandFormat, OperandRows, ProductOperation, Products};
use super::product::{Left, Right, for_row_tiles, load, multiply_add, store};

/// Maximum number of vectors in a group of columns.
const GROUP: usize = 4;

/// Number of words that are multiplied at a time, so that the rows in use fit into the L1 cache.
const DEPTH: usize = 128;

/// The right operand [K, columns] of a product, packed for the register tiles. Columns are padded with zeros to whole
/// vectors.
#[derive(Default)]
pub struct PackedMatrix {
    depth: usize,
    padded_columns: usize,
    lanes: usize,
    format: OperandFormat,
    /// Groups of four vectors of columns, the last one of fewer: each is [K in words, group].
    words: AlignedVec,
}

impl PackedMatrix {
    /// Returns an empty matrix in this format.
    pub fn new(format: OperandFormat) -> Self {
        Self { format, ..Self::default() }
    }

    /// Number of columns with padding, a multiple of the lanes.
    pub fn padded_columns(&self) -> usize {
        self.padded_columns
    }

    /// Packs `factor` times the matrix with these rows, each `[columns]`, for vectors of `lanes` floats.
    pub fn pack_rows<'a>(
        &mut self,
        [depth, columns, lanes]: [usize; 3],
        factor: f32,
        row: impl Fn(usize) -> &'a [f32],
    ) {
        self.fill([depth, columns, lanes], |values, padded_columns| {
            for k in 0..depth {
                let row = &row(k)[..columns];
                for (first, width) in groups(padded_columns, lanes) {
                    let to = &mut values[first * depth + k * width..][..width];
                    let count = width.min(columns - first);
                    let (values, padding) = to.split_at_mut(count);
                    let from = &row[first..first + count];
                    values.iter_mut().zip(from).for_each(|(to, from)| *to = from * factor);
                    padding.fill(0.0);
                }
            }
        });
    }

    /// Packs `factor` times the matrix with these columns, each `[K]`, for vectors of `lanes` floats.
    pub fn pack_columns<'a>(
        &mut self,
        [depth, columns, lanes]: [usize; 3],
        factor: f32,
        column: impl Fn(usize) -> &'a [f32],
    ) {
        self.fill([depth, columns, lanes], |values, padded_columns| {
            for (first, width) in groups(padded_columns, lanes) {
                let group = &mut values[first * depth..][..width * depth];
                for index in 0..width {
                    let to = group[index..].iter_mut().step_by(width);
                    match first + index < columns {
                        true => {
                            let from = &column(first + index)[..depth];
                            to.zip(from).for_each(|(to, from)| *to = from * factor);
                        }
                        false => to.for_each(|to| *to = 0.0),
                    }
                }
            }
        });
    }

    /// Sets the shape, lets `pack` fill groups in single precision, given the number of columns with padding, and
    /// converts these.
    fn fill(&mut self, [depth, columns, lanes]: [usize; 3], pack: impl FnOnce(&mut [f32], usize)) {
        (self.depth, self.lanes) = (depth, lanes);
        let padded_columns = columns.next_multiple_of(lanes);
        self.padded_columns = padded_columns;
        self.words.resize(self.format.words(depth) * padded_columns);
        let widths = groups(padded_columns, lanes).map(|(_, width)| width);
        self.format.pack(&mut self.words, depth, widths, |values| pack(values, padded_columns));
    }
}

/// Cuts columns into groups, as (first column, number of columns).
fn groups(padded_columns: usize, lanes: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let width = GROUP * lanes;
    (0..padded_columns).step_by(width).map(move |first| (first, width.min(padded_columns - first)))
}

/// Computes left · right + bias.
pub struct Product<'a> {
    /// [n, K], with `left_stride` floats from one row to the next.
    pub left: &'a [f32],
    /// Distance between rows of `left`.
    pub left_stride: usize,
    /// [K, columns].
    pub right: &'a PackedMatrix,
    /// `[padded columns]`; empty if it is zero.
    pub bias: &'a [f32],
    /// Result, [n, padded columns], with `stride` floats from one row to the next.
    pub out: &'a mut [f32],
    /// Distance between rows of `out`.
    pub stride: usize,
    /// Number of rows, n.
    pub rows: usize,
}

impl ProductOperation for Product<'_> {
    fn format(&self) -> OperandFormat {
        self.right.format
    }

    #[inline(always)]
    fn compute<S: Simd, P: Products<S>>(self, simd: S, products: P) {
        let PackedMatrix { depth, padded_columns, lanes, .. } = *self.right;
        assert!(lanes == S::F32_LANES && self.stride >= padded_columns);
        assert!(self.bias.is_empty() || self.bias.len() >= padded_columns);
        if self.rows == 0 {
            return;
        }
        assert!(self.out.len() >= (self.rows - 1) * self.stride + padded_columns);
        let mut words = Buffer::take();
        let mut this = self;
        let (stride, count) = (this.left_stride, this.rows);
        let rows = OperandRows { values: this.left, stride, count, width: depth };
        (this.left, this.left_stride) = rows.left(products, &mut words);
        let (with, depth) = ((simd, products), products.words(depth));
        for (first, width) in groups(padded_columns, lanes) {
            for start in (0..depth).step_by(DEPTH) {
                let terms = start..depth.min(start + DEPTH);
                match width / lanes {
                    4 => this.group::<S, P, 4>(with, first, terms),
                    3 => this.group::<S, P, 3>(with, first, terms),
                    2 => this.group::<S, P, 2>(with, first, terms),
                    _ => this.group::<S, P, 1>(with, first, terms),
                }
            }
        }
    }
}

impl Product<'_> {
    /// Adds some words of terms to N vectors of columns of all rows, or starts from the bias with the first ones. The
    /// left operand is in words.
    #[inline(always)]
    fn group<S: Simd, P: Products<S>, const N: usize>(
        &mut self,
        (simd, products): (S, P),
        first: usize,
        terms: std::ops::Range<usize>,
    ) {
        let width = N * S::F32_LANES;
        let depth = products.words(self.right.depth);
        let values = &self.right.words[first * depth + terms.start * width..];
        let right = Right { values, row_stride: width };
        for_row_tiles!(S, 0..self.rows, |row, M| {
            let mut tile = [[simd.splat_f32s(0.0); N]; M];
            for m in 0..M {
                for n in 0..N {
                    let column = first + n * S::F32_LANES;
                    // SAFETY: row + m < rows, and the vector at `column` is within the padded columns, which the
                    // caller has checked both operands for.
                    unsafe {
                        if terms.start > 0 {
                            let at = (row + m) * self.stride + column;
                            tile[m][n] = load::<S>(self.out.as_ptr(), at);
                        } else if !self.bias.is_empty() {
                            tile[m][n] = load::<S>(self.bias.as_ptr(), column);
                        }
                    }
                }
            }
            let values = &self.left[row * self.left_stride + terms.start..];
            let left = Left { values, row_stride: self.left_stride, column_stride: 1 };
            let tile = multiply_add::<S, P, M, N>((simd, products), tile, left, right, terms.len());
            for m in 0..M {
                for n in 0..N {
                    let at = (row + m) * self.stride + first + n * S::F32_LANES;
                    // SAFETY: As for the load.
                    unsafe { store::<S>(self.out.as_mut_ptr(), at, tile[m][n]) };
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::kernel::Instructions;

    #[test]
    fn products_are_those_of_the_plain_matrices() {
        for instructions in Instructions::available() {
            let lanes = instructions.lanes();
            for [rows, depth, columns] in [[1, 1, 1], [13, 5, 7], [7, 300, 50], [6, 129, 112]] {
                let value = |seed: usize| ((seed * 37 % 101) as f32 - 50.0) / 50.0;
                let left_stride = depth + 3;
                let left: Vec<f32> = (0..rows * left_stride).map(value).collect();
                let right: Vec<f32> = (0..depth * columns).map(|at| value(at + 11)).collect();
                let bias: Vec<f32> = (0..columns.next_multiple_of(lanes)).map(value).collect();
                let transposed: Vec<f32> = (0..columns)
                    .flat_map(|column| (0..depth).map(move |k| (column, k)))
                    .map(|(column, k)| right[k * columns + column])
                    .collect();
                let shape = [depth, columns, lanes];
                let [mut by_rows, mut by_columns] = [0, 1].map(|_| PackedMatrix::default());
                by_rows.pack_rows(shape, 0.5, |k| &right[k * columns..][..columns]);
                by_columns.pack_columns(shape, 0.5, |column| &transposed[column * depth..]);
                assert_eq!(by_rows.words[..], by_columns.words[..]);
                let stride = by_rows.padded_columns() + lanes;
                let mut out = vec![f32::NAN; rows * stride];
                for bias in [&bias[..], &[]] {
                    instructions.multiply(Product {
                        left: &left,
                        left_stride,
                        right: &by_rows,
                        bias,
                        out: &mut out,
                        stride,
                        rows,
                    });
                    for row in 0..rows {
                        for column in 0..columns {
                            let terms = (0..depth).map(|k| {
                                left[row * left_stride + k] * right[k * columns + column] * 0.5
                            });
                            let sum: f32 = terms.sum();
                            let expected = sum + bias.get(column).unwrap_or(&0.0);
                            let actual = out[row * stride + column];
                            assert!((actual - expected).abs() < 2e-4, "{instructions}: {actual}");
                        }
                        let padding = &out[row * stride + columns..][..stride - columns - lanes];
                        let bias = bias.get(columns..).unwrap_or_default();
                        let is_bias = |(index, value): (usize, &f32)| {
                            *value == bias.get(index).copied().unwrap_or(0.0)
                        };
                        assert!(padding.iter().enumerate().all(is_bias), "{instructions}");
                    }
                }
            }
        }
    }
}

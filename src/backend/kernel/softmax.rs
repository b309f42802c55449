//! Softmax over the columns of a matrix of logits, its gradient, and the terms of single columns of each row. The
//! products that the logits come from don't belong here.

use pulp::{Simd, WithSimd};

use super::activation::exp_negative;
use super::instructions::mul_add;
use super::product::{load, store};

/// Loss and gradient of a softmax over the logits of a row and that of its target, which stands apart.
pub struct SoftmaxGradient<'a> {
    /// Logits, [n, stride], which are replaced by their gradients. A logit of −∞ has probability 0. Columns from
    /// `columns` on are ignored and become 0.
    pub logits: &'a mut [f32],
    /// Distance between rows of `logits`, a multiple of the lanes.
    pub stride: usize,
    /// Number of columns, a multiple of the lanes.
    pub columns: usize,
    /// Logit of the target of each row, `[n]`, which is replaced by its gradient.
    pub targets: &'a mut [f32],
    /// Factor of the gradients.
    pub factor: f32,
}

impl WithSimd for SoftmaxGradient<'_> {
    /// Sum of the losses of all rows, in nats.
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let Self { logits, stride, columns, targets, factor } = self;
        let lanes = S::F32_LANES;
        assert!(stride.is_multiple_of(lanes) && columns.is_multiple_of(lanes));
        assert!(columns <= stride);
        let mut loss = 0.0;
        for (row, target) in logits.chunks_exact_mut(stride).zip(targets) {
            let (used, unused) = row.split_at_mut(columns);
            unused.fill(0.0);
            let (row, _) = S::as_mut_simd_f32s(used);
            let max = max(simd, row).max(*target);
            let others = exponentials(simd, row, max);
            let own = (*target - max).exp();
            let sum = others + own;
            loss += f64::from(sum).ln() + f64::from(max - *target);
            let scale = simd.splat_f32s(factor / sum);
            for value in row {
                *value = simd.mul_f32s(*value, scale);
            }
            *target = -factor * (others / sum);
        }
        loss
    }
}

/// Adds a tile of the vocabulary to the sums of a softmax over all of it.
pub struct AddExponentials<'a> {
    /// Logits, [n, columns], which are overwritten. A logit of −∞ has probability 0.
    pub logits: &'a mut [f32],
    /// Number of columns, a multiple of the lanes.
    pub columns: usize,
    /// Largest logit of each row so far, `[n]`; −∞ at the start.
    pub max: &'a mut [f32],
    /// Sum of exp(logit − max) of each row so far, `[n]`.
    pub sum: &'a mut [f64],
}

impl WithSimd for AddExponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { logits, columns, max: largest, sum } = self;
        assert!(columns.is_multiple_of(S::F32_LANES));
        let rows = logits.chunks_exact_mut(columns).zip(largest.iter_mut().zip(sum));
        for (row, (largest, sum)) in rows {
            let (row, _) = S::as_mut_simd_f32s(row);
            let before = *largest;
            *largest = max(simd, row).max(before);
            let rescaled = *sum * f64::from(before - *largest).exp();
            *sum = rescaled + f64::from(exponentials(simd, row, *largest));
        }
    }
}

/// Returns the largest of some values.
#[inline(always)]
fn max<S: Simd>(simd: S, row: &[S::f32s]) -> f32 {
    let lowest = simd.splat_f32s(f32::NEG_INFINITY);
    let largest = row.iter().fold(lowest, |largest, value| simd.max_f32s(largest, *value));
    simd.reduce_max_f32s(largest)
}

/// Replaces x by exp(x − max). Returns the sum.
#[inline(always)]
fn exponentials<S: Simd>(simd: S, row: &mut [S::f32s], max: f32) -> f32 {
    let (max, mut sum) = (simd.splat_f32s(max), simd.splat_f32s(0.0));
    for value in row {
        *value = exp_negative(simd, simd.sub_f32s(*value, max));
        sum = simd.add_f32s(sum, *value);
    }
    simd.reduce_sum_f32s(sum)
}

/// Computes the products of each row of a matrix with a row of a table.
pub struct RowProducts<'a> {
    /// [n, size].
    pub left: &'a [f32],
    /// Row of the table for each row of `left`, `[n]`.
    pub rows: &'a [u32],
    /// [words, size].
    pub table: &'a [f32],
    /// Number of columns, a multiple of the lanes.
    pub size: usize,
    /// Added to each product, `[words]`.
    pub bias: &'a [f32],
    /// Result, `[n]`.
    pub products: &'a mut [f32],
}

impl WithSimd for RowProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { left, rows, table, size, bias, products } = self;
        let all = left.chunks_exact(size).zip(rows);
        for (product, (left, row)) in products.iter_mut().zip(all) {
            let row = *row as usize;
            let (left, _) = S::as_simd_f32s(left);
            let (right, _) = S::as_simd_f32s(&table[row * size..][..size]);
            let mut sum = simd.splat_f32s(0.0);
            for (a, b) in left.iter().zip(right) {
                sum = mul_add(simd, *a, *b, sum);
            }
            *product = simd.reduce_sum_f32s(sum) + bias[row];
        }
    }
}

/// Backward pass of [`RowProducts`]: adds to the gradients of both operands and of the bias.
pub struct RowProductsBackward<'a> {
    /// [n, size].
    pub left: &'a [f32],
    /// Row of the table for each row of `left`, `[n]`.
    pub rows: &'a [u32],
    /// [words, size].
    pub table: &'a [f32],
    /// Number of columns, a multiple of the lanes.
    pub size: usize,
    /// Gradient of each product, `[n]`.
    pub gradients: &'a [f32],
    /// Gradient of `left`, to add to.
    pub left_gradient: &'a mut [f32],
    /// Gradient of `table`, to add to.
    pub table_gradient: &'a mut [f32],
    /// Gradient of the bias, to add to, `[words]`.
    pub bias_gradient: &'a mut [f32],
}

impl WithSimd for RowProductsBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { left, rows, table, size, gradients, .. } = self;
        assert!(size.is_multiple_of(S::F32_LANES));
        let lefts = left.chunks_exact(size).zip(self.left_gradient.chunks_exact_mut(size));
        for ((left, left_gradient), (row, gradient)) in lefts.zip(rows.iter().zip(gradients)) {
            let row = *row as usize;
            let table = &table[row * size..][..size];
            let table_gradient = &mut self.table_gradient[row * size..][..size];
            let slope = simd.splat_f32s(*gradient);
            for at in (0..size).step_by(S::F32_LANES) {
                // SAFETY: All four slices have `size` floats, a multiple of the lanes.
                unsafe {
                    let add = |sum: &mut [f32], values: &[f32]| {
                        let (before, value) =
                            (load::<S>(sum.as_ptr(), at), load::<S>(values.as_ptr(), at));
                        store::<S>(sum.as_mut_ptr(), at, mul_add(simd, slope, value, before));
                    };
                    add(left_gradient, table);
                    add(table_gradient, left);
                }
            }
            self.bias_gradient[row] += gradient;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::kernel::Instructions;

    fn logits(count: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 31 % 47) as f32 - 20.0) / 3.0).collect()
    }

    #[test]
    fn gradients_are_those_of_a_plain_softmax() {
        for instructions in Instructions::available() {
            let columns = 2 * instructions.lanes();
            let stride = columns + instructions.lanes();
            let mut values = logits(3 * stride);
            values[5] = f32::NEG_INFINITY;
            let before = values.clone();
            let targets = [1.0, -30.0, 40.0];
            let mut slopes = targets;
            let loss = instructions.run(SoftmaxGradient {
                logits: &mut values,
                stride,
                columns,
                targets: &mut slopes,
                factor: 0.5,
            });
            let mut expected = 0.0;
            for row in 0..3 {
                let before = &before[row * stride..][..columns];
                let exp = |value: f32| f64::from(value).exp();
                let sum = before.iter().map(|value| exp(*value)).sum::<f64>() + exp(targets[row]);
                expected += sum.ln() - f64::from(targets[row]);
                let near = |actual: f32, expected: f64| {
                    let error = (f64::from(actual) - expected).abs();
                    assert!(error < 1e-6, "{instructions}: {actual} {expected}");
                };
                for (actual, logit) in values[row * stride..].iter().zip(before) {
                    near(*actual, 0.5 * exp(*logit) / sum);
                }
                near(slopes[row], 0.5 * (exp(targets[row]) / sum - 1.0));
                assert!(
                    values[row * stride + columns..][..stride - columns] == vec![0.0; columns / 2]
                );
            }
            assert!((loss - expected).abs() < 1e-4, "{instructions}: {loss} {expected}");
        }
    }

    #[test]
    fn tiles_add_up_to_the_whole_softmax() {
        for instructions in Instructions::available() {
            let columns = instructions.lanes();
            let values = logits(3 * columns);
            let (mut max, mut sum) = ([f32::NEG_INFINITY], [0.0]);
            for tile in values.chunks(columns) {
                instructions.run(AddExponentials {
                    logits: &mut tile.to_vec(),
                    columns,
                    max: &mut max,
                    sum: &mut sum,
                });
            }
            let expected: f64 = values.iter().map(|value| f64::from(*value).exp()).sum();
            let actual = sum[0].ln() + f64::from(max[0]);
            assert!((actual - expected.ln()).abs() < 1e-6, "{instructions}: {actual}");
        }
    }

    #[test]
    fn infinite_logits_make_the_loss_nan() {
        for instructions in Instructions::available() {
            for fault in [f32::NAN, f32::INFINITY] {
                let columns = instructions.lanes();
                let mut values = vec![0.0; columns];
                values[1] = fault;
                let loss = instructions.run(SoftmaxGradient {
                    logits: &mut values,
                    stride: columns,
                    columns,
                    targets: &mut [0.0],
                    factor: 1.0,
                });
                assert!(!loss.is_finite(), "{instructions}: {loss}");
            }
        }
    }
}

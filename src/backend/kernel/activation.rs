//! Hyperbolic tangent and sigmoid as ratios of polynomials, and the exponential function of softmax. Matrix
//! products don't belong here.
//!
//! tanh x ≈ x·P(x²) / Q(x²) for |x| ≤ 8, with P and Q of degree 4. The coefficients are a minimax fit
//! of the relative error, made for this file. Its error is 6.5e-9 in exact arithmetic, and 3.2e-7
//! (less than three units in the last place) in single precision, over all x. Beyond 8, the value at
//! 8 is used, which is within 2.3e-7 of 1. σ(z) = ½ + ½ tanh(z/2). There are no branches and no
//! tables, and four gates share a division.
//!
//! exp x = 2ⁿ · exp r with n = round(x / ln 2) and |r| ≤ ½ ln 2, where exp r is its Taylor series up to r⁷. Its
//! relative error is 5e-9 in exact arithmetic, and 1.8e-7 (three units in the last place) in single precision.

use pulp::Simd;

use super::instructions::{clamp, mul_add, negate_mul_add};

/// Magnitude of x beyond which tanh x is nearly ±1 in single precision.
const LIMIT: f32 = 8.0;
/// Coefficients of P, from the highest power of x² to the lowest.
const NUMERATOR: [f32; 5] = [1.523_036_8e-8, 2.189_462_6e-5, 0.003_571_596, 0.134_444_97, 1.0];
/// Coefficients of Q, in the same order.
const DENOMINATOR: [f32; 5] = [8.522_426_4e-7, 0.000_341_128_85, 0.026_164_435, 0.467_778_24, 1.0];

/// Returns the numerator and the denominator of tanh x.
#[inline(always)]
fn ratio<S: Simd>(simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
    let x = clamp(simd, x, LIMIT);
    let square = simd.mul_f32s(x, x);
    let numerator = polynomial(simd, NUMERATOR, square);
    (simd.mul_f32s(x, numerator), polynomial(simd, DENOMINATOR, square))
}

/// Evaluates a polynomial by Horner's rule.
#[inline(always)]
fn polynomial<S: Simd>(simd: S, coefficients: [f32; 5], x: S::f32s) -> S::f32s {
    let mut value = simd.splat_f32s(coefficients[0]);
    for coefficient in &coefficients[1..] {
        value = mul_add(simd, value, x, simd.splat_f32s(*coefficient));
    }
    value
}

/// Returns tanh x.
#[inline(always)]
pub fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let (numerator, denominator) = ratio(simd, x);
    simd.div_f32s(numerator, denominator)
}

/// Returns tanh of four vectors with one division. Each denominator is below 250, so their product
/// is far from overflow.
#[inline(always)]
fn tanh4<S: Simd>(simd: S, x: [S::f32s; 4]) -> [S::f32s; 4] {
    let (n0, d0) = ratio(simd, x[0]);
    let (n1, d1) = ratio(simd, x[1]);
    let (n2, d2) = ratio(simd, x[2]);
    let (n3, d3) = ratio(simd, x[3]);
    let (d01, d23) = (simd.mul_f32s(d0, d1), simd.mul_f32s(d2, d3));
    let inverse = simd.div_f32s(simd.splat_f32s(1.0), simd.mul_f32s(d01, d23));
    let (inverse01, inverse23) = (simd.mul_f32s(inverse, d23), simd.mul_f32s(inverse, d01));
    [
        simd.mul_f32s(n0, simd.mul_f32s(inverse01, d1)),
        simd.mul_f32s(n1, simd.mul_f32s(inverse01, d0)),
        simd.mul_f32s(n2, simd.mul_f32s(inverse23, d3)),
        simd.mul_f32s(n3, simd.mul_f32s(inverse23, d2)),
    ]
}

/// Returns the gates i, f, g, o from z_i/2, z_f/2, z_g, z_o/2. The packed weights of i, f and o are
/// already halved, as σ needs it.
#[inline(always)]
pub fn gates<S: Simd>(simd: S, halved: [S::f32s; 4]) -> [S::f32s; 4] {
    let [i, f, g, o] = tanh4(simd, halved);
    let half = simd.splat_f32s(0.5);
    [mul_add(simd, half, i, half), mul_add(simd, half, f, half), g, mul_add(simd, half, o, half)]
}

/// Input below which [`exp_negative`] returns 0; exp x is a normal number above it.
const SMALLEST_EXPONENT: f32 = -87.0;

/// Coefficients of the Taylor series of exp r, from r⁷ to r⁰.
const EXP: [f32; 8] =
    [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];

/// Returns exp x for x ≤ 0, and 0 for x < −87. NaN stays NaN.
#[inline(always)]
pub fn exp_negative<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// Added to a small number, rounds it to an integer and leaves this integer + 127, the bias of exponents, in the
    /// lowest bits.
    const ROUNDING: f32 = 12_582_912.0 + 127.0;
    /// ln 2 in two parts, of which the first has few digits: n times it is exact.
    const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];
    let rounding = simd.splat_f32s(ROUNDING);
    let shifted = mul_add(simd, x, simd.splat_f32s(std::f32::consts::LOG2_E), rounding);
    let n = simd.sub_f32s(shifted, rounding);
    let r = negate_mul_add(simd, n, simd.splat_f32s(LN_2[0]), x);
    let r = negate_mul_add(simd, n, simd.splat_f32s(LN_2[1]), r);
    let mut value = simd.splat_f32s(EXP[0]);
    for coefficient in &EXP[1..] {
        value = mul_add(simd, value, r, simd.splat_f32s(*coefficient));
    }
    let bits = simd.transmute_u32s_f32s(shifted);
    let power = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
    let value = simd.mul_f32s(value, simd.transmute_f32s_u32s(power));
    let is_small = simd.less_than_f32s(x, simd.splat_f32s(SMALLEST_EXPONENT));
    simd.select_f32s(is_small, simd.splat_f32s(0.0), value)
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::*;
    use crate::backend::kernel::Instructions;

    /// Computes tanh and the four gates of each input.
    struct Activations<'a> {
        inputs: &'a [f32],
        tanh: &'a mut [f32],
        gates: &'a mut [[f32; 4]],
    }

    impl WithSimd for Activations<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for ((input, out), four) in self.inputs.iter().zip(self.tanh).zip(self.gates) {
                let x = simd.splat_f32s(*input);
                *out = simd.reduce_max_f32s(tanh(simd, x));
                let half = simd.splat_f32s(input / 2.0);
                let values = gates(simd, [half, half, x, half]);
                for (to, value) in four.iter_mut().zip(values) {
                    *to = simd.reduce_max_f32s(value);
                }
            }
        }
    }

    #[test]
    fn activations_have_the_documented_error() {
        let inputs: Vec<f32> = (-200_000..=200_000)
            .map(|index| index as f32 / 8_000.0 * 1.01)
            .chain([0.0, 1e-20, 1e30])
            .collect();
        for instructions in Instructions::available() {
            let mut tanh = vec![0.0; inputs.len()];
            let mut gates = vec![[0.0; 4]; inputs.len()];
            instructions.run(Activations { inputs: &inputs, tanh: &mut tanh, gates: &mut gates });
            for ((x, tanh), [i, f, g, o]) in inputs.iter().zip(tanh).zip(gates) {
                let exact = f64::from(*x).tanh();
                let error = (f64::from(tanh) - exact).abs();
                assert!(
                    error <= 3.3e-7 * exact.abs(),
                    "{instructions}: tanh {x} is off by {error:e}"
                );
                // Sharing the division costs some precision.
                let error = (f64::from(g) - exact).abs();
                assert!(
                    error <= 6e-7 * exact.abs(),
                    "{instructions}: g of {x} is off by {error:e}"
                );
                let exact = 1.0 / (1.0 + (-f64::from(*x)).exp());
                for sigmoid in [i, f, o] {
                    let error = (f64::from(sigmoid) - exact).abs();
                    assert!(error <= 4e-7, "{instructions}: sigmoid {x} is off by {error:e}");
                }
            }
        }
    }

    /// Computes exp of each input.
    struct Exponentials<'a>(&'a [f32], &'a mut [f32]);

    impl WithSimd for Exponentials<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for (input, out) in self.0.iter().zip(self.1) {
                *out = simd.reduce_max_f32s(exp_negative(simd, simd.splat_f32s(*input)));
            }
        }
    }

    #[test]
    fn exponentials_have_the_documented_error() {
        let inputs: Vec<f32> = (0..=870_000).map(|index| index as f32 / -10_000.0).collect();
        for instructions in Instructions::available() {
            let mut values = vec![0.0; inputs.len()];
            instructions.run(Exponentials(&inputs, &mut values));
            let mut largest = 0.0_f64;
            for (x, value) in inputs.iter().zip(&values) {
                let exact = f64::from(*x).exp();
                largest = largest.max((f64::from(*value) - exact).abs() / exact);
            }
            assert!(largest <= 1.8e-7, "{instructions}: the error is {largest:e}");
            assert_eq!(values[0], 1.0);
            let mut limits = [1.0; 4];
            let inputs = [-87.1, -1e30, f32::NEG_INFINITY, f32::NAN];
            instructions.run(Exponentials(&inputs, &mut limits));
            assert_eq!(limits[..3], [0.0; 3], "{instructions}");
            assert!(limits[3].is_nan(), "{instructions}");
        }
    }

    #[test]
    fn nan_stays_nan() {
        for instructions in Instructions::available() {
            let (mut tanh, mut gates) = ([0.0], [[0.0; 4]]);
            instructions.run(Activations {
                inputs: &[f32::NAN],
                tanh: &mut tanh,
                gates: &mut gates,
            });
            assert!(
                tanh[0].is_nan() && gates[0].iter().all(|gate| gate.is_nan()),
                "{instructions}"
            );
        }
    }
}

//! Hyperbolic tangent and sigmoid as ratios of polynomials.
//!
//! tanh x ≈ x·P(x²) / Q(x²) for |x| ≤ 8, with P and Q of degree 4. The coefficients are a minimax fit
//! of the relative error, made for this file. Its error is 6.5e-9 in exact arithmetic, and 3.2e-7
//! (less than three units in the last place) in single precision, over all x. Beyond 8, the value at
//! 8 is used, which is within 2.3e-7 of 1. σ(z) = ½ + ½ tanh(z/2). There are no branches and no
//! tables, and four gates share a division.

use pulp::Simd;

use super::instructions::{clamp, mul_add};

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

//! The input projection with quantized weights.

use pulp::Simd;

use super::super::aligned_vec::AlignedVec;
use super::super::cell::GATES;
use super::super::instructions::mul_add;
use super::super::product::{for_row_tiles, load, store};
use super::cell::QuantizedCell;
use super::instructions::IntegerOperation;
use super::product::{Activations, IntegerProduct, LIMIT, lanes, multiply};

/// Scales of the inputs.
#[derive(Clone, Copy)]
pub enum InputScales<'a> {
    /// One for each row.
    Rows(&'a [f32]),
    /// 1/127 for all: the inputs are hidden states.
    HiddenStates,
}

/// Computes W x + b for every row of inputs.
pub struct QuantizedProjection<'a> {
    /// Weights W and b.
    pub cell: &'a QuantizedCell,
    /// Packed inputs, [n, `QuantizedCell::words(inputs)`].
    pub inputs: &'a [i32],
    /// Scales of the inputs.
    pub scales: InputScales<'a>,
    /// Result, [n, P/lanes, i f g o, lanes].
    pub projected: &'a mut [f32],
}

impl QuantizedProjection<'_> {
    /// Computes the projection.
    pub fn run(self) {
        self.cell.instructions.run(Operation(self));
    }
}

struct Operation<'a>(QuantizedProjection<'a>);

impl IntegerOperation for Operation<'_> {
    #[inline(always)]
    fn run<P: IntegerProduct>(self, product: P) {
        let QuantizedProjection { cell, inputs, scales, projected } = self.0;
        let (simd, lanes) = (product.simd(), lanes::<P>());
        let (gates_width, tile_width) = (cell.shape.gates_width(), GATES * lanes);
        let rows = projected.len() / gates_width;
        let activations = Activations { words: inputs, row_stride: cell.words(cell.shape.inputs) };
        assert_eq!(cell.shape.lanes, lanes);
        assert!(cell.bias.len() == gates_width && cell.input.scales.len() == gates_width);
        if let InputScales::Rows(scales) = scales {
            assert!(scales.len() >= rows);
        }
        for vector in 0..gates_width / tile_width {
            let (at, weights) = (vector * tile_width, cell.input.vector(vector, lanes));
            for_row_tiles!(P::Simd, 0..rows, |first, M| {
                let sums = multiply::<P, M>(product, activations, first, weights);
                for m in 0..M {
                    let scale = simd.splat_f32s(match scales {
                        InputScales::Rows(scales) => scales[first + m],
                        InputScales::HiddenStates => LIMIT.recip(),
                    });
                    for gate in 0..GATES {
                        let sum = simd.mul_f32s(product.to_floats(sums[m][gate]), scale);
                        let at = at + gate * lanes;
                        let to = (first + m) * gates_width + at;
                        // SAFETY: at + lanes <= gates_width, the length of scales and bias, and
                        // first + m is a row of `projected`.
                        unsafe {
                            let weight_scale = load::<P::Simd>(cell.input.scales.as_ptr(), at);
                            let bias = load::<P::Simd>(cell.bias.as_ptr(), at);
                            let z = mul_add(simd, sum, weight_scale, bias);
                            store::<P::Simd>(projected.as_mut_ptr(), to, z);
                        }
                    }
                }
            });
        }
    }
}

impl QuantizedCell {
    /// Quantizes hidden states, [rows, H in whole vectors], to activations for this cell. The states of other
    /// cells must have as many lanes.
    pub fn quantize_states(&self, states: &[f32], activations: &mut AlignedVec) {
        activations.resize(states.len() / self.instructions.group());
        let activations: &mut [i32] = bytemuck::cast_slice_mut(activations);
        self.instructions.run(Quantize { states, activations });
    }
}

struct Quantize<'a> {
    states: &'a [f32],
    activations: &'a mut [i32],
}

impl IntegerOperation for Quantize<'_> {
    #[inline(always)]
    fn run<P: IntegerProduct>(self, product: P) {
        quantize(product, self.states, self.activations);
    }
}

/// Rounds hidden states to multiples of 1/127, in whole vectors.
#[inline(always)]
pub fn quantize<P: IntegerProduct>(product: P, states: &[f32], activations: &mut [i32]) {
    let (simd, lanes) = (product.simd(), lanes::<P>());
    let words = lanes / P::GROUP;
    assert!(activations.len() >= states.len() / lanes * words);
    let limit = simd.splat_f32s(LIMIT);
    for vector in 0..states.len() / lanes {
        // SAFETY: Both have this number of whole vectors, as asserted.
        unsafe {
            let state = load::<P::Simd>(states.as_ptr(), vector * lanes);
            product
                .round(simd.mul_f32s(state, limit), activations.as_mut_ptr().add(vector * words));
        }
    }
}

//! The forward pass with quantized weights.

use pulp::Simd;

use super::super::aligned_vec::AlignedVec;
use super::super::cell::GATES;
use super::super::instructions::mul_add;
use super::super::product::load;
use super::super::recurrence::{Forward, RecurrentProduct};
use super::cell::{PackedMatrix, QuantizedCell};
use super::instructions::IntegerOperation;
use super::product::{Activations, IntegerProduct, lanes, multiply};
use super::projection::quantize;

/// Forward pass over a block with quantized weights.
pub struct QuantizedForward<'a> {
    /// Weights U.
    pub cell: &'a QuantizedCell,
    /// The pass. Its cell only has the shape of the quantized one.
    pub forward: Forward<'a>,
    /// Buffer for the quantized hidden states of a step.
    pub states: &'a mut AlignedVec,
}

impl QuantizedForward<'_> {
    /// Computes the pass.
    pub fn run(self) {
        self.cell.instructions.run(self);
    }
}

impl IntegerOperation for QuantizedForward<'_> {
    #[inline(always)]
    fn run<P: IntegerProduct>(self, product: P) {
        let Self { cell, forward, states } = self;
        let row_stride = cell.words(cell.shape.units);
        states.resize(forward.layout.active_rows(0) * row_stride);
        let states: &mut [i32] = bytemuck::cast_slice_mut(states);
        let quantized = QuantizedProduct { product, matrix: &cell.recurrent, states, row_stride };
        assert_eq!(cell.recurrent.scales.len(), forward.cell.gates_width());
        forward.run(product.simd(), quantized);
    }
}

/// The product of U with quantized hidden states.
struct QuantizedProduct<'a, P> {
    product: P,
    matrix: &'a PackedMatrix,
    /// Quantized hidden states of the step, [rows, `row_stride`].
    states: &'a mut [i32],
    row_stride: usize,
}

impl<P: IntegerProduct> RecurrentProduct<P::Simd> for QuantizedProduct<'_, P> {
    #[inline(always)]
    fn begin_step(&mut self, _: P::Simd, hidden: &[f32]) {
        quantize(self.product, hidden, self.states);
    }

    #[inline(always)]
    fn operand<'b>(&'b self, hidden: &'b [f32]) -> &'b [f32] {
        hidden
    }

    #[inline(always)]
    fn add<const M: usize>(
        &self,
        simd: P::Simd,
        z: [[<P::Simd as Simd>::f32s; GATES]; M],
        _: &[f32],
        row: usize,
        vector: usize,
    ) -> [[<P::Simd as Simd>::f32s; GATES]; M] {
        let (product, lanes) = (self.product, lanes::<P>());
        let activations = Activations { words: self.states, row_stride: self.row_stride };
        let sums = multiply::<P, M>(product, activations, row, self.matrix.vector(vector, lanes));
        let scales = &self.matrix.scales[vector * GATES * lanes..][..GATES * lanes];
        let mut z = z;
        for gate in 0..GATES {
            // SAFETY: `scales` has a vector for each gate.
            let scale = unsafe { load::<P::Simd>(scales.as_ptr(), gate * lanes) };
            for m in 0..M {
                z[m][gate] = mul_add(simd, product.to_floats(sums[m][gate]), scale, z[m][gate]);
            }
        }
        z
    }
}

//! Adversarial and random perturbation of the inputs of the LSTM over a block.

use pulp::{Simd, WithSimd};

use super::layers::Branch;
use super::workspace::Workspace;
use crate::backend::RandomSigns;
use crate::backend::kernel::mul_add;
use crate::backend::native::sharding::{SequenceBlock, ShardTexts};

impl Branch {
    /// Normalizes the gradient of the inputs over the block at index `block`, right after its backward
    /// pass: multiplies it by the standard deviation of each dimension, `[E]` in whole vectors. Adds
    /// the square of its norm over a text to that of its example.
    pub fn normalize_gradient(
        &self,
        texts: &ShardTexts,
        block: usize,
        work: &mut Workspace,
        deviations: &[f32],
        squares: &mut [f64],
    ) {
        let (block, gradient) = (&texts.blocks[block], &mut work.perturbation[..]);
        self.instructions.run(Normalize { block, gradient, deviations, squares });
    }

    /// Draws a random direction over the block at index `block`: in place of the normalized gradient, a
    /// sign for each component of each word vector. Adds the square of its norm over a text to that of
    /// its example. `positions` are those of the block's examples in the batch.
    pub fn draw_direction(
        &self,
        texts: &ShardTexts,
        block: usize,
        positions: &[u32],
        work: &mut Workspace,
        signs: RandomSigns,
        squares: &mut [f64],
    ) {
        let (block, size) = (&texts.blocks[block], self.input.embedding.size);
        work.perturbation.resize_zeroed(block.layout.tokens() * self.padded_embedding_size());
        for_each_vector(block, &mut work.perturbation, |step, row, vector| {
            let Some(word) = step.checked_sub(block.padding[row]) else { return };
            let (example, vector) = (block.order[row], &mut vector[..size]);
            for (index, values) in vector.chunks_mut(RandomSigns::BLOCK).enumerate() {
                let bits = signs.draw(self.input_index, positions[example], word, index);
                for (bit, value) in values.iter_mut().enumerate() {
                    *value = if bits >> bit & 1 == 1 { 1.0 } else { -1.0 };
                }
            }
            squares[example] += size as f64;
        });
    }

    /// Turns the normalized gradient or the random direction into the perturbation: multiplies it by the
    /// standard deviations, and by the factor of each example.
    pub fn perturb(
        &self,
        texts: &ShardTexts,
        block: usize,
        work: &mut Workspace,
        deviations: &[f32],
        factors: &[f32],
    ) {
        let (block, gradient) = (&texts.blocks[block], &mut work.perturbation[..]);
        self.instructions.run(Scale { block, gradient, deviations, factors });
    }
}

/// Calls `visit` with step, row and vector of each token of a block.
#[inline(always)]
fn for_each_vector(
    block: &SequenceBlock,
    vectors: &mut [f32],
    mut visit: impl FnMut(usize, usize, &mut [f32]),
) {
    let layout = &block.layout;
    let mut vectors = vectors.chunks_exact_mut(vectors.len() / layout.tokens().max(1));
    for step in 0..layout.steps() {
        for (row, vector) in (0..layout.active_rows(step)).zip(&mut vectors) {
            visit(step, row, vector);
        }
    }
}

struct Normalize<'a> {
    block: &'a SequenceBlock,
    gradient: &'a mut [f32],
    deviations: &'a [f32],
    /// Sum of squares of each example.
    squares: &'a mut [f64],
}

impl WithSimd for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { block, gradient, deviations, squares } = self;
        let (deviations, _) = S::as_simd_f32s(deviations);
        for_each_vector(block, gradient, |step, row, vector| {
            if step < block.padding[row] {
                vector.fill(0.0);
                return;
            }
            let mut sum = simd.splat_f32s(0.0);
            for (value, deviation) in S::as_mut_simd_f32s(vector).0.iter_mut().zip(deviations) {
                *value = simd.mul_f32s(*value, *deviation);
                sum = mul_add(simd, *value, *value, sum);
            }
            squares[block.order[row]] += f64::from(simd.reduce_sum_f32s(sum));
        });
    }
}

struct Scale<'a> {
    block: &'a SequenceBlock,
    gradient: &'a mut [f32],
    deviations: &'a [f32],
    /// Factor of each example.
    factors: &'a [f32],
}

impl WithSimd for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { block, gradient, deviations, factors } = self;
        for_each_vector(block, gradient, |_, row, vector| {
            let factor = factors[block.order[row]];
            let values = vector.iter_mut().zip(deviations);
            values.for_each(|(value, deviation)| *value *= factor * deviation);
        });
    }
}

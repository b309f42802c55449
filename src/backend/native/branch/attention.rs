//! Attention over the hidden states of a text, for pooling.
//!
//! A state h_t has the score q · h_t, with a trained query q. Its weight α_t is the softmax of the scores
//! over the real tokens of its text, and the pooled vector is Σ α_t h_t. h_t and q consist of both
//! directions. With g as the gradient of the pooled vector, the gradient of a score is
//! α_t (g · h_t − Σ α_s g · h_s), and that of h_t is α_t g plus q times the gradient of its score.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::layers::{Branch, PooledGradient, for_each_state, text_token};
use super::workspace::Attention;
use crate::backend::kernel::{ForwardCache, mul_add};
use crate::backend::native::sharding::SequenceBlock;
use crate::config::Pooling;

impl Branch {
    /// Computes the weights of the tokens of a block.
    pub(super) fn attend(
        &self,
        block: &SequenceBlock,
        caches: &[ForwardCache],
        attention: &mut Attention,
    ) {
        let (units, weights) = (self.input.lstm.units, &mut attention.weights);
        let query = |direction: usize, _| &self.query[direction * units..][..units];
        self.products(block, caches, query, weights);
        for row in 0..block.order.len() {
            softmax(block, row, weights);
        }
    }

    /// Computes the gradients of the scores from that of the pooled features.
    pub(super) fn attend_backward(
        &self,
        block: &SequenceBlock,
        caches: &[ForwardCache],
        attention: &mut Attention,
        pooled: PooledGradient,
    ) {
        let units = self.input.lstm.units;
        let before = self.input.pooling.iter().take_while(|each| **each != Pooling::Attention);
        let offset = pooled.offset + before.count() * self.input.state_size();
        let gradient = |direction: usize, row: usize| {
            let offset = offset + direction * units;
            PooledGradient { offset, ..pooled }.gradient(block, row, units)
        };
        let Attention { weights, score_gradients, .. } = attention;
        self.products(block, caches, gradient, score_gradients);
        for row in 0..block.order.len() {
            let tokens = || (0..block.lengths[row]).map(|step| block.layout.offset(step) + row);
            let mean: f32 = tokens().map(|token| weights[token] * score_gradients[token]).sum();
            for token in tokens() {
                score_gradients[token] = weights[token] * (score_gradients[token] - mean);
            }
        }
    }

    /// Computes the product of each token's hidden state, of both directions, with a vector.
    /// `vector(direction, row)` is that of the tokens of a row.
    fn products<'a>(
        &self,
        block: &SequenceBlock,
        caches: &[ForwardCache],
        vector: impl Fn(usize, usize) -> &'a [f32],
        products: &mut Vec<f32>,
    ) {
        products.clear();
        products.resize(block.layout.tokens(), 0.0);
        for (direction, cache) in caches.iter().enumerate() {
            let (padded_units, vector) = (self.padded_units(), |row| vector(direction, row));
            self.instructions.run(AddProducts {
                block,
                direction,
                cache,
                padded_units,
                vector,
                sums: products,
            });
        }
    }
}

/// Replaces the scores of a row by their softmax over its real tokens, and those of padding by 0.
fn softmax(block: &SequenceBlock, row: usize, scores: &mut [f32]) {
    let tokens = |steps: Range<usize>| steps.map(|step| block.layout.offset(step) + row);
    let (padding, length) = (block.padding[row], block.lengths[row]);
    tokens(0..padding).for_each(|token| scores[token] = 0.0);
    let real = || tokens(padding..length);
    let largest = real().map(|token| scores[token]).fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for token in real() {
        scores[token] = (scores[token] - largest).exp();
        sum += scores[token];
    }
    real().for_each(|token| scores[token] /= sum);
}

/// Adds the product of each hidden state of one direction with a vector to the sum of its token.
struct AddProducts<'a, Vector> {
    block: &'a SequenceBlock,
    direction: usize,
    cache: &'a ForwardCache,
    padded_units: usize,
    /// Returns the vector `[H]` of a row.
    vector: Vector,
    /// Sum of each token of the text, [tokens].
    sums: &'a mut [f32],
}

impl<'a, Vector: Fn(usize) -> &'a [f32]> WithSimd for AddProducts<'_, Vector> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { block, direction, cache, padded_units, vector, sums } = self;
        for_each_state(block, cache, padded_units, |_, row, token, state| {
            sums[text_token(block, direction, token)] += dot(simd, vector(row), state);
        });
    }
}

/// Returns the product of a vector with the first components of a state.
#[inline(always)]
fn dot<S: Simd>(simd: S, vector: &[f32], state: &[f32]) -> f32 {
    let (vectors, rest) = S::as_simd_f32s(vector);
    let (states, rest_of_state) = S::as_simd_f32s(&state[..vector.len()]);
    let mut sum = simd.splat_f32s(0.0);
    for (a, b) in vectors.iter().zip(states) {
        sum = mul_add(simd, *a, *b, sum);
    }
    if !rest.is_empty() {
        let [a, b] = [rest, rest_of_state].map(|rest| simd.partial_load_f32s(rest));
        sum = mul_add(simd, a, b, sum);
    }
    simd.reduce_sum_f32s(sum)
}

//! Pooling of the hidden states of a block over time, forward and backward.
//!
//! The features of a text are those of each configured pooling in turn. Those of a pooling are those of
//! the forward direction, followed by those of the backward direction.

use pulp::{Simd, WithSimd};

use super::layers::{Branch, Pooled, PooledGradient, for_each_state, text_token};
use super::workspace::{Attention, LayerBuffers};
use crate::backend::kernel::{AlignedVec, ForwardCache};
use crate::backend::native::sharding::SequenceBlock;
use crate::config::Pooling;

/// Form of the gradient of a layer's hidden states, as in
/// [`HiddenGradient`](crate::backend::kernel::HiddenGradient).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum GradientForm {
    LastStep,
    SameForAllSteps,
    PerStep,
}

impl Branch {
    /// Pools the states of the top layer. Writes the weights of the tokens to `attention`.
    pub(super) fn pool(
        &self,
        block: &SequenceBlock,
        caches: &[ForwardCache],
        attention: &mut Attention,
        pooled: Pooled,
    ) {
        if self.input.has_attention() {
            self.attend(block, caches, attention);
        }
        let Pooled { features, stride, offset } = pooled;
        let weights = &attention.weights;
        for (direction, cache) in caches.iter().enumerate() {
            let offset = offset + direction * self.input.lstm.units;
            let pooled = Pooled { features, stride, offset };
            self.instructions.run(Pool { branch: self, block, direction, cache, weights, pooled });
        }
    }

    /// Computes the gradient of the hidden states of the top layer from that of the pooled features.
    /// Adds the gradient of the query to `attention`.
    pub(super) fn pool_backward(
        &self,
        block: &SequenceBlock,
        top: &mut LayerBuffers,
        attention: &mut Attention,
        pooled: PooledGradient,
    ) -> GradientForm {
        let form = self.pooled_gradient_form(block);
        if self.input.has_attention() {
            self.attend_backward(block, &top.caches, attention, pooled);
        }
        let directions = top.caches.iter().zip(&mut top.hidden_gradient).enumerate();
        for (direction, (cache, hidden_gradient)) in directions {
            let offset = pooled.offset + direction * self.input.lstm.units;
            let pooled = PooledGradient { offset, ..pooled };
            match form {
                GradientForm::PerStep => self.instructions.run(PoolBackward {
                    branch: self,
                    block,
                    direction,
                    cache,
                    attention,
                    pooled,
                    hidden_gradient,
                }),
                form => self.rows_backward(block, form, pooled, hidden_gradient),
            }
        }
        form
    }

    fn pooled_gradient_form(&self, block: &SequenceBlock) -> GradientForm {
        let unpadded = || block.padding.iter().all(|padding| *padding == 0);
        match self.input.pooling[..] {
            [Pooling::Last] => GradientForm::LastStep,
            [Pooling::Mean] if unpadded() => GradientForm::SameForAllSteps,
            _ => GradientForm::PerStep,
        }
    }

    /// Computes the gradient of one state per row: the last state, or every state of the mean.
    fn rows_backward(
        &self,
        block: &SequenceBlock,
        form: GradientForm,
        pooled: PooledGradient,
        hidden_gradient: &mut AlignedVec,
    ) {
        let (units, padded_units) = (self.input.lstm.units, self.padded_units());
        hidden_gradient.resize_zeroed(block.order.len() * padded_units);
        for (row, to) in hidden_gradient.chunks_exact_mut(padded_units).enumerate() {
            let share = match form {
                GradientForm::LastStep => 1.0,
                _ => 1.0 / block.lengths[row] as f32,
            };
            let gradient = pooled.gradient(block, row, units);
            to.iter_mut().zip(gradient).for_each(|(to, gradient)| *to = gradient * share);
        }
    }
}

/// Pools the states of one direction.
struct Pool<'a> {
    branch: &'a Branch,
    block: &'a SequenceBlock,
    direction: usize,
    cache: &'a ForwardCache,
    /// Attention weight of each token of the text.
    weights: &'a [f32],
    /// Features of the first pooling of this direction.
    pooled: Pooled<'a>,
}

impl WithSimd for Pool<'_> {
    type Output = ();

    /// The compiler vectorizes these plain loops inside [`WithSimd`].
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { branch, block, direction, cache, weights, pooled } = self;
        let Pooled { features, stride, offset } = pooled;
        let (units, padded_units) = (branch.input.lstm.units, branch.padded_units());
        let rows = block.order.len();
        for (index, pooling) in branch.input.pooling.iter().enumerate() {
            let offset = offset + index * branch.input.state_size();
            let feature = |row: usize| block.order[row] * stride + offset;
            let start = if *pooling == Pooling::Max { f32::NEG_INFINITY } else { 0.0 };
            (0..rows).for_each(|row| features[feature(row)..][..units].fill(start));
            match pooling {
                Pooling::Last => {
                    for row in 0..rows {
                        let last = &cache.last_hidden[row * padded_units..][..units];
                        features[feature(row)..][..units].copy_from_slice(last);
                    }
                }
                Pooling::Mean => {
                    for_each_state(block, cache, padded_units, |step, row, _, state| {
                        if branch.pooled_steps(block, direction, row).contains(&step) {
                            let sum = &mut features[feature(row)..][..units];
                            sum.iter_mut().zip(state).for_each(|(sum, state)| *sum += state);
                        }
                    });
                    for row in 0..rows {
                        let share = 1.0 / branch.pooled_steps(block, direction, row).len() as f32;
                        features[feature(row)..][..units].iter_mut().for_each(|sum| *sum *= share);
                    }
                }
                Pooling::Max => {
                    for_each_state(block, cache, padded_units, |step, row, _, state| {
                        if branch.pooled_steps(block, direction, row).contains(&step) {
                            let largest = &mut features[feature(row)..][..units];
                            // NaN stays NaN.
                            largest.iter_mut().zip(state).for_each(|(largest, state)| {
                                if *state > *largest || state.is_nan() {
                                    *largest = *state;
                                }
                            });
                        }
                    });
                }
                Pooling::Attention => {
                    for_each_state(block, cache, padded_units, |_, row, token, state| {
                        let weight = weights[text_token(block, direction, token)];
                        let sum = &mut features[feature(row)..][..units];
                        sum.iter_mut().zip(state).for_each(|(sum, state)| *sum += weight * state);
                    });
                }
            }
        }
    }
}

/// Computes the gradient of each state of one direction from that of the pooled features.
struct PoolBackward<'a> {
    branch: &'a Branch,
    block: &'a SequenceBlock,
    direction: usize,
    cache: &'a ForwardCache,
    attention: &'a mut Attention,
    /// Features of the first pooling of this direction.
    pooled: PooledGradient<'a>,
    /// Result, [tokens, P].
    hidden_gradient: &'a mut AlignedVec,
}

impl WithSimd for PoolBackward<'_> {
    type Output = ();

    /// The compiler vectorizes these plain loops inside [`WithSimd`].
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { branch, block, direction, cache, attention, pooled, hidden_gradient } = self;
        let (units, padded_units) = (branch.input.lstm.units, branch.padded_units());
        hidden_gradient.resize_zeroed(block.layout.tokens() * padded_units);
        for (index, pooling) in branch.input.pooling.iter().enumerate() {
            let offset = pooled.offset + index * branch.input.state_size();
            let pooled = PooledGradient { offset, ..pooled };
            match pooling {
                Pooling::Last => {
                    for (row, length) in block.lengths.iter().enumerate() {
                        let token = block.layout.offset(length - 1) + row;
                        let to = &mut hidden_gradient[token * padded_units..][..units];
                        add(to, pooled.gradient(block, row, units), 1.0);
                    }
                }
                Pooling::Mean => {
                    for_each_state(block, cache, padded_units, |step, row, token, _| {
                        let pooled_steps = branch.pooled_steps(block, direction, row);
                        if pooled_steps.contains(&step) {
                            let share = 1.0 / pooled_steps.len() as f32;
                            let to = &mut hidden_gradient[token * padded_units..][..units];
                            add(to, pooled.gradient(block, row, units), share);
                        }
                    });
                }
                Pooling::Max => {
                    // Of several equal maxima, only the first gets the gradient.
                    let mut has_gradient = vec![false; block.order.len() * units];
                    for_each_state(block, cache, padded_units, |step, row, token, state| {
                        if !branch.pooled_steps(block, direction, row).contains(&step) {
                            return;
                        }
                        let to = &mut hidden_gradient[token * padded_units..][..units];
                        let gradient = pooled.gradient(block, row, units);
                        let maxima = &pooled.features[pooled.at(block, row)..][..units];
                        let has_gradient = &mut has_gradient[row * units..][..units];
                        for unit in 0..units {
                            if !has_gradient[unit] && state[unit] == maxima[unit] {
                                has_gradient[unit] = true;
                                to[unit] += gradient[unit];
                            }
                        }
                    });
                }
                Pooling::Attention => {
                    let range = direction * units..(direction + 1) * units;
                    let query = &branch.query[range.clone()];
                    let query_gradient = &mut attention.query_gradient[range];
                    for_each_state(block, cache, padded_units, |_, row, token, state| {
                        let text_token = text_token(block, direction, token);
                        let weight = attention.weights[text_token];
                        let slope = attention.score_gradients[text_token];
                        let to = hidden_gradient[token * padded_units..][..units].iter_mut();
                        let of_state = to.zip(pooled.gradient(block, row, units)).zip(query);
                        let of_query = query_gradient.iter_mut().zip(state);
                        for (((to, gradient), query), (sum, state)) in of_state.zip(of_query) {
                            *to += weight * gradient + slope * query;
                            *sum += slope * state;
                        }
                    });
                }
            }
        }
    }
}

/// Adds `factor` times some values.
#[inline(always)]
fn add(to: &mut [f32], values: &[f32], factor: f32) {
    to.iter_mut().zip(values).for_each(|(to, value)| *to += factor * value);
}

//! The projection of hidden states and the softmax over words: sampled with its gradients, and over the whole
//! vocabulary. The layers below don't belong here.
//!
//! # Sampled softmax
//!
//! A step draws N words with replacement, word w with probability p(w), so that w is among the negatives with
//! probability Q(w) = 1 − (1 − p(w))^N. With the query q = (P h + p)/√E, a token has the logits
//!
//! ```text
//! s(w) = q · x_w + b_w − log Q(w)
//! ```
//!
//! of its target t and of the negatives, each once; a negative that is the target is left out. The loss is −log softmax
//! of the target among them (Jean et al. 2015). If words are among the negatives independently of each other, that of
//! these words which is the target has the odds P(w)/Q(w) by Bayes' theorem, so the loss is smallest if the softmax of
//! q · x_w + b_w over the vocabulary is P. The expected number of draws, N p(w), in the place of Q(w) would make words
//! with N p > 1 too probable, as they are left out where they are the target, however often they were drawn.
//!
//! With g the probabilities minus the one-hot target, divided by the number of tokens, the gradients are
//!
//! ```text
//! dq = X ᵀ g     dx_w += g_w q     db_w += g_w     dh = (P/√E)ᵀ dq     d(P/√E) += dq hᵀ
//! ```
//!
//! The negatives are the same for all tokens, so logits, dq and dX are three products of large matrices: Q [n, E] with
//! X [N, E]. They are computed for a chunk of tokens at a time, whose logits stay in the L2 cache.

use super::model::{EMBEDDING, Model};
use super::negatives::Negatives;
use super::shard::{Shard, ShardSums, SoftmaxBuffers};
use crate::backend::kernel::{
    AddExponentials, BiasGradient, PackedMatrix, Product, RowProducts, RowProductsBackward,
    SoftmaxGradient, WeightGradient,
};
use crate::backend::language_model::DropoutMasks;

/// Number of tokens in a chunk, whole register tiles.
const CHUNK: usize = 48;
/// Number of words of the vocabulary whose logits are computed at a time.
const VOCABULARY_TILE: usize = 1024;

impl Model {
    /// Computes the loss of all tokens of a shard, its gradients above the layers, and the gradient of the hidden
    /// states of the top layer. `factor` is that of all gradients.
    pub fn sampled_softmax(
        &self,
        shard: &mut Shard,
        negatives: &Negatives,
        masks: &DropoutMasks,
        factor: f32,
    ) {
        let (size, padded_size, padded_units) =
            (self.size, self.padded_size(), self.padded_units());
        let (tokens, rows) = (shard.tokens(), shard.rows.len());
        let direction = &self.directions[shard.direction];
        let units = direction.cells[0].units;
        let columns = negatives.columns.padded_columns();
        let stride = logits_stride(columns, self.instructions.lanes());
        shard.negative_of_word.clear();
        shard.negative_of_word.extend(shard.words.iter().map(|word| negatives.index_of(*word)));
        shard.sums.clear(size, padded_size, padded_units, shard.words.len());
        shard.sums.negatives.resize_zeroed(negatives.words.len() * padded_size);
        shard.sums.negative_biases.resize_zeroed(stride);
        let mut buffers = std::mem::take(&mut shard.softmax);
        let mut layers = std::mem::take(&mut shard.layers);
        let Some(top) = layers.last_mut() else { return };
        top.hidden_gradient.resize(tokens * padded_units);
        for first in (0..tokens).step_by(CHUNK) {
            let count = CHUNK.min(tokens - first);
            buffers.resize(count, padded_units, padded_size, stride);
            let SoftmaxBuffers { states, mask, queries, query_gradient, logits, targets } =
                &mut buffers;
            top.copy_states(rows, padded_units, first, states);
            if masks.drops_outputs() {
                let of_tokens = mask.chunks_exact_mut(padded_units);
                for (token, mask) in (first..).zip(of_tokens) {
                    let (row, step) = shard.position(token);
                    masks.outputs(shard.direction, row, step, &mut mask[..units]);
                }
                multiply(states, mask);
            }
            self.queries(shard.direction, states, queries);
            let target_rows = &shard.targets()[first..first + count];
            self.instructions.run(RowProducts {
                left: queries,
                rows: target_rows,
                table: &shard.word_table,
                size: padded_size,
                bias: &shard.target_biases,
                products: targets,
            });
            self.instructions.multiply(Product {
                left: queries,
                left_stride: padded_size,
                right: &negatives.columns,
                bias: &negatives.biases[shard.direction],
                out: logits,
                stride,
                rows: count,
            });
            for (row, logits) in target_rows.iter().zip(logits.chunks_exact_mut(stride)) {
                if let Some(index) = shard.negative_of_word[*row as usize] {
                    logits[index] = f32::NEG_INFINITY;
                }
            }
            let sums = &mut shard.sums;
            let logits_of_chunk = &mut logits[..];
            sums.loss += self.instructions.run(SoftmaxGradient {
                logits: logits_of_chunk,
                stride,
                columns,
                targets,
                factor,
            });
            self.instructions.multiply(Product {
                left: logits,
                left_stride: stride,
                right: &negatives.rows,
                bias: &[],
                out: query_gradient,
                stride: padded_size,
                rows: count,
            });
            self.instructions.run(RowProductsBackward {
                left: queries,
                rows: &shard.word_rows[rows + first..][..count],
                table: &shard.word_table,
                size: padded_size,
                gradients: targets,
                left_gradient: query_gradient,
                table_gradient: &mut sums.targets,
                bias_gradient: &mut sums.target_biases,
            });
            self.instructions.multiply(WeightGradient {
                sum: &mut sums.negatives,
                left: logits,
                left_stride: stride,
                right: queries,
                depth: negatives.words.len(),
                columns: padded_size,
                format: self.format,
            });
            self.instructions.run(BiasGradient { sum: &mut sums.negative_biases, rows: logits });
            self.instructions.multiply(WeightGradient {
                sum: &mut sums.projection,
                left: query_gradient,
                left_stride: padded_size,
                right: states,
                depth: size,
                columns: padded_units,
                format: self.format,
            });
            self.instructions
                .run(BiasGradient { sum: &mut sums.projection_bias, rows: query_gradient });
            let hidden_gradient =
                &mut top.hidden_gradient[first * padded_units..][..count * padded_units];
            self.instructions.multiply(Product {
                left: query_gradient,
                left_stride: padded_size,
                right: &direction.projection_transposed,
                bias: &[],
                out: hidden_gradient,
                stride: padded_units,
                rows: count,
            });
            if masks.drops_outputs() {
                multiply(hidden_gradient, mask);
            }
        }
        (shard.softmax, shard.layers) = (buffers, layers);
    }

    /// Adds the negative log-probabilities of the targets of a shard, with the softmax over the whole vocabulary, to
    /// the scores of its rows, `[R]`.
    pub fn score(&self, shard: &mut Shard, scores: &mut [f64]) {
        let (padded_size, padded_units) = (self.padded_size(), self.padded_units());
        let (tokens, lanes) = (shard.tokens(), self.instructions.lanes());
        let Some(top) = shard.layers.last() else { return };
        let SoftmaxBuffers { states, queries, logits, targets, .. } = &mut shard.softmax;
        queries.resize(tokens * padded_size);
        states.resize(CHUNK * padded_units);
        for first in (0..tokens).step_by(CHUNK) {
            let count = CHUNK.min(tokens - first);
            let states = &mut states[..count * padded_units];
            top.copy_states(shard.rows.len(), padded_units, first, states);
            let queries = &mut queries[first * padded_size..][..count * padded_size];
            self.queries(shard.direction, states, queries);
        }
        targets.resize(tokens, 0.0);
        self.instructions.run(RowProducts {
            left: queries,
            rows: &shard.word_rows[shard.rows.len()..],
            table: &shard.word_table,
            size: padded_size,
            bias: &shard.target_biases,
            products: targets,
        });
        let output_bias = self.values(self.directions[shard.direction].output_bias_index());
        let (mut max, mut sum) = (vec![f32::NEG_INFINITY; tokens], vec![0.0; tokens]);
        let (mut tile, mut bias) = (PackedMatrix::default(), Vec::new());
        let vectors = self.values(EMBEDDING);
        for word in (0..self.vocabulary_size).step_by(VOCABULARY_TILE) {
            let words = VOCABULARY_TILE.min(self.vocabulary_size - word);
            let vector = |index: usize| &vectors[(word + index) * self.size..][..self.size];
            tile.pack_columns([self.size, words, lanes], 1.0, vector);
            let columns = tile.padded_columns();
            bias.clear();
            bias.extend_from_slice(&output_bias[word..word + words]);
            bias.resize(columns, f32::NEG_INFINITY);
            for first in (0..tokens).step_by(CHUNK) {
                let count = CHUNK.min(tokens - first);
                logits.resize(count * columns);
                self.instructions.multiply(Product {
                    left: &queries[first * padded_size..],
                    left_stride: padded_size,
                    right: &tile,
                    bias: &bias,
                    out: logits,
                    stride: columns,
                    rows: count,
                });
                self.instructions.run(AddExponentials {
                    logits,
                    columns,
                    max: &mut max[first..first + count],
                    sum: &mut sum[first..first + count],
                });
            }
        }
        for (token, ((max, sum), target)) in max.iter().zip(&sum).zip(&*targets).enumerate() {
            scores[token % shard.rows.len()] += sum.ln() + f64::from(max - target);
        }
    }

    /// Computes the queries (P h + p)/√E of some states, [n, P].
    fn queries(&self, direction: usize, states: &[f32], queries: &mut [f32]) {
        let (padded_size, padded_units) = (self.padded_size(), self.padded_units());
        let direction = &self.directions[direction];
        self.instructions.multiply(Product {
            left: states,
            left_stride: padded_units,
            right: &direction.projection,
            bias: &direction.projection_bias,
            out: queries,
            stride: padded_size,
            rows: states.len() / padded_units,
        });
    }
}

/// Returns the distance between rows of logits: an odd number of vectors, so that the same column of successive rows
/// does not fall into the same set of the cache.
fn logits_stride(columns: usize, lanes: usize) -> usize {
    columns + if (columns / lanes).is_multiple_of(2) { lanes } else { 0 }
}

fn multiply(values: &mut [f32], factors: &[f32]) {
    values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
}

impl SoftmaxBuffers {
    fn resize(&mut self, count: usize, padded_units: usize, padded_size: usize, stride: usize) {
        self.states.resize(count * padded_units);
        self.mask.resize(count * padded_units);
        self.queries.resize(count * padded_size);
        self.query_gradient.resize(count * padded_size);
        self.logits.resize(count * stride);
        self.targets.resize(count, 0.0);
    }
}

impl ShardSums {
    /// Sets the sums of the softmax to zero, except for those of the negatives.
    fn clear(&mut self, size: usize, padded_size: usize, padded_units: usize, words: usize) {
        self.loss = 0.0;
        self.projection.resize_zeroed(size * padded_units);
        self.projection_bias.resize_zeroed(padded_size);
        self.targets.resize_zeroed(words * padded_size);
        self.target_biases.clear();
        self.target_biases.resize(words, 0.0);
    }
}

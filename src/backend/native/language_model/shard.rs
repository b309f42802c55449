//! The rows of a batch that a thread computes at a time, in one direction: their words and the buffers of a pass over
//! them. The passes themselves don't belong here.

use std::ops::Range;

use super::model::Model;
use super::states::States;
use crate::backend::Times;
use crate::backend::kernel::{AlignedVec, ForwardCache, Layout};
use crate::backend::language_model::DropoutMasks;
use crate::backend::native::branch::CellGradient;
use crate::backend::native::row_numbers::RowNumbers;

/// Some rows of a batch in one direction, with buffers that are reused from step to step.
///
/// A token is a position that is read, and whose successor is predicted. The tokens of a step of all rows stand
/// together.
#[derive(Default)]
pub struct Shard {
    /// Direction that the shard belongs to.
    pub direction: usize,
    /// Rows of the batch, R of them.
    pub rows: Range<usize>,
    /// Order of the tokens.
    pub layout: Layout,
    /// Distinct words, those that are read first.
    pub words: Vec<u32>,
    /// Number of distinct words that are read.
    pub input_words: usize,
    /// For each distinct word, true if it is predicted.
    pub is_target: Vec<bool>,
    /// Index in `words` of each token, and of the words that follow the last step: [(T + 1) · R].
    pub word_rows: Vec<u32>,
    /// 0, 1, 2, …: the rows of inputs that differ from token to token.
    pub token_rows: Vec<u32>,
    /// Vectors of the distinct words, [words, E with padding].
    pub word_table: AlignedVec,
    /// Dropout of the words that are read.
    pub word_dropout: WordDropout,
    /// Added to the logit of each distinct word as a target, `[words]`.
    pub target_biases: Vec<f32>,
    /// For each distinct word, its index among the negatives.
    pub negative_of_word: Vec<Option<usize>>,
    /// Input projection of the words that are read.
    pub projected: AlignedVec,
    /// Gradient of the input projection.
    pub projected_gradient: AlignedVec,
    /// Buffers of each layer.
    pub layers: Vec<LayerBuffers>,
    /// Gradient dc that is passed from step to step.
    pub carry: AlignedVec,
    /// Buffers of the softmax.
    pub softmax: SoftmaxBuffers,
    /// Sums of the current step.
    pub sums: ShardSums,
    /// Hidden and cell states of each layer after the last step, if another process has computed the shard.
    pub received_states: Vec<[AlignedVec; 2]>,
    /// Seconds that the passes of the current step have taken, by part.
    pub times: Times,
}

/// Dropout of the vectors of the words that are read. Both are empty without it.
#[derive(Default)]
pub struct WordDropout {
    /// Factors of the vectors, `[input words]`.
    factors: Vec<f32>,
    /// Vectors times their factors, [input words, E with padding].
    dropped: AlignedVec,
}

/// Buffers of a layer.
#[derive(Default)]
pub struct LayerBuffers {
    /// Results of the forward pass.
    pub cache: ForwardCache,
    /// Inputs of each token after dropout, [tokens, P], or [tokens, E with padding] for the lowest layer. It has none
    /// without dropout of its inputs, because it projects each distinct word once.
    pub inputs: AlignedVec,
    /// Input projection of `inputs`.
    pub projected: AlignedVec,
    /// Dropout mask of the inputs of each row, [R, P or E with padding]; empty without dropout.
    pub input_mask: AlignedVec,
    /// Gradient of `inputs` of the lowest layer.
    pub input_gradient: AlignedVec,
    /// Gradient of the hidden state after each token, [tokens, P].
    pub hidden_gradient: AlignedVec,
}

/// Buffers of the softmax over a chunk of tokens.
#[derive(Default)]
pub struct SoftmaxBuffers {
    /// Hidden states after dropout, [chunk, P].
    pub states: AlignedVec,
    /// Dropout mask, [chunk, P].
    pub mask: AlignedVec,
    /// (P h + p) / √E, [chunk, E with padding].
    pub queries: AlignedVec,
    /// Gradient of the queries.
    pub query_gradient: AlignedVec,
    /// Logits of the negatives, then their gradients.
    pub logits: AlignedVec,
    /// Logits of the targets, then their gradients, `[chunk]`.
    pub targets: Vec<f32>,
}

/// Loss and gradients of a shard.
#[derive(Default)]
pub struct ShardSums {
    /// Sum of the losses of all tokens.
    pub loss: f64,
    /// Gradient of the weights of each layer.
    pub cells: Vec<CellGradient>,
    /// Gradient of P / √E, [E, P].
    pub projection: AlignedVec,
    /// Gradient of p / √E, `[E]` with padding.
    pub projection_bias: AlignedVec,
    /// Gradient of the vectors of the words that are read, [input words, E with padding].
    pub inputs: AlignedVec,
    /// Gradient of the vectors of the words as targets, [words, E with padding].
    pub targets: AlignedVec,
    /// Gradient of the output biases of the words as targets, `[words]`.
    pub target_biases: Vec<f32>,
    /// Gradient of the vectors of the negatives, [negatives, E with padding].
    pub negatives: AlignedVec,
    /// Gradient of the output biases of the negatives, `[negatives]` with padding.
    pub negative_biases: AlignedVec,
}

impl Shard {
    /// Starts the rows `rows` of a batch with these ids in this direction, [B, T + 1].
    pub fn begin(
        &mut self,
        direction: usize,
        rows: Range<usize>,
        ids: &[u32],
        steps: usize,
        row_numbers: &mut RowNumbers,
    ) {
        let count = rows.len();
        if (self.layout.steps(), self.layout.active_rows(0)) != (steps, count) {
            self.layout = Layout::new(&vec![steps; count]);
            self.token_rows = (0..(steps * count) as u32).collect();
        }
        (self.direction, self.rows) = (direction, rows);
        self.received_states.clear();
        row_numbers.reset();
        self.words.clear();
        self.word_rows.clear();
        for step in 0..=steps {
            if step == steps {
                self.input_words = self.words.len();
            }
            for row in self.rows.clone() {
                let word = ids[row * (steps + 1) + step];
                self.word_rows.push(row_numbers.get_or_add(word, &mut self.words));
            }
        }
        self.is_target.clear();
        self.is_target.resize(self.words.len(), false);
        for row in &self.word_rows[count..] {
            self.is_target[*row as usize] = true;
        }
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.layout.tokens()
    }

    /// Returns the index in `words` of each token.
    pub fn inputs(&self) -> &[u32] {
        &self.word_rows[..self.tokens()]
    }

    /// Returns the index in `words` of the successor of each token.
    pub fn targets(&self) -> &[u32] {
        &self.word_rows[self.rows.len()..]
    }

    /// Returns the row of the batch and the step of a token.
    pub fn position(&self, token: usize) -> (usize, usize) {
        (self.rows.start + token % self.rows.len(), token / self.rows.len())
    }

    /// Looks up the vectors of the distinct words. `bias` returns what is added to the logit of a target.
    pub fn look_up(&mut self, model: &Model, bias: impl Fn(u32) -> f32) {
        let padded_size = model.padded_size();
        self.word_table.resize(self.words.len() * padded_size);
        for (row, word) in self.word_table.chunks_exact_mut(padded_size).zip(&self.words) {
            let (values, padding) = row.split_at_mut(model.size);
            values.copy_from_slice(model.word_vector(*word));
            padding.fill(0.0);
        }
        self.target_biases.clear();
        self.target_biases.extend(self.words.iter().map(|word| bias(*word)));
    }

    /// Returns the vectors of the distinct words as inputs, at least [input words, E with padding].
    pub fn input_table(&self) -> &[f32] {
        self.word_dropout.table(&self.word_table)
    }

    /// Copies the vector of each token to `inputs`, [tokens, E with padding].
    pub fn copy_inputs(&self, padded_size: usize, inputs: &mut [f32]) {
        let table = self.input_table();
        for (row, to) in self.inputs().iter().zip(inputs.chunks_exact_mut(padded_size)) {
            to.copy_from_slice(&table[*row as usize * padded_size..][..padded_size]);
        }
    }
}

impl Shard {
    /// Copies the states after the last step of a pass to those of the direction.
    pub fn store_states(&self, states: &mut States) {
        for (layer, [hidden, cell]) in self.received_states.iter().enumerate() {
            states.store(layer, self.rows.clone(), [hidden, cell]);
        }
        if self.received_states.is_empty() {
            for (layer, buffers) in self.layers.iter().enumerate() {
                states.store(layer, self.rows.clone(), States::last(&buffers.cache));
            }
        }
    }
}

impl WordDropout {
    /// Draws the factors of the first `count` of these words with these vectors, [words, E with padding]. Without
    /// masks, no word is dropped.
    pub fn draw(
        &mut self,
        masks: Option<&DropoutMasks>,
        count: usize,
        words: &[u32],
        vectors: &[f32],
    ) {
        self.factors.clear();
        let masks = masks.filter(|masks| masks.drops_words());
        let padded_size = vectors.len() / words.len();
        self.dropped.resize(if masks.is_some() { count * padded_size } else { 0 });
        if let Some(masks) = masks {
            self.factors.extend(words[..count].iter().map(|word| masks.word(*word)));
            self.dropped.copy_from_slice(&vectors[..count * padded_size]);
            scale_rows(&mut self.dropped, padded_size, &self.factors);
        }
    }

    /// Returns the vectors after dropout of the words with these vectors.
    pub fn table<'a>(&'a self, vectors: &'a [f32]) -> &'a [f32] {
        if self.factors.is_empty() { vectors } else { &self.dropped }
    }

    /// Multiplies the gradients of the vectors after dropout, [input words, E with padding], with the factors.
    pub fn mask(&self, gradients: &mut [f32], padded_size: usize) {
        scale_rows(gradients, padded_size, &self.factors);
    }
}

impl LayerBuffers {
    /// Draws the dropout mask of the inputs of this layer for some rows of the batch, of which each has `inputs`
    /// values in a row of `stride`. Without masks, no input is dropped.
    pub fn draw_input_mask(
        &mut self,
        masks: Option<&DropoutMasks>,
        [direction, layer]: [usize; 2],
        rows: &Range<usize>,
        [stride, inputs]: [usize; 2],
    ) {
        let masks = masks.filter(|masks| masks.drops_inputs(layer));
        self.input_mask.resize(if masks.is_some() { rows.len() * stride } else { 0 });
        if let Some(masks) = masks {
            for (row, mask) in rows.clone().zip(self.input_mask.chunks_exact_mut(stride)) {
                let (mask, padding) = mask.split_at_mut(inputs);
                masks.inputs(direction, layer, row, mask);
                padding.fill(0.0);
            }
        }
    }

    /// Copies the hidden states after some consecutive tokens of a shard of `rows` rows to `to`, [tokens, P].
    pub fn copy_states(&self, rows: usize, padded_units: usize, first: usize, to: &mut [f32]) {
        let ForwardCache { hidden, last_hidden, .. } = &self.cache;
        // The state after a token is that before the same row's next token.
        let start = (first + rows) * padded_units;
        let inner = to.len().min(hidden.len().saturating_sub(start));
        let (states, last) = to.split_at_mut(inner);
        states.copy_from_slice(hidden.get(start..start + inner).unwrap_or_default());
        let start = (start + inner).saturating_sub(hidden.len());
        last.copy_from_slice(&last_hidden[start..start + last.len()]);
    }
}

/// Multiplies each row of a matrix with its factor. The matrix stays as it is if there are no factors.
fn scale_rows(matrix: &mut [f32], stride: usize, factors: &[f32]) {
    for (row, factor) in matrix.chunks_exact_mut(stride).zip(factors) {
        row.iter_mut().for_each(|value| *value *= factor);
    }
}

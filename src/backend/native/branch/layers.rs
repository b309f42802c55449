//! The layers of an input, and what the forward and the backward pass share.

use std::borrow::Cow;
use std::ops::Range;

use super::workspace::Workspace;
use crate::backend::kernel::{Cell, ForwardCache, Instructions, OperandFormat, QuantizedCell};
use crate::backend::native::dropout::{Dropout, Position};
use crate::backend::native::sharding::SequenceBlock;
use crate::config::Input;

/// The layers of one input, packed for the kernel.
pub struct Branch {
    /// Configuration of the input.
    pub input: Input,
    /// Index of the input.
    pub input_index: usize,
    /// Cells of each layer, one for each direction.
    pub cells: Vec<Vec<Cell>>,
    /// Quantized cells in the place of `cells`, which then only have their shapes; empty in other models.
    pub(super) quantized_cells: Vec<Vec<QuantizedCell>>,
    /// Query of attention pooling, `[H · directions]`; empty without attention.
    pub query: Vec<f32>,
    pub(super) instructions: Instructions,
}

/// Options of a pass.
#[derive(Clone, Copy)]
pub struct Mode<'a> {
    /// `true` if a backward pass follows.
    pub backward: bool,
    /// Dropout masks.
    pub dropout: Option<&'a Dropout>,
    /// For each input, the layers over the shared padding, from which texts continue.
    pub padding: &'a [Workspace],
    /// Role of the pass in a step.
    pub pass: Pass,
}

/// Role of a pass in a training step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The only pass.
    Only,
    /// The first pass of adversarial training. It keeps the gradient of the inputs of each token.
    First,
    /// The pass that finds the direction of virtual adversarial training, with a perturbation added to the
    /// inputs. It computes no gradients but that of the inputs of each token.
    Direction,
    /// The last pass of adversarial training, with the perturbation added to the inputs.
    Perturbed,
}

impl Pass {
    /// Returns true if the perturbation is added to the inputs.
    pub(super) fn is_perturbed(self) -> bool {
        matches!(self, Self::Direction | Self::Perturbed)
    }

    /// Returns true if the gradient of the inputs of each token is kept.
    pub(super) fn keeps_input_gradient(self) -> bool {
        matches!(self, Self::First | Self::Direction)
    }

    /// Returns true if the gradients of weights and words are computed.
    pub fn trains(self) -> bool {
        self != Self::Direction
    }
}

/// Destination of the pooled features of a block.
pub struct Pooled<'a> {
    /// Features of all inputs, [examples, stride].
    pub features: &'a mut [f32],
    /// Number of features of all inputs, D.
    pub stride: usize,
    /// First feature of this input.
    pub offset: usize,
}

/// Pooled features of a block and their gradient.
#[derive(Clone, Copy)]
pub struct PooledGradient<'a> {
    /// Features of all inputs, [examples, stride].
    pub features: &'a [f32],
    /// Gradient of the features, [examples, stride].
    pub gradients: &'a [f32],
    /// Number of features of all inputs, D.
    pub stride: usize,
    /// First feature of this input.
    pub offset: usize,
}

impl<'a> PooledGradient<'a> {
    /// Index of the first feature of a row of a block.
    pub(super) fn at(&self, block: &SequenceBlock, row: usize) -> usize {
        block.order[row] * self.stride + self.offset
    }

    /// Returns the gradient of the first `count` features of a row of a block.
    pub(super) fn gradient(&self, block: &SequenceBlock, row: usize, count: usize) -> &'a [f32] {
        &self.gradients[self.at(block, row)..][..count]
    }
}

impl Branch {
    /// Returns the layers of `input`, the input at `input_index`, with zero weights. Products have operands of
    /// the second format, but for the projection of word vectors, which has the first one.
    pub fn new(
        input: &Input,
        input_index: usize,
        instructions: Instructions,
        [of_vectors, format]: [OperandFormat; 2],
    ) -> Self {
        let directions = input.lstm.directions();
        let layer = |layer: usize| {
            let (inputs, of_inputs) = match layer {
                0 => (input.embedding.size, of_vectors),
                _ => (input.state_size(), format),
            };
            let (units, lanes) = (input.lstm.units, instructions.lanes());
            let cell = |_| Cell::new(inputs, units, lanes, [of_inputs, format]);
            (0..directions).map(cell).collect()
        };
        let cells = (0..input.lstm.layers).map(layer).collect();
        let query = vec![0.0; if input.has_attention() { input.state_size() } else { 0 }];
        let input = input.clone();
        Self { input, input_index, cells, quantized_cells: Vec::new(), query, instructions }
    }

    /// Number of pooled features of this input.
    pub fn features(&self) -> usize {
        self.input.features()
    }

    /// Embedding dimension, rounded up to whole vectors.
    pub fn padded_embedding_size(&self) -> usize {
        self.input.embedding.size.next_multiple_of(self.lanes())
    }

    pub(super) fn lanes(&self) -> usize {
        self.instructions.lanes()
    }

    pub(super) fn padded_units(&self) -> usize {
        self.cells[0][0].padded_units
    }

    /// Returns true if the bottom layer projects each distinct word once. Dropout of single
    /// components makes every token different.
    pub fn projects_distinct_words(&self, mode: Mode) -> bool {
        mode.dropout.is_none() || self.input.embedding.dropout == 0.0
    }

    /// Factor of the words that word dropout keeps.
    pub(super) fn word_scale(&self, mode: Mode) -> f32 {
        match mode.dropout {
            Some(_) => (1.0 / (1.0 - self.input.embedding.word_dropout)) as f32,
            None => 1.0,
        }
    }

    /// Applies dropout to the inputs of the layer at `index`, or to their gradient. `positions` are those
    /// of the block's examples in the batch.
    pub(super) fn apply_dropout(
        &self,
        index: usize,
        block: &SequenceBlock,
        positions: Option<&[u32]>,
        mode: Mode,
        values: &mut [f32],
    ) {
        let (Some(dropout), Some(positions)) = (mode.dropout, positions) else { return };
        let rate = if index == 0 { self.input.embedding.dropout } else { self.input.lstm.dropout };
        if rate == 0.0 {
            return;
        }
        let stride = values.len() / block.layout.tokens();
        let width = self.cells[index][0].inputs;
        for step in 0..block.layout.steps() {
            for row in 0..block.layout.active_rows(step) {
                let token = block.layout.offset(step) + row;
                let values = &mut values[token * stride..][..width];
                let example = positions[block.order[row]];
                let position = Position { input: self.input_index, example, step };
                match index {
                    0 => dropout.embedding(position, rate, values),
                    _ => dropout.layer(index, position, rate, values),
                }
            }
        }
    }

    /// Steps of a row whose states are pooled: all but padding.
    pub(super) fn pooled_steps(
        &self,
        block: &SequenceBlock,
        direction: usize,
        row: usize,
    ) -> Range<usize> {
        let (length, padding) = (block.lengths[row], block.padding[row]);
        if direction == 0 { padding..length } else { 0..length - padding }
    }
}

/// Calls `visit` with step, row, token and hidden state [P] after the token, for all tokens of a
/// block.
#[inline(always)]
pub(super) fn for_each_state(
    block: &SequenceBlock,
    cache: &ForwardCache,
    padded_units: usize,
    mut visit: impl FnMut(usize, usize, usize, &[f32]),
) {
    let layout = &block.layout;
    for step in 0..layout.steps() {
        let next = layout.active_rows(step + 1);
        for row in 0..layout.active_rows(step) {
            let state = match row < next {
                true => &cache.hidden[(layout.offset(step + 1) + row) * padded_units..],
                false => &cache.last_hidden[row * padded_units..],
            };
            visit(step, row, layout.offset(step) + row, &state[..padded_units]);
        }
    }
}

/// Row of the projected inputs for each token, in the order of a direction. If `per_token`,
/// each token has its own row, in the order of the text.
pub(super) fn input_rows(
    block: &SequenceBlock,
    direction: usize,
    per_token: bool,
) -> Cow<'_, [u32]> {
    match (per_token, direction) {
        (false, 0) => Cow::Borrowed(&block.word_rows),
        (false, _) => Cow::Owned(block.reversed_word_rows()),
        (true, 0) => (0..block.layout.tokens() as u32).collect(),
        (true, _) => Cow::Borrowed(&block.reversed),
    }
}

/// Token of the text for a token in the order of a direction.
pub(super) fn text_token(block: &SequenceBlock, direction: usize, token: usize) -> usize {
    match direction {
        0 => token,
        _ => block.reversed[token] as usize,
    }
}

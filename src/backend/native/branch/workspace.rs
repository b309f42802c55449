//! Buffers of a branch.

use std::mem::swap;

use crate::backend::kernel::{AlignedVec, Cell, ForwardCache};

/// Buffers of a branch for one shard at a time, reused from step to step to save allocations.
#[derive(Default)]
pub struct Workspace {
    /// Vectors of the distinct words of the shard, scaled for word dropout, and a row of zeros:
    /// [n + 1, E].
    pub(super) word_table: AlignedVec,
    /// Scales of the vectors of the distinct words of a quantized model, and a zero: [n + 1].
    pub(super) word_scales: Vec<f32>,
    /// Packed inputs or hidden states of a layer with quantized weights.
    pub(super) activations: AlignedVec,
    /// Input projection of the word table, for each direction.
    pub(super) projected: Vec<AlignedVec>,
    /// Gradient of the input projection, for each direction.
    pub(super) projected_gradient: Vec<AlignedVec>,
    /// Layers over the current block.
    pub(super) block: Vec<LayerBuffers>,
    /// Attention over the current block, and the gradient of its query.
    pub attention: Attention,
    /// Gradient of the inputs of each token of the current block, then their adversarial perturbation:
    /// [tokens, E in whole vectors].
    pub(super) perturbation: AlignedVec,
    /// Gradient dc that is passed from step to step.
    pub(super) carry: AlignedVec,
    /// Gradient of the initial hidden states of a block.
    pub(super) initial_hidden_gradient: AlignedVec,
    /// Gradient of the weights, for each layer and direction.
    pub gradients: Vec<Vec<CellGradient>>,
    /// Gradient of the states of the shared padding, for each layer.
    pub padding_gradients: Vec<PaddingGradient>,
    /// Gradient of the word table, [n + 1, padded embedding size].
    pub word_gradients: AlignedVec,
}

/// Buffers of one layer over a block.
#[derive(Default)]
pub(super) struct LayerBuffers {
    /// Results of the forward pass, for each direction.
    pub caches: Vec<ForwardCache>,
    /// Inputs, if they differ from token to token: [tokens, inputs in whole vectors].
    pub inputs: AlignedVec,
    /// Input projection of `inputs`, for each direction.
    pub projected: Vec<AlignedVec>,
    /// Gate gradients of the backward direction, in the order of the text.
    pub text_order_gradients: AlignedVec,
    /// Gradient of `inputs`.
    pub inputs_gradient: AlignedVec,
    /// Contribution of the backward direction to the gradient of `inputs`.
    pub reverse_inputs_gradient: AlignedVec,
    /// Gradient of the hidden states, [tokens, P] or [rows, P], for each direction.
    pub hidden_gradient: Vec<AlignedVec>,
}

/// Attention over a block, with tokens in the order of the text.
#[derive(Default)]
pub struct Attention {
    /// Weight of each token, [tokens]; 0 for padding.
    pub(super) weights: Vec<f32>,
    /// Gradient of the score of each token, [tokens].
    pub(super) score_gradients: Vec<f32>,
    /// Gradient of the query, `[H · directions]`, the sum over all blocks of a shard.
    pub query_gradient: Vec<f32>,
}

/// Projections of the distinct words of a shard, from whose gradients those of the words follow.
#[derive(Default)]
pub struct ProjectedWords {
    /// Gradients of the projections, for each direction.
    gradients: Vec<AlignedVec>,
    /// Vectors of the words.
    table: AlignedVec,
}

/// Gradient of the weights of a cell, in packed order.
#[derive(Default)]
pub struct CellGradient {
    /// dW, [inputs, P/lanes, i f g o, lanes].
    pub input: AlignedVec,
    /// dU, [H, P/lanes, i f g o, lanes].
    pub recurrent: AlignedVec,
    /// db, [P/lanes, i f g o, lanes].
    pub bias: AlignedVec,
}

/// Gradient of the states of a layer over the shared padding in front.
#[derive(Default)]
pub struct PaddingGradient {
    /// Gradient of the hidden state after each step, [steps, P].
    pub hidden: AlignedVec,
    /// Gradient of the cell state after each step, [steps, P].
    pub cell: AlignedVec,
}

fn resize_default<T: Default>(values: &mut Vec<T>, length: usize) {
    values.resize_with(length, T::default);
}

impl Workspace {
    /// Exchanges what [`Branch::end_shard`](super::Branch::end_shard) needs.
    pub fn swap_projected(&mut self, words: &mut ProjectedWords) {
        swap(&mut self.projected_gradient, &mut words.gradients);
        swap(&mut self.word_table, &mut words.table);
    }

    /// Removes the gradients that [`Branch::end_shard`](super::Branch::end_shard) computes for a layer that projects
    /// distinct words.
    pub fn remove_word_gradients(&mut self) {
        self.word_gradients.resize(0);
        for gradient in self.gradients.iter_mut().take(1).flatten() {
            gradient.input.resize(0);
            gradient.bias.resize(0);
        }
    }

    /// Sets these gradients to zero, and removes all others.
    pub(super) fn clear_word_gradients(&mut self, cells: &[Vec<Cell>]) {
        self.clear_gradients(cells, &[], 0);
        for (layer, gradients) in self.gradients.iter_mut().enumerate() {
            for gradient in gradients {
                gradient.recurrent.resize(0);
                if layer > 0 {
                    gradient.input.resize(0);
                    gradient.bias.resize(0);
                }
            }
        }
    }

    /// Prepares the buffers for a branch with these cells.
    pub(super) fn prepare(&mut self, cells: &[Vec<Cell>]) {
        let (layers, directions) = (cells.len(), cells[0].len());
        resize_default(&mut self.projected, directions);
        resize_default(&mut self.projected_gradient, directions);
        resize_default(&mut self.block, layers);
        for layer in &mut self.block {
            resize_default(&mut layer.caches, directions);
            resize_default(&mut layer.projected, directions);
            resize_default(&mut layer.hidden_gradient, directions);
        }
    }

    /// Sets the gradients of the weights of these cells, of this query, and of the states of `padding`
    /// steps of shared padding, to zero.
    pub(super) fn clear_gradients(&mut self, cells: &[Vec<Cell>], query: &[f32], padding: usize) {
        self.attention.query_gradient.clear();
        self.attention.query_gradient.resize(query.len(), 0.0);
        let (layers, directions) = (cells.len(), cells[0].len());
        resize_default(&mut self.padding_gradients, layers);
        for gradient in &mut self.padding_gradients {
            gradient.hidden.resize_zeroed(padding * cells[0][0].padded_units);
            gradient.cell.resize_zeroed(padding * cells[0][0].padded_units);
        }
        resize_default(&mut self.gradients, layers);
        for (gradients, cells) in self.gradients.iter_mut().zip(cells) {
            resize_default(gradients, directions);
            for (gradient, cell) in gradients.iter_mut().zip(cells) {
                gradient.input.resize_zeroed(cell.inputs * cell.gates_width());
                gradient.recurrent.resize_zeroed(cell.units * cell.gates_width());
                gradient.bias.resize_zeroed(cell.gates_width());
            }
        }
    }
}

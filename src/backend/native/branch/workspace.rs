//! Buffers of a branch.

use super::layers::Branch;
use crate::backend::kernel::{AlignedVec, ForwardCache};

/// Buffers of a branch for one shard at a time, reused from step to step to save allocations.
#[derive(Default)]
pub struct Workspace {
    /// Vectors of the distinct words of the shard, scaled for word dropout, and a row of zeros:
    /// [n + 1, E].
    pub(super) word_table: AlignedVec,
    /// Input projection of the word table, for each direction.
    pub(super) projected: Vec<AlignedVec>,
    /// Gradient of the input projection, for each direction.
    pub(super) projected_gradient: Vec<AlignedVec>,
    /// Layers over the current block.
    pub(super) block: Vec<LayerBuffers>,
    /// Layers over the shared padding in front.
    pub(super) shared_padding: Vec<LayerBuffers>,
    /// Gradient of the hidden state after each step of the shared padding, for each layer.
    pub(super) padding_hidden_gradient: Vec<AlignedVec>,
    /// Gradient of the cell state after each step of the shared padding, for each layer.
    pub(super) padding_cell_gradient: Vec<AlignedVec>,
    /// Gradient dc that is passed from step to step.
    pub(super) carry: AlignedVec,
    /// Gradient of the initial hidden states of a block.
    pub(super) initial_hidden_gradient: AlignedVec,
    /// Gradient of the weights, for each layer and direction.
    pub gradients: Vec<Vec<CellGradient>>,
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

impl CellGradient {
    /// Adds another gradient.
    pub fn add(&mut self, other: &Self) {
        for (sum, values) in [
            (&mut self.input, &other.input),
            (&mut self.recurrent, &other.recurrent),
            (&mut self.bias, &other.bias),
        ] {
            sum.iter_mut().zip(&**values).for_each(|(sum, value)| *sum += value);
        }
    }
}

fn resize_default<T: Default>(values: &mut Vec<T>, length: usize) {
    values.resize_with(length, T::default);
}

impl Workspace {
    /// Prepares the buffers for a branch and sets the gradients of its weights to zero.
    pub(super) fn prepare(&mut self, branch: &Branch, backward: bool) {
        let (layers, directions) = (branch.cells.len(), branch.cells[0].len());
        resize_default(&mut self.projected, directions);
        resize_default(&mut self.projected_gradient, directions);
        resize_default(&mut self.padding_hidden_gradient, layers);
        resize_default(&mut self.padding_cell_gradient, layers);
        for buffers in [&mut self.block, &mut self.shared_padding] {
            resize_default(buffers, layers);
            for layer in buffers {
                resize_default(&mut layer.caches, directions);
                resize_default(&mut layer.projected, directions);
                resize_default(&mut layer.hidden_gradient, directions);
            }
        }
        if !backward {
            return;
        }
        resize_default(&mut self.gradients, layers);
        for (gradients, cells) in self.gradients.iter_mut().zip(&branch.cells) {
            resize_default(gradients, directions);
            for (gradient, cell) in gradients.iter_mut().zip(cells) {
                gradient.input.resize_zeroed(cell.inputs * cell.gates_width());
                gradient.recurrent.resize_zeroed(cell.units * cell.gates_width());
                gradient.bias.resize_zeroed(cell.gates_width());
            }
        }
    }
}

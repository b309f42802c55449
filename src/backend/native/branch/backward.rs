//! The backward pass of a branch: from pooled features to weights and words.

use super::layers::{Branch, Mode, Pass, PooledGradient, input_rows, text_token};
use super::pooling::GradientForm;
use super::workspace::{LayerBuffers, PaddingGradient, ProjectedWords, Workspace};
use crate::backend::kernel::{
    AlignedVec, Backward, BiasGradient, Cell, ForwardCache, HiddenGradient, InputGradient,
    ScatterAdd, WeightGradient,
};
use crate::backend::native::sharding::{SequenceBlock, ShardTexts};

impl Branch {
    /// Backward pass over the block at index `block`, right after its forward pass.
    pub fn backward(
        &self,
        texts: &ShardTexts,
        block: usize,
        positions: &[u32],
        work: &mut Workspace,
        mode: Mode,
        pooled: PooledGradient,
    ) {
        let block = &texts.blocks[block];
        let mut layers = std::mem::take(&mut work.block);
        let Some(top) = layers.last_mut() else { return };
        let query_gradient = (!mode.pass.trains()).then(|| work.attention.query_gradient.clone());
        let form = self.pool_backward(block, top, &mut work.attention, pooled);
        if let Some(unchanged) = query_gradient {
            work.attention.query_gradient = unchanged;
        }
        self.layers_backward(block, Some(positions), &mut layers, work, mode, form);
        work.block = layers;
    }

    /// Backward pass of all layers over a block. `form` is that of the top layer's gradient.
    /// `positions` is `None` for the shared padding.
    fn layers_backward(
        &self,
        block: &SequenceBlock,
        positions: Option<&[u32]>,
        layers: &mut [LayerBuffers],
        work: &mut Workspace,
        mode: Mode,
        form: GradientForm,
    ) {
        let tokens = block.layout.tokens();
        let is_padding = positions.is_none();
        let trains = mode.pass.trains();
        for index in (0..layers.len()).rev() {
            let is_top = index + 1 == layers.len();
            let per_token = index > 0 || !self.projects_distinct_words(mode);
            let gives_perturbation = index == 0 && mode.pass.keeps_input_gradient();
            let has_perturbation = index == 0 && mode.pass == Pass::Perturbed && !per_token;
            let (below, from_here) = layers.split_at_mut(index);
            let layer = &mut from_here[0];
            let cells = &self.cells[index];
            for (direction, cell) in cells.iter().enumerate() {
                let cache = &mut layer.caches[direction];
                if is_padding {
                    // The gradient from the blocks that continue from the padding, added to that
                    // from the layer above.
                    let gradient = &mut layer.hidden_gradient[direction];
                    match is_top {
                        true => gradient.resize_zeroed(tokens * cell.padded_units),
                        false => debug_assert_eq!(gradient.len(), tokens * cell.padded_units),
                    }
                    let continued = work.padding_gradients[index].hidden.iter();
                    gradient.iter_mut().zip(continued).for_each(|(to, from)| *to += from);
                }
                let gradient = &layer.hidden_gradient[direction];
                let hidden_gradient = match form {
                    _ if !is_top || is_padding => HiddenGradient::PerStep(gradient),
                    GradientForm::LastStep => HiddenGradient::LastStep(gradient),
                    GradientForm::SameForAllSteps => HiddenGradient::SameForAllSteps(gradient),
                    GradientForm::PerStep => HiddenGradient::PerStep(gradient),
                };
                work.carry.resize_zeroed(block.order.len() * cell.padded_units);
                self.instructions.multiply(Backward {
                    cell,
                    layout: &block.layout,
                    hidden_gradient,
                    cell_gradient: is_padding.then(|| &*work.padding_gradients[index].cell),
                    cache,
                    carry: &mut work.carry,
                });
                if trains {
                    if !is_padding && block.shared_padding.iter().any(|length| *length > 0) {
                        self.add_to_shared_padding(block, index, cell, cache, work);
                    }
                    let gradient = &mut work.gradients[index][direction];
                    self.instructions.multiply(WeightGradient {
                        sum: &mut gradient.recurrent,
                        left: &cache.hidden,
                        left_stride: cell.padded_units,
                        right: &cache.gates,
                        depth: cell.units,
                        columns: cell.gates_width(),
                        format: cell.recurrent.format,
                    });
                    if per_token {
                        let rows = &cache.gates;
                        self.instructions.run(BiasGradient { sum: &mut gradient.bias, rows });
                    } else {
                        let rows = input_rows(block, direction, false);
                        let sum = &mut work.projected_gradient[direction];
                        let (gradients, columns) = (&*cache.gates, cell.gates_width());
                        self.instructions.run(ScatterAdd { sum, rows: &rows, gradients, columns });
                    }
                }
                if !per_token && !gives_perturbation && !has_perturbation {
                    continue;
                }
                let gate_gradients = match direction {
                    0 => &cache.gates,
                    _ => {
                        let sum = &mut layer.text_order_gradients;
                        sum.resize_zeroed(cache.gates.len());
                        let (gradients, columns) = (&*cache.gates, cell.gates_width());
                        let rows = &block.reversed;
                        self.instructions.run(ScatterAdd { sum, rows, gradients, columns });
                        &layer.text_order_gradients
                    }
                };
                let columns = cell.inputs.next_multiple_of(self.lanes());
                // The distinct words have their share at the end of the shard.
                let inputs = if has_perturbation { &work.perturbation } else { &layer.inputs };
                if trains && (per_token || has_perturbation) {
                    let gradient = &mut work.gradients[index][direction];
                    self.instructions.multiply(WeightGradient {
                        sum: &mut gradient.input,
                        left: inputs,
                        left_stride: columns,
                        right: gate_gradients,
                        depth: cell.inputs,
                        columns: cell.gates_width(),
                        format: cell.input.format,
                    });
                }
                if has_perturbation {
                    continue;
                }
                let inputs = match direction {
                    0 => &mut layer.inputs_gradient,
                    _ => &mut layer.reverse_inputs_gradient,
                };
                inputs.resize(tokens * columns);
                let (packed, gradients) = (&cell.input_transposed, &**gate_gradients);
                self.instructions.multiply(InputGradient {
                    cell,
                    packed,
                    gradients,
                    inputs,
                    columns,
                });
                if direction > 0 {
                    let sums = layer.inputs_gradient.iter_mut();
                    let reverse = &*layer.reverse_inputs_gradient;
                    sums.zip(reverse).for_each(|(sum, reverse)| *sum += reverse);
                }
            }
            if gives_perturbation {
                work.perturbation.resize(layer.inputs_gradient.len());
                work.perturbation.copy_from_slice(&layer.inputs_gradient);
            }
            if !per_token || (index == 0 && !trains) {
                continue;
            }
            self.apply_dropout(index, block, positions, mode, &mut layer.inputs_gradient);
            match below.last_mut() {
                Some(below) => self.split_directions(block, &layer.inputs_gradient, below),
                None => self.instructions.run(ScatterAdd {
                    sum: &mut work.word_gradients,
                    rows: &block.word_rows,
                    gradients: &layer.inputs_gradient,
                    columns: self.padded_embedding_size(),
                }),
            }
        }
    }

    /// Copies the gradient of a layer's inputs to the gradient of the hidden states of the layer
    /// below.
    fn split_directions(&self, block: &SequenceBlock, gradients: &[f32], below: &mut LayerBuffers) {
        let (units, tokens) = (self.input.lstm.units, block.layout.tokens());
        let padded_units = self.padded_units();
        let stride = gradients.len() / tokens;
        for (direction, hidden_gradient) in below.hidden_gradient.iter_mut().enumerate() {
            hidden_gradient.resize_zeroed(tokens * padded_units);
            for (token, to) in hidden_gradient.chunks_exact_mut(padded_units).enumerate() {
                let from = text_token(block, direction, token) * stride + direction * units;
                to[..units].copy_from_slice(&gradients[from..][..units]);
            }
        }
    }

    /// Adds the gradient of the rows' initial states to that of the shared padding that they
    /// continue from.
    fn add_to_shared_padding(
        &self,
        block: &SequenceBlock,
        index: usize,
        cell: &Cell,
        cache: &ForwardCache,
        work: &mut Workspace,
    ) {
        let (rows, padded_units) = (block.order.len(), cell.padded_units);
        work.initial_hidden_gradient.resize(rows * padded_units);
        self.instructions.multiply(InputGradient {
            cell,
            packed: &cell.recurrent_transposed,
            gradients: &cache.gates[..rows * cell.gates_width()],
            inputs: &mut work.initial_hidden_gradient,
            columns: padded_units,
        });
        let lengths = block.shared_padding.iter().enumerate();
        let PaddingGradient { hidden, cell } = &mut work.padding_gradients[index];
        for (row, length) in lengths.filter(|(_, length)| **length > 0) {
            let to = (length - 1) * padded_units;
            for (sums, from) in
                [(&mut *hidden, &work.initial_hidden_gradient), (&mut *cell, &work.carry)]
            {
                let from = &from[row * padded_units..][..padded_units];
                let sums = sums[to..to + padded_units].iter_mut();
                sums.zip(from).for_each(|(sum, from)| *sum += from);
            }
        }
    }

    /// Backward pass over the shared padding, from the gradient of its states.
    pub fn padding_backward(&self, texts: &ShardTexts, work: &mut Workspace, mode: Mode) {
        let mut layers = std::mem::take(&mut work.block);
        let block = &texts.blocks[0];
        self.layers_backward(block, None, &mut layers, work, mode, GradientForm::PerStep);
        work.block = layers;
        self.end_shard(work, mode);
    }

    /// Computes the gradients of the input weights and of the words of a shard that has not ended.
    pub fn end_postponed_shard(
        &self,
        words: &mut ProjectedWords,
        work: &mut Workspace,
        mode: Mode,
    ) {
        work.clear_word_gradients(&self.cells);
        work.swap_projected(words);
        self.end_shard(work, mode);
        work.swap_projected(words);
    }

    /// Ends a shard: computes the gradients of the input weights and of the words.
    pub fn end_shard(&self, work: &mut Workspace, mode: Mode) {
        let scale = self.word_scale(mode);
        if self.projects_distinct_words(mode) {
            let mut reverse = AlignedVec::default();
            for (direction, cell) in self.cells[0].iter().enumerate() {
                let projected = &*work.projected_gradient[direction];
                let gradient = &mut work.gradients[0][direction];
                self.instructions.run(BiasGradient { sum: &mut gradient.bias, rows: projected });
                self.instructions.multiply(WeightGradient {
                    sum: &mut gradient.input,
                    left: &work.word_table,
                    left_stride: cell.inputs,
                    right: projected,
                    depth: cell.inputs,
                    columns: cell.gates_width(),
                    format: cell.input.format,
                });
                if !self.input.embedding.trainable {
                    continue;
                }
                let columns = self.padded_embedding_size();
                let inputs = if direction == 0 { &mut work.word_gradients } else { &mut reverse };
                inputs.resize(projected.len() / cell.gates_width() * columns);
                self.instructions.multiply(InputGradient {
                    cell,
                    packed: &cell.input_transposed,
                    gradients: projected,
                    inputs,
                    columns,
                });
            }
            work.word_gradients.iter_mut().zip(&*reverse).for_each(|(sum, value)| *sum += value);
        }
        if scale != 1.0 {
            work.word_gradients.iter_mut().for_each(|value| *value *= scale);
        }
    }
}

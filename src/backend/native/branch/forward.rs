//! The forward pass of a branch: from words to pooled features.

use super::layers::{Branch, Mode, Pass, Pooled, for_each_state, input_rows, text_token};
use super::vector_tables::{EmbeddingRows, VectorTables};
use super::workspace::{LayerBuffers, Workspace};
use crate::backend::kernel::{
    AlignedVec, Forward, ForwardCache, InputProjection, InputScales, QuantizedForward,
    QuantizedProjection, packed_index,
};
use crate::backend::native::sharding::{SequenceBlock, ShardTexts};

/// States of one direction of an LSTM layer over a text.
#[derive(Clone, Debug, PartialEq)]
pub struct CellStates {
    /// Hidden state at each token, `[T][H]`, in the order of the text.
    pub hidden: Vec<Vec<f32>>,
    /// Means over the units of the input, forget, cell and output gate at each token, `[T][4]`.
    pub gate_means: Vec<[f32; 4]>,
    /// Hidden state after the last token that the direction reads, `[H]`.
    pub final_hidden: Vec<f32>,
    /// Cell state after the last token that the direction reads, `[H]`.
    pub final_cell: Vec<f32>,
}

/// States of an input over a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SequenceStates {
    /// States of every layer, from the bottom, and every direction.
    pub layers: Vec<Vec<CellStates>>,
    /// Weight of each token in attention pooling, `[T]`, 0 for padding; `None` without attention.
    pub attention: Option<Vec<f32>>,
}

impl Branch {
    /// Runs the layers over the padding in front that the texts of a batch share. `texts` has it as
    /// its only block.
    pub fn run_padding(
        &self,
        texts: &ShardTexts,
        vectors: VectorTables,
        work: &mut Workspace,
        mode: Mode,
    ) {
        self.project_words(texts, vectors, work, mode);
        self.run_layers(&texts.blocks[0], None, work, mode);
    }

    /// Starts a shard: looks up its distinct words and projects each of them once.
    pub fn begin_shard(
        &self,
        texts: &ShardTexts,
        vectors: VectorTables,
        work: &mut Workspace,
        mode: Mode,
    ) {
        if mode.backward {
            work.clear_gradients(&self.cells, &self.query, texts.shared_padding);
        }
        self.project_words(texts, vectors, work, mode);
    }

    /// Looks up the distinct words of some texts, and projects each of them once.
    fn project_words(
        &self,
        texts: &ShardTexts,
        vectors: VectorTables,
        work: &mut Workspace,
        mode: Mode,
    ) {
        work.prepare(&self.cells);
        if let (EmbeddingRows::Quantized(rows), true) = (vectors.own, self.is_quantized()) {
            return self.project_quantized(texts, (vectors, rows), work);
        }
        let (size, count) = (self.input.embedding.size, texts.words.len() + 1);
        let scale = self.word_scale(mode);
        work.word_table.resize(count * size);
        let (rows, zeros) = work.word_table.split_at_mut((count - 1) * size);
        for (index, row) in rows.chunks_exact_mut(size).enumerate() {
            vectors.copy_vector(texts, index, scale, row);
        }
        zeros.fill(0.0);
        if self.projects_distinct_words(mode) {
            for (direction, cell) in self.cells[0].iter().enumerate() {
                let projected = &mut work.projected[direction];
                projected.resize(count * cell.gates_width());
                self.instructions.multiply(InputProjection {
                    cell,
                    inputs: &work.word_table,
                    row_stride: size,
                    projected,
                });
                if mode.backward {
                    work.projected_gradient[direction].resize_zeroed(count * cell.gates_width());
                }
            }
        }
        if mode.backward {
            work.word_gradients.resize_zeroed(count * self.padded_embedding_size());
        }
    }

    /// Runs the layers over the block at index `block` and writes the pooled features of its
    /// examples to `pooled`.
    pub fn forward(
        &self,
        texts: &ShardTexts,
        block: usize,
        positions: &[u32],
        work: &mut Workspace,
        mode: Mode,
        pooled: Pooled,
    ) {
        let block = &texts.blocks[block];
        self.run_layers(block, Some(positions), work, mode);
        let Some(top) = work.block.last() else { return };
        self.pool(block, &top.caches, &mut work.attention, pooled);
    }

    /// Returns the states over a single text.
    pub fn states(&self, texts: &ShardTexts, vectors: VectorTables) -> SequenceStates {
        // Gates and states are kept only for a backward pass.
        let mode = Mode { backward: true, dropout: None, padding: &[], pass: Pass::Only };
        let mut work = Workspace::default();
        self.begin_shard(texts, vectors, &mut work, mode);
        let block = &texts.blocks[0];
        self.run_layers(block, None, &mut work, mode);
        let layers = work.block.iter().map(|layer| {
            let caches = layer.caches.iter().enumerate();
            caches.map(|(direction, cache)| self.cell_states(block, direction, cache)).collect()
        });
        let layers = layers.collect();
        let top = work.block.last().filter(|_| self.input.has_attention());
        let attention = top.map(|top| {
            self.attend(block, &top.caches, &mut work.attention);
            work.attention.weights
        });
        SequenceStates { layers, attention }
    }

    /// Returns the vector of each token of a single text, [T, E].
    pub fn word_vectors(&self, texts: &ShardTexts, vectors: VectorTables) -> Vec<f32> {
        let size = self.input.embedding.size;
        let rows = &texts.blocks[0].word_rows;
        let mut all = vec![0.0; rows.len() * size];
        for (to, row) in all.chunks_exact_mut(size).zip(rows) {
            vectors.copy_vector(texts, *row as usize, 1.0, to);
        }
        all
    }

    fn cell_states(
        &self,
        block: &SequenceBlock,
        direction: usize,
        cache: &ForwardCache,
    ) -> CellStates {
        let (units, lanes) = (self.input.lstm.units, self.lanes());
        let padded_units = self.padded_units();
        let tokens = block.layout.tokens();
        let mut hidden = vec![Vec::new(); tokens];
        let mut gate_means = vec![[0.0; 4]; tokens];
        for_each_state(block, cache, padded_units, |_, _, token, state| {
            let gates = &cache.gates[token * 4 * padded_units..][..4 * padded_units];
            let token = text_token(block, direction, token);
            hidden[token] = state[..units].to_vec();
            gate_means[token] = std::array::from_fn(|gate| {
                let sum: f32 = (0..units).map(|unit| gates[packed_index(gate, unit, lanes)]).sum();
                sum / units as f32
            });
        });
        CellStates {
            hidden,
            gate_means,
            final_hidden: cache.last_hidden[..units].to_vec(),
            final_cell: cache.last_cell_state[..units].to_vec(),
        }
    }

    /// Runs all layers over a block. Rows with shared padding continue from its states. `positions` is
    /// `None` for the shared padding itself.
    fn run_layers(
        &self,
        block: &SequenceBlock,
        positions: Option<&[u32]>,
        work: &mut Workspace,
        mode: Mode,
    ) {
        let Workspace {
            word_table,
            projected: projected_words,
            block: layers,
            perturbation,
            activations,
            ..
        } = work;
        for index in 0..layers.len() {
            let (below, from_here) = layers.split_at_mut(index);
            let layer = &mut from_here[0];
            let cells = &self.cells[index];
            let is_perturbed = index == 0 && mode.pass.is_perturbed();
            let per_token = index > 0 || is_perturbed || !self.projects_distinct_words(mode);
            if per_token {
                match below.last() {
                    Some(below) => self.concat_directions(block, below, &mut layer.inputs),
                    None => self.embed(block, word_table, &mut layer.inputs),
                }
                self.apply_dropout(index, block, positions, mode, &mut layer.inputs);
            }
            if is_perturbed {
                let inputs = layer.inputs.iter_mut().zip(&**perturbation);
                inputs.for_each(|(input, perturbation)| *input += perturbation);
            }
            let quantized = self.quantized_cells.get(index);
            for (direction, cell) in cells.iter().enumerate() {
                let quantized = quantized.and_then(|cells| cells.get(direction));
                if let (Some(cell), true) = (quantized, per_token) {
                    let projected = &mut layer.projected[direction];
                    projected.resize(block.layout.tokens() * cell.shape.gates_width());
                    cell.quantize_states(&layer.inputs, activations);
                    let inputs = bytemuck::cast_slice(activations);
                    let scales = InputScales::HiddenStates;
                    QuantizedProjection { cell, inputs, scales, projected }.run();
                } else if per_token {
                    let projected = &mut layer.projected[direction];
                    projected.resize(block.layout.tokens() * cell.gates_width());
                    let row_stride = cell.inputs.next_multiple_of(self.lanes());
                    let inputs = &layer.inputs;
                    self.instructions.multiply(InputProjection {
                        cell,
                        inputs,
                        row_stride,
                        projected,
                    });
                }
                let cache = &mut layer.caches[direction];
                // Texts continue from any step of the padding, so all of its states are needed.
                let keep_states = mode.backward || positions.is_none();
                cache.prepare(&block.layout, cell.padded_units, keep_states);
                let mut zero_initial_state = true;
                if let Some(padding) = mode.padding.get(self.input_index) {
                    let width = cell.padded_units;
                    let lengths = block.shared_padding.iter().enumerate();
                    for (row, length) in lengths.filter(|(_, length)| **length > 0) {
                        let (hidden, cell_state) =
                            state_after(&padding.block[index].caches[direction], length - 1, width);
                        cache.hidden[row * width..][..width].copy_from_slice(hidden);
                        cache.cell_state[row * width..][..width].copy_from_slice(cell_state);
                        zero_initial_state = false;
                    }
                }
                let input_rows = input_rows(block, direction, per_token);
                let projected = match per_token {
                    true => &layer.projected[direction],
                    false => &projected_words[direction],
                };
                let (layout, input_rows) = (&block.layout, &*input_rows);
                let forward =
                    Forward { cell, layout, input_rows, projected, cache, zero_initial_state };
                match quantized {
                    Some(cell) => QuantizedForward { cell, forward, states: activations }.run(),
                    None => self.instructions.multiply(forward),
                }
            }
        }
    }

    /// Writes the hidden states of the layer below to `inputs`, both directions concatenated, in the
    /// order of the text.
    fn concat_directions(
        &self,
        block: &SequenceBlock,
        below: &LayerBuffers,
        inputs: &mut AlignedVec,
    ) {
        let units = self.input.lstm.units;
        let stride = (units * below.caches.len()).next_multiple_of(self.lanes());
        inputs.resize(block.layout.tokens() * stride);
        for (direction, cache) in below.caches.iter().enumerate() {
            for_each_state(block, cache, self.padded_units(), |_, _, token, state| {
                let at = text_token(block, direction, token) * stride + direction * units;
                inputs[at..][..units].copy_from_slice(&state[..units]);
            });
        }
    }

    /// Writes the word vector of each token to `inputs`.
    fn embed(&self, block: &SequenceBlock, word_table: &[f32], inputs: &mut AlignedVec) {
        let (size, stride) = (self.input.embedding.size, self.padded_embedding_size());
        inputs.resize(block.layout.tokens() * stride);
        for (to, word) in inputs.chunks_exact_mut(stride).zip(&block.word_rows) {
            to[..size].copy_from_slice(&word_table[*word as usize * size..][..size]);
        }
    }
}

/// Returns the hidden and the cell state after a step of a block with one row.
fn state_after(cache: &ForwardCache, step: usize, padded_units: usize) -> (&[f32], &[f32]) {
    let at = (step + 1) * padded_units;
    let range = at..at + padded_units;
    match at < cache.hidden.len() {
        true => (&cache.hidden[range.clone()], &cache.cell_state[range]),
        false => (&cache.last_hidden[..padded_units], &cache.last_cell_state[..padded_units]),
    }
}

//! The whole network on all threads: branches, head and loss.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use rayon::prelude::*;

use super::branch::{Branch, CellStates, Mode, Pooled, PooledGradient, Workspace};
use super::dropout::Dropout;
use super::gradients::{Gradients, RowGradient};
use super::head::logits;
use super::sharding::{Shard, ShardedBatch, single_text};
use super::weight::Weight;
use crate::backend::kernel::{Instructions, packed_index};
use crate::backend::{BatchLoss, Times};
use crate::config::Input;
use crate::model::named_tensors::{NamedTensor, indices};
use crate::model::parameters::{
    ModelSpec, Parameter, cell_name, embedding_name, in_order, parameters,
};
use crate::objective::{LossFunction, log_softmax};
use crate::text::Corpus;

/// A network: its weights, plain and packed, and the buffers to compute with.
pub struct Network {
    instructions: Instructions,
    weights: Vec<Weight>,
    branches: Vec<Branch>,
    /// Indices of the weights of each branch.
    indices: Vec<BranchIndices>,
    /// Index of head.weight; head.bias follows it.
    head_index: usize,
    head_dropout: f64,
    classes: usize,
    /// Buffers of the shards of a training step.
    workspaces: Vec<ShardWorkspace>,
    /// Buffers for inference that no thread uses at the moment.
    idle_workspaces: Mutex<Vec<ShardWorkspace>>,
    /// Wall time of training steps, by part.
    pub times: Times,
}

/// Indices of the weights of a branch.
struct BranchIndices {
    embedding: usize,
    /// Index of weight_ih for each layer and direction; weight_hh and bias_ih follow it.
    cells: Vec<Vec<usize>>,
}

impl BranchIndices {
    fn new(input: &Input, parameters: &[Parameter]) -> anyhow::Result<Self> {
        let index = |name: String| {
            let index = parameters.iter().position(|parameter| parameter.name == name);
            index.with_context(|| format!("the network has no parameter {name}"))
        };
        let layer = |layer: usize| {
            let first = |direction| index(cell_name(input, "weight_ih", layer, direction));
            (0..input.lstm.directions()).map(first).collect()
        };
        let cells = (0..input.lstm.layers).map(layer).collect::<anyhow::Result<_>>()?;
        Ok(Self { embedding: index(embedding_name(input))?, cells })
    }
}

/// Buffers and results of one shard.
#[derive(Default)]
struct ShardWorkspace {
    branches: Vec<Workspace>,
    head_weight: Vec<f32>,
    head_bias: Vec<f32>,
    loss: f64,
    correct: u64,
    /// Pooled features of the current block, [examples, D].
    features: Vec<f32>,
    /// The same features after dropout.
    dropped_features: Vec<f32>,
    /// Gradient of the features.
    features_gradient: Vec<f32>,
    times: Times,
}

impl Network {
    /// Creates the network of `spec` from all of its weights.
    ///
    /// # Errors
    /// Returns an error if a tensor is missing, unknown, or has another shape.
    pub fn new(
        spec: &ModelSpec,
        weights: Vec<NamedTensor>,
        instructions: Instructions,
    ) -> anyhow::Result<Self> {
        let parameters = parameters(spec)?;
        let inputs = &spec.config.inputs;
        let indices = inputs.iter().map(|input| BranchIndices::new(input, &parameters));
        let indices = indices.collect::<anyhow::Result<_>>()?;
        let branch = |(index, input): (usize, &Input)| Branch::new(input, index, instructions);
        let tensors = in_order(&parameters, weights)?.into_iter().zip(&parameters);
        let mut network = Self {
            instructions,
            weights: tensors
                .map(|(tensor, parameter)| Weight { tensor, trainable: parameter.trainable })
                .collect(),
            branches: inputs.iter().enumerate().map(branch).collect(),
            indices,
            head_index: parameters.len() - 2,
            head_dropout: spec.config.model.head.dropout,
            classes: spec.classes,
            workspaces: Vec::new(),
            idle_workspaces: Mutex::default(),
            times: Times::default(),
        };
        network.pack();
        Ok(network)
    }

    /// Loads weights by name. Weights that are not in `tensors` keep their values.
    ///
    /// # Errors
    /// Returns an error, and changes nothing, if the network has no weight with the name and shape of a
    /// tensor.
    pub fn load(&mut self, tensors: Vec<NamedTensor>) -> anyhow::Result<()> {
        let shape = |Weight { tensor, .. }: &Weight| (tensor.name.clone(), tensor.shape.clone());
        let shapes: Vec<_> = self.weights.iter().map(shape).collect();
        let indices = indices(&shapes, &tensors)?;
        for (index, tensor) in indices.into_iter().zip(tensors) {
            self.weights[index].tensor = tensor;
        }
        self.pack();
        Ok(())
    }

    /// Returns all weights.
    pub fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// Returns all weights for modification; call [`Network::pack`] afterwards.
    pub fn weights_mut(&mut self) -> &mut [Weight] {
        &mut self.weights
    }

    /// Packs the weights for the kernel.
    pub fn pack(&mut self) {
        for (branch, indices) in self.branches.iter_mut().zip(&self.indices) {
            for (cells, indices) in branch.cells.iter_mut().zip(&indices.cells) {
                for (cell, first) in cells.iter_mut().zip(indices) {
                    let [ih, hh, bias] =
                        [0, 1, 2].map(|n| &self.weights[first + n].tensor.values[..]);
                    cell.pack(ih, hh, bias);
                }
            }
        }
    }

    fn head(&self) -> (&[f32], &[f32]) {
        let [weight, bias] = [0, 1].map(|n| &self.weights[self.head_index + n].tensor.values[..]);
        (weight, bias)
    }

    /// Returns the log-probability of each class for every example, [B, C], in the order of the batch.
    pub fn log_probabilities(&self, batch: &ShardedBatch) -> Vec<f64> {
        let mode = Mode { backward: false, dropout: None };
        let mut all = vec![0.0; batch.examples * self.classes];
        let shards: Vec<Vec<f64>> = batch
            .shards
            .par_iter()
            .map(|shard| {
                let idle = || self.idle_workspaces.lock().unwrap_or_else(PoisonError::into_inner);
                let mut work = idle().pop().unwrap_or_default();
                let mut rows = Vec::new();
                self.classify_shard(shard, &mut work, mode, |row| rows.extend_from_slice(row));
                idle().push(work);
                rows
            })
            .collect();
        for (shard, rows) in batch.shards.iter().zip(&shards) {
            for (position, row) in shard.positions.iter().zip(rows.chunks_exact(self.classes)) {
                all[*position as usize * self.classes..][..self.classes].copy_from_slice(row);
            }
        }
        all
    }

    /// Returns the states of every layer, from the bottom, and every direction of input `input` over
    /// one text.
    pub fn states(&self, input: usize, corpus: &Corpus, example: u32) -> Vec<Vec<CellStates>> {
        let branch = &self.branches[input];
        let embedding = &self.weights[self.indices[input].embedding].tensor.values;
        branch.states(&single_text(input, &branch.input, corpus, example), embedding)
    }

    /// Returns the mean loss over the examples of a batch, and writes its gradient to `gradients`.
    pub fn gradients(
        &mut self,
        batch: &ShardedBatch,
        loss_function: &(impl LossFunction + ?Sized),
        dropout: Option<&Dropout>,
        gradients: &mut Gradients,
    ) -> BatchLoss {
        let total = batch.weight(loss_function);
        let mode = Mode { backward: true, dropout };
        let mut workspaces = std::mem::take(&mut self.workspaces);
        workspaces.resize_with(batch.shards.len().max(workspaces.len()), ShardWorkspace::default);
        let network = &*self;
        let start = Instant::now();
        workspaces.par_iter_mut().zip(&batch.shards).for_each(|(work, shard)| {
            network.shard_gradients(shard, work, loss_function, total, mode);
        });
        let mut waiting = start.elapsed().as_secs_f64();
        let used = &mut workspaces[..batch.shards.len()];
        for work in &mut *used {
            for (part, seconds) in work.times.0.drain(..) {
                let share = seconds / batch.shards.len() as f64;
                self.times.add(part, share);
                waiting -= share;
            }
        }
        self.times.add("wait", waiting);
        let start = Instant::now();
        self.merge(batch, used, gradients);
        self.times.add("merge", start.elapsed().as_secs_f64());
        let loss = BatchLoss {
            mean: used.iter().map(|work| work.loss).sum::<f64>() / total,
            correct: used.iter().map(|work| work.correct).sum(),
        };
        self.workspaces = workspaces;
        loss
    }

    /// Forward pass over a shard. Calls `visit` with the log-probabilities of each example in turn.
    fn classify_shard(
        &self,
        shard: &Shard,
        work: &mut ShardWorkspace,
        mode: Mode,
        mut visit: impl FnMut(&[f64]),
    ) {
        work.branches.resize_with(self.branches.len(), Workspace::default);
        self.begin_shard(shard, work, mode);
        let (weight, bias) = self.head();
        let stride = weight.len() / bias.len();
        let mut row = Vec::new();
        for block in 0..shard.blocks.len() {
            self.pooled_features(shard, block, work, mode, stride);
            for features in work.features.chunks_exact(stride) {
                logits(features, weight, bias, &mut row);
                log_softmax(&mut row);
                visit(&row);
            }
        }
    }

    fn begin_shard(&self, shard: &Shard, work: &mut ShardWorkspace, mode: Mode) {
        for (index, branch) in self.branches.iter().enumerate() {
            let embedding = &self.weights[self.indices[index].embedding].tensor.values;
            branch.begin_shard(&shard.inputs[index], embedding, &mut work.branches[index], mode);
        }
    }

    /// Computes the pooled features of a block, [examples, stride], in `work.features`.
    fn pooled_features(
        &self,
        shard: &Shard,
        block: usize,
        work: &mut ShardWorkspace,
        mode: Mode,
        stride: usize,
    ) {
        let positions = &shard.positions[shard.blocks[block].clone()];
        work.features.clear();
        work.features.resize(positions.len() * stride, 0.0);
        let mut offset = 0;
        for (index, branch) in self.branches.iter().enumerate() {
            let (texts, buffers) = (&shard.inputs[index], &mut work.branches[index]);
            let pooled = Pooled { features: &mut work.features, stride, offset };
            branch.forward(texts, block, positions, buffers, mode, pooled);
            offset += branch.features();
        }
    }

    /// Forward and backward pass over a shard.
    fn shard_gradients(
        &self,
        shard: &Shard,
        work: &mut ShardWorkspace,
        loss_function: &(impl LossFunction + ?Sized),
        total: f64,
        mode: Mode,
    ) {
        work.branches.resize_with(self.branches.len(), Workspace::default);
        let mut times = std::mem::take(&mut work.times);
        times.measure("embed", || self.begin_shard(shard, work, mode));
        let (weight, bias) = self.head();
        let stride = weight.len() / bias.len();
        for (gradient, like) in [(&mut work.head_weight, weight), (&mut work.head_bias, bias)] {
            gradient.clear();
            gradient.resize(like.len(), 0.0);
        }
        (work.loss, work.correct) = (0.0, 0);
        let mut row = Vec::new();
        for (block, range) in shard.blocks.iter().enumerate() {
            times.measure("forward", || self.pooled_features(shard, block, work, mode, stride));
            let start = Instant::now();
            let positions = &shard.positions[range.clone()];
            work.dropped_features.clone_from(&work.features);
            work.features_gradient.clear();
            work.features_gradient.resize(work.features.len(), 0.0);
            for (index, example) in range.clone().enumerate() {
                let features = &mut work.dropped_features[index * stride..][..stride];
                let gradient = &mut work.features_gradient[index * stride..][..stride];
                if let Some(dropout) = mode.dropout {
                    dropout.head(positions[index], self.head_dropout, features);
                }
                logits(features, weight, bias, &mut row);
                loss_function.log_probabilities(&mut row);
                let target = shard.targets.get(example);
                work.correct += u64::from(loss_function.is_correct(&row, target));
                work.loss += loss_function.loss(&mut row, target);
                let first = row.len() - bias.len();
                for (logit, slope) in row[first..].iter().enumerate() {
                    let slope = (slope / total) as f32;
                    work.head_bias[logit] += slope;
                    let to = &mut work.head_weight[logit * stride..][..stride];
                    to.iter_mut().zip(&*features).for_each(|(to, feature)| *to += slope * feature);
                    let from = &weight[logit * stride..][..stride];
                    gradient.iter_mut().zip(from).for_each(|(to, weight)| *to += slope * weight);
                }
                if let Some(dropout) = mode.dropout {
                    dropout.head(positions[index], self.head_dropout, gradient);
                }
            }
            times.add("head", start.elapsed().as_secs_f64());
            let start = Instant::now();
            let mut offset = 0;
            for (index, branch) in self.branches.iter().enumerate() {
                let (texts, buffers) = (&shard.inputs[index], &mut work.branches[index]);
                let (features, gradients) = (&work.features, &work.features_gradient);
                let pooled = PooledGradient { features, gradients, stride, offset };
                branch.backward(texts, block, positions, buffers, mode, pooled);
                offset += branch.features();
            }
            times.add("backward", start.elapsed().as_secs_f64());
        }
        times.measure("embed", || {
            for (index, branch) in self.branches.iter().enumerate() {
                branch.end_shard(&shard.inputs[index], &mut work.branches[index], mode);
            }
        });
        work.times = times;
    }

    /// Adds the gradients of the shards, always in the same order, and converts them to PyTorch's
    /// layout.
    fn merge(
        &self,
        batch: &ShardedBatch,
        workspaces: &mut [ShardWorkspace],
        gradients: &mut Gradients,
    ) {
        gradients.dense.resize_with(self.weights.len(), Vec::new);
        type Field = fn(&ShardWorkspace) -> &Vec<f32>;
        let fields: [Field; 2] = [|work| &work.head_weight, |work| &work.head_bias];
        for (parameter, field) in (self.head_index..).zip(fields) {
            let gradient = &mut gradients.dense[parameter];
            gradient.clone_from(field(&workspaces[0]));
            for work in &workspaces[1..] {
                gradient.iter_mut().zip(field(work)).for_each(|(sum, value)| *sum += value);
            }
        }
        for (index, (branch, indices)) in self.branches.iter().zip(&self.indices).enumerate() {
            for (layer, cells) in branch.cells.iter().enumerate() {
                for (direction, cell) in cells.iter().enumerate() {
                    let (first, others) = workspaces.split_at_mut(1);
                    let sum = &mut first[0].branches[index].gradients[layer][direction];
                    for work in others {
                        sum.add(&work.branches[index].gradients[layer][direction]);
                    }
                    let (units, lanes) = (cell.units, self.instructions.lanes());
                    let first_weight = indices.cells[layer][direction];
                    let dense = &mut gradients.dense;
                    unpack(&sum.input, cell.inputs, units, lanes, &mut dense[first_weight]);
                    unpack(&sum.recurrent, units, units, lanes, &mut dense[first_weight + 1]);
                    unpack(&sum.bias, 1, units, lanes, &mut dense[first_weight + 2]);
                }
            }
        }
        let trained =
            self.branches.iter().enumerate().filter(|(_, branch)| branch.input.embedding.trainable);
        let trained: Vec<usize> = trained.map(|(index, _)| index).collect();
        gradients.rows.resize_with(trained.len(), RowGradient::default);
        for (index, sum) in trained.into_iter().zip(&mut gradients.rows) {
            let branch = &self.branches[index];
            let (size, stride) = (branch.input.embedding.size, branch.padded_embedding_size());
            sum.parameter = self.indices[index].embedding;
            sum.words.clone_from(&batch.words[index]);
            sum.values.clear();
            sum.values.resize(sum.words.len() * size, 0.0);
            for (work, shard) in workspaces.iter().zip(&batch.shards) {
                let rows = work.branches[index].word_gradients.chunks_exact(stride);
                for (from, row) in rows.zip(&shard.inputs[index].union_rows) {
                    let to = &mut sum.values[*row as usize * size..][..size];
                    to.iter_mut().zip(from).for_each(|(sum, value)| *sum += value);
                }
            }
        }
    }
}

/// Unpacks [columns, P/lanes, i f g o, lanes] to [4H, columns].
fn unpack(packed: &[f32], columns: usize, units: usize, lanes: usize, plain: &mut Vec<f32>) {
    plain.resize(4 * units * columns, 0.0);
    let gates_width = 4 * units.next_multiple_of(lanes);
    for gate in 0..4 {
        for unit in 0..units {
            let from = packed_index(gate, unit, lanes);
            let row = &mut plain[(gate * units + unit) * columns..][..columns];
            for (column, value) in row.iter_mut().enumerate() {
                *value = packed[column * gates_width + from];
            }
        }
    }
}

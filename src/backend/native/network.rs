//! The whole network on all threads: branches, head and loss.

use std::time::Instant;

use anyhow::Context;
use rayon::prelude::*;

use super::branch::{Branch, Mode, Pass, Pooled, PooledGradient, SequenceStates, Workspace};
use super::dropout::Dropout;
use super::gradients::{Gradients, RowGradient};
use super::head::logits;
use super::idle::Idle;
use super::ngrams::NgramBranch;
use super::perturbation::Perturbation;
use super::shard_sum::{BranchSum, ShardSum, WordRows};
use super::sharding::{Shard, ShardTexts, ShardedBatch, single_text};
use super::weight::Weight;
use crate::backend::kernel::{GATES, Instructions, packed_index};
use crate::backend::{BatchLoss, Times};
use crate::config::{AdversarialConfig, Input};
use crate::model::named_tensors::{NamedTensor, indices};
use crate::model::parameters::{
    ModelSpec, Parameter, Role, cell_name, embedding_name, in_order, parameters, query_name,
};
use crate::objective::{LossFunction, log_softmax};
use crate::text::Corpus;

/// A network: its weights, plain and packed, and the buffers to compute with.
pub struct Network {
    instructions: Instructions,
    weights: Vec<Weight>,
    /// Branches of the inputs that have an LSTM.
    branches: Vec<Branch>,
    /// Indices of the weights of each branch.
    indices: Vec<BranchIndices>,
    /// Branches of the inputs that have n-grams.
    ngrams: Vec<NgramBranch>,
    /// Number of inputs.
    inputs: usize,
    /// Index of head.weight, if there is an LSTM.
    head_weight: Option<usize>,
    /// Index of head.bias.
    head_bias: usize,
    head_dropout: f64,
    classes: usize,
    idle_workspaces: Idle<ShardWorkspace>,
    idle_sums: Idle<ShardSum>,
    /// Wall time of training steps, by part.
    pub times: Times,
}

/// Indices of the weights of a branch.
struct BranchIndices {
    embedding: usize,
    /// Index of weight_ih for each layer and direction; weight_hh and bias_ih follow it.
    cells: Vec<Vec<usize>>,
    /// Index of the query of attention pooling.
    query: Option<usize>,
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
        let query = input.has_attention().then(|| index(query_name(input))).transpose()?;
        Ok(Self { embedding: index(embedding_name(input))?, cells, query })
    }
}

/// Buffers of a thread that computes a shard.
#[derive(Default)]
struct ShardWorkspace {
    branches: Vec<Workspace>,
    /// Pooled features of the current block, [examples, D].
    features: Vec<f32>,
    /// The same features after dropout.
    dropped_features: Vec<f32>,
    /// Gradient of the features.
    features_gradient: Vec<f32>,
    /// Log-probabilities of the current example; later the gradient of its logits.
    row: Vec<f64>,
}

/// Batch and settings of a training step.
struct Step<'a, Loss: ?Sized> {
    batch: &'a ShardedBatch,
    loss_function: &'a Loss,
    /// Sum of the weights of all examples.
    total: f64,
    mode: Mode<'a>,
    perturbation: Option<&'a Perturbation>,
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
        let with_lstm = || inputs.iter().enumerate().filter(|(_, input)| input.has_lstm());
        let indices = with_lstm().map(|(_, input)| BranchIndices::new(input, &parameters));
        let indices = indices.collect::<anyhow::Result<_>>()?;
        let branch = |(index, input): (usize, &Input)| Branch::new(input, index, instructions);
        let index = |role: Role| parameters.iter().position(|parameter| parameter.role == role);
        let ngrams = |input_index: usize| {
            let weight = index(Role::NgramWeight { input: input_index })?;
            let value = index(Role::NgramValue { input: input_index });
            Some(NgramBranch { input_index, weight, value })
        };
        let weight = |(tensor, parameter): (NamedTensor, &Parameter)| Weight {
            tensor,
            trainable: parameter.trainable,
            ngram_l2: match parameter.role {
                Role::NgramWeight { input } => Some(inputs[input].ngrams.l2 as f32),
                _ => None,
            },
        };
        let tensors = in_order(&parameters, weights)?.into_iter().zip(&parameters);
        let mut network = Self {
            instructions,
            weights: tensors.map(weight).collect(),
            branches: with_lstm().map(branch).collect(),
            indices,
            ngrams: (0..inputs.len()).filter_map(ngrams).collect(),
            inputs: inputs.len(),
            head_weight: index(Role::HeadWeight),
            head_bias: index(Role::HeadBias).context("the network has no head")?,
            head_dropout: spec.config.model.head.dropout,
            classes: spec.classes,
            idle_workspaces: Idle::default(),
            idle_sums: Idle::default(),
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
            if let Some(query) = indices.query {
                branch.query.clone_from(&self.weights[query].tensor.values);
            }
        }
    }

    fn head(&self) -> (&[f32], &[f32]) {
        let values = |index: usize| &self.weights[index].tensor.values[..];
        (self.head_weight.map_or(&[], values), values(self.head_bias))
    }

    /// Computes the logits of an example, given by its position in the batch, from its pooled features.
    fn logits(&self, batch: &ShardedBatch, position: u32, features: &[f32], row: &mut Vec<f64>) {
        let (weight, bias) = self.head();
        logits(features, weight, bias, row);
        let first = row.len() - bias.len();
        for branch in &self.ngrams {
            let ngrams = &batch.ngrams[branch.input_index];
            branch.add_logits(&self.weights, ngrams, position as usize, &mut row[first..]);
        }
    }

    /// Number of pooled features of all inputs.
    fn features(&self) -> usize {
        self.branches.iter().map(Branch::features).sum()
    }

    /// Returns the log-probability of each class for every example, [B, C], in the order of the batch.
    pub fn log_probabilities(&self, batch: &ShardedBatch) -> Vec<f64> {
        let mode = Mode { backward: false, dropout: None, padding: &[], pass: Pass::Only };
        let padding = self.run_padding(batch, mode);
        let mode = Mode { padding: &padding.branches, ..mode };
        let mut all = vec![0.0; batch.examples * self.classes];
        let shards: Vec<Vec<f64>> = batch
            .shards
            .par_iter()
            .map(|shard| {
                let mut work = self.idle_workspaces.take().unwrap_or_default();
                let mut rows = Vec::new();
                self.classify_shard(batch, shard, &mut work, mode, |row| {
                    rows.extend_from_slice(row);
                });
                self.idle_workspaces.put_back(work);
                rows
            })
            .collect();
        self.idle_workspaces.put_back(padding);
        for (shard, rows) in batch.shards.iter().zip(&shards) {
            for (position, row) in shard.positions.iter().zip(rows.chunks_exact(self.classes)) {
                all[*position as usize * self.classes..][..self.classes].copy_from_slice(row);
            }
        }
        all
    }

    /// Returns the perturbation of word vectors with these frequencies, of the words of each input;
    /// `None` without adversarial training.
    pub fn perturbation(
        &mut self,
        config: &AdversarialConfig,
        frequencies: &[Vec<f32>],
    ) -> Option<Perturbation> {
        let inputs = self.branches.iter().zip(&self.indices).map(|(branch, indices)| {
            let vectors = &self.weights[indices.embedding].tensor.values[..];
            (vectors, &frequencies[branch.input_index][..])
        });
        let new = || Perturbation::new(config, self.instructions, inputs);
        self.times.measure("adversarial", new)
    }

    /// Returns the states of input `input` over one text; none if it has no LSTM.
    pub fn states(&self, input: usize, corpus: &Corpus, example: u32) -> SequenceStates {
        let mut branches = self.branches.iter().zip(&self.indices);
        let found = branches.find(|(branch, _)| branch.input_index == input);
        let Some((branch, indices)) = found else { return SequenceStates::default() };
        let embedding = &self.weights[indices.embedding].tensor.values;
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
        self.adversarial_gradients(batch, loss_function, dropout, None, gradients)
    }

    /// Returns the mean loss over the examples of a batch, and writes to `gradients` the gradient of the
    /// sum of this loss and, if there is a perturbation, the weighted loss of the perturbed word vectors.
    pub fn adversarial_gradients(
        &mut self,
        batch: &ShardedBatch,
        loss_function: &(impl LossFunction + ?Sized),
        dropout: Option<&Dropout>,
        perturbation: Option<&Perturbation>,
        gradients: &mut Gradients,
    ) -> BatchLoss {
        let total = batch.weight(loss_function);
        let mode = Mode { backward: true, dropout, padding: &[], pass: Pass::Only };
        let start = Instant::now();
        let padding = self.run_padding(batch, mode);
        self.times.add("padding", start.elapsed().as_secs_f64());
        let pass = if perturbation.is_some() { Pass::First } else { Pass::Only };
        let step_mode = Mode { padding: &padding.branches, pass, ..mode };
        let step = Step { batch, loss_function, total, mode: step_mode, perturbation };
        let start = Instant::now();
        let mut sum = self.sum_of_shards(&batch.shards, &step);
        let elapsed = start.elapsed().as_secs_f64();
        let threads = rayon::current_num_threads().min(batch.shards.len()) as f64;
        let mut waiting = elapsed;
        for (part, seconds) in sum.times.0.drain(..) {
            self.times.add(part, seconds / threads);
            waiting -= seconds / threads;
        }
        self.times.add("wait", waiting);
        let start = Instant::now();
        self.padding_backward(batch, padding, &mut sum, mode);
        self.times.add("padding", start.elapsed().as_secs_f64());
        let start = Instant::now();
        self.unpack(batch, &sum, gradients);
        self.times.add("merge", start.elapsed().as_secs_f64());
        let loss = BatchLoss { mean: sum.loss / total, correct: sum.correct };
        self.idle_sums.put_back(sum);
        loss
    }

    /// Returns the sum of the gradients of some consecutive shards of a batch, in parallel.
    ///
    /// The sums form a binary tree whose shape depends only on the number of shards: the first half
    /// of them, rounded up to a power of two, plus the others. The rounding errors are therefore the
    /// same whatever threads compute the shards, and also if several processes compute subtrees. A
    /// thread keeps one sum for each level of the tree, not one for each shard.
    fn sum_of_shards(&self, shards: &[Shard], step: &Step<impl LossFunction + ?Sized>) -> ShardSum {
        if let [shard] = shards {
            return self.shard_gradients(shard, step);
        }
        let (left, right) = shards.split_at(shards.len().next_power_of_two() / 2);
        let sum = |shards| self.sum_of_shards(shards, step);
        let (mut sum, other) = rayon::join(|| sum(left), || sum(right));
        let start = Instant::now();
        sum.add(&other);
        sum.times.add("merge", start.elapsed().as_secs_f64());
        self.idle_sums.put_back(other);
        sum
    }

    /// Runs the layers of each input over the padding that the texts of the batch share.
    fn run_padding(&self, batch: &ShardedBatch, mode: Mode) -> ShardWorkspace {
        let mut work = self.idle_workspaces.take().unwrap_or_default();
        work.branches.resize_with(self.inputs, Workspace::default);
        for (branch, indices) in self.branches.iter().zip(&self.indices) {
            let input = branch.input_index;
            if let Some(texts) = &batch.shared_padding[input] {
                let embedding = &self.weights[indices.embedding].tensor.values;
                branch.run_padding(texts, embedding, &mut work.branches[input], mode);
            }
        }
        work
    }

    /// Backward pass over the shared padding, whose states have the gradients in `sum`. Adds the
    /// gradients of weights and words to `sum`.
    fn padding_backward(
        &self,
        batch: &ShardedBatch,
        mut work: ShardWorkspace,
        sum: &mut ShardSum,
        mode: Mode,
    ) {
        for (index, branch) in self.branches.iter().enumerate() {
            let input = branch.input_index;
            let Some(texts) = &batch.shared_padding[input] else { continue };
            let (sum, buffers) = (&mut sum.branches[index], &mut work.branches[input]);
            sum.swap_layers(buffers);
            branch.padding_backward(texts, buffers, mode);
            sum.swap_layers(buffers);
            let mut rows = WordRows::default();
            self.swap_words(batch, index, texts, &mut rows, buffers);
            sum.rows.add(&rows);
        }
        self.idle_workspaces.put_back(work);
    }

    /// Forward pass over a shard. Calls `visit` with the log-probabilities of each example in turn.
    fn classify_shard(
        &self,
        batch: &ShardedBatch,
        shard: &Shard,
        work: &mut ShardWorkspace,
        mode: Mode,
        mut visit: impl FnMut(&[f64]),
    ) {
        work.branches.resize_with(self.inputs, Workspace::default);
        self.begin_shard(shard, work, mode);
        let stride = self.features();
        for block in 0..shard.blocks.len() {
            self.pooled_features(shard, block, work, mode);
            let positions = &shard.positions[shard.blocks[block].clone()];
            for (example, position) in positions.iter().enumerate() {
                let features = &work.features[example * stride..][..stride];
                self.logits(batch, *position, features, &mut work.row);
                log_softmax(&mut work.row);
                visit(&work.row);
            }
        }
    }

    fn begin_shard(&self, shard: &Shard, work: &mut ShardWorkspace, mode: Mode) {
        for (index, branch) in self.branches.iter().enumerate() {
            let embedding = &self.weights[self.indices[index].embedding].tensor.values;
            let texts = &shard.inputs[branch.input_index];
            branch.begin_shard(texts, embedding, &mut work.branches[index], mode);
        }
    }

    /// Computes the pooled features of a block in `work.features`.
    fn pooled_features(&self, shard: &Shard, block: usize, work: &mut ShardWorkspace, mode: Mode) {
        let stride = self.features();
        let positions = &shard.positions[shard.blocks[block].clone()];
        work.features.clear();
        work.features.resize(positions.len() * stride, 0.0);
        let mut offset = 0;
        for (index, branch) in self.branches.iter().enumerate() {
            let texts = &shard.inputs[branch.input_index];
            let buffers = &mut work.branches[index];
            let pooled = Pooled { features: &mut work.features, stride, offset };
            branch.forward(texts, block, positions, buffers, mode, pooled);
            offset += branch.features();
        }
    }

    /// Forward and backward pass over a shard.
    fn shard_gradients(&self, shard: &Shard, step: &Step<impl LossFunction + ?Sized>) -> ShardSum {
        let mode = step.mode;
        let mut work = self.idle_workspaces.take().unwrap_or_default();
        let mut sum = self.idle_sums.take().unwrap_or_default();
        work.branches.resize_with(self.inputs, Workspace::default);
        sum.branches.resize_with(self.branches.len(), BranchSum::default);
        for (sum, buffers) in sum.branches.iter_mut().zip(&mut work.branches) {
            sum.swap_layers(buffers);
            sum.rows.swap_values(buffers);
        }
        let mut times = Times::default();
        times.measure("embed", || self.begin_shard(shard, &mut work, mode));
        let (weight, bias) = self.head();
        for (gradient, like) in [(&mut sum.head_weight, weight), (&mut sum.head_bias, bias)] {
            gradient.clear();
            gradient.resize(like.len(), 0.0);
        }
        sum.logits.clear();
        if !self.ngrams.is_empty() {
            sum.logits.resize(step.batch.examples * bias.len(), 0.0);
        }
        (sum.loss, sum.correct) = (0.0, 0);
        for block in 0..shard.blocks.len() {
            times.measure("forward", || self.pooled_features(shard, block, &mut work, mode));
            times.measure("head", || self.head_gradients(shard, block, &mut work, &mut sum, step));
            times.measure("backward", || self.backward(shard, block, &mut work, mode));
            if let Some(perturbation) = step.perturbation {
                times.measure("adversarial", || {
                    self.perturb(shard, block, &mut work, perturbation);
                    let mode = Mode { pass: Pass::Perturbed, ..mode };
                    self.pooled_features(shard, block, &mut work, mode);
                    self.head_gradients(shard, block, &mut work, &mut sum, &Step { mode, ..*step });
                    self.backward(shard, block, &mut work, mode);
                });
            }
        }
        times.measure("embed", || {
            for (index, branch) in self.branches.iter().enumerate() {
                branch.end_shard(&mut work.branches[index], mode);
            }
        });
        for (index, sum) in sum.branches.iter_mut().enumerate() {
            let buffers = &mut work.branches[index];
            sum.swap_layers(buffers);
            let texts = &shard.inputs[self.branches[index].input_index];
            self.swap_words(step.batch, index, texts, &mut sum.rows, buffers);
        }
        sum.times = times;
        self.idle_workspaces.put_back(work);
        sum
    }

    /// Moves the gradients of the words of some texts of the branch at `index` to `rows`.
    fn swap_words(
        &self,
        batch: &ShardedBatch,
        index: usize,
        texts: &ShardTexts,
        rows: &mut WordRows,
        buffers: &mut Workspace,
    ) {
        let branch = &self.branches[index];
        let words = match branch.input.embedding.trainable {
            true => &texts.union_rows[..],
            false => &[],
        };
        rows.swap_values(buffers);
        let count = batch.words[branch.input_index].len();
        rows.set_words(words, count, branch.padded_embedding_size());
    }

    /// Computes the logits of a block and their loss. Adds loss and gradients of the head to `sum`, and
    /// writes the gradient of the features to `work`. The loss of perturbed inputs only counts in gradients.
    fn head_gradients(
        &self,
        shard: &Shard,
        block: usize,
        work: &mut ShardWorkspace,
        sum: &mut ShardSum,
        step: &Step<impl LossFunction + ?Sized>,
    ) {
        let (stride, (weight, bias)) = (self.features(), self.head());
        let perturbed = step.perturbation.filter(|_| step.mode.pass == Pass::Perturbed);
        let total = step.total / perturbed.map_or(1.0, |perturbation| perturbation.weight);
        let ShardWorkspace { features, dropped_features, features_gradient, row, .. } = work;
        dropped_features.clone_from(features);
        features_gradient.clear();
        features_gradient.resize(features.len(), 0.0);
        for (index, example) in shard.blocks[block].clone().enumerate() {
            let features = &mut dropped_features[index * stride..][..stride];
            let gradient = &mut features_gradient[index * stride..][..stride];
            let drop_out = |values: &mut [f32]| {
                if let Some(dropout) = step.mode.dropout {
                    dropout.head(shard.positions[example], self.head_dropout, values);
                }
            };
            drop_out(features);
            self.logits(step.batch, shard.positions[example], features, row);
            step.loss_function.log_probabilities(row);
            let target = shard.targets.get(example);
            let correct = step.loss_function.is_correct(row, target);
            let loss = step.loss_function.loss(row, target);
            if perturbed.is_none() {
                sum.correct += u64::from(correct);
                sum.loss += loss;
            }
            let first = row.len() - bias.len();
            for (logit, slope) in row[first..].iter().enumerate() {
                let slope = (slope / total) as f32;
                sum.head_bias[logit] += slope;
                if !self.ngrams.is_empty() {
                    let position = shard.positions[example] as usize;
                    sum.logits[position * bias.len() + logit] += slope;
                }
                let to = &mut sum.head_weight[logit * stride..][..stride];
                to.iter_mut().zip(&*features).for_each(|(to, feature)| *to += slope * feature);
                let from = &weight[logit * stride..][..stride];
                gradient.iter_mut().zip(from).for_each(|(to, weight)| *to += slope * weight);
            }
            drop_out(gradient);
        }
    }

    /// Turns the gradients of the inputs of all branches over a block into their perturbations.
    fn perturb(
        &self,
        shard: &Shard,
        block: usize,
        work: &mut ShardWorkspace,
        perturbation: &Perturbation,
    ) {
        let mut squares = vec![0.0; shard.blocks[block].len()];
        let inputs = || {
            let branches = self.branches.iter();
            let texts = branches.map(|branch| (branch, &shard.inputs[branch.input_index]));
            texts.zip(&perturbation.deviations)
        };
        for (((branch, texts), deviations), buffers) in inputs().zip(&mut work.branches) {
            branch.normalize_gradient(texts, block, buffers, deviations, &mut squares);
        }
        let factors: Vec<f32> =
            squares.into_iter().map(|square| perturbation.factor(square)).collect();
        for (((branch, texts), deviations), buffers) in inputs().zip(&mut work.branches) {
            branch.perturb(texts, block, buffers, deviations, &factors);
        }
    }

    /// Backward pass of all branches over a block, from the gradient of the features.
    fn backward(&self, shard: &Shard, block: usize, work: &mut ShardWorkspace, mode: Mode) {
        let (stride, positions) = (self.features(), &shard.positions[shard.blocks[block].clone()]);
        let mut offset = 0;
        for (index, branch) in self.branches.iter().enumerate() {
            let texts = &shard.inputs[branch.input_index];
            let buffers = &mut work.branches[index];
            let (features, gradients) = (&work.features, &work.features_gradient);
            let pooled = PooledGradient { features, gradients, stride, offset };
            branch.backward(texts, block, positions, buffers, mode, pooled);
            offset += branch.features();
        }
    }

    /// Converts the sum of all shards to PyTorch's layout.
    fn unpack(&self, batch: &ShardedBatch, sum: &ShardSum, gradients: &mut Gradients) {
        gradients.dense.resize_with(self.weights.len(), Vec::new);
        if let Some(weight) = self.head_weight {
            gradients.dense[weight].clone_from(&sum.head_weight);
        }
        gradients.dense[self.head_bias].clone_from(&sum.head_bias);
        let lanes = self.instructions.lanes();
        for (index, (branch, indices)) in self.branches.iter().zip(&self.indices).enumerate() {
            for (layer, cells) in branch.cells.iter().enumerate() {
                for (direction, cell) in cells.iter().enumerate() {
                    let sum = &sum.branches[index].cells[layer][direction];
                    let units = cell.units;
                    let first_weight = indices.cells[layer][direction];
                    let dense = &mut gradients.dense;
                    unpack(&sum.input, cell.inputs, units, lanes, &mut dense[first_weight]);
                    unpack(&sum.recurrent, units, units, lanes, &mut dense[first_weight + 1]);
                    unpack(&sum.bias, 1, units, lanes, &mut dense[first_weight + 2]);
                }
            }
            if let Some(query) = indices.query {
                gradients.dense[query].clone_from(&sum.branches[index].query);
            }
        }
        let trained =
            self.branches.iter().enumerate().filter(|(_, branch)| branch.input.embedding.trainable);
        let trained: Vec<usize> = trained.map(|(index, _)| index).collect();
        gradients.rows.resize_with(trained.len(), RowGradient::default);
        for (index, gradient) in trained.into_iter().zip(&mut gradients.rows) {
            let size = self.branches[index].input.embedding.size;
            gradient.parameter = self.indices[index].embedding;
            gradient.words.clone_from(&batch.words[self.branches[index].input_index]);
            // The sum has a row for each word, which replaces the values of an earlier batch.
            gradient.values.resize(gradient.words.len() * size, 0.0);
            for (word, row) in sum.branches[index].rows.iter() {
                gradient.values[word * size..][..size].copy_from_slice(&row[..size]);
            }
        }
        gradients.ngrams.resize_with(self.ngrams.len(), RowGradient::default);
        for (branch, gradient) in self.ngrams.iter().zip(&mut gradients.ngrams) {
            let ngrams = &batch.ngrams[branch.input_index];
            branch.gradient(&self.weights, ngrams, &sum.logits, gradient);
        }
    }
}

/// Unpacks [columns, P/lanes, i f g o, lanes] to [4H, columns].
fn unpack(packed: &[f32], columns: usize, units: usize, lanes: usize, plain: &mut Vec<f32>) {
    plain.resize(GATES * units * columns, 0.0);
    let gates_width = GATES * units.next_multiple_of(lanes);
    for gate in 0..GATES {
        for unit in 0..units {
            let from = packed_index(gate, unit, lanes);
            let row = &mut plain[(gate * units + unit) * columns..][..columns];
            for (column, value) in row.iter_mut().enumerate() {
                *value = packed[column * gates_width + from];
            }
        }
    }
}

//! Loss and gradients of a batch on all threads: the shards forward and backward, and their sum.

use std::time::Instant;

use super::{Network, ShardWorkspace};
use crate::backend::kernel::{GATES, packed_index};
use crate::backend::native::branch::{Mode, Pass, PooledGradient, Workspace};
use crate::backend::native::dropout::Dropout;
use crate::backend::native::gradients::{Gradients, RowGradient};
use crate::backend::native::perturbation::Perturbation;
use crate::backend::native::shard_sum::{BranchSum, ShardSum, WordRows};
use crate::backend::native::sharding::{Shard, ShardTexts, ShardedBatch};
use crate::backend::{BatchLoss, Times};
use crate::config::AdversarialConfig;
use crate::objective::LossFunction;

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

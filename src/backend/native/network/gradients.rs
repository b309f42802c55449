//! Loss and gradients of a batch on all threads: the shards forward and backward, and their sum.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rayon::prelude::*;

use super::{Block, Network, ShardWorkspace};
use crate::backend::kernel::{GATES, packed_index};
use crate::backend::native::branch::{
    Branch, Mode, Pass, PooledGradient, ProjectedWords, Workspace,
};
use crate::backend::native::dropout::Dropout;
use crate::backend::native::gradients::{Gradients, RowGradient};
use crate::backend::native::head::logits;
use crate::backend::native::perturbation::{Normalization, Perturbation, factor_to};
use crate::backend::native::shard_sum::{BranchSum, LossSum, ShardSum, WordRows};
use crate::backend::native::shard_tree;
use crate::backend::native::sharding::{Shard, ShardTexts, ShardedBatch};
use crate::backend::native::weight::Weight;
use crate::backend::{BatchLoss, Times};
use crate::objective::{AddedLosses, LossFunction};

/// Batch and settings of a training step.
struct Step<'a, Passes> {
    batch: &'a ShardedBatch,
    mode: Mode<'a>,
    passes: &'a Passes,
    /// Keeps words of each shard for [`Network::word_gradients`]; empty if they are not postponed.
    postponed: &'a [Mutex<PostponedWords>],
}

/// Projected words of a shard, for each branch.
#[derive(Default)]
struct PostponedWords(Vec<Option<ProjectedWords>>);

/// Losses and gradients of the shards that a process computes, in the layout of the kernel.
pub struct PartialGradients {
    /// Sums of the shards of subtrees of [`shard_tree`], in order. A process without shards has one, of no
    /// shard.
    pub sums: Vec<ShardSum>,
    /// States of the padding that the texts of the batch share.
    padding: ShardWorkspace,
    /// Words of each shard whose gradients are still to be computed, by [`Network::word_gradients`]. Empty if the
    /// sums have them.
    postponed: Vec<Mutex<PostponedWords>>,
}

impl PartialGradients {
    /// Returns true if [`Network::word_gradients`] has to compute gradients of words.
    pub fn has_postponed_words(&self) -> bool {
        !self.postponed.is_empty()
    }

    /// Adds the sums of [`Network::word_gradients`], of which there is one, as of the other gradients.
    pub fn set_words(&mut self, words: Vec<ShardSum>) {
        for (sum, words) in self.sums.iter_mut().zip(words) {
            sum.set_words(words);
        }
        self.postponed.clear();
    }
}

/// Passes over the blocks of a batch, which compute their gradients.
pub(super) trait BlockPasses: Sync {
    /// Computes the losses and gradients of a block, after [`Network::begin_shard`], and adds them to `sum`.
    fn run(
        &self,
        network: &Network,
        block: Block,
        work: &mut ShardWorkspace,
        sum: &mut ShardSum,
        times: &mut Times,
    );
}

/// The logits of an example that a loss is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LossOf {
    /// The logits of all branches together.
    Sum,
    /// The logits of the LSTMs, without the bias.
    Lstms,
    /// The logits of the n-grams, with the bias.
    Ngrams,
}

/// Passes over labelled examples.
struct LabelledPasses<'a, Loss: ?Sized> {
    loss_function: &'a Loss,
    /// Sum of the weights of all examples.
    total: f64,
    perturbation: Option<Perturbation<'a>>,
}

impl<Loss: LossFunction + ?Sized> BlockPasses for LabelledPasses<'_, Loss> {
    fn run(
        &self,
        network: &Network,
        block: Block,
        work: &mut ShardWorkspace,
        sum: &mut ShardSum,
        times: &mut Times,
    ) {
        let Self { loss_function, total, perturbation } = *self;
        let target = |example: usize| block.shard.targets.get(example);
        let pass = if perturbation.is_some() { Pass::First } else { Pass::Only };
        let first = block.with_pass(pass);
        times.measure("forward", || network.pooled_features(first, work));
        times.measure("head", || {
            let LossSum { mut loss, mut correct, added } = sum.losses;
            network.head_gradients(
                first,
                work,
                sum,
                network.labelled_losses(),
                |of, example, row| {
                    loss_function.log_probabilities(row);
                    let is_correct = loss_function.is_correct(row, target(example));
                    let loss_of_example = loss_function.loss(row, target(example));
                    if of == LossOf::Sum {
                        correct += u64::from(is_correct);
                        loss += loss_of_example;
                    }
                    row.iter_mut().for_each(|slope| *slope /= total);
                },
            );
            sum.losses = LossSum { loss, correct, added };
        });
        times.measure("backward", || network.backward(first, work));
        let Some(Perturbation { epsilon, weight, normalization }) = perturbation else { return };
        times.measure("adversarial", || {
            network.perturb(block, work, normalization, epsilon);
            let perturbed = block.with_pass(Pass::Perturbed);
            network.pooled_features(perturbed, work);
            let mut loss = 0.0;
            network.head_gradients(
                perturbed,
                work,
                sum,
                network.lstm_losses(),
                |_, example, row| {
                    loss_function.log_probabilities(row);
                    loss += loss_function.loss(row, target(example));
                    row.iter_mut().for_each(|slope| *slope /= total / weight);
                },
            );
            sum.losses.added[AddedLosses::ADVERSARIAL] += loss / total;
            network.backward(perturbed, work);
        });
    }
}

impl Network {
    /// Returns the normalization of word vectors with these frequencies, of the words of each input.
    pub fn normalization(&mut self, frequencies: &[Vec<f32>]) -> Normalization {
        let inputs = self.branches.iter().zip(&self.indices).map(|(branch, indices)| {
            let vectors = &self.weights[indices.embedding].tensor.values[..];
            (vectors, &frequencies[branch.input_index][..])
        });
        let new = || Normalization::new(self.instructions, inputs);
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
        let partial = self.labelled_gradients(batch, loss_function, dropout, None, false);
        self.complete(batch, partial, dropout, gradients).mean(batch.weight(loss_function))
    }

    /// Computes the gradient of the mean loss over the examples of a batch and, if there is a perturbation, of
    /// the weighted loss of the perturbed word vectors. Can leave gradients of words to
    /// [`Network::word_gradients`].
    pub fn labelled_gradients(
        &mut self,
        batch: &ShardedBatch,
        loss_function: &(impl LossFunction + ?Sized),
        dropout: Option<&Dropout>,
        perturbation: Option<Perturbation>,
        postpones_words: bool,
    ) -> PartialGradients {
        let total = batch.weight(loss_function);
        let passes = LabelledPasses { loss_function, total, perturbation };
        self.partial_gradients(batch, dropout, &passes, postpones_words)
    }

    /// Returns true if the gradients of layers are so large that computing those of words takes about as long as
    /// summing them over processes.
    pub fn has_large_layers(&self) -> bool {
        /// Size from which the time to transfer exceeds the latency of a network.
        const LARGE: usize = 1 << 18;
        let is_layer = |weight: &&Weight| weight.ngram_l2.is_none() && weight.trainable;
        let embeddings = self.indices.iter().map(|indices| indices.embedding);
        let embeddings: usize =
            embeddings.map(|index| self.weights[index].tensor.values.len()).sum();
        let all = self.weights.iter().filter(is_layer);
        let all: usize = all.map(|weight| weight.tensor.values.len()).sum();
        all.saturating_sub(embeddings) >= LARGE
    }

    /// Computes the postponed gradients of the words of a batch, as a sum for each subtree, like
    /// [`PartialGradients::sums`].
    pub fn word_gradients(
        &self,
        batch: &ShardedBatch,
        partial: &PartialGradients,
        dropout: Option<&Dropout>,
    ) -> Vec<ShardSum> {
        let mode = Mode { backward: true, dropout, padding: &[], pass: Pass::Only };
        let of_shard = |shard: &Shard, index: usize| {
            let words = &partial.postponed[index];
            let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
            let (mut sum, mut work) =
                (ShardSum::default(), self.idle_workspaces.take().unwrap_or_default());
            work.branches.resize_with(self.inputs, Workspace::default);
            sum.branches.resize_with(self.branches.len(), BranchSum::default);
            for (index, words) in words.0.iter_mut().enumerate() {
                let (branch, buffers) = (&self.branches[index], &mut work.branches[index]);
                let Some(words) = words else {
                    let rows = &mut sum.branches[index].rows;
                    rows.set_words(&[], 0, branch.padded_embedding_size());
                    continue;
                };
                branch.end_postponed_shard(words, buffers, mode);
                let sum = &mut sum.branches[index];
                sum.swap_layers(buffers);
                let texts = &shard.inputs[branch.input_index];
                self.swap_words(batch, index, texts, &mut sum.rows, buffers);
            }
            self.idle_workspaces.put_back(work);
            sum
        };
        let of_own = |index: usize| of_shard(&batch.shards[index], index - batch.own.start);
        match &batch.without_texts {
            Some(shard) => vec![of_shard(shard, 0)],
            None => self.sums_of_subtrees(batch, &of_own),
        }
    }

    /// Runs `passes` over all blocks of the shards of a batch that this process computes.
    pub(super) fn partial_gradients(
        &mut self,
        batch: &ShardedBatch,
        dropout: Option<&Dropout>,
        passes: &impl BlockPasses,
        postpones_words: bool,
    ) -> PartialGradients {
        let mode = Mode { backward: true, dropout, padding: &[], pass: Pass::Only };
        let start = Instant::now();
        let padding = self.run_padding(batch, mode);
        self.times.add("padding", start.elapsed().as_secs_f64());
        let postpones_words = postpones_words
            && self.branches.iter().any(|branch| branch.projects_distinct_words(mode));
        let count = if postpones_words { batch.own.len().max(1) } else { 0 };
        let postponed: Vec<Mutex<PostponedWords>> = (0..count).map(|_| Mutex::default()).collect();
        let mode = Mode { padding: &padding.branches, ..mode };
        let step = Step { batch, mode, passes, postponed: &postponed };
        let start = Instant::now();
        let of_shard = |index: usize| {
            self.shard_gradients(&batch.shards[index], index - batch.own.start, &step)
        };
        let mut sums = match &batch.without_texts {
            Some(shard) => vec![self.shard_gradients(shard, 0, &step)],
            None => self.sums_of_subtrees(batch, &of_shard),
        };
        let elapsed = start.elapsed().as_secs_f64();
        let threads = rayon::current_num_threads().min(batch.own.len().max(1)) as f64;
        let mut waiting = elapsed;
        for (part, seconds) in sums.iter_mut().flat_map(|sum| sum.times.0.drain(..)) {
            self.times.add(part, seconds / threads);
            waiting -= seconds / threads;
        }
        self.times.add("wait", waiting);
        PartialGradients { sums, padding, postponed }
    }

    /// Completes the gradients of a batch, of which `partial` has one sum: that of all shards. Writes them to
    /// `gradients`, and returns the sum of the losses.
    pub fn complete(
        &mut self,
        batch: &ShardedBatch,
        partial: PartialGradients,
        dropout: Option<&Dropout>,
        gradients: &mut Gradients,
    ) -> LossSum {
        let mode = Mode { backward: true, dropout, padding: &[], pass: Pass::Only };
        let PartialGradients { sums, padding, .. } = partial;
        let Some(mut sum) = sums.into_iter().next() else { return LossSum::default() };
        let start = Instant::now();
        self.padding_backward(batch, padding, &mut sum, mode);
        self.times.add("padding", start.elapsed().as_secs_f64());
        let start = Instant::now();
        self.unpack(batch, &sum, gradients);
        self.times.add("merge", start.elapsed().as_secs_f64());
        let losses = sum.losses;
        self.idle_sums.put_back(sum);
        losses
    }

    /// Returns the sum of what `of_shard` computes for the shards of each of this process's subtrees of
    /// [`shard_tree`], in parallel.
    fn sums_of_subtrees(
        &self,
        batch: &ShardedBatch,
        of_shard: &(impl Fn(usize) -> ShardSum + Sync),
    ) -> Vec<ShardSum> {
        let own = shard_tree::subtrees(batch.shards.len(), &batch.own);
        own.into_par_iter().map(|shards| self.sum_of_shards(shards, of_shard)).collect()
    }

    /// Returns the sum over a subtree. A thread keeps one sum for each level of the tree, not one for each shard.
    fn sum_of_shards(
        &self,
        shards: Range<usize>,
        of_shard: &(impl Fn(usize) -> ShardSum + Sync),
    ) -> ShardSum {
        if shards.len() == 1 {
            return of_shard(shards.start);
        }
        let [left, right] = shard_tree::halves(&shards);
        let sum = |shards| self.sum_of_shards(shards, of_shard);
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

    /// Forward and backward pass over a shard, the one at `index` of this process.
    fn shard_gradients(
        &self,
        shard: &Shard,
        index: usize,
        step: &Step<impl BlockPasses>,
    ) -> ShardSum {
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
        sum.losses = LossSum::default();
        for block in 0..shard.blocks.len() {
            let block = Block { batch: step.batch, shard, index: block, mode };
            step.passes.run(self, block, &mut work, &mut sum, &mut times);
        }
        let postponed = step.postponed.get(index);
        let is_postponed =
            |branch: &Branch| postponed.is_some() && branch.projects_distinct_words(mode);
        times.measure("embed", || {
            let mut words = Vec::new();
            for (branch, buffers) in self.branches.iter().zip(&mut work.branches) {
                words.push(is_postponed(branch).then(|| {
                    let mut words = ProjectedWords::default();
                    buffers.swap_projected(&mut words);
                    buffers.remove_word_gradients();
                    words
                }));
                if !is_postponed(branch) {
                    branch.end_shard(buffers, mode);
                }
            }
            if let Some(postponed) = postponed {
                *postponed.lock().unwrap_or_else(PoisonError::into_inner) = PostponedWords(words);
            }
        });
        for (index, sum) in sum.branches.iter_mut().enumerate() {
            let buffers = &mut work.branches[index];
            sum.swap_layers(buffers);
            let branch = &self.branches[index];
            match is_postponed(branch) {
                true => sum.rows.set_words(&[], 0, branch.padded_embedding_size()),
                false => {
                    let texts = &shard.inputs[branch.input_index];
                    self.swap_words(step.batch, index, texts, &mut sum.rows, buffers);
                }
            }
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
        rows.swap_values(buffers);
        let (words, count) = match branch.input.embedding.trainable {
            true => (&texts.union_rows[..], batch.words[branch.input_index].len()),
            false => (&[][..], 0),
        };
        rows.set_words(words, count, branch.padded_embedding_size());
    }

    /// Losses of labelled examples. If the branches are separated, that of the sum is only measured.
    pub(super) fn labelled_losses(&self) -> &'static [LossOf] {
        match self.separates_branches {
            true => &[LossOf::Sum, LossOf::Lstms, LossOf::Ngrams],
            false => &[LossOf::Sum],
        }
    }

    /// Losses that have gradients of the LSTMs.
    pub(super) fn lstm_losses(&self) -> &'static [LossOf] {
        match self.separates_branches {
            true => &[LossOf::Lstms],
            false => &[LossOf::Sum],
        }
    }

    /// Computes the logits of a block, for each of the losses. `differentiate` replaces those of an example, given
    /// by its index in the shard, by the gradient of its loss with respect to them. Adds the gradients of the head
    /// and of n-grams to `sum` if the pass trains, and writes the gradient of the features to `work`.
    pub(super) fn head_gradients(
        &self,
        block: Block,
        work: &mut ShardWorkspace,
        sum: &mut ShardSum,
        losses: &[LossOf],
        mut differentiate: impl FnMut(LossOf, usize, &mut [f64]),
    ) {
        let Block { batch, shard, mode, .. } = block;
        let (stride, (weight, bias)) = (self.features(), self.head());
        let trains = mode.backward && mode.pass.trains();
        let no_bias = vec![0.0; bias.len()];
        let ShardWorkspace { features, dropped_features, features_gradient, row, .. } = work;
        dropped_features.clone_from(features);
        features_gradient.clear();
        features_gradient.resize(features.len(), 0.0);
        for (index, example) in block.examples().enumerate() {
            let position = shard.positions[example];
            let features = &mut dropped_features[index * stride..][..stride];
            let gradient = &mut features_gradient[index * stride..][..stride];
            let drop_out = |values: &mut [f32]| {
                if let Some(dropout) = mode.dropout {
                    dropout.head(position, self.head_dropout, values);
                }
            };
            drop_out(features);
            for of in losses {
                match of {
                    LossOf::Sum => self.logits(batch, position, features, row),
                    LossOf::Lstms => logits(features, weight, &no_bias, row),
                    LossOf::Ngrams => self.ngram_logits(batch, position, row),
                }
                differentiate(*of, example, row);
                let of_sum = *of == LossOf::Sum && !self.separates_branches;
                let slopes = row[row.len() - bias.len()..].iter().map(|slope| *slope as f32);
                if trains && (of_sum || *of == LossOf::Ngrams) {
                    for (logit, slope) in slopes.clone().enumerate() {
                        sum.head_bias[logit] += slope;
                        if !self.ngrams.is_empty() {
                            sum.logits[position as usize * bias.len() + logit] += slope;
                        }
                    }
                }
                if of_sum || *of == LossOf::Lstms {
                    for (logit, slope) in slopes.enumerate() {
                        if trains {
                            let to = &mut sum.head_weight[logit * stride..][..stride];
                            let pairs = to.iter_mut().zip(&*features);
                            pairs.for_each(|(to, feature)| *to += slope * feature);
                        }
                        let from = &weight[logit * stride..][..stride];
                        gradient
                            .iter_mut()
                            .zip(from)
                            .for_each(|(to, weight)| *to += slope * weight);
                    }
                }
            }
            drop_out(gradient);
        }
    }

    /// Turns the gradients of the inputs of all branches over a block into their perturbations, of norm
    /// `epsilon` for each example.
    pub(super) fn perturb(
        &self,
        block: Block,
        work: &mut ShardWorkspace,
        normalization: &Normalization,
        epsilon: f64,
    ) {
        let mut squares = vec![0.0; block.examples().len()];
        let branches = self.branches.iter().zip(&normalization.0);
        for ((branch, deviations), buffers) in branches.zip(&mut work.branches) {
            let texts = &block.shard.inputs[branch.input_index];
            branch.normalize_gradient(texts, block.index, buffers, deviations, &mut squares);
        }
        self.scale_perturbations(block, work, normalization, epsilon, &squares);
    }

    /// Gives the normalized perturbations of a block, whose squares have these sums for each example, the
    /// norm `norm`, and turns them into perturbations of the word vectors.
    pub(super) fn scale_perturbations(
        &self,
        block: Block,
        work: &mut ShardWorkspace,
        normalization: &Normalization,
        norm: f64,
        squares: &[f64],
    ) {
        let factors: Vec<f32> = squares.iter().map(|square| factor_to(norm, *square)).collect();
        let branches = self.branches.iter().zip(&normalization.0);
        for ((branch, deviations), buffers) in branches.zip(&mut work.branches) {
            let texts = &block.shard.inputs[branch.input_index];
            branch.perturb(texts, block.index, buffers, deviations, &factors);
        }
    }

    /// Backward pass of all branches over a block, from the gradient of the features.
    pub(super) fn backward(&self, block: Block, work: &mut ShardWorkspace) {
        let (stride, positions) = (self.features(), block.positions());
        let mut offset = 0;
        for (index, branch) in self.branches.iter().enumerate() {
            let texts = &block.shard.inputs[branch.input_index];
            let buffers = &mut work.branches[index];
            let (features, gradients) = (&work.features, &work.features_gradient);
            let pooled = PooledGradient { features, gradients, stride, offset };
            branch.backward(texts, block.index, positions, buffers, block.mode, pooled);
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
        let subwords = trained.iter().filter(|index| self.indices[**index].subwords.is_some());
        gradients.rows.resize_with(trained.len() + subwords.count(), RowGradient::default);
        let mut rows = gradients.rows.iter_mut();
        for index in trained {
            let (branch, indices) = (&self.branches[index], &self.indices[index]);
            let (input, size) = (branch.input_index, branch.input.embedding.size);
            let Some(gradient) = rows.next() else { break };
            gradient.parameter = indices.embedding;
            gradient.words.clone_from(&batch.words[input]);
            // The sum has a row for each word, which replaces the values of an earlier batch.
            gradient.values.resize(gradient.words.len() * size, 0.0);
            for (word, row) in sum.branches[index].rows.iter() {
                gradient.values[word * size..][..size].copy_from_slice(&row[..size]);
            }
            if let (Some(parameter), Some(subwords)) = (indices.subwords, &batch.subwords[input]) {
                let Some(of_buckets) = rows.next() else { break };
                of_buckets.parameter = parameter;
                subwords.split(size, gradient, of_buckets);
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

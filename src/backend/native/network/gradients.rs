//! Loss and gradients of a batch on all threads: the shards forward and backward, and their sum.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rayon::prelude::*;

use super::block_passes::BlockPasses;
use super::labelled::LabelledPasses;
use super::{Block, Network, ShardWorkspace};
use crate::backend::native::branch::{
    Branch, Mode, Pass, PooledGradient, ProjectedWords, Workspace,
};
use crate::backend::native::dropout::Dropout;
use crate::backend::native::gradients::Gradients;
use crate::backend::native::perturbation::{Normalization, Perturbation, factor_to};
use crate::backend::native::shard_sum::{BranchSum, LossSum, ShardSum, WordRows};
use crate::backend::native::shard_tree;
use crate::backend::native::sharding::{Shard, ShardTexts, ShardedBatch};
use crate::backend::native::weight::Weight;
use crate::backend::{BatchLoss, Times};
use crate::objective::LossFunction;

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
        let threads = rayon::current_num_threads().min(batch.own.len().max(1));
        let parts = sums.iter_mut().flat_map(|sum| sum.times.0.drain(..));
        self.times.add_parallel(parts, threads, elapsed);
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
}

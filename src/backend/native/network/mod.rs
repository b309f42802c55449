//! The whole network on all threads: branches and head.

mod block_passes;
mod gradients;
mod labelled;
mod quantized;
mod unlabelled;
mod unpacking;

use std::ops::Range;

use anyhow::Context;
use rayon::prelude::*;

use super::branch::{
    Branch, EmbeddingRows, Mode, Pass, Pooled, SequenceStates, VectorTables, Workspace,
};
use super::head::logits;
use super::idle::Idle;
use super::ngrams::NgramBranch;
use super::shard_sum::ShardSum;
use super::sharding::{Shard, ShardedBatch, single_text};
use super::weight::Weight;
use crate::backend::Times;
use crate::backend::kernel::{Instructions, OperandFormat};
use crate::config::{Input, Labelling, Precision};
use crate::model::named_tensors::{NamedTensor, indices};
use crate::model::parameters::{
    ModelSpec, Parameter, Role, cell_name, embedding_name, in_order, parameters, query_name,
    subwords_name,
};
use crate::text::Corpus;

pub use gradients::PartialGradients;
pub use unlabelled::{UnlabelledTerms, VirtualPerturbation};

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
    /// The LSTMs and the n-grams each learn from a loss of their own.
    separates_branches: bool,
    classes: usize,
    labelling: Labelling,
    idle_workspaces: Idle<ShardWorkspace>,
    idle_sums: Idle<ShardSum>,
    /// Wall time of training steps, by part.
    pub times: Times,
}

/// Indices of the weights of a branch.
struct BranchIndices {
    embedding: usize,
    /// Index of the vectors of character n-grams, if words have these.
    subwords: Option<usize>,
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
        let subwords = input.embedding.subwords.is_on().then(|| index(subwords_name(input)));
        let (embedding, subwords) = (index(embedding_name(input))?, subwords.transpose()?);
        Ok(Self { embedding, subwords, cells, query })
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

/// A block of texts of a shard, and the pass over it.
#[derive(Clone, Copy)]
struct Block<'a> {
    batch: &'a ShardedBatch,
    shard: &'a Shard,
    /// Index of the block in the shard.
    index: usize,
    mode: Mode<'a>,
}

impl<'a> Block<'a> {
    /// Returns the block with another pass over it.
    fn with_pass(self, pass: Pass) -> Self {
        Self { mode: Mode { pass, ..self.mode }, ..self }
    }

    /// Indices of the examples in the shard.
    fn examples(self) -> Range<usize> {
        self.shard.blocks[self.index].clone()
    }

    /// Positions of the examples in the batch.
    fn positions(self) -> &'a [u32] {
        &self.shard.positions[self.examples()]
    }
}

/// Returns the format of the operands of LSTMs at a precision.
pub fn operand_format(precision: Precision, instructions: Instructions) -> OperandFormat {
    match precision {
        Precision::Bf16 => OperandFormat::bf16(instructions),
        Precision::Fp32 | Precision::Tf32 | Precision::Fp16 => OperandFormat::Float,
    }
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
        let tensors = in_order(&parameters, weights)?;
        let mut network = Self::with_tensors(spec, &parameters, tensors, instructions)?;
        network.pack();
        Ok(network)
    }

    /// Creates the network of these parameters and their tensors, without packing the weights.
    fn with_tensors(
        spec: &ModelSpec,
        parameters: &[Parameter],
        tensors: Vec<NamedTensor>,
        instructions: Instructions,
    ) -> anyhow::Result<Self> {
        let inputs = &spec.config.inputs;
        let with_lstm = || inputs.iter().enumerate().filter(|(_, input)| input.has_lstm());
        let indices = with_lstm().map(|(_, input)| BranchIndices::new(input, parameters));
        let indices = indices.collect::<anyhow::Result<_>>()?;
        let format = operand_format(spec.config.precision, instructions);
        // bf16 would round small perturbations of word vectors away.
        let of_vectors =
            if spec.config.train.has_perturbations() { OperandFormat::Float } else { format };
        let branch = |(index, input): (usize, &Input)| {
            Branch::new(input, index, instructions, [of_vectors, format])
        };
        let index = |role: Role| parameters.iter().position(|parameter| parameter.role == role);
        let ngrams = |input_index: usize| {
            let weight = index(Role::NgramWeight { input: input_index })?;
            let value = index(Role::NgramValue { input: input_index });
            Some(NgramBranch { input_index, weight, value })
        };
        let weight = |(tensor, parameter): (NamedTensor, &Parameter)| Weight {
            tensor,
            quantized: None,
            trainable: parameter.trainable,
            rate_factor: 1.0,
            ngram_l2: match parameter.role {
                Role::NgramWeight { input } => Some(inputs[input].ngrams.l2 as f32),
                _ => None,
            },
        };
        Ok(Self {
            instructions,
            weights: tensors.into_iter().zip(parameters).map(weight).collect(),
            branches: with_lstm().map(branch).collect(),
            indices,
            ngrams: (0..inputs.len()).filter_map(ngrams).collect(),
            inputs: inputs.len(),
            head_weight: index(Role::HeadWeight),
            head_bias: index(Role::HeadBias).context("the network has no head")?,
            head_dropout: spec.config.model.head.dropout,
            separates_branches: spec.config.separates_branches(),
            classes: spec.classes,
            labelling: spec.config.data.labelling(),
            idle_workspaces: Idle::default(),
            idle_sums: Idle::default(),
            times: Times::default(),
        })
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
            let cells = if branch.is_quantized() { &mut [] } else { &mut branch.cells[..] };
            for (cells, indices) in cells.iter_mut().zip(&indices.cells) {
                for (cell, first) in cells.iter_mut().zip(indices) {
                    let [ih, hh, bias] = [0, 1, 2].map(|n| self.weights[first + n].values());
                    cell.pack(&ih, &hh, &bias);
                }
            }
            if let Some(query) = indices.query {
                branch.query.clone_from(&self.weights[query].tensor.values);
            }
        }
    }

    fn word_vectors(&self, indices: &BranchIndices) -> VectorTables<'_> {
        let rows = |index: usize| {
            let weight = &self.weights[index];
            match &weight.quantized {
                Some(quantized) => EmbeddingRows::Quantized(quantized),
                None => EmbeddingRows::Full(&weight.tensor.values),
            }
        };
        VectorTables { own: rows(indices.embedding), subwords: indices.subwords.map(rows) }
    }

    fn head(&self) -> (&[f32], &[f32]) {
        let values = |index: usize| &self.weights[index].tensor.values[..];
        (self.head_weight.map_or(&[], values), values(self.head_bias))
    }

    /// Computes the logits of an example, given by its position in the batch, from its pooled features.
    fn logits(&self, batch: &ShardedBatch, position: u32, features: &[f32], row: &mut Vec<f64>) {
        let (weight, bias) = self.head();
        logits(features, weight, bias, row);
        self.add_ngram_logits(batch, position, row);
    }

    /// Computes the logits of an example without the LSTMs.
    fn ngram_logits(&self, batch: &ShardedBatch, position: u32, row: &mut Vec<f64>) {
        logits(&[], &[], self.head().1, row);
        self.add_ngram_logits(batch, position, row);
    }

    fn add_ngram_logits(&self, batch: &ShardedBatch, position: u32, row: &mut [f64]) {
        let first = row.len() - self.head().1.len();
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
        self.rows_of_shards(batch, self.classes, |shard, work, mode, rows| {
            self.classify_shard(batch, shard, work, mode, |row| rows.extend_from_slice(row));
        })
    }

    /// Returns the log-probability of each class for every example without the LSTMs, [B, C], in the order of
    /// the batch.
    pub fn ngram_log_probabilities(&self, batch: &ShardedBatch) -> Vec<f64> {
        let (mut all, mut row) = (Vec::with_capacity(batch.examples * self.classes), Vec::new());
        for position in 0..batch.examples as u32 {
            self.ngram_logits(batch, position, &mut row);
            self.labelling.log_probabilities(&mut row);
            all.extend_from_slice(&row);
        }
        all
    }

    /// Returns the pooled features of every example, [B, D], in the order of the batch.
    pub fn features_of(&self, batch: &ShardedBatch) -> Vec<f32> {
        self.rows_of_shards(batch, self.features(), |shard, work, mode, rows| {
            work.branches.resize_with(self.inputs, Workspace::default);
            self.begin_shard(shard, work, mode);
            for index in 0..shard.blocks.len() {
                self.pooled_features(Block { batch, shard, index, mode }, work);
                rows.extend_from_slice(&work.features);
            }
        })
    }

    /// Computes a row of this width for every example, without a backward pass, and returns all rows in the
    /// order of the batch. `compute` adds the rows of a shard.
    fn rows_of_shards<T: Copy + Default + Send>(
        &self,
        batch: &ShardedBatch,
        width: usize,
        compute: impl Fn(&Shard, &mut ShardWorkspace, Mode, &mut Vec<T>) + Sync,
    ) -> Vec<T> {
        let mode = Mode { backward: false, dropout: None, padding: &[], pass: Pass::Only };
        let padding = self.run_padding(batch, mode);
        let mode = Mode { padding: &padding.branches, ..mode };
        let mut all = vec![T::default(); batch.examples * width];
        let shards: Vec<Vec<T>> = batch
            .shards
            .par_iter()
            .map(|shard| {
                let mut work = self.idle_workspaces.take().unwrap_or_default();
                let mut rows = Vec::new();
                compute(shard, &mut work, mode, &mut rows);
                self.idle_workspaces.put_back(work);
                rows
            })
            .collect();
        self.idle_workspaces.put_back(padding);
        for (shard, rows) in batch.shards.iter().zip(&shards) {
            for (position, row) in shard.positions.iter().zip(rows.chunks_exact(width)) {
                all[*position as usize * width..][..width].copy_from_slice(row);
            }
        }
        all
    }

    /// Returns the states of input `input` over one text; none if it has no LSTM.
    pub fn states(&self, input: usize, corpus: &Corpus, example: u32) -> SequenceStates {
        let mut branches = self.branches.iter().zip(&self.indices);
        let found = branches.find(|(branch, _)| branch.input_index == input);
        let Some((branch, indices)) = found else { return SequenceStates::default() };
        let vectors = self.word_vectors(indices);
        branch.states(&single_text(input, &branch.input, corpus, example), vectors)
    }

    /// Returns the vectors of the words of one text of input `input`, [T, E]; none if it has no LSTM.
    pub fn vectors_of_text(&self, input: usize, corpus: &Corpus, example: u32) -> Vec<f32> {
        let mut branches = self.branches.iter().zip(&self.indices);
        let found = branches.find(|(branch, _)| branch.input_index == input);
        let Some((branch, indices)) = found else { return Vec::new() };
        let texts = single_text(input, &branch.input, corpus, example);
        branch.word_vectors(&texts, self.word_vectors(indices))
    }

    /// Runs the layers of each input over the padding that the texts of the batch share.
    fn run_padding(&self, batch: &ShardedBatch, mode: Mode) -> ShardWorkspace {
        let mut work = self.idle_workspaces.take().unwrap_or_default();
        work.branches.resize_with(self.inputs, Workspace::default);
        for (branch, indices) in self.branches.iter().zip(&self.indices) {
            let input = branch.input_index;
            if let Some(texts) = &batch.shared_padding[input] {
                let vectors = self.word_vectors(indices);
                branch.run_padding(texts, vectors, &mut work.branches[input], mode);
            }
        }
        work
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
        for index in 0..shard.blocks.len() {
            let block = Block { batch, shard, index, mode };
            self.pooled_features(block, work);
            for (example, position) in block.positions().iter().enumerate() {
                let features = &work.features[example * stride..][..stride];
                self.logits(batch, *position, features, &mut work.row);
                self.labelling.log_probabilities(&mut work.row);
                visit(&work.row);
            }
        }
    }

    fn begin_shard(&self, shard: &Shard, work: &mut ShardWorkspace, mode: Mode) {
        for (index, branch) in self.branches.iter().enumerate() {
            let vectors = self.word_vectors(&self.indices[index]);
            let texts = &shard.inputs[branch.input_index];
            branch.begin_shard(texts, vectors, &mut work.branches[index], mode);
        }
    }

    /// Computes the pooled features of a block in `work.features`.
    fn pooled_features(&self, block: Block, work: &mut ShardWorkspace) {
        let (stride, positions) = (self.features(), block.positions());
        work.features.clear();
        work.features.resize(positions.len() * stride, 0.0);
        let mut offset = 0;
        for (index, branch) in self.branches.iter().enumerate() {
            let texts = &block.shard.inputs[branch.input_index];
            let buffers = &mut work.branches[index];
            let pooled = Pooled { features: &mut work.features, stride, offset };
            branch.forward(texts, block.index, positions, buffers, block.mode, pooled);
            offset += branch.features();
        }
    }
}

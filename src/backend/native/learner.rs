//! The network on the CPU: predicting and training.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use rayon::prelude::*;

use super::average::Average;
use super::branch::SequenceStates;
use super::dropout::Dropout;
use super::gradients::Gradients;
use super::idle::Idle;
use super::language_model::JointLanguageModel;
use super::network::{Network, PartialGradients, UnlabelledTerms, VirtualPerturbation};
use super::optimizer::Optimizer;
use super::perturbation::Perturbation;
use super::process_sum::{Exchange, ProcessSum};
use super::sharding::{BatchSharder, ShardedBatch};
use crate::backend::kernel::Instructions;
use crate::backend::language_model::take_joint_state;
use crate::backend::{
    BatchLoss, Inference, LOSS_SCALE, LanguageModelSettings, Learner, PreparedBatch, Preparer,
    RandomSigns, StepStats, Times, is_average_state,
};
use crate::config::{Inputs, TrainConfig};
use crate::data::Dataset;
use crate::distributed::{Group, Worker};
use crate::model::{LanguageModelSpec, ModelSpec, NamedTensor, StoredTensor};
use crate::objective::{AddedLosses, Objective};
use crate::text::Corpus;

/// A network on the CPU that predicts.
pub struct NativeInference {
    network: Network,
    inputs: Inputs,
    vocabulary_sizes: Vec<usize>,
    idle_sharders: Idle<BatchSharder>,
}

impl NativeInference {
    /// Creates the network of `spec` from all of its weights.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the model.
    pub fn new(spec: &ModelSpec, weights: Vec<NamedTensor>) -> anyhow::Result<Self> {
        Ok(Self::of(spec, Network::new(spec, weights, Instructions::best())?))
    }

    /// Creates the network of `spec` from the tensors of a quantized model. It has no weights for
    /// [`NativeInference::weights`].
    ///
    /// # Errors
    /// Returns an error if the tensors do not fit the model.
    pub fn quantized(spec: &ModelSpec, tensors: Vec<StoredTensor>) -> anyhow::Result<Self> {
        Ok(Self::of(spec, Network::quantized(spec, tensors, Instructions::best())?))
    }

    fn of(spec: &ModelSpec, network: Network) -> Self {
        Self {
            network,
            inputs: spec.config.inputs.clone(),
            vocabulary_sizes: spec.vocabulary_sizes.clone(),
            idle_sharders: Idle::default(),
        }
    }

    /// Returns all weights.
    pub fn weights(&self) -> impl Iterator<Item = &NamedTensor> {
        self.network.weights().iter().map(|weight| &weight.tensor)
    }

    /// Returns the states of input `input` over one text.
    pub fn states(&self, input: usize, corpus: &Corpus, example: u32) -> SequenceStates {
        self.network.states(input, corpus, example)
    }

    /// Returns the vector of each word of the only text of a corpus of input `input`, [T, E], after those of its
    /// padding in front.
    pub fn vectors_of_text(&self, input: usize, corpus: &Corpus) -> Vec<f32> {
        self.network.vectors_of_text(input, corpus, 0)
    }

    /// Returns the pooled features of the examples of several batches, [B, D] each.
    pub fn features_of_batches(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f32>> {
        self.of_batches(inputs, batches, |batch| self.network.features_of(batch))
    }

    /// Computes batches, one per thread if there are enough: no thread waits for another then, and a word that
    /// a batch repeats is projected once for the whole batch.
    fn of_batches<T: Send>(
        &self,
        inputs: &[Corpus],
        batches: &[&[u32]],
        compute: impl Fn(&ShardedBatch) -> T + Sync,
    ) -> Vec<T> {
        let threads = rayon::current_num_threads();
        let of_batch =
            |batch: &[u32], shards: usize| self.with_batch(inputs, batch, shards, &compute);
        match batches.len() < threads {
            true => batches.iter().map(|batch| of_batch(batch, threads)).collect(),
            false => {
                let batches = batches.par_iter().with_max_len(1);
                batches.map(|batch| of_batch(batch, 1)).collect()
            }
        }
    }

    /// Cuts a batch into this number of shards and computes it.
    fn with_batch<T>(
        &self,
        inputs: &[Corpus],
        examples: &[u32],
        shards: usize,
        compute: impl Fn(&ShardedBatch) -> T,
    ) -> T {
        let new = || BatchSharder::new(&self.inputs, &self.vocabulary_sizes, shards);
        let mut sharder = self.idle_sharders.take().unwrap_or_else(new);
        sharder.set_shards(shards);
        let batch = sharder.shard(inputs, None, examples, None);
        self.idle_sharders.put_back(sharder);
        compute(&batch)
    }
}

impl Inference for NativeInference {
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64> {
        let shards = rayon::current_num_threads();
        self.with_batch(inputs, examples, shards, |batch| self.network.log_probabilities(batch))
    }

    fn log_probabilities_of_batches(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        self.of_batches(inputs, batches, |batch| self.network.log_probabilities(batch))
    }
}

/// A network on the CPU that is being trained.
pub struct NativeLearner {
    inference: NativeInference,
    /// Number of shards of a batch.
    shards: usize,
    optimizer: Optimizer,
    average: Option<Average>,
    language_model: Option<JointLanguageModel>,
    objective: Objective,
    config: TrainConfig,
    gradients: Gradients,
    /// Gradients of the terms of unlabelled texts.
    unlabelled_gradients: Gradients,
    /// Gradients of this process's shards of the batch, and of the batch of unlabelled texts, until they are
    /// summed.
    partial: Option<PartialGradients>,
    unlabelled_partial: Option<PartialGradients>,
    process_sum: ProcessSum,
    loss: BatchLoss,
    added: AddedLosses,
    /// A process is to stop.
    stop_requested: bool,
    /// Norm of the gradient before clipping.
    gradient_norm: f64,
    /// Factor that clips the gradient.
    factor: f32,
    stats: Vec<StepStats>,
    times: Times,
}

impl NativeLearner {
    /// Creates the network of `spec`, which starts training from these weights.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the model.
    pub fn new(
        spec: &ModelSpec,
        objective: &Objective,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<Self> {
        let inference = NativeInference::new(spec, weights)?;
        let weights = inference.network.weights();
        Ok(Self {
            shards: spec.config.train.shard_count(),
            optimizer: Optimizer::new(&spec.config.train, weights, Instructions::best()),
            average: Average::new(&spec.config.train.average, weights),
            language_model: None,
            objective: objective.clone(),
            config: spec.config.train.clone(),
            gradients: Gradients::default(),
            unlabelled_gradients: Gradients::default(),
            partial: None,
            unlabelled_partial: None,
            process_sum: ProcessSum::default(),
            loss: BatchLoss { mean: 0.0, correct: 0 },
            added: AddedLosses::default(),
            stop_requested: false,
            gradient_norm: 0.0,
            factor: 1.0,
            stats: Vec::new(),
            times: Times::default(),
            inference,
        })
    }
}

/// Returns the optimizer state before the first step, for a model with these weights.
///
/// # Errors
/// Returns an error if the weights do not fit the model.
pub fn initial_optimizer_state(
    spec: &ModelSpec,
    weights: Vec<NamedTensor>,
) -> anyhow::Result<Vec<NamedTensor>> {
    let network = Network::new(spec, weights, Instructions::best())?;
    let weights = network.weights();
    Ok(Optimizer::new(&spec.config.train, weights, Instructions::best()).state(weights))
}

impl Inference for NativeLearner {
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64> {
        self.inference.log_probabilities(inputs, examples)
    }

    fn log_probabilities_of_batches(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        self.inference.log_probabilities_of_batches(inputs, batches)
    }
}

/// A batch and its dropout masks.
struct NativeBatch {
    sharded: ShardedBatch,
    dropout: Dropout,
    /// Random directions of virtual adversarial training.
    signs: RandomSigns,
    /// Frequency of each word of each input, for adversarial training. Unlabelled batches have none.
    frequencies: Option<Arc<Vec<Vec<f32>>>>,
}

impl Learner for NativeLearner {
    fn preparer(&self, worker: Worker) -> Preparer {
        let NativeInference { inputs, vocabulary_sizes, .. } = &self.inference;
        let mut sharder = BatchSharder::new(inputs, vocabulary_sizes, self.shards).at(worker);
        let needs_frequencies = self.config.has_perturbations();
        let (vocabulary_sizes, mut frequencies) = (vocabulary_sizes.clone(), None);
        Box::new(move |data: &Dataset, examples, seed| {
            let dropout = Dropout::new(seed);
            let targets = Some(&data.targets);
            let sharded = sharder.shard(&data.inputs, targets, examples, Some(&dropout));
            if needs_frequencies && frequencies.is_none() {
                frequencies = Some(Arc::new(data.word_frequencies(&vocabulary_sizes)));
            }
            let (signs, frequencies) = (RandomSigns::new(seed), frequencies.clone());
            PreparedBatch::new(NativeBatch { sharded, dropout, signs, frequencies })
        })
    }

    fn unlabelled_preparer(&self, worker: Worker) -> Preparer {
        let NativeInference { inputs, vocabulary_sizes, .. } = &self.inference;
        let mut sharder = BatchSharder::new(inputs, vocabulary_sizes, self.shards).at(worker);
        Box::new(move |data: &Dataset, examples, seed| {
            let (dropout, signs) = (Dropout::new(seed), RandomSigns::new(seed));
            let sharded = sharder.shard(&data.inputs, None, examples, Some(&dropout));
            PreparedBatch::new(NativeBatch { sharded, dropout, signs, frequencies: None })
        })
    }

    fn compute_gradients(&mut self, batch: &PreparedBatch) -> anyhow::Result<()> {
        let NativeBatch { sharded, dropout, frequencies, .. } = batch.get()?;
        self.use_raw_weights();
        let network = &mut self.inference.network;
        let normalization =
            frequencies.as_ref().map(|frequencies| network.normalization(frequencies));
        let perturbation = |epsilon: Option<f64>, weight: f64| {
            let (epsilon, normalization) = epsilon.zip(normalization.as_ref())?;
            Some(Perturbation { epsilon, weight, normalization })
        };
        let TrainConfig { adversarial, virtual_adversarial, .. } = &self.config;
        let perturbed = perturbation(adversarial.epsilon, adversarial.weight);
        let objective = &self.objective;
        // Perturbed words have gradients of input weights before the others do.
        let postpones = sharded.has_others && perturbed.is_none() && network.has_large_layers();
        let partial =
            network.labelled_gradients(sharded, objective, Some(dropout), perturbed, postpones);
        self.partial = Some(partial);
        if self.config.has_unlabelled_terms() {
            let unlabelled = batch.unlabelled().unwrap_or(batch);
            let NativeBatch { sharded, dropout, signs, .. } = unlabelled.get()?;
            let perturbation =
                perturbation(virtual_adversarial.epsilon, virtual_adversarial.weight);
            let terms = UnlabelledTerms {
                entropy_weight: self.config.entropy_weight,
                virtual_adversarial: perturbation.map(|perturbation| VirtualPerturbation {
                    perturbation,
                    xi: virtual_adversarial.xi,
                    signs: *signs,
                }),
            };
            let partial = network.unlabelled_gradients(sharded, Some(dropout), &terms);
            self.unlabelled_partial = Some(partial);
        }
        Ok(())
    }

    fn sum_gradients(&mut self, batch: &PreparedBatch, group: Group) -> anyhow::Result<()> {
        let unlabelled: &NativeBatch = batch.unlabelled().unwrap_or(batch).get()?;
        let NativeBatch { sharded, dropout, .. } = batch.get()?;
        let mut partial = self.partial.take().context("the step has no gradients yet")?;
        let mut of_unlabelled = self.unlabelled_partial.take();
        self.stop_requested = group.stop;
        if !group.collective.is_alone() {
            let exchange = Exchange { group, kind: self.config.collective };
            let (sum, network) = (&mut self.process_sum, &self.inference.network);
            self.stop_requested = self.times.measure("sum", || {
                if let Some(partial) = &mut of_unlabelled {
                    sum.sum(&unlabelled.sharded, &mut partial.sums, exchange)?;
                }
                if !partial.has_postponed_words() {
                    return sum.sum(sharded, &mut partial.sums, exchange);
                }
                let mut sums = std::mem::take(&mut partial.sums);
                let words = || network.word_gradients(sharded, &partial, Some(dropout));
                let (stop_requested, mut words) =
                    sum.sum_during(sharded, &mut sums, exchange, words)?;
                sum.sum(sharded, &mut words, exchange)?;
                partial.sums = sums;
                partial.set_words(words);
                anyhow::Ok(stop_requested)
            })?;
        }
        let network = &mut self.inference.network;
        let mut losses = network.complete(sharded, partial, Some(dropout), &mut self.gradients);
        self.loss = losses.mean(sharded.weight(&self.objective));
        if let Some(partial) = of_unlabelled {
            let gradients = &mut self.unlabelled_gradients;
            let dropout = Some(&unlabelled.dropout);
            losses.add_means(network.complete(&unlabelled.sharded, partial, dropout, gradients));
            network.times.measure("merge", || self.gradients.add(gradients));
        }
        self.added = AddedLosses::of(&self.config, losses.added);
        self.gradients.remove_frozen(network.weights());
        Ok(())
    }

    fn join_language_model(
        &mut self,
        spec: &LanguageModelSpec,
        settings: LanguageModelSettings,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<()> {
        let (network, weight) =
            (self.inference.network.weights(), self.config.language_model_weight);
        self.language_model =
            Some(JointLanguageModel::new(spec, settings, weights, network, weight)?);
        Ok(())
    }

    fn add_language_model(&mut self, batch: &PreparedBatch, group: Group) -> anyhow::Result<()> {
        let Some((model, batch)) = self.language_model.as_mut().zip(batch.language_model()) else {
            return Ok(());
        };
        let (network, gradients) = (&mut self.inference.network, &mut self.gradients);
        let loss = self.times.measure("joint", || {
            model.add_gradients(network.weights_mut(), batch, group, gradients)
        })?;
        self.added.language_model_loss = Some(loss);
        Ok(())
    }

    fn clip_gradients(&mut self, limit: Option<f64>) -> anyhow::Result<()> {
        let norm = self.times.measure("clip", || {
            let of_language_model = self.language_model.as_ref().map(JointLanguageModel::norm);
            self.gradients.norm().hypot(of_language_model.unwrap_or(0.0))
        });
        self.gradient_norm = norm;
        self.factor = match limit {
            Some(limit) if norm.is_finite() && norm > limit => (limit / norm) as f32,
            _ => 1.0,
        };
        Ok(())
    }

    fn update(&mut self, learning_rate: f64) -> anyhow::Result<()> {
        let stats = StepStats {
            loss: self.loss,
            added: self.added,
            gradient_norm: Some(self.gradient_norm),
            stop_requested: self.stop_requested,
        };
        self.stats.push(stats);
        if stats.is_finite() {
            let network = &mut self.inference.network;
            self.times.measure("optimizer", || {
                self.optimizer.step(
                    network.weights_mut(),
                    &self.gradients,
                    self.average.as_mut(),
                    learning_rate,
                    self.factor,
                );
            });
            if let Some(model) = &mut self.language_model {
                self.times.measure("optimizer", || model.update(learning_rate, self.factor));
            }
            self.times.measure("pack", || network.pack());
        }
        Ok(())
    }

    fn set_rate_factors(&mut self, factors: &HashMap<String, f64>) {
        for weight in self.inference.network.weights_mut() {
            weight.rate_factor = factors.get(&weight.tensor.name).copied().unwrap_or(1.0);
        }
    }

    fn ngram_log_probabilities(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        let inference = &self.inference;
        inference
            .of_batches(inputs, batches, |batch| inference.network.ngram_log_probabilities(batch))
    }

    fn drain_step_stats(&mut self) -> Vec<StepStats> {
        std::mem::take(&mut self.stats)
    }

    fn gradients(&self) -> Vec<NamedTensor> {
        self.gradients.tensors(self.inference.network.weights(), self.factor)
    }

    fn start_averaging(&mut self) {
        if let Some(average) = &mut self.average {
            average.start();
        }
    }

    fn use_averages(&mut self) {
        let network = &mut self.inference.network;
        if self.average.as_mut().is_some_and(|average| average.swap_in(network.weights_mut())) {
            network.pack();
        }
    }

    fn use_raw_weights(&mut self) {
        let network = &mut self.inference.network;
        if self.average.as_mut().is_some_and(|average| average.swap_out(network.weights_mut())) {
            network.pack();
        }
    }

    fn weights(&self) -> Vec<NamedTensor> {
        self.inference.weights().cloned().collect()
    }

    fn raw_weights(&self) -> Option<Vec<NamedTensor>> {
        self.average.as_ref().map(|average| average.raw_weights(self.inference.network.weights()))
    }

    fn optimizer_state(&mut self) -> Vec<NamedTensor> {
        let weights = self.inference.network.weights();
        let mut state = self.optimizer.state(weights);
        state.extend(self.average.iter().flat_map(|average| average.state(weights)));
        state.extend(self.language_model.iter_mut().flat_map(JointLanguageModel::state));
        state
    }

    fn load_optimizer_state(&mut self, mut state: Vec<NamedTensor>) -> anyhow::Result<()> {
        state.retain(|tensor| !LOSS_SCALE.contains(&tensor.name.as_str()));
        let of_language_model = take_joint_state(&mut state);
        if let Some(model) = &mut self.language_model {
            model.load(of_language_model)?;
        }
        let (of_average, state) = state.into_iter().partition(is_average_state);
        let weights = self.inference.network.weights();
        if let Some(average) = &mut self.average {
            average.load(weights, of_average)?;
        }
        self.optimizer.load(weights, state)
    }

    fn load_weights(&mut self, tensors: Vec<NamedTensor>) -> anyhow::Result<()> {
        self.inference.network.load(tensors)
    }

    fn times(&self) -> Times {
        let mut times = self.inference.network.times.clone();
        times.0.extend(&self.times.0);
        times
    }

    fn parameter_count(&self) -> usize {
        let weights = self.inference.network.weights().iter().filter(|weight| weight.trainable);
        weights.map(|weight| weight.tensor.values.len()).sum()
    }
}

//! Training on the kernel.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::dropout::Dropout;
use super::head::CrossEntropy;
use super::network::{Gradients, Network, Parameter};
use super::optimizer::Optimizer;
use super::sharding::{BatchSharder, ShardedBatch};
use crate::backend::kernel::Instructions;
use crate::backend::{Inference, LOSS_SCALE, Learner, Preparer, StepStats, Times};
use crate::config::{Config, Inputs};
use crate::data::Dataset;
use crate::model::named_tensors::NamedTensor;
use crate::text::Corpus;

/// A network on the CPU, ready for texts.
pub struct NativeClassifier {
    network: Network,
    inputs: Inputs,
    vocabularies: Vec<usize>,
    /// Those that nobody uses at the moment.
    readers: Mutex<Vec<BatchSharder>>,
}

impl NativeClassifier {
    /// The network of a configuration with these weights, all that it has under PyTorch's names.
    ///
    /// # Errors
    /// Where the weights do not fit the configuration.
    pub fn new(
        config: &Config,
        vocabularies: &[usize],
        classes: usize,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<Self> {
        let inputs = config.inputs.clone();
        let instructions = Instructions::best();
        Ok(Self {
            network: Network::new(config, vocabularies, classes, weights, instructions)?,
            vocabularies: vocabularies.to_vec(),
            readers: Mutex::default(),
            inputs,
        })
    }

    /// All its weights.
    pub fn weights(&self) -> impl Iterator<Item = &NamedTensor> {
        self.network.parameters().iter().map(|parameter| &parameter.array)
    }

    /// As [`Inference::log_probabilities`], with the batch cut into so many shards.
    fn compute(&self, inputs: &[Corpus], examples: &[u32], shards: usize) -> Vec<f64> {
        let idle = || self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = idle().pop();
        let mut reader =
            known.unwrap_or_else(|| BatchSharder::new(&self.inputs, &self.vocabularies, shards));
        reader.cut_into(shards);
        let reading = reader.read(inputs, None, examples, None);
        idle().push(reader);
        self.network.log_probabilities(&reading)
    }
}

impl Inference for NativeClassifier {
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64> {
        self.compute(inputs, examples, rayon::current_num_threads())
    }

    /// A batch for each thread: nothing in it waits for another, and words that it has several
    /// times are one for all of it.
    fn classify(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        if batches.len() < rayon::current_num_threads() {
            return batches.iter().map(|batch| self.log_probabilities(inputs, batch)).collect();
        }
        let batches = batches.par_iter().with_max_len(1);
        batches.map(|batch| self.compute(inputs, batch, 1)).collect()
    }
}

/// A network on the CPU that is being trained.
pub struct NativeLearner {
    classifier: NativeClassifier,
    optimizer: Optimizer,
    criterion: CrossEntropy,
    gradients: Gradients,
    /// What clipping multiplies the gradient by.
    factor: f32,
    measured: Vec<StepStats>,
    times: Times,
}

impl NativeLearner {
    /// The network of a configuration with these weights; `class_weights` is what each class weighs
    /// in the loss, empty where all weigh the same.
    ///
    /// # Errors
    /// Where the weights do not fit the configuration.
    pub fn new(
        config: &Config,
        vocabularies: &[usize],
        classes: usize,
        weights: Vec<NamedTensor>,
        class_weights: Vec<f64>,
    ) -> anyhow::Result<Self> {
        let classifier = NativeClassifier::new(config, vocabularies, classes, weights)?;
        let parameters = classifier.network.parameters();
        Ok(Self {
            optimizer: Optimizer::new(&config.train, parameters, Instructions::best()),
            criterion: CrossEntropy {
                label_smoothing: config.train.label_smoothing,
                class_weights,
            },
            gradients: Gradients::default(),
            factor: 1.0,
            measured: Vec::new(),
            times: Times::default(),
            classifier,
        })
    }
}

impl Inference for NativeLearner {
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64> {
        self.classifier.log_probabilities(inputs, examples)
    }

    fn classify(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        self.classifier.classify(inputs, batches)
    }
}

/// A batch and its dropout masks.
pub struct NativeBatch {
    reading: ShardedBatch,
    dropout: Dropout,
}

impl Learner for NativeLearner {
    type Batch = NativeBatch;

    fn preparer(&self) -> Preparer<NativeBatch> {
        let NativeClassifier { inputs, vocabularies, .. } = &self.classifier;
        let mut reader = BatchSharder::new(inputs, vocabularies, rayon::current_num_threads());
        Box::new(move |data: &Dataset, examples, seed| {
            let dropout = Dropout::new(seed);
            let reading = reader.read(&data.inputs, Some(&data.labels), examples, Some(&dropout));
            NativeBatch { reading, dropout }
        })
    }

    fn step(
        &mut self,
        batch: &NativeBatch,
        limit: Option<f64>,
        learning_rate: f64,
    ) -> anyhow::Result<()> {
        let network = &mut self.classifier.network;
        let dropout = Some(&batch.dropout);
        let loss = network.gradients(&batch.reading, &self.criterion, dropout, &mut self.gradients);
        let norm = self.times.measure("clip", || self.gradients.norm());
        self.factor = match limit {
            Some(limit) if norm.is_finite() && norm > limit => (limit / norm) as f32,
            _ => 1.0,
        };
        let measured = StepStats { loss, gradient_norm: Some(norm) };
        self.measured.push(measured);
        if measured.is_finite() {
            self.times.measure("optimizer", || {
                self.optimizer.step(network, &self.gradients, learning_rate, self.factor);
            });
            self.times.measure("pack", || network.pack());
        }
        Ok(())
    }

    fn measured(&mut self) -> Vec<StepStats> {
        std::mem::take(&mut self.measured)
    }

    fn gradients(&self) -> Vec<NamedTensor> {
        let parameters = self.classifier.network.parameters();
        self.gradients.arrays(parameters, self.factor)
    }

    fn weights(&self) -> Vec<NamedTensor> {
        let parameters = self.classifier.network.parameters();
        parameters.iter().map(|parameter| parameter.array.clone()).collect()
    }

    fn memory(&mut self) -> Vec<NamedTensor> {
        self.optimizer.state(self.classifier.network.parameters())
    }

    fn restore(&mut self, mut memory: Vec<NamedTensor>) -> anyhow::Result<()> {
        memory.retain(|array| !LOSS_SCALE.contains(&array.name.as_str()));
        self.optimizer.load(self.classifier.network.parameters(), memory)
    }

    fn load(&mut self, weights: Vec<NamedTensor>) -> anyhow::Result<()> {
        self.classifier.network.load(weights)
    }

    fn times(&self) -> Times {
        let mut times = self.classifier.network.times.clone();
        times.0.extend(&self.times.0);
        times
    }

    fn parameter_count(&self) -> usize {
        let trainable = |parameter: &&Parameter| parameter.trainable;
        let parameters = self.classifier.network.parameters().iter().filter(trainable);
        parameters.map(|parameter| parameter.array.values.len()).sum()
    }
}

//! The network: embedding → LSTM → pooling → head.

mod init;
mod lstm;
mod pooling;
mod summary;

use std::collections::HashMap;

use anyhow::{bail, ensure};
use tch::{Device, Kind, Tensor};

use crate::batch::Batch;
use crate::config::{Activation, ModelConfig};
use lstm::Lstm;
use pooling::pool;
pub use summary::{Layer, Summary, summarize};

/// Whether dropout acts and gradients are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout acts, and backward will be called.
    Train,
    /// Everything is deterministic.
    Evaluate,
}

impl Mode {
    fn training(self) -> bool {
        self == Self::Train
    }
}

/// Weights and their arrangement.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    /// [V, E]
    embedding: Tensor,
    lstm: Lstm,
    /// [1, D] for a sigmoid, [C, D] for a softmax.
    head_weight: Tensor,
    /// [1] or [C]
    head_bias: Tensor,
}

/// A tensor under the name that PyTorch would give it.
pub type Named = (String, Tensor);

/// How many logits the head has for so many classes.
pub fn logit_count(activation: Activation, classes: usize) -> anyhow::Result<usize> {
    match activation {
        Activation::Sigmoid if classes > 2 => {
            bail!("model.head.activation: sigmoid is for 2 classes, the data has {classes}")
        }
        Activation::Auto if classes == 2 => Ok(1),
        Activation::Sigmoid => Ok(1),
        Activation::Auto | Activation::Softmax => Ok(classes),
    }
}

impl Model {
    /// A model with initial weights for `vocabulary` ids and `classes` classes.
    ///
    /// # Errors
    /// Where a sigmoid is asked for and there are more than 2 classes.
    pub fn new(
        config: &ModelConfig,
        vocabulary: usize,
        classes: usize,
        seed: u64,
        device: Device,
    ) -> anyhow::Result<Self> {
        let logits = logit_count(config.head.activation, classes)?;
        tch::manual_seed(seed as i64);
        let init = init::Init::new(config.initialization);
        let directions = if config.lstm.bidirectional { 2 } else { 1 };
        let features = (config.lstm.units * directions) as i64;
        let embedding = init.embedding(vocabulary as i64, config.embedding.size as i64);
        let lstm = Lstm::new(&config.lstm, config.embedding.size as i64, &init, device);
        let head_weight = init.kernel(logits as i64, features, features);
        let head_bias = init.bias(logits as i64, features);
        let trainable = |tensor: Tensor| tensor.to_device(device).set_requires_grad(true);
        Ok(Self {
            config: config.clone(),
            embedding: trainable(embedding),
            lstm,
            head_weight: trainable(head_weight),
            head_bias: trainable(head_bias),
        })
    }

    /// The logits of a batch: [B] for a sigmoid, [B, C] for a softmax.
    pub fn logits(&self, batch: &Batch, mode: Mode) -> Tensor {
        let embedded = self.embed(&batch.ids, mode); // [B, T, E]
        let states = self.lstm.read(&embedded, &batch.positions, mode); // a [B, T, H] for each direction
        let pooled: Vec<Tensor> = states
            .iter()
            .map(|(direction, states)| {
                pool(self.config.pooling, states, &batch.positions, *direction)
            })
            .collect();
        let pooled = Tensor::cat(&pooled, 1).dropout(self.config.head.dropout, mode.training()); // [B, D]
        let logits = pooled.linear(&self.head_weight, Some(&self.head_bias)); // [B, 1] or [B, C]
        match logits.size()[1] {
            1 => logits.squeeze_dim(1),
            _ => logits,
        }
    }

    /// Word vectors with dropout, [B, T] → [B, T, E].
    fn embed(&self, ids: &Tensor, mode: Mode) -> Tensor {
        let vectors = Tensor::embedding(&self.embedding, ids, -1, false, false);
        if !mode.training() {
            return vectors;
        }
        let dropout = &self.config.embedding;
        let vectors = match dropout.word_dropout {
            0.0 => vectors,
            share => {
                let ones =
                    Tensor::ones([ids.size()[0], ids.size()[1], 1], (Kind::Float, ids.device()));
                vectors * ones.dropout(share, true)
            }
        };
        vectors.dropout(dropout.dropout, true)
    }

    /// The trainable tensors under PyTorch's names, always in the same order.
    pub fn parameters(&self) -> Vec<Named> {
        let mut named = vec![("embedding.weight".to_owned(), self.embedding.shallow_clone())];
        named.extend(self.lstm.parameters());
        named.push(("head.weight".to_owned(), self.head_weight.shallow_clone()));
        named.push(("head.bias".to_owned(), self.head_bias.shallow_clone()));
        named
    }

    /// Everything that PyTorch's modules of the same names need: the parameters, and the second
    /// bias of each LSTM, which is zero here.
    pub fn state(&self) -> Vec<Named> {
        let mut state = self.parameters();
        state.extend(self.lstm.constants());
        state
    }

    /// Takes the weights from `tensors`, by name.
    ///
    /// # Errors
    /// Where a name is missing or unknown, or a shape is not the model's.
    pub fn load(&mut self, tensors: Vec<Named>) -> anyhow::Result<()> {
        let mut given: HashMap<String, Tensor> = tensors.into_iter().collect();
        let constants = self.lstm.constants();
        for (name, own) in self.parameters().into_iter().chain(constants) {
            let Some(tensor) = given.remove(&name) else { bail!("the weights lack {name}") };
            ensure!(
                tensor.size() == own.size() && tensor.kind() == own.kind(),
                "{name} is {:?} {:?} in the file, {:?} {:?} in the model",
                tensor.kind(),
                tensor.size(),
                own.kind(),
                own.size(),
            );
            tch::no_grad(|| own.shallow_clone().copy_(&tensor));
        }
        match given.keys().min() {
            Some(name) => bail!("the weights have {name}, which the model does not know"),
            None => Ok(()),
        }
    }

    /// The number of trainable numbers.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|(_, tensor)| tensor.numel()).sum()
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.embedding.device()
    }
}

#[cfg(test)]
mod tests;

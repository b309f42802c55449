//! The network: for each input embedding → LSTM → pooling, then one head for all.

mod branch;
mod init;
mod lstm;
mod pooling;

use std::collections::HashMap;

use anyhow::{bail, ensure};
use tch::{Device, Kind, Tensor};

use crate::batch::{Batch, Sequences};
use crate::libtorch::Numerics;
use branch::Branch;
pub use lstm::Read;
use lstmtext::config::{Config, Input, Precision, logit_count};

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
    branches: Vec<Branch>,
    kind: Kind,
    numerics: Numerics,
    head_dropout: f64,
    /// [1, D] for a sigmoid, [C, D] for a softmax.
    head_weight: Tensor,
    /// [1] or `[C]`
    head_bias: Tensor,
}

/// A tensor under the name that PyTorch would give it.
pub type Named = (String, Tensor);

impl Model {
    /// A model with initial weights for `classes` classes and so many ids of each input.
    ///
    /// # Errors
    /// Where a sigmoid is asked for and there are more than 2 classes.
    pub fn new(
        config: &Config,
        vocabularies: &[usize],
        classes: usize,
        seed: u64,
        device: Device,
    ) -> anyhow::Result<Self> {
        let logits = logit_count(config.model.head.activation, classes)? as i64;
        tch::manual_seed(seed as i64);
        let init = init::Init::new(config.model.initialization);
        let inputs = config.inputs.iter().zip(vocabularies);
        let kind = match config.precision {
            Precision::Fp32 | Precision::Tf32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
            Precision::Fp16 => Kind::Half,
        };
        let branches = inputs.map(|(input, words)| Branch::new(input, *words, &init, kind, device));
        let branches = branches.collect();
        let features = config.inputs.iter().map(Input::features).sum::<usize>() as i64;
        let head_weight = init.kernel(logits, features, features);
        let head_bias = init.bias(logits, features);
        let trainable = |tensor: Tensor| tensor.to_device(device).set_requires_grad(true);
        Ok(Self {
            branches,
            kind,
            numerics: Numerics::of(config),
            head_dropout: config.model.head.dropout,
            head_weight: trainable(head_weight),
            head_bias: trainable(head_bias),
        })
    }

    /// Takes pre-trained word vectors [V, E] for input number `input`.
    pub fn set_vectors(&self, input: usize, values: &[f32]) {
        self.branches[input].set_vectors(values);
    }

    /// The logits of a batch: `[B]` for a sigmoid, [B, C] for a softmax.
    pub fn logits(&self, batch: &Batch, mode: Mode) -> Tensor {
        let inputs = self.branches.iter().zip(&batch.inputs);
        let encoded: Vec<Tensor> =
            inputs.map(|(branch, texts)| branch.encode(texts, mode)).collect();
        let features = Tensor::cat(&encoded, 1).dropout(self.head_dropout, mode.training()); // [B, D]
        let logits = features.linear(&self.head_weight, Some(&self.head_bias)); // [B, 1] or [B, C]
        match logits.size()[1] {
            1 => logits.squeeze_dim(1),
            _ => logits,
        }
    }

    /// What every LSTM layer of input number `input` makes of the texts, in every direction, the
    /// bottom layer first.
    pub fn read(&self, input: usize, texts: &Sequences) -> Vec<Vec<Read>> {
        self.branches[input].read(texts)
    }

    /// The gates of each direction of a layer of input number `input`, [B, T, 4, H] in the order
    /// i, f, g, o, each at its word; `layers` is what [`Model::read`] made of the texts.
    pub fn gates(
        &self,
        input: usize,
        layer: usize,
        layers: &[Vec<Read>],
        texts: &Sequences,
    ) -> Vec<Tensor> {
        self.branches[input].gates(layer, layers, texts)
    }

    /// The trainable tensors under PyTorch's names, always in the same order.
    pub fn parameters(&self) -> Vec<Named> {
        let mut named: Vec<Named> = self.branches.iter().flat_map(Branch::parameters).collect();
        named.push(("head.weight".to_owned(), self.head_weight.shallow_clone()));
        named.push(("head.bias".to_owned(), self.head_bias.shallow_clone()));
        named
    }

    /// For each of [`Model::parameters`] the number of the input whose embedding it is.
    pub fn embeddings(&self) -> Vec<Option<usize>> {
        let names: Vec<String> = self.branches.iter().map(Branch::embedding_name).collect();
        let input = |(name, _): Named| names.iter().position(|own| *own == name);
        self.parameters().into_iter().map(input).collect()
    }

    /// Everything that PyTorch's modules of the same names need: the parameters, frozen word
    /// vectors, and the second bias of each LSTM, which is zero here.
    pub fn state(&self) -> Vec<Named> {
        let mut state = self.parameters();
        state.extend(self.branches.iter().flat_map(Branch::constants));
        state
    }

    /// Takes the weights from `tensors`, by name.
    ///
    /// # Errors
    /// Where a name is missing or unknown, or a shape is not the model's.
    pub fn load(&mut self, tensors: Vec<Named>) -> anyhow::Result<()> {
        let mut given: HashMap<String, Tensor> = tensors.into_iter().collect();
        for (name, own) in self.state() {
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

    /// What the LSTMs compute in.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How libtorch is to compute it.
    pub fn numerics(&self) -> Numerics {
        self.numerics
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.head_bias.device()
    }
}

#[cfg(test)]
mod tests;

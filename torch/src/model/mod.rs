//! The network: for each input embedding → LSTM → pooling, then one head for all.

mod branch;
mod lstm;
mod mode;
mod pooling;
mod tensors;

use std::collections::HashMap;

use anyhow::{Context, ensure};
use tch::{Device, Kind, Tensor};

use crate::batch::Batch;
use crate::libtorch::Numerics;
use crate::tensors::{Named, to_tensors};
use branch::Branch;
use lstmtext::config::{Input, Precision};
use lstmtext::model::named_tensors::in_order;
use lstmtext::model::{ModelSpec, NamedTensor, parameters};
pub use mode::Mode;
use tensors::Tensors;

/// The layers and their weights.
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

impl Model {
    /// The network of `spec` with these weights, which must be all that it has, on a device.
    ///
    /// # Errors
    /// Returns an error if a tensor is missing, unknown or of another shape.
    pub fn new(
        spec: &ModelSpec,
        weights: Vec<NamedTensor>,
        device: Device,
    ) -> anyhow::Result<Self> {
        let config = spec.config;
        let shapes: Vec<_> =
            parameters(spec)?.into_iter().map(|own| (own.name, own.shape)).collect();
        let mut tensors = Tensors(to_tensors(in_order(&shapes, weights)?).into_iter().collect());
        let kind = match config.precision {
            Precision::Fp32 | Precision::Tf32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
            Precision::Fp16 => Kind::Half,
        };
        let branch = |input: &Input| Branch::new(input, &mut tensors, kind, device);
        let branches = config.inputs.iter().map(branch).collect::<anyhow::Result<_>>()?;
        let mut head = |name| -> anyhow::Result<Tensor> {
            Ok(tensors.take(name)?.to_device(device).set_requires_grad(true))
        };
        Ok(Self {
            branches,
            kind,
            numerics: Numerics::of(config),
            head_dropout: config.model.head.dropout,
            head_weight: head("head.weight")?,
            head_bias: head("head.bias")?,
        })
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

    /// Replaces the weights by these tensors, by name; the others stay.
    ///
    /// # Errors
    /// Returns an error if the model has no tensor of that name and shape; no weight changes then.
    pub fn load(&mut self, tensors: Vec<Named>) -> anyhow::Result<()> {
        let state: HashMap<String, Tensor> = self.state().into_iter().collect();
        for (name, tensor) in &tensors {
            let own = state.get(name).with_context(|| format!("the model has no tensor {name}"))?;
            ensure!(
                tensor.size() == own.size() && tensor.kind() == own.kind(),
                "{name} is {:?} {:?} in the file, {:?} {:?} in the model",
                tensor.kind(),
                tensor.size(),
                own.kind(),
                own.size(),
            );
        }
        for (name, tensor) in tensors {
            if let Some(own) = state.get(&name) {
                tch::no_grad(|| own.shallow_clone().copy_(&tensor));
            }
        }
        Ok(())
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

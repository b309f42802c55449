//! The whole network: branches and head.

use tch::{Device, Kind, Tensor};

use super::branch::Branch;
use super::mode::Mode;
use super::weights::Weights;
use crate::batch::{Batch, Direction};
use crate::libtorch::Numerics;
use crate::tensors::{shapes, to_tensors};
use lstmtext::config::{Input, Precision};
use lstmtext::model::named_tensors::indices;
use lstmtext::model::parameters::{in_order, parameters};
use lstmtext::model::{ModelSpec, NamedTensor};

/// A network with its weights.
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
    /// Creates the network of `spec` from all of its weights, on a device.
    ///
    /// # Errors
    /// Returns an error if a tensor is missing, unknown, or has another shape.
    pub fn new(
        spec: &ModelSpec,
        weights: Vec<NamedTensor>,
        device: Device,
    ) -> anyhow::Result<Self> {
        let config = spec.config;
        let weights = in_order(&parameters(spec)?, weights)?;
        let mut weights = Weights(to_tensors(weights).into_iter().collect());
        let kind = match config.precision {
            Precision::Fp32 | Precision::Tf32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
            Precision::Fp16 => Kind::Half,
        };
        let branch = |input: &Input| Branch::new(input, &mut weights, kind, device);
        let branches = config.inputs.iter().map(branch).collect::<anyhow::Result<_>>()?;
        let mut head = |name| -> anyhow::Result<Tensor> {
            Ok(weights.take(name)?.to_device(device).set_requires_grad(true))
        };
        Ok(Self {
            branches,
            kind,
            numerics: Numerics::new(config),
            head_dropout: config.model.head.dropout,
            head_weight: head("head.weight")?,
            head_bias: head("head.bias")?,
        })
    }

    /// Computes the logits of a batch: `[B]` for a sigmoid, [B, C] for a softmax.
    pub fn logits(&self, batch: &Batch, mode: Mode) -> Tensor {
        self.perturbed_logits(batch, mode, &[])
    }

    /// Computes the logits of a batch with perturbations [B, T, E] of the word vectors of each input.
    /// None are perturbed if there are none.
    pub fn perturbed_logits(&self, batch: &Batch, mode: Mode, perturbations: &[Tensor]) -> Tensor {
        let inputs = self.branches.iter().zip(&batch.inputs).enumerate();
        let encoded: Vec<Tensor> = inputs
            .map(|(index, (branch, texts))| branch.encode(texts, mode, perturbations.get(index)))
            .collect();
        let features = Tensor::cat(&encoded, 1).dropout(self.head_dropout, mode.training()); // [B, D]
        let logits = features.linear(&self.head_weight, Some(&self.head_bias)); // [B, 1] or [B, C]
        match logits.size()[1] {
            1 => logits.squeeze_dim(1),
            _ => logits,
        }
    }

    /// Vocabulary size V of each input.
    pub fn vocabulary_sizes(&self) -> Vec<usize> {
        self.branches.iter().map(Branch::vocabulary_size).collect()
    }

    /// Returns perturbations of zero, whose gradients are those of the inputs of the LSTMs.
    pub fn zero_perturbations(&self, batch: &Batch) -> Vec<Tensor> {
        let inputs = self.branches.iter().zip(&batch.inputs);
        inputs.map(|(branch, texts)| branch.zero_perturbation(texts)).collect()
    }

    /// Returns the adversarial perturbations of the word vectors of each input, [B, T, E]: of all
    /// vectors of norm `epsilon` of an example, those that raise its loss most, to first order.
    /// `gradients` are those of the zero perturbations. Norms are those of word vectors that are
    /// divided by their standard deviation over all words, weighted by their `frequencies`, as in
    /// Miyato, Dai and Goodfellow 2017.
    pub fn adversarial_perturbations(
        &self,
        batch: &Batch,
        gradients: &[Tensor],
        frequencies: &[Tensor],
        epsilon: f64,
    ) -> Vec<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let branches = self.branches.iter().zip(frequencies);
        let deviations: Vec<Tensor> =
            branches.map(|(branch, frequencies)| branch.deviations(frequencies)).collect();
        let inputs = gradients.iter().zip(&deviations).zip(&batch.inputs);
        let normalized = inputs.map(|((gradient, deviations), texts)| {
            let is_word = texts.padding.mask(Direction::Forward).unsqueeze(2); // [B, T, 1]
            gradient * deviations * is_word
        });
        let normalized: Vec<Tensor> = normalized.collect();
        let square = |vectors: &Tensor| {
            vectors.square().sum_dim_intlist([1_i64, 2].as_slice(), true, Kind::Float)
        };
        let squares: Tensor = normalized.iter().map(square).sum(); // [B, 1, 1]
        let is_zero = squares.eq(0.0);
        let factors = (squares.rsqrt() * epsilon).masked_fill(&is_zero, 0.0);
        let inputs = normalized.iter().zip(&deviations);
        inputs.map(|(normalized, deviations)| normalized * deviations * &factors).collect()
    }

    /// Returns the trainable tensors under PyTorch's names, always in the same order.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let mut named: Vec<_> = self.branches.iter().flat_map(Branch::parameters).collect();
        named.push(("head.weight".to_owned(), self.head_weight.shallow_clone()));
        named.push(("head.bias".to_owned(), self.head_bias.shallow_clone()));
        named
    }

    /// Returns the index of the input whose embedding a parameter is, for each of
    /// [`Model::parameters`].
    pub fn embedding_inputs(&self) -> Vec<Option<usize>> {
        let names: Vec<String> = self.branches.iter().map(Branch::embedding_name).collect();
        let input = |(name, _): (String, Tensor)| names.iter().position(|each| *each == name);
        self.parameters().into_iter().map(input).collect()
    }

    /// Returns the tensors of PyTorch's `state_dict`: the parameters, frozen word vectors, and the
    /// second bias of each LSTM, which is zero here.
    pub fn state_dict(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.parameters();
        tensors.extend(self.branches.iter().flat_map(Branch::constants));
        tensors
    }

    /// Replaces the weights by these tensors, by name. Other weights stay.
    ///
    /// # Errors
    /// Returns an error, and changes no weight, if the model lacks a tensor of that name and shape.
    pub fn load(&mut self, tensors: Vec<NamedTensor>) -> anyhow::Result<()> {
        let mut weights = self.state_dict();
        let indices = indices(&shapes(&weights), &tensors)?;
        let _no_grad = tch::no_grad_guard();
        for (index, (_, tensor)) in indices.into_iter().zip(to_tensors(tensors)) {
            weights[index].1.copy_(&tensor);
        }
        Ok(())
    }

    /// Number of trainable values.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|(_, tensor)| tensor.numel()).sum()
    }

    /// Data type in which the LSTMs compute.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Settings of libtorch for this model.
    pub fn numerics(&self) -> Numerics {
        self.numerics
    }

    /// Device of the weights.
    pub fn device(&self) -> Device {
        self.head_bias.device()
    }
}

//! The whole network: branches and head.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use super::branch::Branch;
use super::mode::Mode;
use super::ngrams::NgramBranch;
use super::weights::Weights;
use crate::batch::{Batch, Direction, PackedSigns};
use crate::libtorch::Numerics;
use crate::tensors::{shapes, to_tensors};
use lstmtext::config::{Labelling, Precision};
use lstmtext::model::named_tensors::indices;
use lstmtext::model::parameters::{in_order, parameters};
use lstmtext::model::{ModelSpec, NamedTensor};

/// A network with its weights.
#[derive(Debug)]
pub struct Model {
    /// Branches of the inputs that have an LSTM, with the indices of these inputs.
    branches: Vec<(usize, Branch)>,
    /// Branches of the inputs that have n-grams.
    ngrams: Vec<NgramBranch>,
    vocabulary_sizes: Vec<usize>,
    kind: Kind,
    numerics: Numerics,
    classes: usize,
    labelling: Labelling,
    head_dropout: f64,
    separates_branches: bool,
    /// [1, D] for a sigmoid, [C, D] for a softmax; `None` without an LSTM.
    head_weight: Option<Tensor>,
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
        let (mut branches, mut ngrams) = (Vec::new(), Vec::new());
        for (index, input) in config.inputs.iter().enumerate() {
            if input.has_lstm() {
                branches.push((index, Branch::new(input, &mut weights, kind, device)?));
            }
            if input.ngrams.is_on() {
                ngrams.push(NgramBranch::new(index, input, &mut weights, device)?);
            }
        }
        let mut head = |name| -> anyhow::Result<Tensor> {
            Ok(weights.take(name)?.to_device(device).set_requires_grad(true))
        };
        Ok(Self {
            head_weight: (!branches.is_empty()).then(|| head("head.weight")).transpose()?,
            branches,
            ngrams,
            vocabulary_sizes: spec.vocabulary_sizes.clone(),
            kind,
            numerics: Numerics::new(config),
            classes: spec.classes,
            labelling: config.data.labelling(),
            head_dropout: config.model.head.dropout,
            separates_branches: config.separates_branches(),
            head_bias: head("head.bias")?,
        })
    }

    /// Returns the number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Returns the number of labels that a text can have.
    pub fn labelling(&self) -> Labelling {
        self.labelling
    }

    /// Returns true if the LSTMs and the n-grams each learn from a loss of their own.
    pub fn separates_branches(&self) -> bool {
        self.separates_branches
    }

    /// Computes the logits of a batch: `[B]` for a sigmoid, [B, C] for a softmax.
    pub fn logits(&self, batch: &Batch, mode: Mode) -> Tensor {
        self.logits_from(batch, &self.select_ngrams(batch, false), mode, &[])
    }

    /// Returns copies of the weights of the n-grams in a batch, [n-grams, logits] for each of
    /// [`Model::ngrams`]. The gradient of the loss is taken with respect to them.
    pub fn select_ngrams(&self, batch: &Batch, requires_gradient: bool) -> Vec<Tensor> {
        let select = |branch: &NgramBranch| {
            Some(branch.select(batch.ngrams[branch.input].as_ref()?, requires_gradient))
        };
        self.ngrams.iter().filter_map(select).collect()
    }

    /// Computes the logits of a batch from the weights of its n-grams (see [`Model::select_ngrams`]), with
    /// perturbations [B, T, E] of the word vectors of each LSTM. None are perturbed if there are none.
    pub fn logits_from(
        &self,
        batch: &Batch,
        ngrams: &[Tensor],
        mode: Mode,
        perturbations: &[Tensor],
    ) -> Tensor {
        let lstms = self.head_logits(batch, mode, perturbations, Some(&self.head_bias));
        self.add_ngrams(lstms, batch, ngrams)
    }

    /// Computes the logits of the LSTMs alone, without the bias; those of the n-grams if there is no LSTM.
    pub fn lstm_logits(&self, batch: &Batch, mode: Mode, perturbations: &[Tensor]) -> Tensor {
        let logits = self.head_logits(batch, mode, perturbations, None);
        logits.map_or_else(|| self.ngram_logits(batch), squeeze_single)
    }

    /// Computes the logits that the head contributes, [B, 1] or [B, C]; `None` if there is no LSTM.
    fn head_logits(
        &self,
        batch: &Batch,
        mode: Mode,
        perturbations: &[Tensor],
        bias: Option<&Tensor>,
    ) -> Option<Tensor> {
        let weight = self.head_weight.as_ref()?;
        let branches = self.branches.iter().enumerate();
        let encoded: Vec<Tensor> = branches
            .map(|(index, (input, branch))| {
                branch.encode(&batch.inputs[*input], mode, perturbations.get(index))
            })
            .collect();
        let features = Tensor::cat(&encoded, 1).dropout(self.head_dropout, mode.training()); // [B, D]
        Some(features.linear(weight, bias))
    }

    /// Computes the logits of a batch without the LSTMs.
    pub fn ngram_logits(&self, batch: &Batch) -> Tensor {
        self.ngram_logits_from(batch, &self.select_ngrams(batch, false))
    }

    /// Computes the logits of a batch without the LSTMs, from the weights of its n-grams.
    pub fn ngram_logits_from(&self, batch: &Batch, ngrams: &[Tensor]) -> Tensor {
        self.add_ngrams(None, batch, ngrams)
    }

    /// Adds the logits of the n-grams to those of the LSTMs, or to the bias of the head if there are none.
    fn add_ngrams(&self, lstm: Option<Tensor>, batch: &Batch, ngrams: &[Tensor]) -> Tensor {
        let logits = lstm.unwrap_or_else(|| {
            let texts = &batch.inputs[0].padding.lengths;
            self.head_bias.unsqueeze(0).expand([texts.size()[0], -1], false)
        });
        let of_ngrams = self.ngrams.iter().zip(ngrams).filter_map(|(branch, selected)| {
            Some(branch.logits(selected, batch.ngrams[branch.input].as_ref()?))
        });
        // Without an LSTM the logits are a view of the bias, to which nothing can be added in place.
        squeeze_single(of_ngrams.fold(logits, |sum, logits| sum + logits))
    }

    /// Vocabulary size V of each input.
    pub fn vocabulary_sizes(&self) -> &[usize] {
        &self.vocabulary_sizes
    }

    /// Returns perturbations of zero, whose gradients are those of the inputs of the LSTMs.
    pub fn zero_perturbations(&self, batch: &Batch) -> Vec<Tensor> {
        let branches = self.branches.iter();
        branches.map(|(input, branch)| branch.zero_perturbation(&batch.inputs[*input])).collect()
    }

    /// Returns the index of each input with an LSTM, and its embedding dimension E.
    pub fn embedding_sizes(&self) -> Vec<(usize, usize)> {
        self.branches.iter().map(|(input, branch)| (*input, branch.embedding_size())).collect()
    }

    /// Returns the standard deviation of each dimension of the word vectors of each LSTM, `[E]`, weighted by
    /// the `frequencies` of each input's words. The norms of perturbations are those of word vectors that
    /// are divided by them, as in Miyato, Dai and Goodfellow 2017.
    pub fn deviations(&self, frequencies: &[Tensor]) -> Vec<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let branches = self.branches.iter();
        branches.map(|(input, branch)| branch.deviations(&frequencies[*input])).collect()
    }

    /// Returns the adversarial perturbations of the word vectors of each LSTM, [B, T, E]: of all
    /// vectors of norm `epsilon` of an example, those that raise its loss most, to first order.
    /// `gradients` are those of the perturbations so far.
    pub fn adversarial_perturbations(
        &self,
        batch: &Batch,
        gradients: &[Tensor],
        deviations: &[Tensor],
        epsilon: f64,
    ) -> Vec<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let normalized = gradients.iter().zip(deviations);
        let normalized = normalized.map(|(gradient, deviations)| gradient * deviations).collect();
        self.scale_perturbations(batch, normalized, deviations, epsilon)
    }

    /// Returns perturbations of the word vectors of each LSTM, [B, T, E], in the directions of these signs,
    /// with norm `norm` for each example.
    pub fn random_perturbations(
        &self,
        batch: &Batch,
        signs: &[PackedSigns],
        deviations: &[Tensor],
        norm: f64,
    ) -> Vec<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let normalized = signs.iter().map(PackedSigns::unpack).collect();
        self.scale_perturbations(batch, normalized, deviations, norm)
    }

    /// Turns directions, of normalized word vectors, into perturbations of the word vectors, with norm `norm`
    /// for each example.
    fn scale_perturbations(
        &self,
        batch: &Batch,
        normalized: Vec<Tensor>,
        deviations: &[Tensor],
        norm: f64,
    ) -> Vec<Tensor> {
        let inputs = normalized.into_iter().zip(&self.branches);
        let normalized = inputs.map(|(normalized, (input, _))| {
            let padding = &batch.inputs[*input].padding;
            normalized * padding.mask(Direction::Forward).unsqueeze(2) // [B, T, 1]
        });
        let normalized: Vec<Tensor> = normalized.collect();
        let square = |vectors: &Tensor| {
            vectors.square().sum_dim_intlist([1_i64, 2].as_slice(), true, Kind::Float)
        };
        let squares: Tensor = normalized.iter().map(square).sum(); // [B, 1, 1]
        let is_zero = squares.eq(0.0);
        let factors = (squares.rsqrt() * norm).masked_fill(&is_zero, 0.0);
        let inputs = normalized.iter().zip(deviations);
        inputs.map(|(normalized, deviations)| normalized * deviations * &factors).collect()
    }

    /// Branches of the inputs that have n-grams.
    pub fn ngrams(&self) -> &[NgramBranch] {
        &self.ngrams
    }

    /// Returns the trainable tensors under PyTorch's names, always in the same order, except for the
    /// weights of n-grams.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let branches = self.branches.iter();
        let mut named: Vec<_> = branches.flat_map(|(_, branch)| branch.parameters()).collect();
        let weight = self.head_weight.iter().map(Tensor::shallow_clone);
        named.extend(weight.map(|weight| ("head.weight".to_owned(), weight)));
        named.push(("head.bias".to_owned(), self.head_bias.shallow_clone()));
        named
    }

    /// Returns the index of the input whose embedding a parameter is, for each of
    /// [`Model::parameters`]; for vectors of character n-grams, that of the input plus the number of inputs.
    pub fn embedding_inputs(&self) -> Vec<Option<usize>> {
        let inputs = self.vocabulary_sizes.len();
        let names = self.branches.iter().flat_map(|(input, branch)| {
            [(branch.embedding_name(), *input), (branch.subwords_name(), inputs + input)]
        });
        let names: HashMap<String, usize> = names.collect();
        let input = |(name, _): (String, Tensor)| names.get(&name).copied();
        self.parameters().into_iter().map(input).collect()
    }

    /// Returns the tensors of PyTorch's `state_dict`: the parameters, the weights and values of n-grams,
    /// frozen word vectors, and the second bias of each LSTM, which is zero here.
    pub fn state_dict(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.parameters();
        tensors.extend(self.ngrams.iter().map(NgramBranch::parameter));
        tensors.extend(self.ngrams.iter().filter_map(NgramBranch::constant));
        tensors.extend(self.branches.iter().flat_map(|(_, branch)| branch.constants()));
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
        let ngrams = self.ngrams.iter().map(|branch| branch.parameter().1.numel());
        ngrams.chain(self.parameters().iter().map(|(_, tensor)| tensor.numel())).sum()
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

/// Turns the logits of a sigmoid, [B, 1], into `[B]`.
fn squeeze_single(logits: Tensor) -> Tensor {
    match logits.size()[1] {
        1 => logits.squeeze_dim(1),
        _ => logits,
    }
}

//! The weights of a language model, and its layers up to the projection. The softmax above them doesn't belong here.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::Context;
use tch::{Device, Kind, Tensor};

use super::masks::{DirectionMasks, MaskShape};
use crate::model::CellWeights;
use crate::tensors::to_tensors;
use lstmtext::model::parameters::{Parameter, in_order};
use lstmtext::model::{LanguageModelSpec, NamedTensor};

/// Weights of a language model.
pub struct LanguageModel {
    /// All weights under PyTorch's names, in the order of the specification.
    named: Vec<(String, Tensor)>,
    /// True for each weight that is trained.
    trainable: Vec<bool>,
    /// Word vectors, [V, E].
    pub embedding: Tensor,
    /// Weights of each direction.
    pub directions: Vec<DirectionWeights>,
}

/// Weights of a direction.
pub struct DirectionWeights {
    /// Weights of each LSTM layer, from the lowest one.
    cells: Vec<CellWeights>,
    /// P, [E, H].
    projection: Tensor,
    /// p, `[E]`.
    projection_bias: Tensor,
    /// b, `[V]`.
    pub output_bias: Tensor,
}

/// States of all rows of a batch in one direction: hidden and cell state of each layer, float [B, H].
pub type States = Vec<[Tensor; 2]>;

impl LanguageModel {
    /// Creates the model of `spec` from all of its weights, on a device.
    ///
    /// # Errors
    /// Returns an error if a tensor is missing, unknown, or has another shape.
    pub fn new(
        spec: &LanguageModelSpec,
        weights: Vec<NamedTensor>,
        device: Device,
    ) -> anyhow::Result<Self> {
        let tensors = to_tensors(in_order(&spec.parameters(), weights)?);
        let tensors = tensors.into_iter().map(|(_, tensor)| tensor.to_device(device));
        Ok(Self::of(spec, tensors, |weights| CellWeights::new(weights, device)))
    }

    /// Creates a model that has the weights `own`, and shares the embedding and the LSTMs with a network that has the
    /// weights `others`.
    ///
    /// # Errors
    /// Returns an error if a tensor is missing.
    pub fn sharing(
        spec: &LanguageModelSpec,
        own: Vec<NamedTensor>,
        others: Vec<(String, Tensor)>,
    ) -> anyhow::Result<Self> {
        let device = others.first().map_or(Device::Cpu, |(_, tensor)| tensor.device());
        let own =
            to_tensors(own).into_iter().map(|(name, tensor)| (name, tensor.to_device(device)));
        let mut all: HashMap<String, Tensor> = others.into_iter().chain(own).collect();
        let parameters = spec.parameters().into_iter();
        let tensors: anyhow::Result<Vec<Tensor>> = parameters
            .map(|Parameter { name, .. }| {
                all.remove(&name).with_context(|| format!("the language model lacks {name}"))
            })
            .collect();
        let cell = |[weight_ih, weight_hh, bias_ih, bias_hh]: [Tensor; 4]| CellWeights {
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
        };
        Ok(Self::of(spec, tensors?.into_iter(), cell))
    }

    /// Creates the model of `spec` from all tensors in its order.
    fn of(
        spec: &LanguageModelSpec,
        mut tensors: impl Iterator<Item = Tensor>,
        new_cell: impl Fn([Tensor; 4]) -> CellWeights,
    ) -> Self {
        let parameters = spec.parameters();
        // After the embedding, each direction has four tensors per layer, and three more.
        let mut take = || tensors.next().unwrap_or_default();
        let embedding = take();
        let mut direction = |_| {
            let cell = |_| new_cell([take(), take(), take(), take()]);
            DirectionWeights {
                cells: (0..spec.layers()).map(cell).collect(),
                projection: take().set_requires_grad(true),
                projection_bias: take().set_requires_grad(true),
                output_bias: take(),
            }
        };
        let directions: Vec<DirectionWeights> =
            (0..spec.input.lstm.directions()).map(&mut direction).collect();
        let all = directions.iter().flat_map(DirectionWeights::tensors);
        let all = [embedding.shallow_clone()].into_iter().chain(all);
        let names = parameters.iter().map(|Parameter { name, .. }| name.clone());
        Self {
            named: names.zip(all).collect(),
            trainable: parameters.iter().map(|parameter| parameter.trainable).collect(),
            embedding,
            directions,
        }
    }

    /// Trains only the weights with the names that `is_trained` accepts.
    pub fn train_only(&mut self, is_trained: impl Fn(&str) -> bool) {
        for (trainable, (name, _)) in self.trainable.iter_mut().zip(&self.named) {
            *trainable &= is_trained(name);
        }
    }

    /// Returns all weights under PyTorch's names, in the order of the specification.
    pub fn weights(&self) -> Vec<(String, Tensor)> {
        let handle = |(name, tensor): &(String, Tensor)| (name.clone(), tensor.shallow_clone());
        self.named.iter().map(handle).collect()
    }

    /// Returns the weights that are trained, in the same order.
    pub fn trained(&self) -> Vec<(String, Tensor)> {
        let weights = self.weights().into_iter().zip(&self.trainable);
        weights.filter(|(_, trainable)| **trainable).map(|(weight, _)| weight).collect()
    }

    /// Device of the weights.
    pub fn device(&self) -> Device {
        self.embedding.device()
    }

    /// Returns states of zero of each direction.
    pub fn zero_states(&self, rows: usize) -> Vec<States> {
        let zeros = |direction: &DirectionWeights| {
            let size = [rows as i64, direction.projection.size()[1]];
            let zeros = || Tensor::zeros(size, (Kind::Float, self.device()));
            direction.cells.iter().map(|_| [zeros(), zeros()]).collect()
        };
        self.directions.iter().map(zeros).collect()
    }
}

impl DirectionWeights {
    /// Returns all weights in the order of the specification.
    fn tensors(&self) -> Vec<Tensor> {
        let cell = |cell: &CellWeights| {
            let CellWeights { weight_ih, weight_hh, bias_ih, bias_hh } = cell;
            [weight_ih, weight_hh, bias_ih, bias_hh].map(Tensor::shallow_clone)
        };
        let others = [&self.projection, &self.projection_bias, &self.output_bias];
        let others = others.map(Tensor::shallow_clone);
        self.cells.iter().flat_map(cell).chain(others).collect()
    }

    /// Returns the trained weights that have a gradient for all of their rows, in the order of the specification.
    pub fn dense(&self) -> Vec<Tensor> {
        let cell = |cell: &CellWeights| {
            let CellWeights { weight_ih, weight_hh, bias_ih, .. } = cell;
            [weight_ih, weight_hh, bias_ih].map(Tensor::shallow_clone)
        };
        let others = [&self.projection, &self.projection_bias].map(Tensor::shallow_clone);
        self.cells.iter().flat_map(cell).chain(others).collect()
    }

    /// Returns the shape of the masks of some rows of a batch.
    pub fn mask_shape(&self, rows: Range<usize>, steps: usize) -> MaskShape {
        let [inputs, units] = [0, 1].map(|dim| self.projection.size()[dim] as usize);
        MaskShape { layers: self.cells.len(), inputs, units, rows, steps }
    }

    /// Runs the layers over the vectors of some words, [T, B, E], from these states. With dropout masks, a backward
    /// pass can follow. Returns the hidden states of the top layer, [T, B, H], and the states at the end, without
    /// their history.
    pub fn run(
        &self,
        vectors: &Tensor,
        states: &States,
        masks: Option<&DirectionMasks>,
        kind: Kind,
    ) -> (Tensor, States) {
        let mut inputs = vectors.shallow_clone();
        let mut ends = Vec::with_capacity(self.cells.len());
        for (layer, (cell, states)) in self.cells.iter().zip(states).enumerate() {
            let layer_masks = masks.map(|masks| &masks.layers[layer]);
            if let Some(mask) = layer_masks.and_then(|masks| masks.inputs.as_ref()) {
                inputs = inputs.g_mul(&mask.to_kind(inputs.kind()));
            }
            let weights = cell.tensors(kind, layer_masks.and_then(|masks| masks.weights.as_ref()));
            let start = states.each_ref().map(|state| state.to_kind(kind).unsqueeze(0)); // [1, B, H]
            let (hidden, last_hidden, last_cell) = inputs.to_kind(kind).lstm(
                &start.each_ref(),
                &weights.each_ref(),
                true,
                1,
                0.0,
                masks.is_some(),
                false,
                false,
            );
            let end = |state: Tensor| state.squeeze_dim(0).detach().to_kind(Kind::Float);
            ends.push([end(last_hidden), end(last_cell)]);
            inputs = hidden;
        }
        if let Some(mask) = masks.and_then(|masks| masks.outputs.as_ref()) {
            inputs = inputs.g_mul(&mask.to_kind(kind));
        }
        (inputs, ends)
    }

    /// Computes the queries (P h + p)/√E of hidden states [T, B, H], [T·B, E], with the data type of the states.
    pub fn queries(&self, hidden: &Tensor) -> Tensor {
        let scale = 1.0 / (self.projection.size()[0] as f64).sqrt();
        let [projection, bias] = [&self.projection, &self.projection_bias]
            .map(|tensor| (tensor * scale).to_kind(hidden.kind()));
        hidden.flatten(0, 1).linear(&projection, Some(&bias))
    }
}

//! A language model that is trained jointly with a network: it computes with the network's embedding and LSTMs, and has only
//! the layers above them and their optimizer state itself.

use std::mem;

use super::NativeLanguageModel;
use super::adam::Adam;
use crate::backend::language_model::JOINT_PREFIX;
use crate::backend::native::gradients::Gradients;
use crate::backend::native::weight::Weight;
use crate::backend::{JointBatch, LanguageModelLearner, LanguageModelSettings, tensors_in_order};
use crate::distributed::Group;
use crate::model::{LanguageModelSpec, NamedTensor};

/// A language model that shares weights with a network.
pub struct JointLanguageModel {
    /// The language model. Its shared weights have no values between steps.
    model: NativeLanguageModel,
    /// Indices of each shared weight in the language model and in the network.
    shared: Vec<[usize; 2]>,
    /// Weight of the loss of each direction.
    factor: f32,
    /// There is a gradient that has not been applied.
    has_gradient: bool,
}

impl JointLanguageModel {
    /// Creates the language model of `spec`, which has the weights `own` and shares all others with a network.
    /// `weight` is that of its loss, the mean of all directions.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the model, or if the settings cannot be used.
    pub fn new(
        spec: &LanguageModelSpec,
        settings: LanguageModelSettings,
        own: Vec<NamedTensor>,
        network: &[Weight],
        weight: f64,
    ) -> anyhow::Result<Self> {
        let is_own = |name: &str| own.iter().any(|tensor| tensor.name == name);
        let shared: Vec<[usize; 2]> = spec
            .parameters()
            .iter()
            .enumerate()
            .filter(|(_, parameter)| !is_own(&parameter.name))
            .filter_map(|(index, parameter)| {
                let in_network = network.iter().position(|w| w.tensor.name == parameter.name)?;
                Some([index, in_network])
            })
            .collect();
        let of_network = shared.iter().map(|[_, index]| network[*index].tensor.clone());
        let weights = of_network.chain(own.iter().cloned()).collect();
        let mut model = NativeLanguageModel::new(spec, settings, weights)?;
        for [index, _] in &shared {
            let weight = &mut model.model.weights[*index];
            weight.trainable = false;
            weight.tensor.values = Vec::new();
        }
        model.adam = Adam::new(&model.model.weights, model.model.instructions);
        let factor = (weight / spec.input.lstm.directions() as f64) as f32;
        Ok(Self { model, shared, factor, has_gradient: false })
    }

    /// Computes the gradient of the loss with the weights of the network, and adds it to that of the network. Returns
    /// the loss, the mean of all directions in nats per token, before it is multiplied by its weight.
    ///
    /// # Errors
    /// Returns an error if the batch does not fit, or if another process has failed.
    pub fn add_gradients(
        &mut self,
        network: &mut [Weight],
        JointBatch { batch, step, starts }: &JointBatch,
        group: Group,
        gradients: &mut Gradients,
    ) -> anyhow::Result<f64> {
        if *starts {
            self.model.reset_states();
        }
        self.swap(network);
        self.model.model.pack();
        let computed = self.model.compute_gradients(batch, *step, group);
        self.swap(network);
        let (losses, _) = computed?;
        self.has_gradient = true;
        let own = &mut self.model.gradients;
        for [index, in_network] in &self.shared {
            gradients.add_parameter(*in_network, own, *index, self.factor);
            // What is left is the gradient of the weights that only the language model has.
            own.remove_parameter(*index);
        }
        Ok(losses.iter().sum::<f64>() / losses.len() as f64)
    }

    /// Exchanges the values of the shared weights with those of the network.
    fn swap(&mut self, network: &mut [Weight]) {
        for [index, in_network] in &self.shared {
            let own = &mut self.model.model.weights[*index].tensor.values;
            mem::swap(own, &mut network[*in_network].tensor.values);
        }
    }

    /// Returns the norm of the gradient of the weights that only the language model has; 0 without a gradient.
    pub fn norm(&self) -> f64 {
        match self.has_gradient {
            true => f64::from(self.factor) * self.model.gradients.norm(),
            false => 0.0,
        }
    }

    /// Updates these weights with `clip` times their gradient, if there is one.
    pub fn update(&mut self, learning_rate: f64, clip: f32) {
        if !mem::take(&mut self.has_gradient) {
            return;
        }
        let NativeLanguageModel { adam, model, gradients, .. } = &mut self.model;
        adam.step(&mut model.weights, gradients, learning_rate, clip * self.factor);
    }

    /// Returns these weights, their optimizer state, and the carried states, under names with [`JOINT_PREFIX`].
    pub fn state(&mut self) -> Vec<NamedTensor> {
        let state = self.own_weights().cloned().collect::<Vec<_>>().into_iter();
        let state = state.chain(self.model.optimizer_state());
        let named = |tensor: NamedTensor| NamedTensor {
            name: format!("{JOINT_PREFIX}{}", tensor.name),
            ..tensor
        };
        state.map(named).collect()
    }

    /// Loads the result of [`JointLanguageModel::state`], with names without the prefix. An empty one, of a run that
    /// had no language model, changes nothing.
    ///
    /// # Errors
    /// Returns an error if it belongs to another model.
    pub fn load(&mut self, state: Vec<NamedTensor>) -> anyhow::Result<()> {
        if state.is_empty() {
            return Ok(());
        }
        let layout: Vec<(String, Vec<usize>)> =
            self.own_weights().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect();
        let is_weight = |tensor: &NamedTensor| layout.iter().any(|(name, _)| *name == tensor.name);
        let (weights, state) = state.into_iter().partition(is_weight);
        let weights = tensors_in_order(&layout, weights)?;
        self.model.load_optimizer_state(state)?;
        let own = self.model.model.weights.iter_mut().filter(|weight| weight.trainable);
        own.zip(weights).for_each(|(weight, tensor)| weight.tensor = tensor);
        Ok(())
    }

    fn own_weights(&self) -> impl Iterator<Item = &NamedTensor> {
        let own = self.model.model.weights.iter().filter(|weight| weight.trainable);
        own.map(|weight| &weight.tensor)
    }
}

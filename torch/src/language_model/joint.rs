//! A language model that is trained jointly with a network: its embedding and LSTMs are those of the network, and only the
//! layers above them and their optimizer state are its own.

use std::mem;

use tch::{Kind, Tensor};

use super::TorchLanguageModel;
use super::adam::Gradient;
use super::model::LanguageModel;
use super::results::StepResults;
use crate::libtorch::with_batch_context;
use crate::model::Model;
use crate::tensors::{shapes, to_named_tensors, to_tensors};
use lstmtext::backend::language_model::JOINT_PREFIX;
use lstmtext::backend::{
    JointBatch, LanguageModelLearner, LanguageModelSettings, tensors_in_order,
};
use lstmtext::distributed::Group;
use lstmtext::model::{LanguageModelSpec, NamedTensor};

/// A language model that shares weights with a network.
pub struct JointLanguageModel {
    model: TorchLanguageModel,
    /// For each gradient of a step, what it is the gradient of.
    targets: Vec<Target>,
    /// Weight of the loss of each direction.
    factor: f64,
    /// Gradients of the weights that only the language model has.
    pub gradients: Vec<Tensor>,
    /// Their rows, int64; `None` for all rows.
    rows: Vec<Option<Tensor>>,
}

/// A weight that has a gradient in each step.
#[derive(Clone, Copy)]
enum Target {
    /// Only the language model has it.
    Own,
    /// Parameter of the network with this index.
    Shared(usize),
    /// Weight of the network that is not trained.
    Constant,
}

impl JointLanguageModel {
    /// Creates the language model of `spec`, which has the weights `own` and shares all others with a network.
    /// `weight` is that of the loss, the mean of all directions.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the model, or if the settings cannot be used.
    pub fn new(
        spec: &LanguageModelSpec,
        settings: LanguageModelSettings,
        own: Vec<NamedTensor>,
        network: &Model,
        weight: f64,
    ) -> anyhow::Result<Self> {
        let own_names: Vec<String> = own.iter().map(|tensor| tensor.name.clone()).collect();
        let parameters = network.parameters();
        let mut model = LanguageModel::sharing(spec, own, network.state_dict())?;
        let target = |(name, _): (String, Tensor)| match own_names.contains(&name) {
            true => Target::Own,
            false => {
                let index = parameters.iter().position(|(other, _)| *other == name);
                index.map_or(Target::Constant, Target::Shared)
            }
        };
        let targets = model.trained().into_iter().map(target).collect();
        model.train_only(|name| own_names.iter().any(|own| own == name));
        Ok(Self {
            model: TorchLanguageModel::of(spec, settings, model)?,
            targets,
            factor: weight / spec.input.lstm.directions() as f64,
            gradients: Vec::new(),
            rows: Vec::new(),
        })
    }

    /// Computes the gradient of the loss, and adds it to those of the network's parameters, except for frozen ones.
    /// Returns the loss before it is multiplied by its weight, the mean of all directions in nats per token, float [],
    /// and the distinct words of the step, int64.
    ///
    /// # Errors
    /// Returns an error if the batch does not fit, or if another process has failed.
    pub fn add_gradients(
        &mut self,
        JointBatch { batch, step, starts }: &JointBatch,
        group: Group,
        gradients: &mut [Tensor],
        frozen: &[bool],
    ) -> anyhow::Result<(Tensor, Option<Tensor>)> {
        self.model.check(batch, group)?;
        if *starts {
            self.model.reset_states();
        }
        let context = TorchLanguageModel::context(batch);
        let (results, rows) =
            with_batch_context(context, || self.model.compute(batch, *step, group))?;
        let StepResults { gradients: computed, losses, states, .. } = results;
        self.model.states = states;
        let words = rows.first().and_then(Option::as_ref).map(Tensor::shallow_clone);
        self.gradients.clear();
        self.rows.clear();
        let _no_grad = tch::no_grad_guard();
        for ((target, gradient), rows) in self.targets.iter().zip(computed).zip(rows) {
            let gradient = gradient * self.factor;
            match (*target, rows) {
                (Target::Own, rows) => {
                    self.gradients.push(gradient);
                    self.rows.push(rows);
                }
                (Target::Shared(index), _) if frozen[index] => {}
                (Target::Shared(index), Some(rows)) => {
                    let _ = gradients[index].index_add_(0, &rows, &gradient);
                }
                (Target::Shared(index), None) => {
                    let _ = gradients[index].g_add_(&gradient);
                }
                (Target::Constant, _) => {}
            }
        }
        Ok((losses.mean(Kind::Float), words))
    }

    /// Updates the weights that only the language model has, if they have gradients, unless `skipped`, a float [], is 1 instead of 0.
    ///
    /// # Errors
    /// Returns libtorch's error if gradients do not fit the weights.
    pub fn update(&mut self, learning_rate: f64, skipped: &Tensor) -> anyhow::Result<()> {
        if self.gradients.is_empty() {
            return Ok(());
        }
        let own = mem::take(&mut self.gradients);
        let gradients = own
            .iter()
            .zip(&self.rows)
            .map(|(values, rows)| Gradient { values: values.shallow_clone(), rows: rows.as_ref() });
        let gradients: Vec<Gradient> = gradients.collect();
        self.model.adam.step(&gradients, learning_rate, skipped)
    }

    /// Returns these weights, their optimizer state, and the carried states, under names with [`JOINT_PREFIX`].
    pub fn state(&mut self) -> Vec<NamedTensor> {
        let weights = to_named_tensors(self.model.model.trained()).into_iter();
        let named = |tensor: NamedTensor| NamedTensor {
            name: format!("{JOINT_PREFIX}{}", tensor.name),
            ..tensor
        };
        weights.chain(self.model.optimizer_state()).map(named).collect()
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
        let own = self.model.model.trained();
        let layout = shapes(&own);
        let is_weight = |tensor: &NamedTensor| layout.iter().any(|(name, _)| *name == tensor.name);
        let (weights, state) = state.into_iter().partition(is_weight);
        let weights = to_tensors(tensors_in_order(&layout, weights)?);
        self.model.load_optimizer_state(state)?;
        let _no_grad = tch::no_grad_guard();
        for ((_, mut weight), (_, loaded)) in own.into_iter().zip(weights) {
            weight.copy_(&loaded);
        }
        Ok(())
    }
}

//! The traits of networks: [`Inference`] for prediction, [`Learner`] for training.

use std::any::Any;
use std::collections::HashMap;

use anyhow::Context;

use super::language_model::{JointBatch, LanguageModelSettings};
use super::times::Times;
use crate::data::Dataset;
use crate::distributed::{Group, Worker};
use crate::model::{LanguageModelSpec, NamedTensor};
use crate::objective::AddedLosses;
use crate::text::Corpus;

/// A network with its weights.
pub trait Inference: Send {
    /// Computes the log-probability of each class for the examples with these indices: [B, C] in row-major
    /// order. `inputs` are the encoded texts of the whole data set.
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64>;

    /// Computes [`Inference::log_probabilities`] for several batches, possibly concurrently.
    fn log_probabilities_of_batches(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        batches.iter().map(|examples| self.log_probabilities(inputs, examples)).collect()
    }
}

/// Function that prepares a batch, possibly on another thread. Its arguments are the data set, the
/// indices of the examples, and the seed of the dropout masks.
pub type Preparer = Box<dyn FnMut(&Dataset, &[u32], u64) -> PreparedBatch + Send>;

/// A batch in a backend's own format, and possibly one of unlabelled texts and one of a language model for the same
/// step.
pub struct PreparedBatch {
    batch: Box<dyn Any + Send>,
    unlabelled: Option<Box<PreparedBatch>>,
    language_model: Option<JointBatch>,
}

impl PreparedBatch {
    /// Wraps a backend's batch.
    pub fn new(batch: impl Any + Send) -> Self {
        Self { batch: Box::new(batch), unlabelled: None, language_model: None }
    }

    /// Adds a batch of unlabelled texts, from [`Learner::unlabelled_preparer`].
    #[must_use]
    pub fn with_unlabelled(self, unlabelled: Self) -> Self {
        Self { unlabelled: Some(Box::new(unlabelled)), ..self }
    }

    /// Returns the batch of unlabelled texts, if there is one.
    pub fn unlabelled(&self) -> Option<&Self> {
        self.unlabelled.as_deref()
    }

    /// Adds the batch of the joint language model, if there is one.
    #[must_use]
    pub fn with_language_model(self, language_model: Option<JointBatch>) -> Self {
        Self { language_model, ..self }
    }

    /// Returns the batch of the joint language model, if there is one.
    pub fn language_model(&self) -> Option<&JointBatch> {
        self.language_model.as_ref()
    }

    /// Returns the backend's batch.
    ///
    /// # Errors
    /// Returns an error if another backend prepared it.
    pub fn get<B: Any>(&self) -> anyhow::Result<&B> {
        self.batch.downcast_ref().context("the batch was prepared for another backend")
    }
}

/// Function that adds the batches of other texts of a step to that of its examples.
pub type AddTexts<'a> = dyn FnMut(PreparedBatch) -> PreparedBatch + 'a;

/// Names of the tensors in [`Learner::optimizer_state`] for loss scaling. Only learners in fp16 use
/// them; others ignore them.
pub const LOSS_SCALE: [&str; 2] = ["loss_scale", "loss_scale_steps"];

/// Measurements of one training step.
#[derive(Clone, Copy, Debug)]
pub struct StepStats {
    /// Loss and correct predictions of the batch before the step.
    pub loss: BatchLoss,
    /// Losses of the batch that training adds to that of the labels.
    pub added: AddedLosses,
    /// Norm of the whole gradient before clipping. `None` if the gradient overflowed in fp16, in which
    /// case the update was skipped.
    pub gradient_norm: Option<f64>,
    /// [`Group::stop`] was true in at least one process.
    pub stop_requested: bool,
}

impl StepStats {
    /// Returns true if the loss is finite and the gradient norm is finite or `None`.
    pub fn is_finite(&self) -> bool {
        self.loss.mean.is_finite() && self.gradient_norm.is_none_or(f64::is_finite)
    }
}

/// Loss of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchLoss {
    /// Mean over the examples, weighted as configured.
    pub mean: f64,
    /// Number of correct predictions.
    pub correct: u64,
}

/// A network that is being trained.
///
/// A step is `compute_gradients` → `sum_gradients` → `add_language_model` → `clip_gradients` → `update`, in this order.
/// On a CUDA device none of them waits for the device.
///
/// With `train.average`, a step also updates the average of each trainable weight. Between steps, the
/// learner uses either the weights before averaging or the averages.
pub trait Learner: Inference {
    /// Returns the function that prepares batches for this learner. Of each batch, the process `worker`
    /// computes a part.
    fn preparer(&self, worker: Worker) -> Preparer;

    /// Returns the function that prepares batches of unlabelled texts for this learner, like
    /// [`Learner::preparer`].
    fn unlabelled_preparer(&self, worker: Worker) -> Preparer;

    /// Computes this process's part of the loss of a batch and its gradient, which the learner keeps. Adds
    /// the gradients of the terms that need no labels (`train.virtual_adversarial`, `train.entropy_weight`):
    /// the means over the batch of unlabelled texts, or over the texts of the batch itself if there is none.
    ///
    /// # Errors
    /// Returns the backend's own errors, or one if another backend prepared the batch.
    fn compute_gradients(&mut self, batch: &PreparedBatch) -> anyhow::Result<()>;

    /// Replaces loss and gradient of the batch by their sums over all processes. `sparse_embedding` then
    /// updates the rows of all their words. [`StepStats::stop_requested`] tells all processes if one of them is to
    /// stop.
    ///
    /// # Errors
    /// Returns an error if another process has failed or does not respond in time.
    fn sum_gradients(&mut self, batch: &PreparedBatch, group: Group) -> anyhow::Result<()>;

    /// Shares the embedding and the LSTMs with a language model, whose loss [`Learner::add_language_model`] then adds.
    /// `weights` are those of the layers above its LSTMs.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the model, or if the settings cannot be used.
    fn join_language_model(
        &mut self,
        spec: &LanguageModelSpec,
        settings: LanguageModelSettings,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<()>;

    /// Adds `train.language_model_weight` times the loss of the language model and its gradient. The processes of a
    /// group share the work. Does nothing without a language model, or without a batch for it.
    ///
    /// # Errors
    /// Returns the backend's own errors, or one if another process has failed.
    fn add_language_model(&mut self, batch: &PreparedBatch, group: Group) -> anyhow::Result<()>;

    /// Measures the norm of the whole gradient, and scales the gradient down to norm `limit` if its
    /// norm is larger (Pascanu, Mikolov and Bengio 2013).
    ///
    /// # Errors
    /// Returns the backend's own errors.
    fn clip_gradients(&mut self, limit: Option<f64>) -> anyhow::Result<()>;

    /// Updates the weights with the gradient, and then their averages. Skips the update if loss or
    /// gradient is not finite.
    ///
    /// # Errors
    /// Returns the backend's own errors.
    fn update(&mut self, learning_rate: f64) -> anyhow::Result<()>;

    /// Sets the factor of the learning rate of each trainable weight, by name; 1 for weights without one.
    /// Weights with factor 0 are frozen: steps change neither them nor their optimizer state, and the
    /// norm of the gradient does not include them.
    fn set_rate_factors(&mut self, factors: &HashMap<String, f64>);

    /// Performs a training step: computes, sums and clips the gradients, those of the language model included, and
    /// updates the weights.
    ///
    /// # Errors
    /// Returns the errors of these methods.
    fn step(
        &mut self,
        batch: &PreparedBatch,
        group: Group,
        gradient_clip: Option<f64>,
        learning_rate: f64,
    ) -> anyhow::Result<()> {
        self.compute_gradients(batch)?;
        self.sum_gradients(batch, group)?;
        self.add_language_model(batch, group)?;
        self.clip_gradients(gradient_clip)?;
        self.update(learning_rate)
    }

    /// Computes the log-probabilities that the n-grams and the bias of the head have without the LSTMs, [B, C]
    /// for each batch, like [`Inference::log_probabilities_of_batches`].
    fn ngram_log_probabilities(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>>;

    /// Returns the measurements of all steps since the last call, in order. Waits for the device.
    fn drain_step_stats(&mut self) -> Vec<StepStats>;

    /// Returns the number of steps between calls of [`Learner::drain_step_stats`]. It is larger than 1 if
    /// each call has to wait for a device.
    fn stats_interval(&self) -> usize {
        1
    }

    /// Returns the clipped gradients of the last batch, with the names of [`Learner::weights`]. The
    /// gradient of an embedding contains only its nonzero rows.
    fn gradients(&self) -> Vec<NamedTensor>;

    /// Starts averaging the weights with the next step. Does nothing if it has started, or without
    /// `train.average`.
    fn start_averaging(&mut self);

    /// Uses the averages of the weights, until the next step. Does nothing without `train.average`.
    fn use_averages(&mut self);

    /// Returns all weights in use, with PyTorch's names: after [`Learner::use_averages`] the averages,
    /// after a step the weights that it has updated.
    fn weights(&self) -> Vec<NamedTensor>;

    /// Returns the trainable weights before averaging, which steps update. `None` without
    /// `train.average`.
    fn raw_weights(&self) -> Option<Vec<NamedTensor>>;

    /// Returns the optimizer state, with the names of `torch.optim`, the state of weight averaging, and that of the
    /// joint language model.
    fn optimizer_state(&mut self) -> Vec<NamedTensor>;

    /// Loads the optimizer state of a checkpoint, and the state of weight averaging if it has one.
    ///
    /// # Errors
    /// Returns an error if it belongs to another optimizer or another model.
    fn load_optimizer_state(&mut self, state: Vec<NamedTensor>) -> anyhow::Result<()>;

    /// Uses the weights before averaging again, as the next step does.
    fn use_raw_weights(&mut self);

    /// Loads weights by name in the place of those in use. Weights that are not in `tensors` keep their
    /// values.
    ///
    /// # Errors
    /// Returns an error, and changes nothing, if the model has no weight with the name and shape of a
    /// tensor.
    fn load_weights(&mut self, tensors: Vec<NamedTensor>) -> anyhow::Result<()>;

    /// Returns the number of trainable parameters.
    fn parameter_count(&self) -> usize;

    /// Returns the wall time of all steps so far, by part.
    fn times(&self) -> Times;
}

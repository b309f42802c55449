//! The traits of a network: one that predicts, and one that is trained.

use std::any::Any;

use anyhow::Context;

use super::collective::Collective;
use super::times::Times;
use crate::data::Dataset;
use crate::model::NamedTensor;
use crate::text::Corpus;

/// A network with its weights.
pub trait Inference: Send {
    /// Log-probability of each class for the examples with these indices, [B, C] row by row.
    /// `inputs` are the encoded texts of the whole data set.
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64>;

    /// [`Inference::log_probabilities`] of several batches, which may be computed concurrently.
    fn log_probabilities_of_batches(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        batches.iter().map(|examples| self.log_probabilities(inputs, examples)).collect()
    }
}

/// Prepares batches, possibly on another thread: from the data set, the indices of the examples and
/// the seed of the dropout masks.
pub type Preparer = Box<dyn FnMut(&Dataset, &[u32], u64) -> PreparedBatch + Send>;

/// A batch in the form that one backend computes with.
pub struct PreparedBatch(Box<dyn Any + Send>);

impl PreparedBatch {
    /// Wraps a backend's batch.
    pub fn new(batch: impl Any + Send) -> Self {
        Self(Box::new(batch))
    }

    /// The batch.
    ///
    /// # Errors
    /// Returns an error if another backend prepared it.
    pub fn get<B: Any>(&self) -> anyhow::Result<&B> {
        self.0.downcast_ref().context("the batch was prepared for another backend")
    }
}

/// Tensors of [`Learner::optimizer_state`] that exist only if gradients are in fp16; learners of
/// other precisions ignore them.
pub const LOSS_SCALE: [&str; 2] = ["loss_scale", "loss_scale_steps"];

/// Measurements of one training step.
#[derive(Clone, Copy, Debug)]
pub struct StepStats {
    /// Loss and correct predictions of the batch before the step.
    pub loss: BatchLoss,
    /// Norm of the whole gradient before clipping. `None` if it overflowed fp16, which is not a
    /// failure: the step was skipped.
    pub gradient_norm: Option<f64>,
}

impl StepStats {
    /// Returns true if loss and gradient norm are finite, or only overflowed fp16.
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
/// A step is `compute_gradients` → `sum_gradients` → `clip_gradients` → `update`, in this order. On a
/// CUDA device none of them waits for the device.
pub trait Learner: Inference {
    /// Returns the function that prepares batches for this learner.
    fn preparer(&self) -> Preparer;

    /// Computes the loss of a batch and its gradient, which the learner keeps.
    ///
    /// # Errors
    /// Returns the backend's own errors, or one if another backend prepared the batch.
    fn compute_gradients(&mut self, batch: &PreparedBatch) -> anyhow::Result<()>;

    /// Replaces gradients and loss by their sums over all processes.
    ///
    /// # Errors
    /// Returns an error if another process is lost or late.
    fn sum_gradients(&mut self, collective: &dyn Collective) -> anyhow::Result<()>;

    /// Measures the norm of the whole gradient, and scales the gradient down to norm `limit` if its
    /// norm is larger (Pascanu, Mikolov and Bengio 2013).
    ///
    /// # Errors
    /// Returns the backend's own errors.
    fn clip_gradients(&mut self, limit: Option<f64>) -> anyhow::Result<()>;

    /// Updates the weights with the gradient. Skips the update if loss or gradient is not finite.
    ///
    /// # Errors
    /// Returns the backend's own errors.
    fn update(&mut self, learning_rate: f64) -> anyhow::Result<()>;

    /// Returns the measurements of all steps since the last call, in order. Waits for the device.
    fn drain_step_stats(&mut self) -> Vec<StepStats>;

    /// Number of steps after which [`Learner::drain_step_stats`] is worth waiting for the device.
    fn stats_interval(&self) -> usize {
        1
    }

    /// Gradient of the last batch, clipped, under the names of [`Learner::weights`]. That of an
    /// embedding has only the rows that are not zero.
    fn gradients(&self) -> Vec<NamedTensor>;

    /// All weights under PyTorch's names.
    fn weights(&self) -> Vec<NamedTensor>;

    /// Optimizer state, under the names of `torch.optim`.
    fn optimizer_state(&mut self) -> Vec<NamedTensor>;

    /// Restores the optimizer state of an earlier run.
    ///
    /// # Errors
    /// Returns an error if it belongs to another optimizer or another model.
    fn load_optimizer_state(&mut self, state: Vec<NamedTensor>) -> anyhow::Result<()>;

    /// Replaces the weights by these tensors, by name; the others stay.
    ///
    /// # Errors
    /// Returns an error if the model has no tensor of that name and shape; no weight changes then.
    fn load_weights(&mut self, tensors: Vec<NamedTensor>) -> anyhow::Result<()>;

    /// Number of trainable values.
    fn parameter_count(&self) -> usize;

    /// Wall time of all steps so far, by part.
    fn times(&self) -> Times;
}

//! What computes: libtorch on any device, or the [`kernel`](crate::backend::kernel) on the CPU.

pub mod kernel;
pub mod native;

use std::time::Instant;

use crate::data::Dataset;
use crate::model::named_tensors::NamedTensor;
use crate::text::Corpus;

/// A network with its weights.
pub trait Inference: Send {
    /// The log probability of each class for the examples with these numbers, [B, C] row by row;
    /// `inputs` are the texts of the whole data set.
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64>;

    /// The same for several batches, perhaps side by side.
    fn classify(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        batches.iter().map(|examples| self.log_probabilities(inputs, examples)).collect()
    }
}

/// The number of the largest; of equal ones the first.
pub fn argmax(values: &[f64]) -> usize {
    let better =
        |best: usize, index: usize| if values[index] > values[best] { index } else { best };
    (0..values.len()).fold(0, better)
}

/// Makes batches, perhaps in another thread: from the data, the examples' numbers and, where
/// dropout acts, its seed.
pub type Preparer<B> = Box<dyn FnMut(&Dataset, &[u32], u64) -> B + Send>;

/// What [`Learner::memory`] has besides where gradients are in fp16; a learner of another precision
/// leaves it aside.
pub const LOSS_SCALE: [&str; 2] = ["loss_scale", "loss_scale_steps"];

/// What a step measured.
#[derive(Clone, Copy, Debug)]
pub struct StepStats {
    /// The loss of the batch and its hits, before the step.
    pub loss: Loss,
    /// The norm of the whole gradient, before it was scaled down. None where it was too large for
    /// fp16, which can happen: the step was left out.
    pub gradient_norm: Option<f64>,
}

impl StepStats {
    /// Whether the loss and the gradient were numbers, or at least can be in later steps.
    pub fn is_finite(&self) -> bool {
        self.loss.mean.is_finite() && self.gradient_norm.is_none_or(f64::is_finite)
    }
}

/// A network that is being trained.
pub trait Learner: Inference {
    /// Examples, ready to be computed.
    type Batch: Send;

    /// What makes batches for it.
    fn preparer(&self) -> Preparer<Self::Batch>;

    /// Changes the weights by one step against the gradient of a batch's loss, which is scaled down
    /// to norm `limit` where it is larger (Pascanu, Mikolov and Bengio 2013). A loss or a gradient
    /// that is not finite changes nothing. A device may be at it still when this returns.
    ///
    /// # Errors
    /// The library's own.
    fn step(
        &mut self,
        batch: &Self::Batch,
        limit: Option<f64>,
        learning_rate: f64,
    ) -> anyhow::Result<()>;

    /// What the steps measured since this was last called, in their order. Waits for a device.
    fn measured(&mut self) -> Vec<StepStats>;

    /// The steps after which [`Learner::measured`] is worth its wait.
    fn stats_interval(&self) -> usize {
        1
    }

    /// The gradient of the last batch, as clipped, under the names of [`Learner::weights`]. That of
    /// an embedding has only the rows that are not zero, at most those of the words in the batch.
    fn gradients(&self) -> Vec<NamedTensor>;

    /// All weights under PyTorch's names.
    fn weights(&self) -> Vec<NamedTensor>;

    /// The optimizer's memory, under `torch.optim`'s names.
    fn memory(&mut self) -> Vec<NamedTensor>;

    /// Takes the memory of an earlier run.
    ///
    /// # Errors
    /// Where it is the memory of another optimizer or another model.
    fn restore(&mut self, memory: Vec<NamedTensor>) -> anyhow::Result<()>;

    /// Takes other weights, all that [`Learner::weights`] names.
    ///
    /// # Errors
    /// Where they do not fit.
    fn load(&mut self, weights: Vec<NamedTensor>) -> anyhow::Result<()>;

    /// The number of trainable numbers.
    fn parameter_count(&self) -> usize;

    /// What the time of all steps so far went into.
    fn times(&self) -> Times;
}

/// Seconds of wall time, each part of a step with its name; what threads do side by side counts as
/// their mean.
#[derive(Clone, Debug, Default)]
pub struct Times(pub Vec<(&'static str, f64)>);

impl Times {
    /// Adds seconds to a part.
    pub fn add(&mut self, part: &'static str, seconds: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == part) {
            Some((_, sum)) => *sum += seconds,
            None => self.0.push((part, seconds)),
        }
    }

    /// Runs `work` and adds the time that it takes to a part.
    pub fn measure<T>(&mut self, part: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(part, start.elapsed().as_secs_f64());
        result
    }
}

/// What a batch cost.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// The mean over the examples, weighted as configured.
    pub mean: f64,
    /// Examples whose most probable class was the right one.
    pub correct: u64,
}

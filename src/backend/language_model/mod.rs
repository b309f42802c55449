//! The trait of language models in training, and what all backends share: the random words and the dropout masks of
//! a step, and the names of the optimizer state. Passes over texts belong to the backends.

mod dropout;
mod memory;
mod negatives;
mod state;

use anyhow::ensure;

use super::Times;
use crate::config::{ConfigError, Precision};
use crate::distributed::Group;
use crate::model::NamedTensor;

pub use dropout::{DropoutMasks, DropoutRates};
pub use memory::check_memory;
pub use negatives::NegativeSampler;
pub use state::{BETAS, CarriedState, EPSILON, adam_layout, carried_states, split_state};

/// Consecutive tokens of several texts that are read side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageModelBatch {
    /// Ids of each direction, [B, T + 1] in row-major order, in the order in which the direction reads them: it
    /// reads the first T and predicts the last T. Row r continues row r of the batch before.
    pub ids: Vec<Vec<u32>>,
    /// Number of texts B that are read side by side.
    pub rows: usize,
}

impl LanguageModelBatch {
    /// Number of tokens T that are predicted in each row.
    pub fn steps(&self) -> usize {
        (self.ids[0].len() / self.rows.max(1)).saturating_sub(1)
    }

    /// Number of predicted tokens of each direction.
    pub fn tokens(&self) -> usize {
        self.rows * self.steps()
    }

    /// Checks the batch of a model with this number of directions and vocabulary size V.
    ///
    /// # Errors
    /// Returns an error if the batch has other directions, incomplete rows, or ids outside the vocabulary.
    pub fn check(&self, directions: usize, vocabulary_size: usize) -> anyhow::Result<()> {
        ensure!(
            self.ids.len() == directions,
            "the batch has {} directions, but the model has {directions}",
            self.ids.len()
        );
        let (rows, steps) = (self.rows, self.steps());
        for ids in &self.ids {
            ensure!(
                rows > 0 && steps > 0 && ids.len() == rows * (steps + 1),
                "{} ids are not {rows} rows of at least 2 ids",
                ids.len()
            );
            ensure!(
                ids.iter().all(|id| (*id as usize) < vocabulary_size),
                "the batch has an id that is not below the vocabulary size {vocabulary_size}"
            );
        }
        Ok(())
    }

    /// Checks that the batch has as many rows as the one that it continues.
    ///
    /// # Errors
    /// Returns an error if it has not.
    pub fn check_continuation(&self, rows: usize) -> anyhow::Result<()> {
        ensure!(
            rows == self.rows,
            "the batch has {} rows, but the one that it continues has {rows}",
            self.rows
        );
        Ok(())
    }
}

/// The batch of a joint language model.
#[derive(Clone, Debug, PartialEq)]
pub struct JointBatch {
    /// Tokens.
    pub batch: LanguageModelBatch,
    /// Number of the step, from 0, which determines its negatives and dropout.
    pub step: u64,
    /// True if the rows do not continue those of the batch before.
    pub starts: bool,
}

/// Start of the names of all tensors of a joint language model in the optimizer state of the classifier: its layers
/// above the LSTMs, their state of Adam, and the carried states.
pub const JOINT_PREFIX: &str = "language_model.";

/// Removes the tensors of a joint language model from an optimizer state, and returns them under the names that they
/// have in the language model.
pub fn take_joint_state(state: &mut Vec<NamedTensor>) -> Vec<NamedTensor> {
    let joint = state.extract_if(.., |tensor| tensor.name.starts_with(JOINT_PREFIX));
    let renamed = joint.map(|mut tensor| {
        tensor.name.drain(..JOINT_PREFIX.len());
        tensor
    });
    renamed.collect()
}

/// Checks that each process has one of the rows of a batch.
///
/// # Errors
/// Returns an error if one has none.
pub fn check_processes(rows: usize, processes: usize) -> anyhow::Result<()> {
    ensure!(
        rows >= processes,
        "{rows} rows of texts cannot be divided among {processes} processes; start fewer, use more texts, or raise \
         pretrain.language_model.batch_size"
    );
    Ok(())
}

/// Settings of the training of a language model.
#[derive(Clone, Debug)]
pub struct LanguageModelSettings {
    /// Number of texts B that are read side by side.
    pub rows: usize,
    /// Number of random words that each prediction is compared with.
    pub negatives: usize,
    /// Number of occurrences of each id in the texts, `[V]`.
    pub counts: Vec<u64>,
    /// Dropout rates.
    pub dropout: DropoutRates,
    /// Maximum norm of the whole gradient; `None`: no clipping.
    pub gradient_clip: Option<f64>,
    /// Number of shards of rows of the native backend. Rounding depends on it, but not on the number of threads.
    pub shards: usize,
    /// Random seed of the negatives and of dropout.
    pub seed: u64,
    /// Precision of training. Scores are always computed in 32 bits.
    pub precision: Precision,
}

impl LanguageModelSettings {
    /// Checks the settings of a model with this vocabulary size V.
    ///
    /// # Errors
    /// Returns an error if there are no rows, if `counts` belongs to another vocabulary, or if a dropout rate is
    /// not in [0, 1).
    pub fn check(&self, vocabulary_size: usize) -> anyhow::Result<()> {
        ensure!(
            self.counts.len() == vocabulary_size,
            "there are counts of {} words, but the vocabulary has {vocabulary_size}",
            self.counts.len()
        );
        ensure!(self.rows > 0, "a language model needs at least one row");
        self.dropout.check()
    }

    /// Checks a batch for training with [`LanguageModelBatch::check`], and its number of rows.
    ///
    /// # Errors
    /// Returns an error if the batch cannot be used.
    pub fn check_batch(&self, batch: &LanguageModelBatch, directions: usize) -> anyhow::Result<()> {
        ensure!(batch.rows == self.rows, "the batch has {} rows, not {}", batch.rows, self.rows);
        batch.check(directions, self.counts.len())
    }
}

/// Checks that libtorch can train language models in a precision.
///
/// # Errors
/// Returns an error for fp16, because steps with gradients beyond its range are not repeated with a smaller loss scale.
pub fn check_precision(precision: Precision) -> Result<(), ConfigError> {
    match precision {
        Precision::Fp16 => Err(ConfigError::new(
            "precision: fp16 needs loss scaling, which the training of language models does not have; use bf16, tf32 \
             or fp32",
        )),
        Precision::Fp32 | Precision::Tf32 | Precision::Bf16 => Ok(()),
    }
}

/// Measurements of a step of a language model.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageModelStats {
    /// Mean training loss of each direction in nats per token: that of the sampled softmax.
    pub losses: Vec<f64>,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f64,
    /// A process of the group is to stop after this step.
    pub stop_requested: bool,
}

impl LanguageModelStats {
    /// Returns true if no number is infinite or NaN.
    pub fn is_finite(&self) -> bool {
        self.gradient_norm.is_finite() && self.losses.iter().all(|loss| loss.is_finite())
    }
}

/// A language model that is being trained, with one LSTM for each direction
/// ([`LanguageModelSpec`](crate::model::LanguageModelSpec)).
pub trait LanguageModelLearner: Send {
    /// Performs a training step: sampled softmax over shared negatives (Jean et al. 2015), truncated backpropagation
    /// through time from the states after the last step, and Adam. The step with number `step`, from 0, draws its
    /// own negatives and dropout. Skips the update if the loss or the gradient is not finite. The processes of a group
    /// share the work, and get the same weights.
    ///
    /// # Errors
    /// Returns the backend's own errors, or one if a process is lost.
    fn step(
        &mut self,
        batch: &LanguageModelBatch,
        step: u64,
        learning_rate: f64,
        group: Group,
    ) -> anyhow::Result<LanguageModelStats>;

    /// Computes the sum of the negative log-probabilities of the predicted ids of each row in nats, `[B]` for each
    /// direction, with the softmax over the whole vocabulary. Rows start with a state of zero if `starts`, and
    /// otherwise continue those of the last batch of this method. There may be any number of rows. The states of
    /// training stay as they are.
    ///
    /// # Errors
    /// Returns the backend's own errors.
    fn score(&mut self, batch: &LanguageModelBatch, starts: bool) -> anyhow::Result<Vec<Vec<f64>>>;

    /// Sets the states of training to zero.
    fn reset_states(&mut self);

    /// Returns all weights, with the names of the specification.
    fn weights(&self) -> Vec<NamedTensor>;

    /// Returns the state of the optimizer, with the names of `torch.optim`, and the states of training.
    fn optimizer_state(&mut self) -> Vec<NamedTensor>;

    /// Loads the result of [`LanguageModelLearner::optimizer_state`].
    ///
    /// # Errors
    /// Returns an error if it belongs to another model.
    fn load_optimizer_state(&mut self, state: Vec<NamedTensor>) -> anyhow::Result<()>;

    /// Returns the wall time of all steps so far, by part; nothing if the backend does not measure its parts.
    fn times(&self) -> Times;
}

//! The tensors of an optimizer state. Both backends use them, so that each can continue from the
//! state of the other.

use std::collections::HashMap;

use anyhow::{bail, ensure};

use crate::config::{OptimizerKind, TrainConfig};
use crate::model::NamedTensor;

/// Returns the names in `torch.optim` of the state tensors that have the shape of their weight.
pub fn state_names(config: &TrainConfig) -> &'static [&'static str] {
    match config.optimizer {
        OptimizerKind::Adam | OptimizerKind::Adamw => &["exp_avg", "exp_avg_sq"],
        OptimizerKind::Rmsprop if config.rmsprop.momentum > 0.0 => {
            &["square_avg", "momentum_buffer"]
        }
        OptimizerKind::Rmsprop => &["square_avg"],
        OptimizerKind::Adadelta => &["square_avg", "acc_delta"],
        OptimizerKind::Sgd if config.sgd.momentum > 0.0 => &["momentum_buffer"],
        OptimizerKind::Sgd => &[],
    }
}

/// Returns true if the optimizer state has a tensor `step` [] for each weight.
pub fn counts_steps(config: &TrainConfig) -> bool {
    matches!(config.optimizer, OptimizerKind::Adam | OptimizerKind::Adamw)
}

/// Returns the tensors of an optimizer state in the order of `expected`, names and shapes.
///
/// # Errors
/// Returns an error if the state belongs to another optimizer or another model.
pub fn state_in_order(
    config: &TrainConfig,
    expected: &[(String, Vec<usize>)],
    state: Vec<NamedTensor>,
) -> anyhow::Result<Vec<NamedTensor>> {
    ensure!(
        expected.len() == state.len(),
        "the optimizer state has {} tensors, but {} needs {}; resume with the optimizer and the \
         model that wrote it",
        state.len(),
        config.optimizer.as_str(),
        expected.len()
    );
    tensors_in_order(expected, state)
}

/// Returns the tensors of an optimizer state in the order of `expected`, names and shapes. Tensors that are not
/// expected are ignored.
///
/// # Errors
/// Returns an error if a tensor is missing or has another shape.
pub fn tensors_in_order(
    expected: &[(String, Vec<usize>)],
    state: Vec<NamedTensor>,
) -> anyhow::Result<Vec<NamedTensor>> {
    let mut given: HashMap<String, NamedTensor> =
        state.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    let take = |(name, shape): &(String, Vec<usize>)| match given.remove(name) {
        Some(tensor) if tensor.shape == *shape => Ok(tensor),
        Some(tensor) => bail!(
            "{name} has shape {:?} in the optimizer state, but {shape:?} in the model",
            tensor.shape
        ),
        None => bail!("the optimizer state has no tensor {name}"),
    };
    expected.iter().map(take).collect()
}

//! The quantized weights of a model.

use std::collections::HashMap;

use anyhow::{Context, bail, ensure};

use super::tensor::{NGRAM_BLOCK, QuantizedTensor, StoredTensor};
use crate::model::named_tensors::NamedTensor;
use crate::model::parameters::{self, ModelSpec, Parameter, Role, parameters};

/// Number of values that share a scale in a parameter: a row of a matrix. `None` if it is not quantized.
pub fn block(parameter: &Parameter) -> Option<usize> {
    match parameter.role {
        Role::Embedding { .. }
        | Role::Subwords { .. }
        | Role::InputWeight
        | Role::RecurrentWeight => parameter.shape.last().copied(),
        Role::NgramWeight { .. } => Some(NGRAM_BLOCK),
        _ => None,
    }
}

/// Quantizes the weights of a model. The weights of n-grams are multiplied by their values, which are then 1 and are left
/// out.
///
/// # Errors
/// Returns an error if the weights do not fit the model.
pub fn quantized(spec: &ModelSpec, weights: Vec<NamedTensor>) -> anyhow::Result<Vec<StoredTensor>> {
    let parameters = parameters(spec)?;
    let mut tensors = parameters::in_order(&parameters, weights)?.into_iter().peekable();
    let mut stored = Vec::new();
    for (index, parameter) in parameters.iter().enumerate() {
        let Some(mut tensor) = tensors.next() else { break };
        let next = parameters.get(index + 1).map(|parameter| parameter.role);
        match parameter.role {
            Role::NgramValue { .. } => continue,
            Role::NgramWeight { input } if next == Some(Role::NgramValue { input }) => {
                let values = tensors.peek().map(|tensor| &tensor.values[..]).unwrap_or_default();
                tensor.values.iter_mut().zip(values).for_each(|(weight, value)| *weight *= value);
                tensor.check_finite()?;
            }
            _ => {}
        }
        stored.push(match block(parameter) {
            Some(block) => StoredTensor::Quantized(QuantizedTensor::of(&tensor, block)),
            None => StoredTensor::Full(tensor),
        });
    }
    Ok(stored)
}

/// Returns the tensor of each parameter; `None` for the values of n-grams, which are 1.
///
/// # Errors
/// Returns an error if a tensor is missing, unknown, or has another shape or precision.
pub fn in_order(
    expected: &[Parameter],
    tensors: Vec<StoredTensor>,
) -> anyhow::Result<Vec<Option<StoredTensor>>> {
    let mut given: HashMap<String, StoredTensor> =
        tensors.into_iter().map(|tensor| (tensor.name().to_owned(), tensor)).collect();
    let mut take = |parameter: &Parameter| {
        let Parameter { name, shape, .. } = parameter;
        if matches!(parameter.role, Role::NgramValue { .. }) {
            return Ok(None);
        }
        let tensor = given.remove(name);
        let tensor = tensor.with_context(|| format!("the weights have no tensor {name}"))?;
        ensure!(
            tensor.shape() == shape,
            "{name} has shape {:?} in the file, but {shape:?} in the model",
            tensor.shape()
        );
        let expected = block(parameter);
        match (&tensor, expected) {
            (StoredTensor::Full(_), None) => {}
            (StoredTensor::Quantized(tensor), Some(block)) if tensor.block == block => {}
            (StoredTensor::Quantized(_), Some(_)) => bail!("{name} has the wrong number of scales"),
            _ => bail!(
                "{name} is {}quantized in the file",
                if expected.is_some() { "not " } else { "" }
            ),
        }
        Ok(Some(tensor))
    };
    let ordered = expected.iter().map(&mut take).collect::<anyhow::Result<_>>()?;
    match given.keys().min() {
        Some(name) => bail!("the weights have a tensor {name}, which the model does not have"),
        None => Ok(ordered),
    }
}

/// Returns the weights of a quantized model in single precision.
///
/// # Errors
/// Returns the errors of [`in_order`].
pub fn dequantized(
    spec: &ModelSpec,
    tensors: Vec<StoredTensor>,
) -> anyhow::Result<Vec<NamedTensor>> {
    let parameters = parameters(spec)?;
    let tensors = in_order(&parameters, tensors)?.into_iter().zip(&parameters);
    let tensor = |(tensor, parameter): (Option<StoredTensor>, &Parameter)| match tensor {
        Some(StoredTensor::Full(tensor)) => tensor,
        Some(StoredTensor::Quantized(tensor)) => tensor.dequantized(),
        None => {
            let Parameter { name, shape, .. } = parameter.clone();
            NamedTensor { name, values: vec![1.0; shape.iter().product()], shape }
        }
    };
    Ok(tensors.map(tensor).collect())
}

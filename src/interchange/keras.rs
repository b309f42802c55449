//! Weights in Keras's layout: an `.npz` file with the arrays of `layer.get_weights()`.
//!
//! | array | shape | layer |
//! |---|---|---|
//! | `embedding/embeddings` | [V, E] | Embedding |
//! | `embedding/subwords` | [buckets, E] | no layer of Keras: vectors of character n-grams |
//! | `lstm/kernel` | [inputs, 4H] | LSTM; gates in the order i, f, c, o |
//! | `lstm/recurrent_kernel` | [H, 4H] | |
//! | `lstm/bias` | `[4H]` | |
//! | `attention/query` | `[H · directions]` | no layer of Keras |
//! | `dense/kernel`, `dense/bias` | [D, C], `[C]` | Dense |
//! | `ngrams/weight`, `ngrams/value` | [V, C] | n-grams: the products of both are added to the logits |
//!
//! Further layers are named `lstm_1`, `lstm_2` and so on. The backward direction has its own arrays, such
//! as `lstm/backward/kernel`. With several inputs, each name starts with the name of the input, for
//! example `story/lstm/kernel`. PyTorch's gates are in the same order, but are called i, f, g, o. Its
//! matrices are transposed. Its second bias has no counterpart in Keras, so import sets it to zero.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::numpy::{create_npz, read_npz};
use crate::model::{ModelSpec, NamedTensor, parameters};

/// Counterpart of a tensor in Keras's layout.
struct KerasArray {
    name: String,
    transposed: bool,
}

/// Writes the weights of a model to the new file `path`.
///
/// # Errors
/// Returns an error if the file exists or cannot be written.
pub fn export(weights: &[NamedTensor], path: &Path) -> anyhow::Result<()> {
    let mut arrays = Vec::new();
    for tensor in weights {
        let Some(KerasArray { name, transposed }) = keras_array(&tensor.name) else { continue };
        let NamedTensor { shape, values, .. } = tensor;
        let (shape, values) = match transposed {
            true => transpose(shape, values),
            false => (shape.clone(), values.clone()),
        };
        arrays.push(NamedTensor { name, shape, values });
    }
    create_npz(path, &arrays)
}

/// Reads the weights of a model from `path`.
///
/// # Errors
/// Returns an error if the file cannot be read, or if an array is missing, unknown, has the wrong shape,
/// or contains values that are not finite.
pub fn import(spec: &ModelSpec, path: &Path) -> anyhow::Result<Vec<NamedTensor>> {
    let unusable = || format!("cannot import the weights from \"{}\"", path.display());
    let arrays = read_npz(path).with_context(unusable)?;
    to_pytorch_layout(spec, arrays).with_context(unusable)
}

fn to_pytorch_layout(
    spec: &ModelSpec,
    arrays: Vec<NamedTensor>,
) -> anyhow::Result<Vec<NamedTensor>> {
    let mut arrays: BTreeMap<String, NamedTensor> =
        arrays.into_iter().map(|array| (array.name.clone(), array)).collect();
    let names: Vec<String> = arrays.keys().cloned().collect();
    let mut weights = Vec::new();
    for parameter in parameters(spec)? {
        let Some(KerasArray { name, transposed }) = keras_array(&parameter.name) else {
            let values = vec![0.0; parameter.shape.iter().product()];
            weights.push(NamedTensor { name: parameter.name, shape: parameter.shape, values });
            continue;
        };
        let Some(array) = arrays.remove(&name) else {
            bail!("the array {name} is missing; the file contains {}", names.join(", "));
        };
        array.check_finite()?;
        let NamedTensor { shape, values, .. } = array;
        let expected: Vec<usize> = match transposed {
            true => parameter.shape.iter().rev().copied().collect(),
            false => parameter.shape.clone(),
        };
        ensure!(
            shape == expected,
            "{name} has shape {shape:?} in the file, but {expected:?} in the model"
        );
        let values = if transposed { transpose(&shape, &values).1 } else { values };
        weights.push(NamedTensor { name: parameter.name, shape: parameter.shape, values });
    }
    match arrays.keys().next() {
        Some(array) => {
            bail!("the file contains the array {array}, but the model has no such layer")
        }
        None => Ok(weights),
    }
}

/// Transposes a matrix. Returns the new shape and values.
fn transpose(shape: &[usize], values: &[f32]) -> (Vec<usize>, Vec<f32>) {
    let [rows, columns] = [0, 1].map(|dimension| shape.get(dimension).copied().unwrap_or(1));
    let value = |index: usize| values[index % rows * columns + index / rows];
    (vec![columns, rows], (0..values.len()).map(value).collect())
}

/// Returns the counterpart of the tensor with PyTorch's name `name`; `None` for the second bias.
fn keras_array(name: &str) -> Option<KerasArray> {
    let parts: Vec<&str> = name.split('.').collect();
    let (input, layer, tensor) = match parts[..] {
        [layer, tensor] => (String::new(), layer, tensor),
        ["embedding", "subwords", "weight"] => (String::new(), "subwords", "weight"),
        [input, layer, tensor] => (format!("{input}/"), layer, tensor),
        [input, "embedding", "subwords", "weight"] => (format!("{input}/"), "subwords", "weight"),
        _ => return None,
    };
    let (array, transposed) = match (layer, tensor) {
        ("embedding", "weight") => ("embedding/embeddings".to_owned(), false),
        ("subwords", "weight") => ("embedding/subwords".to_owned(), false),
        ("attention", "query") => ("attention/query".to_owned(), false),
        ("head", "weight") => ("dense/kernel".to_owned(), true),
        ("head", "bias") => ("dense/bias".to_owned(), false),
        ("ngrams", tensor) => (format!("ngrams/{tensor}"), false),
        _ => return lstm_array(&input, tensor),
    };
    Some(KerasArray { name: input + &array, transposed })
}

/// Returns the counterpart of a tensor of an LSTM, such as `weight_ih_l1_reverse`.
fn lstm_array(input: &str, tensor: &str) -> Option<KerasArray> {
    let (kind, cell) = tensor.split_once("_l")?;
    let (array, transposed) = match kind {
        "weight_ih" => ("kernel", true),
        "weight_hh" => ("recurrent_kernel", true),
        "bias_ih" => ("bias", false),
        _ => return None,
    };
    let (number, direction) = match cell.split_once('_') {
        Some((number, _)) => (number, "backward/"),
        None => (cell, ""),
    };
    let layer = if number == "0" { "lstm".to_owned() } else { format!("lstm_{number}") };
    Some(KerasArray { name: format!("{input}{layer}/{direction}{array}"), transposed })
}

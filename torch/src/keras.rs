//! Weights in Keras's layout: an .npz file with the arrays that `layer.get_weights()` gives.
//!
//! | array | shape | layer |
//! |---|---|---|
//! | `embedding/embeddings` | [V, E] | Embedding |
//! | `lstm/kernel` | [inputs, 4H] | LSTM; gates in the order i, f, c, o |
//! | `lstm/recurrent_kernel` | [H, 4H] | |
//! | `lstm/bias` | `[4H]` | |
//! | `dense/kernel`, `dense/bias` | [D, C], `[C]` | Dense |
//!
//! Further layers are `lstm_1`, `lstm_2` and so on; a second direction has arrays of its own,
//! `lstm/backward/kernel`; of several inputs each has its name in front, `story/lstm/kernel`.
//! PyTorch's gates have the same order under other names (i, f, g, o); its matrices are transposed,
//! and its second bias, which Keras does not have, is zero here.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use tch::{Device, Tensor};

use crate::learner::{to_arrays, to_tensors};
use crate::model::{Model, Named};
use lstmtext::interchange::numpy::{read_npz, write_npz};

/// Where a tensor of the model stands in Keras's layout.
struct Place {
    array: String,
    transposed: bool,
}

/// Writes the weights of a model to `path`.
///
/// # Errors
/// Where the file cannot be written.
pub fn export(model: &Model, path: &Path) -> anyhow::Result<()> {
    let mut arrays: Vec<Named> = Vec::new();
    for (name, tensor) in model.state() {
        let Some(place) = place(&name) else { continue };
        let tensor = if place.transposed { tensor.tr() } else { tensor };
        arrays.push((place.array, tensor.detach().to_device(Device::Cpu).contiguous()));
    }
    write_npz(path, &to_arrays(arrays))
}

/// Gives a model the weights in `path`.
///
/// # Errors
/// Where the file cannot be read, lacks an array, has one too many or one of another shape.
pub fn import(model: &mut Model, path: &Path) -> anyhow::Result<()> {
    let unusable = || format!("cannot use the weights \"{}\"", path.display());
    let arrays = read_npz(path).map(to_tensors);
    let arrays = arrays.with_context(unusable)?;
    let tensors = in_our_layout(model, arrays.into_iter().collect()).with_context(unusable)?;
    model.load(tensors).with_context(unusable)
}

fn in_our_layout(
    model: &Model,
    mut arrays: BTreeMap<String, Tensor>,
) -> anyhow::Result<Vec<Named>> {
    let found: Vec<String> = arrays.keys().cloned().collect();
    let mut tensors = Vec::new();
    for (name, own) in model.state() {
        let Some(Place { array, transposed }) = place(&name) else {
            tensors.push((name, own.zeros_like()));
            continue;
        };
        let Some(given) = arrays.remove(&array) else {
            bail!("the array {array} is missing; it has {}", found.join(", "));
        };
        let expected = if transposed { own.tr().size() } else { own.size() };
        ensure!(
            given.size() == expected,
            "{array} is {:?} in the file, {expected:?} in the model",
            given.size()
        );
        let finite = given.isfinite().all().int64_value(&[]) != 0;
        ensure!(finite, "{array} holds numbers that are not finite");
        tensors.push((name, if transposed { given.tr().contiguous() } else { given }));
    }
    match arrays.keys().next() {
        Some(array) => bail!("it has the array {array}, which the model does not know"),
        None => Ok(tensors),
    }
}

/// The place of the tensor that PyTorch calls `name`; none for the second bias.
fn place(name: &str) -> Option<Place> {
    let parts: Vec<&str> = name.split('.').collect();
    let (input, layer, tensor) = match parts[..] {
        [layer, tensor] => (String::new(), layer, tensor),
        [input, layer, tensor] => (format!("{input}/"), layer, tensor),
        _ => return None,
    };
    let (array, transposed) = match (layer, tensor) {
        ("embedding", "weight") => ("embedding/embeddings".to_owned(), false),
        ("head", "weight") => ("dense/kernel".to_owned(), true),
        ("head", "bias") => ("dense/bias".to_owned(), false),
        _ => return lstm_place(&input, tensor),
    };
    Some(Place { array: input + &array, transposed })
}

/// The place of a tensor of an LSTM such as `weight_ih_l1_reverse`.
fn lstm_place(input: &str, tensor: &str) -> Option<Place> {
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
    Some(Place { array: format!("{input}{layer}/{direction}{array}"), transposed })
}

//! Safetensors files of quantized weights: tensors of type I8 have their scales in `NAME.scale`, of type F32.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::tensor::{QuantizedTensor, StoredTensor};
use super::weights::block;
use crate::model::named_tensors::{NamedTensor, write_views};
use crate::model::parameters::Parameter;

const SCALE: &str = ".scale";

/// Writes tensors to a safetensors file.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn write(path: &Path, tensors: &[StoredTensor]) -> anyhow::Result<()> {
    let mut views = Vec::new();
    for tensor in tensors {
        let (name, shape) = (tensor.name().to_owned(), tensor.shape().to_vec());
        match tensor {
            StoredTensor::Full(tensor) => {
                let bytes = bytemuck::cast_slice(&tensor.values);
                views.push((name, TensorView::new(Dtype::F32, shape, bytes)?));
            }
            StoredTensor::Quantized(tensor) => {
                let bytes = bytemuck::cast_slice(&tensor.scales);
                let scales = TensorView::new(Dtype::F32, vec![tensor.scales.len()], bytes)?;
                views.push((name.clone() + SCALE, scales));
                let bytes = bytemuck::cast_slice(&tensor.values);
                views.push((name, TensorView::new(Dtype::I8, shape, bytes)?));
            }
        }
    }
    write_views(path, views)
}

/// Returns all tensors of a safetensors file with the content `bytes`, which has the weights of a model with these
/// parameters. `path` names it in errors.
///
/// # Errors
/// Returns an error if it is not a safetensors file, or has tensors of another type than I8 with scales and F32, tensors
/// of type I8 that are not quantized in the model, or impossible values.
pub fn parse(
    bytes: &[u8],
    path: &Path,
    parameters: &[Parameter],
) -> anyhow::Result<Vec<StoredTensor>> {
    let parse = || -> anyhow::Result<Vec<StoredTensor>> {
        let file = SafeTensors::deserialize(bytes)?;
        let tensors: BTreeMap<String, TensorView> = file.tensors().into_iter().collect();
        let mut stored = Vec::new();
        for (name, tensor) in &tensors {
            let owner = name.strip_suffix(SCALE).and_then(|owner| tensors.get(owner));
            if owner.is_some_and(|owner| owner.dtype() == Dtype::I8) {
                continue;
            }
            let shape = tensor.shape().to_vec();
            stored.push(match tensor.dtype() {
                Dtype::F32 => {
                    let tensor =
                        NamedTensor { name: name.clone(), shape, values: floats(name, tensor)? };
                    tensor.check_finite()?;
                    StoredTensor::Full(tensor)
                }
                Dtype::I8 => {
                    let scales = tensors.get(&format!("{name}{SCALE}"));
                    let scales = scales.with_context(|| format!("{name} has no scales"))?;
                    let values: Vec<i8> =
                        tensor.data().iter().map(|byte| byte.cast_signed()).collect();
                    let scales = floats(name, scales)?;
                    let parameter = parameters.iter().find(|parameter| parameter.name == *name);
                    let block = parameter.and_then(block);
                    let block = block.with_context(|| {
                        format!("{name} is quantized in the file, but not in the model")
                    })?;
                    let name = name.clone();
                    let tensor = QuantizedTensor { name, shape, values, scales, block };
                    tensor.check()?;
                    StoredTensor::Quantized(tensor)
                }
                other => bail!("{name} has type {other:?}, expected F32 or I8"),
            });
        }
        Ok(stored)
    };
    parse().with_context(|| format!("cannot read \"{}\"", path.display()))
}

fn floats(name: &str, tensor: &TensorView) -> anyhow::Result<Vec<f32>> {
    ensure!(tensor.dtype() == Dtype::F32, "{name} has scales of type {:?}", tensor.dtype());
    // The bytes may be unaligned.
    let (floats, _) = tensor.data().as_chunks();
    Ok(floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Layer, LayerKind};
    use crate::model::parameters::Role;

    #[test]
    fn tensors_are_unchanged_by_writing_and_reading() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.safetensors");
        let full =
            NamedTensor { name: "head.scale".into(), shape: vec![2], values: vec![1.0, 2.0] };
        let matrix = NamedTensor { name: "m".into(), shape: vec![2, 3], values: vec![0.5; 6] };
        let tensors =
            [StoredTensor::Full(full), StoredTensor::Quantized(QuantizedTensor::of(&matrix, 3))];
        write(&path, &tensors).unwrap();
        let bytes = fs::read(&path).unwrap();
        let parameter = |name: &str, role| Parameter {
            name: name.into(),
            shape: vec![2, 3],
            trainable: true,
            layer: Layer { input: Some(0), kind: LayerKind::Lstm(0) },
            role,
        };
        let parameters = [parameter("m", Role::InputWeight)];
        assert_eq!(parse(&bytes, &path, &parameters).unwrap(), tensors);
        let message = |bytes: &[u8], parameters: &[Parameter]| {
            format!("{:#}", parse(bytes, &path, parameters).unwrap_err())
        };
        assert!(message(&bytes[..bytes.len() - 1], &parameters).contains("a.safetensors"));
        assert!(message(b"no", &parameters).contains("a.safetensors"));
        for parameters in [vec![], vec![parameter("m", Role::Bias)]] {
            assert!(message(&bytes, &parameters).contains("m is quantized in the file"));
        }
    }
}

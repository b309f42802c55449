//! Named tensors of single-precision floats, and safetensors files of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
use serde_json::Value;

use crate::io::files::{self, ARRAYS_LIMIT};

/// A tensor with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Name of the parameter in PyTorch.
    pub name: String,
    /// Length of each dimension.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub values: Vec<f32>,
}

impl NamedTensor {
    /// Returns a tensor of the same name and shape with these values.
    pub fn with_values(&self, values: Vec<f32>) -> Self {
        Self { name: self.name.clone(), shape: self.shape.clone(), values }
    }

    /// Checks that all values are finite.
    ///
    /// # Errors
    /// Returns an error with the first value that is not.
    pub fn check_finite(&self) -> anyhow::Result<()> {
        match self.values.iter().find(|value| !value.is_finite()) {
            Some(value) => bail!("{} has the value {value}, which is not finite", self.name),
            None => Ok(()),
        }
    }
}

/// Writes tensors to a safetensors file.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn write(path: &Path, tensors: &[NamedTensor]) -> anyhow::Result<()> {
    let mut views = Vec::new();
    for NamedTensor { name, shape, values } in tensors {
        let bytes = bytemuck::cast_slice(values);
        views.push((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?));
    }
    write_views(path, views)
}

/// Writes arrays to a safetensors file.
pub(super) fn write_views(
    path: &Path,
    views: Vec<(impl AsRef<str> + Ord + std::fmt::Display, TensorView)>,
) -> anyhow::Result<()> {
    let unwritable = || format!("cannot write \"{}\"", path.display());
    // `serialize_to_file` makes the file readable by its owner only. Restore the default permissions.
    let permissions = File::create(path)
        .and_then(|file| file.metadata())
        .map(|metadata| metadata.permissions())
        .with_context(unwritable)?;
    // The message of this error already includes its source.
    serialize_to_file(views, None, path)
        .map_err(|error| anyhow!("{error}"))
        .with_context(unwritable)?;
    fs::set_permissions(path, permissions).with_context(unwritable)
}

/// Reads all tensors of a safetensors file.
///
/// # Errors
/// Returns an error if the file cannot be read, is not a safetensors file, or has tensors of another
/// type than F32 or values that are not finite.
pub fn read(path: &Path) -> anyhow::Result<Vec<NamedTensor>> {
    parse(&files::read(path, ARRAYS_LIMIT)?, path)
}

/// Returns all tensors of a safetensors file with the content `bytes`. `path` names it in errors.
///
/// # Errors
/// Returns an error if it is not a safetensors file, or has tensors of another type than F32 or values
/// that are not finite.
pub fn parse(bytes: &[u8], path: &Path) -> anyhow::Result<Vec<NamedTensor>> {
    let unreadable = || format!("cannot read \"{}\"", path.display());
    let tensors = SafeTensors::deserialize(bytes).with_context(unreadable)?;
    let named = |(name, tensor): (String, TensorView)| {
        ensure!(tensor.dtype() == Dtype::F32, "{name} has type {:?}, expected F32", tensor.dtype());
        // The bytes may be unaligned.
        let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let values = tensor.data().chunks_exact(4).map(value).collect();
        let tensor = NamedTensor { name, shape: tensor.shape().to_vec(), values };
        tensor.check_finite()?;
        Ok(tensor)
    };
    tensors.tensors().into_iter().map(named).collect::<anyhow::Result<_>>().with_context(unreadable)
}

/// Name of the array in a file of hashes.
const HASHES: &str = "hashes";

/// Writes 64-bit hashes to a safetensors file, as the array `hashes` of type U64.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn write_hashes(path: &Path, hashes: &[u64]) -> anyhow::Result<()> {
    let view = TensorView::new(Dtype::U64, vec![hashes.len()], bytemuck::cast_slice(hashes))?;
    write_views(path, vec![(HASHES, view)])
}

/// Returns the hashes in a safetensors file with the content `bytes`. `path` names it in errors.
///
/// # Errors
/// Returns an error if it is not a file of different hashes.
pub fn parse_hashes(bytes: &[u8], path: &Path) -> anyhow::Result<Vec<u64>> {
    let parse = || -> anyhow::Result<Vec<u64>> {
        let tensors = SafeTensors::deserialize(bytes)?;
        let tensor = tensors.tensor(HASHES)?;
        ensure!(tensor.dtype() == Dtype::U64, "{HASHES} has type {:?}, not U64", tensor.dtype());
        // The bytes may be unaligned.
        let (hashes, _) = tensor.data().as_chunks();
        let hashes: Vec<u64> = hashes.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let mut sorted = hashes.clone();
        sorted.sort_unstable();
        ensure!(sorted.is_sorted_by(|a, b| a < b), "a hash occurs twice");
        Ok(hashes)
    };
    parse().with_context(|| format!("cannot read \"{}\"", path.display()))
}

/// Reads the shapes of all tensors of an open safetensors file, but not their values. `path` names it in
/// errors.
///
/// # Errors
/// Returns an error if the file cannot be read or is not a safetensors file.
pub fn shapes(file: &File, path: &Path) -> anyhow::Result<BTreeMap<String, Vec<usize>>> {
    /// Maximum size of a header, as in the safetensors crate.
    const MAX_HEADER_BYTES: u64 = 100_000_000;
    let header = || -> anyhow::Result<BTreeMap<String, Value>> {
        let mut file = file;
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        ensure!(
            length <= MAX_HEADER_BYTES,
            "the header has {length} bytes, more than the maximum of {MAX_HEADER_BYTES}"
        );
        let mut json = Vec::new();
        file.take(length).read_to_end(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    };
    let header = header().with_context(|| format!("cannot read \"{}\"", path.display()))?;
    let shape = |tensor: &Value| serde_json::from_value(tensor.get("shape")?.clone()).ok();
    Ok(header.into_iter().filter_map(|(name, tensor)| Some((name, shape(&tensor)?))).collect())
}

/// Returns the index in `expected`, names and shapes, of each tensor.
///
/// # Errors
/// Returns an error if `expected` has no tensor with the name and shape of one of `tensors`.
pub fn indices(
    expected: &[(String, Vec<usize>)],
    tensors: &[NamedTensor],
) -> anyhow::Result<Vec<usize>> {
    let index = |NamedTensor { name, shape, .. }: &NamedTensor| {
        let index = expected.iter().position(|(expected, _)| expected == name);
        let index = index.with_context(|| format!("the model has no tensor {name}"))?;
        let expected = &expected[index].1;
        ensure!(
            expected == shape,
            "{name} has shape {shape:?} in the file, but {expected:?} in the model"
        );
        Ok(index)
    };
    tensors.iter().map(index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize]) -> NamedTensor {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|index| index as f32 - 0.5).collect();
        NamedTensor { name: name.into(), shape: shape.to_vec(), values }
    }

    #[test]
    fn tensors_are_unchanged_by_writing_and_reading() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.safetensors");
        let tensors = [tensor("a.b", &[2, 3]), tensor("step", &[]), tensor("empty", &[0])];
        write(&path, &tensors).unwrap();
        let mut tensors_read = read(&path).unwrap();
        tensors_read.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(tensors_read, [tensors[0].clone(), tensors[2].clone(), tensors[1].clone()]);
        let mode = |path| fs::metadata(path).unwrap().permissions();
        let other = directory.path().join("other");
        fs::write(&other, "").unwrap();
        assert_eq!(mode(&path), mode(&other), "permissions are those of other files");
        let shapes = shapes(&File::open(&path).unwrap(), &path).unwrap().into_iter();
        let expected = tensors_read.into_iter().map(|tensor| (tensor.name, tensor.shape));
        assert!(shapes.eq(expected));
    }

    #[test]
    fn other_files_are_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.safetensors");
        // A header that claims to be longer than the file.
        fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("a.safetensors"));
        assert!(
            format!("{:#}", shapes(&File::open(&path).unwrap(), &path).unwrap_err())
                .contains("a.safetensors")
        );
        let bytes = [0_u8; 8];
        let half = TensorView::new(Dtype::F16, vec![4], &bytes).unwrap();
        serialize_to_file([("h", half)], None, &path).unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("h has type F16, expected F32"));
    }

    #[test]
    fn values_that_are_not_finite_are_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.safetensors");
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut tensor = tensor("a.b", &[2, 3]);
            tensor.values[4] = value;
            write(&path, &[tensor]).unwrap();
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains(&format!("a.b has the value {value}")), "{error}");
        }
    }
}

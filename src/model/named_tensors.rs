//! Arrays of single-precision numbers under names, and the safetensors files that hold them.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
use serde_json::Value;

/// An array and its name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// As PyTorch names the parameter.
    pub name: String,
    /// The length of each dimension.
    pub shape: Vec<usize>,
    /// Row by row.
    pub values: Vec<f32>,
}

/// Writes arrays to a safetensors file.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(path: &Path, arrays: &[NamedTensor]) -> anyhow::Result<()> {
    let unwritable = || format!("cannot write \"{}\"", path.display());
    let mut views = Vec::new();
    for NamedTensor { name, shape, values } in arrays {
        let bytes = bytemuck::cast_slice(values);
        views.push((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?));
    }
    // What replaces the file may be read by its owner alone; it is to be as readable as others.
    let permissions = File::create(path)
        .and_then(|file| file.metadata())
        .map(|metadata| metadata.permissions())
        .with_context(unwritable)?;
    // The error's text has that of its cause in it.
    serialize_to_file(views, None, path)
        .map_err(|error| anyhow!("{error}"))
        .with_context(unwritable)?;
    fs::set_permissions(path, permissions).with_context(unwritable)
}

/// Reads all arrays of a safetensors file.
///
/// # Errors
/// Where the file cannot be read, is no safetensors file, or holds other numbers than floats of
/// single precision.
pub fn read(path: &Path) -> anyhow::Result<Vec<NamedTensor>> {
    let unreadable = || format!("cannot read \"{}\"", path.display());
    let bytes = fs::read(path).with_context(unreadable)?;
    let tensors = SafeTensors::deserialize(&bytes).with_context(unreadable)?;
    let array = |(name, tensor): (String, TensorView)| {
        ensure!(tensor.dtype() == Dtype::F32, "{name} is {:?}, expected F32", tensor.dtype());
        // The bytes need not be aligned.
        let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let values = tensor.data().chunks_exact(4).map(number).collect();
        Ok(NamedTensor { name, shape: tensor.shape().to_vec(), values })
    };
    tensors.tensors().into_iter().map(array).collect::<anyhow::Result<_>>().with_context(unreadable)
}

/// The shapes of all arrays of a safetensors file, whose numbers are not read.
///
/// # Errors
/// Where the file cannot be read, or is no safetensors file.
pub fn shapes(path: &Path) -> anyhow::Result<BTreeMap<String, Vec<usize>>> {
    /// As the format's own limit.
    const MOST_BYTES: u64 = 100_000_000;
    let header = || -> anyhow::Result<BTreeMap<String, Value>> {
        let mut file = File::open(path)?;
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        ensure!(length <= MOST_BYTES, "its header has {length} bytes");
        let mut json = Vec::new();
        file.take(length).read_to_end(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    };
    let header = header().with_context(|| format!("cannot read \"{}\"", path.display()))?;
    let shape = |array: &Value| serde_json::from_value(array.get("shape")?.clone()).ok();
    Ok(header.into_iter().filter_map(|(name, array)| Some((name, shape(&array)?))).collect())
}

/// The arrays in the order of `expected`, each of the shape that stands there.
///
/// # Errors
/// Where a name is missing or unknown, or a shape is another.
pub fn in_order(
    expected: &[(String, Vec<usize>)],
    arrays: Vec<NamedTensor>,
) -> anyhow::Result<Vec<NamedTensor>> {
    let mut given: HashMap<String, NamedTensor> =
        arrays.into_iter().map(|array| (array.name.clone(), array)).collect();
    let mut take = |(name, shape): &(String, Vec<usize>)| {
        let Some(array) = given.remove(name) else { bail!("the weights lack {name}") };
        ensure!(
            array.shape == *shape,
            "{name} is {:?} in the file, {shape:?} in the model",
            array.shape
        );
        Ok(array)
    };
    let ordered = expected.iter().map(&mut take).collect::<anyhow::Result<_>>()?;
    match given.keys().min() {
        Some(name) => bail!("the weights have {name}, which the model does not know"),
        None => Ok(ordered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(name: &str, shape: &[usize]) -> NamedTensor {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|number| number as f32 - 0.5).collect();
        NamedTensor { name: name.into(), shape: shape.to_vec(), values }
    }

    #[test]
    fn arrays_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let arrays = [array("a.b", &[2, 3]), array("step", &[]), array("none", &[0])];
        write(&path, &arrays).unwrap();
        let mut found = read(&path).unwrap();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(found, [arrays[0].clone(), arrays[2].clone(), arrays[1].clone()]);
        let mode = |path| fs::metadata(path).unwrap().permissions();
        let other = folder.path().join("other");
        fs::write(&other, "").unwrap();
        assert_eq!(mode(&path), mode(&other), "as readable as other files");
        let shapes = shapes(&path).unwrap().into_iter();
        let expected = found.into_iter().map(|array| (array.name, array.shape));
        assert!(shapes.eq(expected));
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        // A header that claims more bytes than there are.
        fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("a.safetensors"));
        assert!(format!("{:#}", shapes(&path).unwrap_err()).contains("a.safetensors"));
        let bytes = [0_u8; 8];
        let half = TensorView::new(Dtype::F16, vec![4], &bytes).unwrap();
        serialize_to_file([("h", half)], None, &path).unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("h is F16, expected F32"));
    }

    #[test]
    fn arrays_of_another_model_are_refused() {
        let expected = [("a".to_owned(), vec![2])];
        let fault = |arrays| in_order(&expected, arrays).unwrap_err().to_string();
        assert_eq!(fault(vec![]), "the weights lack a");
        assert_eq!(fault(vec![array("a", &[3])]), "a is [3] in the file, [2] in the model");
        let more = vec![array("a", &[2]), array("b", &[1])];
        assert_eq!(fault(more), "the weights have b, which the model does not know");
        assert_eq!(in_order(&expected, vec![array("a", &[2])]).unwrap().len(), 1);
    }
}

//! Conversion between tensors of libtorch and [`NamedTensor`].

use tch::{Device, Kind, Tensor};

use lstmtext::model::NamedTensor;

/// Copies tensors from any device.
pub fn to_named_tensors(tensors: Vec<(String, Tensor)>) -> Vec<NamedTensor> {
    let copy = |(name, tensor): (String, Tensor)| {
        let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
        let mut values = vec![0.0; tensor.numel()];
        tensor.copy_data(&mut values, tensor.numel());
        NamedTensor { name, shape: shape(&tensor), values }
    };
    tensors.into_iter().map(copy).collect()
}

/// Returns the names and shapes of tensors.
pub fn shapes(tensors: &[(String, Tensor)]) -> Vec<(String, Vec<usize>)> {
    tensors.iter().map(|(name, tensor)| (name.clone(), shape(tensor))).collect()
}

fn shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().iter().map(|length| *length as usize).collect()
}

/// Copies named tensors into tensors on the CPU.
pub fn to_tensors(tensors: Vec<NamedTensor>) -> Vec<(String, Tensor)> {
    let copy = |NamedTensor { name, shape, values }| {
        let shape: Vec<i64> = shape.into_iter().map(|length: usize| length as i64).collect();
        (name, Tensor::from_slice(&values).view(&shape[..]))
    };
    tensors.into_iter().map(copy).collect()
}

/// Returns all values of a tensor in row-major order. Waits for the device.
pub fn values(tensor: &Tensor) -> Vec<f64> {
    let mut values = vec![0.0; tensor.numel()];
    let tensor = tensor.to_kind(Kind::Double).to_device(Device::Cpu).contiguous();
    tensor.copy_data(&mut values, tensor.numel());
    values
}

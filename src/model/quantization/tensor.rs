//! Tensors of 8-bit integers with scales.

use anyhow::{bail, ensure};

use crate::model::named_tensors::NamedTensor;

/// Largest magnitude of a quantized value.
const LIMIT: f32 = 127.0;
/// Number of weights of n-grams that share a scale. A row has only one weight per logit.
pub const NGRAM_BLOCK: usize = 64;

/// A tensor of integers from −127 to 127 with a scale for each block of them: the value w is q · s.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedTensor {
    /// Name of the parameter in PyTorch.
    pub name: String,
    /// Length of each dimension.
    pub shape: Vec<usize>,
    /// Quantized values q, in row-major order.
    pub values: Vec<i8>,
    /// Scale s of each block.
    pub scales: Vec<f32>,
    /// Number of consecutive values that share a scale.
    pub block: usize,
}

/// Quantizes a block of values: s = max |w| / 127, q = round(w / s). Returns the scale s.
pub fn quantize(block: &[f32], integers: &mut [i8]) -> f32 {
    let largest = block.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let scale = largest / LIMIT;
    // Smaller values than normal numbers are zeros, as in all computations.
    let scale = if scale.is_normal() { scale } else { 0.0 };
    for (integer, value) in integers.iter_mut().zip(block) {
        *integer = match scale > 0.0 {
            true => (value / scale).round().clamp(-LIMIT, LIMIT) as i8,
            false => 0,
        };
    }
    scale
}

impl QuantizedTensor {
    /// Quantizes a tensor (see [`quantize`]).
    pub fn of(tensor: &NamedTensor, block: usize) -> Self {
        let (mut values, mut scales) = (Vec::with_capacity(tensor.values.len()), Vec::new());
        for block in tensor.values.chunks(block) {
            let start = values.len();
            values.resize(start + block.len(), 0);
            scales.push(quantize(block, &mut values[start..]));
        }
        let NamedTensor { name, shape, .. } = tensor;
        Self { name: name.clone(), shape: shape.clone(), values, scales, block }
    }

    /// Returns the value at an index.
    pub fn value(&self, index: usize) -> f32 {
        f32::from(self.values[index]) * self.scales[index / self.block]
    }

    /// Returns the tensor in single precision.
    pub fn dequantized(&self) -> NamedTensor {
        let values = (0..self.values.len()).map(|index| self.value(index)).collect();
        NamedTensor { name: self.name.clone(), shape: self.shape.clone(), values }
    }

    /// Checks that the scales belong to the values.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let Self { name, values, scales, block, .. } = self;
        let blocks = values.len().div_ceil(*block);
        ensure!(scales.len() == blocks, "{name} has {} scales, expected {blocks}", scales.len());
        let is_impossible = |scale: &&f32| !(**scale >= 0.0 && (**scale * LIMIT).is_finite());
        if let Some(scale) = scales.iter().find(is_impossible) {
            bail!("{name} has the scale {scale}, which is impossible");
        }
        ensure!(
            !values.contains(&i8::MIN),
            "{name} has the value −128, but values are from −127 to 127"
        );
        Ok(())
    }
}

/// A tensor of a quantized model.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredTensor {
    /// In single precision.
    Full(NamedTensor),
    /// As 8-bit integers.
    Quantized(QuantizedTensor),
}

impl StoredTensor {
    /// Name of the parameter.
    pub fn name(&self) -> &str {
        match self {
            Self::Full(tensor) => &tensor.name,
            Self::Quantized(tensor) => &tensor.name,
        }
    }

    /// Length of each dimension.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Full(tensor) => &tensor.shape,
            Self::Quantized(tensor) => &tensor.shape,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tensor(shape: [usize; 2], values: Vec<f32>) -> NamedTensor {
        NamedTensor { name: "a".into(), shape: shape.to_vec(), values }
    }

    #[test]
    fn each_row_uses_the_whole_range() {
        let values = vec![0.5, -1.0, 0.25, 0.0, 0.0, 0.0, 2e-3, 1e-3, 0.0];
        let quantized = QuantizedTensor::of(&tensor([3, 3], values), 3);
        assert_eq!(quantized.values, [64, -127, 32, 0, 0, 0, 127, 64, 0]);
        assert_eq!(quantized.scales, [1.0 / 127.0, 0.0, 2e-3 / 127.0]);
        quantized.check().unwrap();
    }

    #[test]
    fn impossible_scales_are_rejected() {
        let quantized = QuantizedTensor::of(&tensor([2, 2], vec![1.0; 4]), 2);
        for (scale, message) in [(f32::NAN, "NaN"), (-1.0, "-1"), (f32::MAX, "impossible")] {
            let mut damaged = quantized.clone();
            damaged.scales[1] = scale;
            assert!(damaged.check().unwrap_err().to_string().contains(message));
        }
        let error = QuantizedTensor { block: 1, ..quantized.clone() }.check().unwrap_err();
        assert_eq!(error.to_string(), "a has 2 scales, expected 4");
        let values = vec![0, i8::MIN, 0, 0];
        assert!(QuantizedTensor { values, ..quantized }.check().is_err());
    }

    proptest! {
        /// The error is at most half a step, and quantizing again changes nothing.
        #[test]
        fn values_are_rounded_to_the_nearest_step(
            values in prop::collection::vec(-1e3_f32..1e3, 1..200), block in 1_usize..70,
        ) {
            let tensor = tensor([values.len(), 1], values);
            let quantized = QuantizedTensor::of(&tensor, block);
            quantized.check().unwrap();
            let dequantized = quantized.dequantized();
            for (index, (a, b)) in tensor.values.iter().zip(&dequantized.values).enumerate() {
                let step = quantized.scales[index / block];
                prop_assert!((a - b).abs() <= step * 0.5001, "{a} {b}");
            }
            prop_assert_eq!(QuantizedTensor::of(&dequantized, block).values, quantized.values);
        }
    }
}

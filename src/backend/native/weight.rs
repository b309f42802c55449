//! Weights in PyTorch's layout, which optimizers update.

use std::borrow::Cow;

use crate::model::QuantizedTensor;
use crate::model::named_tensors::NamedTensor;

/// A tensor of weights.
pub struct Weight {
    /// Name, shape and values; no values if they are quantized.
    pub tensor: NamedTensor,
    /// The values of a tensor that is quantized, in a network that only predicts.
    pub quantized: Option<QuantizedTensor>,
    /// `true` if training changes the tensor.
    pub trainable: bool,
    /// L2 regularization of the weights of n-grams, which are always updated row by row; `None` for all
    /// other tensors.
    pub ngram_l2: Option<f32>,
    /// Factor of the learning rate; 0 while the tensor is frozen.
    pub rate_factor: f64,
}

impl Weight {
    /// Returns the values in single precision.
    pub fn values(&self) -> Cow<'_, [f32]> {
        match &self.quantized {
            Some(quantized) => Cow::Owned(quantized.dequantized().values),
            None => Cow::Borrowed(&self.tensor.values),
        }
    }

    /// Returns true if steps do not change the tensor, although it is trainable.
    pub fn is_frozen(&self) -> bool {
        self.rate_factor == 0.0
    }
}

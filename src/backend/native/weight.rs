//! Weights in PyTorch's layout, which optimizers update.

use crate::model::named_tensors::NamedTensor;

/// A tensor of weights.
pub struct Weight {
    /// Name, shape and values.
    pub tensor: NamedTensor,
    /// `true` if training changes the tensor.
    pub trainable: bool,
}

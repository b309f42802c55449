//! Weights in PyTorch's layout, which optimizers update.

use crate::model::named_tensors::NamedTensor;

/// A tensor of weights.
pub struct Weight {
    /// Name, shape and values.
    pub tensor: NamedTensor,
    /// `true` if training changes the tensor.
    pub trainable: bool,
    /// L2 regularization of the weights of n-grams, which are always updated row by row; `None` for all
    /// other tensors.
    pub ngram_l2: Option<f32>,
}

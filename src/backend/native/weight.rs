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
    /// Factor of the learning rate; 0 while the tensor is frozen.
    pub rate_factor: f64,
}

impl Weight {
    /// Returns true if steps do not change the tensor, although it is trainable.
    pub fn is_frozen(&self) -> bool {
        self.rate_factor == 0.0
    }
}

//! Weights by name, while a network is built from them.

use std::collections::HashMap;

use anyhow::Context;
use tch::Tensor;

/// Weights that the layers of a network take.
pub struct Weights(pub HashMap<String, Tensor>);

impl Weights {
    /// Takes the tensor with this name.
    ///
    /// # Errors
    /// Returns an error if there is none.
    pub fn take(&mut self, name: &str) -> anyhow::Result<Tensor> {
        self.0.remove(name).with_context(|| format!("the weights have no tensor {name}"))
    }
}

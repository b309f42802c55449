//! The tensors that a model is built from.

use std::collections::HashMap;

use anyhow::Context;
use tch::Tensor;

/// Tensors that a model is built from.
pub struct Tensors(pub HashMap<String, Tensor>);

impl Tensors {
    /// Takes a tensor by its name.
    ///
    /// # Errors
    /// Returns an error if it is missing.
    pub fn take(&mut self, name: &str) -> anyhow::Result<Tensor> {
        self.0.remove(name).with_context(|| format!("the weights lack {name}"))
    }
}

//! Adam (Kingma and Ba 2015) with the settings for language models. Other optimizers don't belong here.

use tch::{Kind, Tensor};

use crate::libtorch::fused::{self, AdamOptions};
use crate::tensors::{shapes, to_tensors};
use lstmtext::backend::language_model::{BETAS, EPSILON, adam_layout};
use lstmtext::backend::tensors_in_order;
use lstmtext::model::NamedTensor;

/// Adam and its state. Rows without a gradient keep their weights and their state, as in `torch.optim.SparseAdam`.
pub struct Adam {
    names: Vec<String>,
    weights: Vec<Tensor>,
    /// Running means of the gradient and of its square, for each weight.
    moments: [Vec<Tensor>; 2],
    /// Number of steps of each weight, float [].
    steps: Vec<Tensor>,
}

/// Gradient of a weight.
pub struct Gradient<'a> {
    /// Gradient of the weight or of its rows.
    pub values: Tensor,
    /// Distinct rows that have a gradient, int64; `None`: all rows.
    pub rows: Option<&'a Tensor>,
}

impl Gradient<'_> {
    /// Returns the rows of a tensor that this gradient updates.
    fn select(&self, tensor: &Tensor) -> Tensor {
        match self.rows {
            None => tensor.shallow_clone(),
            Some(rows) => tensor.index_select(0, rows),
        }
    }
}

impl Adam {
    /// Creates the initial state of these weights.
    pub fn new(parameters: Vec<(String, Tensor)>) -> Self {
        let (names, weights): (Vec<String>, Vec<Tensor>) = parameters.into_iter().unzip();
        let zeros = |weight: &Tensor| Tensor::zeros(weight.size(), (Kind::Float, weight.device()));
        let zero = |weight: &Tensor| Tensor::zeros([0_i64; 0], (Kind::Float, weight.device()));
        let moments = [0, 1].map(|_| weights.iter().map(zeros).collect());
        Self { moments, steps: weights.iter().map(zero).collect(), names, weights }
    }

    /// Updates all weights in place, unless `skipped`, a float [], is 1 instead of 0. Does not wait for the device.
    ///
    /// # Errors
    /// Returns libtorch's error if gradients do not fit the weights.
    pub fn step(
        &mut self,
        gradients: &[Gradient],
        learning_rate: f64,
        skipped: &Tensor,
    ) -> anyhow::Result<()> {
        let _no_grad = tch::no_grad_guard();
        let select = |tensors: &[Tensor]| -> Vec<Tensor> {
            gradients
                .iter()
                .zip(tensors)
                .map(|(gradient, tensor)| gradient.select(tensor))
                .collect()
        };
        let [first, second] = &self.moments;
        let selected = [select(&self.weights), select(first), select(second)];
        let values: Vec<Tensor> =
            gradients.iter().map(|each| each.values.shallow_clone()).collect();
        let [beta1, beta2] = BETAS;
        let options = AdamOptions {
            learning_rate,
            beta1,
            beta2,
            epsilon: EPSILON,
            weight_decay: 0.0,
            decoupled: false,
        };
        let [weights, means, squares] = &selected;
        fused::adam(weights, &values, means, squares, &self.steps, options, skipped)?;
        for (tensors, selected) in [&self.weights, first, second].into_iter().zip(&selected) {
            for ((tensor, gradient), updated) in tensors.iter().zip(gradients).zip(selected) {
                if let Some(rows) = gradient.rows {
                    let _ = tensor.shallow_clone().index_copy_(0, rows, updated);
                }
            }
        }
        Ok(())
    }

    /// Returns the state under names such as `exp_avg.embedding.weight`.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let tensors = self.moments.iter().flatten().chain(&self.steps).map(Tensor::shallow_clone);
        self.layout().into_iter().map(|(name, _)| name).zip(tensors).collect()
    }

    /// Returns the names and shapes of the state tensors.
    fn layout(&self) -> Vec<(String, Vec<usize>)> {
        let weights =
            self.names.iter().cloned().zip(self.weights.iter().map(Tensor::shallow_clone));
        let shapes = shapes(&weights.collect::<Vec<_>>());
        let weights: Vec<_> = shapes.iter().map(|(name, shape)| (&**name, &**shape)).collect();
        adam_layout(&weights)
    }

    /// Loads the state of an earlier run.
    ///
    /// # Errors
    /// Returns an error if the state belongs to another model.
    pub fn load(&mut self, state: Vec<NamedTensor>) -> anyhow::Result<()> {
        let loaded = to_tensors(tensors_in_order(&self.layout(), state)?);
        for ((_, mut current), (_, tensor)) in self.state().into_iter().zip(loaded) {
            current.copy_(&tensor);
        }
        Ok(())
    }
}

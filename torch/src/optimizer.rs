//! Optimizers with the formulas and the state of `torch.optim`. Adam, AdamW and SGD use ATen's
//! fused kernels.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use crate::libtorch::fused::{self, AdamOptions, SgdOptions};
use crate::tensors::{shapes, to_tensors};
use lstmtext::backend::{counts_steps, state_in_order, state_names};
use lstmtext::config::{OptimizerKind, TrainConfig};
use lstmtext::model::NamedTensor;

/// Updates weights in place from their gradients.
#[derive(Debug)]
pub struct Optimizer {
    config: TrainConfig,
    names: Vec<String>,
    weights: Vec<Tensor>,
    state: Vec<Slot>,
    /// Factor of the learning rate of each weight; 0 while it is frozen.
    rate_factors: Vec<f64>,
}

/// Part of the optimizer state: one tensor for each weight, under the name of `torch.optim`.
#[derive(Debug)]
struct Slot {
    name: &'static str,
    tensors: Vec<Tensor>,
}

impl Optimizer {
    /// Creates the configured optimizer with its initial state.
    pub fn new(config: &TrainConfig, parameters: Vec<(String, Tensor)>) -> Self {
        let (names, weights): (Vec<String>, Vec<Tensor>) = parameters.into_iter().unzip();
        let zeros = |name| Slot { name, tensors: weights.iter().map(zeros_like).collect() };
        let mut state: Vec<Slot> = state_names(config).iter().copied().map(zeros).collect();
        if counts_steps(config) {
            let tensors = weights.iter().map(zero_scalar).collect();
            state.push(Slot { name: "step", tensors });
        }
        let rate_factors = vec![1.0; weights.len()];
        Self { config: config.clone(), names, weights, state, rate_factors }
    }

    /// Sets the factor of the learning rate of each weight, by name; 1 for weights without one.
    pub fn set_rate_factors(&mut self, factors: &HashMap<String, f64>) {
        let factor = |name: &String| factors.get(name).copied().unwrap_or(1.0);
        self.rate_factors = self.names.iter().map(factor).collect();
    }

    /// Returns true for each weight that is frozen.
    pub fn frozen(&self) -> impl Iterator<Item = bool> {
        self.rate_factors.iter().map(|factor| *factor == 0.0)
    }

    /// Computes the gradient of `loss` for every weight, in the order of the weights.
    pub fn gradients(&self, loss: &Tensor) -> Vec<Tensor> {
        self.gradients_and(loss, &[]).0
    }

    /// Computes the gradients of `loss` for every weight, in the order of the weights, and for other
    /// tensors. They are 0 for those that the loss does not depend on.
    pub fn gradients_and(&self, loss: &Tensor, others: &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>) {
        let tensors: Vec<&Tensor> = self.weights.iter().chain(others).collect();
        let gradients = Tensor::run_backward(&[loss], &tensors, false, false);
        let or_zero = |(gradient, tensor): (Tensor, &&Tensor)| match gradient.defined() {
            true => gradient,
            false => tensor.zeros_like(),
        };
        let mut gradients: Vec<Tensor> = gradients.into_iter().zip(&tensors).map(or_zero).collect();
        let others = gradients.split_off(self.weights.len());
        (gradients, others)
    }

    /// Updates rows of the only weight, unless `skipped`, like [`Optimizer::step`]. `gradient` has the
    /// gradients of these rows.
    ///
    /// # Errors
    /// Returns libtorch's error if the gradient does not fit the weight.
    pub fn step_rows(
        &mut self,
        gradient: Tensor,
        rows: &Tensor,
        learning_rate: f64,
        skipped: &Tensor,
    ) -> anyhow::Result<()> {
        let _no_grad = tch::no_grad_guard();
        self.update_rows(vec![gradient], &[(0, rows)], learning_rate, skipped)
    }

    /// Updates the weights, unless `skipped`, a float [], is 1 instead of 0. Of a weight with
    /// `rows`, distinct indices, updates only the selected rows whose gradient is not zero. Does
    /// not wait for the device.
    ///
    /// # Errors
    /// Returns libtorch's error if gradients do not fit the weights.
    pub fn step(
        &mut self,
        gradients: &[Tensor],
        rows: &[Option<&Tensor>],
        learning_rate: f64,
        skipped: &Tensor,
    ) -> anyhow::Result<()> {
        let _no_grad = tch::no_grad_guard();
        let mut gradients: Vec<Tensor> = gradients.iter().map(Tensor::shallow_clone).collect();
        let rows: Vec<(usize, &Tensor)> =
            rows.iter().enumerate().filter_map(|(index, rows)| Some((index, (*rows)?))).collect();
        for (index, rows) in &rows {
            gradients[*index] = gradients[*index].index_select(0, rows);
        }
        self.update_rows(gradients, &rows, learning_rate, skipped)
    }

    /// Updates the weights. Those with `rows`, given by their indices, have only the gradients of these
    /// rows.
    fn update_rows(
        &mut self,
        gradients: Vec<Tensor>,
        rows: &[(usize, &Tensor)],
        learning_rate: f64,
        skipped: &Tensor,
    ) -> anyhow::Result<()> {
        // During the update, the selected rows replace the whole tensors.
        let mut replaced = Vec::new();
        for (index, rows) in rows.iter().copied() {
            let replace = |tensor: &mut Tensor| {
                let selected = tensor.index_select(0, rows);
                std::mem::replace(tensor, selected)
            };
            replaced.push((index, rows, self.tensors_of(index).map(replace).collect::<Vec<_>>()));
        }
        self.update(&gradients, learning_rate, skipped)?;
        for (index, rows, originals) in replaced {
            let has_gradient = gradients[index].ne(0.0).any_dim(1, true); // [rows, 1]
            for (tensor, mut original) in self.tensors_of(index).zip(originals) {
                let updated = tensor.where_self(&has_gradient, &original.index_select(0, rows));
                let _ = original.index_copy_(0, rows, &updated);
                *tensor = original;
            }
        }
        Ok(())
    }

    /// Returns a weight and its state tensors of the same shape.
    fn tensors_of(&mut self, index: usize) -> impl Iterator<Item = &mut Tensor> {
        let state = self.state.iter_mut().map(move |slot| &mut slot.tensors[index]);
        std::iter::once(&mut self.weights[index]).chain(state.filter(|tensor| tensor.dim() > 0))
    }

    fn update(
        &mut self,
        gradients: &[Tensor],
        learning_rate: f64,
        skipped: &Tensor,
    ) -> anyhow::Result<()> {
        for (factor, indices) in self.groups() {
            let learning_rate = learning_rate * factor;
            match self.config.optimizer {
                OptimizerKind::Adam | OptimizerKind::Adamw => {
                    self.adam(gradients, &indices, learning_rate, skipped)?;
                }
                OptimizerKind::Sgd => self.sgd(gradients, &indices, learning_rate, skipped)?,
                OptimizerKind::Rmsprop => {
                    let applied = skipped.neg() + 1.0;
                    self.for_each_weight(gradients, &indices, &applied, |this, i, gradient| {
                        this.rmsprop(i, gradient, learning_rate, &applied);
                    });
                }
                OptimizerKind::Adadelta => {
                    let applied = skipped.neg() + 1.0;
                    self.for_each_weight(gradients, &indices, &applied, |this, i, gradient| {
                        this.adadelta(i, gradient, learning_rate, &applied);
                    });
                }
            }
        }
        Ok(())
    }

    /// Returns the indices of the weights that have the same learning rate, with its factor. Frozen
    /// weights are in no group.
    fn groups(&self) -> Vec<(f64, Vec<usize>)> {
        let mut groups: Vec<(f64, Vec<usize>)> = Vec::new();
        for (index, factor) in self.rate_factors.iter().enumerate().filter(|(_, f)| **f > 0.0) {
            match groups.iter_mut().find(|(known, _)| known == factor) {
                Some((_, indices)) => indices.push(index),
                None => groups.push((*factor, vec![index])),
            }
        }
        groups
    }

    fn adam(
        &mut self,
        gradients: &[Tensor],
        indices: &[usize],
        learning_rate: f64,
        skipped: &Tensor,
    ) -> anyhow::Result<()> {
        #[expect(clippy::unreachable, reason = "`new` creates this state")]
        let [means, squares, steps] = &self.state[..] else { unreachable!("created by new") };
        let options = AdamOptions {
            learning_rate,
            beta1: self.config.adam.beta1,
            beta2: self.config.adam.beta2,
            epsilon: self.config.adam.epsilon,
            weight_decay: self.config.weight_decay(),
            decoupled: self.config.optimizer == OptimizerKind::Adamw,
        };
        fused::adam(
            &select(&self.weights, indices),
            &select(gradients, indices),
            &select(&means.tensors, indices),
            &select(&squares.tensors, indices),
            &select(&steps.tensors, indices),
            options,
            skipped,
        )
    }

    fn sgd(
        &mut self,
        gradients: &[Tensor],
        indices: &[usize],
        learning_rate: f64,
        skipped: &Tensor,
    ) -> anyhow::Result<()> {
        let momenta = self.state.first().map(|slot| select(&slot.tensors, indices));
        let options = SgdOptions {
            learning_rate,
            momentum: self.config.sgd.momentum,
            nesterov: self.config.sgd.nesterov,
            weight_decay: self.config.weight_decay(),
        };
        fused::sgd(
            &select(&self.weights, indices),
            &select(gradients, indices),
            &momenta.unwrap_or_default(),
            options,
            skipped,
        )
    }

    /// Calls `update` for the weights at `indices` with their gradients, weight decay included. The
    /// gradient is zero if `applied`, a float [], is 0 instead of 1.
    fn for_each_weight(
        &mut self,
        gradients: &[Tensor],
        indices: &[usize],
        applied: &Tensor,
        update: impl Fn(&mut Self, usize, &Tensor),
    ) {
        let (decay, applied) = (self.config.weight_decay(), applied.to_kind(Kind::Bool));
        for &index in indices {
            let gradient = &gradients[index];
            let gradient = match decay {
                0.0 => gradient.shallow_clone(),
                decay => gradient + &self.weights[index] * decay,
            };
            update(self, index, &gradient.where_self(&applied, &gradient.zeros_like()));
        }
    }

    /// RMSprop (Hinton 2012), as in `torch.optim.RMSprop`. Computes in place if possible: the
    /// embedding is large, and every temporary tensor costs a pass over memory.
    fn rmsprop(&mut self, index: usize, gradient: &Tensor, learning_rate: f64, applied: &Tensor) {
        let options = self.config.rmsprop.clone();
        let square = &mut self.state[0].tensors[index];
        let _ = square.lerp_tensor_(&(gradient * gradient), &(applied * (1.0 - options.rho)));
        let mut step = gradient / square.sqrt().g_add_scalar_(options.epsilon);
        if let Some(momentum) = self.state.get_mut(1) {
            let momentum = &mut momentum.tensors[index];
            let factor = applied * (options.momentum - 1.0) + 1.0;
            *momentum = momentum.g_mul_(&factor).g_add_(&step);
            step = &*momentum * applied;
        }
        self.weights[index] -= step.g_mul_scalar_(learning_rate);
    }

    /// Adadelta (Zeiler 2012), as in `torch.optim.Adadelta`; in place like [`Self::rmsprop`].
    fn adadelta(&mut self, index: usize, gradient: &Tensor, learning_rate: f64, applied: &Tensor) {
        let (rho, epsilon) = (self.config.adadelta.rho, self.config.adadelta.epsilon);
        #[expect(clippy::unreachable, reason = "`new` creates this state")]
        let [squares, steps] = &mut self.state[..] else { unreachable!("created by new") };
        let (square, past) = (&mut squares.tensors[index], &mut steps.tensors[index]);
        let weight = applied * (1.0 - rho);
        let _ = square.lerp_tensor_(&(gradient * gradient), &weight);
        let mut step = (&*past + epsilon).sqrt_();
        step = step.g_div_(&(&*square + epsilon).sqrt_()).g_mul_(gradient);
        let _ = past.lerp_tensor_(&(&step * &step), &weight);
        self.weights[index] -= step.g_mul_scalar_(learning_rate);
    }

    /// Returns the state under names such as `exp_avg.embedding.weight`.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let slots = self.state.iter().flat_map(|slot| {
            let tensors = self.names.iter().zip(&slot.tensors);
            tensors.map(move |(name, tensor)| {
                (format!("{}.{name}", slot.name), tensor.shallow_clone())
            })
        });
        slots.collect()
    }

    /// Loads the optimizer state of a checkpoint.
    ///
    /// # Errors
    /// Returns an error if the state belongs to another optimizer or another model.
    pub fn load(&mut self, tensors: Vec<NamedTensor>) -> anyhow::Result<()> {
        let state = self.state();
        let loaded = to_tensors(state_in_order(&self.config, &shapes(&state), tensors)?);
        for ((_, mut current), (_, tensor)) in state.into_iter().zip(loaded) {
            current.copy_(&tensor);
        }
        Ok(())
    }
}

/// Returns the norm of the whole gradient, [], and scales the gradients down in place to norm
/// `limit` if their norm is larger (Pascanu, Mikolov and Bengio 2013). If the norm is not finite,
/// neither are the gradients. The gradients are first divided by `scale`, [], the loss scale.
pub fn clip(gradients: &mut [Tensor], limit: Option<f64>, scale: Option<&Tensor>) -> Tensor {
    let norms: Vec<Tensor> = gradients.iter().map(Tensor::norm).collect();
    let norm = Tensor::stack(&norms, 0).norm();
    let norm = scale.map_or(norm.shallow_clone(), |scale| norm / scale);
    // On the CPU the norm is known, and most gradients need no scaling. A CUDA device must not be
    // waited for.
    let fits = |limit: f64| norm.device() == Device::Cpu && norm.double_value(&[]) <= limit;
    let limit = limit.filter(|limit| !fits(*limit));
    let clipped = limit.map(|limit| (norm.reciprocal() * limit).clamp_max(1.0));
    let factor = match (clipped, scale) {
        (None, None) => return norm,
        (Some(clipped), None) => clipped,
        (None, Some(scale)) => scale.reciprocal(),
        (Some(clipped), Some(scale)) => clipped / scale,
    };
    for gradient in gradients {
        let _ = gradient.g_mul_(&factor);
    }
    norm
}

/// Returns handles of the tensors at these indices.
fn select(tensors: &[Tensor], indices: &[usize]) -> Vec<Tensor> {
    indices.iter().map(|index| tensors[*index].shallow_clone()).collect()
}

fn zeros_like(weight: &Tensor) -> Tensor {
    Tensor::zeros(weight.size(), (Kind::Float, weight.device()))
}

fn zero_scalar(weight: &Tensor) -> Tensor {
    Tensor::zeros([0_i64; 0], (Kind::Float, weight.device()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_keeps_the_direction_and_reports_the_norm() {
        let mut gradients = [Tensor::from_slice(&[3.0_f32]), Tensor::from_slice(&[4.0_f32, 0.0])];
        let clip = |gradients: &mut [Tensor], limit| clip(gradients, limit, None).double_value(&[]);
        assert_eq!(clip(&mut gradients, Some(10.0)), 5.0);
        assert_eq!(gradients[1].double_value(&[0]), 4.0);
        assert_eq!(clip(&mut gradients, Some(1.0)), 5.0);
        assert!((gradients[0].double_value(&[0]) - 0.6).abs() < 1e-6);
        assert!((gradients[1].double_value(&[0]) - 0.8).abs() < 1e-6);
        let mut broken = [Tensor::from_slice(&[f32::NAN, 1.0])];
        assert!(clip(&mut broken, Some(1.0)).is_nan());
    }

    #[test]
    fn gradients_are_divided_by_the_loss_scale() {
        for (limit, expected) in [(None, 3.0), (Some(10.0), 3.0), (Some(1.0), 0.6)] {
            let mut gradients = [Tensor::from_slice(&[24_f32, 32.0])];
            let norm = clip(&mut gradients, limit, Some(&Tensor::from(8_f32)));
            assert_eq!(norm.double_value(&[]), 5.0);
            let first = gradients[0].double_value(&[0]);
            assert!((first - expected).abs() < 1e-6, "{limit:?}: {first}");
        }
    }
}

//! Optimizers whose whole state can be saved. Adam, AdamW and SGD run as ATen's fused kernels.

use anyhow::{bail, ensure};
use tch::{Device, Kind, Tensor};

use crate::libtorch::fused;
use crate::tensors::Named;
use lstmtext::config::{OptimizerKind, TrainConfig};

/// Turns gradients into changes of the weights, in place.
#[derive(Debug)]
pub struct Optimizer {
    config: TrainConfig,
    names: Vec<String>,
    weights: Vec<Tensor>,
    state: Vec<Slot>,
}

/// One tensor of memory for each weight, under the name that `torch.optim` has for it.
#[derive(Debug)]
struct Slot {
    name: &'static str,
    tensors: Vec<Tensor>,
}

impl Optimizer {
    /// The optimizer that the configuration names, with empty memory.
    pub fn new(config: &TrainConfig, parameters: Vec<Named>) -> Self {
        let (names, weights): (Vec<String>, Vec<Tensor>) = parameters.into_iter().unzip();
        let zeros = |name| Slot { name, tensors: weights.iter().map(zeros_like).collect() };
        let steps = |name| Slot { name, tensors: weights.iter().map(zero_step).collect() };
        let state = match config.optimizer {
            OptimizerKind::Adam | OptimizerKind::Adamw => {
                vec![zeros("exp_avg"), zeros("exp_avg_sq"), steps("step")]
            }
            OptimizerKind::Rmsprop if config.rmsprop.momentum > 0.0 => {
                vec![zeros("square_avg"), zeros("momentum_buffer")]
            }
            OptimizerKind::Rmsprop => vec![zeros("square_avg")],
            OptimizerKind::Adadelta => vec![zeros("square_avg"), zeros("acc_delta")],
            OptimizerKind::Sgd if config.sgd.momentum > 0.0 => vec![zeros("momentum_buffer")],
            OptimizerKind::Sgd => Vec::new(),
        };
        Self { config: config.clone(), names, weights, state }
    }

    /// The gradient of `loss` for every weight, in their order.
    pub fn gradients(&self, loss: &Tensor) -> Vec<Tensor> {
        Tensor::run_backward(&[loss], &self.weights, false, false)
    }

    /// Changes the weights by one step, unless `skipped`, a float [], is 1 and not 0; of a weight
    /// with `rows`, a number for each and each once, only those rows take part that have a gradient.
    /// Nothing waits for the device.
    ///
    /// # Errors
    /// libtorch's own, where gradients do not fit the weights.
    pub fn step(
        &mut self,
        gradients: &[Tensor],
        rows: &[Option<&Tensor>],
        learning_rate: f64,
        skipped: &Tensor,
    ) -> anyhow::Result<()> {
        let _no_grad = tch::no_grad_guard();
        let mut gradients: Vec<Tensor> = gradients.iter().map(Tensor::shallow_clone).collect();
        // The rows stand in for the whole while the step is made.
        let mut taken = Vec::new();
        for (index, rows) in rows.iter().enumerate() {
            let Some(rows) = rows else { continue };
            gradients[index] = gradients[index].index_select(0, rows);
            let take = |tensor: &mut Tensor| {
                let part = tensor.index_select(0, rows);
                std::mem::replace(tensor, part)
            };
            taken.push((index, *rows, self.tensors_of(index).map(take).collect::<Vec<_>>()));
        }
        self.step_whole(&gradients, learning_rate, skipped)?;
        for (index, rows, wholes) in taken {
            let has_gradient = gradients[index].ne(0.0).any_dim(1, true); // [rows, 1]
            for (tensor, mut whole) in self.tensors_of(index).zip(wholes) {
                let part = tensor.where_self(&has_gradient, &whole.index_select(0, rows));
                let _ = whole.index_copy_(0, rows, &part);
                *tensor = whole;
            }
        }
        Ok(())
    }

    /// A weight and what is remembered for each of its numbers.
    fn tensors_of(&mut self, index: usize) -> impl Iterator<Item = &mut Tensor> {
        let memory = self.state.iter_mut().map(move |slot| &mut slot.tensors[index]);
        std::iter::once(&mut self.weights[index]).chain(memory.filter(|tensor| tensor.dim() > 0))
    }

    fn step_whole(
        &mut self,
        gradients: &[Tensor],
        learning_rate: f64,
        skipped: &Tensor,
    ) -> anyhow::Result<()> {
        match self.config.optimizer {
            OptimizerKind::Adam | OptimizerKind::Adamw => {
                self.adam(gradients, learning_rate, skipped)
            }
            OptimizerKind::Sgd => self.sgd(gradients, learning_rate, skipped),
            OptimizerKind::Rmsprop => {
                let made = skipped.neg() + 1.0;
                self.each(gradients, &made, |this, i, gradient| {
                    this.rmsprop(i, gradient, learning_rate, &made);
                });
                Ok(())
            }
            OptimizerKind::Adadelta => {
                let made = skipped.neg() + 1.0;
                self.each(gradients, &made, |this, i, gradient| {
                    this.adadelta(i, gradient, learning_rate, &made);
                });
                Ok(())
            }
        }
    }

    fn adam(
        &mut self,
        gradients: &[Tensor],
        learning_rate: f64,
        skipped: &Tensor,
    ) -> anyhow::Result<()> {
        #[expect(clippy::unreachable, reason = "`new` makes this state for this optimizer")]
        let [means, squares, steps] = &self.state[..] else { unreachable!("made so in new") };
        let adam = fused::Adam {
            learning_rate,
            beta1: self.config.adam.beta1,
            beta2: self.config.adam.beta2,
            epsilon: self.config.adam.epsilon,
            weight_decay: self.weight_decay(),
            decoupled: self.config.optimizer == OptimizerKind::Adamw,
        };
        fused::adam(
            &self.weights,
            gradients,
            &means.tensors,
            &squares.tensors,
            &steps.tensors,
            adam,
            skipped,
        )
    }

    fn sgd(
        &mut self,
        gradients: &[Tensor],
        learning_rate: f64,
        skipped: &Tensor,
    ) -> anyhow::Result<()> {
        let momenta = self.state.first().map_or(&[][..], |slot| &slot.tensors);
        let sgd = fused::Sgd {
            learning_rate,
            momentum: self.config.sgd.momentum,
            nesterov: self.config.sgd.nesterov,
            weight_decay: self.weight_decay(),
        };
        fused::sgd(&self.weights, gradients, momenta, sgd, skipped)
    }

    fn weight_decay(&self) -> f64 {
        self.config.weight_decay.unwrap_or(self.config.optimizer.weight_decay())
    }

    /// Calls `update` for every weight with its decayed gradient, which is zero where the step is not
    /// `made`, a float [] of 1 or 0.
    fn each(
        &mut self,
        gradients: &[Tensor],
        made: &Tensor,
        update: impl Fn(&mut Self, usize, &Tensor),
    ) {
        let (decay, made) = (self.weight_decay(), made.to_kind(Kind::Bool));
        for (index, gradient) in gradients.iter().enumerate() {
            let gradient = match decay {
                0.0 => gradient.shallow_clone(),
                decay => gradient + &self.weights[index] * decay,
            };
            update(self, index, &gradient.where_self(&made, &gradient.zeros_like()));
        }
    }

    /// Hinton 2012, as `torch.optim.RMSprop` computes it. In place as far as it goes: the embedding
    /// is large, and every temporary is a pass over memory.
    fn rmsprop(&mut self, index: usize, gradient: &Tensor, learning_rate: f64, made: &Tensor) {
        let constants = self.config.rmsprop.clone();
        let square = &mut self.state[0].tensors[index];
        let _ = square.lerp_tensor_(&(gradient * gradient), &(made * (1.0 - constants.rho)));
        let mut step = gradient / square.sqrt().g_add_scalar_(constants.epsilon);
        if let Some(momentum) = self.state.get_mut(1) {
            let momentum = &mut momentum.tensors[index];
            let kept = made * (constants.momentum - 1.0) + 1.0;
            *momentum = momentum.g_mul_(&kept).g_add_(&step);
            step = &*momentum * made;
        }
        self.weights[index] -= step.g_mul_scalar_(learning_rate);
    }

    /// Zeiler 2012, as `torch.optim.Adadelta` computes it; in place like [`Self::rmsprop`].
    fn adadelta(&mut self, index: usize, gradient: &Tensor, learning_rate: f64, made: &Tensor) {
        let (rho, epsilon) = (self.config.adadelta.rho, self.config.adadelta.epsilon);
        #[expect(clippy::unreachable, reason = "`new` makes this state for this optimizer")]
        let [squares, steps] = &mut self.state[..] else { unreachable!("made so in new") };
        let (square, past) = (&mut squares.tensors[index], &mut steps.tensors[index]);
        let weight = made * (1.0 - rho);
        let _ = square.lerp_tensor_(&(gradient * gradient), &weight);
        let mut step = (&*past + epsilon).sqrt_();
        step = step.g_div_(&(&*square + epsilon).sqrt_()).g_mul_(gradient);
        let _ = past.lerp_tensor_(&(&step * &step), &weight);
        self.weights[index] -= step.g_mul_scalar_(learning_rate);
    }

    /// The memory, as `exp_avg.embedding.weight` and so on.
    pub fn state(&self) -> Vec<Named> {
        let slots = self.state.iter().flat_map(|slot| {
            let tensors = self.names.iter().zip(&slot.tensors);
            tensors.map(move |(name, tensor)| {
                (format!("{}.{name}", slot.name), tensor.shallow_clone())
            })
        });
        slots.collect()
    }

    /// Takes the memory of an earlier run.
    ///
    /// # Errors
    /// Where it is the memory of another optimizer or another model.
    pub fn load(&mut self, tensors: Vec<Named>) -> anyhow::Result<()> {
        let own = self.state();
        ensure!(
            own.len() == tensors.len(),
            "the optimizer state has {} tensors, {} needs {}",
            tensors.len(),
            self.config.optimizer.as_str(),
            own.len()
        );
        let given: std::collections::HashMap<String, Tensor> = tensors.into_iter().collect();
        for (name, own) in own {
            match given.get(&name) {
                Some(tensor) if tensor.size() == own.size() => own.shallow_clone().copy_(tensor),
                Some(_) => bail!("{name} has another shape in the optimizer state"),
                None => bail!("the optimizer state lacks {name}"),
            }
        }
        Ok(())
    }
}

/// The norm of all gradients together, []; where it is above `limit`, they are scaled down to it in
/// place (Pascanu, Mikolov and Bengio 2013). Where it is not finite, neither are they. `scale`, [],
/// is a factor that the gradients have and their norm has not; it is taken off first.
pub fn clip(gradients: &mut [Tensor], limit: Option<f64>, scale: Option<&Tensor>) -> Tensor {
    let norms: Vec<Tensor> = gradients.iter().map(Tensor::norm).collect();
    let norm = Tensor::stack(&norms, 0).norm();
    let norm = scale.map_or(norm.shallow_clone(), |scale| norm / scale);
    // The CPU has it at once, and most gradients need no scaling; a device must not be waited for.
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

fn zeros_like(weight: &Tensor) -> Tensor {
    Tensor::zeros(weight.size(), (Kind::Float, weight.device()))
}

fn zero_step(weight: &Tensor) -> Tensor {
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
    fn a_scale_is_taken_off() {
        for (limit, expected) in [(None, 3.0), (Some(10.0), 3.0), (Some(1.0), 0.6)] {
            let mut gradients = [Tensor::from_slice(&[24_f32, 32.0])];
            let norm = clip(&mut gradients, limit, Some(&Tensor::from(8_f32)));
            assert_eq!(norm.double_value(&[]), 5.0);
            let first = gradients[0].double_value(&[0]);
            assert!((first - expected).abs() < 1e-6, "{limit:?}: {first}");
        }
    }
}

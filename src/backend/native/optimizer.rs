//! Optimizers with the arithmetic of `torch.optim`.
//!
//! The embedding is large, and a batch has few of its words. With `train.sparse_embedding`, a step
//! updates only the rows of these words, like `torch.optim.SparseAdam`; all other rows keep their
//! weights and their optimizer state. Without it, every step updates every row, most of them with a
//! gradient of zero. Without momentum and weight decay, AdaDelta, RMSprop and SGD do not change a
//! weight whose gradient is zero. Rows are then updated lazily: when a row has a gradient again, its
//! state catches up on the steps it missed, with the same arithmetic. The weights of n-grams are always
//! updated like those with `train.sparse_embedding`: there are many more of them.

use rayon::prelude::*;

use super::average::Average;
use super::gradients::Gradients;
use super::update::{DenseUpdate, EmbeddingUpdate, RemainingRows, Rule, Update, decay_row};
use super::weight::Weight;
use crate::backend::kernel::Instructions;
use crate::backend::optimizer_state::{counts_steps, state_in_order, state_names};
use crate::config::{OptimizerKind, TrainConfig};
use crate::model::named_tensors::NamedTensor;

/// An optimizer and its state.
pub struct Optimizer {
    config: TrainConfig,
    instructions: Instructions,
    /// Names of the state tensors of each parameter, as in `torch.optim`.
    slots: &'static [&'static str],
    /// State of each trainable parameter.
    states: Vec<ParameterState>,
}

/// Optimizer state of a parameter.
struct ParameterState {
    /// Index of the parameter.
    parameter: usize,
    /// Number of steps of this parameter. Those in which it was frozen do not count, as in PyTorch.
    steps: u32,
    /// State tensors; unused ones are empty.
    slots: [Vec<f32>; 2],
    /// Number of steps that the state of each row includes, if rows are updated lazily.
    steps_seen: Vec<u32>,
    /// L2 regularization of the weights of n-grams; `None` for other parameters.
    ngram_l2: Option<f32>,
}

impl Optimizer {
    /// Creates the configured optimizer with its initial state.
    pub fn new(config: &TrainConfig, parameters: &[Weight], instructions: Instructions) -> Self {
        let slots = state_names(config);
        let trained = parameters.iter().enumerate().filter(|(_, parameter)| parameter.trainable);
        let states = trained.map(|(index, parameter)| {
            let zeros = |slot: usize| {
                vec![0.0; if slot < slots.len() { parameter.tensor.values.len() } else { 0 }]
            };
            ParameterState {
                parameter: index,
                steps: 0,
                slots: [zeros(0), zeros(1)],
                steps_seen: Vec::new(),
                ngram_l2: parameter.ngram_l2,
            }
        });
        let states = states.collect();
        Self { config: config.clone(), instructions, slots, states }
    }

    /// Updates the weights that are not frozen by one step, with `factor` times the gradients, and their
    /// averages.
    pub fn step(
        &mut self,
        weights: &mut [Weight],
        gradients: &Gradients,
        mut average: Option<&mut Average>,
        learning_rate: f64,
        factor: f32,
    ) {
        let change = average.as_ref().map_or(0.0, |average| average.change_factor());
        let (instructions, decay) = (self.instructions, self.lazy_decay());
        for state in &mut self.states {
            let weight = &mut weights[state.parameter];
            if weight.is_frozen() {
                continue;
            }
            state.steps += 1;
            let steps = state.steps;
            let learning_rate = learning_rate * weight.rate_factor;
            let rule = Rule { change, ..rule(&self.config, learning_rate, factor, steps) };
            let weight = &mut weight.tensor;
            let row_size = weight.shape.get(1).copied().unwrap_or(1);
            let weights = &mut weight.values[..];
            let [first, second] = &mut state.slots;
            let deviations = average.as_mut().map(|average| average.deviations(state.parameter));
            let deviations = deviations.unwrap_or_default();
            // The gradient of n-grams is not clipped, and train.weight_decay does not apply to them.
            let rule = match state.ngram_l2 {
                Some(l2) => Rule { factor: 1.0, l2, decoupled: 1.0, ..rule },
                None => rule,
            };
            match gradients.rows_of(state.parameter) {
                None => {
                    let gradients = &gradients.dense[state.parameter];
                    let update =
                        DenseUpdate { rule, weights, gradients, first, second, deviations };
                    update.parts().into_par_iter().for_each(|part| instructions.run(part));
                }
                Some(rows) => {
                    let zeros = vec![0.0; row_size];
                    let remaining = match decay {
                        _ if self.config.sparse_embedding || state.ngram_l2.is_some() => {
                            RemainingRows::Frozen
                        }
                        Some(decay) => {
                            let steps_seen = &mut state.steps_seen;
                            steps_seen.resize(weights.len() / row_size, steps - 1);
                            RemainingRows::Lazy { steps_seen, steps, decay }
                        }
                        None => RemainingRows::Dense(&zeros),
                    };
                    let update = EmbeddingUpdate {
                        rule,
                        row_size,
                        first_row: 0,
                        weights,
                        words: &rows.words,
                        gradients: &rows.values,
                        remaining,
                        first,
                        second,
                        deviations,
                    };
                    update.parts().into_par_iter().for_each(|part| instructions.run(part));
                }
            }
        }
        if let Some(average) = average {
            average.advance();
        }
    }

    /// Returns the fraction that a gradient of zero subtracts from the state, if rows are updated
    /// lazily: a gradient of zero then changes no weight.
    fn lazy_decay(&self) -> Option<f32> {
        let (config, decay) = (&self.config, self.config.weight_decay());
        let kept = match config.optimizer {
            _ if config.sparse_embedding || decay != 0.0 => return None,
            OptimizerKind::Adadelta => config.adadelta.rho,
            OptimizerKind::Rmsprop if config.rmsprop.momentum == 0.0 => config.rmsprop.rho,
            OptimizerKind::Sgd if config.sgd.momentum == 0.0 => 1.0,
            _ => return None,
        };
        Some(1.0 - kept as f32)
    }

    /// Returns the state under names such as `exp_avg.embedding.weight`.
    pub fn state(&mut self, parameters: &[Weight]) -> Vec<NamedTensor> {
        self.catch_up(parameters);
        let slots = 0..self.slots.len();
        let slots =
            slots.flat_map(|slot| self.states.iter().map(move |state| state.slots[slot].clone()));
        let steps = self.states.iter().map(|state| vec![state.steps as f32]);
        let values = slots.chain(steps);
        let named = self.layout(parameters).into_iter().zip(values);
        named.map(|((name, shape), values)| NamedTensor { name, shape, values }).collect()
    }

    /// Returns the names and shapes of the state tensors.
    fn layout(&self, parameters: &[Weight]) -> Vec<(String, Vec<usize>)> {
        let tensors = || self.states.iter().map(|state| &parameters[state.parameter].tensor);
        let mut layout = Vec::new();
        for slot in self.slots {
            let named =
                |tensor: &NamedTensor| (format!("{slot}.{}", tensor.name), tensor.shape.clone());
            layout.extend(tensors().map(named));
        }
        if counts_steps(&self.config) {
            layout.extend(tensors().map(|tensor| (format!("step.{}", tensor.name), Vec::new())));
        }
        layout
    }

    /// Brings the state of lazily updated rows up to the current step.
    fn catch_up(&mut self, parameters: &[Weight]) {
        let Some(decay) = self.lazy_decay() else { return };
        for ParameterState { parameter, steps, slots, steps_seen, .. } in &mut self.states {
            let row_size = parameters[*parameter].tensor.shape.get(1).copied().unwrap_or(1);
            for slot in slots.iter_mut().filter(|slot| !slot.is_empty()) {
                let rows = slot.par_chunks_mut(row_size).zip(&*steps_seen);
                rows.for_each(|(row, seen)| decay_row(row, decay, *steps - seen));
            }
            steps_seen.fill(*steps);
        }
    }

    /// Restores the state of an earlier run.
    ///
    /// # Errors
    /// Returns an error if the state belongs to another optimizer or another model.
    pub fn load(&mut self, parameters: &[Weight], tensors: Vec<NamedTensor>) -> anyhow::Result<()> {
        let expected = self.layout(parameters);
        let mut tensors = state_in_order(&self.config, &expected, tensors)?;
        let steps = tensors.split_off(self.slots.len() * self.states.len());
        for (index, tensor) in tensors.into_iter().enumerate() {
            let (slot, state) = (index / self.states.len(), index % self.states.len());
            self.states[state].slots[slot] = tensor.values;
        }
        for (state, tensor) in self.states.iter_mut().zip(steps) {
            state.steps = tensor.values[0] as u32;
        }
        self.states.iter_mut().for_each(|state| state.steps_seen.clear());
        Ok(())
    }
}

/// Returns the update rule of step `steps` of a parameter, counted from 1.
fn rule(config: &TrainConfig, learning_rate: f64, factor: f32, steps: u32) -> Rule {
    let decay = config.weight_decay();
    let (l2, decoupled) = match config.optimizer {
        OptimizerKind::Adamw => (0.0, (1.0 - learning_rate * decay) as f32),
        _ => (decay as f32, 1.0),
    };
    let update = match config.optimizer {
        OptimizerKind::Adam | OptimizerKind::Adamw => {
            let (beta1, beta2) = (config.adam.beta1, config.adam.beta2);
            let steps = f64::from(steps);
            Update::Adam {
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                step: (learning_rate / (1.0 - beta1.powf(steps))) as f32,
                root: (1.0 / (1.0 - beta2.powf(steps)).sqrt()) as f32,
                epsilon: config.adam.epsilon as f32,
            }
        }
        OptimizerKind::Rmsprop => Update::Rmsprop {
            rho: config.rmsprop.rho as f32,
            epsilon: config.rmsprop.epsilon as f32,
            momentum: config.rmsprop.momentum as f32,
            step: learning_rate as f32,
        },
        OptimizerKind::Adadelta => Update::Adadelta {
            rho: config.adadelta.rho as f32,
            epsilon: config.adadelta.epsilon as f32,
            step: learning_rate as f32,
        },
        OptimizerKind::Sgd => Update::Sgd {
            momentum: config.sgd.momentum as f32,
            nesterov: config.sgd.nesterov,
            step: learning_rate as f32,
        },
    };
    Rule { factor, l2, decoupled, change: 0.0, update }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// The bias correction of Adam counts the steps of each parameter, as in PyTorch.
    #[test]
    fn a_weight_that_was_frozen_starts_like_a_new_one() {
        let config = config::parse("data: {train: x}\n", "test", &[]).unwrap().config.train;
        let weight = |name: &str| Weight {
            tensor: NamedTensor { name: name.into(), shape: vec![1], values: vec![1.0] },
            quantized: None,
            trainable: true,
            ngram_l2: None,
            rate_factor: 1.0,
        };
        let mut weights = [weight("a"), weight("b")];
        let mut optimizer = Optimizer::new(&config, &weights, Instructions::best());
        let mut step = |weights: &mut [Weight]| {
            let dense = vec![vec![0.5], vec![0.5]];
            let mut gradients = Gradients { dense, ..Gradients::default() };
            gradients.remove_frozen(weights);
            optimizer.step(weights, &gradients, None, 0.1, 1.0);
            (gradients.norm(), optimizer.state(weights))
        };
        weights[1].rate_factor = 0.0;
        let (norm, _) = step(&mut weights);
        let first = weights[0].tensor.values[0];
        assert_eq!(norm, 0.5, "the norm does not include frozen weights");
        step(&mut weights);
        assert_eq!(weights[1].tensor.values, [1.0]);
        weights[1].rate_factor = 1.0;
        let (_, state) = step(&mut weights);
        assert_eq!(weights[1].tensor.values, [first]);
        let steps: Vec<f32> = state[4..].iter().map(|tensor| tensor.values[0]).collect();
        assert_eq!(steps, [3.0, 1.0]);
    }
}

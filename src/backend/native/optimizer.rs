//! Optimizers with the arithmetic of `torch.optim`.
//!
//! The embedding is large, and a batch has few of its words. With `train.sparse_embedding`, a step
//! updates only the rows of these words, like `torch.optim.SparseAdam`; all other rows keep their
//! weights and their optimizer state. Without it, every step updates every row, most of them with a
//! gradient of zero. Without momentum and weight decay, AdaDelta, RMSprop and SGD do not change a
//! weight whose gradient is zero. Rows are then updated lazily: when a row has a gradient again, its
//! state catches up on the steps it missed, with the same arithmetic.

use anyhow::{bail, ensure};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::network::{Gradients, Network, Weight};
use crate::backend::kernel::Instructions;
use crate::config::{OptimizerKind, TrainConfig};
use crate::model::named_tensors::NamedTensor;

/// Number of values that a thread updates at a time.
const CHUNK: usize = 1 << 14;
/// Number of parts of an embedding for each thread.
const PARTS: usize = 4;

/// An optimizer and its state.
pub struct Optimizer {
    config: TrainConfig,
    instructions: Instructions,
    /// Names of the state tensors of each parameter, as in `torch.optim`.
    slots: Vec<&'static str>,
    /// State of each trainable parameter.
    states: Vec<ParameterState>,
    steps: u32,
}

/// Optimizer state of a parameter.
struct ParameterState {
    /// Index of the parameter.
    parameter: usize,
    /// State tensors; unused ones are empty.
    slots: [Vec<f32>; 2],
    /// Number of steps that the state of each row includes, if rows are updated lazily.
    steps_seen: Vec<u32>,
}

impl Optimizer {
    /// Creates the configured optimizer with its initial state.
    pub fn new(config: &TrainConfig, parameters: &[Weight], instructions: Instructions) -> Self {
        let slots = match config.optimizer {
            OptimizerKind::Adam | OptimizerKind::Adamw => vec!["exp_avg", "exp_avg_sq"],
            OptimizerKind::Rmsprop if config.rmsprop.momentum > 0.0 => {
                vec!["square_avg", "momentum_buffer"]
            }
            OptimizerKind::Rmsprop => vec!["square_avg"],
            OptimizerKind::Adadelta => vec!["square_avg", "acc_delta"],
            OptimizerKind::Sgd if config.sgd.momentum > 0.0 => vec!["momentum_buffer"],
            OptimizerKind::Sgd => Vec::new(),
        };
        let trained = parameters.iter().enumerate().filter(|(_, parameter)| parameter.trainable);
        let states = trained.map(|(index, parameter)| {
            let zeros = |slot: usize| {
                vec![0.0; if slot < slots.len() { parameter.tensor.values.len() } else { 0 }]
            };
            ParameterState { parameter: index, slots: [zeros(0), zeros(1)], steps_seen: Vec::new() }
        });
        let states = states.collect();
        Self { config: config.clone(), instructions, slots, states, steps: 0 }
    }

    /// Updates the weights by one step, with `factor` times the gradients.
    pub fn step(
        &mut self,
        network: &mut Network,
        gradients: &Gradients,
        learning_rate: f64,
        factor: f32,
    ) {
        self.steps += 1;
        let rule = self.rule(learning_rate, factor);
        let (instructions, steps, decay) = (self.instructions, self.steps, self.lazy_decay());
        for state in &mut self.states {
            let weights = &mut network.weights_mut()[state.parameter].tensor;
            let row_size = weights.shape.get(1).copied().unwrap_or(1);
            let weights = &mut weights.values[..];
            let [first, second] = &mut state.slots;
            let rows = gradients.rows.iter().find(|rows| rows.parameter == state.parameter);
            match rows {
                None => {
                    let gradients = &gradients.dense[state.parameter];
                    let (mut first, mut second) =
                        (first.chunks_mut(CHUNK), second.chunks_mut(CHUNK));
                    let parts = weights.chunks_mut(CHUNK).zip(gradients.chunks(CHUNK));
                    let parts = parts.map(|(weights, gradients)| DenseUpdate {
                        rule,
                        weights,
                        gradients,
                        first: first.next().unwrap_or_default(),
                        second: second.next().unwrap_or_default(),
                    });
                    let parts: Vec<DenseUpdate> = parts.collect();
                    parts.into_par_iter().for_each(|part| instructions.run(part));
                }
                Some(rows) => {
                    let zeros = vec![0.0; row_size];
                    let count = weights.len() / row_size;
                    let part_rows = count.div_ceil(PARTS * rayon::current_num_threads()).max(1);
                    let mut first = first.chunks_mut(part_rows * row_size);
                    let mut second = second.chunks_mut(part_rows * row_size);
                    if decay.is_some() {
                        state.steps_seen.resize(count, steps - 1);
                    }
                    let mut steps_seen = state.steps_seen.chunks_mut(part_rows);
                    let mut words = &rows.words[..];
                    let mut gradients = &rows.values[..];
                    let parts = weights.chunks_mut(part_rows * row_size).enumerate();
                    let parts = parts.map(|(index, weights)| {
                        let first_row = index * part_rows;
                        let end = first_row + part_rows;
                        let updated = words.partition_point(|word| (*word as usize) < end);
                        EmbeddingUpdate {
                            rule,
                            row_size,
                            first_row,
                            weights,
                            words: words.split_off(..updated).unwrap_or_default(),
                            gradients: gradients
                                .split_off(..updated * row_size)
                                .unwrap_or_default(),
                            remaining: match decay {
                                _ if self.config.sparse_embedding => RemainingRows::Frozen,
                                Some(decay) => RemainingRows::Lazy {
                                    steps_seen: steps_seen.next().unwrap_or_default(),
                                    steps,
                                    decay,
                                },
                                None => RemainingRows::Dense(&zeros),
                            },
                            first: first.next().unwrap_or_default(),
                            second: second.next().unwrap_or_default(),
                        }
                    });
                    let parts: Vec<EmbeddingUpdate> = parts.collect();
                    parts.into_par_iter().for_each(|part| instructions.run(part));
                }
            }
        }
    }

    /// Returns the fraction that a gradient of zero subtracts from the state, if rows are updated
    /// lazily: a gradient of zero then changes no weight.
    fn lazy_decay(&self) -> Option<f32> {
        let config = &self.config;
        let decay = config.weight_decay.unwrap_or(config.optimizer.weight_decay());
        let kept = match config.optimizer {
            _ if config.sparse_embedding || decay != 0.0 => return None,
            OptimizerKind::Adadelta => config.adadelta.rho,
            OptimizerKind::Rmsprop if config.rmsprop.momentum == 0.0 => config.rmsprop.rho,
            OptimizerKind::Sgd if config.sgd.momentum == 0.0 => 1.0,
            _ => return None,
        };
        Some(1.0 - kept as f32)
    }

    fn rule(&self, learning_rate: f64, factor: f32) -> Rule {
        let config = &self.config;
        let decay = config.weight_decay.unwrap_or(config.optimizer.weight_decay());
        let (l2, decoupled) = match config.optimizer {
            OptimizerKind::Adamw => (0.0, (1.0 - learning_rate * decay) as f32),
            _ => (decay as f32, 1.0),
        };
        let update = match config.optimizer {
            OptimizerKind::Adam | OptimizerKind::Adamw => {
                let (beta1, beta2) = (config.adam.beta1, config.adam.beta2);
                let steps = f64::from(self.steps);
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
        Rule { factor, l2, decoupled, update }
    }

    /// Returns the state under names such as `exp_avg.embedding.weight`.
    pub fn state(&mut self, parameters: &[Weight]) -> Vec<NamedTensor> {
        self.catch_up(parameters);
        let slots = 0..self.slots.len();
        let slots =
            slots.flat_map(|slot| self.states.iter().map(move |state| state.slots[slot].clone()));
        let steps = self.states.iter().map(|_| vec![self.steps as f32]);
        let values = slots.chain(steps);
        let named = self.layout(parameters).into_iter().zip(values);
        named.map(|((name, shape), values)| NamedTensor { name, shape, values }).collect()
    }

    /// Returns the names and shapes of the state tensors.
    fn layout(&self, parameters: &[Weight]) -> Vec<(String, Vec<usize>)> {
        let tensors = || self.states.iter().map(|state| &parameters[state.parameter].tensor);
        let mut layout = Vec::new();
        for slot in &self.slots {
            let named =
                |tensor: &NamedTensor| (format!("{slot}.{}", tensor.name), tensor.shape.clone());
            layout.extend(tensors().map(named));
        }
        if self.counts_steps() {
            layout.extend(tensors().map(|tensor| (format!("step.{}", tensor.name), Vec::new())));
        }
        layout
    }

    /// Brings the state of lazily updated rows up to the current step.
    fn catch_up(&mut self, parameters: &[Weight]) {
        let Some(decay) = self.lazy_decay() else { return };
        for ParameterState { parameter, slots, steps_seen } in &mut self.states {
            let row_size = parameters[*parameter].tensor.shape.get(1).copied().unwrap_or(1);
            for slot in slots.iter_mut().filter(|slot| !slot.is_empty()) {
                let rows = slot.par_chunks_mut(row_size).zip(&*steps_seen);
                rows.for_each(|(row, seen)| decay_row(row, decay, self.steps - seen));
            }
            steps_seen.fill(self.steps);
        }
    }

    fn counts_steps(&self) -> bool {
        matches!(self.config.optimizer, OptimizerKind::Adam | OptimizerKind::Adamw)
    }

    /// Restores the state of an earlier run.
    ///
    /// # Errors
    /// Returns an error if the state belongs to another optimizer or another model.
    pub fn load(&mut self, parameters: &[Weight], tensors: Vec<NamedTensor>) -> anyhow::Result<()> {
        let expected = self.layout(parameters);
        ensure!(
            expected.len() == tensors.len(),
            "the optimizer state has {} tensors, but {} needs {}; resume with the optimizer and the \
             model that wrote it",
            tensors.len(),
            self.config.optimizer.as_str(),
            expected.len()
        );
        let mut given: std::collections::HashMap<String, NamedTensor> =
            tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        let mut take = |(name, shape): &(String, Vec<usize>)| match given.remove(name) {
            Some(tensor) if tensor.shape == *shape => Ok(tensor.values),
            Some(tensor) => bail!(
                "{name} has shape {:?} in the optimizer state, but {shape:?} in the model",
                tensor.shape
            ),
            None => bail!("the optimizer state has no tensor {name}"),
        };
        let (slots, steps) = expected.split_at(self.slots.len() * self.states.len());
        for (index, expected) in slots.iter().enumerate() {
            let (slot, state) = (index / self.states.len(), index % self.states.len());
            self.states[state].slots[slot] = take(expected)?;
        }
        for expected in steps {
            self.steps = take(expected)?[0] as u32;
        }
        self.states.iter_mut().for_each(|state| state.steps_seen.clear());
        Ok(())
    }
}

/// Update rule of one step.
#[derive(Clone, Copy)]
struct Rule {
    /// Factor of the gradients, from clipping.
    factor: f32,
    /// Fraction of the weights that is added to the gradients (L2 regularization).
    l2: f32,
    /// Factor of the weights before the update (decoupled weight decay).
    decoupled: f32,
    update: Update,
}

/// Optimizer with the constants of one step.
#[derive(Clone, Copy)]
enum Update {
    Adam { beta1: f32, beta2: f32, step: f32, root: f32, epsilon: f32 },
    Rmsprop { rho: f32, epsilon: f32, momentum: f32, step: f32 },
    Adadelta { rho: f32, epsilon: f32, step: f32 },
    Sgd { momentum: f32, nesterov: bool, step: f32 },
}

impl Rule {
    /// Updates weights and state. The compiler vectorizes these plain loops inside [`WithSimd`].
    #[inline(always)]
    fn apply(self, weights: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32]) {
        let Self { factor, l2, decoupled, update } = self;
        let all = weights.iter_mut().zip(gradients);
        match update {
            // Kingma and Ba 2015; with decoupled weight decay Loshchilov and Hutter 2019.
            Update::Adam { beta1, beta2, step, root, epsilon } => {
                for ((weight, gradient), (mean, square)) in all.zip(first.iter_mut().zip(second)) {
                    let weight_before = *weight * decoupled;
                    let gradient = gradient * factor + l2 * *weight;
                    *mean += (gradient - *mean) * (1.0 - beta1);
                    *square = *square * beta2 + gradient * gradient * (1.0 - beta2);
                    *weight = weight_before - step * *mean / (square.sqrt() * root + epsilon);
                }
            }
            // Hinton 2012.
            Update::Rmsprop { rho, epsilon, momentum, step } => {
                let mut momenta = second.iter_mut();
                for ((weight, gradient), square) in all.zip(first) {
                    let gradient = gradient * factor + l2 * *weight;
                    *square += (gradient * gradient - *square) * (1.0 - rho);
                    let mut change = gradient / (square.sqrt() + epsilon);
                    if let Some(past) = momenta.next() {
                        *past = *past * momentum + change;
                        change = *past;
                    }
                    *weight -= step * change;
                }
            }
            // Zeiler 2012.
            Update::Adadelta { rho, epsilon, step } => {
                for ((weight, gradient), (square, past)) in all.zip(first.iter_mut().zip(second)) {
                    let gradient = gradient * factor + l2 * *weight;
                    *square += (gradient * gradient - *square) * (1.0 - rho);
                    let change = (*past + epsilon).sqrt() / (*square + epsilon).sqrt() * gradient;
                    *past += (change * change - *past) * (1.0 - rho);
                    *weight -= step * change;
                }
            }
            Update::Sgd { momentum, nesterov, step } => {
                let mut momenta = first.iter_mut();
                for (weight, gradient) in all {
                    let mut gradient = gradient * factor + l2 * *weight;
                    if let Some(past) = momenta.next() {
                        *past = *past * momentum + gradient;
                        gradient = if nesterov { gradient + momentum * *past } else { *past };
                    }
                    *weight -= step * gradient;
                }
            }
        }
    }
}

/// One step of a parameter whose values all have a gradient.
struct DenseUpdate<'a> {
    rule: Rule,
    weights: &'a mut [f32],
    gradients: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl WithSimd for DenseUpdate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.rule.apply(self.weights, self.gradients, self.first, self.second);
    }
}

/// Applies `steps` gradients of zero to the state of a row.
#[inline(always)]
fn decay_row(state: &mut [f32], decay: f32, steps: u32) {
    for _ in 0..steps {
        let mut changed = false;
        for value in &mut *state {
            let before = *value;
            *value += (0.0 - *value) * decay;
            changed |= *value != before;
        }
        if !changed {
            break;
        }
    }
}

/// One step of consecutive rows of an embedding.
struct EmbeddingUpdate<'a> {
    rule: Rule,
    /// Number of values in a row, E.
    row_size: usize,
    /// Index of the first row.
    first_row: usize,
    weights: &'a mut [f32],
    /// Rows that have a gradient, sorted.
    words: &'a [u32],
    /// Gradients of these rows.
    gradients: &'a [f32],
    /// Update of all other rows.
    remaining: RemainingRows<'a>,
    first: &'a mut [f32],
    second: &'a mut [f32],
}

/// Update of the rows that have no gradient.
enum RemainingRows<'a> {
    /// Keep weights and state.
    Frozen,
    /// Update with this gradient of zeros.
    Dense(&'a [f32]),
    /// Keep the weights and postpone the update of the state, which shrinks by `decay` in each step,
    /// until the row has a gradient. The state of each row includes `steps_seen` of `steps` steps.
    Lazy { steps_seen: &'a mut [u32], steps: u32, decay: f32 },
}

impl WithSimd for EmbeddingUpdate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            rule,
            row_size,
            first_row,
            weights,
            words,
            gradients,
            mut remaining,
            first,
            second,
        } = self;
        let count = weights.len() / row_size;
        let mut update = |row: usize, gradient: &[f32], missed: Option<(u32, f32)>| {
            let range = row * row_size..(row + 1) * row_size;
            let first = first.get_mut(range.clone()).unwrap_or_default();
            let second = second.get_mut(range.clone()).unwrap_or_default();
            if let Some((steps, decay)) = missed {
                decay_row(first, decay, steps);
                decay_row(second, decay, steps);
            }
            rule.apply(&mut weights[range], gradient, first, second);
        };
        let mut next = 0;
        for (word, gradient) in words.iter().zip(gradients.chunks_exact(row_size)) {
            let row = *word as usize - first_row;
            let missed = match &mut remaining {
                RemainingRows::Frozen => None,
                RemainingRows::Dense(zeros) => {
                    (next..row).for_each(|row| update(row, zeros, None));
                    next = row + 1;
                    None
                }
                RemainingRows::Lazy { steps_seen, steps, decay } => {
                    let seen = std::mem::replace(&mut steps_seen[row], *steps);
                    Some((*steps - 1 - seen, *decay))
                }
            };
            update(row, gradient, missed);
        }
        if let RemainingRows::Dense(zeros) = remaining {
            (next..count).for_each(|row| update(row, zeros, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lazy updates give the same bits as dense updates.
    #[test]
    fn lazy_rows_catch_up_exactly() {
        const ROW: usize = 5;
        const ROWS: usize = 7;
        let (rho, decay) = (0.9, 1.0 - 0.9);
        for (slots, update) in [
            (2, Update::Adadelta { rho, epsilon: 1e-6, step: 0.7 }),
            (1, Update::Rmsprop { rho, epsilon: 1e-7, momentum: 0.0, step: 0.01 }),
        ] {
            let rule = Rule { factor: 0.5, l2: 0.0, decoupled: 1.0, update };
            let slot = |index| vec![0.0; if index < slots { ROWS * ROW } else { 0 }];
            let start = || (vec![0.25_f32; ROWS * ROW], slot(0), slot(1));
            let (mut dense, mut lazy, mut steps_seen) = (start(), start(), vec![0; ROWS]);
            let zeros = [0.0; ROW];
            let steps = 60;
            for step in 1..=steps {
                let words: Vec<u32> =
                    (0..ROWS as u32).filter(|word| step % (3 * word + 2) == 1).collect();
                let values: Vec<f32> = (0..words.len() * ROW)
                    .map(|at| ((at as u32 * 7 + step) as f32).sin())
                    .collect();
                let steps_seen = &mut steps_seen;
                for (all, remaining) in [
                    (&mut dense, RemainingRows::Dense(&zeros)),
                    (&mut lazy, RemainingRows::Lazy { steps_seen, steps: step, decay }),
                ] {
                    let (weights, first, second) = all;
                    Instructions::best().run(EmbeddingUpdate {
                        rule,
                        row_size: ROW,
                        first_row: 0,
                        weights,
                        words: &words,
                        gradients: &values,
                        remaining,
                        first,
                        second,
                    });
                }
            }
            assert!(steps_seen.iter().any(|seen| *seen < steps), "some row must be behind");
            for (row, seen) in steps_seen.iter().enumerate() {
                for slot in [&mut lazy.1, &mut lazy.2] {
                    let state = slot.get_mut(row * ROW..(row + 1) * ROW).unwrap_or_default();
                    decay_row(state, decay, steps - seen);
                }
            }
            assert_eq!(dense, lazy);
            assert!(dense.0.iter().all(|weight| *weight != 0.25), "every row must have changed");
        }
    }
}

//! Optimizers over plain numbers, with the arithmetic of `torch.optim`.
//!
//! The embedding is large and a batch has few of its words. With `train.sparse_embedding` only the
//! rows of these words change, as `torch.optim.SparseAdam` has it; all other rows keep their
//! weights and their memory. Without, every row takes part in every step, most of them with a
//! gradient of zero. Where a gradient of zero leaves the weights as they are (AdaDelta, and RMSprop
//! and SGD without momentum or decay), a row only catches up, with the same arithmetic, on what its
//! memory missed when it has a gradient again.

use anyhow::{bail, ensure};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::network::{Gradients, Network, Parameter};
use crate::backend::kernel::Instructions;
use crate::config::{OptimizerKind, TrainConfig};
use crate::model::named_tensors::NamedTensor;

/// Numbers that a thread changes at a time.
const CHUNK: usize = 1 << 14;
/// Pieces into which an embedding is cut for each thread.
const PARTS: usize = 4;

/// The optimizer and its memory.
pub struct Optimizer {
    config: TrainConfig,
    instructions: Instructions,
    /// The names of the memory of each number.
    slots: Vec<&'static str>,
    /// For each trainable parameter its memory, slot by slot.
    memory: Vec<Memory>,
    steps: u32,
}

struct Memory {
    /// The number of the parameter.
    parameter: usize,
    slots: [Vec<f32>; 2],
    /// For each row the steps that it has taken part in, where rows catch up.
    taken: Vec<u32>,
}

impl Optimizer {
    /// The optimizer that the configuration names, with empty memory.
    pub fn new(config: &TrainConfig, parameters: &[Parameter], instructions: Instructions) -> Self {
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
        let memory = trained.map(|(number, parameter)| {
            let numbers = |slot: usize| {
                vec![0.0; if slot < slots.len() { parameter.array.values.len() } else { 0 }]
            };
            Memory { parameter: number, slots: [numbers(0), numbers(1)], taken: Vec::new() }
        });
        let memory = memory.collect();
        Self { config: config.clone(), instructions, slots, memory, steps: 0 }
    }

    /// Changes the weights by one step against `factor` times the gradients.
    pub fn step(
        &mut self,
        network: &mut Network,
        gradients: &Gradients,
        learning_rate: f64,
        factor: f32,
    ) {
        self.steps += 1;
        let rule = self.rule(learning_rate, factor);
        let (instructions, steps, rests) = (self.instructions, self.steps, self.rests());
        for memory in &mut self.memory {
            let weights = &mut network.parameters_mut()[memory.parameter].array;
            let row = weights.shape.get(1).copied().unwrap_or(1);
            let weights = &mut weights.values[..];
            let [first, second] = &mut memory.slots;
            let rows = gradients.rows.iter().find(|rows| rows.parameter == memory.parameter);
            match rows {
                None => {
                    let gradients = &gradients.dense[memory.parameter];
                    let (mut first, mut second) =
                        (first.chunks_mut(CHUNK), second.chunks_mut(CHUNK));
                    let parts = weights.chunks_mut(CHUNK).zip(gradients.chunks(CHUNK));
                    let parts = parts.map(|(weights, gradients)| Step {
                        rule,
                        weights,
                        gradients,
                        first: first.next().unwrap_or_default(),
                        second: second.next().unwrap_or_default(),
                    });
                    let parts: Vec<Step> = parts.collect();
                    parts.into_par_iter().for_each(|part| instructions.run(part));
                }
                Some(rows) => {
                    let zeros = vec![0.0; row];
                    let count = weights.len() / row;
                    let many = count.div_ceil(PARTS * rayon::current_num_threads()).max(1);
                    let mut first = first.chunks_mut(many * row);
                    let mut second = second.chunks_mut(many * row);
                    if rests.is_some() {
                        memory.taken.resize(count, steps - 1);
                    }
                    let mut taken = memory.taken.chunks_mut(many);
                    let mut words = &rows.words[..];
                    let mut gradients = &rows.values[..];
                    let parts = weights.chunks_mut(many * row).enumerate();
                    let parts = parts.map(|(number, weights)| {
                        let start = number * many;
                        let here = words.partition_point(|word| (*word as usize) < start + many);
                        Rows {
                            rule,
                            row,
                            start,
                            weights,
                            words: words.split_off(..here).unwrap_or_default(),
                            gradients: gradients.split_off(..here * row).unwrap_or_default(),
                            others: match rests {
                                _ if self.config.sparse_embedding => RemainingRows::Frozen,
                                Some(rate) => RemainingRows::Lazy {
                                    taken: taken.next().unwrap_or_default(),
                                    steps,
                                    rate,
                                },
                                None => RemainingRows::Dense(&zeros),
                            },
                            first: first.next().unwrap_or_default(),
                            second: second.next().unwrap_or_default(),
                        }
                    });
                    let parts: Vec<Rows> = parts.collect();
                    parts.into_par_iter().for_each(|part| instructions.run(part));
                }
            }
        }
    }

    /// Where a gradient of zero changes no weight: what share of the memory it takes away.
    fn rests(&self) -> Option<f32> {
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

    /// The memory, as `exp_avg.embedding.weight` and so on.
    pub fn state(&mut self, parameters: &[Parameter]) -> Vec<NamedTensor> {
        self.catch_up(parameters);
        let slots = 0..self.slots.len();
        let slots =
            slots.flat_map(|slot| self.memory.iter().map(move |own| own.slots[slot].clone()));
        let steps = self.memory.iter().map(|_| vec![self.steps as f32]);
        let values = slots.chain(steps);
        let named = self.layout(parameters).into_iter().zip(values);
        named.map(|((name, shape), values)| NamedTensor { name, shape, values }).collect()
    }

    /// The names and shapes of the memory.
    fn layout(&self, parameters: &[Parameter]) -> Vec<(String, Vec<usize>)> {
        let own = |memory: &Memory| &parameters[memory.parameter].array;
        let mut layout = Vec::new();
        for slot in &self.slots {
            let arrays = self.memory.iter().map(own);
            layout.extend(arrays.map(|own| (format!("{slot}.{}", own.name), own.shape.clone())));
        }
        if self.counts_steps() {
            let arrays = self.memory.iter().map(own);
            layout.extend(arrays.map(|own| (format!("step.{}", own.name), Vec::new())));
        }
        layout
    }

    /// Lets all rows see the steps that they rested.
    fn catch_up(&mut self, parameters: &[Parameter]) {
        let Some(rate) = self.rests() else { return };
        for Memory { parameter, slots, taken } in &mut self.memory {
            let row = parameters[*parameter].array.shape.get(1).copied().unwrap_or(1);
            for slot in slots.iter_mut().filter(|slot| !slot.is_empty()) {
                let rows = slot.par_chunks_mut(row).zip(&*taken);
                rows.for_each(|(row, taken)| rest(row, rate, self.steps - taken));
            }
            taken.fill(self.steps);
        }
    }

    fn counts_steps(&self) -> bool {
        matches!(self.config.optimizer, OptimizerKind::Adam | OptimizerKind::Adamw)
    }

    /// Takes the memory of an earlier run.
    ///
    /// # Errors
    /// Where it is the memory of another optimizer or another model.
    pub fn load(
        &mut self,
        parameters: &[Parameter],
        arrays: Vec<NamedTensor>,
    ) -> anyhow::Result<()> {
        let expected = self.layout(parameters);
        ensure!(
            expected.len() == arrays.len(),
            "the optimizer state has {} tensors, {} needs {}",
            arrays.len(),
            self.config.optimizer.as_str(),
            expected.len()
        );
        let mut given: std::collections::HashMap<String, NamedTensor> =
            arrays.into_iter().map(|array| (array.name.clone(), array)).collect();
        let mut take = |(name, shape): &(String, Vec<usize>)| match given.remove(name) {
            Some(array) if array.shape == *shape => Ok(array.values),
            Some(_) => bail!("{name} has another shape in the optimizer state"),
            None => bail!("the optimizer state lacks {name}"),
        };
        let (slots, steps) = expected.split_at(self.slots.len() * self.memory.len());
        for (number, own) in slots.iter().enumerate() {
            let (slot, memory) = (number / self.memory.len(), number % self.memory.len());
            self.memory[memory].slots[slot] = take(own)?;
        }
        for own in steps {
            self.steps = take(own)?[0] as u32;
        }
        self.memory.iter_mut().for_each(|memory| memory.taken.clear());
        Ok(())
    }
}

/// One step of some numbers.
#[derive(Clone, Copy)]
struct Rule {
    /// What gradients are multiplied by first.
    factor: f32,
    /// What share of the weights is added to the gradients.
    l2: f32,
    /// What is left of the weights before the step.
    decoupled: f32,
    update: Update,
}

#[derive(Clone, Copy)]
enum Update {
    Adam { beta1: f32, beta2: f32, step: f32, root: f32, epsilon: f32 },
    Rmsprop { rho: f32, epsilon: f32, momentum: f32, step: f32 },
    Adadelta { rho: f32, epsilon: f32, step: f32 },
    Sgd { momentum: f32, nesterov: bool, step: f32 },
}

impl Rule {
    /// Plain loops: inside [`WithSimd`] the compiler makes vector instructions of them.
    #[inline(always)]
    fn apply(self, weights: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32]) {
        let Self { factor, l2, decoupled, update } = self;
        let all = weights.iter_mut().zip(gradients);
        match update {
            // Kingma and Ba 2015; Loshchilov and Hutter 2019 with decoupled decay.
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

/// A step of numbers that all have a gradient.
struct Step<'a> {
    rule: Rule,
    weights: &'a mut [f32],
    gradients: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.rule.apply(self.weights, self.gradients, self.first, self.second);
    }
}

/// What so many gradients of zero leave of the memory of a row.
#[inline(always)]
fn rest(memory: &mut [f32], rate: f32, steps: u32) {
    for _ in 0..steps {
        let mut changed = false;
        for value in &mut *memory {
            let before = *value;
            *value += (0.0 - *value) * rate;
            changed |= *value != before;
        }
        if !changed {
            break;
        }
    }
}

/// A step of some neighbouring rows of an embedding.
struct Rows<'a> {
    rule: Rule,
    /// The numbers in a row.
    row: usize,
    /// The number of the first row.
    start: usize,
    weights: &'a mut [f32],
    /// The rows that have a gradient, in order, and these.
    words: &'a [u32],
    gradients: &'a [f32],
    others: RemainingRows<'a>,
    first: &'a mut [f32],
    second: &'a mut [f32],
}

/// What becomes of the rows that have no gradient.
enum RemainingRows<'a> {
    /// They keep everything.
    Frozen,
    /// They take a step with this gradient, of zeros.
    Dense(&'a [f32]),
    /// Their weights would stay, and their memory shrink by `rate` at each step. So they wait: of
    /// `steps` each has seen `taken`.
    Lazy { taken: &'a mut [u32], steps: u32, rate: f32 },
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rule, row, start, weights, words, gradients, mut others, first, second } = self;
        let count = weights.len() / row;
        let mut step = |number: usize, gradient: &[f32], missed: Option<(u32, f32)>| {
            let here = number * row..(number + 1) * row;
            let first = first.get_mut(here.clone()).unwrap_or_default();
            let second = second.get_mut(here.clone()).unwrap_or_default();
            if let Some((steps, rate)) = missed {
                rest(first, rate, steps);
                rest(second, rate, steps);
            }
            rule.apply(&mut weights[here], gradient, first, second);
        };
        let mut next = 0;
        for (word, gradient) in words.iter().zip(gradients.chunks_exact(row)) {
            let number = *word as usize - start;
            let missed = match &mut others {
                RemainingRows::Frozen => None,
                RemainingRows::Dense(zeros) => {
                    (next..number).for_each(|number| step(number, zeros, None));
                    next = number + 1;
                    None
                }
                RemainingRows::Lazy { taken, steps, rate } => {
                    let before = std::mem::replace(&mut taken[number], *steps);
                    Some((*steps - 1 - before, *rate))
                }
            };
            step(number, gradient, missed);
        }
        if let RemainingRows::Dense(zeros) = others {
            (next..count).for_each(|number| step(number, zeros, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that wait for a gradient and catch up end with the same bits as rows that take every
    /// step.
    #[test]
    fn rows_that_rest_miss_nothing() {
        const ROW: usize = 5;
        const ROWS: usize = 7;
        let (rho, rate) = (0.9, 1.0 - 0.9);
        for (slots, update) in [
            (2, Update::Adadelta { rho, epsilon: 1e-6, step: 0.7 }),
            (1, Update::Rmsprop { rho, epsilon: 1e-7, momentum: 0.0, step: 0.01 }),
        ] {
            let rule = Rule { factor: 0.5, l2: 0.0, decoupled: 1.0, update };
            let slot = |number| vec![0.0; if number < slots { ROWS * ROW } else { 0 }];
            let begin = || (vec![0.25_f32; ROWS * ROW], slot(0), slot(1));
            let (mut moved, mut rested, mut taken) = (begin(), begin(), vec![0; ROWS]);
            let zeros = [0.0; ROW];
            let steps = 60;
            for step in 1..=steps {
                let words: Vec<u32> =
                    (0..ROWS as u32).filter(|word| step % (3 * word + 2) == 1).collect();
                let values: Vec<f32> = (0..words.len() * ROW)
                    .map(|at| ((at as u32 * 7 + step) as f32).sin())
                    .collect();
                for (all, others) in [
                    (&mut moved, RemainingRows::Dense(&zeros)),
                    (&mut rested, RemainingRows::Lazy { taken: &mut taken, steps: step, rate }),
                ] {
                    let (weights, first, second) = all;
                    let (words, gradients) = (&words[..], &values[..]);
                    let rows = Rows {
                        rule,
                        row: ROW,
                        start: 0,
                        weights,
                        words,
                        gradients,
                        others,
                        first,
                        second,
                    };
                    Instructions::best().run(rows);
                }
            }
            assert!(taken.iter().any(|taken| *taken < steps), "some row is behind");
            for (number, taken) in taken.iter().enumerate() {
                for slot in [&mut rested.1, &mut rested.2] {
                    let row = slot.get_mut(number * ROW..(number + 1) * ROW).unwrap_or_default();
                    rest(row, rate, steps - taken);
                }
            }
            assert_eq!(moved, rested);
            assert!(moved.0.iter().all(|weight| *weight != 0.25), "every row has moved");
        }
    }
}

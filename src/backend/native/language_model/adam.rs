//! Adam (Kingma and Ba 2015) with the settings for language models. Other optimizers don't belong here.

use rayon::prelude::*;

use crate::backend::kernel::Instructions;
use crate::backend::language_model::{BETAS, EPSILON, adam_layout};
use crate::backend::native::gradients::Gradients;
use crate::backend::native::update::{DenseUpdate, EmbeddingUpdate, RemainingRows, Rule, Update};
use crate::backend::native::weight::Weight;
use crate::backend::tensors_in_order;
use crate::model::NamedTensor;

/// Adam and its state. Rows without a gradient keep their weights and their state, as in `torch.optim.SparseAdam`.
pub struct Adam {
    instructions: Instructions,
    /// State of each trainable weight.
    states: Vec<State>,
}

/// State of a weight.
struct State {
    /// Index of the weight.
    index: usize,
    steps: u32,
    /// Running means of the gradient and of its square.
    moments: [Vec<f32>; 2],
}

impl Adam {
    /// Creates the initial state.
    pub fn new(weights: &[Weight], instructions: Instructions) -> Self {
        let trained = weights.iter().enumerate().filter(|(_, weight)| weight.trainable);
        let states = trained.map(|(index, weight)| {
            let moments = [0, 1].map(|_| vec![0.0; weight.tensor.values.len()]);
            State { index, steps: 0, moments }
        });
        Self { instructions, states: states.collect() }
    }

    /// Updates the weights by one step, with `factor` times the gradients.
    pub fn step(
        &mut self,
        weights: &mut [Weight],
        gradients: &Gradients,
        learning_rate: f64,
        factor: f32,
    ) {
        let instructions = self.instructions;
        for State { index, steps, moments: [first, second] } in &mut self.states {
            *steps += 1;
            let rule = rule(*steps, learning_rate, factor);
            let NamedTensor { values: weights, shape, .. } = &mut weights[*index].tensor;
            let deviations = &mut [][..];
            match gradients.rows_of(*index) {
                None => {
                    let gradients = &gradients.dense[*index];
                    let update =
                        DenseUpdate { rule, weights, gradients, first, second, deviations };
                    update.parts().into_par_iter().for_each(|part| instructions.run(part));
                }
                Some(rows) => {
                    let update = EmbeddingUpdate {
                        rule,
                        row_size: shape.get(1).copied().unwrap_or(1),
                        first_row: 0,
                        weights,
                        words: &rows.words,
                        gradients: &rows.values,
                        remaining: RemainingRows::Frozen,
                        first,
                        second,
                        deviations,
                    };
                    update.parts().into_par_iter().for_each(|part| instructions.run(part));
                }
            }
        }
    }

    /// Returns the state under names such as `exp_avg.embedding.weight`.
    pub fn state(&self, weights: &[Weight]) -> Vec<NamedTensor> {
        let moments = [0, 1].map(|slot| self.states.iter().map(move |s| s.moments[slot].clone()));
        let steps = self.states.iter().map(|state| vec![state.steps as f32]);
        let values = moments.into_iter().flatten().chain(steps);
        let named = self.layout(weights).into_iter().zip(values);
        named.map(|((name, shape), values)| NamedTensor { name, shape, values }).collect()
    }

    /// Returns the names and shapes of the state tensors.
    fn layout(&self, weights: &[Weight]) -> Vec<(String, Vec<usize>)> {
        let trained = self.states.iter().map(|state| &weights[state.index].tensor);
        let trained: Vec<_> = trained.map(|tensor| (&*tensor.name, &*tensor.shape)).collect();
        adam_layout(&trained)
    }

    /// Restores the state of an earlier run.
    ///
    /// # Errors
    /// Returns an error if the state belongs to another model.
    pub fn load(&mut self, weights: &[Weight], state: Vec<NamedTensor>) -> anyhow::Result<()> {
        let mut tensors = tensors_in_order(&self.layout(weights), state)?.into_iter();
        for slot in 0..BETAS.len() {
            for (state, tensor) in self.states.iter_mut().zip(&mut tensors) {
                state.moments[slot] = tensor.values;
            }
        }
        for (state, tensor) in self.states.iter_mut().zip(tensors) {
            state.steps = tensor.values[0] as u32;
        }
        Ok(())
    }
}

/// Returns the update rule of a step, counted from 1.
fn rule(steps: u32, learning_rate: f64, factor: f32) -> Rule {
    let [beta1, beta2] = BETAS;
    let steps = f64::from(steps);
    let update = Update::Adam {
        beta1: beta1 as f32,
        beta2: beta2 as f32,
        step: (learning_rate / (1.0 - beta1.powf(steps))) as f32,
        root: (1.0 / (1.0 - beta2.powf(steps)).sqrt()) as f32,
        epsilon: EPSILON as f32,
    };
    Rule { factor, l2: 0.0, decoupled: 1.0, change: 0.0, update }
}

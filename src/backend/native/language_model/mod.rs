//! Training of language models on the CPU: one LSTM for each direction, tied word vectors, sampled softmax, and Adam.
//! Reading texts, schedules and checkpoints don't belong here.
//!
//! A step of B rows and T tokens per row:
//!
//! 1. The rows of each direction are cut into shards ([`shard`]), which threads compute concurrently. Each shard
//!    numbers its distinct words.
//! 2. The negatives of the step are drawn, and their vectors packed ([`negatives`]). Dropout masks are functions of
//!    the position of a value ([`DropoutMasks`]); dropped recurrent weights are packed anew.
//! 3. For each shard, the layers run forward from the states after the batch before ([`layers`]). The softmax computes
//!    the loss, its own gradients and that of the hidden states ([`softmax`]), and the layers run backward.
//! 4. If several processes train, each has computed some of the shards, and receives the others ([`exchange`]).
//! 5. The gradients of the shards are added up in order ([`gradients`]), clipped, and applied ([`adam`]).
//!
//! The loss of a direction is the mean over its B · T tokens; the gradient is that of the sum over the directions.

mod adam;
mod exchange;
mod gradients;
mod joint;
mod layers;
mod model;
mod negatives;
mod shard;
mod softmax;
mod states;
#[cfg(test)]
mod tests;

use std::time::Instant;

use rayon::prelude::*;

use self::adam::Adam;
use self::exchange::exchange;
pub use self::joint::JointLanguageModel;
use self::model::Model;
use self::negatives::Negatives;
use self::shard::Shard;
use self::states::States;
use super::gradients::Gradients;
use super::network::operand_format;
use super::row_numbers::RowNumbers;
use crate::backend::kernel::{Instructions, OperandFormat};
use crate::backend::language_model::{
    CarriedState, DropoutMasks, NegativeSampler, carried_states, split_state,
};
use crate::backend::{
    LanguageModelBatch, LanguageModelLearner, LanguageModelSettings, LanguageModelStats, Times,
};
use crate::distributed::{Group, Worker};
use crate::model::{LanguageModelSpec, NamedTensor};

/// A language model on the CPU that is being trained.
pub struct NativeLanguageModel {
    model: Model,
    settings: LanguageModelSettings,
    /// Tensors of the states of training.
    carried_states: Vec<CarriedState>,
    adam: Adam,
    negatives: Negatives,
    /// Format of operands in training.
    format: OperandFormat,
    /// States of training of each direction.
    states: Vec<States>,
    /// States of [`LanguageModelLearner::score`] of each direction.
    score_states: Vec<States>,
    /// Shards of the current batch, those of one direction after the other.
    shards: Vec<Shard>,
    row_numbers: RowNumbers,
    gradients: Gradients,
    times: Times,
}

impl NativeLanguageModel {
    /// Creates the language model of `spec`, which starts training from these weights.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the model, or if the settings are not usable.
    pub fn new(
        spec: &LanguageModelSpec,
        settings: LanguageModelSettings,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<Self> {
        Self::with_instructions(spec, settings, weights, Instructions::best())
    }

    fn with_instructions(
        spec: &LanguageModelSpec,
        settings: LanguageModelSettings,
        weights: Vec<NamedTensor>,
        instructions: Instructions,
    ) -> anyhow::Result<Self> {
        settings.check(spec.vocabulary_size)?;
        let LanguageModelSettings { rows, negatives, counts, seed, .. } = &settings;
        let sampler = NegativeSampler::new(counts, *negatives, *seed)?;
        let format = operand_format(settings.precision, instructions);
        let model = Model::new(spec, weights, instructions, format)?;
        let mut learner = Self {
            carried_states: carried_states(spec, *rows),
            adam: Adam::new(&model.weights, instructions),
            negatives: Negatives::new(sampler, format),
            format,
            states: Vec::new(),
            score_states: Vec::new(),
            shards: Vec::new(),
            row_numbers: RowNumbers::new(spec.vocabulary_size),
            gradients: Gradients::default(),
            times: Times::default(),
            settings,
            model,
        };
        learner.states = learner.zero_states(learner.settings.rows);
        Ok(learner)
    }

    /// Returns states of zero of each direction.
    fn zero_states(&self, rows: usize) -> Vec<States> {
        let zeros = |direction: &model::Direction| {
            States::zeros(direction.cells.len(), rows, self.model.padded_units())
        };
        self.model.directions.iter().map(zeros).collect()
    }

    /// Cuts the rows of a batch into shards.
    fn shard(&mut self, batch: &LanguageModelBatch) {
        let (rows, steps, directions) = (batch.rows, batch.steps(), self.model.directions.len());
        let shards = self.settings.shards.clamp(1, rows);
        self.shards.resize_with(directions * shards, Shard::default);
        for (index, shard) in self.shards.iter_mut().enumerate() {
            let (direction, index) = (index / shards, index % shards);
            let range = rows * index / shards..rows * (index + 1) / shards;
            let ids = &batch.ids[direction];
            shard.begin(direction, range, ids, steps, &mut self.row_numbers);
        }
    }

    /// Computes the gradients of a step. Returns the mean loss of each direction, and true if a process is to stop. If
    /// recurrent weights are dropped, the model must be packed before it is used for anything else.
    fn compute_gradients(
        &mut self,
        batch: &LanguageModelBatch,
        step: u64,
        group: Group,
    ) -> anyhow::Result<(Vec<f64>, bool)> {
        self.settings.check_batch(batch, self.model.directions.len())?;
        self.model.set_format(self.format);
        let start = Instant::now();
        self.shard(batch);
        self.negatives.draw(step, &self.model);
        let masks = self.masks(step);
        if masks.drops_weights() {
            self.model.drop_recurrent_weights(&masks);
        }
        self.times.add("draw", start.elapsed().as_secs_f64());
        let Self { model, negatives, states, shards, times, .. } = self;
        let factor = 1.0 / batch.tokens() as f32;
        let (count, worker) = (shards.len(), group.collective.worker());
        let start = Instant::now();
        let own = &mut shards[worker.part_of(count)];
        own.par_iter_mut().with_max_len(1).for_each(|shard| {
            let output_bias = model.values(model.directions[shard.direction].output_bias_index());
            let bias = |word| output_bias[word as usize] - negatives.log_inclusion(word);
            let mut times = std::mem::take(&mut shard.times);
            times.measure("embed", || shard.look_up(model, bias));
            let before = &states[shard.direction];
            times.measure("forward", || model.layers_forward(shard, before, Some(&masks)));
            times.measure("softmax", || model.sampled_softmax(shard, negatives, &masks, factor));
            times.measure("backward", || model.layers_backward(shard));
            shard.times = times;
        });
        let threads = rayon::current_num_threads().min(own.len().max(1));
        let parts = own.iter_mut().flat_map(|shard| shard.times.0.drain(..));
        times.add_parallel(parts, threads, start.elapsed().as_secs_f64());
        let mut stop_requested = group.stop;
        if !group.collective.is_alone() {
            let shards_of = |rank| Worker { rank, ..worker }.part_of(count);
            stop_requested = times.measure("sum", || exchange(shards, shards_of, group))?;
        }
        let mut losses = vec![0.0; model.directions.len()];
        for shard in &*shards {
            losses[shard.direction] += shard.sums.loss / batch.tokens() as f64;
        }
        // States that are not finite would make all following steps useless.
        if losses.iter().all(|loss| loss.is_finite()) {
            shards.iter().for_each(|shard| shard.store_states(&mut states[shard.direction]));
        }
        let (row_numbers, gradients) = (&mut self.row_numbers, &mut self.gradients);
        times.measure("merge", || {
            model.collect_gradients(shards, negatives, &masks, row_numbers, gradients);
        });
        Ok((losses, stop_requested))
    }

    /// Scores the current shards in single precision, and continues the states of scores.
    fn scores(&mut self) -> Vec<Vec<f64>> {
        let Self { model, score_states: states, shards, .. } = self;
        let score = |shard: &mut Shard| {
            let output_bias = model.values(model.directions[shard.direction].output_bias_index());
            shard.look_up(model, |word| output_bias[word as usize]);
            model.layers_forward(shard, &states[shard.direction], None);
            let mut scores = vec![0.0; shard.rows.len()];
            model.score(shard, &mut scores);
            scores
        };
        // Shards are in the order of directions, then of rows.
        let scores: Vec<Vec<f64>> = shards.par_iter_mut().with_max_len(1).map(score).collect();
        shards.iter().for_each(|shard| shard.store_states(&mut states[shard.direction]));
        let of_directions = scores.chunks(shards.len() / model.directions.len());
        of_directions.map(<[Vec<f64>]>::concat).collect()
    }

    /// Returns the dropout masks of a step.
    fn masks(&self, step: u64) -> DropoutMasks {
        DropoutMasks::new(self.settings.seed, step, &self.settings.dropout)
    }
}

impl LanguageModelLearner for NativeLanguageModel {
    fn step(
        &mut self,
        batch: &LanguageModelBatch,
        step: u64,
        learning_rate: f64,
        group: Group,
    ) -> anyhow::Result<LanguageModelStats> {
        let (losses, stop_requested) = self.compute_gradients(batch, step, group)?;
        let gradient_norm = self.times.measure("clip", || self.gradients.norm());
        let stats = LanguageModelStats { losses, gradient_norm, stop_requested };
        if stats.is_finite() {
            let factor = match self.settings.gradient_clip {
                Some(limit) if stats.gradient_norm > limit => (limit / stats.gradient_norm) as f32,
                _ => 1.0,
            };
            self.times.measure("optimizer", || {
                self.adam.step(&mut self.model.weights, &self.gradients, learning_rate, factor);
            });
        }
        if stats.is_finite() || self.masks(step).drops_weights() {
            self.times.measure("pack", || self.model.pack());
        }
        Ok(stats)
    }

    fn score(&mut self, batch: &LanguageModelBatch, starts: bool) -> anyhow::Result<Vec<Vec<f64>>> {
        batch.check(self.model.directions.len(), self.model.vocabulary_size)?;
        self.shard(batch);
        let before = self.score_states.first().map_or(0, States::rows);
        if starts {
            self.score_states = self.zero_states(batch.rows);
        } else {
            batch.check_continuation(before)?;
        }
        self.model.set_format(OperandFormat::Float);
        Ok(self.scores())
    }

    fn reset_states(&mut self) {
        self.states.iter_mut().for_each(States::reset);
    }

    fn weights(&self) -> Vec<NamedTensor> {
        self.model.weights.iter().map(|weight| weight.tensor.clone()).collect()
    }

    fn optimizer_state(&mut self) -> Vec<NamedTensor> {
        let states = self.carried_states.iter().map(|state| {
            let CarriedState { direction, layer, kind, name, shape } = state;
            let values = self.states[*direction].values(*layer, *kind, shape[1]);
            NamedTensor { name: name.clone(), shape: shape.to_vec(), values }
        });
        self.adam.state(&self.model.weights).into_iter().chain(states).collect()
    }

    fn load_optimizer_state(&mut self, state: Vec<NamedTensor>) -> anyhow::Result<()> {
        let (carried, of_adam) = split_state(&self.carried_states, state)?;
        self.adam.load(&self.model.weights, of_adam)?;
        for (CarriedState { direction, layer, kind, shape, .. }, tensor) in
            self.carried_states.iter().zip(carried)
        {
            self.states[*direction].set_values(*layer, *kind, shape[1], &tensor.values);
        }
        Ok(())
    }

    fn times(&self) -> Times {
        self.times.clone()
    }
}

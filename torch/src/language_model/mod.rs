//! Training of language models with libtorch, on the CPU or a CUDA device: the same steps as those of the native
//! backend, with the same negatives and dropout masks. Reading texts, schedules and checkpoints don't belong here.
//!
//! A step of B rows and T tokens per row:
//!
//! 1. The host draws the negatives, and collects the distinct words of the step (`batch`) and the dropout masks
//!    (`masks`).
//! 2. The vectors of the distinct words, [U, E], are copied from the embedding, and the gradient is taken with respect
//!    to the copy.
//! 3. The layers run from the states after the batch before (`model`), and the sampled softmax computes the loss
//!    (`softmax`).
//! 4. If several processes train, each has computed some of the rows, and their results are summed (`results`).
//! 5. The gradient of the sum of the losses over the directions is clipped and applied (`adam`).
//! 6. The host reads losses and gradient norm. With Gloo, it has also waited for the device in step 4.

mod adam;
mod batch;
mod joint;
mod masks;
mod model;
mod results;
mod softmax;

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use self::adam::{Adam, Gradient};
use self::batch::{StepBatch, ids_on, time_major};
pub use self::joint::JointLanguageModel;
use self::masks::DirectionMasks;
use self::model::{LanguageModel, States};
use self::results::StepResults;
use self::softmax::{look_up, negative_log_probabilities, sampled_loss};
use crate::libtorch::{BatchContext, BatchKind, with_batch_context};
use crate::optimizer::clip;
use crate::tensors::{to_named_tensors, to_tensors, values};
use lstmtext::backend::language_model::{
    CarriedState, DropoutMasks, NegativeSampler, carried_states, check_precision, check_processes,
    split_state,
};
use lstmtext::backend::{
    LanguageModelBatch, LanguageModelLearner, LanguageModelSettings, LanguageModelStats, Times,
};
use lstmtext::config::Precision;
use lstmtext::distributed::Group;
use lstmtext::model::{LanguageModelSpec, NamedTensor};

/// A language model in libtorch that is being trained.
pub struct TorchLanguageModel {
    model: LanguageModel,
    settings: LanguageModelSettings,
    sampler: NegativeSampler,
    adam: Adam,
    /// Tensors of the states of training.
    carried_states: Vec<CarriedState>,
    /// States of training of each direction.
    states: Vec<States>,
    /// States of [`LanguageModelLearner::score`] of each direction.
    score_states: Vec<States>,
    /// Data type in which the LSTMs and large products are computed in training.
    kind: Kind,
}

/// Losses and end of a forward pass in training.
struct Forward {
    /// Mean loss of each direction, float [].
    losses: Vec<Tensor>,
    /// States of each direction after the batch.
    states: Vec<States>,
}

impl TorchLanguageModel {
    /// Creates the language model of `spec` on a device, which starts training from these weights.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the model, or if the settings cannot be used.
    pub fn new(
        spec: &LanguageModelSpec,
        settings: LanguageModelSettings,
        weights: Vec<NamedTensor>,
        device: Device,
    ) -> anyhow::Result<Self> {
        Self::of(spec, settings, LanguageModel::new(spec, weights, device)?)
    }

    /// Creates a language model with these weights.
    fn of(
        spec: &LanguageModelSpec,
        settings: LanguageModelSettings,
        model: LanguageModel,
    ) -> anyhow::Result<Self> {
        check_precision(settings.precision)?;
        settings.check(spec.vocabulary_size)?;
        let LanguageModelSettings { rows, negatives, counts, seed, .. } = &settings;
        Ok(Self {
            sampler: NegativeSampler::new(counts, *negatives, *seed)?,
            adam: Adam::new(model.trained()),
            carried_states: carried_states(spec, *rows),
            states: model.zero_states(*rows),
            score_states: Vec::new(),
            kind: match settings.precision {
                Precision::Bf16 => Kind::BFloat16,
                Precision::Fp32 | Precision::Tf32 | Precision::Fp16 => Kind::Float,
            },
            settings,
            model,
        })
    }

    /// Computes the losses of some rows of a batch of T steps, from copies of the rows of the embedding [U, E] and of
    /// the output bias of each direction [O].
    fn forward(
        &self,
        (rows, steps): (&Range<usize>, usize),
        step: &StepBatch,
        masks: &DropoutMasks,
        vectors: &Tensor,
        output_biases: &[Tensor],
    ) -> Forward {
        let inputs = match &step.word_factors {
            Some(factors) => vectors * factors,
            None => vectors.shallow_clone(),
        };
        let mut forward = Forward { losses: Vec::new(), states: Vec::new() };
        for (index, (weights, bias)) in self.model.directions.iter().zip(output_biases).enumerate()
        {
            let tokens = &step.directions[index];
            let shape = weights.mask_shape(rows.clone(), steps);
            let masks = DirectionMasks::draw(masks, index, shape, self.model.device());
            let inputs = look_up(&inputs, &tokens.inputs); // [T, B, E]
            let before = of_rows(&self.states[index], rows);
            let (hidden, states) = weights.run(&inputs, &before, Some(&masks), self.kind);
            let queries = weights.queries(&hidden); // [T·B, E]
            forward.losses.push(sampled_loss(&queries, vectors, bias, step, tokens));
            forward.states.push(states);
        }
        forward
    }

    /// Computes the gradients of a step, summed over the processes, of which each computes some of the rows. Returns
    /// the rows that each gradient has, too: in the order of the weights that are trained, the distinct words, or
    /// `None` for all rows.
    fn compute(
        &mut self,
        batch: &LanguageModelBatch,
        step: u64,
        group: Group,
    ) -> anyhow::Result<(StepResults, Vec<Option<Tensor>>)> {
        let rows = group.collective.worker().part_of(batch.rows);
        let LanguageModelSettings { seed, dropout, .. } = &self.settings;
        let masks = DropoutMasks::new(*seed, step, dropout);
        let device = self.model.device();
        let step = StepBatch::new(batch, &rows, &self.sampler, step, &masks, device);
        let copy = |table: &Tensor, rows: &Tensor| {
            table.index_select(0, rows).detach().set_requires_grad(true)
        };
        let vectors = copy(&self.model.embedding, &step.words);
        let directions = || self.model.directions.iter().zip(&step.directions);
        let output_biases: Vec<Tensor> = directions()
            .map(|(weights, tokens)| copy(&weights.output_bias, &tokens.output_words))
            .collect();
        let Forward { losses, states } =
            self.forward((&rows, batch.steps()), &step, &masks, &vectors, &output_biases);
        // In the order of the weights that are trained.
        let (mut leaves, mut leaf_rows) = (vec![vectors], vec![Some(step.words.shallow_clone())]);
        for ((weights, tokens), bias) in directions().zip(output_biases) {
            leaves.extend(weights.dense());
            leaf_rows.resize_with(leaves.len(), || None);
            leaves.push(bias);
            leaf_rows.push(Some(tokens.output_words.shallow_clone()));
        }
        let losses = Tensor::stack(&losses, 0) * (rows.len() as f64 / batch.rows as f64);
        let loss = losses.sum(Kind::Float);
        let gradients = Tensor::run_backward(&[&loss], &leaves, false, false);
        let stops = Tensor::full([1], f64::from(u8::from(group.stop)), (Kind::Float, device));
        let mut results = StepResults { gradients, losses: losses.detach(), states, stops };
        if !group.collective.is_alone() {
            results.sum(group.collective, &rows, batch.rows)?;
        }
        Ok((results, leaf_rows))
    }

    /// Performs a training step. Each process computes some of the rows.
    fn train(
        &mut self,
        batch: &LanguageModelBatch,
        step: u64,
        learning_rate: f64,
        group: Group,
    ) -> anyhow::Result<LanguageModelStats> {
        let (results, rows) = self.compute(batch, step, group)?;
        let StepResults { mut gradients, losses, states, stops } = results;
        let norm = clip(&mut gradients, self.settings.gradient_clip, None);
        let stats = Tensor::cat(&[losses, norm.view([1]), stops], 0);
        let skipped = stats.isfinite().all().logical_not().to_kind(Kind::Float);
        let gradients: Vec<Gradient> = gradients
            .into_iter()
            .zip(&rows)
            .map(|(values, rows)| Gradient { values, rows: rows.as_ref() })
            .collect();
        self.adam.step(&gradients, learning_rate, &skipped)?;
        let mut losses = values(&stats);
        let stop_requested = losses.pop().is_some_and(|stops| stops > 0.0);
        let gradient_norm = losses.pop().unwrap_or(f64::NAN);
        // States that are not finite would make all following steps useless.
        if losses.iter().all(|loss| loss.is_finite()) {
            self.states = states;
        }
        Ok(LanguageModelStats { losses, gradient_norm, stop_requested })
    }

    /// Computes the scores of a batch, and continues the states of scores.
    fn score_batch(&mut self, batch: &LanguageModelBatch) -> Vec<Vec<f64>> {
        let _no_grad = tch::no_grad_guard();
        let device = self.model.device();
        let mut scores = Vec::new();
        for (index, (weights, ids)) in self.model.directions.iter().zip(&batch.ids).enumerate() {
            let (inputs, targets) = time_major(ids, batch.rows);
            let [inputs, targets] = [inputs, targets].map(|ids| ids_on(&ids, device));
            let inputs = look_up(&self.model.embedding, &inputs.view([-1, batch.rows as i64]));
            let states = &mut self.score_states[index];
            let (hidden, ends) = weights.run(&inputs, states, None, Kind::Float);
            *states = ends;
            let queries = weights.queries(&hidden);
            let losses = negative_log_probabilities(&self.model, index, &queries, &targets);
            let losses = losses.view([-1, batch.rows as i64]); // [T, B]
            scores.push(losses.sum_dim_intlist([0_i64].as_slice(), false, Kind::Double));
        }
        scores.iter().map(values).collect()
    }

    /// Checks that the processes can train on a batch.
    fn check(&self, batch: &LanguageModelBatch, group: Group) -> anyhow::Result<()> {
        self.settings.check_batch(batch, self.model.directions.len())?;
        check_processes(batch.rows, group.collective.worker().world_size)
    }

    /// Describes a batch for error messages.
    fn context(batch: &LanguageModelBatch) -> BatchContext {
        let kind = BatchKind::LanguageModel;
        BatchContext { kind, examples: batch.rows, time_steps: batch.steps() }
    }
}

/// Returns the states of some rows.
fn of_rows(states: &States, rows: &Range<usize>) -> States {
    let narrow = |state: &Tensor| state.narrow(0, rows.start as i64, rows.len() as i64);
    states.iter().map(|states| states.each_ref().map(narrow)).collect()
}

impl LanguageModelLearner for TorchLanguageModel {
    fn step(
        &mut self,
        batch: &LanguageModelBatch,
        step: u64,
        learning_rate: f64,
        group: Group,
    ) -> anyhow::Result<LanguageModelStats> {
        self.check(batch, group)?;
        with_batch_context(Self::context(batch), || self.train(batch, step, learning_rate, group))
    }

    fn score(&mut self, batch: &LanguageModelBatch, starts: bool) -> anyhow::Result<Vec<Vec<f64>>> {
        batch.check(self.model.directions.len(), self.settings.counts.len())?;
        let before = self.score_states.first().and_then(|states| states.first());
        let before = before.map_or(0, |[hidden, _]| hidden.size()[0] as usize);
        if starts {
            self.score_states = self.model.zero_states(batch.rows);
        } else {
            batch.check_continuation(before)?;
        }
        Ok(with_batch_context(Self::context(batch), || self.score_batch(batch)))
    }

    fn reset_states(&mut self) {
        self.states = self.model.zero_states(self.settings.rows);
    }

    fn weights(&self) -> Vec<NamedTensor> {
        to_named_tensors(self.model.weights())
    }

    fn optimizer_state(&mut self) -> Vec<NamedTensor> {
        let carried = self.carried_states.iter().map(|state| {
            let CarriedState { direction, layer, kind, name, .. } = state;
            (name.clone(), self.states[*direction][*layer][*kind].shallow_clone())
        });
        to_named_tensors(self.adam.state().into_iter().chain(carried).collect())
    }

    fn load_optimizer_state(&mut self, state: Vec<NamedTensor>) -> anyhow::Result<()> {
        let (carried, of_adam) = split_state(&self.carried_states, state)?;
        self.adam.load(of_adam)?;
        let device = self.model.device();
        for (state, (_, tensor)) in self.carried_states.iter().zip(to_tensors(carried)) {
            let CarriedState { direction, layer, kind, .. } = state;
            self.states[*direction][*layer][*kind] = tensor.to_device(device);
        }
        Ok(())
    }

    fn times(&self) -> Times {
        // The device computes asynchronously.
        Times::default()
    }
}

//! Training with libtorch.

mod batch;
mod distinct_ids;
mod inference;
mod labelled;
mod share;
mod sum;
mod unlabelled;

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Context;
use tch::{Device, Kind, Tensor};

use self::batch::{Preparation, SharedDataset, TorchBatch};
use self::share::scale;
use crate::average::Average;
use crate::language_model::JointLanguageModel;
use crate::libtorch::{BatchContext, with_batch_context};
use crate::loss::CrossEntropyLoss;
use crate::loss_scale::LossScale;
use crate::model::{Model, NgramBranch};
use crate::optimizer::{Optimizer, clip};
use crate::tensors::{to_named_tensors, to_tensors, values};
use lstmtext::backend::language_model::take_joint_state;
use lstmtext::backend::{
    BatchLoss, Inference, LOSS_SCALE, LanguageModelSettings, Learner, PreparedBatch, Preparer,
    StepStats, Times, is_average_state,
};
use lstmtext::config::{OptimizerKind, TrainConfig};
use lstmtext::distributed::{Group, Worker};
use lstmtext::model::{LanguageModelSpec, NamedTensor};
use lstmtext::objective::{AddedLosses, CrossEntropy, Objective};
use lstmtext::text::Corpus;

/// A model that is being trained.
pub struct TorchLearner {
    model: Model,
    /// For each parameter the input whose embedding it is, if training updates only the rows in the
    /// batch; otherwise empty.
    sparse_embeddings: Vec<Option<usize>>,
    optimizer: Optimizer,
    /// Optimizer of each of the model's n-gram branches.
    ngram_optimizers: Vec<Optimizer>,
    /// Averages of the weights, at the end those of n-grams.
    average: Option<Average>,
    language_model: Option<JointLanguageModel>,
    /// The loss on the host, and on the device.
    objective: CrossEntropy,
    loss: CrossEntropyLoss,
    config: TrainConfig,
    /// Loss scale, if gradients are in fp16.
    loss_scale: Option<LossScale>,
    /// Copy of the training examples on the device.
    device_dataset: SharedDataset,
    /// Copy of the unlabelled texts on the device.
    unlabelled_dataset: SharedDataset,
    /// The step in progress.
    step: Step,
    /// Loss, number of correct predictions, gradient norm, loss scale, added losses, and in a group of processes
    /// the number of processes to stop of each step that was not drained yet, [4] to [9].
    pending_stats: Vec<Tensor>,
    times: Times,
}

/// State of a step between its calls. All tensors stay on the device.
#[derive(Default)]
struct Step {
    context: Option<BatchContext>,
    /// Gradient of each parameter, multiplied by the loss scale until it is clipped.
    gradients: Vec<Tensor>,
    /// Rows of the n-grams of each branch, int64, and the gradient of their weights, [rows, logits],
    /// multiplied by the loss scale. It is not clipped.
    ngrams: Vec<(Tensor, Tensor)>,
    /// Distinct ids of the batch for each input, int64; empty if all rows are updated.
    distinct_ids: Vec<Tensor>,
    /// Mean loss and number of correct predictions, float [].
    loss_and_correct: Option<[Tensor; 2]>,
    /// Losses that training adds to that of the labels, float [], in the order of [`AddedLosses`].
    added: Vec<Tensor>,
    /// Number of processes that are to stop, float []; `None` without other processes.
    stops: Option<Tensor>,
    /// Norm of the gradient before clipping, float [].
    norm: Option<Tensor>,
}

/// Number of steps on a CUDA device after which the host waits for their stats.
const STATS_INTERVAL: usize = 50;

impl TorchLearner {
    /// Creates a learner that trains `model` for `objective`.
    pub fn new(model: Model, config: &TrainConfig, objective: &Objective) -> Self {
        let Objective::CrossEntropy(loss) = objective;
        let ngrams = model.ngrams().iter().map(NgramBranch::parameter);
        let averaged = model.parameters().into_iter().chain(ngrams).collect();
        Self {
            optimizer: Optimizer::new(config, model.parameters()),
            average: Average::new(&config.average, averaged),
            language_model: None,
            config: config.clone(),
            ngram_optimizers: model
                .ngrams()
                .iter()
                .map(|branch| ngram_optimizer(config, branch))
                .collect(),
            loss: CrossEntropyLoss::new(loss, model.classes(), model.device()),
            objective: loss.clone(),
            loss_scale: (model.kind() == Kind::Half).then(|| LossScale::new(model.device())),
            device_dataset: SharedDataset::default(),
            unlabelled_dataset: SharedDataset::default(),
            step: Step::default(),
            pending_stats: Vec::new(),
            times: Times::default(),
            sparse_embeddings: match config.sparse_embedding {
                true => model.embedding_inputs(),
                false => Vec::new(),
            },
            model,
        }
    }

    /// Runs and times a part of the step in progress. Errors of libtorch name its batch.
    fn in_step<T>(
        &mut self,
        part: &'static str,
        work: impl FnOnce(&mut Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let context = self.step.context.context("the step has no gradients yet")?;
        let start = Instant::now();
        let result = with_batch_context(context, || work(self));
        self.times.add(part, start.elapsed().as_secs_f64());
        result
    }
}

impl Inference for TorchLearner {
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64> {
        self.model.log_probabilities(inputs, examples)
    }

    fn log_probabilities_of_batches(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        self.model.log_probabilities_of_batches(inputs, batches)
    }
}

impl TorchLearner {
    /// Returns what batches with or without labels are prepared for.
    fn preparation(&self, worker: Worker, has_labels: bool) -> Preparation {
        let has_perturbations = has_labels && self.config.has_perturbations();
        Preparation {
            device: self.model.device(),
            has_labels,
            needs_ids: worker != Worker::ALONE || !self.sparse_embeddings.is_empty(),
            vocabulary_sizes: has_perturbations.then(|| self.model.vocabulary_sizes().to_vec()),
            embedding_sizes: match self.config.virtual_adversarial.epsilon {
                Some(_) => self.model.embedding_sizes(),
                None => Vec::new(),
            },
            objective: self.objective.clone(),
            classes: self.model.classes(),
        }
    }
}

impl Learner for TorchLearner {
    fn preparer(&self, worker: Worker) -> Preparer {
        self.preparation(worker, true).preparer(self.device_dataset.clone(), worker)
    }

    fn unlabelled_preparer(&self, worker: Worker) -> Preparer {
        self.preparation(worker, false).preparer(self.unlabelled_dataset.clone(), worker)
    }

    fn compute_gradients(&mut self, batch: &PreparedBatch) -> anyhow::Result<()> {
        let unlabelled: &TorchBatch = batch.unlabelled().unwrap_or(batch).get()?;
        let labelled: &TorchBatch = batch.get()?;
        self.use_raw_weights();
        with_batch_context(labelled.context, || {
            let deviations = match labelled.frequencies.is_empty() {
                true => Vec::new(),
                false => self.model.deviations(&labelled.frequencies),
            };
            self.step = self.labelled_step(labelled, &deviations)?;
            if self.config.has_unlabelled_terms() {
                let start = Instant::now();
                let computed = with_batch_context(unlabelled.context, || {
                    self.unlabelled_gradients(unlabelled, &deviations)
                });
                self.step.added.extend(computed.losses);
                let mut gradients = computed.gradients;
                scale(gradients.0.iter_mut().chain(&mut gradients.1), unlabelled.text_share);
                self.add_gradients(gradients, unlabelled, labelled);
                self.times.add("unlabelled", start.elapsed().as_secs_f64());
            }
            let of_ngrams = self.step.ngrams.iter_mut().map(|(_, gradient)| gradient);
            let frozen_ngrams = self.ngram_optimizers.iter().flat_map(Optimizer::frozen);
            let parameters = self.step.gradients.iter_mut().zip(self.optimizer.frozen());
            for (gradient, is_frozen) in parameters.chain(of_ngrams.zip(frozen_ngrams)) {
                if is_frozen {
                    let _ = gradient.zero_();
                }
            }
            Ok(())
        })
    }

    fn sum_gradients(&mut self, batch: &PreparedBatch, group: Group) -> anyhow::Result<()> {
        self.sum_over(batch, group)
    }

    fn join_language_model(
        &mut self,
        spec: &LanguageModelSpec,
        settings: LanguageModelSettings,
        weights: Vec<NamedTensor>,
    ) -> anyhow::Result<()> {
        let weight = self.config.language_model_weight;
        self.language_model =
            Some(JointLanguageModel::new(spec, settings, weights, &self.model, weight)?);
        Ok(())
    }

    fn add_language_model(&mut self, batch: &PreparedBatch, group: Group) -> anyhow::Result<()> {
        let Some(batch) = batch.language_model() else { return Ok(()) };
        self.in_step("joint", |learner| {
            let Some(model) = &mut learner.language_model else { return Ok(()) };
            let frozen: Vec<bool> = learner.optimizer.frozen().collect();
            let step = &mut learner.step;
            let (loss, words) = model.add_gradients(batch, group, &mut step.gradients, &frozen)?;
            step.added.push(loss);
            // Words that are in both sets are updated twice, with the same result.
            if let Some((ids, words)) = step.distinct_ids.first_mut().zip(words) {
                *ids = Tensor::cat(&[&*ids, &words], 0);
            }
            Ok(())
        })
    }

    fn clip_gradients(&mut self, limit: Option<f64>) -> anyhow::Result<()> {
        self.in_step("clip", |learner| {
            let scale = learner.loss_scale.as_ref().map(LossScale::factor);
            let gradients = &mut learner.step.gradients;
            let count = gradients.len();
            let mut of_language_model = learner.language_model.as_mut();
            if let Some(model) = &mut of_language_model {
                gradients.append(&mut model.gradients);
            }
            learner.step.norm = Some(clip(gradients, limit, scale));
            if let Some(model) = of_language_model {
                model.gradients = gradients.split_off(count);
            }
            Ok(())
        })
    }

    fn update(&mut self, learning_rate: f64) -> anyhow::Result<()> {
        self.in_step("optimizer", |learner| {
            let step = &learner.step;
            let ([loss, correct], norm) = (
                step.loss_and_correct.as_ref().context("the step has no loss yet")?,
                step.norm.as_ref().context("the gradients must be clipped before the update")?,
            );
            let scale = learner.loss_scale.as_ref().map(LossScale::factor);
            let scale = scale.map_or_else(|| norm.ones_like(), Tensor::shallow_clone);
            let decisive = [loss, correct, norm, &scale];
            let others = step.added.iter().chain(&step.stops);
            let stats: Vec<&Tensor> = decisive.into_iter().chain(others).collect();
            let stats = Tensor::stack(&stats, 0);
            // The fused kernels expect 1 to skip the step, else 0.
            let decisive = stats.narrow(0, 0, decisive.len() as i64);
            let skipped = decisive.isfinite().all().logical_not().to_kind(Kind::Float);
            learner.pending_stats.push(stats);
            let rows: Vec<Option<&Tensor>> = learner
                .sparse_embeddings
                .iter()
                .map(|input| input.and_then(|input| step.distinct_ids.get(input)))
                .collect();
            let unscaled = |gradient: &Tensor| match &learner.loss_scale {
                Some(scale) => gradient / scale.factor(),
                None => gradient.shallow_clone(),
            };
            let ngrams: Vec<(&Tensor, Tensor)> =
                step.ngrams.iter().map(|(rows, gradient)| (rows, unscaled(gradient))).collect();
            if let Some(scale) = &mut learner.loss_scale {
                scale.update(&skipped);
            }
            let ngram_rows = ngrams.iter().map(|(rows, _)| Some(*rows));
            let parameters = step.gradients.len();
            let rows_of_parameters = rows.iter().copied().chain(std::iter::repeat(None));
            let averaged: Vec<Option<&Tensor>> =
                rows_of_parameters.take(parameters).chain(ngram_rows).collect();
            let former = learner.average.as_ref().map(|average| average.before_update(&averaged));
            for (optimizer, (rows, gradient)) in learner.ngram_optimizers.iter_mut().zip(&ngrams) {
                optimizer.step_rows(gradient.shallow_clone(), rows, learning_rate, &skipped)?;
            }
            learner.optimizer.step(&step.gradients, &rows, learning_rate, &skipped)?;
            if let Some(model) = &mut learner.language_model {
                model.update(learning_rate, &skipped)?;
            }
            if let Some((average, former)) = learner.average.as_mut().zip(former) {
                average.update(&former, &averaged);
            }
            Ok(())
        })
    }

    fn set_rate_factors(&mut self, factors: &HashMap<String, f64>) {
        self.optimizer.set_rate_factors(factors);
        self.ngram_optimizers.iter_mut().for_each(|each| each.set_rate_factors(factors));
    }

    fn ngram_log_probabilities(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        self.model.classify(inputs, batches, |batch| self.model.ngram_logits(batch))
    }

    fn drain_step_stats(&mut self) -> Vec<StepStats> {
        if self.pending_stats.is_empty() {
            return Vec::new();
        }
        let stats = Tensor::stack(&std::mem::take(&mut self.pending_stats), 0); // [steps, 4 to 9]
        let row = |row: &[f64]| {
            let mut rest = row[4..].iter().copied();
            let added = AddedLosses::of_present(&self.config, rest.by_ref());
            StepStats {
                loss: BatchLoss { mean: row[0], correct: row[1] as u64 },
                added,
                // With a loss scale of 1 or less, fp16 is not why the gradient is not finite.
                gradient_norm: (row[2].is_finite() || row[3] <= 1.0).then_some(row[2]),
                stop_requested: rest.next().is_some_and(|stops| stops > 0.0),
            }
        };
        values(&stats).chunks_exact(stats.size()[1] as usize).map(row).collect()
    }

    fn stats_interval(&self) -> usize {
        if self.model.device() == Device::Cpu { 1 } else { STATS_INTERVAL }
    }

    fn gradients(&self) -> Vec<NamedTensor> {
        let named = |((name, _), gradient): ((String, Tensor), &Tensor)| {
            let is_embedding = ["embedding.weight", "embedding.subwords.weight"]
                .iter()
                .any(|end| name.ends_with(end));
            let gradient = match is_embedding {
                true => gradient.index_select(0, &nonzero_rows(gradient)),
                false => gradient.shallow_clone(),
            };
            (name, gradient)
        };
        let gradients = self.model.parameters().into_iter().zip(&self.step.gradients);
        let gradients = gradients.zip(self.optimizer.frozen());
        let trained = gradients.filter(|(_, is_frozen)| !is_frozen);
        let gradients = trained.map(|(gradient, _)| named(gradient));
        let ngrams = self.model.ngrams().iter().zip(&self.step.ngrams);
        // Each branch has an optimizer for its only weight.
        let ngrams = ngrams.zip(self.ngram_optimizers.iter().flat_map(Optimizer::frozen));
        let ngrams = ngrams.filter(|(_, is_frozen)| !is_frozen);
        let ngrams = ngrams.map(|((branch, (_, gradient)), _)| {
            (branch.parameter().0, gradient.index_select(0, &nonzero_rows(gradient)))
        });
        to_named_tensors(gradients.chain(ngrams).collect())
    }

    fn start_averaging(&mut self) {
        if let Some(average) = &mut self.average {
            average.start();
        }
    }

    fn use_averages(&mut self) {
        if let Some(average) = &mut self.average {
            average.swap_in();
        }
    }

    fn use_raw_weights(&mut self) {
        if let Some(average) = &mut self.average {
            average.swap_out();
        }
    }

    fn weights(&self) -> Vec<NamedTensor> {
        to_named_tensors(self.model.state_dict())
    }

    fn raw_weights(&self) -> Option<Vec<NamedTensor>> {
        self.average.as_ref().map(Average::raw_weights)
    }

    fn optimizer_state(&mut self) -> Vec<NamedTensor> {
        let scale = self.loss_scale.as_ref().map(LossScale::state);
        let optimizers = std::iter::once(&self.optimizer).chain(&self.ngram_optimizers);
        let state = optimizers.flat_map(Optimizer::state).chain(scale.into_iter().flatten());
        let mut state = to_named_tensors(state.collect());
        state.extend(self.average.iter().flat_map(Average::state));
        state.extend(self.language_model.iter_mut().flat_map(JointLanguageModel::state));
        state
    }

    fn load_optimizer_state(&mut self, mut state: Vec<NamedTensor>) -> anyhow::Result<()> {
        let of_language_model = take_joint_state(&mut state);
        if let Some(model) = &mut self.language_model {
            model.load(of_language_model)?;
        }
        let (scale, state): (Vec<_>, Vec<_>) =
            state.into_iter().partition(|tensor| LOSS_SCALE.contains(&tensor.name.as_str()));
        let (of_average, state) = state.into_iter().partition(is_average_state);
        if let Some(average) = &mut self.average {
            average.load(of_average)?;
        }
        LossScale::restore(self.loss_scale.as_mut(), &mut to_tensors(scale))?;
        let mut rest = state;
        for (optimizer, branch) in self.ngram_optimizers.iter_mut().zip(self.model.ngrams()) {
            let suffix = format!(".{}", branch.parameter().0);
            let (of_ngrams, others) =
                rest.into_iter().partition(|tensor| tensor.name.ends_with(&suffix));
            optimizer.load(of_ngrams)?;
            rest = others;
        }
        self.optimizer.load(rest)
    }

    fn load_weights(&mut self, tensors: Vec<NamedTensor>) -> anyhow::Result<()> {
        self.model.load(tensors)
    }

    fn times(&self) -> Times {
        self.times.clone()
    }

    fn parameter_count(&self) -> usize {
        self.model.parameter_count()
    }
}

/// Returns the gradients of a loss with respect to all parameters of an optimizer and to `others`, multiplied
/// by the loss scale.
fn scaled_gradients(
    optimizer: &Optimizer,
    scale: Option<&LossScale>,
    loss: &Tensor,
    others: &[Tensor],
) -> (Vec<Tensor>, Vec<Tensor>) {
    match scale {
        Some(scale) => optimizer.gradients_and(&(loss * scale.factor()), others),
        None => optimizer.gradients_and(loss, others),
    }
}

/// Returns the optimizer of the weights of n-grams, which are updated row by row and have their own
/// regularization in place of `train.weight_decay`.
fn ngram_optimizer(config: &TrainConfig, branch: &NgramBranch) -> Optimizer {
    let mut config = TrainConfig { weight_decay: Some(branch.l2), ..config.clone() };
    if config.optimizer == OptimizerKind::Adamw {
        config.optimizer = OptimizerKind::Adam;
    }
    Optimizer::new(&config, vec![branch.parameter()])
}

/// Returns the indices of the rows that are not zero.
fn nonzero_rows(gradient: &Tensor) -> Tensor {
    gradient.ne(0.0).any_dim(1, false).nonzero().squeeze_dim(1)
}

//! Predicting and training on libtorch.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use tch::{Device, Kind, Tensor};

use crate::batch::{Batch, to_device};
use crate::device_dataset::DeviceDataset;
use crate::libtorch::{BatchContext, memory, with_batch_context};
use crate::loss::{CrossEntropyLoss, count_correct, log_probabilities};
use crate::loss_scale::LossScale;
use crate::model::{Mode, Model};
use crate::optimizer::{Optimizer, clip};
use crate::tensors::{Named, to_named_tensors, to_tensors};
use lstmtext::backend::{
    BatchLoss, Collective, Inference, Learner, PreparedBatch, Preparer, StepStats, Times,
};
use lstmtext::config::{PadSide, TrainConfig};
use lstmtext::data::Dataset;
use lstmtext::model::NamedTensor;
use lstmtext::objective::Objective;
use lstmtext::text::{Corpus, PAD};

impl Inference for Model {
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64> {
        self.classify(inputs, &[examples]).concat()
    }

    /// A device is waited for once, when all batches are on their way.
    fn classify(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        let _no_grad = tch::no_grad_guard();
        // Another model may have had it otherwise; where libtorch cannot, it says so in computing.
        let _ = self.numerics().set();
        let classify = |examples: &&[u32]| {
            with_batch_context(batch_context(false, inputs, examples), || {
                let batch = Batch::gather(inputs, examples, self.device());
                log_probabilities(&self.logits(&batch, Mode::Evaluate)).flatten(0, 1)
            })
        };
        // As much as is kept of each is small; memory is that of one batch.
        let found: Vec<Tensor> = batches.iter().map(classify).collect();
        if found.is_empty() {
            return Vec::new();
        }
        let values = values(&Tensor::cat(&found, 0));
        let mut rest = &values[..];
        let mut next = |found: &Tensor| {
            let (own, others) = rest.split_at(found.numel());
            rest = others;
            own.to_vec()
        };
        found.iter().map(&mut next).collect()
    }
}

/// The batch that errors of libtorch name.
fn batch_context(training: bool, inputs: &[Corpus], examples: &[u32]) -> BatchContext {
    let steps = |corpus: &Corpus| examples.iter().map(|i| corpus.steps(*i as usize)).max();
    let longest = inputs.iter().filter_map(steps).max().unwrap_or(0);
    BatchContext { training, examples: examples.len(), longest }
}

/// All values of a tensor, row by row; waits for its device.
fn values(tensor: &Tensor) -> Vec<f64> {
    let mut values = vec![0.0; tensor.numel()];
    let tensor = tensor.to_kind(Kind::Double).to_device(Device::Cpu).contiguous();
    tensor.copy_data(&mut values, tensor.numel());
    values
}

/// A model that is being trained.
pub struct TorchLearner {
    model: Model,
    /// For each parameter the input whose embedding it is, if only the rows of a batch are updated.
    sparse: Vec<Option<usize>>,
    optimizer: Optimizer,
    loss: CrossEntropyLoss,
    /// If gradients are in fp16.
    loss_scale: Option<LossScale>,
    /// The training examples on the device; `None` until it is known whether they fit.
    device_dataset: Arc<Mutex<Option<Option<DeviceDataset>>>>,
    /// The step in progress.
    step: Step,
    /// Loss, correct predictions, gradient norm and loss scale of every step that is not yet read,
    /// [4].
    unread: Vec<Tensor>,
    times: Times,
}

/// What the calls of one step hand on to the next. Everything stays on the device.
#[derive(Default)]
struct Step {
    context: Option<BatchContext>,
    /// For each parameter; multiplied by the loss scale until they are clipped.
    gradients: Vec<Tensor>,
    /// Ids of the batch for each input, each once, int64; empty if nobody needs them.
    words: Vec<Tensor>,
    /// Mean loss and number of correct predictions, float [].
    measured: Option<[Tensor; 2]>,
    /// Norm of the gradient before clipping, float [].
    norm: Option<Tensor>,
}

/// A batch and the seed of its dropout masks.
struct TorchBatch {
    context: BatchContext,
    batch: Batch,
    labels: Tensor,
    /// Ids of the batch for each input, each once, int64; empty if nobody needs them.
    words: Vec<Tensor>,
    seed: u64,
}

/// Number of steps that run on a CUDA device before the host waits for their measurements.
const UNREAD_STEPS: usize = 50;

impl TorchLearner {
    /// Trains `model` for an objective.
    pub fn new(model: Model, config: &TrainConfig, objective: &Objective) -> Self {
        let Objective::CrossEntropy(loss) = objective;
        let weights = || {
            Tensor::from_slice(&loss.class_weights).to_kind(Kind::Float).to_device(model.device())
        };
        Self {
            optimizer: Optimizer::new(config, model.parameters()),
            loss: CrossEntropyLoss {
                label_smoothing: loss.label_smoothing,
                class_weights: (!loss.class_weights.is_empty()).then(weights),
            },
            loss_scale: (model.kind() == Kind::Half).then(|| LossScale::new(model.device())),
            device_dataset: Arc::default(),
            step: Step::default(),
            unread: Vec::new(),
            times: Times::default(),
            sparse: match config.sparse_embedding {
                true => model.embeddings(),
                false => Vec::new(),
            },
            model,
        }
    }

    /// Runs a part of the step in progress; errors of libtorch name its batch.
    fn in_step<T>(
        &mut self,
        part: &'static str,
        work: impl FnOnce(&mut Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let context = self.step.context.context("no gradients were computed")?;
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

    fn classify(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        self.model.classify(inputs, batches)
    }
}

impl Learner for TorchLearner {
    fn preparer(&self) -> Preparer {
        let device = self.model.device();
        let sparse = !self.sparse.is_empty();
        let device_dataset = self.device_dataset.clone();
        // If the size of the memory is unknown, no data set is kept there.
        let memory = memory(device).unwrap_or(0);
        Box::new(move |data: &Dataset, examples, seed| {
            let context = batch_context(true, &data.inputs, examples);
            with_batch_context(context, || {
                let mut kept = device_dataset.lock().unwrap_or_else(PoisonError::into_inner);
                let kept =
                    kept.get_or_insert_with(|| DeviceDataset::where_it_fits(data, device, memory));
                let (batch, labels) = match kept {
                    Some(kept) => kept.gather(data, examples),
                    None => {
                        // Learners are made for one label per example only.
                        let labels = data.targets.labels().unwrap_or_default();
                        let labels = examples.iter().map(|i| i64::from(labels[*i as usize]));
                        let labels: Vec<i64> = labels.collect();
                        let batch = Batch::gather(&data.inputs, examples, device);
                        (batch, to_device(&labels, device))
                    }
                };
                let words = |corpus: &Corpus| to_device(&distinct(corpus, examples), device);
                PreparedBatch::new(TorchBatch {
                    context,
                    batch,
                    labels,
                    words: match sparse {
                        true => data.inputs.iter().map(words).collect(),
                        false => Vec::new(),
                    },
                    seed,
                })
            })
        })
    }

    fn compute_gradients(&mut self, batch: &PreparedBatch) -> anyhow::Result<()> {
        let TorchBatch { context, batch, labels, words, seed } = batch.get()?;
        with_batch_context(*context, || {
            tch::manual_seed(*seed as i64);
            let (log_probabilities, loss) = self.times.measure("forward", || {
                let log_probabilities = log_probabilities(&self.model.logits(batch, Mode::Train));
                let loss = self.loss.loss(&log_probabilities, labels);
                (log_probabilities, loss)
            });
            let scale = self.loss_scale.as_ref().map(LossScale::factor);
            let gradients = self.times.measure("backward", || match scale {
                Some(scale) => self.optimizer.gradients(&(&loss * scale)),
                None => self.optimizer.gradients(&loss),
            });
            let correct = count_correct(&log_probabilities, labels).to_kind(Kind::Float);
            self.step = Step {
                context: Some(*context),
                gradients,
                words: words.iter().map(Tensor::shallow_clone).collect(),
                measured: Some([loss.detach(), correct]),
                norm: None,
            };
        });
        Ok(())
    }

    fn sum_gradients(&mut self, collective: &dyn Collective) -> anyhow::Result<()> {
        if collective.size() == 1 {
            return Ok(());
        }
        self.in_step("sum", |learner| {
            let Step { gradients, measured, .. } = &mut learner.step;
            for tensor in gradients.iter_mut().chain(measured.iter_mut().flatten()) {
                let mut values =
                    Vec::<f32>::try_from(tensor.to_device(Device::Cpu).flatten(0, -1))?;
                collective.sum(&mut values)?;
                let sum = Tensor::from_slice(&values).view_as(tensor);
                tch::no_grad(|| tensor.copy_(&sum));
            }
            Ok(())
        })
    }

    fn clip_gradients(&mut self, limit: Option<f64>) -> anyhow::Result<()> {
        self.in_step("clip", |learner| {
            let scale = learner.loss_scale.as_ref().map(LossScale::factor);
            learner.step.norm = Some(clip(&mut learner.step.gradients, limit, scale));
            Ok(())
        })
    }

    fn update(&mut self, learning_rate: f64) -> anyhow::Result<()> {
        self.in_step("optimizer", |learner| {
            let step = &learner.step;
            let ([loss, correct], norm) = (
                step.measured.as_ref().context("no loss was computed")?,
                step.norm.as_ref().context("the gradient was not clipped")?,
            );
            let scale = learner.loss_scale.as_ref().map(LossScale::factor);
            let scale = scale.map_or_else(|| norm.ones_like(), Tensor::shallow_clone);
            let measured = Tensor::stack(&[loss, correct, norm, &scale], 0);
            // Whether the step is skipped, as the fused kernels expect it: 1 or 0.
            let skipped = measured.isfinite().all().logical_not().to_kind(Kind::Float);
            learner.unread.push(measured);
            let rows: Vec<Option<&Tensor>> = learner
                .sparse
                .iter()
                .map(|input| input.and_then(|input| step.words.get(input)))
                .collect();
            if let Some(scale) = &mut learner.loss_scale {
                scale.update(&skipped);
            }
            learner.optimizer.step(&step.gradients, &rows, learning_rate, &skipped)
        })
    }

    fn drain_step_stats(&mut self) -> Vec<StepStats> {
        if self.unread.is_empty() {
            return Vec::new();
        }
        let values = values(&Tensor::stack(&std::mem::take(&mut self.unread), 0)); // [steps, 4]
        let stats = |&[mean, correct, norm, scale]: &[f64; 4]| StepStats {
            loss: BatchLoss { mean, correct: correct as u64 },
            // With a loss scale of 1 or less, fp16 is not the reason for a gradient that is not finite.
            gradient_norm: (norm.is_finite() || scale <= 1.0).then_some(norm),
        };
        values.as_chunks().0.iter().map(stats).collect()
    }

    fn stats_interval(&self) -> usize {
        if self.model.device() == Device::Cpu { 1 } else { UNREAD_STEPS }
    }

    fn gradients(&self) -> Vec<NamedTensor> {
        let array = |((name, _), gradient): (Named, &Tensor)| {
            let gradient = match name.ends_with("embedding.weight") {
                true => gradient.index_select(0, &rows_with_gradient(gradient)),
                false => gradient.shallow_clone(),
            };
            (name, gradient)
        };
        to_named_tensors(
            self.model.parameters().into_iter().zip(&self.step.gradients).map(array).collect(),
        )
    }

    fn weights(&self) -> Vec<NamedTensor> {
        to_named_tensors(self.model.state())
    }

    fn optimizer_state(&mut self) -> Vec<NamedTensor> {
        let scale = self.loss_scale.as_ref().map(LossScale::state);
        let state = self.optimizer.state().into_iter().chain(scale.into_iter().flatten());
        to_named_tensors(state.collect())
    }

    fn load_optimizer_state(&mut self, state: Vec<NamedTensor>) -> anyhow::Result<()> {
        let mut state = to_tensors(state);
        LossScale::take(self.loss_scale.as_mut(), &mut state)?;
        self.optimizer.load(state)
    }

    fn load_weights(&mut self, tensors: Vec<NamedTensor>) -> anyhow::Result<()> {
        self.model.load(to_tensors(tensors))
    }

    fn times(&self) -> Times {
        self.times.clone()
    }

    fn parameter_count(&self) -> usize {
        self.model.parameter_count()
    }
}

/// The ids of some texts, each once.
fn distinct(corpus: &Corpus, examples: &[u32]) -> Vec<i64> {
    let mut ids: Vec<u32> =
        examples.iter().flat_map(|example| corpus.text(*example as usize)).copied().collect();
    if corpus.pad() == PadSide::Front {
        ids.push(PAD);
    }
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().map(i64::from).collect()
}

/// The numbers of the rows that are not zero.
fn rows_with_gradient(gradient: &Tensor) -> Tensor {
    gradient.ne(0.0).any_dim(1, false).nonzero().squeeze_dim(1)
}

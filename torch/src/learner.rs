//! Classifying and training on libtorch.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tch::{Device, Kind, Tensor};

use crate::batch::{Batch, to_device};
use crate::device_dataset::DeviceDataset;
use crate::libtorch::{Work, at_batch, memory};
use crate::loss::{CrossEntropyLoss, count_correct, log_probabilities};
use crate::loss_scale::LossScale;
use crate::model::{Mode, Model, Named};
use crate::optimizer::{Optimizer, clip};
use lstmtext::backend::{Inference, Learner, Loss, Preparer, StepStats, Times};
use lstmtext::config::{PadSide, TrainConfig};
use lstmtext::data::Dataset;
use lstmtext::model::named_tensors::NamedTensor;
use lstmtext::run::checkpoint::Checkpoint;
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
            at_batch(work(false, inputs, examples), || {
                let batch = Batch::gather(inputs, examples, self.device());
                log_probabilities(&self.logits(&batch, Mode::Evaluate)).flatten(0, 1)
            })
        };
        // As much as is kept of each is small; memory is that of one batch.
        let found: Vec<Tensor> = batches.iter().map(classify).collect();
        if found.is_empty() {
            return Vec::new();
        }
        let numbers = numbers(&Tensor::cat(&found, 0));
        let mut rest = &numbers[..];
        let mut next = |found: &Tensor| {
            let (own, others) = rest.split_at(found.numel());
            rest = others;
            own.to_vec()
        };
        found.iter().map(&mut next).collect()
    }
}

/// What is to be computed, as failures name it.
fn work(training: bool, inputs: &[Corpus], examples: &[u32]) -> Work {
    let steps = |corpus: &Corpus| examples.iter().map(|i| corpus.steps(*i as usize)).max();
    let longest = inputs.iter().filter_map(steps).max().unwrap_or(0);
    Work { training, examples: examples.len(), longest }
}

/// All numbers of a tensor, row by row; waits for its device.
fn numbers(tensor: &Tensor) -> Vec<f64> {
    let mut numbers = vec![0.0; tensor.numel()];
    let tensor = tensor.to_kind(Kind::Double).to_device(Device::Cpu).contiguous();
    tensor.copy_data(&mut numbers, tensor.numel());
    numbers
}

/// A model that is being trained.
pub struct TorchLearner {
    model: Model,
    /// For each parameter the input whose embedding it is, where only its words take part in a step.
    sparse: Vec<Option<usize>>,
    optimizer: Optimizer,
    criterion: CrossEntropyLoss,
    gradients: Vec<Tensor>,
    /// Where gradients are in fp16.
    loss_scale: Option<LossScale>,
    /// The training examples on the device; None until it is known whether they fit.
    resident: Arc<Mutex<Option<Option<DeviceDataset>>>>,
    /// Loss, hits, gradient norm and loss scale of each step that nobody has read, [4].
    unread: Vec<Tensor>,
    times: Times,
}

/// A batch and the seed of its dropout masks.
pub struct TorchBatch {
    work: Work,
    batch: Batch,
    labels: Tensor,
    /// For each input the words that it has, each once, int64; empty where nobody needs them.
    words: Vec<Tensor>,
    seed: u64,
}

/// On a device so many steps are made ready before the host waits for them.
const UNREAD_STEPS: usize = 50;

impl TorchLearner {
    /// Trains `model`; `class_weights` is what each class weighs in the loss, empty where all weigh
    /// the same.
    pub fn new(model: Model, config: &TrainConfig, class_weights: &[f64]) -> Self {
        let weights =
            || Tensor::from_slice(class_weights).to_kind(Kind::Float).to_device(model.device());
        Self {
            optimizer: Optimizer::new(config, model.parameters()),
            criterion: CrossEntropyLoss {
                label_smoothing: config.label_smoothing,
                class_weights: (!class_weights.is_empty()).then(weights),
            },
            gradients: Vec::new(),
            loss_scale: (model.kind() == Kind::Half).then(|| LossScale::new(model.device())),
            resident: Arc::default(),
            unread: Vec::new(),
            times: Times::default(),
            sparse: match config.sparse_embedding {
                true => model.embeddings(),
                false => Vec::new(),
            },
            model,
        }
    }

    /// The loss of a batch, its hits, the norm of its gradient and the scale that the loss had on its
    /// way back, [4]; the gradient is kept.
    fn learn(&mut self, batch: &TorchBatch, limit: Option<f64>) -> Tensor {
        let TorchBatch { batch, labels, seed, .. } = batch;
        tch::manual_seed(*seed as i64);
        let (log_probabilities, loss) = self.times.measure("forward", || {
            let log_probabilities = log_probabilities(&self.model.logits(batch, Mode::Train));
            let loss = self.criterion.loss(&log_probabilities, labels);
            (log_probabilities, loss)
        });
        let scale = self.loss_scale.as_ref().map(LossScale::factor);
        self.gradients = self.times.measure("backward", || match scale {
            Some(scale) => self.optimizer.gradients(&(&loss * scale)),
            None => self.optimizer.gradients(&loss),
        });
        let norm = self.times.measure("clip", || clip(&mut self.gradients, limit, scale));
        let correct = count_correct(&log_probabilities, labels).to_kind(Kind::Float);
        let scale = scale.map_or_else(|| norm.ones_like(), Tensor::shallow_clone);
        Tensor::stack(&[loss.detach(), correct, norm, scale], 0)
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
    type Batch = TorchBatch;

    fn preparer(&self) -> Preparer<TorchBatch> {
        let device = self.model.device();
        let sparse = !self.sparse.is_empty();
        let resident = self.resident.clone();
        // Of a device without a known size, nothing is taken up.
        let memory = memory(device).unwrap_or(0);
        Box::new(move |data: &Dataset, examples, seed| {
            let work = work(true, &data.inputs, examples);
            at_batch(work, || {
                let mut resident = resident.lock().unwrap_or_else(PoisonError::into_inner);
                let resident = resident
                    .get_or_insert_with(|| DeviceDataset::where_it_fits(data, device, memory));
                let (batch, labels) = match resident {
                    Some(resident) => resident.gather(data, examples),
                    None => {
                        let labels = data.targets.labels().unwrap_or_default();
                        let labels = examples.iter().map(|i| i64::from(labels[*i as usize]));
                        let labels: Vec<i64> = labels.collect();
                        let batch = Batch::gather(&data.inputs, examples, device);
                        (batch, to_device(&labels, device))
                    }
                };
                let words = |corpus: &Corpus| to_device(&distinct(corpus, examples), device);
                TorchBatch {
                    work,
                    batch,
                    labels,
                    words: match sparse {
                        true => data.inputs.iter().map(words).collect(),
                        false => Vec::new(),
                    },
                    seed,
                }
            })
        })
    }

    fn step(
        &mut self,
        batch: &TorchBatch,
        limit: Option<f64>,
        learning_rate: f64,
    ) -> anyhow::Result<()> {
        at_batch(batch.work, || {
            let measured = self.learn(batch, limit);
            // Whether the step is left out, as the fused kernels want it: 1 or 0.
            let skipped = measured.isfinite().all().logical_not().to_kind(Kind::Float);
            self.unread.push(measured);
            let rows: Vec<Option<&Tensor>> = self
                .sparse
                .iter()
                .map(|input| input.and_then(|input| batch.words.get(input)))
                .collect();
            self.times.measure("optimizer", || {
                if let Some(scale) = &mut self.loss_scale {
                    scale.update(&skipped);
                }
                self.optimizer.step(&self.gradients, &rows, learning_rate, &skipped)
            })
        })
    }

    fn measured(&mut self) -> Vec<StepStats> {
        if self.unread.is_empty() {
            return Vec::new();
        }
        let numbers = numbers(&Tensor::stack(&std::mem::take(&mut self.unread), 0)); // [steps, 4]
        let measured = |&[mean, correct, norm, scale]: &[f64; 4]| StepStats {
            loss: Loss { mean, correct: correct as u64 },
            // Without a scale worth the name it is not fp16 that the gradient is too large for.
            gradient_norm: (norm.is_finite() || scale <= 1.0).then_some(norm),
        };
        numbers.as_chunks().0.iter().map(measured).collect()
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
        to_arrays(self.model.parameters().into_iter().zip(&self.gradients).map(array).collect())
    }

    fn weights(&self) -> Vec<NamedTensor> {
        to_arrays(self.model.state())
    }

    fn memory(&mut self) -> Vec<NamedTensor> {
        let scale = self.loss_scale.as_ref().map(LossScale::state);
        to_arrays(self.optimizer.state().into_iter().chain(scale.into_iter().flatten()).collect())
    }

    fn restore(&mut self, memory: Vec<NamedTensor>) -> anyhow::Result<()> {
        let mut memory = to_tensors(memory);
        LossScale::take(self.loss_scale.as_mut(), &mut memory)?;
        self.optimizer.load(memory)
    }

    fn load(&mut self, weights: Vec<NamedTensor>) -> anyhow::Result<()> {
        self.model.load(to_tensors(weights))
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

/// The model of a checkpoint with its trained weights.
///
/// # Errors
/// Where the weights do not fit the configuration.
pub fn model(checkpoint: &Checkpoint, device: Device) -> anyhow::Result<Model> {
    let (config, classes) = (&checkpoint.resolved.config, checkpoint.labels.len());
    let mut model = Model::new(config, &checkpoint.encoders.sizes(), classes, 0, device)?;
    let weights = to_tensors(checkpoint.weights()?);
    model.load(weights).with_context(|| checkpoint.unusable())?;
    Ok(model)
}

/// Tensors as plain numbers.
pub fn to_arrays(tensors: Vec<Named>) -> Vec<NamedTensor> {
    let array = |(name, tensor): Named| {
        let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
        let mut values = vec![0.0; tensor.numel()];
        tensor.copy_data(&mut values, tensor.numel());
        let shape = tensor.size().iter().map(|length| *length as usize).collect();
        NamedTensor { name, shape, values }
    };
    tensors.into_iter().map(array).collect()
}

/// Plain numbers as tensors on the CPU.
pub fn to_tensors(arrays: Vec<NamedTensor>) -> Vec<Named> {
    let tensor = |NamedTensor { name, shape, values }| {
        let shape: Vec<i64> = shape.into_iter().map(|length: usize| length as i64).collect();
        (name, Tensor::from_slice(&values).view(&shape[..]))
    };
    arrays.into_iter().map(tensor).collect()
}

//! Classifying and training on libtorch.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tch::{Device, Kind, Tensor};

use crate::arrays::Array;
use crate::backend::{Classify, Learner, Loss, Measured, Preparer, Times};
use crate::batch::{Batch, to_device};
use crate::checkpoint::Checkpoint;
use crate::config::{PadSide, TrainConfig};
use crate::loss::{CrossEntropy, count_correct, log_probabilities};
use crate::model::{Mode, Model, Named};
use crate::optimizer::{Optimizer, clip};
use crate::resident::Resident;
use crate::text::{Corpus, Encoded, PAD};
use crate::torch::memory;

impl Classify for Model {
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64> {
        self.classify(inputs, &[examples]).concat()
    }

    /// A device is waited for once, when all batches are on their way.
    fn classify(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        let _no_grad = tch::no_grad_guard();
        let classify = |examples: &&[u32]| {
            let batch = Batch::gather(inputs, examples, self.device());
            log_probabilities(&self.logits(&batch, Mode::Evaluate)).flatten(0, 1)
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
    criterion: CrossEntropy,
    gradients: Vec<Tensor>,
    /// The training examples on the device, once they are there.
    resident: Arc<Mutex<Option<Resident>>>,
    /// Loss, hits and gradient norm of each step that nobody has read, [3].
    unread: Vec<Tensor>,
    times: Times,
}

/// A batch and the seed of its dropout masks.
pub struct TorchBatch {
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
            criterion: CrossEntropy {
                label_smoothing: config.label_smoothing,
                class_weights: (!class_weights.is_empty()).then(weights),
            },
            gradients: Vec::new(),
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

    /// The loss of a batch, its hits and the norm of its gradient, [3]; the gradient is kept.
    fn learn(&mut self, batch: &TorchBatch, limit: Option<f64>) -> Tensor {
        let TorchBatch { batch, labels, seed, .. } = batch;
        tch::manual_seed(*seed as i64);
        let (log_probabilities, loss) = self.times.measure("forward", || {
            let log_probabilities = log_probabilities(&self.model.logits(batch, Mode::Train));
            let loss = self.criterion.loss(&log_probabilities, labels);
            (log_probabilities, loss)
        });
        self.gradients = self.times.measure("backward", || self.optimizer.gradients(&loss));
        let norm = self.times.measure("clip", || clip(&mut self.gradients, limit));
        let correct = count_correct(&log_probabilities, labels).to_kind(Kind::Float);
        Tensor::stack(&[loss.detach(), correct, norm], 0)
    }
}

impl Classify for TorchLearner {
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
        Box::new(move |data: &Encoded, examples, seed| {
            let mut resident = resident.lock().unwrap_or_else(PoisonError::into_inner);
            if resident.is_none() && Resident::fits(data, memory) {
                *resident = Some(Resident::new(data, device));
            }
            let (batch, labels) = match &*resident {
                Some(resident) => resident.gather(data, examples),
                None => {
                    let labels = examples.iter().map(|i| i64::from(data.labels[*i as usize]));
                    let labels: Vec<i64> = labels.collect();
                    let batch = Batch::gather(&data.inputs, examples, device);
                    (batch, to_device(&labels, device))
                }
            };
            let words = |corpus: &Corpus| to_device(&distinct(corpus, examples), device);
            TorchBatch {
                batch,
                labels,
                words: match sparse {
                    true => data.inputs.iter().map(words).collect(),
                    false => Vec::new(),
                },
                seed,
            }
        })
    }

    fn step(
        &mut self,
        batch: &TorchBatch,
        limit: Option<f64>,
        learning_rate: f64,
    ) -> anyhow::Result<()> {
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
            self.optimizer.step(&self.gradients, &rows, learning_rate, &skipped)
        })
    }

    fn measured(&mut self) -> Vec<Measured> {
        if self.unread.is_empty() {
            return Vec::new();
        }
        let numbers = numbers(&Tensor::stack(&std::mem::take(&mut self.unread), 0)); // [steps, 3]
        let measured = |row: &[f64; 3]| Measured {
            loss: Loss { mean: row[0], correct: row[1] as u64 },
            gradient_norm: row[2],
        };
        numbers.as_chunks().0.iter().map(measured).collect()
    }

    fn steps_between_readings(&self) -> usize {
        if self.model.device() == Device::Cpu { 1 } else { UNREAD_STEPS }
    }

    fn gradients(&self) -> Vec<Array> {
        let array = |((name, _), gradient): (Named, &Tensor)| {
            let gradient = match name.ends_with("embedding.weight") {
                true => gradient.index_select(0, &rows_with_gradient(gradient)),
                false => gradient.shallow_clone(),
            };
            (name, gradient)
        };
        to_arrays(self.model.parameters().into_iter().zip(&self.gradients).map(array).collect())
    }

    fn weights(&self) -> Vec<Array> {
        to_arrays(self.model.state())
    }

    fn memory(&mut self) -> Vec<Array> {
        to_arrays(self.optimizer.state())
    }

    fn restore(&mut self, memory: Vec<Array>) -> anyhow::Result<()> {
        self.optimizer.load(to_tensors(memory))
    }

    fn load(&mut self, weights: Vec<Array>) -> anyhow::Result<()> {
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
pub fn to_arrays(tensors: Vec<Named>) -> Vec<Array> {
    let array = |(name, tensor): Named| {
        let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
        let mut values = vec![0.0; tensor.numel()];
        tensor.copy_data(&mut values, tensor.numel());
        let shape = tensor.size().iter().map(|length| *length as usize).collect();
        Array { name, shape, values }
    };
    tensors.into_iter().map(array).collect()
}

/// Plain numbers as tensors on the CPU.
pub fn to_tensors(arrays: Vec<Array>) -> Vec<Named> {
    let tensor = |Array { name, shape, values }| {
        let shape: Vec<i64> = shape.into_iter().map(|length: usize| length as i64).collect();
        (name, Tensor::from_slice(&values).view(&shape[..]))
    };
    arrays.into_iter().map(tensor).collect()
}

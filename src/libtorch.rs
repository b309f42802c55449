//! Classifying and training on libtorch.

use anyhow::Context;
use tch::{Device, Kind, Tensor};

use crate::arrays::Array;
use crate::backend::{Classify, Learner, Loss, Preparer, Times};
use crate::batch::Batch;
use crate::checkpoint::Checkpoint;
use crate::config::TrainConfig;
use crate::loss::{CrossEntropy, count_correct, log_probabilities};
use crate::model::{Mode, Model, Named};
use crate::optimizer::{Optimizer, clip};
use crate::text::{Corpus, Encoded};

impl Classify for Model {
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64> {
        let _no_grad = tch::no_grad_guard();
        let batch = Batch::gather(inputs, examples, self.device());
        let log_probabilities = log_probabilities(&self.logits(&batch, Mode::Evaluate));
        let flat = log_probabilities.to_kind(Kind::Double).to_device(Device::Cpu).flatten(0, 1);
        let mut numbers = vec![0.0; flat.numel()];
        flat.copy_data(&mut numbers, flat.numel());
        numbers
    }
}

/// A model that is being trained.
pub struct TorchLearner {
    model: Model,
    sparse_embedding: bool,
    optimizer: Optimizer,
    criterion: CrossEntropy,
    gradients: Vec<Tensor>,
    times: Times,
}

/// A batch and the seed of its dropout masks.
pub struct TorchBatch {
    batch: Batch,
    labels: Tensor,
    seed: u64,
}

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
            times: Times::default(),
            sparse_embedding: config.sparse_embedding,
            model,
        }
    }

    /// The rows of each embedding that have a gradient.
    fn touched_rows(&self) -> Vec<Option<Tensor>> {
        let parameters = self.model.parameters();
        let rows = |((name, _), gradient): (Named, &Tensor)| {
            let sparse = self.sparse_embedding && name.ends_with("embedding.weight");
            sparse.then(|| rows_with_gradient(gradient))
        };
        parameters.into_iter().zip(&self.gradients).map(rows).collect()
    }
}

impl Classify for TorchLearner {
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64> {
        self.model.log_probabilities(inputs, examples)
    }
}

impl Learner for TorchLearner {
    type Batch = TorchBatch;

    fn preparer(&self) -> Preparer<TorchBatch> {
        let device = self.model.device();
        Box::new(move |data: &Encoded, examples, seed| {
            let labels: Vec<i64> =
                examples.iter().map(|i| i64::from(data.labels[*i as usize])).collect();
            TorchBatch {
                batch: Batch::gather(&data.inputs, examples, device),
                labels: Tensor::from_slice(&labels).to_device(device),
                seed,
            }
        })
    }

    fn learn(&mut self, TorchBatch { batch, labels, seed }: &TorchBatch) -> Loss {
        tch::manual_seed(*seed as i64);
        let (log_probabilities, loss) = self.times.measure("forward", || {
            let log_probabilities = log_probabilities(&self.model.logits(batch, Mode::Train));
            let loss = self.criterion.loss(&log_probabilities, labels);
            (log_probabilities, loss)
        });
        self.gradients = self.times.measure("backward", || self.optimizer.gradients(&loss));
        Loss { mean: loss.double_value(&[]), correct: count_correct(&log_probabilities, labels) }
    }

    fn clip(&mut self, limit: Option<f64>) -> f64 {
        self.times.measure("clip", || clip(&mut self.gradients, limit))
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

    fn update(&mut self, learning_rate: f64) -> anyhow::Result<()> {
        let rows = self.touched_rows();
        self.times
            .measure("optimizer", || self.optimizer.step(&self.gradients, &rows, learning_rate))
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

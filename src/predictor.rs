//! Labels for new texts.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::batch::Batch;
use crate::bucketing::{BatchLimit, Bucketing};
use crate::checkpoint::Checkpoint;
use crate::config::Inputs;
use crate::loss::log_probabilities;
use crate::model::{Mode, Model};
use crate::text::{Corpus, Encoders};

/// A trained model, ready for texts.
pub struct Predictor {
    model: Model,
    inputs: Inputs,
    encoders: Encoders,
    labels: Vec<String>,
    device: Device,
}

/// A class and how probable it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassProbability {
    /// The class number.
    pub class: usize,
    /// From 0 to 1.
    pub probability: f64,
}

impl Predictor {
    /// Loads the checkpoint, or the best one of a run.
    ///
    /// # Errors
    /// Where the checkpoint cannot be used.
    pub fn load(path: &Path, device: Device) -> anyhow::Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let model = checkpoint.model(device)?;
        Ok(Self {
            model,
            inputs: checkpoint.resolved.config.inputs,
            encoders: checkpoint.encoders,
            labels: checkpoint.labels,
            device,
        })
    }

    /// The texts that it wants for each example.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The label of each class number.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What turns the texts of each input into the ids that the model knows.
    pub fn encoders(&self) -> &Encoders {
        &self.encoders
    }

    /// The probabilities of all classes for every example, the most probable first; examples in
    /// their order, computed in batches of `batch_size` of like length. `texts` has the texts of
    /// each column of the inputs.
    pub fn predict(&self, texts: &[Vec<String>], batch_size: usize) -> Vec<Vec<ClassProbability>> {
        let inputs = self.encoders.encode(texts);
        let unknown = vec![0; texts[0].len()];
        let mut results = vec![Vec::new(); texts[0].len()];
        let lengths: Vec<Vec<usize>> = inputs.iter().map(Corpus::lengths).collect();
        let _no_grad = tch::no_grad_guard();
        for examples in Bucketing::sorted(BatchLimit::Examples(batch_size), &lengths).batches() {
            let batch = Batch::gather(&inputs, &unknown, examples, self.device);
            let logits = self.model.logits(&batch, Mode::Evaluate);
            for (example, ranked) in examples.iter().zip(self.ranked(&logits)) {
                results[*example as usize] = ranked;
            }
        }
        results
    }

    /// The classes of each row of logits, the most probable first.
    fn ranked(&self, logits: &Tensor) -> Vec<Vec<ClassProbability>> {
        let probabilities = log_probabilities(logits).exp().to_kind(Kind::Double); // [B, C]
        let flat = probabilities.to_device(Device::Cpu).contiguous().flatten(0, 1);
        let mut numbers = vec![0.0_f64; flat.numel()];
        flat.copy_data(&mut numbers, flat.numel());
        let rank = |row: &[f64]| {
            let mut ranked: Vec<ClassProbability> = row
                .iter()
                .enumerate()
                .map(|(class, probability)| ClassProbability { class, probability: *probability })
                .collect();
            ranked.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            ranked
        };
        numbers.chunks_exact(self.labels.len()).map(rank).collect()
    }
}

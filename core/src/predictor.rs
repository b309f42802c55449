//! Labels for new texts.

use crate::backend::Classifier;
use crate::bucketing::{BatchLimit, Bucketing};
use crate::checkpoint::Checkpoint;
use crate::config::Inputs;
use crate::text::{Corpus, Encoders};

/// A trained model, ready for texts.
pub struct Predictor {
    classifier: Box<dyn Classifier>,
    inputs: Inputs,
    encoders: Encoders,
    labels: Vec<String>,
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
    /// Takes what goes with `classifier`, which has the weights of `checkpoint`.
    pub fn new(checkpoint: Checkpoint, classifier: Box<dyn Classifier>) -> Self {
        Self {
            classifier,
            inputs: checkpoint.resolved.config.inputs,
            encoders: checkpoint.encoders,
            labels: checkpoint.labels,
        }
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
        let mut results = vec![Vec::new(); texts[0].len()];
        let lengths: Vec<Vec<usize>> = inputs.iter().map(Corpus::lengths).collect();
        let plan = Bucketing::sorted(BatchLimit::Examples(batch_size), &lengths);
        let batches: Vec<&[u32]> = plan.batches().collect();
        let all = self.classifier.classify(&inputs, &batches);
        for (examples, log_probabilities) in batches.into_iter().zip(all) {
            let rows = log_probabilities.chunks_exact(self.labels.len());
            for (example, row) in examples.iter().zip(rows) {
                results[*example as usize] = ranked(row);
            }
        }
        results
    }
}

/// The classes with these log probabilities, the most probable first.
fn ranked(log_probabilities: &[f64]) -> Vec<ClassProbability> {
    let classes = log_probabilities.iter().map(|value| value.exp()).enumerate();
    let mut ranked: Vec<ClassProbability> =
        classes.map(|(class, probability)| ClassProbability { class, probability }).collect();
    ranked.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    ranked
}

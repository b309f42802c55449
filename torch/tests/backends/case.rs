//! Small networks of every kind, and texts for them.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tch::Device;

use lstmtext::backend::{Learner, PreparedBatch};
use lstmtext::config::{self, Config, Labelling};
use lstmtext::data::{Dataset, Targets};
use lstmtext::distributed::Group;
use lstmtext::model::{ModelSpec, initial_weights};
use lstmtext::objective::{CrossEntropy, Objective};
use lstmtext::text::{Corpus, Encoders};
use lstmtext_torch::model::Model;

/// Configuration and data of a network.
pub struct Case {
    pub config: Config,
    pub corpora: Vec<Corpus>,
    pub labels: Vec<u32>,
    pub vocabulary_sizes: Vec<usize>,
    pub ngram_counts: Vec<usize>,
    pub classes: usize,
}

/// Settings of every optimizer.
pub const OPTIMIZERS: [&str; 6] = [
    "optimizer: adam, weight_decay: 0.01",
    "optimizer: adamw",
    "optimizer: rmsprop",
    "optimizer: rmsprop, rmsprop: {momentum: 0.5}",
    "optimizer: adadelta",
    "optimizer: sgd, sgd: {momentum: 0.9, nesterov: true}",
];

const WORDS: &str = "a b c d e f g h i";

impl Case {
    /// Creates a case with texts of many lengths, in which some words are frequent.
    pub fn new(fields: &str, classes: usize) -> Self {
        let pad = if fields.contains("front") { "front" } else { "back" };
        let multi_label = fields.contains("several labels");
        let yaml = format!(
            "data: {{train: x, multi_label: {multi_label}}}\ntext: {{min_count: 1, max_length: 23, pad: {pad}}}\n{fields}"
        );
        let config = config::parse_recorded(&yaml, "test", &[]).unwrap().config;
        let words: Vec<&str> = WORDS.split(' ').collect();
        let text = |index: usize, column: usize| {
            let length = [3, 1, 17, 8, 8, 30, 2, 23][(index + column) % 8] + index / 8;
            let word = |step: usize| words[(index * 7 + step * step * (column + 1) + step / 3) % 9];
            (0..length).map(word).collect::<Vec<_>>().join(" ")
        };
        let count = config.inputs.columns().len();
        let columns = |examples: usize| -> Vec<Vec<String>> {
            (0..count).map(|column| (0..examples).map(|i| text(i, column)).collect()).collect()
        };
        // Some words are outside the vocabulary if words have character n-grams.
        let known = if fields.contains("subwords") { &WORDS[..11] } else { WORDS };
        let vocabulary = vec![vec![known.to_owned()]; count];
        let encoders = Encoders::from_texts(&config.inputs, &vocabulary).unwrap();
        let labels = (0..19).map(|i| (i * i % 7 % classes) as u32).collect();
        let corpora = encoders.encode(&columns(19));
        Self {
            config,
            corpora,
            labels,
            vocabulary_sizes: encoders.vocabulary_sizes(),
            ngram_counts: encoders.ngram_counts(),
            classes,
        }
    }

    pub fn spec(&self) -> ModelSpec<'_> {
        ModelSpec {
            config: &self.config,
            vocabulary_sizes: self.vocabulary_sizes.clone(),
            ngram_counts: self.ngram_counts.clone(),
            classes: self.classes,
        }
    }

    /// Creates a network with random weights. Initial weights would hide errors, because most of
    /// their biases are zero.
    pub fn model(&self) -> Model {
        let mut random = Pcg64::seed_from_u64(5);
        let mut weights = initial_weights(&self.spec(), 5).unwrap();
        for tensor in weights.iter_mut().filter(|tensor| !tensor.name.contains("bias_hh")) {
            tensor.values.fill_with(|| random.random_range(-0.5..0.5));
        }
        Model::new(&self.spec(), weights, Device::Cpu).unwrap()
    }

    pub fn data(&self) -> Dataset {
        let targets = match self.config.data.labelling() {
            Labelling::One => Targets::Labels(self.labels.clone()),
            // No, one or two labels.
            Labelling::Several => {
                let classes = self.classes as u32;
                let set = |label: &u32| match label {
                    0 => vec![],
                    1 => vec![1],
                    label => vec![label - 1, *label % classes],
                };
                let sets: Vec<Vec<u32>> = self.labels.iter().map(set).collect();
                Targets::LabelSets(sets.iter().map(Vec::as_slice).collect())
            }
        };
        Dataset { inputs: self.corpora.clone(), targets }
    }

    pub fn examples(&self) -> Vec<u32> {
        (0..self.labels.len() as u32).rev().collect()
    }
}

/// Returns cross-entropy with these class weights.
pub fn objective(class_weights: &[f64]) -> Objective {
    let class_weights = class_weights.to_vec();
    Objective::CrossEntropy(CrossEntropy { class_weights, ..CrossEntropy::default() })
}

/// Makes one training step.
pub fn step(
    learner: &mut dyn Learner,
    batch: &PreparedBatch,
    limit: Option<f64>,
    learning_rate: f64,
) {
    learner.step(batch, Group::ALONE, limit, learning_rate).unwrap();
}

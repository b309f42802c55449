//! Small networks of every kind with texts to read.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tch::Device;

use lstmtext::config::{self, Config};
use lstmtext::text::{Corpus, Encoders};
use lstmtext_torch::learner::{to_arrays, to_tensors};
use lstmtext_torch::model::Model;

/// What is to be agreed on.
pub struct Case {
    pub config: Config,
    pub corpora: Vec<Corpus>,
    pub labels: Vec<u32>,
    pub vocabularies: Vec<usize>,
    pub classes: usize,
}

const WORDS: &str = "a b c d e f g h i";

impl Case {
    /// Texts of many lengths, of which some words come often.
    pub fn new(fields: &str, classes: usize) -> Self {
        let pad = if fields.contains("front") { "front" } else { "back" };
        let yaml = format!(
            "data: {{train: x}}\ntext: {{min_count: 1, max_length: 23, pad: {pad}}}\n{fields}"
        );
        let config = config::parse(&yaml, "test", &[]).unwrap().config;
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
        let vocabulary = vec![vec![WORDS.to_owned()]; count];
        let encoders = Encoders::of_texts(&config.inputs, &vocabulary).unwrap();
        let labels = (0..19).map(|i| (i * i % 7 % classes) as u32).collect();
        let corpora = encoders.encode(&columns(19));
        Self { config, corpora, labels, vocabularies: encoders.sizes(), classes }
    }

    /// Always the same weights, drawn here: libtorch has one random generator for all threads, and
    /// other weights may bring maxima that are equal but for rounding, whose gradients go either way.
    pub fn model(&self) -> Model {
        let mut model =
            Model::new(&self.config, &self.vocabularies, self.classes, 5, Device::Cpu).unwrap();
        let mut random = Pcg64::seed_from_u64(5);
        let drawn = to_arrays(model.state()).into_iter().map(|mut array| {
            if !array.name.contains("bias_hh") {
                // Initial biases are zero, where a mistake with them would not show.
                array.values.fill_with(|| random.random_range(-0.5..0.5));
            }
            array
        });
        model.load(to_tensors(drawn.collect())).unwrap();
        model
    }

    pub fn examples(&self) -> Vec<u32> {
        (0..self.labels.len() as u32).rev().collect()
    }
}

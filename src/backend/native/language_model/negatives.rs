//! The random words of a step, packed for the kernel. How they are drawn, and the softmax over them, belong elsewhere.

use super::model::Model;
use crate::backend::kernel::{AlignedVec, OperandFormat, PackedMatrix};
use crate::backend::language_model::NegativeSampler;

/// The negatives of the current step.
pub struct Negatives {
    sampler: NegativeSampler,
    /// Words that were drawn, sorted, each one once.
    pub words: Vec<u32>,
    /// Vectors of the words as columns, [E, words].
    pub columns: PackedMatrix,
    /// Vectors of the words as rows, [words, E].
    pub rows: PackedMatrix,
    /// Output bias of each word and direction minus the logarithm of the probability that a step draws the word; −∞ in
    /// the padding. [directions, words].
    pub biases: Vec<AlignedVec>,
}

impl Negatives {
    /// Creates the negatives that `sampler` draws, whose vectors are packed in this format.
    pub fn new(sampler: NegativeSampler, format: OperandFormat) -> Self {
        Self {
            sampler,
            words: Vec::new(),
            columns: PackedMatrix::new(format),
            rows: PackedMatrix::new(format),
            biases: Vec::new(),
        }
    }

    /// Draws the words of a step and packs their vectors.
    pub fn draw(&mut self, step: u64, model: &Model) {
        self.words = self.sampler.distinct(step);
        let (words, lanes) = (&self.words, model.instructions.lanes());
        let (size, count) = (model.size, words.len());
        let vector = |index: usize| model.word_vector(words[index]);
        self.columns.pack_columns([size, count, lanes], 1.0, vector);
        self.rows.pack_rows([count, size, lanes], 1.0, vector);
        self.biases.resize_with(model.directions.len(), AlignedVec::default);
        for (direction, bias) in model.directions.iter().zip(&mut self.biases) {
            bias.resize(self.columns.padded_columns());
            bias[count..].fill(f32::NEG_INFINITY);
            let output_bias = model.values(direction.output_bias_index());
            for (to, word) in bias.iter_mut().zip(&self.words) {
                *to = output_bias[*word as usize] - self.sampler.log_inclusion(*word);
            }
        }
    }

    /// Returns the logarithm of the probability that a step draws a word.
    pub fn log_inclusion(&self, word: u32) -> f32 {
        self.sampler.log_inclusion(word)
    }

    /// Returns the index of a word among the negatives.
    pub fn index_of(&self, word: u32) -> Option<usize> {
        self.words.binary_search(&word).ok()
    }
}

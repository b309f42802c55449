//! The linear branch over the n-grams of an input.

use std::ops::Range;

use rayon::prelude::*;

use super::gradients::RowGradient;
use super::weight::Weight;
use crate::model::quantization::NGRAM_BLOCK;
use crate::text::Corpus;

/// Number of n-grams whose gradients a thread computes at a time.
const CHUNK: usize = 1 << 10;

/// The n-grams of one input: the indices of its parameters.
pub struct NgramBranch {
    /// Index of the input.
    pub input_index: usize,
    /// Index of the weights, [V, logits].
    pub weight: usize,
    /// Index of the values, [V, logits]; `None` if all are 1.
    pub value: Option<usize>,
}

/// N-grams of one input in a batch.
#[derive(Default)]
pub struct BatchNgrams {
    /// Rows of the n-grams of all examples, in the order of the batch.
    rows: Vec<u32>,
    /// End of each example in `rows`.
    ends: Vec<usize>,
    /// Examples of each n-gram; empty unless the batch is for training.
    postings: Postings,
}

/// Examples of each n-gram.
#[derive(Default)]
struct Postings {
    /// Different n-grams, sorted.
    rows: Vec<u32>,
    /// End of each n-gram in `examples`.
    ends: Vec<usize>,
    /// Positions in the batch of the examples of one n-gram after the other.
    examples: Vec<u32>,
}

impl BatchNgrams {
    /// Collects the n-grams of these examples; for training, also the examples of each n-gram.
    pub fn of(corpus: &Corpus, examples: &[u32], training: bool) -> Self {
        let mut ngrams = Self::default();
        for example in examples {
            ngrams.rows.extend_from_slice(corpus.ngrams(*example as usize));
            ngrams.ends.push(ngrams.rows.len());
        }
        if training {
            ngrams.postings = Postings::of(&ngrams);
        }
        ngrams
    }

    /// Returns the rows of the n-grams of an example, given by its position in the batch.
    fn rows(&self, position: usize) -> &[u32] {
        &self.rows[list(&self.ends, position)]
    }
}

impl Postings {
    fn of(ngrams: &BatchNgrams) -> Self {
        let rows = |position| ngrams.rows(position as usize).iter();
        let pair = |row: &u32, position: u32| u64::from(*row) << u32::BITS | u64::from(position);
        let pairs = 0..ngrams.ends.len() as u32;
        let pairs = pairs.flat_map(|position| rows(position).map(move |row| pair(row, position)));
        let mut pairs: Vec<u64> = pairs.collect();
        pairs.sort_unstable();
        let mut postings = Self::default();
        for (index, pair) in pairs.into_iter().enumerate() {
            let row = (pair >> u32::BITS) as u32;
            if postings.rows.last() != Some(&row) {
                postings.ends.extend((index > 0).then_some(index));
                postings.rows.push(row);
            }
            postings.examples.push(pair as u32);
        }
        postings.ends.extend((!postings.rows.is_empty()).then_some(postings.examples.len()));
        postings
    }
}

/// Range of the list at `index`, given the ends of all lists.
fn list(ends: &[usize], index: usize) -> Range<usize> {
    index.checked_sub(1).map_or(0, |before| ends[before])..ends[index]
}

impl NgramBranch {
    /// Adds the logits of the n-grams of an example, given by its position in the batch.
    pub fn add_logits(
        &self,
        weights: &[Weight],
        ngrams: &BatchNgrams,
        position: usize,
        logits: &mut [f64],
    ) {
        let count = logits.len();
        if let Some(products) = &weights[self.weight].quantized {
            for row in ngrams.rows(position) {
                let first = *row as usize * count;
                let values = &products.values[first..first + count];
                for (index, (logit, value)) in (first..).zip(logits.iter_mut().zip(values)) {
                    *logit += f64::from(f32::from(*value) * products.scales[index / NGRAM_BLOCK]);
                }
            }
            return;
        }
        let weight = &weights[self.weight].tensor.values;
        let value = self.value.map(|value| &weights[value].tensor.values[..]);
        for row in ngrams.rows(position) {
            let range = *row as usize * count..(*row as usize + 1) * count;
            let row = logits.iter_mut().zip(&weight[range.clone()]);
            match value {
                None => row.for_each(|(logit, weight)| *logit += f64::from(*weight)),
                Some(value) => row.zip(&value[range]).for_each(|((logit, weight), value)| {
                    *logit += f64::from(*weight) * f64::from(*value);
                }),
            }
        }
    }

    /// Writes the gradient of the weights of the batch's n-grams. `slopes` has the gradient of the logits
    /// of each example, [B, logits].
    pub fn gradient(
        &self,
        weights: &[Weight],
        ngrams: &BatchNgrams,
        slopes: &[f32],
        gradient: &mut RowGradient,
    ) {
        let Postings { rows, ends, examples } = &ngrams.postings;
        let value = self.value.map(|value| &weights[value].tensor.values[..]);
        let logits = weights[self.weight].tensor.shape[1];
        gradient.parameter = self.weight;
        gradient.words.clone_from(rows);
        gradient.values.clear();
        gradient.values.resize(rows.len() * logits, 0.0);
        let chunks = gradient.values.par_chunks_mut(CHUNK * logits).enumerate();
        chunks.for_each(|(chunk, gradients)| {
            for (index, to) in (chunk * CHUNK..).zip(gradients.chunks_exact_mut(logits)) {
                for example in &examples[list(ends, index)] {
                    let from = &slopes[*example as usize * logits..][..logits];
                    to.iter_mut().zip(from).for_each(|(to, slope)| *to += slope);
                }
                if let Some(value) = value {
                    let value = &value[rows[index] as usize * logits..][..logits];
                    to.iter_mut().zip(value).for_each(|(to, value)| *to *= value);
                }
            }
        });
    }
}

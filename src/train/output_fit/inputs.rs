//! Inputs of the output layers: pooled states, and n-grams. Losses don't belong here.

use std::sync::Arc;

use rayon::prelude::*;

use crate::backend::native::NativeInference;
use crate::config::{NgramWeighting, TrainConfig};
use crate::data::batch_plan::{BatchLimit, Bucketing};
use crate::data::{Dataset, Targets};
use crate::model::naive_bayes::log_count_ratios;
use crate::model::parameters::{ngram_value_name, ngram_weight_name};
use crate::model::{ModelSpec, NamedTensor};
use crate::text::Corpus;

/// Name of the weights of the head.
pub const HEAD_WEIGHT: &str = "head.weight";
/// Number of examples whose gradients a thread sums at a time. Sums do not depend on the number of threads.
const CHUNK: usize = 256;
/// Number of n-grams whose gradients a thread computes at a time.
const NGRAM_CHUNK: usize = 1 << 12;

/// Inputs of a linear model for some examples.
pub trait Inputs: Sync {
    /// Number of weights.
    fn weights(&self) -> usize;

    /// Adds the products of an example with the weights to its logits.
    fn add_logits(&self, example: usize, weights: &[f64], logits: &mut [f64]);

    /// Writes the gradient of the weights, which are 0 before, given those of the logits, [N, logits].
    fn gradient(&self, slopes: &[f64], gradient: &mut [f64]);
}

/// Pooled states of the LSTMs, as inputs of the head. The weights are [logits, D].
pub struct States {
    /// [N, D].
    pub(super) values: Vec<f32>,
    /// D.
    pub(super) features: usize,
    pub(super) logits: usize,
}

impl States {
    /// Computes the states of all examples of two sets. Returns `None` if the model has no LSTM.
    ///
    /// # Errors
    /// Returns an error if the weights do not fit the model.
    pub fn of_sets(
        spec: &ModelSpec,
        weights: &[NamedTensor],
        sets: [&Dataset; 2],
    ) -> anyhow::Result<Option<[Self; 2]>> {
        let Some(head) = weights.iter().find(|tensor| tensor.name == HEAD_WEIGHT) else {
            return Ok(None);
        };
        let (logits, features) = (head.shape[0], head.shape[1]);
        let network = NativeInference::new(spec, weights.to_vec())?;
        let states = |set: &Dataset| {
            let values = pooled_states(&network, set, features, &spec.config.train);
            Self { values, features, logits }
        };
        Ok(Some(sets.map(states)))
    }

    fn example(&self, example: usize) -> &[f32] {
        &self.values[example * self.features..][..self.features]
    }
}

/// Returns the pooled states of all examples, [N, D].
fn pooled_states(
    network: &NativeInference,
    set: &Dataset,
    width: usize,
    config: &TrainConfig,
) -> Vec<f32> {
    let limit = BatchLimit::Examples(config.validation_batch_size);
    let plan = Bucketing::sorted(limit, &set.lengths());
    let batches: Vec<&[u32]> = plan.batches().collect();
    let mut all = vec![0.0; set.len() * width];
    let rows = network.features_of_batches(&set.inputs, &batches);
    for (examples, rows) in batches.into_iter().zip(rows) {
        for (example, row) in examples.iter().zip(rows.chunks_exact(width)) {
            all[*example as usize * width..][..width].copy_from_slice(row);
        }
    }
    all
}

impl Inputs for States {
    fn weights(&self) -> usize {
        self.logits * self.features
    }

    fn add_logits(&self, example: usize, weights: &[f64], logits: &mut [f64]) {
        let states = self.example(example);
        for (logit, weights) in logits.iter_mut().zip(weights.chunks_exact(self.features)) {
            *logit += weights.iter().zip(states).map(|(w, x)| w * f64::from(*x)).sum::<f64>();
        }
    }

    fn gradient(&self, slopes: &[f64], gradient: &mut [f64]) {
        let chunks = slopes.par_chunks(CHUNK * self.logits).enumerate();
        let sums: Vec<Vec<f64>> = chunks
            .map(|(chunk, slopes)| {
                let mut sums = vec![0.0; self.weights()];
                for (example, slopes) in (chunk * CHUNK..).zip(slopes.chunks_exact(self.logits)) {
                    let states = self.example(example);
                    for (sums, slope) in sums.chunks_exact_mut(self.features).zip(slopes) {
                        let pairs = sums.iter_mut().zip(states);
                        pairs.for_each(|(sum, x)| *sum += slope * f64::from(*x));
                    }
                }
                sums
            })
            .collect();
        for sums in sums {
            gradient.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
    }
}

/// N-grams of all inputs. The weights are those of one input after the other, [n-grams, logits] each.
pub struct NgramInputs<'a>(Vec<NgramInput<'a>>);

/// N-grams of one input.
struct NgramInput<'a> {
    /// Name of the tensor of the weights.
    name: String,
    corpus: &'a Corpus,
    /// Number of n-grams.
    ngrams: usize,
    logits: usize,
    /// Value of each n-gram for each logit, [n-grams, logits]; `None` if all are 1.
    values: Option<Vec<f32>>,
    /// Values are multiplied by inverse document frequencies.
    times_idf: bool,
    /// Ends of the lists of examples of each n-gram.
    ends: Arc<[usize]>,
    /// Examples of one n-gram after the other.
    examples: Arc<[u32]>,
}

impl<'a> NgramInputs<'a> {
    /// Returns the n-grams of a set; `None` if the model has none.
    pub fn of_set(spec: &ModelSpec, weights: &[NamedTensor], set: &'a Dataset) -> Option<Self> {
        let tensor = |name: String| weights.iter().find(|tensor| tensor.name == name);
        let inputs = spec.config.inputs.iter().zip(&set.inputs);
        let inputs: Vec<NgramInput> = inputs
            .filter_map(|(input, corpus)| {
                let weight = tensor(ngram_weight_name(input))?;
                let (ngrams, logits) = (weight.shape[0], weight.shape[1]);
                let values = tensor(ngram_value_name(input)).map(|tensor| tensor.values.clone());
                let (ends, examples) = postings(corpus, ngrams);
                let name = weight.name.clone();
                let times_idf = input.ngrams.weighting == NgramWeighting::NaiveBayesIdf;
                let (ends, examples) = (ends.into(), examples.into());
                Some(NgramInput { name, corpus, ngrams, logits, values, times_idf, ends, examples })
            })
            .collect();
        (!inputs.is_empty()).then_some(Self(inputs))
    }

    /// Returns the same n-grams for fits to each of some lists of examples, with values of naive Bayes that come from
    /// these examples alone. Those of all examples would tell a fit the labels of the examples that are held out.
    /// Values from elsewhere, such as a checkpoint, stay.
    ///
    /// # Errors
    /// Returns an error if a process is lost that has some of the texts.
    pub fn of_parts(&self, targets: &Targets, parts: &[Vec<usize>]) -> anyhow::Result<Vec<Self>> {
        let all: Vec<usize> = (0..targets.len()).collect();
        let mut of_parts: Vec<Self> = parts.iter().map(|_| Self(Vec::new())).collect();
        for input in &self.0 {
            let ratios = |counted: &[usize]| {
                let (shape, counted) = ([input.ngrams, input.logits], counted.iter().copied());
                log_count_ratios(input.corpus, targets, counted, shape, input.times_idf).map(Some)
            };
            let is_from_targets = input.values.is_some() && input.values == ratios(&all)?;
            for (of_part, counted) in of_parts.iter_mut().zip(parts) {
                let values = if is_from_targets { ratios(counted)? } else { input.values.clone() };
                let (ends, examples) = (input.ends.clone(), input.examples.clone());
                let name = input.name.clone();
                of_part.0.push(NgramInput { name, values, ends, examples, ..*input });
            }
        }
        Ok(of_parts)
    }

    /// Names of the tensors of weights, with their number of weights.
    pub fn tensors(&self) -> impl Iterator<Item = (String, usize)> {
        self.0.iter().map(|input| (input.name.clone(), input.weights()))
    }
}

/// Returns the examples of each n-gram, one list after the other, and the ends of the lists.
fn postings(corpus: &Corpus, ngrams: usize) -> (Vec<usize>, Vec<u32>) {
    let mut starts = vec![0; ngrams + 1];
    for example in 0..corpus.len() {
        corpus.ngrams(example).iter().for_each(|row| starts[*row as usize + 1] += 1);
    }
    for row in 0..ngrams {
        starts[row + 1] += starts[row];
    }
    let mut examples = vec![0; starts[ngrams]];
    for example in 0..corpus.len() {
        for row in corpus.ngrams(example) {
            let next = &mut starts[*row as usize];
            examples[*next] = example as u32;
            *next += 1;
        }
    }
    starts.truncate(ngrams);
    (starts, examples)
}

impl NgramInput<'_> {
    fn weights(&self) -> usize {
        self.ngrams * self.logits
    }

    fn value(&self, index: usize) -> f64 {
        self.values.as_ref().map_or(1.0, |values| f64::from(values[index]))
    }
}

impl Inputs for NgramInputs<'_> {
    fn weights(&self) -> usize {
        self.0.iter().map(NgramInput::weights).sum()
    }

    fn add_logits(&self, example: usize, mut weights: &[f64], logits: &mut [f64]) {
        for input in &self.0 {
            let of_input;
            (of_input, weights) = weights.split_at(input.weights());
            for row in input.corpus.ngrams(example) {
                let first = *row as usize * input.logits;
                for (index, logit) in (first..).zip(&mut *logits) {
                    *logit += of_input[index] * input.value(index);
                }
            }
        }
    }

    fn gradient(&self, slopes: &[f64], mut gradient: &mut [f64]) {
        for input in &self.0 {
            let of_input;
            (of_input, gradient) = gradient.split_at_mut(input.weights());
            let chunks = of_input.par_chunks_mut(NGRAM_CHUNK * input.logits).enumerate();
            chunks.for_each(|(chunk, gradient)| {
                let rows = (chunk * NGRAM_CHUNK..).zip(gradient.chunks_exact_mut(input.logits));
                for (row, gradient) in rows {
                    let start = row.checked_sub(1).map_or(0, |before| input.ends[before]);
                    for example in &input.examples[start..input.ends[row]] {
                        let slopes = &slopes[*example as usize * input.logits..][..input.logits];
                        gradient.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope);
                    }
                    let first = row * input.logits;
                    let values = (first..).map(|index| input.value(index));
                    gradient.iter_mut().zip(values).for_each(|(sum, value)| *sum *= value);
                }
            });
        }
    }
}

//! An estimate of the memory that a model takes, before it is created.

use std::fmt;

use serde::Serialize;

use super::kernel::GATES;
use super::optimizer_state::state_names;
use crate::config::{AutoNumber, AverageMethod, Config, Input};
use crate::data::Dataset;
use crate::data::batch_plan::Bucketing;
use crate::model::parameters::{Role, parameters};
use crate::model::{ModelSpec, Parameter};
use crate::output::format::format_bytes;
use crate::system::memory;

/// Bytes of a number of a tensor.
const FLOAT: f64 = 4.0;
/// Maximum number of lanes of a vector; the number of units is padded to a multiple of it.
const LANES: usize = 16;

/// Largest batch of a training run.
#[derive(Clone, Debug, Default)]
pub struct LargestBatch {
    /// Number of examples.
    examples: usize,
    /// Number of tokens.
    tokens: usize,
    /// Steps of the longest text of each input.
    steps: Vec<usize>,
    /// Number of distinct words of each input.
    words: Vec<usize>,
    /// Number of n-grams of all texts.
    ngrams: usize,
    /// Largest number of examples that are scored at once.
    scored: usize,
}

/// Division of a training step, on which the memory that it needs at once depends.
#[derive(Clone, Copy, Debug)]
pub struct Concurrency {
    /// Number of shards of a batch.
    pub shards: usize,
    /// Number of threads, each of which computes a shard at a time.
    pub threads: usize,
    /// Number of texts of a shard that are computed, forward and backward, at a time.
    pub block: usize,
}

/// Estimated memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct MemoryEstimate {
    /// Weights, also in the layout of the kernel, and their averages.
    pub weights: u64,
    /// Gradients of the weights.
    pub gradients: u64,
    /// Optimizer state, and the state of weight averaging.
    pub optimizer: u64,
    /// Activations of the largest batch, and predictions.
    pub activations: u64,
    /// Copies of weights and optimizer state while a checkpoint is written or read.
    pub checkpoint: u64,
}

/// Number of character n-grams of a long word.
const NGRAMS_OF_WORD: usize = 40;

impl LargestBatch {
    /// Finds the largest batch of the first epoch of these sets of texts.
    pub fn of<'a>(config: &Config, sets: impl Iterator<Item = &'a Dataset>, scored: usize) -> Self {
        let batches = sets.map(|data| Self::of_set(config, data, scored));
        let tokens = |batch: &Self| batch.tokens;
        batches.max_by_key(tokens).unwrap_or_default()
    }

    fn of_set(config: &Config, train: &Dataset, scored: usize) -> Self {
        let lengths = train.lengths();
        let plan = Bucketing::new(&config.train).plan(&lengths, config.train.seed, 0);
        let largest = plan.batches().max_by_key(|examples| train.tokens_of(examples));
        let largest = largest.unwrap_or_default();
        let words = config.inputs.iter().zip(&train.inputs).map(|(input, corpus)| {
            if corpus.is_sharded() {
                // Other processes have some of the texts: the largest possible number.
                let tokens = largest.iter().map(|example| corpus.length(*example as usize));
                return tokens.sum::<usize>().min(input.text.vocabulary_size);
            }
            let texts = largest.iter().map(|example| corpus.text(*example as usize));
            let mut words: Vec<u32> = texts.flatten().copied().collect();
            words.sort_unstable();
            words.dedup();
            words.len()
        });
        let ngrams = train.inputs.iter().map(|corpus| -> usize {
            largest.iter().map(|example| corpus.ngram_count(*example as usize)).sum()
        });
        Self {
            tokens: train.tokens_of(largest),
            ngrams: ngrams.sum(),
            examples: largest.len(),
            steps: lengths.iter().map(|input| input.iter().copied().max().unwrap_or(0)).collect(),
            words: words.collect(),
            scored,
        }
    }

    /// Returns the largest batch that a configuration permits, for these vocabulary sizes.
    pub fn permitted(config: &Config, vocabulary_sizes: &[usize]) -> Self {
        let steps: Vec<usize> = config.inputs.iter().map(|input| input.text.max_length).collect();
        let examples = match config.train.token_budget {
            Some(AutoNumber::Number(tokens)) => tokens / steps.iter().sum::<usize>().max(1),
            _ => config.train.batch_size,
        };
        let examples = examples.max(1);
        let words = steps.iter().zip(vocabulary_sizes);
        let words = words.map(|(steps, size)| examples.saturating_mul(*steps).min(*size)).collect();
        let ngrams = config.inputs.iter().zip(&steps);
        let ngrams: usize = ngrams
            .map(|(input, steps)| examples.saturating_mul(steps * input.ngrams.sizes.0.len()))
            .fold(0, usize::saturating_add);
        let tokens = examples.saturating_mul(steps.iter().sum());
        Self { examples, tokens, steps, words, ngrams, scored: 0 }
    }
}

impl MemoryEstimate {
    /// Estimates the memory that training takes, besides the data.
    ///
    /// # Errors
    /// Returns an error if the model cannot have this number of classes.
    pub fn training(
        spec: &ModelSpec,
        batch: &LargestBatch,
        concurrency: Concurrency,
    ) -> anyhow::Result<Self> {
        let parameters = parameters(spec)?;
        let config = spec.config;
        let shards = concurrency.shards.min(batch.examples).max(1) as f64;
        let threads = (concurrency.threads as f64).min(shards);
        let rows = concurrency.block.min(batch.examples.div_ceil(shards as usize)) as f64;
        let (all, packed) = (count(&parameters, |_| true), packed(config));
        let trainable = count(&parameters, |parameter| parameter.trainable);
        let unpacked =
            |role| matches!(role, Role::AttentionQuery | Role::HeadWeight | Role::HeadBias);
        let dense = packed + count(&parameters, |parameter| unpacked(parameter.role));
        // The shards of a thread are added pair by pair: one sum for each level of the tree.
        let sums = threads * (1.0 + (shards / threads).log2().ceil());
        // Unlabelled texts have gradients of their own, which are then added.
        let copies = if config.train.has_unlabelled_terms() { 2.0 } else { 1.0 };
        let mut gradients = (copies + sums) * dense;
        let (mut activations, mut tables) = (0.0, 0.0);
        // The n-grams of two batches, with the examples of each, and their gradients.
        gradients += copies * batch.ngrams as f64 * spec.classes as f64;
        activations += copies * 2.0 * 4.0 * batch.ngrams as f64;
        let inputs = config.inputs.iter().zip(&spec.vocabulary_sizes);
        for ((input, size), (steps, words)) in inputs.zip(batch.steps.iter().zip(&batch.words)) {
            if !input.has_lstm() {
                continue;
            }
            if input.embedding.trainable {
                gradients += copies * (*words * input.embedding.size) as f64;
                let subwords = &input.embedding.subwords;
                if subwords.is_on() {
                    let buckets = (words * NGRAMS_OF_WORD).min(subwords.buckets);
                    gradients += copies * (buckets * input.embedding.size) as f64;
                    activations += copies * 4.0 * (words * NGRAMS_OF_WORD) as f64;
                }
            }
            // Frequent words occur in every shard, rare ones in one of them.
            let words_of_shard = *words as f64 / shards.sqrt();
            let tokens = rows * *steps as f64;
            activations += threads * shard_activations(input, tokens, words_of_shard);
            if config.train.has_perturbations() {
                activations += threads * tokens * perturbation_activations(input);
            }
            // Row numbers of the words, for training and for validation, and the last update of each row.
            tables += (*size as f64) * (2.0 + 2.0 * concurrency.threads as f64 + 1.0);
        }
        // Log-probabilities in double precision, by batch and by example.
        let predictions = 4.0 * (batch.scored as f64) * (spec.classes as f64);
        let averages = match config.train.average.method {
            AverageMethod::None => 0.0,
            AverageMethod::Ema | AverageMethod::Swa => trainable,
        };
        let optimizer = state_names(&config.train).len() as f64 * trainable + averages;
        Ok(Self {
            weights: bytes(all + 2.0 * packed + averages),
            gradients: bytes(gradients),
            optimizer: bytes(optimizer),
            activations: bytes(activations + tables + predictions),
            // Either both are copied to write them, or the weights are read: the file and its tensors.
            checkpoint: bytes(all + (averages + optimizer).max(all)),
        })
    }

    /// Estimates the memory of a network that predicts.
    ///
    /// # Errors
    /// Returns an error if the model cannot have this number of classes.
    pub fn inference(spec: &ModelSpec) -> anyhow::Result<Self> {
        let all = count(&parameters(spec)?, |_| true);
        let weights = bytes(all + 2.0 * packed(spec.config));
        Ok(Self { weights, checkpoint: bytes(all), ..Self::default() })
    }

    /// Estimates the memory of a network that predicts with the tensors of a quantized model: a byte for each
    /// weight, and the layout of the kernel in at most single precision.
    ///
    /// # Errors
    /// Returns an error if the model cannot have this number of classes.
    pub fn quantized_inference(spec: &ModelSpec) -> anyhow::Result<Self> {
        let all = bytes(count(&parameters(spec)?, |_| true) / FLOAT);
        let weights = all + bytes(2.0 * packed(spec.config));
        Ok(Self { weights, checkpoint: all, ..Self::default() })
    }

    /// Estimates the memory of a checkpoint that is exported: its weights and the file with them.
    ///
    /// # Errors
    /// Returns an error if the model cannot have this number of classes.
    pub fn export(spec: &ModelSpec) -> anyhow::Result<Self> {
        let weights = bytes(count(&parameters(spec)?, |_| true));
        Ok(Self { weights, checkpoint: weights, ..Self::default() })
    }

    /// Estimates the memory of a checkpoint that is imported: as for an export, with a new optimizer state.
    ///
    /// # Errors
    /// Returns an error if the model cannot have this number of classes.
    pub fn import(spec: &ModelSpec) -> anyhow::Result<Self> {
        let trainable = count(&parameters(spec)?, |parameter| parameter.trainable);
        let optimizer = bytes(state_names(&spec.config.train).len() as f64 * trainable);
        Ok(Self { optimizer, ..Self::export(spec)? })
    }

    /// Sum of all parts.
    pub fn total(&self) -> u64 {
        self.parts().into_iter().fold(0, |sum, (_, bytes)| sum.saturating_add(bytes))
    }

    /// Checks that this memory is available. `purpose` says for what it is needed.
    ///
    /// # Errors
    /// Returns an error with the settings to lower if it is not.
    pub fn check(&self, spec: &ModelSpec, purpose: &str) -> anyhow::Result<()> {
        memory::check(self.total(), purpose, &self.advice(spec))
    }

    /// Names the settings on which the largest part depends.
    fn advice(&self, spec: &ModelSpec) -> String {
        if self.activations > self.total() / 2 {
            return "lower text.max_length, train.batch_size, model.lstm.units or --threads".into();
        }
        let parameters = parameters(spec).unwrap_or_default().into_iter();
        let largest = parameters.max_by(|a, b| size(a).total_cmp(&size(b)));
        let settings = match largest.map(|parameter| parameter.role) {
            Some(Role::Embedding { .. }) => "text.vocabulary_size or model.embedding.size",
            Some(Role::Subwords { .. }) => {
                "model.embedding.subwords.buckets or model.embedding.size"
            }
            Some(Role::NgramWeight { .. } | Role::NgramValue { .. }) => {
                "model.ngrams.vocabulary or model.ngrams.buckets"
            }
            Some(Role::HeadWeight | Role::HeadBias) => "the number of labels or model.lstm.units",
            _ => "model.lstm.units or model.lstm.layers",
        };
        format!("lower {settings}")
    }

    /// Returns the parts under the names that are printed.
    fn parts(&self) -> [(&'static str, u64); 5] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer state", self.optimizer),
            ("activations", self.activations),
            ("checkpoints", self.checkpoint),
        ]
    }
}

impl fmt::Display for MemoryEstimate {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let parts = self.parts().map(|(name, bytes)| format!("{name} {}", format_bytes(bytes)));
        write!(f, "about {} ({})", format_bytes(self.total()), parts.join(", "))
    }
}

fn bytes(floats: f64) -> u64 {
    // Saturates.
    (FLOAT * floats) as u64
}

/// Number of values of the parameters that count.
fn count(parameters: &[Parameter], counts: impl Fn(&Parameter) -> bool) -> f64 {
    parameters.iter().filter(|parameter| counts(parameter)).map(size).sum()
}

/// Number of values of a parameter.
fn size(parameter: &Parameter) -> f64 {
    parameter.shape.iter().map(|length| *length as f64).product()
}

/// Number of weights of all LSTM cells in the layout of the kernel, which pads units.
fn packed(config: &Config) -> f64 {
    let of_input = |input: &Input| {
        if !input.has_lstm() {
            return 0.0;
        }
        let units = input.lstm.units;
        let layer = |layer| {
            let inputs = if layer == 0 { input.embedding.size } else { input.state_size() };
            gates(input) * (inputs as f64 + units as f64 + 1.0)
        };
        (0..input.lstm.layers).map(layer).sum::<f64>() * input.lstm.directions() as f64
    };
    config.inputs.iter().map(of_input).sum()
}

/// Number of gate values of a step.
fn gates(input: &Input) -> f64 {
    (GATES * input.lstm.units.next_multiple_of(LANES)) as f64
}

/// Number of floats that a shard keeps for the backward pass, and for predictions.
fn shard_activations(input: &Input, tokens: f64, words: f64) -> f64 {
    let (size, gates) = (input.embedding.size as f64, gates(input));
    let (directions, features) = (input.lstm.directions() as f64, input.state_size() as f64);
    let hidden = gates / GATES as f64;
    // Word vectors and their projection, with gradients, and once more for predictions.
    let words = words * (3.0 * size + 3.0 * directions * gates);
    // Gates, hidden and cell state, and the gradient of the hidden state; the hidden state for predictions.
    let layer = directions * (gates + 4.0 * hidden);
    // Layers above the first project every token. Both directions need their gradients in text order.
    let reverse = if directions > 1.0 { gates + features } else { 0.0 };
    let upper = layer + 2.0 * directions * gates + 3.0 * features + reverse;
    let bottom = match input.embedding.dropout {
        0.0 => layer,
        _ => layer + directions * gates + 2.0 * size,
    };
    // The weights of the tokens and the gradient of their scores.
    let attention = if input.has_attention() { 2.0 } else { 0.0 };
    words + tokens * (bottom + upper * (input.lstm.layers as f64 - 1.0) + attention)
}

/// Number of floats that adversarial training keeps for each token in addition.
fn perturbation_activations(input: &Input) -> f64 {
    let (size, directions) = (input.embedding.size as f64, input.lstm.directions() as f64);
    // Inputs, their gradients in each direction, and the perturbation; the projections of the inputs,
    // and the gradient of a backward direction in text order.
    (2.0 + directions) * size + (2.0 * directions - 1.0) * gates(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn training(fields: &str, vocabulary_size: usize, classes: usize) -> (MemoryEstimate, String) {
        let yaml = format!("data: {{train: x}}\n{fields}\n");
        let config = config::parse_plain(&yaml).config;
        let vocabulary_sizes = vec![vocabulary_size];
        let spec = ModelSpec { config: &config, vocabulary_sizes, ngram_counts: vec![0], classes };
        let batch = LargestBatch::permitted(&config, &spec.vocabulary_sizes);
        let concurrency = Concurrency { shards: config.train.shard_count(), threads: 2, block: 12 };
        let estimate = MemoryEstimate::training(&spec, &batch, concurrency).unwrap();
        (estimate, estimate.advice(&spec))
    }

    #[test]
    fn more_shards_than_threads_need_little_more_memory() {
        let estimate = |shards: usize| {
            let fields = format!("model: {{lstm: {{units: 512}}}}\ntrain: {{shards: {shards}}}");
            training(&fields, 1_000, 2).0
        };
        let sums = |shards| estimate(shards).gradients as f64 / estimate(1).gradients as f64;
        assert!((1.4..1.6).contains(&sums(2)), "a sum for each of 2 threads: {}", sums(2));
        assert!((4.2..4.6).contains(&sums(16)), "4 levels of each: {}", sums(16));
        assert!(estimate(16).activations < estimate(2).activations, "shards have fewer texts");
    }

    #[test]
    fn weights_and_optimizer_state_are_those_of_the_parameters() {
        let fields = "model: {embedding: {size: 100}, lstm: {units: 64}}\ntrain: {optimizer: adam";
        let (estimate, _) = training(&format!("{fields}}}"), 50_000, 2);
        let embedding = 4 * 50_000 * 100;
        let cell = 4 * 4 * 64 * (100 + 64 + 1);
        assert_eq!(estimate.weights, embedding + 3 * cell + 4 * 4 * 64 + 4 * 65);
        assert_eq!(estimate.optimizer, 2 * (embedding + cell + 4 * 65));
        assert!(estimate.total() > estimate.weights + estimate.optimizer);
        let (averaged, _) = training(&format!("{fields}, average: {{method: ema}}}}"), 50_000, 2);
        let trainable = embedding + cell + 4 * 65;
        assert_eq!(averaged.weights, estimate.weights + trainable);
        assert_eq!(averaged.optimizer, estimate.optimizer + trainable);
        assert_eq!(averaged.checkpoint, estimate.checkpoint + 2 * trainable);
    }

    #[test]
    fn adversarial_training_and_concatenated_poolings_need_more_memory() {
        let estimate = |model: &str, train: &str| {
            let fields = format!("model: {{lstm: {{units: 64}}, {model}}}\ntrain: {{{train}}}");
            training(&fields, 1_000, 2).0
        };
        let plain = estimate("pooling: mean", "optimizer: adam");
        let adversarial = estimate("pooling: mean", "adversarial: {epsilon: 1}");
        assert!(adversarial.activations as f64 > 1.3 * plain.activations as f64);
        assert_eq!(adversarial.weights, plain.weights);
        let attention = estimate("pooling: [mean, attention]", "optimizer: adam");
        // The query, and the weights of its features in the head.
        assert_eq!(attention.weights, plain.weights + 4 * (64 + 64));
        assert_eq!(attention.optimizer, plain.optimizer + 2 * 4 * (64 + 64));
    }

    #[test]
    fn the_advice_names_the_settings_of_the_largest_part() {
        let advice = |length: usize, model: &str, vocabulary_size, classes| {
            let fields = format!("text: {{max_length: {length}}}\nmodel: {{{model}}}");
            training(&fields, vocabulary_size, classes).1
        };
        assert!(advice(5, "embedding: {size: 500}", 1_000_000, 2).contains("vocabulary_size"));
        assert!(advice(5, "lstm: {units: 20000}", 100, 2).contains("lstm.units"));
        assert!(advice(5, "lstm: {units: 1000}", 100, 60_000).contains("number of labels"));
        assert!(advice(1_000_000, "", 1_000, 2).contains("max_length"));
    }

    #[test]
    fn the_largest_model_is_estimated_without_overflow() {
        let fields = "text: {max_length: 1000000, vocabulary_size: 50000000}\n\
                      model: {embedding: {size: 65536}, lstm: {units: 65536, layers: 64}}\n\
                      train: {batch_size: 1000000}";
        let (estimate, _) = training(fields, 50_000_000, 65_536);
        assert!(estimate.total() > 1 << 50);
    }
}

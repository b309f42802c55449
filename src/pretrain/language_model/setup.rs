//! Creates the parts of the training of a language model: weights, learner and trainer.

use anyhow::{Context, ensure};

use super::console::Console;
use super::files::{RunFiles, TensorBoard};
use super::stream::{Rows, TokenStream};
use super::trainer::{LanguageModelTrainer, Parts};
use crate::backend::language_model::{self, DropoutRates, check_memory};
use crate::backend::{Backend, LanguageModelLearner, LanguageModelSettings};
use crate::config::{BackendKind, Config, Input, LanguageModelConfig, Precision, Resolved};
use crate::distributed::Collective;
use crate::model::parameters::embedding_name;
use crate::model::{LanguageModelSpec, NamedTensor};
use crate::output::{message, note};
use crate::pretrain::PretrainingTexts;
use crate::random::{SeedPurpose, derive_seed};
use crate::run::checkpoint::Checkpoint;
use crate::run::directory::RunDirectory;
use crate::run::language_model::LanguageModelProgress;
use crate::text::{Encoders, coverage, read_vectors};

/// Share of the tokens of an epoch from which on a note says that they are left out.
const MAX_LEFT_OUT: f64 = 0.05;

/// Weights and state with which training begins.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Initial weights.
    New,
    /// Weights and state of this checkpoint of the same run.
    Resume(&'a Checkpoint),
}

/// Returns the specification of the language model of a configuration for these texts.
fn spec<'a>(config: &'a Config, texts: &PretrainingTexts) -> LanguageModelSpec<'a> {
    LanguageModelSpec {
        input: &config.inputs[0],
        vocabulary_size: texts.encoder.vocabulary().len(),
    }
}

/// Draws the initial weights of a language model. Word vectors in `model.embedding.vectors` replace random ones, with
/// mean 0 and variance 1 in each dimension.
///
/// # Errors
/// Returns an error if the file of the word vectors cannot be used.
fn starting_weights(config: &Config, texts: &PretrainingTexts) -> anyhow::Result<Vec<NamedTensor>> {
    let spec = spec(config, texts);
    let mut weights = spec.initial_weights(derive_seed(config.train.seed, SeedPurpose::Weights));
    let input = spec.input;
    let Some(path) = &input.embedding.vectors else { return Ok(weights) };
    let seed = derive_seed(config.train.seed, SeedPurpose::WordVectors(0));
    let size = input.embedding.size;
    let vectors = read_vectors(path, texts.encoder.vocabulary(), size, seed);
    let mut vectors = vectors.with_context(|| input.field("embedding.vectors"))?;
    let found = coverage(&vectors.found, &texts.counts);
    message(format!(
        "vectors: {:.2} % of the words and {:.2} % of the tokens have a vector in \"{}\"",
        100.0 * found.types,
        100.0 * found.tokens,
        path.display()
    ));
    normalize(&mut vectors.values, &texts.counts, size);
    for tensor in weights.iter_mut().filter(|tensor| tensor.name == embedding_name(input)) {
        std::mem::swap(&mut tensor.values, &mut vectors.values);
    }
    Ok(weights)
}

/// Shifts and scales word vectors [V, E] of words with these counts, so that each dimension has the mean 0 and the
/// variance 1 over the tokens.
fn normalize(vectors: &mut [f32], counts: &[u64], size: usize) {
    let total = counts.iter().sum::<u64>().max(1) as f64;
    let (mut means, mut squares) = (vec![0.0; size], vec![0.0; size]);
    for (vector, count) in vectors.chunks_exact(size).zip(counts) {
        let frequency = *count as f64 / total;
        for ((mean, square), value) in means.iter_mut().zip(&mut squares).zip(vector) {
            *mean += frequency * f64::from(*value);
            *square += frequency * f64::from(*value).powi(2);
        }
    }
    for vector in vectors.chunks_exact_mut(size) {
        for ((value, mean), square) in vector.iter_mut().zip(&means).zip(&squares) {
            let variance = square - mean * mean;
            let scale = if variance > 1e-12 { variance.sqrt().recip() } else { 1.0 };
            *value = ((f64::from(*value) - mean) * scale) as f32;
        }
    }
}

/// Returns the dropout rates of a configuration.
fn dropout_rates(config: &LanguageModelConfig) -> DropoutRates {
    DropoutRates {
        embedding: config.embedding_dropout,
        input: config.input_dropout,
        hidden: config.hidden_dropout,
        weight: config.weight_dropout,
        output: config.dropout,
    }
}

/// Divides the tokens of some texts into rows and steps.
///
/// # Errors
/// Returns an error if there are too few texts.
pub fn rows(config: &Config, texts: &PretrainingTexts) -> anyhow::Result<Rows> {
    // A START token stands before each text.
    let tokens = (texts.tokens() + texts.texts()) as u64;
    let LanguageModelConfig { batch_size, sequence_length, .. } = config.pretrain.language_model;
    let rows = Rows::new(tokens, batch_size, sequence_length);
    rows.context("there are too few texts to learn a language model from")
}

/// Returns the settings of a training on texts with these numbers of occurrences of each id, `[V]`, divided into these
/// rows. `seed` determines negatives and dropout.
///
/// # Errors
/// Returns an error if the model does not fit into memory.
pub fn settings(
    backend: &dyn Backend,
    config: &Config,
    counts: Vec<u64>,
    seed: u64,
    rows: Rows,
) -> anyhow::Result<LanguageModelSettings> {
    let of_model = &config.pretrain.language_model;
    let input = &config.inputs[0];
    let spec = LanguageModelSpec { input, vocabulary_size: counts.len() };
    let settings = LanguageModelSettings {
        rows: rows.count,
        negatives: of_model.negatives,
        counts,
        dropout: dropout_rates(of_model),
        gradient_clip: of_model.gradient_clip,
        shards: config.train.shard_count().min(rows.count),
        seed,
        precision: config.precision,
    };
    // The memory of another device is not known.
    if backend.kind() == BackendKind::Native {
        check_memory(&spec, &settings, rows.steps)?;
    }
    Ok(settings)
}

/// Checks that each process has a row of a batch divided into these rows. The native backend needs no such thing.
///
/// # Errors
/// Returns an error if one has none.
pub fn check_processes(
    backend: &dyn Backend,
    rows: Rows,
    collective: &dyn Collective,
) -> anyhow::Result<()> {
    match backend.kind() {
        BackendKind::Native => Ok(()),
        _ => language_model::check_processes(rows.count, collective.worker().world_size),
    }
}

/// Creates a language model with initial weights, which is to be trained on some texts divided into these rows.
///
/// # Errors
/// Returns an error if it does not fit into memory, or if the file of the word vectors cannot be used.
pub fn new_learner(
    backend: &dyn Backend,
    config: &Config,
    texts: &PretrainingTexts,
    rows: Rows,
) -> anyhow::Result<Box<dyn LanguageModelLearner>> {
    let settings = settings(backend, config, stream_counts(texts), config.train.seed, rows)?;
    backend.language_model(&spec(config, texts), settings, starting_weights(config, texts)?)
}

/// Creates the trainer of a run that begins or resumes. Changes nothing in the run directory.
///
/// # Errors
/// Returns an error if there are too few texts, the texts have changed since the run began, or the weights do not fit.
pub fn create_trainer<'a>(
    backend: &dyn Backend,
    resolved: &'a Resolved,
    texts: &'a PretrainingTexts,
    start: Start,
    collective: &'a dyn Collective,
) -> anyhow::Result<LanguageModelTrainer<'a>> {
    let full = &resolved.config;
    let config = &full.pretrain.language_model;
    let spec = spec(full, texts);
    let rows = rows(full, texts)?;
    let settings = settings(backend, full, stream_counts(texts), full.train.seed, rows)?;
    check_processes(backend, rows, collective)?;
    let fingerprint = texts.fingerprint();
    let mut progress = LanguageModelProgress::default();
    if let Start::Resume(checkpoint) = start {
        progress = checkpoint.language_model_progress()?;
        ensure!(
            progress.texts == fingerprint,
            "the texts have changed since the run began; start a new run, or restore them"
        );
        ensure!(
            progress.batch_shape == (rows.count, rows.steps) && progress.batch < rows.batches(),
            "pretrain.language_model.batch_size and sequence_length cannot change while a run resumes; start a new run"
        );
    }
    let mut weights = match start {
        // In all processes, because one may not find the file of the word vectors.
        Start::New => collective.agree(starting_weights(full, texts))?,
        Start::Resume(checkpoint) => checkpoint.weights()?,
    };
    if matches!(start, Start::New) && !collective.is_alone() {
        // Drawing them may round differently on another processor. The files of a checkpoint are the same in all
        // processes, but its weights come in any order.
        collective.broadcast_arrays(weights.iter_mut().map(|tensor| &mut tensor.values[..]))?;
    }
    let trainable = spec.parameters().into_iter().filter(|parameter| parameter.trainable);
    let parameters = trainable.map(|parameter| parameter.shape.iter().product::<usize>()).sum();
    let mut learner = backend.language_model(&spec, settings, weights)?;
    if let Start::Resume(checkpoint) = start {
        learner.load_optimizer_state(checkpoint.optimizer_state()?)?;
    }
    let arithmetic = backend.arithmetic();
    if let Some(before) = &progress.arithmetic
        && *before != arithmetic
    {
        note(format!(
            "the run was computed with {before} and continues with {arithmetic}: the results can differ from those of \
             an uninterrupted run"
        ));
    }
    if matches!(start, Start::New) && rows.left_out() > MAX_LEFT_OUT && collective.leads() {
        note(format!(
            "each epoch leaves out {:.0} % of the tokens, other ones each time, because they do not fill a step of all \
             {} rows; with smaller pretrain.language_model.batch_size or sequence_length, it would be fewer",
            100.0 * rows.left_out(),
            rows.count
        ));
    }
    (progress.texts, progress.arithmetic) = (fingerprint, Some(arithmetic));
    progress.batch_shape = (rows.count, rows.steps);
    Ok(LanguageModelTrainer::new(Parts {
        texts,
        config,
        seed: full.train.seed,
        learner,
        directions: spec.input.lstm.directions(),
        parameters,
        rows,
        progress,
        collective,
    }))
}

/// Creates the language model of a checkpoint, to score texts.
///
/// # Errors
/// Returns an error if the weights cannot be read or do not fit.
pub fn inference(
    backend: &dyn Backend,
    checkpoint: &Checkpoint,
) -> anyhow::Result<Box<dyn LanguageModelLearner>> {
    let vocabulary_size = checkpoint.encoders[0].vocabulary().len();
    let spec = LanguageModelSpec { input: &checkpoint.resolved.config.inputs[0], vocabulary_size };
    let settings = LanguageModelSettings {
        rows: 1,
        negatives: 1,
        counts: vec![1; vocabulary_size],
        dropout: DropoutRates::default(),
        gradient_clip: None,
        shards: checkpoint.resolved.config.train.shard_count(),
        seed: 0,
        precision: Precision::Fp32,
    };
    let model = backend.language_model(&spec, settings, checkpoint.weights()?);
    model.with_context(|| checkpoint.unusable())
}

/// Counts of all ids in the stream of texts.
fn stream_counts(texts: &PretrainingTexts) -> Vec<u64> {
    TokenStream::in_order(&texts.train).counts(texts.counts.len())
}

/// Adds the observers that write to the run directory, and the one that prints.
///
/// # Errors
/// Returns an error if an event file cannot be written.
pub fn add_observers<'a>(
    trainer: &mut LanguageModelTrainer<'a>,
    resolved: &'a Resolved,
    encoders: &'a Encoders,
    run: &RunDirectory,
) -> anyhow::Result<()> {
    trainer.add_observer(TensorBoard::new(resolved, run.path())?);
    trainer.add_observer(RunFiles::new(run.clone(), resolved, encoders));
    trainer.add_observer(Console::new(resolved.config.pretrain.language_model.epochs));
    Ok(())
}

/// Checks that the configuration has an LSTM, and notes what language models leave out of it.
///
/// # Errors
/// Returns an error if it has no LSTM.
pub fn check(input: &Input) -> anyhow::Result<()> {
    ensure!(
        input.has_lstm(),
        "{}: a language model needs an LSTM, but the configuration has none",
        input.field("lstm")
    );
    ensure!(
        !input.embedding.subwords.is_on(),
        "{}: a language model predicts the words of its vocabulary, and has no character n-grams; set it to null, or \
         use them with pretrain.stages: [vectors]",
        input.field("embedding.subwords")
    );
    if input.lstm.bidirectional && input.lstm.layers > 1 {
        note(format!(
            "only the lowest of the {} LSTM layers is pre-trained, because those above it see both sides of each \
             word; with {}=false, all are",
            input.lstm.layers,
            input.field("lstm.bidirectional")
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_normalized_over_the_tokens() {
        let mut vectors = vec![1.0, 7.0, 3.0, 7.0, -2.0, 7.0];
        let counts = [3, 1, 0];
        normalize(&mut vectors, &counts, 2);
        let mean = (3.0 * vectors[0] + vectors[2]) / 4.0;
        let variance = (3.0 * vectors[0].powi(2) + vectors[2].powi(2)) / 4.0;
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6, "{vectors:?}");
        assert_eq!([vectors[1], vectors[3]], [0.0, 0.0], "a constant dimension");
    }
}

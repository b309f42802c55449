//! Creates the parts of a run from its configuration: model, objective, weights, trainer and observers.

use super::added_texts::AddedTexts;
use super::language_model_texts::LanguageModelTexts;
use super::observers::{CheckpointWriter, Console, MetricsFiles, TensorBoard};
use super::output_fit::{Fit, OutputFit, fit_output};
use super::resume::Resume;
use super::trainer::{FrozenModel, Trainer};
use crate::backend::{Backend, LargestBatch, Learner, MemoryEstimate, is_average_state};
use crate::config::{
    AutoNumber, BackendKind, CollectiveKind, Config, ConfigError, Finetune, NgramWeighting,
};
use crate::data::batch_plan::Bucketing;
use crate::data::prepared::PreparedData;
use crate::distributed::{Collective, SingleProcess};
use crate::model::naive_bayes::log_count_ratios;
use crate::model::transfer::{TrainedModel, Transfer, match_output_layers, transfer};
use crate::model::{LanguageModelSpec, ModelSpec, NamedTensor, initial_weights, parameters};
use crate::objective::Objective;
use crate::output::format::{group_digits, pluralize};
use crate::output::{message, note};
use crate::pretrain::language_model;
use crate::random::{SeedPurpose, derive_seed};
use crate::run::checkpoint::{Checkpoint, is_checkpoint};
use crate::run::directory::RunDirectory;
use crate::run::progress::ModelSource;

/// Returns the specification of the configured model for these classes and vocabularies.
pub fn model_spec(data: &PreparedData) -> ModelSpec<'_> {
    data.into()
}

/// Creates the configured objective for these labels.
///
/// # Errors
/// Returns an error if the configuration weights a label that the data does not have.
pub fn objective(data: &PreparedData) -> anyhow::Result<Objective> {
    Objective::new(&data.resolved.config, &data.labels, &data.train.targets)
}

/// Weights and state with which training begins.
#[derive(Clone, Copy)]
pub enum Beginning<'a> {
    /// Initial weights.
    New,
    /// Weights of this checkpoint, matched to the words and labels of the new run.
    From(&'a Checkpoint),
    /// Weights and state of this checkpoint of the same run.
    Resume(&'a Checkpoint),
}

/// Returns the weights of a new run that starts from those of a checkpoint. Prints what was matched.
///
/// # Errors
/// Returns an error if the checkpoint cannot be read, or if its layers have other sizes.
fn transferred_weights(
    data: &PreparedData,
    source: &Checkpoint,
) -> anyhow::Result<Vec<NamedTensor>> {
    // First, because all processes do it together.
    let starting = starting_weights(data)?;
    let trained = TrainedModel {
        spec: source.model_spec(),
        labels: &source.labels,
        encoders: &source.encoders,
        weights: source.weights()?,
    };
    let Transfer { mut weights, report } = transfer(trained, data, starting)?;
    message(format!("from: {}", source.path.display()));
    report.iter().for_each(|line| message(format!("      {line}")));
    if data.resolved.config.train.fit_head {
        fit(data, &mut weights, false)?;
    }
    Ok(weights)
}

/// Fits the output layers of a model to convergence, and prints the result. The n-grams are among them if
/// `with_ngrams`.
fn fit(
    data: &PreparedData,
    weights: &mut [NamedTensor],
    with_ngrams: bool,
) -> anyhow::Result<OutputFit> {
    let outcome = fit_output(data, &objective(data)?, weights, with_ngrams)?;
    let examples = pluralize(data.train.len(), "example");
    for (layer, fit) in [("head", outcome.head), ("n-grams", outcome.ngrams)] {
        if let Some(Fit { strength, validation_loss }) = fit {
            message(format!(
                "{layer}: fitted to {examples} (L2 penalty {strength}, validation loss {validation_loss:.4})"
            ));
        }
    }
    Ok(outcome)
}

/// Draws the initial weights of a new run. Pre-trained word vectors replace the random embeddings of the
/// inputs that are configured with them, and n-grams get their values from the training examples.
///
/// # Errors
/// Returns an error if the head is a sigmoid and there are more than two classes, or if a process is lost that has
/// some of the texts.
pub fn starting_weights(data: &PreparedData) -> anyhow::Result<Vec<NamedTensor>> {
    let spec = model_spec(data);
    let seed = derive_seed(data.resolved.config.train.seed, SeedPurpose::Weights);
    let mut weights = initial_weights(&spec, seed)?;
    let inputs = &data.resolved.config.inputs;
    let mut replace = |name: String, values: &dyn Fn(&[usize]) -> anyhow::Result<Vec<f32>>| {
        for tensor in weights.iter_mut().filter(|tensor| tensor.name == name) {
            tensor.values = values(&tensor.shape)?;
        }
        anyhow::Ok(())
    };
    for (input, subwords) in inputs.iter().zip(&data.subword_vectors) {
        if let Some(subwords) = subwords {
            replace(parameters::subwords_name(input), &|_| Ok(subwords.clone()))?;
        }
    }
    for (input, vectors) in inputs.iter().zip(&data.vectors) {
        if let Some(vectors) = vectors {
            replace(parameters::embedding_name(input), &|_| Ok(vectors.values.clone()))?;
        }
    }
    for (input, corpus) in inputs.iter().zip(&data.train.inputs) {
        replace(parameters::ngram_value_name(input), &|shape| {
            let times_idf = input.ngrams.weighting == NgramWeighting::NaiveBayesIdf;
            let (targets, shape) = (&data.train.targets, [shape[0], shape[1]]);
            log_count_ratios(corpus, targets, 0..targets.len(), shape, times_idf)
        })?;
    }
    Ok(weights)
}

/// Estimates the memory that training takes besides the data; `None` if the memory of another device holds
/// the model.
///
/// # Errors
/// Returns an error if the head is a sigmoid and there are more than two classes.
pub fn memory(
    backend: &dyn Backend,
    data: &PreparedData,
) -> anyhow::Result<Option<MemoryEstimate>> {
    let Some(concurrency) = backend.concurrency(&data.resolved.config.train) else {
        return Ok(None);
    };
    let scored = data.validation.len().max(data.test.len());
    let sets = std::iter::once(&data.train).chain(&data.unlabelled);
    let batch = LargestBatch::of(&data.resolved.config, sets, scored);
    MemoryEstimate::training(&model_spec(data), &batch, concurrency).map(Some)
}

/// Creates a learner with the weights with which training begins.
///
/// # Errors
/// Returns an error if the weights do not fit the model, or the model does not fit in memory.
pub fn learner(
    backend: &dyn Backend,
    data: &PreparedData,
    beginning: Beginning,
) -> anyhow::Result<Box<dyn Learner>> {
    check_memory(backend, data)?;
    let mut learner = new_learner(backend, data, beginning)?;
    join_language_model(backend, &mut *learner, data, beginning, &SingleProcess)?;
    Ok(learner)
}

fn check_memory(backend: &dyn Backend, data: &PreparedData) -> anyhow::Result<()> {
    match memory(backend, data)? {
        Some(memory) => memory.check(&model_spec(data), "training this model"),
        None => Ok(()),
    }
}

fn new_learner(
    backend: &dyn Backend,
    data: &PreparedData,
    beginning: Beginning,
) -> anyhow::Result<Box<dyn Learner>> {
    let spec = model_spec(data);
    let weights = match beginning {
        Beginning::New => starting_weights(data)?,
        Beginning::From(source) => transferred_weights(data, source)?,
        Beginning::Resume(checkpoint) => checkpoint.unscaled_weights()?,
    };
    backend.learner(&spec, &objective(data)?, weights)
}

/// Checks that the batches of the joint language model have not changed since a checkpoint, so that they continue its
/// states.
fn check_batches(checkpoint: &Checkpoint, config: &Config) -> Result<(), ConfigError> {
    let Some(saved) = &checkpoint.saved else { return Ok(()) };
    if !saved.config.train.has_language_model() {
        return Ok(());
    }
    let (then, now) = (&saved.config.pretrain.language_model, &config.pretrain.language_model);
    for (field, then, now) in [
        ("batch_size", then.batch_size, now.batch_size),
        ("sequence_length", then.sequence_length, now.sequence_length),
    ] {
        if then != now {
            return Err(ConfigError::new(format!(
                "pretrain.language_model.{field}: expected {then}, as in the checkpoint, because a run with \
                 train.language_model_weight resumes, found {now}; remove it, or start a new run"
            )));
        }
    }
    Ok(())
}

/// Gives a learner its joint language model, if the configuration has one. Its layers above the LSTMs have the weights of the language model from which the run begins, or else initial ones.
fn join_language_model(
    backend: &dyn Backend,
    learner: &mut dyn Learner,
    data: &PreparedData,
    beginning: Beginning,
    collective: &dyn Collective,
) -> anyhow::Result<()> {
    let config = &data.resolved.config;
    let Some(texts) = collective.agree(LanguageModelTexts::of(data))? else { return Ok(()) };
    language_model::check_processes(backend, texts.rows(), collective)?;
    if let Beginning::Resume(checkpoint) = beginning {
        collective.agree(check_batches(checkpoint, config).map_err(Into::into))?;
    }
    let settings = collective.agree(texts.settings(backend, config))?;
    let words = data.encoders[0].vocabulary();
    let spec = LanguageModelSpec { input: &config.inputs[0], vocabulary_size: words.len() };
    let of_network = parameters(&model_spec(data))?;
    let mut weights =
        spec.initial_weights(derive_seed(config.train.seed, SeedPurpose::LanguageModel));
    weights.retain(|tensor| of_network.iter().all(|parameter| parameter.name != tensor.name));
    if let Beginning::From(source) = beginning
        && source.is_language_model()
    {
        let known = collective.agree(source.weights())?;
        match_output_layers(&mut weights, &known, words, source.encoders[0].vocabulary());
        message(format!("joint language model: all layers of {}", source.path.display()));
    } else if !matches!(beginning, Beginning::Resume(_)) {
        message("joint language model: new layers above the LSTMs");
    }
    if !collective.is_alone() {
        // Drawing them may round differently on another processor.
        collective.broadcast_arrays(weights.iter_mut().map(|tensor| &mut tensor.values[..]))?;
    }
    collective.agree(learner.join_language_model(&spec, settings, weights))
}

/// Creates the trainer of a run that begins or resumes. Changes nothing in the run directory.
///
/// # Errors
/// Returns an error if the checkpoint does not fit the configuration.
pub fn trainer<'a>(
    backend: &dyn Backend,
    data: &'a PreparedData,
    run: &RunDirectory,
    beginning: Beginning,
    collective: &'a dyn Collective,
) -> anyhow::Result<Trainer<'a>> {
    let has_best = match beginning {
        Beginning::Resume(_) => collective.broadcast_flag(is_checkpoint(&run.best()))?,
        Beginning::New | Beginning::From(_) => false,
    };
    collective.agree(check_memory(backend, data))?;
    let mut learner = collective.agree(new_learner(backend, data, beginning))?;
    share_weights(&mut *learner, collective)?;
    join_language_model(backend, &mut *learner, data, beginning, collective)?;
    let resume = collective.agree(resume(&mut *learner, data, beginning, has_best))?;
    let frozen = collective.agree(frozen_model(&mut *learner, data, beginning))?;
    if frozen.is_some() {
        share_weights(&mut *learner, collective)?;
    }
    let mut trainer = collective.agree(trainer_of(learner, data, beginning, resume))?;
    if let Some(frozen) = frozen {
        trainer.set_frozen_model(frozen);
    }
    let mut arithmetic = backend.arithmetic();
    let is_exact = backend.kind() == BackendKind::Native
        && data.resolved.config.train.collective == CollectiveKind::Ordered;
    if !collective.is_alone() && !is_exact {
        arithmetic += &format!(", {} processes", collective.worker().world_size);
    }
    trainer.set_arithmetic(arithmetic);
    trainer.set_collective(collective);
    Ok(trainer)
}

/// Gives all processes the weights of rank 0: drawing or fitting them may round differently on another processor.
fn share_weights(learner: &mut dyn Learner, collective: &dyn Collective) -> anyhow::Result<()> {
    if collective.is_alone() {
        return Ok(());
    }
    let mut weights = learner.weights();
    collective.broadcast_arrays(weights.iter_mut().map(|tensor| &mut tensor.values[..]))?;
    learner.load_weights(weights)
}

/// Fits the output layers of the model from which a run begins, and gives them to the learner, if
/// `train.finetune` uses that model as it is.
fn frozen_model(
    learner: &mut dyn Learner,
    data: &PreparedData,
    beginning: Beginning,
) -> anyhow::Result<Option<FrozenModel>> {
    let finetune = data.resolved.config.train.finetune;
    if finetune == Finetune::Full || !matches!(beginning, Beginning::From(_)) {
        return Ok(None);
    }
    let start = learner.weights();
    let mut fitted = start.clone();
    let OutputFit { train_loss, correct, branch_scales, .. } = fit(data, &mut fitted, true)?;
    learner.load_weights(fitted)?;
    let next_weights = (finetune == Finetune::Auto).then_some(start);
    Ok(Some(FrozenModel { train_loss, correct, branch_scales, next_weights }))
}

/// Loads the state of the run that resumes; `None` if a run begins.
fn resume(
    learner: &mut dyn Learner,
    data: &PreparedData,
    beginning: Beginning,
    has_best: bool,
) -> anyhow::Result<Option<Resume>> {
    let Beginning::Resume(checkpoint) = beginning else { return Ok(None) };
    let settings = checkpoint.saved.as_ref().map(|saved| saved.config.train.clone());
    if let Some(raw_weights) = checkpoint.raw_weights()? {
        learner.load_weights(raw_weights)?;
    }
    let mut state = checkpoint.optimizer_state()?;
    let method = data.resolved.config.train.average.method;
    if settings.as_ref().is_some_and(|former| former.average.method != method) {
        state.retain(|tensor| !is_average_state(tensor));
    }
    learner.load_optimizer_state(state)?;
    Ok(Some(Resume { progress: checkpoint.progress()?, settings, has_best }))
}

/// Creates the trainer of a learner that has the weights with which training begins.
fn trainer_of<'a>(
    learner: Box<dyn Learner>,
    data: &'a PreparedData,
    beginning: Beginning,
    resume: Option<Resume>,
) -> anyhow::Result<Trainer<'a>> {
    let mut trainer = Trainer::new(data, objective(data)?, learner, resume)?;
    if let Beginning::From(source) = beginning {
        let (checkpoint, sha256) = (source.path.clone(), source.sha256().to_owned());
        trainer.set_source(ModelSource { checkpoint, sha256, data: source.training_data()? });
    }
    Ok(trainer)
}

/// Prepares the run directory for a trainer, and adds the observers that write to it.
///
/// # Errors
/// Returns an error if the directory cannot be written.
pub fn begin<'a>(
    trainer: &mut Trainer<'a>,
    data: &'a PreparedData,
    run: &RunDirectory,
) -> anyhow::Result<()> {
    if trainer.has_resumed() {
        // Only after every check has passed may the directory of the resumed run change.
        if let Some(line) = run.damaged_line() {
            note(format!("metrics.jsonl:{line}: damaged line, removed"));
        }
        run.truncate_to_step(trainer.steps_done(), &data.resolved.to_yaml())?;
    }
    add_observers(trainer, data, run)
}

/// Adds the observers that write to the run directory, and the one that prints.
///
/// # Errors
/// Returns an error if an event file cannot be written.
pub fn add_observers<'a>(
    trainer: &mut Trainer<'a>,
    data: &'a PreparedData,
    run: &RunDirectory,
) -> anyhow::Result<()> {
    trainer.add_observer(TensorBoard::new(data, run.path())?);
    trainer.add_observer(MetricsFiles::new(run.clone()));
    trainer.add_observer(CheckpointWriter::new(data, run.clone()));
    trainer.add_observer(Console::new(&data.resolved.config.train));
    Ok(())
}

/// Replaces `train.token_budget: auto` with the largest budget that fits in the memory of the devices: the
/// number of processes times that of rank 0. Returns true if the configuration has changed.
///
/// # Errors
/// Returns an error if even the longest example does not fit.
pub fn resolve_token_budget(
    backend: &dyn Backend,
    data: &mut PreparedData,
    collective: &dyn Collective,
) -> anyhow::Result<bool> {
    /// An epoch of fewer steps is reported, because learning may suffer.
    const MIN_STEPS: usize = 50;
    if data.resolved.config.train.token_budget != Some(AutoNumber::Auto) {
        return Ok(false);
    }
    let clip = data.resolved.config.train.gradient_clip;
    let mut largest = None;
    let mut search = || {
        backend.catch(&mut || {
            let mut learner = learner(backend, data, Beginning::New)?;
            let mut added = AddedTexts::of(data)?.batches(&*learner);
            let mut add = |batch| added.add_to(batch, 0);
            largest = backend.largest_token_budget(&mut *learner, &data.train, &mut add, clip)?;
            Ok(())
        })
    };
    collective.agree(if collective.leads() { search() } else { Ok(()) })?;
    let size = collective.worker().world_size;
    let of_first = collective.gather_number(largest.unwrap_or(0) as u64)?[0];
    let tokens = (of_first as usize).saturating_mul(size);
    if tokens == 0 {
        return Ok(false);
    }
    data.resolved.set_token_budget(tokens);
    let config = &data.resolved.config.train;
    let batches = Bucketing::new(config).plan(&data.train.lengths(), config.seed, 0).len();
    message(format!(
        "train.token_budget: auto is {} tokens on {}, {} per epoch",
        group_digits(tokens),
        if size == 1 { "this device".to_owned() } else { pluralize(size, "device") },
        pluralize(batches, "step")
    ));
    if batches < MIN_STEPS {
        note("an epoch has few steps; a smaller token budget may give better accuracy");
    }
    Ok(true)
}

//! `lstmtext import`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::SetArgs;
use super::exit::SUCCESS;
use crate::backend::MemoryEstimate;
use crate::backend::native::initial_optimizer_state;
use crate::config::{self, Input, Override, Resolved, VocabularySource};
use crate::data::{self, TrainingData};
use crate::interchange::keras;
use crate::io::files::create_parent_directory;
use crate::io::replace::ensure_new;
use crate::model::ModelSpec;
use crate::output::{note, print_data};
use crate::run::checkpoint::{self, Checkpoint, Contents, ModelKind};
use crate::run::progress::Progress;
use crate::system::threads;
use crate::text::Encoders;

const EXAMPLES: &str = "\
Examples:
  lstmtext import runs/a weights.npz --to imported
  lstmtext import configs/keras_imdb_80.yaml keras_model.npz --to imported

The configuration or checkpoint defines the model. Its vocabulary comes from the training examples, or \
from the file in text.vocabulary; if that and data.labels are set, and model.ngrams is null, no data is read.
`lstmtext export --help` lists the names of the arrays.";

/// Create a checkpoint from weights in Keras's layout
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// Configuration (YAML), checkpoint or run that defines the model
    model: PathBuf,
    /// Weights (.npz)
    weights: PathBuf,
    /// Directory of the new checkpoint
    #[arg(long, value_name = "DIRECTORY")]
    to: PathBuf,
    #[command(flatten)]
    set: SetArgs,
}

/// Definition of the model: everything in a checkpoint that its weights depend on.
struct ModelDefinition {
    resolved: Resolved,
    labels: Vec<String>,
    encoders: Encoders,
}

/// Runs the command.
pub fn run(args: ImportArgs) -> anyhow::Result<u8> {
    threads::set_count(None)?;
    ensure_new(&args.to)?;
    let ModelDefinition { resolved, labels, encoders } =
        model_definition(&args.model, &args.set.overrides)?;
    let (config, classes) = (&resolved.config, labels.len());
    let spec = ModelSpec {
        config,
        vocabulary_sizes: encoders.vocabulary_sizes(),
        ngram_counts: encoders.ngram_counts(),
        classes,
    };
    MemoryEstimate::import(&spec)?.check(&spec, "importing this model")?;
    if args.model.is_dir() {
        // Its own weights are not used, but as everywhere, those that are not finite are an error.
        let checkpoint = Checkpoint::open(&args.model)?;
        checkpoint.check_precision()?;
        checkpoint.weights()?;
    }
    let weights = keras::import(&spec, &args.weights)?;
    let contents = Contents {
        model: ModelKind::Classifier,
        labels: &labels,
        encoders: &encoders,
        optimizer_state: initial_optimizer_state(&spec, weights.clone())?,
        progress: &Progress::default(),
        weights,
        raw_weights: None,
        resolved: &resolved,
    };
    create_parent_directory(&args.to)?;
    checkpoint::create(&args.to, &contents)?;
    print_data(&args.to.display().to_string())?;
    Ok(SUCCESS)
}

/// Reads the definition of the model from a checkpoint, or creates it from a configuration.
fn model_definition(model: &Path, overrides: &[Override]) -> anyhow::Result<ModelDefinition> {
    if model.is_dir() {
        let Checkpoint { resolved, labels, encoders, .. } =
            Checkpoint::open_with(model, overrides)?;
        return Ok(ModelDefinition { resolved, labels, encoders });
    }
    let resolved = config::load(model, overrides)?;
    let config = &resolved.config;
    let needs_no_texts = |input: &Input| {
        matches!(input.text.vocabulary, VocabularySource::File(_)) && !input.ngrams.are_counted()
    };
    let has_vocabularies = config.inputs.iter().all(needs_no_texts);
    if has_vocabularies && !config.data.labels.is_empty() {
        let encoders = Encoders::from_texts(&config.inputs, &[])?;
        let labels = config.data.labels.clone();
        return Ok(ModelDefinition { resolved, labels, encoders });
    }
    let known = Checkpoint::source_encoders(config)?;
    known.share_subwords(&config.inputs);
    let TrainingData { labels, examples } = data::load_training(config)?;
    note(
        "the vocabulary and the labels come from the current training examples; if the weights were trained \
         with others, pass their checkpoint instead of the configuration",
    );
    examples.findings.iter().for_each(note);
    let encoders = examples.encoders(&config.inputs, &known)?;
    Ok(ModelDefinition { resolved, labels, encoders })
}

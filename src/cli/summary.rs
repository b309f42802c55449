//! `lstmtext summary`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::arguments::SetArgs;
use super::exit::SUCCESS;
use crate::backend::native::NativeBackend;
use crate::backend::{LargestBatch, MemoryEstimate};
use crate::config::{Config, Input};
use crate::data;
use crate::model::ModelSpec;
use crate::model::summary::{Layer, summarize};
use crate::output::{note, print, print_json, print_wrapped, terminal_width};

/// Print the layers of a model and count their parameters
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lstmtext summary configs/imdb.yaml --set model.lstm.layers=2")]
pub struct SummaryArgs {
    /// Configuration file (YAML)
    config: PathBuf,
    /// Number of classes; by default that of the data
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    classes: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    set: SetArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    parameters: usize,
    trainable_parameters: usize,
    layers: &'a [Layer],
    /// Bytes that training on the CPU takes besides the data.
    training_memory: MemoryEstimate,
}

/// Runs the command. Like Keras, counts an embedding of `text.vocabulary_size` rows.
pub fn run(args: SummaryArgs) -> anyhow::Result<u8> {
    let backend = NativeBackend::start(None)?;
    let config = args.set.load(&args.config)?.config;
    let classes = args.classes.map(|classes| Ok(classes as usize));
    let classes = classes.unwrap_or_else(|| class_count(&config)).unwrap_or_else(|error| {
        note(format!("assuming 2 classes, because the training file cannot be read: {error:#}"));
        2
    });
    let logits = config.logit_count(classes)?;
    note(
        "the embedding has text.vocabulary_size rows here; it is smaller in training if the training \
         texts have fewer words",
    );
    if config.inputs.iter().any(|input| input.ngrams.are_counted()) {
        note(
            "there are model.ngrams.vocabulary n-grams here; in training, there are only those of the \
             training texts",
        );
    }
    let words: Vec<usize> = config.inputs.iter().map(|input| input.text.vocabulary_size).collect();
    let ngrams = |input: &Input| match input.ngrams.is_on() {
        true => input.ngrams.buckets.unwrap_or(input.ngrams.vocabulary),
        false => 0,
    };
    let ngram_counts: Vec<usize> = config.inputs.iter().map(ngrams).collect();
    let summary = summarize(&config, &words, &ngram_counts, logits);
    let vocabulary_sizes = words.clone();
    let spec = ModelSpec { config: &config, vocabulary_sizes, ngram_counts, classes };
    let batch = LargestBatch::permitted(&config, &words);
    let memory = MemoryEstimate::training(&spec, &batch, backend.concurrency(&config.train))?;
    match args.json {
        true => print_json(&Report {
            parameters: summary.total(),
            trainable_parameters: summary.trainable(),
            layers: &summary.layers,
            training_memory: memory,
        })?,
        false => {
            let layers = summary.to_text(terminal_width());
            print(&format!("{layers}\n"))?;
            print_wrapped(&format!("Memory for training: {memory}"))?;
        }
    }
    Ok(SUCCESS)
}

/// Number of classes in the configuration, or in the training file.
fn class_count(config: &Config) -> anyhow::Result<usize> {
    match config.data.labels.len() {
        0 => Ok(data::load_training(config)?.labels.len()),
        named => Ok(named),
    }
}

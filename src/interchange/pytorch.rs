//! Exported models for PyTorch: a directory with the weights and, as JSON, everything else that is needed
//! to reproduce the predictions.
//!
//! | file | content |
//! |---|---|
//! | `model.safetensors` | weights under PyTorch's names |
//! | `model.json` | labels and, for each input, tokenizer, vocabulary and layers |

use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::config::{Activation, Column, Input, Poolings, logit_count};
use crate::io::files::{create_parent_directory, json_content, write as write_file};
use crate::io::replace::create_directory;
use crate::model::named_tensors;
use crate::run::checkpoint::Checkpoint;
use crate::text::{OOV, PAD, START, Vocabulary};

const FORMAT: &str = "lstmtext model";
const VERSION: u32 = 1;
const WEIGHTS: &str = "model.safetensors";
const DESCRIPTION: &str = "model.json";

/// Contents of `model.json`.
#[derive(Serialize)]
struct Description<'a> {
    format: &'static str,
    version: u32,
    /// Version of the program that wrote it.
    lstmtext: &'static str,
    labels: &'a [String],
    /// sigmoid: one logit, for the second label; softmax: one logit per label.
    activation: &'static str,
    /// In the order in which their features are concatenated.
    inputs: Vec<InputDescription<'a>>,
}

/// Tokenizer, vocabulary and layers of an input.
#[derive(Serialize)]
struct InputDescription<'a> {
    /// `None` if it is the only input.
    name: Option<&'a str>,
    /// Prefix of the names of its parameters.
    prefix: String,
    /// Columns whose texts are joined by a space.
    columns: Vec<String>,
    tokenizer: Tokenizer,
    /// True if every text starts with the start id.
    start_token: bool,
    /// Maximum number of ids per text, start id included.
    max_length: usize,
    /// Side on which longer texts are truncated.
    truncate: &'static str,
    /// Side on which shorter texts are padded. The LSTM never reads padding at the "back"; it reads padding
    /// at the "front", up to the maximum length.
    pad: &'static str,
    ids: SpecialIds,
    embedding: Embedding,
    lstm: Lstm,
    /// One, or a list if there are several, whose vectors are concatenated.
    pooling: &'a Poolings,
    /// The word of each id.
    vocabulary: &'a [Box<str>],
}

#[derive(Serialize)]
struct Tokenizer {
    kind: &'static str,
    lowercase: bool,
    strip_tags: bool,
    /// Version of the rules (`text.version`).
    version: u64,
}

/// Ids that are not words.
#[derive(Serialize)]
struct SpecialIds {
    pad: u32,
    start: u32,
    /// Words outside the vocabulary, and texts without words.
    oov: u32,
}

#[derive(Serialize)]
struct Embedding {
    size: usize,
}

#[derive(Serialize)]
struct Lstm {
    units: usize,
    layers: usize,
    bidirectional: bool,
}

impl<'a> InputDescription<'a> {
    fn of(input: &'a Input, vocabulary: &'a Vocabulary) -> Self {
        let Input { text, lstm, .. } = input;
        Self {
            name: input.name.as_deref(),
            prefix: input.prefix(),
            columns: input.columns.0.iter().map(Column::key).collect(),
            tokenizer: Tokenizer {
                kind: text.tokenizer.as_str(),
                lowercase: text.lowercase,
                strip_tags: text.strip_tags,
                version: text.version,
            },
            start_token: text.start_token,
            max_length: text.max_length,
            truncate: text.truncate.as_str(),
            pad: text.pad.as_str(),
            ids: SpecialIds { pad: PAD, start: START, oov: OOV },
            embedding: Embedding { size: input.embedding.size },
            lstm: Lstm {
                units: lstm.units,
                layers: lstm.layers,
                bidirectional: lstm.bidirectional,
            },
            pooling: &input.pooling,
            vocabulary: vocabulary.words(),
        }
    }
}

impl<'a> Description<'a> {
    fn of(checkpoint: &'a Checkpoint) -> anyhow::Result<Self> {
        let config = &checkpoint.resolved.config;
        let logits = logit_count(config.model.head.activation, checkpoint.labels.len())?;
        let activation = if logits == 1 { Activation::Sigmoid } else { Activation::Softmax };
        let inputs = config.inputs.iter().zip(&*checkpoint.encoders);
        let inputs =
            inputs.map(|(input, encoder)| InputDescription::of(input, encoder.vocabulary()));
        Ok(Self {
            format: FORMAT,
            version: VERSION,
            lstmtext: env!("CARGO_PKG_VERSION"),
            labels: &checkpoint.labels,
            activation: activation.as_str(),
            inputs: inputs.collect(),
        })
    }
}

/// Writes the new directory `path`, and creates missing parents.
///
/// # Errors
/// Returns an error if a file cannot be read or written; no directory is left then.
pub fn write(checkpoint: &Checkpoint, path: &Path) -> anyhow::Result<()> {
    let description = Description::of(checkpoint).with_context(|| checkpoint.unusable())?;
    let json = json_content(&description)?;
    let weights = checkpoint.weights()?;
    create_parent_directory(path)?;
    create_directory(path, |directory| {
        named_tensors::write(&directory.join(WEIGHTS), &weights)?;
        write_file(&directory.join(DESCRIPTION), &json)
    })
}

//! A checkpoint for other programs: a folder with its weights and, as plain JSON, all else that it
//! takes to compute what lstmtext answers.
//!
//! | file | content |
//! |---|---|
//! | `model.safetensors` | weights under PyTorch's names |
//! | `model.json` | labels and, for each input, how a text becomes ids and what reads them |

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::config::{Activation, Column, Input, logit_count};
use crate::io::files::{create_parent_directory, replace_directory};
use crate::model::named_tensors;
use crate::run::checkpoint::Checkpoint;
use crate::text::{OOV, PAD, START, Vocabulary};

const FORMAT: &str = "lstmtext model";
const VERSION: u32 = 1;
const WEIGHTS: &str = "model.safetensors";
const DESCRIPTION: &str = "model.json";

/// What `model.json` holds.
#[derive(Serialize)]
struct Description<'a> {
    format: &'static str,
    version: u32,
    /// The program that wrote it.
    lstmtext: &'static str,
    labels: &'a [String],
    /// sigmoid: one logit, for the second label; softmax: one for each.
    activation: &'static str,
    /// In the order in which their features go into the head.
    inputs: Vec<InputDescription<'a>>,
}

/// One input: how its text becomes ids, and what reads these.
#[derive(Serialize)]
struct InputDescription<'a> {
    /// Nothing where it is the only one.
    name: Option<&'a str>,
    /// What the names of its parameters begin with.
    prefix: String,
    /// Their texts are joined by a space.
    columns: Vec<String>,
    tokenizer: Tokenizer,
    /// Whether the start id stands in front of every text.
    start_token: bool,
    /// Ids that are read of a text, the start id included.
    max_length: usize,
    /// Where longer texts are cut.
    truncate: &'static str,
    /// Where shorter ones are filled: "back" is never read, "front" is, up to the maximum length.
    pad: &'static str,
    ids: SpecialIds,
    embedding: Embedding,
    lstm: Lstm,
    pooling: &'static str,
    /// The word of each id.
    vocabulary: &'a [Box<str>],
}

#[derive(Serialize)]
struct Tokenizer {
    kind: &'static str,
    lowercase: bool,
    strip_tags: bool,
}

/// The ids that are no words.
#[derive(Serialize)]
struct SpecialIds {
    pad: u32,
    start: u32,
    /// Of words outside the vocabulary, and of a text without words.
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
            pooling: input.pooling.as_str(),
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
        let inputs = inputs.map(|(input, own)| InputDescription::of(input, own.vocabulary()));
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

/// Writes the new folder `path`, and those above it where they are missing.
///
/// # Errors
/// Where a file cannot be read or written; there is no folder then.
pub fn write(checkpoint: &Checkpoint, path: &Path) -> anyhow::Result<()> {
    let description = Description::of(checkpoint).with_context(|| checkpoint.unusable())?;
    let mut json = serde_json::to_vec_pretty(&description).context("cannot encode JSON")?;
    json.push(b'\n');
    let weights = checkpoint.weights()?;
    create_parent_directory(path)?;
    replace_directory(path, |folder| {
        named_tensors::write(&folder.join(WEIGHTS), &weights)?;
        let file = folder.join(DESCRIPTION);
        fs::write(&file, &json).with_context(|| format!("cannot write \"{}\"", file.display()))
    })
}

//! Everything but the weights that is needed to reproduce the predictions of a model, as JSON: the content
//! of `model.json`.

use std::fmt::Write;

use anyhow::Context;
use serde::Serialize;

use crate::config::{
    Activation, Column, EmbeddingConfig, Input, Labelling, Poolings, SubwordsConfig,
};
use crate::io::files::json_content;
use crate::objective::Calibration;
use crate::run::checkpoint::{Checkpoint, tokenizer_file};
use crate::text::{Encoder, NgramIndex, OOV, PAD, START};

const FORMAT: &str = "lstmtext model";
const VERSION: u32 = 1;

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
    /// A text can have several labels: each has a logit, and the activation is a sigmoid.
    multi_label: bool,
    /// Scaling of the probabilities and decision by them. `None` if the model is not calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration: Option<&'a Calibration>,
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
    /// Part of longer texts that is removed: front, back or middle.
    truncate: &'static str,
    /// Side on which shorter texts are padded. The LSTM never reads padding at the "back"; it reads padding
    /// at the "front", up to the maximum length.
    pad: &'static str,
    ids: SpecialIds,
    /// `None` without an LSTM.
    embedding: Option<Embedding>,
    /// `None` if the input has only n-grams.
    lstm: Option<Lstm>,
    /// One, or a list if there are several, whose vectors are concatenated.
    pooling: &'a Poolings,
    /// `None` if the input has no n-grams.
    ngrams: Option<Ngrams>,
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
    /// File of Hugging Face's library that splits texts, after `strip_tags`. In an ONNX file, the metadata
    /// entry with its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
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
    /// `None` if words have no character n-grams. In an ONNX file, the vectors of the words include them, and words
    /// outside the vocabulary have the vector of the id `oov`.
    #[serde(skip_serializing_if = "Option::is_none")]
    subwords: Option<Subwords>,
}

/// Character n-grams, as in fastText: the vector of a word is the mean of its own, if it is in the vocabulary, and of those
/// of its n-grams, whose bucket is the remainder of fastText's hash divided by the number of buckets.
#[derive(Serialize)]
struct Subwords {
    /// Lengths of the shortest and the longest n-grams, with < before and > after each word.
    sizes: [usize; 2],
    buckets: usize,
}

impl Embedding {
    fn of(config: &EmbeddingConfig) -> Self {
        let SubwordsConfig { sizes, buckets } = &config.subwords;
        let subwords = sizes.0.map(|sizes| Subwords { sizes, buckets: *buckets });
        Self { size: config.size, subwords }
    }
}

#[derive(Serialize)]
struct Lstm {
    units: usize,
    layers: usize,
    bidirectional: bool,
}

/// Linear branch over n-grams. scripts/ngrams.py has the hash function.
#[derive(Serialize)]
struct Ngrams {
    /// Lengths of the n-grams in tokens.
    sizes: Vec<usize>,
    /// Number of rows of the weights. The row of an n-gram is the remainder of its hash divided by it;
    /// `None` if each known n-gram has its own row.
    buckets: Option<usize>,
    /// 16 hexadecimal digits for the hash of each n-gram, in the order of the rows. `None` with buckets.
    hashes: Option<String>,
}

impl Ngrams {
    fn of(index: &NgramIndex) -> Self {
        let hashes = index.hashes().map(|hashes| {
            let mut digits = String::with_capacity(16 * hashes.len());
            for hash in hashes {
                // Writing to a string does not fail.
                let _ = write!(digits, "{hash:016x}");
            }
            digits
        });
        let buckets = hashes.is_none().then(|| index.len());
        Self { sizes: index.sizes().0.clone(), buckets, hashes }
    }
}

impl<'a> InputDescription<'a> {
    fn of(input: &'a Input, encoder: &'a Encoder) -> Self {
        let Input { text, lstm, .. } = input;
        Self {
            name: input.name.as_deref(),
            prefix: input.prefix(),
            columns: input.columns.0.iter().map(Column::key).collect(),
            tokenizer: Tokenizer {
                kind: text.tokenizer.kind.as_str(),
                lowercase: text.lowercase,
                strip_tags: text.strip_tags,
                version: text.version,
                file: encoder.subwords().map(|_| tokenizer_file(input)),
            },
            start_token: text.start_token,
            max_length: text.max_length,
            truncate: text.truncate.as_str(),
            pad: text.pad.as_str(),
            ids: SpecialIds { pad: PAD, start: START, oov: OOV },
            embedding: input.has_lstm().then(|| Embedding::of(&input.embedding)),
            lstm: input.has_lstm().then_some(Lstm {
                units: lstm.units,
                layers: lstm.layers,
                bidirectional: lstm.bidirectional,
            }),
            ngrams: encoder.ngrams().map(Ngrams::of),
            pooling: &input.pooling,
            vocabulary: encoder.vocabulary().words(),
        }
    }
}

impl<'a> Description<'a> {
    fn of(checkpoint: &'a Checkpoint) -> anyhow::Result<Self> {
        let config = &checkpoint.resolved.config;
        let logits = config.logit_count(checkpoint.labels.len())?;
        let multi_label = config.data.labelling() == Labelling::Several;
        let has_sigmoid = multi_label || logits == 1;
        let activation = if has_sigmoid { Activation::Sigmoid } else { Activation::Softmax };
        let inputs = config.inputs.iter().zip(&*checkpoint.encoders);
        let inputs = inputs.map(|(input, encoder)| InputDescription::of(input, encoder));
        Ok(Self {
            format: FORMAT,
            version: VERSION,
            lstmtext: env!("CARGO_PKG_VERSION"),
            labels: &checkpoint.labels,
            activation: activation.as_str(),
            multi_label,
            calibration: checkpoint.calibration.as_ref(),
            inputs: inputs.collect(),
        })
    }
}

/// Returns the description of a model as JSON.
///
/// # Errors
/// Returns an error if the checkpoint is damaged.
pub fn model_json(checkpoint: &Checkpoint) -> anyhow::Result<Vec<u8>> {
    let description = Description::of(checkpoint).with_context(|| checkpoint.unusable())?;
    json_content(&description)
}

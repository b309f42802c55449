//! Names and manifest of the files of a checkpoint.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::config::Input;
use crate::io::files::{json_content, sha256_of, write};
use crate::run::manifest::Manifest;

pub const FORMAT: &str = "lstmtext checkpoint";
/// Version of checkpoints without a calibration, which earlier programs read too.
pub const VERSION: u32 = 2;
/// Version of checkpoints with a calibration, which earlier programs would ignore.
pub const CALIBRATED_VERSION: u32 = 3;
/// Version of compact checkpoints.
pub const COMPACT_VERSION: u32 = 4;
/// Version of checkpoints of language models, which earlier programs cannot read.
pub const LANGUAGE_MODEL_VERSION: u32 = 5;
pub const MANIFEST: &str = "checkpoint.json";
pub const MODEL: &str = "model.safetensors";
pub const RAW: &str = "raw.safetensors";
pub const OPTIMIZER: &str = "optimizer.safetensors";
pub const PROGRESS: &str = "progress.json";
pub const CONFIG: &str = "config.yaml";
pub const VOCABULARY: &str = "vocabulary.json";
pub const TOKENIZER: &str = "tokenizer.json";
pub const NGRAMS: &str = "ngrams.safetensors";
/// File with the calibration, if the checkpoint has one.
pub const CALIBRATION: &str = "calibration.json";
/// File of an ensemble of checkpoints in place of [`MANIFEST`].
pub const ENSEMBLE: &str = "ensemble.json";
/// Files of every checkpoint, besides a vocabulary for each input, [`TOKENIZER`] if it has subwords, [`NGRAMS`]
/// if they are counted, [`RAW`] if weights are averaged, and [`CALIBRATION`] if it is calibrated.
pub const FILES: [&str; 4] = [MODEL, OPTIMIZER, PROGRESS, CONFIG];

/// Content of `checkpoint.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckpointManifest {
    pub format: String,
    pub version: u32,
    /// Version of the program that wrote the checkpoint.
    pub lstmtext: String,
    pub labels: Vec<String>,
    /// Kind of the model.
    #[serde(default, skip_serializing_if = "ModelKind::is_classifier")]
    pub model: ModelKind,
    pub files: BTreeMap<String, FileEntry>,
    /// Origin of a compact checkpoint; `None` for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact: Option<CompactRecord>,
    /// SHA-256 of the manifest with an empty value here.
    pub sha256: String,
}

/// Kind of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// A text classifier.
    #[default]
    Classifier,
    /// A language model, without labels.
    LanguageModel,
}

impl ModelKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_classifier(&self) -> bool {
        *self == Self::Classifier
    }

    /// Version of a new checkpoint of such a model.
    pub fn version(self) -> u32 {
        match self {
            Self::Classifier => VERSION,
            Self::LanguageModel => LANGUAGE_MODEL_VERSION,
        }
    }
}

/// Precision of the weights of a compact checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    Float32,
    /// 8-bit integers with scales.
    Int8,
}

/// Origin of a compact checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompactRecord {
    /// Precision of the weights.
    pub precision: Precision,
    /// SHA-256 of the manifest of the checkpoint from which it was exported.
    pub source: String,
}

impl CheckpointManifest {
    /// Returns true if the weights are 8-bit integers.
    pub fn is_quantized(&self) -> bool {
        self.compact.as_ref().is_some_and(|compact| compact.precision == Precision::Int8)
    }
}

impl Manifest for CheckpointManifest {
    const FILE: &str = MANIFEST;
    const FORMAT: &str = FORMAT;
    const OLDEST_VERSION: u32 = VERSION;
    const VERSION: u32 = LANGUAGE_MODEL_VERSION;

    fn sha256_mut(&mut self) -> &mut String {
        &mut self.sha256
    }
}

/// Size and checksum of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileEntry {
    pub bytes: u64,
    pub sha256: String,
}

impl FileEntry {
    /// Returns the size and the checksum of the file `path`.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let metadata = fs::metadata(path);
        let metadata = metadata.with_context(|| format!("cannot read \"{}\"", path.display()))?;
        Ok(Self { bytes: metadata.len(), sha256: sha256_of(path)? })
    }
}

/// Returns the context of errors about the content of the checkpoint at `path`.
pub fn unusable(path: &Path) -> String {
    format!("cannot use the checkpoint \"{}\"", path.display())
}

/// Name of the file with the vocabulary of an input.
pub fn vocabulary_file(input: &Input) -> String {
    input.prefix() + VOCABULARY
}

/// Name of the file with the subwords of an input, if it has any.
pub fn tokenizer_file(input: &Input) -> String {
    input.prefix() + TOKENIZER
}

/// Name of the file with the hashes of the n-grams of an input, if they are counted.
pub fn ngrams_file(input: &Input) -> String {
    input.prefix() + NGRAMS
}

/// Name of a compressed file.
pub fn compressed(name: &str) -> String {
    format!("{name}.zst")
}

/// Writes a JSON file.
pub fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    write(path, json_content(value)?)
}

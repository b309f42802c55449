//! Content of a checkpoint, and how it is written.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::layout::{
    CONFIG, CheckpointManifest, FILES, FORMAT, FileEntry, MANIFEST, MODEL, ModelKind, OPTIMIZER,
    PROGRESS, RAW, ngrams_file, tokenizer_file, vocabulary_file, write_json,
};
use crate::config::Resolved;
use crate::io::files::write;
use crate::io::replace::{create_directory, replace_directory};
use crate::model::{NamedTensor, named_tensors};
use crate::run::manifest::Manifest;
use crate::run::progress::Progress;
use crate::text::{Encoders, NgramIndex};

/// Content of a checkpoint. `P` is the progress of its run.
pub struct Contents<'a, P = Progress> {
    /// Kind of the model.
    pub model: ModelKind,
    /// Resolved configuration.
    pub resolved: &'a Resolved,
    /// Label of each class.
    pub labels: &'a [String],
    /// Encoder of each input, which has its vocabulary.
    pub encoders: &'a Encoders,
    /// Weights.
    pub weights: Vec<NamedTensor>,
    /// Trainable weights before averaging, if `weights` are averages.
    pub raw_weights: Option<Vec<NamedTensor>>,
    /// Optimizer state.
    pub optimizer_state: Vec<NamedTensor>,
    /// Progress of the run.
    pub progress: &'a P,
}

/// Writes a checkpoint to the directory `path` and atomically replaces an older one.
///
/// # Errors
/// Returns an error if a value is not finite or a file cannot be written. The older checkpoint then
/// stays as it is.
pub fn save<P: Serialize>(path: &Path, contents: &Contents<P>) -> anyhow::Result<()> {
    contents.check_finite(path)?;
    replace_directory(path, |directory| contents.write(directory))
        .with_context(|| cannot_save(path))
}

/// Writes a checkpoint to the new directory `path`.
///
/// # Errors
/// Returns an error if a value is not finite, `path` exists or a file cannot be written.
pub fn create<P: Serialize>(path: &Path, contents: &Contents<P>) -> anyhow::Result<()> {
    contents.check_finite(path)?;
    create_directory(path, |directory| contents.write(directory)).with_context(|| cannot_save(path))
}

fn cannot_save(path: &Path) -> String {
    format!("cannot save the checkpoint \"{}\"", path.display())
}

impl<P: Serialize> Contents<'_, P> {
    /// Checks that all weights and the optimizer state are finite. `path` is the checkpoint.
    fn check_finite(&self, path: &Path) -> anyhow::Result<()> {
        let raw_weights = self.raw_weights.iter().flatten();
        for tensor in self.weights.iter().chain(raw_weights).chain(&self.optimizer_state) {
            tensor.check_finite().with_context(|| {
                format!(
                    "training diverged: it cannot be saved to \"{}\"; lower train.learning_rate or \
                     train.gradient_clip",
                    path.display()
                )
            })?;
        }
        Ok(())
    }

    /// Writes all files to `directory`.
    fn write(&self, directory: &Path) -> anyhow::Result<()> {
        named_tensors::write(&directory.join(MODEL), &self.weights)?;
        named_tensors::write(&directory.join(OPTIMIZER), &self.optimizer_state)?;
        write_json(&directory.join(PROGRESS), self.progress)?;
        write(&directory.join(CONFIG), self.resolved.to_yaml())?;
        let mut names: Vec<String> = FILES.map(str::to_owned).to_vec();
        if let Some(raw_weights) = &self.raw_weights {
            named_tensors::write(&directory.join(RAW), raw_weights)?;
            names.push(RAW.to_owned());
        }
        for (input, encoder) in self.resolved.config.inputs.iter().zip(&**self.encoders) {
            let name = vocabulary_file(input);
            write_json(&directory.join(&name), &encoder.vocabulary().words())?;
            names.push(name);
            if let Some(subwords) = encoder.subwords() {
                let name = tokenizer_file(input);
                write(&directory.join(&name), subwords.json())?;
                names.push(name);
            }
            if let Some(hashes) = encoder.ngrams().and_then(NgramIndex::hashes) {
                let name = ngrams_file(input);
                named_tensors::write_hashes(&directory.join(&name), hashes)?;
                names.push(name);
            }
        }
        let mut files = BTreeMap::new();
        for name in names {
            let entry = FileEntry::of(&directory.join(&name))?;
            files.insert(name, entry);
        }
        let manifest = CheckpointManifest {
            format: FORMAT.into(),
            version: self.model.version(),
            lstmtext: env!("CARGO_PKG_VERSION").into(),
            labels: self.labels.to_vec(),
            model: self.model,
            files,
            compact: None,
            sha256: String::new(),
        };
        write_json(&directory.join(MANIFEST), &manifest.seal()?)
    }
}

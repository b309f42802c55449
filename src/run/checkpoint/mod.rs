//! Checkpoints: self-sufficient directories for prediction, evaluation and resuming.
//!
//! | file | content |
//! |---|---|
//! | `checkpoint.json` | format, version, labels, size and SHA-256 of every other file, own SHA-256 |
//! | `model.safetensors` | weights under PyTorch's names; with `train.average` their averages |
//! | `raw.safetensors` | with `train.average` the trainable weights before averaging |
//! | `optimizer.safetensors` | optimizer state, and the state of weight averaging |
//! | `progress.json` | epoch, step, best score, early-stopping and schedule state, what computed the run |
//! | `config.yaml` | resolved configuration |
//! | `vocabulary.json` | word of every id; with several inputs `NAME.vocabulary.json` for each |
//! | `tokenizer.json` | subwords of `text.tokenizer: bpe`, or the file in `text.tokenizer`; with several inputs `NAME.tokenizer.json` for each |
//! | `ngrams.safetensors` | hashes of the n-grams that were counted, in the order of their weights; with several inputs `NAME.ngrams.safetensors` for each |
//! | `calibration.json` | scaling of the probabilities and the decision by them, if the model is calibrated |
//!
//! A compact checkpoint, exported for prediction, has neither `raw.safetensors` nor `optimizer.safetensors`, and its
//! vocabularies and subwords are compressed with Zstandard (`vocabulary.json.zst`). If it is quantized, its weights are
//! 8-bit integers with scales, and its n-grams have short hashes ([`ShortHashes`](crate::model::quantization::ShortHashes)).

mod calibrated;
mod compact;
mod contents;
mod encoders;
mod files;
mod intact;
mod layout;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::config::{self, Config, ConfigError, Labelling, Override, Resolved};
use crate::data::SplitFingerprints;
use crate::io::files::{ARRAYS_LIMIT, RECORDS_LIMIT, SETTINGS_LIMIT, read};
use crate::io::replace::{create_directory, replace_directory};
use crate::model::quantization::dequantized;
use crate::model::transfer::check_sizes;
use crate::model::{ModelSpec, NamedTensor, named_tensors};
use crate::objective::Calibration;
use crate::output::shell::quoted_path;
use crate::run::language_model::LanguageModelProgress;
use crate::run::manifest::Manifest;
use crate::run::progress::Progress;
use crate::text::{Encoders, KnownEncoders};

pub use compact::{CompactSizes, Compaction};
pub use contents::{Contents, create, save};
use encoders::{read_ngrams, read_subwords, read_vocabulary};
use files::{OpenFile, with_directory};
use intact::IntactFiles;
pub(super) use layout::ENSEMBLE;
use layout::{
    CALIBRATION, CONFIG, CheckpointManifest, MANIFEST, MODEL, OPTIMIZER, PROGRESS, RAW, unusable,
    write_json,
};
pub use layout::{ModelKind, tokenizer_file};

/// Reads the configuration of the checkpoint at `path`, or of the best checkpoint of the run there,
/// without checking any file. Returns `None` if it cannot be read; [`Checkpoint::open_with`] reports
/// the reason.
pub fn peek_config(path: &Path, overrides: &[Override]) -> Option<Config> {
    let path = locate(path).ok()?.join(CONFIG);
    let yaml = String::from_utf8(read(&path, SETTINGS_LIMIT).ok()?).ok()?;
    let source = path.display().to_string();
    config::parse_recorded(&yaml, &source, overrides).ok().map(|resolved| resolved.config)
}

/// A checkpoint that has been found intact.
pub struct Checkpoint {
    /// Directory of the checkpoint.
    pub path: PathBuf,
    /// Configuration of the run, with overrides.
    pub resolved: Resolved,
    /// Configuration that was saved. `None` if it is valid only with the overrides.
    pub saved: Option<Resolved>,
    /// Label of each class.
    pub labels: Vec<String>,
    /// Encoder of each input: text to ids.
    pub encoders: Encoders,
    /// Calibration, if the checkpoint has one.
    pub calibration: Option<Calibration>,
    manifest: CheckpointManifest,
    /// Its open files. They stay as they were verified while a training replaces the checkpoint.
    files: BTreeMap<String, OpenFile>,
}

impl Checkpoint {
    /// Opens the checkpoint in the directory `path`, or the best checkpoint of the run in it, and
    /// verifies all files.
    ///
    /// # Errors
    /// Returns an error if there is no checkpoint, or if it is incomplete, damaged, or of another
    /// version.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Self::open_with(path, &[])
    }

    /// Opens a checkpoint like [`Checkpoint::open`], and changes its configuration.
    ///
    /// # Errors
    /// Returns the errors of [`Checkpoint::open`], and an error if a change is not valid.
    pub fn open_with(path: &Path, overrides: &[Override]) -> anyhow::Result<Self> {
        let checkpoint = Self::open_any(path, overrides)?;
        ensure!(
            !checkpoint.is_language_model(),
            "\"{}\" is a language model, which predicts words but no labels; train a classifier from it: \
             lstmtext train CONFIG --from {}",
            checkpoint.path.display(),
            quoted_path(path)
        );
        Ok(checkpoint)
    }

    /// Opens the checkpoint of a language model like [`Checkpoint::open_with`].
    ///
    /// # Errors
    /// Returns the errors of [`Checkpoint::open_with`], and an error if it is a classifier.
    pub fn open_language_model(path: &Path, overrides: &[Override]) -> anyhow::Result<Self> {
        let checkpoint = Self::open_any(path, overrides)?;
        ensure!(
            checkpoint.is_language_model(),
            "\"{}\" is a classifier, not a language model; `lstmtext pretrain` trains language models",
            checkpoint.path.display()
        );
        Ok(checkpoint)
    }

    /// Returns true if the model is a language model.
    pub fn is_language_model(&self) -> bool {
        self.manifest.model == ModelKind::LanguageModel
    }

    /// Opens the checkpoint of a model of any kind.
    fn open_any(path: &Path, overrides: &[Override]) -> anyhow::Result<Self> {
        reject_model_overrides(overrides)?;
        let overrides = &*without_separator(overrides);
        let path = locate(path)?;
        let unusable = || unusable(&path);
        let IntactFiles { manifest, files } = IntactFiles::open(&path)?;
        let yaml = String::from_utf8(files[CONFIG].read(SETTINGS_LIMIT)?)
            .context("config.yaml is not UTF-8")
            .with_context(unusable)?;
        let source = path.join(CONFIG).display().to_string();
        let mut resolved = config::parse_recorded(&yaml, &source, overrides)?;
        let saved = match overrides {
            [] => Some(resolved.clone()),
            _ => config::parse_recorded(&yaml, &source, &[]).ok(),
        };
        keep_labelling(&mut resolved, saved.as_ref(), overrides)?;
        let inputs = &resolved.config.inputs;
        let with_subwords = [Some(&resolved), saved.as_ref()].into_iter().flatten();
        read_subwords(&files, inputs, with_subwords).with_context(unusable)?;
        let short = manifest.is_quantized();
        let indices = inputs
            .iter()
            .map(|input| Ok((read_vocabulary(&files, input)?, read_ngrams(&files, input, short)?)));
        let indices = indices.collect::<anyhow::Result<Vec<_>>>().with_context(unusable)?;
        let labelling = resolved.config.data.labelling();
        let calibration = calibrated::read(&files, labelling, manifest.labels.len());
        Ok(Self {
            calibration: calibration.with_context(unusable)?,
            encoders: Encoders::new(inputs, indices),
            labels: manifest.labels.clone(),
            resolved,
            saved,
            path,
            manifest,
            files,
        })
    }

    /// Opens the checkpoint from whose weights a run with this configuration starts, if it has one.
    ///
    /// # Errors
    /// Returns the errors of [`Checkpoint::open`], and an error if its layers have other sizes than those
    /// of the configuration.
    pub fn open_source(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(path) = &config.train.from else { return Ok(None) };
        let source = Self::open_any(path, &[]).context("train.from")?;
        source.check_precision().context("train.from")?;
        check_sizes(&source.resolved.config, config)?;
        Ok(Some(source))
    }

    /// Encoders for a model that starts from these weights.
    pub fn known_encoders(&self) -> KnownEncoders {
        KnownEncoders::of(&self.resolved.config.inputs, &self.encoders)
    }

    /// Opens the checkpoint like [`Checkpoint::open_source`], and returns its encoders; none without one.
    ///
    /// # Errors
    /// Returns the errors of [`Checkpoint::open_source`].
    pub fn source_encoders(config: &Config) -> anyhow::Result<KnownEncoders> {
        let source = Self::open_source(config)?;
        Ok(source.as_ref().map(Self::known_encoders).unwrap_or_default())
    }

    /// SHA-256 that changes if any file does.
    pub fn sha256(&self) -> &str {
        &self.manifest.sha256
    }

    /// Copies the checkpoint to the new directory `path`. Calls `before_file` before each file.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or written, or `before_file` fails.
    pub fn copy_to(
        &self,
        path: &Path,
        before_file: &dyn Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        create_directory(path, |directory| {
            for (name, file) in &self.files {
                before_file()?;
                copy(file, &directory.join(name))?;
            }
            write_json(&directory.join(MANIFEST), &self.manifest)
        })
    }

    /// Atomically replaces the checkpoint by one with the same weights and this calibration, or without one.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or written. The checkpoint then stays as it is.
    pub fn save_calibration(&self, calibration: Option<&Calibration>) -> anyhow::Result<()> {
        let saved = replace_directory(&self.path, |directory| {
            for (name, file) in self.files.iter().filter(|(name, _)| *name != CALIBRATION) {
                copy(file, &directory.join(name))?;
            }
            calibrated::write(directory, &self.manifest, calibration)
        });
        saved.with_context(|| format!("cannot calibrate \"{}\"", self.path.display()))
    }

    /// Returns the shape of the model.
    pub fn model_spec(&self) -> ModelSpec<'_> {
        ModelSpec {
            config: &self.resolved.config,
            vocabulary_sizes: self.encoders.vocabulary_sizes(),
            ngram_counts: self.encoders.ngram_counts(),
            classes: self.labels.len(),
        }
    }

    /// Returns the context of errors about its content.
    pub fn unusable(&self) -> String {
        unusable(&self.path)
    }

    /// Reads the weights, those of a quantized model in single precision.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or a weight is not finite.
    pub fn weights(&self) -> anyhow::Result<Vec<NamedTensor>> {
        match self.quantized_weights()? {
            Some(tensors) => {
                dequantized(&self.model_spec(), tensors).with_context(|| self.unusable())
            }
            None => self.tensors(MODEL),
        }
    }

    /// Reads the weights without the scales of the branches. Training continues with them.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or a weight is not finite.
    pub fn unscaled_weights(&self) -> anyhow::Result<Vec<NamedTensor>> {
        let mut weights = self.weights()?;
        self.progress()?.branch_scales().inverse().apply(&mut weights);
        Ok(weights)
    }

    /// Reads the trainable weights before averaging, from which training continues. Returns `None` if the
    /// weights are not averages.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or a weight is not finite.
    pub fn raw_weights(&self) -> anyhow::Result<Option<Vec<NamedTensor>>> {
        self.files.contains_key(RAW).then(|| self.tensors(RAW)).transpose()
    }

    /// Reads the progress of the run at the time of the checkpoint.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn progress(&self) -> anyhow::Result<Progress> {
        read_progress(&self.files[PROGRESS])
    }

    /// Reads the progress of the training of a language model at the time of the checkpoint.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn language_model_progress(&self) -> anyhow::Result<LanguageModelProgress> {
        let file = &self.files[PROGRESS];
        let progress: LanguageModelProgress = file.json(SETTINGS_LIMIT)?;
        progress.check().with_context(|| format!("cannot use \"{}\"", file.path().display()))?;
        Ok(progress)
    }

    /// Fingerprints of the examples with which a classifier was trained; `None` if they are unknown, and for a
    /// language model.
    ///
    /// # Errors
    /// Returns an error if the file of the progress cannot be read.
    pub fn training_data(&self) -> anyhow::Result<Option<SplitFingerprints>> {
        match self.is_language_model() {
            true => Ok(None),
            false => Ok(self.progress()?.data),
        }
    }

    /// Reads the optimizer state.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or a value is not finite.
    pub fn optimizer_state(&self) -> anyhow::Result<Vec<NamedTensor>> {
        ensure!(
            self.files.contains_key(OPTIMIZER),
            "{}: it was exported for prediction, without the optimizer state",
            self.unusable()
        );
        self.tensors(OPTIMIZER)
    }

    fn tensors(&self, name: &str) -> anyhow::Result<Vec<NamedTensor>> {
        let file = &self.files[name];
        let read = || named_tensors::parse(&file.read(ARRAYS_LIMIT)?, file.path());
        read().with_context(|| self.unusable())
    }
}

/// Copies an open file to the new file `to`.
fn copy(file: &OpenFile, to: &Path) -> anyhow::Result<()> {
    let write = |mut from: &fs::File| io::copy(&mut from, &mut fs::File::create(to)?);
    write(file.start()?).with_context(|| format!("cannot copy \"{}\"", file.path().display()))?;
    Ok(())
}

/// Reads the progress of the run from the checkpoint in the directory `path`, without verifying other
/// files.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub fn progress(path: &Path) -> anyhow::Result<Progress> {
    with_directory(path, |directory| read_progress(&directory.file(PROGRESS)?))
}

fn read_progress(file: &OpenFile) -> anyhow::Result<Progress> {
    let progress: Progress = file.json(SETTINGS_LIMIT)?;
    progress.check().with_context(|| format!("cannot use \"{}\"", file.path().display()))?;
    Ok(progress)
}

/// Reads the shapes of the weights from the checkpoint in the directory `path`, under PyTorch's names.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub fn shapes(path: &Path) -> anyhow::Result<BTreeMap<String, Vec<usize>>> {
    with_directory(path, |directory| {
        let file = directory.file(MODEL)?;
        named_tensors::shapes(file.start()?, file.path())
    })
}

/// Rejects changes to the model and its vocabulary, which the weights depend on.
fn reject_model_overrides(overrides: &[Override]) -> Result<(), ConfigError> {
    let fixed = |field: &String| match field.split('.').collect::<Vec<_>>()[..] {
        ["inputs", _, "column"] => false,
        [section, ..] => ["model", "text", "inputs"].contains(&section),
        [] => false,
    };
    match overrides.iter().map(Override::field).find(fixed) {
        Some(field) => Err(ConfigError::new(format!(
            "--set {field}: the sections model, text and inputs of a checkpoint cannot change; train a new \
             model, which can start from these weights (train CONFIG --from CHECKPOINT)"
        ))),
        None => Ok(()),
    }
}

/// Returns the overrides for data with a column for each label, which need no separator.
fn without_separator(overrides: &[Override]) -> Cow<'_, [Override]> {
    const SEPARATOR: &str = "data.label_separator";
    let sets = |field: &str| overrides.iter().any(|set| set.field() == field);
    if !sets("data.label_columns") || sets(SEPARATOR) {
        return Cow::Borrowed(overrides);
    }
    let without = [Override::new(SEPARATOR, serde_yaml::Value::Null)];
    Cow::Owned(overrides.iter().cloned().chain(without).collect())
}

/// Keeps the number of labels that a text can have, on which the weights depend, if the data has other columns
/// or another separator than the training data.
fn keep_labelling(
    resolved: &mut Resolved,
    saved: Option<&Resolved>,
    overrides: &[Override],
) -> Result<(), ConfigError> {
    let Some(saved) = saved else { return Ok(()) };
    let labelling = saved.config.data.labelling();
    if resolved.config.data.labelling() == labelling {
        return Ok(());
    }
    let sets = |field: &&str| overrides.iter().any(|set| set.field() == *field);
    let field = ["data.multi_label", "data.label_separator"].into_iter().find(sets);
    match (field, labelling) {
        (Some("data.multi_label"), _) | (Some(_), Labelling::One) => {
            let field = field.unwrap_or_default();
            let labels = match labelling {
                Labelling::One => "a text has exactly one label",
                Labelling::Several => "a text can have several labels",
            };
            Err(ConfigError::new(format!(
                "--set {field}: with this model, {labels}, which cannot change; train a new model"
            )))
        }
        _ => {
            resolved.set_multi_label(labelling == Labelling::Several);
            Ok(())
        }
    }
}

/// Returns true if the directory `path` is a checkpoint rather than a run.
pub fn is_checkpoint(path: &Path) -> bool {
    path.join(MANIFEST).is_file()
}

/// Returns the directory of the checkpoint: `path` itself, or `best/` of a run.
fn locate(path: &Path) -> anyhow::Result<PathBuf> {
    for candidate in [path.to_owned(), path.join("best")] {
        if candidate.join(MANIFEST).is_file() {
            return Ok(candidate);
        }
    }
    let shown = path.display();
    if path.join(ENSEMBLE).is_file() {
        bail!(
            "\"{shown}\" is an ensemble, but this needs a single model: pass one of its members, such as {}",
            quoted_path(&path.join("members/1"))
        );
    }
    if !path.exists() {
        bail!("no checkpoint \"{shown}\": no such file or directory");
    }
    if path.join("last").join(MANIFEST).is_file() {
        bail!(
            "\"{shown}\" has no best/ yet; use \"{shown}/last\", or continue the run with \
             train --resume {}",
            quoted_path(path)
        );
    }
    if path.is_file() {
        bail!("\"{shown}\" is a file; pass the directory of a checkpoint or of a run");
    }
    let advice = match path.join(CONFIG).is_file() {
        true => format!(
            "; if the run stopped before its first checkpoint, restart it with train --resume {}",
            quoted_path(path)
        ),
        false => String::new(),
    };
    bail!("\"{shown}\" is not a checkpoint: {MANIFEST} is missing in it and in its best/{advice}")
}

/// Returns the kind of the model of the checkpoint in the directory `path`, without verifying other files; `None` if
/// its manifest cannot be read.
pub fn kind(path: &Path) -> Option<ModelKind> {
    let parse = |directory: &files::Directory| {
        CheckpointManifest::parse(&directory.file(MANIFEST)?.read(RECORDS_LIMIT)?)
    };
    with_directory(path, parse).ok().map(|manifest| manifest.model)
}

/// Verifies the files of the checkpoint in the directory `path`.
///
/// # Errors
/// Returns an error if the checkpoint is incomplete, damaged, or of another version.
pub fn check(path: &Path) -> anyhow::Result<()> {
    IntactFiles::open(path).map(|_| ())
}

#[cfg(test)]
mod tests;

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

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::config::{self, Config, ConfigError, Input, Inputs, Override, Resolved};
use crate::io::files::{
    ARRAYS_LIMIT, RECORDS_LIMIT, SETTINGS_LIMIT, json_content, read, sha256_of, write,
};
use crate::io::replace::{create_directory, replace_directory};
use crate::model::transfer::check_sizes;
use crate::model::{ModelSpec, NamedTensor, named_tensors};
use crate::output::shell::quoted_path;
use crate::run::checkpoint_files::{Directory, OpenFile, with_directory};
use crate::run::manifest::Manifest;
use crate::run::progress::Progress;
use crate::subwords::Subwords;
use crate::text::{Encoders, KnownEncoders, NgramIndex, Vocabulary};

const FORMAT: &str = "lstmtext checkpoint";
const VERSION: u32 = 2;
const MANIFEST: &str = "checkpoint.json";
const MODEL: &str = "model.safetensors";
const RAW: &str = "raw.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const PROGRESS: &str = "progress.json";
const CONFIG: &str = "config.yaml";
const VOCABULARY: &str = "vocabulary.json";
const TOKENIZER: &str = "tokenizer.json";
const NGRAMS: &str = "ngrams.safetensors";
/// File of an ensemble of checkpoints in place of [`MANIFEST`].
pub(super) const ENSEMBLE: &str = "ensemble.json";
/// Files of every checkpoint, besides a vocabulary for each input, [`TOKENIZER`] if it has subwords, [`NGRAMS`]
/// if they are counted, and [`RAW`] if weights are averaged.
const FILES: [&str; 4] = [MODEL, OPTIMIZER, PROGRESS, CONFIG];

/// Content of `checkpoint.json`.
#[derive(Debug, Serialize, Deserialize)]
struct CheckpointManifest {
    format: String,
    version: u32,
    /// Version of the program that wrote the checkpoint.
    lstmtext: String,
    labels: Vec<String>,
    files: BTreeMap<String, FileEntry>,
    /// SHA-256 of the manifest with an empty value here.
    sha256: String,
}

impl Manifest for CheckpointManifest {
    const FILE: &str = MANIFEST;
    const FORMAT: &str = FORMAT;
    const VERSION: u32 = VERSION;

    fn sha256_mut(&mut self) -> &mut String {
        &mut self.sha256
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FileEntry {
    bytes: u64,
    sha256: String,
}

/// Content of a checkpoint.
pub struct Contents<'a> {
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
    pub progress: &'a Progress,
}

/// Writes a checkpoint to the directory `path` and atomically replaces an older one.
///
/// # Errors
/// Returns an error if a value is not finite or a file cannot be written. The older checkpoint then
/// stays as it is.
pub fn save(path: &Path, contents: &Contents) -> anyhow::Result<()> {
    contents.check_finite(path)?;
    replace_directory(path, |directory| contents.write(directory))
        .with_context(|| cannot_save(path))
}

/// Writes a checkpoint to the new directory `path`.
///
/// # Errors
/// Returns an error if a value is not finite, `path` exists or a file cannot be written.
pub fn create(path: &Path, contents: &Contents) -> anyhow::Result<()> {
    contents.check_finite(path)?;
    create_directory(path, |directory| contents.write(directory)).with_context(|| cannot_save(path))
}

fn cannot_save(path: &Path) -> String {
    format!("cannot save the checkpoint \"{}\"", path.display())
}

impl Contents<'_> {
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
            let entry = entry(&directory.join(&name))?;
            files.insert(name, entry);
        }
        let manifest = CheckpointManifest {
            format: FORMAT.into(),
            version: VERSION,
            lstmtext: env!("CARGO_PKG_VERSION").into(),
            labels: self.labels.to_vec(),
            files,
            sha256: String::new(),
        };
        write_json(&directory.join(MANIFEST), &manifest.seal()?)
    }
}

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
        reject_model_overrides(overrides)?;
        let path = locate(path)?;
        let unusable = || unusable(&path);
        let IntactFiles { manifest, files } = IntactFiles::open(&path)?;
        let yaml = String::from_utf8(files[CONFIG].read(SETTINGS_LIMIT)?)
            .context("config.yaml is not UTF-8")
            .with_context(unusable)?;
        let source = path.join(CONFIG).display().to_string();
        let resolved = config::parse_recorded(&yaml, &source, overrides)?;
        let saved = match overrides {
            [] => Some(resolved.clone()),
            _ => config::parse_recorded(&yaml, &source, &[]).ok(),
        };
        let inputs = &resolved.config.inputs;
        let with_subwords = [Some(&resolved), saved.as_ref()].into_iter().flatten();
        read_subwords(&files, inputs, with_subwords).with_context(unusable)?;
        let indices = inputs
            .iter()
            .map(|input| Ok((read_vocabulary(&files, input)?, read_ngrams(&files, input)?)));
        let indices = indices.collect::<anyhow::Result<Vec<_>>>().with_context(unusable)?;
        Ok(Self {
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
        let source = Self::open(path).context("train.from")?;
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
                let copy = directory.join(name);
                let write =
                    |mut from: &fs::File| io::copy(&mut from, &mut fs::File::create(&copy)?);
                write(file.start()?)
                    .with_context(|| format!("cannot copy \"{}\"", file.path().display()))?;
            }
            write_json(&directory.join(MANIFEST), &self.manifest)
        })
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

    /// Reads the weights.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or a weight is not finite.
    pub fn weights(&self) -> anyhow::Result<Vec<NamedTensor>> {
        self.tensors(MODEL)
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

    /// Reads the optimizer state.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or a value is not finite.
    pub fn optimizer_state(&self) -> anyhow::Result<Vec<NamedTensor>> {
        self.tensors(OPTIMIZER)
    }

    fn tensors(&self, name: &str) -> anyhow::Result<Vec<NamedTensor>> {
        let file = &self.files[name];
        let read = || named_tensors::parse(&file.read(ARRAYS_LIMIT)?, file.path());
        read().with_context(|| self.unusable())
    }
}

fn unusable(path: &Path) -> String {
    format!("cannot use the checkpoint \"{}\"", path.display())
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

/// Verifies the files of the checkpoint in the directory `path`.
///
/// # Errors
/// Returns an error if the checkpoint is incomplete, damaged, or of another version.
pub fn check(path: &Path) -> anyhow::Result<()> {
    IntactFiles::open(path).map(|_| ())
}

/// The files of a checkpoint that has been found intact.
struct IntactFiles {
    manifest: CheckpointManifest,
    /// All files that the manifest lists, at least [`FILES`].
    files: BTreeMap<String, OpenFile>,
}

impl IntactFiles {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let verified = with_directory(path, Self::verify);
        let verified = verified.map_err(|error| suggest_sibling(error, path));
        verified.with_context(|| unusable(path))
    }

    /// Opens all files and verifies them against the manifest.
    fn verify(directory: &Directory) -> anyhow::Result<Self> {
        let file = directory.file(MANIFEST)?;
        let manifest = CheckpointManifest::parse(&file.read(RECORDS_LIMIT)?)?;
        for name in FILES {
            ensure!(manifest.files.contains_key(name), "{MANIFEST} does not list {name}");
        }
        let open = |name: &String| {
            ensure!(
                Path::new(name).file_name() == Some(name.as_ref()),
                "{MANIFEST} lists {name:?}, which is not a file name"
            );
            Ok((name.clone(), directory.file(name)?))
        };
        // All at once: a training that replaces the checkpoint removes those that are not open.
        let files: BTreeMap<String, OpenFile> =
            manifest.files.keys().map(open).collect::<anyhow::Result<_>>()?;
        for (name, expected) in &manifest.files {
            let bytes = files[name].bytes()?;
            ensure!(
                bytes == expected.bytes,
                "{name} has {bytes} bytes, but {MANIFEST} records {}",
                expected.bytes
            );
            ensure!(
                files[name].sha256()? == expected.sha256,
                "{name} is damaged: its SHA-256 differs from the recorded one"
            );
        }
        Ok(Self { manifest, files })
    }
}

/// Adds to the error of a checkpoint that the other checkpoint of the run is intact, if it is.
fn suggest_sibling(error: anyhow::Error, path: &Path) -> anyhow::Error {
    let sibling = match path.file_name().and_then(|name| name.to_str()) {
        Some("best") => path.with_file_name("last"),
        Some("last") => path.with_file_name("best"),
        _ => return error,
    };
    match with_directory(&sibling, IntactFiles::verify) {
        Ok(_) => anyhow!(
            "{error:#}; \"{}\" is intact: use it, or delete the damaged checkpoint to resume from it",
            sibling.display()
        ),
        Err(_) => error,
    }
}

fn vocabulary_file(input: &Input) -> String {
    input.prefix() + VOCABULARY
}

fn read_vocabulary(
    files: &BTreeMap<String, OpenFile>,
    input: &Input,
) -> anyhow::Result<Vocabulary> {
    let name = vocabulary_file(input);
    let file = files.get(&name).with_context(|| format!("{MANIFEST} does not list {name}"))?;
    let words: Vec<String> = file.json(RECORDS_LIMIT)?;
    Vocabulary::from_words(words).map_err(|error| anyhow!("{name}: {error}"))
}

/// Name of the file with the subwords of an input, if it has any.
pub fn tokenizer_file(input: &Input) -> String {
    input.prefix() + TOKENIZER
}

/// Reads the subwords of the inputs, and passes them to these configurations.
fn read_subwords<'a>(
    files: &BTreeMap<String, OpenFile>,
    inputs: &Inputs,
    configurations: impl Iterator<Item = &'a Resolved> + Clone,
) -> anyhow::Result<()> {
    for (index, input) in inputs.iter().enumerate() {
        if !input.text.tokenizer.has_subwords() {
            continue;
        }
        let name = tokenizer_file(input);
        let file = files.get(&name).with_context(|| format!("{MANIFEST} does not list {name}"))?;
        let subwords = Arc::new(Subwords::parse(file.read(RECORDS_LIMIT)?).context(name)?);
        for resolved in configurations.clone() {
            if let Some(input) = resolved.config.inputs.get(index) {
                input.text.tokenizer.set_subwords(subwords.clone());
            }
        }
    }
    Ok(())
}

fn ngrams_file(input: &Input) -> String {
    input.prefix() + NGRAMS
}

/// Reads the index of the n-grams of an input, if it has one.
fn read_ngrams(
    files: &BTreeMap<String, OpenFile>,
    input: &Input,
) -> anyhow::Result<Option<NgramIndex>> {
    if !input.ngrams.are_counted() {
        return Ok(NgramIndex::buckets(&input.ngrams));
    }
    let name = ngrams_file(input);
    let file = files.get(&name).with_context(|| format!("{MANIFEST} does not list {name}"))?;
    let hashes = named_tensors::parse_hashes(&file.read(ARRAYS_LIMIT)?, file.path())?;
    Ok(Some(NgramIndex::counted(&input.ngrams, hashes)))
}

fn entry(path: &Path) -> anyhow::Result<FileEntry> {
    let metadata = fs::metadata(path);
    let metadata = metadata.with_context(|| format!("cannot read \"{}\"", path.display()))?;
    Ok(FileEntry { bytes: metadata.len(), sha256: sha256_of(path)? })
}

fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    write(path, json_content(value)?)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::objective::metrics::Score;
    use crate::run::progress::Best;

    fn tensor(name: String) -> impl Strategy<Value = NamedTensor> {
        vec(0_usize..4, 0..4).prop_flat_map(move |shape| {
            let (name, count) = (name.clone(), shape.iter().product::<usize>());
            // NaN is not equal to itself.
            vec(any::<f32>().prop_filter("NaN", |value| !value.is_nan()), count).prop_map(
                move |values| NamedTensor { name: name.clone(), shape: shape.clone(), values },
            )
        })
    }

    fn tensors() -> impl Strategy<Value = Vec<NamedTensor>> {
        btree_set("[a-z_.0-9]{1,9}", 0..4)
            .prop_flat_map(|names| names.into_iter().map(tensor).collect::<Vec<_>>())
    }

    /// Sorts tensors: a file has them in its own order.
    fn by_name(mut tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    }

    prop_compose! {
        /// Any progress that a run can have.
        fn progress()(
            (epoch, batch, others) in (0_usize..99, 0_usize..99, 0_u64..1 << 40),
            (order, tokens, seconds) in (any::<u64>(), 0_u64..1 << 53, 0.0..1e9),
            (loss, accuracy, waited) in (0.0..1e300, 0.0..=1.0, 0_usize..2),
        ) -> Progress {
            let mut progress = Progress { epoch, batch, order, tokens, seconds, ..Progress::default() };
            progress.step = (epoch + batch) as u64 + others;
            if progress.epoch_number() > 0 {
                let validation = Score { loss, accuracy };
                progress.best = Some(Best { epoch: progress.epoch_number(), validation });
                progress.waited = waited;
            }
            progress
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// With any words, labels and values, loading returns what was saved.
        #[test]
        fn a_checkpoint_is_unchanged_by_saving_and_loading(
            texts in vec("\\PC{1,12}", 1..9),
            labels in vec("\\PC{0,8}", 2..4),
            weights in tensors(),
            raw_weights in proptest::option::of(tensors()),
            state in tensors(),
            progress in progress(),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("best");
            let yaml = "data: {train: x}\ntext: {min_count: 1}\n";
            let resolved = config::parse_plain(yaml);
            let inputs = &resolved.config.inputs;
            let Ok(encoders) = Encoders::from_texts(inputs, &[texts]) else { return Ok(()) };
            let contents = Contents {
                resolved: &resolved,
                labels: &labels,
                encoders: &encoders,
                weights: weights.clone(),
                raw_weights: raw_weights.clone(),
                optimizer_state: state.clone(),
                progress: &progress,
            };
            save(&path, &contents).unwrap();
            let saved = Checkpoint::open(&path).unwrap();
            prop_assert_eq!(&saved.resolved.config, &resolved.config);
            prop_assert_eq!(&saved.labels, &labels);
            prop_assert_eq!(saved.encoders[0].vocabulary().words(), encoders[0].vocabulary().words());
            prop_assert_eq!(by_name(saved.weights().unwrap()), weights);
            prop_assert_eq!(saved.raw_weights().unwrap().map(by_name), raw_weights);
            prop_assert_eq!(by_name(saved.optimizer_state().unwrap()), state);
            prop_assert_eq!(saved.progress().unwrap(), progress);
        }
    }

    #[test]
    fn a_checkpoint_stays_readable_while_it_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("last");
        let resolved = config::parse_plain("data: {train: x}\ntext: {min_count: 1}\n");
        let inputs = &resolved.config.inputs;
        let vocabulary = Vocabulary::build(&["a b".into()], &inputs[0].text).unwrap();
        let encoders = Encoders::new(inputs, vec![(vocabulary, None)]);
        let save = |value: f32| {
            let tensor = NamedTensor { name: "w".into(), shape: vec![9], values: vec![value; 9] };
            let contents = Contents {
                resolved: &resolved,
                labels: &["a".into(), "b".into()],
                encoders: &encoders,
                weights: vec![tensor.clone()],
                raw_weights: None,
                optimizer_state: vec![tensor],
                progress: &Progress::default(),
            };
            super::save(&path, &contents).unwrap();
        };
        save(0.0);
        let first = Checkpoint::open(&path).unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                (1..100).for_each(|value| save(value as f32));
                is_over.store(true, Ordering::Relaxed);
            });
            while !is_over.load(Ordering::Relaxed) {
                let opened = Checkpoint::open(&path).unwrap();
                assert_eq!(opened.weights().unwrap(), opened.optimizer_state().unwrap());
                super::progress(&path).unwrap();
                shapes(&path).unwrap();
            }
        });
        assert_eq!(first.weights().unwrap()[0].values, [0.0; 9]);
    }
}

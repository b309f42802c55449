//! Checkpoints: one folder that prediction, evaluation and resuming need, and nothing else.
//!
//! | file | content |
//! |---|---|
//! | `checkpoint.json` | format, version, labels, size and SHA-256 of every other file, and its own |
//! | `model.safetensors` | weights under PyTorch's names |
//! | `optimizer.safetensors` | the optimizer's memory |
//! | `progress.json` | epoch, step, best score, early-stopping and schedule state |
//! | `config.yaml` | the resolved configuration |
//! | `vocabulary.json` | the word of every id; with several inputs `NAME.vocabulary.json` for each |

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::backend::native::NativeClassifier;
use crate::config::{self, ConfigError, Input, Override, Resolved};
use crate::io::files::{replace_directory, sha256, sha256_of};
use crate::model::named_tensors::{self, NamedTensor};
use crate::run::progress::Progress;
use crate::text::{Encoders, Vocabulary};

const FORMAT: &str = "lstmtext checkpoint";
const VERSION: u32 = 2;
const MANIFEST: &str = "checkpoint.json";
const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const PROGRESS: &str = "progress.json";
const CONFIG: &str = "config.yaml";
const VOCABULARY: &str = "vocabulary.json";
/// The files that every checkpoint has, besides a vocabulary for each input.
const FILES: [&str; 4] = [MODEL, OPTIMIZER, PROGRESS, CONFIG];

/// What `checkpoint.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: String,
    version: u32,
    /// The program that wrote it.
    lstmtext: String,
    labels: Vec<String>,
    files: BTreeMap<String, FileEntry>,
    /// The SHA-256 of the manifest in which this is empty.
    sha256: String,
}

impl Manifest {
    /// The manifest as it is written.
    fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).context("cannot encode JSON")?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn seal(mut self) -> anyhow::Result<Self> {
        self.sha256.clear();
        self.sha256 = sha256(&*self.bytes()?)?;
        Ok(self)
    }
}

/// What the manifest of every version begins with.
#[derive(Deserialize)]
struct Version {
    format: String,
    version: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FileEntry {
    bytes: u64,
    sha256: String,
}

/// What goes into a checkpoint.
pub struct Contents<'a> {
    /// The resolved configuration.
    pub resolved: &'a Resolved,
    /// The label of each class number.
    pub labels: &'a [String],
    /// The word of each id, for each input.
    pub encoders: &'a Encoders,
    /// The weights.
    pub weights: Vec<NamedTensor>,
    /// The optimizer's memory.
    pub memory: Vec<NamedTensor>,
    /// How far the run is.
    pub progress: &'a Progress,
}

/// Writes a checkpoint to the folder `path`; an older one there is replaced in one stroke.
///
/// # Errors
/// Where a file cannot be written; the older checkpoint is untouched then.
pub fn save(path: &Path, contents: &Contents) -> anyhow::Result<()> {
    replace_directory(path, |folder| {
        named_tensors::write(&folder.join(MODEL), &contents.weights)?;
        named_tensors::write(&folder.join(OPTIMIZER), &contents.memory)?;
        write_json(&folder.join(PROGRESS), contents.progress)?;
        write(&folder.join(CONFIG), contents.resolved.to_yaml().as_bytes())?;
        let mut names: Vec<String> = FILES.map(str::to_owned).to_vec();
        for (input, encoder) in contents.resolved.config.inputs.iter().zip(&**contents.encoders) {
            let name = vocabulary_file(input);
            write_json(&folder.join(&name), &encoder.vocabulary().words())?;
            names.push(name);
        }
        let mut files = BTreeMap::new();
        for name in names {
            let entry = entry(&folder.join(&name))?;
            files.insert(name, entry);
        }
        let manifest = Manifest {
            format: FORMAT.into(),
            version: VERSION,
            lstmtext: env!("CARGO_PKG_VERSION").into(),
            labels: contents.labels.to_vec(),
            files,
            sha256: String::new(),
        };
        write(&folder.join(MANIFEST), &manifest.seal()?.bytes()?)
    })
    .with_context(|| format!("cannot save the checkpoint \"{}\"", path.display()))
}

/// A checkpoint that was found whole.
pub struct Checkpoint {
    /// The folder it lies in.
    pub path: PathBuf,
    /// The configuration of its run.
    pub resolved: Resolved,
    /// The label of each class number.
    pub labels: Vec<String>,
    /// Turn the texts of each input into the ids that the model knows.
    pub encoders: Encoders,
}

impl Checkpoint {
    /// Opens the checkpoint in the folder `path`, or the best one of the run in it, and checks
    /// every file against the manifest.
    ///
    /// # Errors
    /// Where there is no checkpoint, or it is incomplete, damaged, or of a later version.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Self::open_with(path, &[])
    }

    /// As [`Checkpoint::open`], with changes to its configuration.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], and where a change is no valid configuration.
    pub fn open_with(path: &Path, overrides: &[Override]) -> anyhow::Result<Self> {
        refuse_new_model(overrides)?;
        let path = locate(path)?;
        let unusable = || format!("cannot use the checkpoint \"{}\"", path.display());
        let manifest = check(&path).map_err(|fault| or_its_sibling(fault, &path));
        let manifest = manifest.with_context(unusable)?;
        let yaml = String::from_utf8(read(&path.join(CONFIG))?)
            .context("config.yaml is not UTF-8")
            .with_context(unusable)?;
        let source = path.join(CONFIG).display().to_string();
        let resolved = config::parse(&yaml, &source, overrides)?;
        let inputs = &resolved.config.inputs;
        let vocabularies = inputs.iter().map(|input| read_vocabulary(&path, &manifest, input));
        let vocabularies =
            vocabularies.collect::<anyhow::Result<Vec<_>>>().with_context(unusable)?;
        Ok(Self {
            encoders: Encoders::new(inputs, vocabularies),
            labels: manifest.labels,
            resolved,
            path,
        })
    }

    /// The network with its trained weights, for the kernel.
    ///
    /// # Errors
    /// Where the weights do not fit the configuration.
    pub fn native(&self) -> anyhow::Result<NativeClassifier> {
        let (config, classes) = (&self.resolved.config, self.labels.len());
        NativeClassifier::new(config, &self.encoders.sizes(), classes, self.weights()?)
            .with_context(|| self.unusable())
    }

    /// What an error about its contents begins with.
    pub fn unusable(&self) -> String {
        format!("cannot use the checkpoint \"{}\"", self.path.display())
    }

    /// The trained weights.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn weights(&self) -> anyhow::Result<Vec<NamedTensor>> {
        named_tensors::read(&self.path.join(MODEL))
    }

    /// How far the run was when the checkpoint was written.
    ///
    /// # Errors
    /// Where the file is not what this version writes.
    pub fn progress(&self) -> anyhow::Result<Progress> {
        progress(&self.path)
    }

    /// The optimizer's memory.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn memory(&self) -> anyhow::Result<Vec<NamedTensor>> {
        named_tensors::read(&self.path.join(OPTIMIZER))
    }
}

/// How far the run was when the checkpoint in the folder `path` was written, whether the rest of it
/// is whole or not.
///
/// # Errors
/// Where the file is not what this version writes.
pub fn progress(path: &Path) -> anyhow::Result<Progress> {
    read_json(&path.join(PROGRESS))
}

/// The shapes of the weights of the checkpoint in the folder `path`, under PyTorch's names.
///
/// # Errors
/// Where the file cannot be read.
pub fn shapes(path: &Path) -> anyhow::Result<BTreeMap<String, Vec<usize>>> {
    named_tensors::shapes(&path.join(MODEL))
}

/// A model and its vocabulary cannot change under their weights.
fn refuse_new_model(overrides: &[Override]) -> Result<(), ConfigError> {
    let fixed = |field: &String| match field.split('.').collect::<Vec<_>>()[..] {
        ["inputs", _, "column"] => false,
        [section, ..] => ["model", "text", "inputs"].contains(&section),
        [] => false,
    };
    match overrides.iter().map(Override::field).find(fixed) {
        Some(field) => Err(ConfigError::new(format!(
            "--set {field}: a checkpoint keeps its model, text and inputs sections; train a new one"
        ))),
        None => Ok(()),
    }
}

/// Whether the folder `path` is a checkpoint, rather than a run.
pub fn is_checkpoint(path: &Path) -> bool {
    path.join(MANIFEST).is_file()
}

/// The checkpoint folder that the user means: `path` itself, or `best/` of a run.
fn locate(path: &Path) -> anyhow::Result<PathBuf> {
    for candidate in [path.to_owned(), path.join("best")] {
        if candidate.join(MANIFEST).is_file() {
            return Ok(candidate);
        }
    }
    if !path.exists() {
        bail!("there is no checkpoint \"{}\"", path.display());
    }
    if path.join("last").join(MANIFEST).is_file() {
        let path = path.display();
        bail!(
            "\"{path}\" has no best/ yet: use \"{path}/last\", or go on with train --resume {path}"
        );
    }
    if path.is_file() {
        bail!("\"{}\" is no checkpoint but a file: {MANIFEST} is missing", path.display());
    }
    let advice = match path.join(CONFIG).is_file() {
        true => {
            format!("; a run that was stopped before its first: train --resume {}", path.display())
        }
        false => String::new(),
    };
    let path = path.display();
    bail!("\"{path}\" is no checkpoint: {MANIFEST} is missing in it (and in best/){advice}")
}

/// Compares every file with the manifest.
fn check(path: &Path) -> anyhow::Result<Manifest> {
    let file = path.join(MANIFEST);
    let Version { format, version } = read_json(&file)?;
    ensure!(format == FORMAT, "{MANIFEST} describes \"{format}\"");
    ensure!(
        version == VERSION,
        "it has format version {version}, this lstmtext {} knows {VERSION}: use {} lstmtext",
        env!("CARGO_PKG_VERSION"),
        if version > VERSION { "a newer" } else { "an older" },
    );
    let manifest = read_json::<Manifest>(&file)?.seal()?;
    ensure!(
        manifest.bytes()? == read(&file)?,
        "{MANIFEST} is damaged: its SHA-256 is not the recorded one"
    );
    for name in FILES {
        ensure!(manifest.files.contains_key(name), "{MANIFEST} does not list {name}");
    }
    for (name, expected) in &manifest.files {
        ensure!(Path::new(name).file_name() == Some(name.as_ref()), "{MANIFEST} lists {name:?}");
        let found = entry(&path.join(name))?;
        ensure!(
            found.bytes == expected.bytes,
            "{name} has {} bytes, {MANIFEST} says {}",
            found.bytes,
            expected.bytes
        );
        ensure!(
            found.sha256 == expected.sha256,
            "{name} is damaged: its SHA-256 is not the recorded one"
        );
    }
    Ok(manifest)
}

/// The fault of a checkpoint, and whether the other one of its run is whole.
fn or_its_sibling(fault: anyhow::Error, path: &Path) -> anyhow::Error {
    let sibling = match path.file_name().and_then(|name| name.to_str()) {
        Some("best") => path.with_file_name("last"),
        Some("last") => path.with_file_name("best"),
        _ => return fault,
    };
    match check(&sibling) {
        Ok(_) => anyhow!(
            "{fault:#}; \"{}\" is whole: name it instead, or remove the damaged one to resume from it",
            sibling.display()
        ),
        Err(_) => fault,
    }
}

fn vocabulary_file(input: &Input) -> String {
    input.prefix() + VOCABULARY
}

fn read_vocabulary(path: &Path, manifest: &Manifest, input: &Input) -> anyhow::Result<Vocabulary> {
    let name = vocabulary_file(input);
    ensure!(manifest.files.contains_key(&name), "{MANIFEST} does not list {name}");
    let words: Vec<String> = read_json(&path.join(&name))?;
    Vocabulary::from_words(words).map_err(|message| anyhow!("{name}: {message}"))
}

fn entry(path: &Path) -> anyhow::Result<FileEntry> {
    let metadata =
        fs::metadata(path).with_context(|| format!("cannot read \"{}\"", path.display()))?;
    Ok(FileEntry { bytes: metadata.len(), sha256: sha256_of(path)? })
}

fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).context("cannot encode JSON")?;
    bytes.push(b'\n');
    write(path, &bytes)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<T> {
    serde_json::from_slice(&read(path)?)
        .with_context(|| format!("\"{}\" is not what lstmtext writes", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write \"{}\"", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read \"{}\"", path.display()))
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::objective::metrics::Score;
    use crate::run::progress::Best;

    fn array(name: String) -> impl Strategy<Value = NamedTensor> {
        vec(0_usize..4, 0..4).prop_flat_map(move |shape| {
            let (name, count) = (name.clone(), shape.iter().product::<usize>());
            // Any bits but those of a NaN, which differs from itself.
            vec(any::<f32>().prop_filter("NaN", |number| !number.is_nan()), count).prop_map(
                move |values| NamedTensor { name: name.clone(), shape: shape.clone(), values },
            )
        })
    }

    fn arrays() -> impl Strategy<Value = Vec<NamedTensor>> {
        btree_set("[a-z_.0-9]{1,9}", 0..4)
            .prop_flat_map(|names| names.into_iter().map(array).collect::<Vec<_>>())
    }

    /// A file has its arrays in an order of its own.
    fn by_name(mut arrays: Vec<NamedTensor>) -> Vec<NamedTensor> {
        arrays.sort_by(|a, b| a.name.cmp(&b.name));
        arrays
    }

    fn progress() -> impl Strategy<Value = Progress> {
        let best = (1_usize.., any::<[f64; 2]>()).prop_filter_map("NaN", |(epoch, numbers)| {
            let validation = Score { loss: numbers[0], accuracy: numbers[1] };
            numbers.iter().all(|n| n.is_finite()).then_some(Best { epoch, validation })
        });
        let counts = any::<(usize, usize, usize)>();
        (counts, any::<(u64, u64, u64)>(), 0.0..1e9, proptest::option::of(best)).prop_map(
            |((epoch, batch, waited), (step, order, tokens), seconds, best)| Progress {
                epoch,
                batch,
                waited,
                step,
                order,
                tokens,
                seconds,
                best,
                ..Progress::default()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever words, labels and numbers: what is opened is what was saved.
        #[test]
        fn a_checkpoint_is_opened_as_it_was_saved(
            texts in vec("\\PC{1,12}", 1..9),
            labels in vec("\\PC{0,8}", 2..4),
            weights in arrays(),
            memory in arrays(),
            progress in progress(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("best");
            let yaml = "data: {train: x}\ntext: {min_count: 1}\n";
            let resolved = config::parse(yaml, "test", &[]).unwrap();
            let inputs = &resolved.config.inputs;
            let Ok(encoders) = Encoders::of_texts(inputs, &[texts]) else { return Ok(()) };
            let contents = Contents {
                resolved: &resolved,
                labels: &labels,
                encoders: &encoders,
                weights: weights.clone(),
                memory: memory.clone(),
                progress: &progress,
            };
            save(&path, &contents).unwrap();
            let found = Checkpoint::open(&path).unwrap();
            prop_assert_eq!(&found.resolved.config, &resolved.config);
            prop_assert_eq!(&found.labels, &labels);
            prop_assert_eq!(found.encoders[0].vocabulary().words(), encoders[0].vocabulary().words());
            prop_assert_eq!(by_name(found.weights().unwrap()), weights);
            prop_assert_eq!(by_name(found.memory().unwrap()), memory);
            prop_assert_eq!(found.progress().unwrap(), progress);
        }
    }
}

//! Loads the training, validation and test examples of a configuration.

mod labelling;
mod splitting;
mod subwords;

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};

pub use self::labelling::has_several_labels;
use self::labelling::{add_teacher, reading_labels};
use self::splitting::split;
use self::subwords::{learn_subwords, split_pieces};
use crate::config::{CacheUse, Config, ConfigError, DataConfig, Labelling, UnseenLabels};
use crate::data::check::duplicates::overlap;
use crate::data::check::splits::{class_findings, single_label, unused_name};
use crate::data::data_splits::{DataSplits, drop_long_texts, short_rows};
use crate::data::examples::{Examples, all_rows, read_nonempty_source, with_classes};
use crate::data::finding::{Check, Finding};
use crate::data::fingerprint::Fingerprint;
use crate::data::formats::{Labels, Rows, expand_pattern};
use crate::data::sharding::Sharing;
use crate::data::source::Source;
use crate::data::split_name::SplitName;
use crate::data::targets::Targets;
use crate::data::text_faults::all_empty;

/// Size in bytes up to which training files are read again to find texts in them, which takes a second.
const SMALL: u64 = 64 << 20;

/// Class names and training examples of a configuration.
#[derive(Clone, Debug)]
pub struct TrainingData {
    /// Class names, indexed by class.
    pub labels: Vec<String>,
    /// Training examples, with findings for the user.
    pub examples: Examples,
}

/// Reads the training examples. Reads the other files only if their labels become classes, by
/// `data.unseen_labels: class`.
///
/// # Errors
/// Returns the errors of [`load`] for the files that are read.
pub fn load_training(config: &Config) -> anyhow::Result<TrainingData> {
    if config.data.labels.is_empty() && config.data.unseen_labels == UnseenLabels::Class {
        let DataSplits { labels, train, findings, .. } = load(config, None)?;
        return Ok(TrainingData { labels, examples: Examples { findings, ..train } });
    }
    let reading = reading_labels(config, None)?;
    let data = &reading.data;
    let source = read("data.train", &data.train, &reading, &[], None)?;
    let labels = class_names(&source.rows, [None, None], data)?;
    let mut examples = split_off(source, SplitName::Train, &labels, data)?;
    let learned = learn_subwords(&examples, config)?;
    split_pieces(&mut [&mut examples], config, &learned)?;
    Ok(TrainingData { labels, examples })
}

/// Reads the examples of one split for a model with the class names `labels`, possibly none. Reads only
/// the file that they are in. Drops long texts, like [`DataSplits::drop_long_texts`].
///
/// # Errors
/// Returns an error if the file cannot be read, has an unknown label, or has too few examples to be
/// split.
pub fn load_split(config: &Config, name: SplitName, labels: &[String]) -> anyhow::Result<Examples> {
    let config = &*config.without_teacher();
    let data = &config.data;
    if let Some(input) = config.inputs.iter().find(|input| input.text.tokenizer.needs_training()) {
        bail!("{}: bpe has not been trained", input.field("text.tokenizer"));
    }
    let mut examples = match (name, &data.validation, &data.test) {
        (SplitName::Validation, Some(path), _) => {
            with_classes(read("data.validation", path, config, labels, None)?, labels, data)?
        }
        (SplitName::Test, _, Some(path)) => {
            with_classes(read("data.test", path, config, labels, None)?, labels, data)?
        }
        _ => split_off(read("data.train", &data.train, config, &[], None)?, name, labels, data)?,
    };
    let dropped = drop_long_texts(&mut examples, name, labels, config)?;
    examples.findings.extend(dropped);
    let single = single_label(name, &examples, labels, data);
    examples.findings.extend(single);
    Ok(examples)
}

/// Returns a note if some of the examples have texts on which a run was trained. `train` is the fingerprint
/// of its training examples.
///
/// # Errors
/// Returns the reason why this is unknown: the training data may be too large to be read again, or have
/// changed.
pub fn training_overlap(
    examples: &Examples,
    config: &Config,
    labels: &[String],
    train: Fingerprint,
) -> Result<Option<String>, &'static str> {
    const UNREADABLE: &str = "the training data cannot be read";
    let mut config = config.clone();
    config.data.cache = CacheUse::Never;
    let files = expand_pattern(&config.data.train, config.data.format).map_err(|_| UNREADABLE)?;
    let sizes = files.iter().map(|file| fs::metadata(file).map_err(|_| UNREADABLE));
    let sizes = sizes.collect::<Result<Vec<Metadata>, _>>()?;
    if !sizes.iter().all(Metadata::is_file) || sizes.iter().map(Metadata::len).sum::<u64>() > SMALL
    {
        return Err("only training files of up to 64 MB are compared");
    }
    let training = load_split(&config, SplitName::Train, labels).map_err(|_| UNREADABLE)?;
    match training.fingerprint(labels) == train {
        true => {
            let count = examples.shared_with(&training);
            let found = overlap(count, examples.len(), "training", "", &config.data);
            Ok(found.map(|found| found.message))
        }
        false => Err("the training data has changed since"),
    }
}

/// Returns the examples of the training file that are in a split.
fn split_off(
    source: Source,
    name: SplitName,
    labels: &[String],
    config: &DataConfig,
) -> anyhow::Result<Examples> {
    let all = with_classes(source, labels, config)?;
    let split = split(&all, config)?;
    let indices = match name {
        SplitName::Train => split.train,
        SplitName::Validation => split.validation,
        SplitName::Test => split.test,
    };
    Ok(Examples { findings: all.findings.clone(), ..all.select(&indices) })
}

fn read(
    field: &'static str,
    path: &Path,
    config: &Config,
    known: &[String],
    sharing: Sharing,
) -> anyhow::Result<Source> {
    read_nonempty_source(path, config, Labels::Required { known }, sharing).context(field)
}

/// Reads all files of the data section. Splits validation and test examples off the training file if
/// they have no file of their own. Other processes may share the work.
///
/// # Errors
/// Returns the errors of [`FileExamples::read`] and of [`FileExamples::split`].
pub fn load(config: &Config, sharing: Sharing) -> anyhow::Result<DataSplits> {
    let mut splits = FileExamples::read(config, sharing)?.split(config)?;
    let learned = learn_subwords(&splits.train, config)?;
    let DataSplits { train, validation, test, .. } = &mut splits;
    split_pieces(&mut [train, validation, test], config, &learned)?;
    Ok(splits)
}

/// Examples of all files of the data section, which can be split in several ways.
pub struct FileExamples {
    /// A text can have several labels.
    multi_label: bool,
    /// Class names, indexed by class.
    labels: Vec<String>,
    /// Examples of `data.train`.
    train: Examples,
    /// Examples of `data.validation` and of `data.test`, if there are such files.
    validation: Option<Examples>,
    test: Option<Examples>,
}

impl FileExamples {
    /// Reads all files of the data section. Other processes may share the work.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or has an unknown label.
    pub fn read(config: &Config, sharing: Sharing) -> anyhow::Result<Self> {
        let with_teacher = config;
        if config.data.train.as_os_str().is_empty() {
            let message =
                "data.train: missing; set it to the file or directory with the training data";
            return Err(ConfigError::new(message).into());
        }
        let config = &reading_labels(config, sharing)?;
        let data = &config.data;
        let train = read("data.train", &data.train, config, &[], sharing)?;
        let known = &train.rows.label_names;
        let read = |field: &'static str, path: &Path| read(field, path, config, known, sharing);
        let validation =
            data.validation.as_deref().map(|path| read("data.validation", path)).transpose()?;
        let test = data.test.as_deref().map(|path| read("data.test", path)).transpose()?;
        let others = [&validation, &test].map(|source| source.as_ref().map(|source| &source.rows));
        let labels = class_names(&train.rows, others, data)?;
        let with_classes_or_advice = |source: Source| {
            let examples = with_classes(source, &labels, data);
            match data.labels.is_empty() {
                true => examples.map_err(|fault| {
                    anyhow!("{fault} (to add it as a class, set data.unseen_labels: class)")
                }),
                false => examples,
            }
        };
        let validation = validation.map(with_classes_or_advice).transpose()?;
        let test = test.map(with_classes_or_advice).transpose()?;

        let mut train = with_classes(train, &labels, data)?;
        ensure_texts(&train, "training", config)?;
        add_teacher(&mut train, &data.train, with_teacher, &labels, sharing)?;
        let multi_label = data.labelling() == Labelling::Several;
        Ok(Self { multi_label, labels, train, validation, test })
    }

    /// Splits validation and test examples off the training file if they have no file of their own. The
    /// configuration may differ in `data.split` from the one by which the files were read. Texts are not split
    /// into the subwords of a byte-pair encoding that is not trained yet.
    ///
    /// # Errors
    /// Returns an error if a required split is empty.
    pub fn split(&self, config: &Config) -> anyhow::Result<DataSplits> {
        let multi_label = Some(self.multi_label);
        let data = &DataConfig { multi_label, ..config.without_teacher().data.clone() };
        let train = &self.train;
        let split = split(train, data)?;
        let of_file = |file: &Option<Examples>, rest: &[usize]| {
            file.clone().unwrap_or_else(|| train.select(rest))
        };
        let mut splits = DataSplits {
            labels: self.labels.clone(),
            validation: of_file(&self.validation, &split.validation),
            test: of_file(&self.test, &split.test),
            train: train.select(&split.train),
            findings: train.findings.clone(),
        };
        splits.findings.extend(splits.validation.findings.clone());
        splits.findings.extend(splits.test.findings.clone());
        splits.findings.extend(unused_name(data, &splits.labels));
        splits.findings.extend(class_findings(&splits, data));
        let advice = |name: &str| {
            let examples = splits.train.len();
            let has_one = data.labelling() == Labelling::One;
            if has_one && splits.labels.len() == examples && examples > 2 {
                return format!(
                    "there are no {name} examples: each of the {examples} labels occurs once; check \
                 data.label_column"
                );
            }
            format!(
                "there are no {name} examples; set data.{name}, or increase data.split.{name} (texts \
             that are alike stay in one split, so a large group of them may not fit, and one text of \
             each label stays in the training split)"
            )
        };
        if splits.validation.is_empty() {
            bail!(advice("validation"));
        }
        if splits.test.is_empty() && data.split.test.of(train.len()) > 0 {
            let found = Finding::new(Check::Parts, advice("test")).setting("data.split.test");
            splits.findings.push(found);
        }
        Ok(splits)
    }
}

/// Reads the texts in `data.unlabelled`, without those that `text.train_max_length` excludes; `None` if
/// there are none. Other processes may share the work.
///
/// # Errors
/// Returns an error if they cannot be read, all are empty or all are too long.
pub fn load_unlabelled(config: &Config, sharing: Sharing) -> anyhow::Result<Option<Examples>> {
    let Some(path) = &config.data.unlabelled else { return Ok(None) };
    let read = || -> anyhow::Result<Examples> {
        let mut texts = load_texts(path, config, sharing)?;
        let total = texts.len();
        texts.rows = short_rows(&texts, config);
        let dropped = total - texts.len();
        ensure!(dropped < total, "text.train_max_length leaves no texts; increase it");
        texts.findings.extend((dropped > 0).then(|| {
            let message = format!(
                "dropped {dropped} of {total} unlabelled texts that exceed text.train_max_length"
            );
            let found = Finding::new(Check::LongTexts, message).counted(dropped, total);
            found.setting("text.train_max_length")
        }));
        Ok(texts)
    };
    read().context("data.unlabelled").map(Some)
}

/// Reads the texts of the file, directory or pattern `path`, whatever their labels. Other processes may share the
/// work.
///
/// # Errors
/// Returns an error if they cannot be read, or all are empty.
pub fn load_texts(path: &Path, config: &Config, sharing: Sharing) -> anyhow::Result<Examples> {
    let source = read_nonempty_source(path, config, Labels::Ignored, sharing)?;
    let mut texts = all_rows(source, Targets::default(), &config.data);
    ensure_texts(&texts, "unlabelled", config)?;
    let learned = learn_subwords(&texts, config)?;
    split_pieces(&mut [&mut texts], config, &learned)?;
    Ok(texts)
}

/// Returns an error if all texts of all inputs are empty. The split would otherwise report them, as texts
/// that are alike.
fn ensure_texts(examples: &Examples, name: &str, config: &Config) -> anyhow::Result<()> {
    let inputs = config.inputs.iter().zip(&examples.source.inputs);
    let faults: Option<Vec<String>> =
        inputs.map(|(input, texts)| all_empty(input, name, texts, &examples.rows)).collect();
    match faults {
        Some(faults) => bail!(faults.join("; ")),
        None => Ok(()),
    }
}

/// Returns the configured class names. Without them, returns the labels of the training examples, or of
/// all examples with `data.unseen_labels: class`, sorted by value if all are integers, otherwise as
/// text.
fn class_names(
    train: &Rows,
    others: [Option<&Rows>; 2],
    config: &DataConfig,
) -> anyhow::Result<Vec<String>> {
    let mut names = config.labels.clone();
    if names.is_empty() {
        names = train.label_names.clone();
        if config.unseen_labels == UnseenLabels::Class {
            for name in others.into_iter().flatten().flat_map(|rows| &rows.label_names) {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        let number = |name: &String| name.parse::<i64>();
        match names.iter().all(|name| number(name).is_ok()) {
            true => names.sort_by_key(|name| number(name).ok()),
            false => names.sort(),
        }
    }
    let found: HashSet<&String> = train.label_names.iter().collect();
    if config.unseen_labels != UnseenLabels::Class
        && let Some(missing) = names.iter().find(|name| !found.contains(name))
    {
        bail!(
            "\"{}\" has no example of \"{missing}\", a label in data.labels; found {}",
            train.path.display(),
            train.label_names.join(", ")
        );
    }
    if names.is_empty() && config.labelling() == Labelling::Several {
        bail!("\"{}\" has no text with a label", train.path.display());
    }
    if names.len() < 2 {
        bail!(
            "\"{}\" has only the label \"{}\"; a classifier needs at least 2",
            train.path.display(),
            names.join("")
        );
    }
    Ok(names)
}

#[cfg(test)]
mod label_tests;
#[cfg(test)]
mod tests;

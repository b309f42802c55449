//! Loads the training, validation and test examples of a configuration.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};

use super::check::duplicates::overlap;
use super::check::splits::{class_findings, single_label, unused_name};
use super::data_splits::{DataSplits, drop_long_texts, short_rows};
use super::examples::{Examples, all_rows, read_nonempty_source, with_classes};
use super::finding::{Check, Finding};
use super::fingerprint::Fingerprint;
use super::formats::{Labels, NO_GROUP, Rows, expand_pattern};
use super::source::Source;
use super::split::{Split, by_position, connected, folds, stratified};
use super::split_name::SplitName;
use super::targets::Targets;
use super::text_faults::all_empty;
use crate::config::{CacheUse, Config, DataConfig, Portion, SplitMethod, UnseenLabels};
use crate::text::trained_subwords;

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
    let data = &config.data;
    if data.labels.is_empty() && data.unseen_labels == UnseenLabels::Class {
        let DataSplits { labels, train, findings, .. } = load(config)?;
        return Ok(TrainingData { labels, examples: Examples { findings, ..train } });
    }
    let source = read("data.train", &data.train, config, &[])?;
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
    let data = &config.data;
    if let Some(input) = config.inputs.iter().find(|input| input.text.tokenizer.needs_training()) {
        bail!("{}: bpe has not been trained", input.field("text.tokenizer"));
    }
    let mut examples = match (name, &data.validation, &data.test) {
        (SplitName::Validation, Some(path), _) => {
            with_classes(read("data.validation", path, config, labels)?, labels, data)?
        }
        (SplitName::Test, _, Some(path)) => {
            with_classes(read("data.test", path, config, labels)?, labels, data)?
        }
        _ => split_off(read("data.train", &data.train, config, &[])?, name, labels, data)?,
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
) -> anyhow::Result<Source> {
    read_nonempty_source(path, config, Labels::Required { known }).context(field)
}

/// Reads all files of the data section. Splits validation and test examples off the training file if
/// they have no file of their own.
///
/// # Errors
/// Returns the errors of [`FileExamples::read`] and of [`FileExamples::split`].
pub fn load(config: &Config) -> anyhow::Result<DataSplits> {
    let mut splits = FileExamples::read(config)?.split(config)?;
    let learned = learn_subwords(&splits.train, config)?;
    let DataSplits { train, validation, test, .. } = &mut splits;
    split_pieces(&mut [train, validation, test], config, &learned)?;
    Ok(splits)
}

/// Examples of all files of the data section, which can be split in several ways.
pub struct FileExamples {
    /// Class names, indexed by class.
    labels: Vec<String>,
    /// Examples of `data.train`.
    train: Examples,
    /// Examples of `data.validation` and of `data.test`, if there are such files.
    validation: Option<Examples>,
    test: Option<Examples>,
}

impl FileExamples {
    /// Reads all files of the data section.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or has an unknown label.
    pub fn read(config: &Config) -> anyhow::Result<Self> {
        let data = &config.data;
        let train = read("data.train", &data.train, config, &[])?;
        let known = &train.rows.label_names;
        let read = |field: &'static str, path: &Path| read(field, path, config, known);
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

        let train = with_classes(train, &labels, data)?;
        ensure_texts(&train, "training", config)?;
        Ok(Self { labels, train, validation, test })
    }

    /// Splits validation and test examples off the training file if they have no file of their own. The
    /// configuration may differ in `data.split` from the one by which the files were read. Texts are not split
    /// into the subwords of a byte-pair encoding that is not trained yet.
    ///
    /// # Errors
    /// Returns an error if a required split is empty.
    pub fn split(&self, config: &Config) -> anyhow::Result<DataSplits> {
        let (data, train) = (&config.data, &self.train);
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
            if splits.labels.len() == examples && examples > 2 {
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
/// there are none.
///
/// # Errors
/// Returns an error if they cannot be read, all are empty or all are too long.
pub fn load_unlabelled(config: &Config) -> anyhow::Result<Option<Examples>> {
    let Some(path) = &config.data.unlabelled else { return Ok(None) };
    let read = || -> anyhow::Result<Examples> {
        let source = read_nonempty_source(path, config, Labels::Ignored)?;
        let mut texts = all_rows(source, Targets::default(), &config.data);
        ensure_texts(&texts, "unlabelled", config)?;
        let learned = learn_subwords(&texts, config)?;
        split_pieces(&mut [&mut texts], config, &learned)?;
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

/// Trains the byte-pair encoding of each input that has none yet on these examples. Returns the indices of these
/// inputs.
fn learn_subwords(examples: &Examples, config: &Config) -> anyhow::Result<Vec<usize>> {
    let mut learned = Vec::new();
    for (index, input) in config.inputs.iter().enumerate() {
        let tokenizer = &input.text.tokenizer;
        if tokenizer.needs_training() {
            let rows = examples.rows.iter().map(|row| *row as usize);
            let pieces = &examples.source.inputs[index];
            tokenizer.set_subwords(trained_subwords(pieces, rows, &input.text)?);
            learned.push(index);
        }
    }
    Ok(learned)
}

/// Splits the pieces of the inputs at these indices into subwords. Examples of one source share the result.
fn split_pieces(
    all: &mut [&mut Examples],
    config: &Config,
    inputs: &[usize],
) -> anyhow::Result<()> {
    if inputs.is_empty() {
        return Ok(());
    }
    for at in 0..all.len() {
        let (before, rest) = all.split_at_mut(at);
        let Some((examples, after)) = rest.split_first_mut() else { break };
        let of_source = examples.source.clone();
        if before.iter().any(|other| Arc::ptr_eq(&other.source, &of_source)) {
            // It has been split with the other one.
            continue;
        }
        let mut sharing: Vec<&mut &mut Examples> =
            after.iter_mut().filter(|other| Arc::ptr_eq(&other.source, &of_source)).collect();
        drop(of_source);
        // Nothing else holds the source while it changes.
        sharing.iter_mut().for_each(|other| other.source = Arc::default());
        let source = Arc::get_mut(&mut examples.source).context("the texts are in use")?;
        source.split_pieces(&config.inputs, inputs)?;
        sharing.iter_mut().for_each(|other| other.source = examples.source.clone());
    }
    Ok(())
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
    if names.len() < 2 {
        bail!(
            "\"{}\" has only the label \"{}\"; a classifier needs at least 2",
            train.path.display(),
            names.join("")
        );
    }
    Ok(names)
}

/// Returns a number for each example, the same for those that must be in the same split: examples of the same
/// group, and with the same text.
///
/// # Errors
/// Returns an error if the file has no groups, although they are configured.
fn units(train: &Examples, config: &DataConfig) -> anyhow::Result<Vec<u32>> {
    let Some(column) = &config.split.group else { return Ok(connected(&train.source.hashes, &[])) };
    let groups = &train.source.rows.groups;
    if groups.iter().all(|group| *group == NO_GROUP) {
        bail!(
            "data.split.group: no example of \"{}\" has a value in a column {column}",
            config.train.display()
        );
    }
    Ok(connected(&train.source.hashes, groups))
}

/// Divides the examples into those of the test fold, and training and validation examples.
fn split_by_fold(
    train: &Examples,
    config: &DataConfig,
    count: usize,
    validation: usize,
) -> anyhow::Result<Split> {
    let labels = train.targets.labels();
    let labels = labels.context("data.split.folds needs a single label per example")?;
    let (units, seed) = (units(train, config)?, config.split.seed);
    let fold_of = folds(&units, labels, count, seed);
    if let Some(empty) = (0..count).find(|fold| !fold_of.contains(fold)) {
        bail!(
            "data.split.folds: fold {} of {count} would be empty; \"{}\" has too few examples, texts that \
             differ, or groups",
            empty + 1,
            config.train.display()
        );
    }
    let is_test = |example: &usize| fold_of[*example] + 1 == config.split.fold;
    let (test, others): (Vec<usize>, Vec<usize>) = (0..train.len()).partition(is_test);
    let of_others =
        |values: &[u32]| others.iter().map(|example| values[*example]).collect::<Vec<_>>();
    let (units, labels) = (of_others(&units), of_others(labels));
    let inner = stratified(&units, &labels, validation, 0, true, seed);
    let original = |indices: Vec<usize>| indices.into_iter().map(|index| others[index]).collect();
    Ok(Split { train: original(inner.train), validation: original(inner.validation), test })
}

/// Divides the examples of the training file into splits.
fn split(train: &Examples, config: &DataConfig) -> anyhow::Result<Split> {
    let fold = config.split.folds.map_or(0, |folds| train.len() / folds);
    let total = train.len() - fold;
    let size = |has_file: bool, portion: Portion| if has_file { 0 } else { portion.of(total) };
    let validation = size(config.validation.is_some(), config.split.validation);
    let test = size(config.test.is_some(), config.split.test);
    if validation.saturating_add(test) >= total {
        bail!(
            "\"{}\" has {total} examples; data.split takes {validation} for validation and {test} \
             for test, which leaves none for training",
            config.train.display()
        );
    }
    if let Some(folds) = config.split.folds {
        return split_by_fold(train, config, folds, validation);
    }
    Ok(match config.split.method {
        SplitMethod::Position => {
            let seed = config.split.shuffle.then_some(config.split.seed);
            by_position(total, validation, test, seed)
        }
        SplitMethod::Stratified => {
            let labels = train.targets.labels();
            let labels =
                labels.context("data.split.method: stratified needs a single label per example")?;
            let keep_classes = !config.has_first_rules();
            let seed = config.split.seed;
            let units = units(train, config)?;
            stratified(&units, labels, validation, test, keep_classes, seed)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn load_files(files: &[(&str, &str)], fields: &str) -> anyhow::Result<DataSplits> {
        let directory = tempfile::tempdir()?;
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content)?;
        }
        let yaml = fields.replace("DIR", &directory.path().display().to_string());
        load(&config::parse(&yaml, "test", &[])?.config)
    }

    const TRAIN: &str = "text,label\na,10\nb,9\nc,10\nd,9\ne,10\nf,9\n";

    #[test]
    fn numeric_labels_are_sorted_by_value_and_shared_by_all_splits() {
        let splits = load_files(
            &[("train.csv", TRAIN), ("test.csv", "text,label\nx,10\na,9\n")],
            "data: {train: DIR/train.csv, test: DIR/test.csv, split: {validation: 2}}",
        )
        .unwrap();
        assert_eq!(splits.labels, ["9", "10"]);
        assert_eq!(splits.test.targets.labels().unwrap(), [1, 0]);
        assert_eq!((splits.train.len(), splits.validation.len()), (4, 2));
    }

    #[test]
    fn three_examples_can_be_split() {
        let files = [("train.csv", "text,label\na,x\nb,y\nc,x\n")];
        let splits = load_files(&files, "data: {train: DIR/train.csv}").unwrap();
        assert_eq!((splits.train.len(), splits.validation.len()), (2, 1));
    }

    #[test]
    fn splits_for_which_no_text_is_left_are_reported() {
        let rows = "a,x\nb,x\nc,y\nd,y\n".repeat(3);
        let files = [("train.csv", &*format!("text,label\n{rows}"))];
        let fields = "data: {train: DIR/train.csv, split: {validation: 6, test: 1}}";
        let splits = load_files(&files, fields).unwrap();
        let notes = notes(&splits);
        assert!(
            notes[0].starts_with("there are no test examples; set data.test, or "),
            "{notes:?}"
        );
        let files = [("train.csv", "text,label\na,x\nb,y\n")];
        let error = load_files(&files, "data: {train: DIR/train.csv}").unwrap_err().to_string();
        assert!(
            error.starts_with("there are no validation examples; set data.validation"),
            "{error}"
        );
    }

    #[test]
    fn other_labels_are_sorted_as_text() {
        let labels = |content: &str| {
            let files = [("train.csv", content)];
            load_files(&files, "data: {train: DIR/train.csv, split: {validation: 1}}")
                .unwrap()
                .labels
        };
        assert_eq!(labels("text,label\na,1a\nb,9\nc,10\nd,9\n"), ["10", "1a", "9"]);
        assert_eq!(labels("text,label\na,-1\nb,9\nc,10\nd,9\n"), ["-1", "9", "10"]);
    }

    #[test]
    fn labels_of_the_test_examples_can_be_added_as_classes() {
        let files = [("train.csv", TRAIN), ("test.csv", "text,label\nx,10\ny,8\n")];
        let fields = "data: {train: DIR/train.csv, test: DIR/test.csv, unseen_labels: class}";
        let splits = load_files(&files, fields).unwrap();
        assert_eq!(splits.labels, ["8", "9", "10"]);
        assert_eq!(splits.test.targets.labels().unwrap(), [2, 0]);
    }

    #[test]
    fn configured_labels_without_examples_are_rejected() {
        let fields = "data: {train: DIR/train.csv, labels: ['9', '10', '11']}";
        let error = load_files(&[("train.csv", TRAIN)], fields).unwrap_err().to_string();
        assert!(error.contains("no example of \"11\""), "{error}");
    }

    #[test]
    fn texts_in_two_splits_are_counted() {
        let splits = load_files(
            &[("train.csv", TRAIN), ("other.csv", "text,label\na,9\nq,10\n")],
            "data: {train: DIR/train.csv, validation: DIR/other.csv}",
        )
        .unwrap();
        assert_eq!(splits.validation.shared_with(&splits.train), 1);
        let splits = load_files(
            &[("train.csv", TRAIN), ("other.csv", "text,label\n<br> A.,9\nq,10\n")],
            "data: {train: DIR/train.csv, validation: DIR/other.csv}",
        )
        .unwrap();
        assert_eq!(splits.validation.shared_with(&splits.train), 1);
    }

    #[test]
    fn texts_that_a_model_reads_alike_stay_in_one_split() {
        let rows: String = (0..40)
            .map(|n| {
                format!(
                    "good film {n},x\nGood film  {n},x\n\"good<br />film, {n}!\",x\nbad {n},y\n"
                )
            })
            .collect();
        let files = [("train.csv", &*format!("text,label\n{rows}"))];
        let splits = |fields: &str| {
            load_files(&files, &format!("data: {{train: DIR/train.csv{fields}}}\n")).unwrap()
        };
        let split = splits(", split: {validation: 40, test: 20}");
        assert_eq!((split.validation.shared_with(&split.train), split.validation.len()), (0, 40));
        // The tokenizer has no influence, so that runs with other tokenizers can be compared.
        let keras = splits(
            ", split: {validation: 40, test: 20}}\ntext: {tokenizer: keras, lowercase: false",
        );
        assert_eq!(split.validation.rows, keras.validation.rows);
        let first = splits(", version: 1, split: {validation: 40, test: 20}");
        assert_ne!(split.validation.rows, first.validation.rows);
        let position = splits(", split: {method: position, validation: 38}");
        assert_eq!(position.validation.shared_with(&position.train), 1);
    }

    /// Returns the findings, apart from those on the small number of examples.
    fn notes(splits: &DataSplits) -> Vec<&str> {
        let others = splits.findings.iter().filter(|finding| finding.check != Check::RareLabels);
        others.map(|finding| finding.message.as_str()).collect()
    }

    /// Loads examples with these labels, each with a text of its own.
    fn load_labels(labels: &[&str], fields: &str) -> DataSplits {
        let row = |(number, label): (usize, &&str)| format!("text {number},{label}\n");
        let rows: String = labels.iter().enumerate().map(row).collect();
        let files = [("train.csv", &*format!("text,label\n{rows}"))];
        load_files(&files, &format!("data: {{train: DIR/train.csv{fields}}}")).unwrap()
    }

    /// Reads films with reviews of both labels.
    fn load_films(format: &str, fields: &str) -> anyhow::Result<DataSplits> {
        let rows: Vec<(usize, String, &str)> =
            (0..120).map(|n| (n / 4, format!("text {n}"), ["neg", "pos"][n % 2])).collect();
        let content: String = match format {
            "csv" => {
                let row = |(film, text, label): &(_, _, _)| format!("{film},{text},{label}\n");
                "film,text,label\n".to_owned() + &rows.iter().map(row).collect::<String>()
            }
            _ => {
                let row = |(film, text, label): &(_, _, _)| {
                    format!("{{\"film\": {film}, \"text\": \"{text}\", \"label\": \"{label}\"}}\n")
                };
                rows.iter().map(row).collect()
            }
        };
        let name = format!("train.{format}");
        let fields = fields.replace("FILE", &format!("DIR/{name}"));
        load_files(&[(&name, &content)], &fields)
    }

    #[test]
    fn no_group_is_in_two_splits() {
        for format in ["csv", "jsonl"] {
            for split in ["validation: 0.2, test: 0.2", "folds: 3, fold: 2"] {
                let fields = format!("data: {{train: FILE, split: {{group: film, {split}}}}}");
                let splits = load_films(format, &fields).unwrap();
                let films = |name: SplitName| -> HashSet<u32> {
                    splits.split(name).rows.iter().map(|row| row / 4).collect()
                };
                let [train, validation, test] = SplitName::ALL.map(films);
                assert!(train.is_disjoint(&validation) && train.is_disjoint(&test), "{split}");
                assert!(validation.is_disjoint(&test), "{split}");
                assert_eq!(train.len() + validation.len() + test.len(), 30);
                assert!(validation.len() >= 2 && test.len() >= 5, "{split}");
            }
        }
        let missing = load_films("csv", "data: {train: FILE, split: {group: movie}}").unwrap_err();
        let message = "has a value in a column \"movie\"";
        assert!(missing.to_string().contains(message), "{missing}");
    }

    #[test]
    fn each_example_is_in_the_test_split_of_one_fold() {
        let mut rows = Vec::new();
        for fold in 1..=4 {
            let fields = format!("data: {{train: FILE, split: {{folds: 4, fold: {fold}}}}}");
            let splits = load_films("csv", &fields).unwrap();
            assert_eq!((splits.test.len(), splits.validation.len()), (30, 9));
            rows.extend(splits.test.rows);
        }
        rows.sort_unstable();
        assert_eq!(rows, (0..120).collect::<Vec<_>>());
        let few = "data: {train: FILE, split: {group: film, folds: 40}}";
        let error = load_films("csv", few).unwrap_err().to_string();
        assert!(error.contains("fold 31 of 40 would be empty"), "{error}");
    }

    #[test]
    fn labels_that_look_alike_or_are_rare_are_reported() {
        let mut labels = ["neg", "pos"].repeat(10);
        labels.extend(["Neg", "Neg", "postive"]);
        let splits = load_labels(&labels, "");
        let all: Vec<&str> = splits.findings.iter().map(|it| it.message.as_str()).collect();
        let alike = "the labels \"neg\" (10), \"Neg\" (2) look alike, but are separate classes";
        assert!(all[0].starts_with(alike), "{all:?}");
        let rare =
            "2 labels have fewer than 10 examples: \"Neg\" (2), \"postive\" (1); add examples";
        assert!(all[1].starts_with(rare), "{all:?}");
        let alike = load_labels(&["0", "1", "1.0"].repeat(9), ", label_names: {0: neg, 1: pos}");
        let note = "data.label_names renames \"1\", but not \"1.0\", which looks like it";
        assert_eq!(notes(&alike), [note]);
        let renamed = ", label_names: {Neg: neg, postive: pos}";
        assert_eq!(notes(&load_labels(&labels, renamed)), [""; 0]);
    }

    #[test]
    fn an_unknown_label_is_compared_with_the_known_ones() {
        let files = [("train.csv", TRAIN), ("test.csv", "text,label\nx,10.0\n")];
        let fields = "data: {train: DIR/train.csv, test: DIR/test.csv}";
        let error = format!("{:#}", load_files(&files, fields).unwrap_err());
        assert!(error.contains("unknown label \"10.0\"; it looks like \"10\""), "{error}");
    }

    #[test]
    fn splits_without_examples_of_a_class_are_reported() {
        let sorted = [vec!["a"; 10], vec!["b"; 10], vec!["c"; 2]].concat();
        let position = ", split: {method: position, validation: 3, test: 2}";
        assert_eq!(
            notes(&load_labels(&sorted, position)),
            [
                "no training example has the label \"c\": the file may be sorted by label; set \
                 data.split.shuffle: true",
                "all validation examples have the label \"b\": the file may be sorted by label; set \
                 data.split.shuffle: true",
                "all test examples have the label \"c\": the file may be sorted by label; set \
                 data.split.shuffle: true",
            ]
        );
        let stratified = load_labels(&sorted, ", split: {validation: 6, test: 6}");
        assert_eq!(
            stratified.train.targets.class_counts(3).iter().filter(|n| **n == 0.0).count(),
            0
        );
        let files =
            [("train.csv", TRAIN), ("test.csv", "text,label\nx,10\ny,10\n"), ("dev.csv", TRAIN)];
        let fields = "data: {train: DIR/train.csv, test: DIR/test.csv, validation: DIR/dev.csv}";
        let splits = load_files(&files, fields).unwrap();
        let notes = notes(&splits);
        assert!(notes[0].starts_with("all test examples have the label \"10\"; "), "{notes:?}");
    }

    #[test]
    fn unusable_data_is_rejected() {
        let fault = |files: &[(&str, &str)], fields: &str| {
            format!("{:#}", load_files(files, fields).unwrap_err())
        };
        let one = [("train.csv", "text,label\na,1\nb,1\n")];
        assert!(fault(&one, "data: {train: DIR/train.csv}").contains("only the label \"1\""));
        let none = [("train.csv", "text,label\n")];
        assert!(fault(&none, "data: {train: DIR/train.csv}").contains("no examples"));
        let broken = [("train.csv", "text,label\na,\n")];
        let skipped = fault(&broken, "data: {train: DIR/train.csv, broken_lines: skip}");
        assert!(skipped.contains("no examples: 1 broken row skipped; the first is "), "{skipped}");
        let new = [("train.csv", TRAIN), ("test.csv", "text,label\nx,10\ny,8\n")];
        assert!(
            fault(&new, "data: {train: DIR/train.csv, test: DIR/test.csv}")
                .ends_with("test.csv:3: unknown label \"8\"; known labels are 9, 10 (to add it as a class, set data.unseen_labels: class)")
        );
        let all = [("train.csv", TRAIN)];
        assert!(
            fault(&all, "data: {train: DIR/train.csv, split: {validation: 6}}")
                .contains("leaves none")
        );
    }
}

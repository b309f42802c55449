//! From the data section to encoded-ready training, validation and test examples.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};

use super::cache::read_source;
use super::dataset::Dataset;
use super::formats::{Rows, excerpt, read_rows};
use super::source::{Key, Source};
use super::split::{Split, by_position, stratified};
use super::targets::Targets;
use crate::config::{Config, DataConfig, Inputs, SplitMethod, TextConfig, UnseenLabels};
use crate::text::{Corpus, Encoder, Encoders, Vocabulary};

/// Some of the examples of a file or folder, with class numbers.
#[derive(Clone, Debug)]
pub struct Examples {
    /// Where they stand.
    pub source: Arc<Source>,
    /// Their numbers there.
    pub rows: Vec<u32>,
    /// Class numbers: indices into [`DataSplits::labels`].
    pub labels: Vec<u32>,
    /// What the user should know of their file: broken rows that were left out, very long ones.
    pub notes: Vec<String>,
}

impl Examples {
    /// The number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// What tells the texts of each example from others'.
    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.rows.iter().map(|row| &self.source.keys[*row as usize])
    }

    /// The words of input number `input` that these examples have.
    ///
    /// # Errors
    /// Where none is frequent enough.
    pub fn vocabulary(&self, input: usize, config: &TextConfig) -> anyhow::Result<Vocabulary> {
        let rows = self.rows.iter().map(|row| *row as usize);
        Vocabulary::count(&self.source.inputs[input], rows, config)
    }

    /// Builds the encoders of all inputs with the vocabulary of these examples, or of the vocabulary
    /// files that the configuration names.
    ///
    /// # Errors
    /// Returns an error if no word is frequent enough or a vocabulary file cannot be used.
    pub fn encoders(&self, inputs: &Inputs) -> anyhow::Result<Encoders> {
        Encoders::build(inputs, |number, config| self.vocabulary(number, config))
    }

    /// The ids of the texts of input number `input`.
    ///
    /// # Errors
    /// Where they do not fit into memory and cannot be written to a file.
    pub fn encode(&self, input: usize, encoder: &Encoder) -> anyhow::Result<Corpus> {
        let tokens = &self.source.inputs[input];
        let count = self.rows.iter().map(|row| tokens.text(*row as usize).len() as u64).sum();
        let writer = self.source.writer(count)?;
        encoder
            .encode_tokens(tokens, &self.rows, writer)
            .context("cannot keep the ids of the texts")
    }

    /// The same examples as the inputs of another model read them.
    ///
    /// # Errors
    /// Where they cannot be read, or are not the same rows for it.
    pub fn reread(&self, config: &Config) -> anyhow::Result<Self> {
        let source = read_source(&self.source.rows.path, config)?;
        if source.rows.lines != self.source.rows.lines {
            bail!(
                "\"{}\" has other rows for the one model than for the other",
                source.rows.path.display()
            );
        }
        Ok(Self { source: Arc::new(source), ..self.clone() })
    }

    /// The files that they stand in, and others that were read with them.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.source.rows.files.iter().map(|(path, _)| path.as_path())
    }

    /// Where example `index` stands: its file and, unless it is one text, its line.
    pub fn place(&self, index: usize) -> (&Path, Option<u64>) {
        self.source.rows.file_and_line(self.rows[index] as usize)
    }

    /// The texts of some examples, read once more: for each of `indices` that of every column.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn texts(&self, indices: &[usize], config: &Config) -> anyhow::Result<Vec<Vec<String>>> {
        let wanted = indices.iter().enumerate().map(|(place, index)| (self.rows[*index], place));
        let wanted: HashMap<u32, usize> = wanted.collect();
        let mut texts = vec![Vec::new(); indices.len()];
        let mut row = 0;
        read_rows(&self.source.rows.path, config, &mut |columns| {
            if let Some(place) = wanted.get(&row) {
                texts[*place] = columns;
            }
            row += 1;
            Ok(())
        })?;
        Ok(texts)
    }

    /// The examples for a model, whose classes are numbered as theirs.
    ///
    /// # Errors
    /// As [`Examples::encode`].
    pub fn encoded(self, encoders: &[Encoder]) -> anyhow::Result<Dataset> {
        let inputs = encoders.iter().enumerate();
        let inputs = inputs.map(|(input, encoder)| self.encode(input, encoder));
        Ok(Dataset {
            inputs: inputs.collect::<anyhow::Result<_>>()?,
            targets: Targets::Labels(self.labels),
        })
    }

    fn pick(&self, indices: &[usize]) -> Self {
        Self {
            source: self.source.clone(),
            rows: indices.iter().map(|index| self.rows[*index]).collect(),
            labels: indices.iter().map(|index| self.labels[*index]).collect(),
            notes: Vec::new(),
        }
    }
}

/// The parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitName {
    /// What the weights are fitted to.
    Train,
    /// What epochs and settings are chosen by.
    Validation,
    /// What is looked at once, at the end.
    Test,
}

impl FromStr for SplitName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "train" => Ok(Self::Train),
            "validation" => Ok(Self::Validation),
            "test" => Ok(Self::Test),
            _ => Err(format!("found \"{text}\", allowed is train | validation | test")),
        }
    }
}

impl fmt::Display for SplitName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// All examples of a configuration.
#[derive(Clone, Debug)]
pub struct DataSplits {
    /// The label of each class number.
    pub labels: Vec<String>,
    /// The training examples.
    pub train: Examples,
    /// The validation examples, at least one.
    pub validation: Examples,
    /// The test examples, possibly none.
    pub test: Examples,
    /// What the user should know: broken lines left out, texts that stand in two parts.
    pub notes: Vec<String>,
}

impl DataSplits {
    /// Leaves out the training examples whose text has more tokens than `text.train_max_length`,
    /// and the validation examples too where they were split off the training file.
    ///
    /// # Errors
    /// Where nothing is left of a part.
    pub fn leave_out_long(&mut self, config: &Config) -> anyhow::Result<()> {
        if config.inputs.iter().all(|input| input.text.train_max_length.is_none()) {
            return Ok(());
        }
        let split_off = config.data.validation.is_none().then_some(&mut self.validation);
        for (name, part) in [("training", Some(&mut self.train)), ("validation", split_off)] {
            let Some(part) = part else { continue };
            let short: Vec<usize> =
                (0..part.len()).filter(|index| is_short(part, *index, &config.inputs)).collect();
            if short.is_empty() {
                bail!("text.train_max_length leaves no {name} examples");
            }
            let (left_out, total) = (part.len() - short.len(), part.len());
            self.notes.push(format!(
                "{left_out} of {total} {name} texts are longer than text.train_max_length, and left out"
            ));
            *part = part.pick(&short);
        }
        Ok(())
    }

    /// The examples of one part.
    pub fn part(&self, name: SplitName) -> &Examples {
        match name {
            SplitName::Train => &self.train,
            SplitName::Validation => &self.validation,
            SplitName::Test => &self.test,
        }
    }
}

/// Reads every file of the data section and splits the training file where the others are not
/// given.
///
/// # Errors
/// Where a file cannot be read, has a label that training does not know, or a part that must not
/// be empty is.
pub fn load(config: &Config) -> anyhow::Result<DataSplits> {
    let data = &config.data;
    let read_part = |field: &'static str, path: &Path| {
        read_examples(path, config).context(field) // the field that names the file
    };
    let train = read_part("data.train", &data.train)?;
    let validation =
        data.validation.as_deref().map(|path| read_part("data.validation", path)).transpose()?;
    let test = data.test.as_deref().map(|path| read_part("data.test", path)).transpose()?;
    let others = [&validation, &test].map(|part| part.as_ref().map(|source| &source.rows));
    let labels = class_names(&train.rows, others, data)?;
    let number = |part: Source| {
        let read = numbered(part, &labels);
        match data.labels.is_empty() {
            true => read.map_err(|fault| {
                anyhow!("{fault} (data.unseen_labels: class would make it a class)")
            }),
            false => read,
        }
    };
    let validation = validation.map(number).transpose()?;
    let test = test.map(number).transpose()?;

    let train = numbered(train, &labels)?;
    let split = split(&train, data)?;
    let notes = train.notes.clone();
    let mut splits = DataSplits {
        labels,
        validation: validation.unwrap_or_else(|| train.pick(&split.validation)),
        test: test.unwrap_or_else(|| train.pick(&split.test)),
        train: train.pick(&split.train),
        notes,
    };
    splits.notes.extend(splits.validation.notes.clone());
    splits.notes.extend(splits.test.notes.clone());
    splits.notes.extend(unused_name_note(data, &splits.labels));
    splits.notes.extend(overlap_note(&splits, SplitName::Validation));
    splits.notes.extend(overlap_note(&splits, SplitName::Test));
    if splits.validation.is_empty() {
        bail!(
            "there are no validation examples: set data.validation, or data.split.validation higher \
             (equal texts stay together, and a group of them may be too large for the part)"
        );
    }
    Ok(splits)
}

/// Reads one more file of the same kind, with the labels that a model was trained on.
///
/// # Errors
/// As [`load`].
pub fn read_labelled(path: &Path, config: &Config, labels: &[String]) -> anyhow::Result<Examples> {
    numbered(read_examples(path, config)?, labels)
}

fn read_examples(path: &Path, config: &Config) -> anyhow::Result<Source> {
    let source = read_source(path, config)?;
    if source.rows.is_empty() {
        bail!("\"{}\" has no examples", path.display());
    }
    Ok(source)
}

/// The labels by class number: as configured, else sorted, as numbers where all are numbers.
fn class_names(
    train: &Rows,
    others: [Option<&Rows>; 2],
    config: &DataConfig,
) -> anyhow::Result<Vec<String>> {
    let mut names = config.labels.clone();
    if names.is_empty() {
        names = train.names.clone();
        if config.unseen_labels == UnseenLabels::Class {
            for name in others.into_iter().flatten().flat_map(|part| &part.names) {
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
    let may_lack = config.unseen_labels == UnseenLabels::Class;
    if let Some(missing) = names.iter().find(|name| !may_lack && !train.names.contains(name)) {
        bail!(
            "\"{}\" has no example of \"{missing}\", which data.labels names; found are {}",
            train.path.display(),
            train.names.join(", ")
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

/// Numbers the labels by `names`.
fn numbered(source: Source, names: &[String]) -> anyhow::Result<Examples> {
    let read = &source.rows;
    let number_of: HashMap<&str, u32> =
        names.iter().enumerate().map(|(number, name)| (name.as_str(), number as u32)).collect();
    let numbers: Vec<Option<u32>> =
        read.names.iter().map(|name| number_of.get(name.as_str()).copied()).collect();
    let mut labels = Vec::with_capacity(read.labels.len());
    for (index, &label) in read.labels.iter().enumerate() {
        let Some(number) = numbers[label as usize] else {
            bail!(
                "{}found the label \"{}\", known are {}",
                read.place(index),
                excerpt(&read.names[label as usize]),
                first_of(names)
            );
        };
        labels.push(number);
    }
    let skipped = (read.skipped > 0)
        .then(|| format!("\"{}\": left out {} broken rows", read.path.display(), read.skipped));
    let long = read.long_row.as_ref().map(|(file, line, lines)| {
        let file = file.display();
        format!(
            "\"{file}\": the row that begins in line {line} has {lines} lines: is a quote too many?"
        )
    });
    let notes = skipped.into_iter().chain(long).collect();
    let rows = (0..read.len() as u32).collect();
    Ok(Examples { source: Arc::new(source), rows, labels, notes })
}

/// Some names, so many as a message holds.
fn first_of(names: &[String]) -> String {
    const MANY: usize = 10;
    let shown: Vec<String> = names.iter().take(MANY).map(|name| excerpt(name)).collect();
    match names.len() > MANY {
        true => format!("{} and {} more", shown.join(", "), names.len() - MANY),
        false => shown.join(", "),
    }
}

/// Which training examples become validation and test examples.
fn split(train: &Examples, config: &DataConfig) -> anyhow::Result<Split> {
    let total = train.len();
    let part =
        |file: bool, portion: crate::config::Portion| if file { 0 } else { portion.of(total) };
    let validation = part(config.validation.is_some(), config.split.validation);
    let test = part(config.test.is_some(), config.split.test);
    if validation.saturating_add(test) >= total {
        bail!(
            "\"{}\" has {total} examples; data.split takes {validation} for validation and {test} \
             for test, and leaves none for training",
            config.train.display()
        );
    }
    Ok(match config.split.method {
        SplitMethod::Position => {
            let seed = config.split.shuffle.then_some(config.split.seed);
            by_position(total, validation, test, seed)
        }
        SplitMethod::Stratified => {
            stratified(&train.source.keys, &train.labels, validation, test, config.split.seed)
        }
    })
}

/// Whether no text of an example is too long to be trained on.
fn is_short(examples: &Examples, index: usize, inputs: &Inputs) -> bool {
    let row = examples.rows[index] as usize;
    inputs.iter().zip(&examples.source.inputs).all(|(input, tokens)| {
        input.text.train_max_length.is_none_or(|most| tokens.text(row).len() <= most)
    })
}

/// Says which better name no label got: its old name may be misspelt.
fn unused_name_note(config: &DataConfig, labels: &[String]) -> Option<String> {
    let (old, _) = config.label_names.iter().find(|(_, new)| !labels.contains(new))?;
    Some(format!("data.label_names: no training example has the label \"{old}\""))
}

/// Says how many texts of a part were trained on: they make its score look better than it is.
fn overlap_note(splits: &DataSplits, name: SplitName) -> Option<String> {
    let trained: HashSet<&Key> = splits.train.keys().collect();
    let part = splits.part(name);
    let both = part.keys().filter(|key| trained.contains(key)).count();
    (both > 0).then(|| format!("{both} of {} {name} texts are also training texts", part.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn load_files(files: &[(&str, &str)], fields: &str) -> anyhow::Result<DataSplits> {
        let folder = tempfile::tempdir()?;
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content)?;
        }
        let yaml = fields.replace("DIR", &folder.path().display().to_string());
        load(&config::parse(&yaml, "test", &[])?.config)
    }

    const TRAIN: &str = "text,label\na,10\nb,9\nc,10\nd,9\ne,10\nf,9\n";

    #[test]
    fn labels_are_sorted_as_numbers_and_shared_by_all_parts() {
        let splits = load_files(
            &[("train.csv", TRAIN), ("test.csv", "text,label\nx,10\na,9\n")],
            "data: {train: DIR/train.csv, test: DIR/test.csv, split: {validation: 2}}",
        )
        .unwrap();
        assert_eq!(splits.labels, ["9", "10"]);
        assert_eq!(splits.test.labels, [1, 0]);
        assert_eq!((splits.train.len(), splits.validation.len()), (4, 2));
    }

    #[test]
    fn a_handful_of_examples_is_split_too() {
        let files = [("train.csv", "text,label\na,x\nb,y\nc,x\n")];
        let splits = load_files(&files, "data: {train: DIR/train.csv}").unwrap();
        assert_eq!((splits.train.len(), splits.validation.len()), (2, 1));
    }

    #[test]
    fn labels_are_sorted_as_text_unless_all_are_numbers() {
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
    fn a_label_of_the_test_examples_alone_can_be_a_class() {
        let files = [("train.csv", TRAIN), ("test.csv", "text,label\nx,10\ny,8\n")];
        let fields = "data: {train: DIR/train.csv, test: DIR/test.csv, unseen_labels: class}";
        let splits = load_files(&files, fields).unwrap();
        assert_eq!(splits.labels, ["8", "9", "10"]);
        assert_eq!(splits.test.labels, [2, 0]);
    }

    #[test]
    fn a_configured_label_without_examples_is_refused() {
        let fields = "data: {train: DIR/train.csv, labels: ['9', '10', '11']}";
        let error = load_files(&[("train.csv", TRAIN)], fields).unwrap_err().to_string();
        assert!(error.contains("no example of \"11\""), "{error}");
    }

    #[test]
    fn a_text_in_two_files_is_pointed_out() {
        let splits = load_files(
            &[("train.csv", TRAIN), ("other.csv", "text,label\na,9\nq,9\n")],
            "data: {train: DIR/train.csv, validation: DIR/other.csv}",
        )
        .unwrap();
        assert_eq!(splits.notes, ["1 of 2 validation texts are also training texts"]);
    }

    #[test]
    fn data_that_cannot_train_is_refused() {
        let fault = |files: &[(&str, &str)], fields: &str| {
            format!("{:#}", load_files(files, fields).unwrap_err())
        };
        let one = [("train.csv", "text,label\na,1\nb,1\n")];
        assert!(fault(&one, "data: {train: DIR/train.csv}").contains("only the label \"1\""));
        let none = [("train.csv", "text,label\n")];
        assert!(fault(&none, "data: {train: DIR/train.csv}").contains("no examples"));
        let new = [("train.csv", TRAIN), ("test.csv", "text,label\nx,10\ny,8\n")];
        assert!(
            fault(&new, "data: {train: DIR/train.csv, test: DIR/test.csv}")
                .ends_with("line 3: found the label \"8\", known are 9, 10 (data.unseen_labels: class would make it a class)")
        );
        let all = [("train.csv", TRAIN)];
        assert!(
            fault(&all, "data: {train: DIR/train.csv, split: {validation: 6}}")
                .contains("leaves none")
        );
    }
}

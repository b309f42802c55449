//! From the data section to encoded-ready training, validation and test examples.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::bail;

use super::formats::{LabelledTexts, read};
use super::split::{Split, by_position, stratified};
use crate::config::{DataConfig, SplitMethod};

/// Texts with class numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// The texts.
    pub texts: Vec<String>,
    /// Class numbers: indices into [`DataSplits::labels`].
    pub labels: Vec<u32>,
    /// Says how many broken lines of their file were left out, where any were.
    pub note: Option<String>,
}

impl Examples {
    /// The number of examples.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
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
pub fn load(config: &DataConfig) -> anyhow::Result<DataSplits> {
    let train = read(&config.train, config)?;
    if train.texts.is_empty() {
        bail!("\"{}\" has no examples", config.train.display());
    }
    let labels = class_names(&train, config)?;
    let read_part = |path: &Path| -> anyhow::Result<Examples> {
        let read = read(path, config)?;
        if read.texts.is_empty() {
            bail!("\"{}\" has no examples", path.display());
        }
        numbered(read, &labels)
    };
    let validation = config.validation.as_deref().map(read_part).transpose()?;
    let test = config.test.as_deref().map(read_part).transpose()?;

    let train = numbered(train, &labels)?;
    let split = split(&train, config)?;
    let note = train.note.clone();
    let mut splits = DataSplits {
        labels,
        validation: validation.unwrap_or_else(|| pick(&train, &split.validation)),
        test: test.unwrap_or_else(|| pick(&train, &split.test)),
        train: pick(&train, &split.train),
        notes: note.into_iter().collect(),
    };
    splits.notes.extend(splits.validation.note.clone());
    splits.notes.extend(splits.test.note.clone());
    splits.notes.extend(unused_name_note(config, &splits.labels));
    splits.notes.extend(overlap_note(&splits, SplitName::Validation));
    splits.notes.extend(overlap_note(&splits, SplitName::Test));
    if splits.validation.is_empty() {
        bail!(
            "there are no validation examples: set data.validation, or data.split.validation above 0"
        );
    }
    Ok(splits)
}

/// Reads one more file of the same kind, with the labels that a model was trained on.
///
/// # Errors
/// As [`load`].
pub fn read_labelled(
    path: &Path,
    config: &DataConfig,
    labels: &[String],
) -> anyhow::Result<Examples> {
    let read = read(path, config)?;
    if read.texts.is_empty() {
        bail!("\"{}\" has no examples", path.display());
    }
    numbered(read, labels)
}

/// The labels by class number: as configured, else sorted, as numbers where all are numbers.
fn class_names(train: &LabelledTexts, config: &DataConfig) -> anyhow::Result<Vec<String>> {
    let mut names = config.labels.clone();
    if names.is_empty() {
        names = train.names.clone();
        let number = |name: &String| name.parse::<i64>();
        match names.iter().all(|name| number(name).is_ok()) {
            true => names.sort_by_key(|name| number(name).ok()),
            false => names.sort(),
        }
    }
    if let Some(missing) = names.iter().find(|name| !train.names.contains(name)) {
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
fn numbered(read: LabelledTexts, names: &[String]) -> anyhow::Result<Examples> {
    let number_of: HashMap<&str, u32> =
        names.iter().enumerate().map(|(number, name)| (name.as_str(), number as u32)).collect();
    let numbers: Vec<Option<u32>> =
        read.names.iter().map(|name| number_of.get(name.as_str()).copied()).collect();
    let mut labels = Vec::with_capacity(read.labels.len());
    for (&label, line) in read.labels.iter().zip(&read.lines) {
        let Some(number) = numbers[label as usize] else {
            let place = if *line == 0 { String::new() } else { format!("line {line}: ") };
            bail!(
                "\"{}\": {place}found the label \"{}\", known are {}",
                read.path.display(),
                read.names[label as usize],
                names.join(", ")
            );
        };
        labels.push(number);
    }
    let note = (read.skipped > 0)
        .then(|| format!("\"{}\": left out {} broken lines", read.path.display(), read.skipped));
    Ok(Examples { texts: read.texts, labels, note })
}

/// Which training examples become validation and test examples.
fn split(train: &Examples, config: &DataConfig) -> anyhow::Result<Split> {
    let total = train.len();
    let part =
        |file: bool, portion: crate::config::Portion| if file { 0 } else { portion.of(total) };
    let validation = part(config.validation.is_some(), config.split.validation);
    let test = part(config.test.is_some(), config.split.test);
    if validation + test >= total {
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
            stratified(&train.texts, &train.labels, validation, test, config.split.seed)
        }
    })
}

fn pick(examples: &Examples, indices: &[usize]) -> Examples {
    Examples {
        texts: indices.iter().map(|index| examples.texts[*index].clone()).collect(),
        labels: indices.iter().map(|index| examples.labels[*index]).collect(),
        note: None,
    }
}

/// Says which better name no label got: its old name may be misspelt.
fn unused_name_note(config: &DataConfig, labels: &[String]) -> Option<String> {
    let (old, _) = config.label_names.iter().find(|(_, new)| !labels.contains(new))?;
    Some(format!("data.label_names: no training example has the label \"{old}\""))
}

/// Says how many texts of a part were trained on: they make its score look better than it is.
fn overlap_note(splits: &DataSplits, name: SplitName) -> Option<String> {
    let trained: HashSet<&String> = splits.train.texts.iter().collect();
    let part = splits.part(name);
    let both = part.texts.iter().filter(|text| trained.contains(text)).count();
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
        load(&config::parse(&yaml, "test", &[])?.config.data)
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
                .ends_with("line 3: found the label \"8\", known are 9, 10")
        );
        let all = [("train.csv", TRAIN)];
        assert!(
            fault(&all, "data: {train: DIR/train.csv, split: {validation: 6}}")
                .contains("leaves none")
        );
    }
}

//! Inputs of the stages of pre-training: settings and texts. A stage is done if its inputs are those of its results.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::Context;

use crate::config::{Format, Resolved, Stage, field_lines};
use crate::data::expand_pattern;
use crate::io::files::{json_content, read_if_exists};
use crate::io::replace::write_atomic;

/// Name of the file in the run directory.
const FILE: &str = "stages.json";
/// Maximum size of the file in bytes.
const LIMIT: u64 = 1 << 20;

/// Beginnings of the fields on which both stages depend.
const COMMON: [&str; 6] =
    ["data.", "text.", "inputs", "train.seed", "model.embedding.size", "pretrain.texts"];
/// Beginnings of the fields on which word vectors depend.
const VECTORS: [&str; 2] = ["pretrain.vectors.", "model.embedding.subwords."];
/// Beginnings of the fields on which a language model depends.
const LANGUAGE_MODEL: [&str; 5] = [
    "pretrain.language_model.",
    "pretrain.held_out",
    "pretrain.stages",
    "model.lstm.",
    "train.shards",
];
/// Beginnings of fields that change no text. The files that paths name are compared instead, and labels are ignored.
const IGNORED: [&str; 11] = [
    "data.train:",
    "data.validation:",
    "data.test:",
    "data.unlabelled:",
    "data.cache",
    "data.shard",
    "data.label",
    "data.multi_label",
    "data.unseen_labels",
    "pretrain.texts",
    "text.vocabulary:",
];

/// Inputs of the stages whose results are in a run directory, by the name of the stage.
#[derive(Default)]
pub struct StageInputs(BTreeMap<String, Vec<String>>);

impl StageInputs {
    /// Reads the inputs of a run; none if it has no such file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn read(run: &Path) -> anyhow::Result<Self> {
        let path = run.join(FILE);
        let Some(json) = read_if_exists(&path, LIMIT)? else { return Ok(Self::default()) };
        let inputs = serde_json::from_slice(&json);
        inputs.map(Self).with_context(|| format!("cannot read \"{}\"", path.display()))
    }

    /// Returns the fields and files that have changed since a stage was done; none if that is unknown.
    pub fn changes(&self, stage: Stage, inputs: &[String]) -> Vec<String> {
        let Some(before) = self.0.get(stage.as_str()) else { return Vec::new() };
        let name = |line: &String| line.split(": ").next().unwrap_or_default().to_owned();
        let missing = |lines: &[String], others: &[String]| -> Vec<String> {
            lines.iter().filter(|line| !others.contains(line)).map(name).collect()
        };
        let mut changed = missing(inputs, before);
        changed.extend(missing(before, inputs));
        changed.sort();
        changed.dedup();
        changed
    }

    /// Records the inputs of a stage that is done, or about to begin.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn record(&mut self, run: &Path, stage: Stage, inputs: Vec<String>) -> anyhow::Result<()> {
        self.0.insert(stage.as_str().to_owned(), inputs);
        write_atomic(&run.join(FILE), &json_content(&self.0)?)
    }
}

/// Returns the inputs of a stage, a line each.
pub fn inputs_of(stage: Stage, resolved: &Resolved) -> Vec<String> {
    let config = &resolved.config;
    let has_vectors = config.pretrain.stages.has(Stage::Vectors);
    let mut beginnings = COMMON.to_vec();
    if stage == Stage::Vectors || has_vectors {
        beginnings.extend(VECTORS);
    }
    if stage == Stage::LanguageModel {
        beginnings.extend(LANGUAGE_MODEL);
    }
    let is_input = |line: &String| {
        let begins = |beginning: &&str| line.starts_with(*beginning);
        beginnings.iter().any(begins) && !IGNORED.iter().any(begins)
    };
    let mut lines = field_lines(resolved);
    lines.retain(is_input);
    let texts = config.pretrain.texts.iter().map(|path| ("pretrain.texts", path));
    let files = [
        ("data.train", Some(&config.data.train)),
        ("data.unlabelled", config.data.unlabelled.as_ref()),
    ];
    let files = files.into_iter().filter_map(|(field, path)| Some((field, path?))).chain(texts);
    lines
        .extend(files.map(|(field, path)| format!("{field}: {}", stamp(path, config.data.format))));
    lines
}

/// Describes the content of a file, a directory or the files of a pattern by their number, their size and the time of
/// the last change.
fn stamp(path: &Path, format: Format) -> String {
    let (mut files, mut bytes, mut newest) = (0_u64, 0, 0);
    // Reading the texts reports that no file matches.
    let mut paths = expand_pattern(path, format).unwrap_or_default();
    while let Some(path) = paths.pop() {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            paths.extend(
                fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()),
            );
            continue;
        }
        files += 1;
        bytes += metadata.len();
        newest = changed(&metadata).max(newest);
    }
    format!("{files} files, {bytes} bytes, changed {newest}")
}

/// Nanoseconds from 1970 to the last change.
fn changed(metadata: &Metadata) -> u128 {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    modified.map_or(0, |duration| duration.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_pattern_or_a_directory_are_inputs() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("a-1.txt", "one\n");
        for path in [directory.path().join("a-*.txt"), directory.path().to_owned()] {
            write("a-2.txt", "two\n");
            let before = stamp(&path, Format::Auto);
            assert!(before.starts_with("2 files, 8 bytes"), "{before}");
            assert_eq!(stamp(&path, Format::Auto), before);
            write("a-2.txt", "three\n");
            assert_ne!(stamp(&path, Format::Auto), before);
        }
        assert!(stamp(&directory.path().join("b-*.txt"), Format::Auto).starts_with("0 files"));
    }
}

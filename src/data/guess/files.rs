//! The data files that a path stands for: itself, those that match it, or the parts in a directory.

use std::fs;
use std::path::{Path, PathBuf};

use glob::Pattern;

use super::super::formats::{expand_pattern, format_of};
use crate::config::Format;

/// Names of the parts of a data set as files or directories, in the order of [`FIELDS`].
const PARTS: [&[&str]; 3] =
    [&["train", "training"], &["validation", "valid", "val", "dev"], &["test"]];
/// Fields of the configuration for the parts.
const FIELDS: [&str; 3] = ["data.train", "data.validation", "data.test"];
/// Number of files of a directory that are looked at to recognize a class.
const LOOKED_AT: usize = 1_000;

/// Data files.
pub struct DataFiles {
    /// The fields of the configuration for the files.
    pub paths: Vec<(&'static str, PathBuf)>,
    /// First training file.
    pub first: PathBuf,
    /// Size of all training files in bytes.
    pub bytes: u64,
    /// Number of examples if each is a file in the directory of its class.
    pub folder_examples: Option<usize>,
}

/// Returns the data files at `path`, or `None` if there are none.
///
/// # Errors
/// Returns an error if `path` is a pattern that matches nothing.
pub fn data_files(path: &Path, format: Format) -> anyhow::Result<Option<DataFiles>> {
    if path.is_dir() {
        return Ok(folders(path).or_else(|| parts(path)));
    }
    let files = expand_pattern(path, format)?;
    Ok(of_files(vec![(FIELDS[0], path.to_owned())], &files))
}

fn of_files(paths: Vec<(&'static str, PathBuf)>, training: &[PathBuf]) -> Option<DataFiles> {
    let bytes = |file: &PathBuf| Some(fs::metadata(file).ok()?.len());
    let bytes = training.iter().map(bytes).sum::<Option<u64>>()?;
    let first = training.first()?.clone();
    Some(DataFiles { paths, first, bytes, folder_examples: None })
}

/// Returns a directory of classes, or one with such directories for the parts.
fn folders(path: &Path) -> Option<DataFiles> {
    let part = |names: &[&str]| {
        names.iter().map(|name| path.join(name)).find(|part| is_folder_of_classes(part))
    };
    let mut paths: Vec<(&str, PathBuf)> = FIELDS
        .into_iter()
        .zip(PARTS)
        .filter_map(|(field, names)| Some((field, part(names)?)))
        .collect();
    if paths.first().is_none_or(|(field, _)| *field != FIELDS[0]) {
        is_folder_of_classes(path).then_some(())?;
        paths = vec![(FIELDS[0], path.to_owned())];
    }
    let first = paths[0].1.clone();
    let examples = subdirectories(&first).map(|class| entries(&class).count()).sum();
    Some(DataFiles { paths, first, bytes: 0, folder_examples: Some(examples) })
}

/// Returns the data files for the parts in a directory: `train.csv`, or several such as
/// `train-00000-of-00002.csv`, `test.csv` and so on.
fn parts(path: &Path) -> Option<DataFiles> {
    let mut paths = Vec::new();
    let mut training = Vec::new();
    for (field, names) in FIELDS.into_iter().zip(PARTS) {
        let Some((name, files)) = names.iter().find_map(|name| {
            let files = files_of_part(path, name);
            (!files.is_empty()).then_some((*name, files))
        }) else {
            continue;
        };
        let file = match &files[..] {
            [file] => file.clone(),
            [first, ..] => {
                let extensions = first.file_name()?.to_str()?.split_once('.')?.1;
                let directory = PathBuf::from(Pattern::escape(path.to_str()?));
                directory.join(format!("{name}[-_]*.{extensions}"))
            }
            [] => return None,
        };
        paths.push((field, file));
        if field == FIELDS[0] {
            training = files;
        }
    }
    of_files(paths, &training)
}

/// Returns the data files in a directory whose names are `name`, or begin with it and a separator, all with
/// the extension of the first one.
fn files_of_part(directory: &Path, name: &str) -> Vec<PathBuf> {
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    for file in entries(directory).filter(|file| file.is_file() && format_of(file).is_ok()) {
        let Some((stem, extensions)) = file
            .file_name()
            .and_then(|name| name.to_str()?.split_once('.'))
            .map(|(stem, extensions)| (stem.to_owned(), extensions.to_owned()))
        else {
            continue;
        };
        if stem == name {
            return vec![file];
        }
        if stem.strip_prefix(name).is_some_and(|rest| rest.starts_with(['-', '_'])) {
            files.push((file, extensions));
        }
    }
    files.sort();
    let extensions = files.first().map(|(_, extensions)| extensions.clone());
    let same = files.into_iter().filter(|(_, each)| Some(each) == extensions.as_ref());
    same.map(|(file, _)| file).collect()
}

fn is_folder_of_classes(path: &Path) -> bool {
    let has_text = |directory: &PathBuf| {
        let mut files = entries(directory).take(LOOKED_AT);
        files.any(|file| file.extension().is_some_and(|extension| extension == "txt"))
    };
    subdirectories(path).filter(has_text).take(2).count() == 2
}

fn subdirectories(path: &Path) -> impl Iterator<Item = PathBuf> {
    entries(path).filter(|entry| entry.is_dir())
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

//! Data in place of a configuration: the configuration is guessed. Other things in its place, such as runs, are
//! explained.

use std::fs;
use std::path::{Path, PathBuf};

use super::hints::{program, relative, set_options};
use crate::config::{self, Column, Columns, ConfigError, Document, FieldValue, Override, Resolved};
use crate::data::guess::{Guess, Known};
use crate::io::files::parent_directory;
use crate::io::input::inner_extension;
use crate::output::message;
use crate::output::shell::quoted_path;
use crate::run::checkpoint::is_checkpoint;
use crate::run::listing::is_run;
use crate::run::saved_model::{is_ensemble, is_folds};

/// Fields of the columns, which are guessed together.
const TEXT_COLUMN: &str = "data.text_column";
const LABEL_COLUMN: &str = "data.label_column";
/// Number of subdirectories that are looked at to recognize a directory of runs.
const LOOKED_AT: usize = 100;

/// Loads the configuration in `path`, or guesses that of the data in `path` and prints the guess.
///
/// # Errors
/// Returns the errors of [`load_with`].
pub fn load(path: &Path, overrides: &[Override]) -> Result<Resolved, ConfigError> {
    load_with(path, overrides, |document| document.resolve(overrides))
}

/// Reads the configuration in `path` with `read`, or guesses that of the data in `path` and prints the guess.
///
/// # Errors
/// Returns the errors of `read`, an error if the columns of the data are not clear, and an error that explains
/// what else is at `path`.
pub fn load_with<T>(
    path: &Path,
    overrides: &[Override],
    read: impl Fn(&Document) -> Result<T, ConfigError>,
) -> Result<T, ConfigError> {
    let error = match Document::read(path).and_then(|document| read(&document)) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let other = Other::at(path);
    // Data files may lie beside a directory of runs.
    if let Some(other) = other.filter(|other| !matches!(other, Other::Runs)) {
        return Err(ConfigError::new(other.explain(path)));
    }
    let Some(guess) = guess(path, overrides)? else { return Err(unusable(error, path)) };
    let source = format!("the configuration guessed from {}", path.display());
    let value = read(&Document::parse(&guess.to_yaml(), source, name(path))?)?;
    message(guess.describe());
    let settings = guess.settings(|field| overrides.iter().any(|set| set.field() == field));
    if !settings.is_empty() {
        message(format!("set for this data: {settings}"));
    }
    let (program, data, set) = (program(), quoted_path(path), set_options(overrides));
    message(format!(
        "to change the configuration, save it: {program} init {data}{set} > mine.yaml\n"
    ));
    Ok(value)
}

/// Guesses the configuration of the data at `path`. Returns `None` if it is no data.
///
/// # Errors
/// Returns an error if an override is invalid, or if the columns of the data are not clear.
pub fn guess(path: &Path, overrides: &[Override]) -> Result<Option<Guess>, ConfigError> {
    let data = match config::settings_before_guess(overrides) {
        Ok(config) => config.data,
        Err(error) => {
            // The faults of a configuration are reported together with those of the overrides.
            let data = config::defaults_with(&[])?.config.data;
            let is_data = !matches!(Guess::of(path, &data, &Known::default()), Ok(None));
            return if is_data { Err(error) } else { Ok(None) };
        }
    };
    let value = |field: &str| {
        overrides.iter().rfind(|set| set.field() == field).map(|set| set.value().clone())
    };
    let known = Known {
        text: value(TEXT_COLUMN).and_then(|value| Columns::from_yaml(&value)),
        label: value(LABEL_COLUMN).and_then(|value| Column::from_yaml(&value)),
        label_columns: data.label_columns.iter().cloned().map(Column::Name).collect(),
    };
    Guess::of(path, &data, &known).map_err(|error| ConfigError::new(format!("{error:#}")))
}

/// Returns the name of the run on the data at `path`.
fn name(path: &Path) -> Option<String> {
    let absolute = std::path::absolute(path).ok()?;
    let name = absolute.file_name()?.to_str()?.split('.').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Content of a path that is neither a configuration nor data.
enum Other {
    Run,
    Checkpoint,
    Ensemble,
    CrossValidation,
    /// A directory of runs, such as that of a sweep.
    Runs,
}

impl Other {
    fn at(path: &Path) -> Option<Self> {
        match () {
            () if is_ensemble(path) => Some(Self::Ensemble),
            () if is_folds(path) => Some(Self::CrossValidation),
            () if is_checkpoint(path) => Some(Self::Checkpoint),
            () if path.is_dir() && is_run(path) => Some(Self::Run),
            () if subdirectories(path).any(|path| is_run(&path)) => Some(Self::Runs),
            () => None,
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            Self::Run => "a run",
            Self::Checkpoint => "a checkpoint of a run",
            Self::Ensemble => "an ensemble of checkpoints",
            Self::CrossValidation => "the directory of a cross-validation",
            Self::Runs => "a directory of runs",
        }
    }

    /// Explains what is at `path`, where a configuration or data is expected.
    fn explain(&self, path: &Path) -> String {
        let program = program();
        let at = |path: &Path| quoted_path(&relative(path));
        let advice = match self {
            Self::Run | Self::Checkpoint => {
                let run = match self {
                    Self::Run => path,
                    _ => parent_directory(path),
                };
                format!(
                    "its configuration is {}; to resume it:\n  {program} train --resume {}",
                    at(&run.join("config.yaml")),
                    at(run)
                )
            }
            Self::Ensemble => {
                format!("to classify with it:\n  {program} predict {} TEXT", at(path))
            }
            Self::CrossValidation | Self::Runs => format!(
                "each of its runs has the configuration RUN/config.yaml; to list them:\n  {program} runs {}",
                at(path)
            ),
        };
        let what = self.describe();
        format!("\"{}\" is {what}, not a configuration or data; {advice}", path.display())
    }
}

fn subdirectories(path: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).take(LOOKED_AT)
}

/// Explains that `path`, which was given as data, has a model or runs. Returns `None` if it does not.
pub fn not_data(path: &Path) -> Option<String> {
    let other = Other::at(path)?;
    // A run may lie beside the directories of the classes.
    if matches!(other, Other::Runs) && !subdirectories(path).all(|path| is_run(&path)) {
        return None;
    }
    Some(format!(
        "\"{}\" is {}, not data; name the data file, or the directory with a subdirectory for each class",
        path.display(),
        other.describe()
    ))
}

/// Returns the error of what is at `path`, which is neither a configuration nor data from which one can be
/// guessed. `error` is that of reading it as a configuration.
pub fn unusable(error: ConfigError, path: &Path) -> ConfigError {
    let shown = path.display();
    let extension = inner_extension(path).unwrap_or_default();
    let is_yaml = matches!(extension.as_str(), "yaml" | "yml");
    if let Err(missing) = path.metadata() {
        return ConfigError::new(match is_yaml {
            true => format!("{error}; `lstmtext init DATA > {shown}` writes one for data"),
            false => format!("cannot open \"{shown}\": {missing}"),
        });
    }
    if let Some(other) = Other::at(path) {
        return ConfigError::new(other.explain(path));
    }
    if path.is_dir() {
        return ConfigError::new(format!(
            "the directory \"{shown}\" has neither a subdirectory with .txt files for each class nor data \
             files for the parts, such as train.csv and test.csv"
        ));
    }
    match extension.as_str() {
        "jsonl" | "ndjson" | "json" => ConfigError::new(format!(
            "\"{shown}\" has no JSON objects with a text and a label, such as {{\"text\": \"…\", \
             \"label\": \"…\"}}, in an array or one on each line"
        )),
        "csv" | "tsv" | "parquet" => ConfigError::new(format!(
            "\"{shown}\" has no rows from which a configuration can be guessed; data files have a \
             column of texts and one of labels"
        )),
        "yaml" | "yml" | "" => error,
        _ => ConfigError::new(format!(
            "\"{shown}\" is neither a configuration (.yaml) nor data: a table (.csv, .tsv, .jsonl, .json, \
             .parquet), fastText's .txt with __label__, or a directory; save a spreadsheet as .csv, and for \
             a table with another extension, add --set data.format=csv"
        )),
    }
}

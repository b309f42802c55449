//! Data in place of a configuration: the configuration is guessed. Other things in its place, such as runs, are
//! explained.

use std::path::Path;

use super::hints::{program, set_options};
use crate::config::{self, ConfigError, Override, Resolved};
use crate::data::guess::{Guess, Known};
use crate::io::input::inner_extension;
use crate::output::message;
use crate::output::shell::quoted_path;
use crate::run::checkpoint::is_checkpoint;
use crate::run::listing::is_run;
use crate::run::saved_model::is_ensemble;

/// Function that loads the configuration in a file.
type Load = fn(&Path, &[Override]) -> Result<Resolved, ConfigError>;

/// Loads the configuration in `path`, or guesses that of the data in `path` and prints the guess.
///
/// # Errors
/// Returns the errors of `load`, and an error if the columns of the data are not clear.
pub fn load(path: &Path, overrides: &[Override], load: Load) -> Result<Resolved, ConfigError> {
    let error = match load(path, overrides) {
        Ok(resolved) => return Ok(resolved),
        Err(error) => error,
    };
    if let Some(explanation) = explanation(path) {
        return Err(ConfigError::new(explanation));
    }
    let Some(guess) = guess(path, overrides)? else { return Err(unusable(error, path)) };
    let source = format!("the configuration guessed from {}", path.display());
    let named: Vec<Override> = name(path).into_iter().chain(overrides.iter().cloned()).collect();
    let resolved = config::parse(&guess.to_yaml(), &source, &named)?;
    message(guess.describe());
    let settings = guess.settings(|field| overrides.iter().any(|set| set.field() == field));
    if !settings.is_empty() {
        message(format!("set for this data: {settings}"));
    }
    let (program, data, set) = (program(), quoted_path(path), set_options(overrides));
    message(format!(
        "to change the configuration, save it: {program} init {data}{set} > mine.yaml\n"
    ));
    Ok(resolved)
}

/// Guesses the configuration of the data at `path`. Returns `None` if it is no data.
///
/// # Errors
/// Returns an error if an override is invalid, or if the columns of the data are not clear.
pub fn guess(path: &Path, overrides: &[Override]) -> Result<Option<Guess>, ConfigError> {
    let data = match config::defaults_with(overrides) {
        Ok(resolved) => resolved.config.data,
        Err(error) => {
            // The faults of a configuration are reported together with those of the overrides.
            let data = config::defaults_with(&[])?.config.data;
            let is_data = !matches!(Guess::of(path, &data, &Known::default()), Ok(None));
            return if is_data { Err(error) } else { Ok(None) };
        }
    };
    let is_set = |field: &str| overrides.iter().any(|set| set.field() == field);
    let known = Known {
        text: is_set("data.text_column").then(|| data.text_column.clone()),
        label: is_set("data.label_column").then(|| data.label_column.clone()),
    };
    Guess::of(path, &data, &known).map_err(|error| ConfigError::new(format!("{error:#}")))
}

/// Explains the error of a configuration at `path`, if the path is that of something else.
pub fn explain(error: ConfigError, path: &Path) -> ConfigError {
    if let Some(explanation) = explanation(path) {
        return ConfigError::new(explanation);
    }
    let (program, data) = (program(), quoted_path(path));
    match guess(path, &[]) {
        Ok(None) => error,
        Ok(Some(_)) | Err(_) => ConfigError::new(format!(
            "\"{}\" is data, not a configuration; to write one:\n  {program} init {data} > mine.yaml",
            path.display()
        )),
    }
}

/// Returns the name of the run on the data at `path`.
fn name(path: &Path) -> Option<Override> {
    let absolute = std::path::absolute(path).ok()?;
    let name = absolute.file_name()?.to_str()?.split('.').next().filter(|name| !name.is_empty())?;
    Some(Override::new("name", name.into()))
}

/// Explains what a path is that has a run or an ensemble.
fn explanation(path: &Path) -> Option<String> {
    let shown = path.display();
    if is_ensemble(path) {
        return Some(format!("\"{shown}\" is an ensemble of checkpoints, not a configuration"));
    }
    let run = if is_checkpoint(path) { path.parent()? } else { path };
    (is_checkpoint(path) || path.is_dir() && is_run(path)).then(|| {
        let (run, program) = (quoted_path(run), program());
        format!(
            "\"{shown}\" is a run, not a configuration; to resume it:\n  {program} train --resume {run}"
        )
    })
}

/// Returns the error of data whose configuration cannot be guessed, if the name of `path` is that of data.
pub fn unusable(error: ConfigError, path: &Path) -> ConfigError {
    let shown = path.display();
    if path.is_dir() {
        return ConfigError::new(format!(
            "the directory \"{shown}\" has neither a subdirectory with .txt files for each class nor data \
             files for the parts, such as train.csv and test.csv"
        ));
    }
    let extension = inner_extension(path).unwrap_or_default();
    match extension.as_str() {
        "csv" | "tsv" | "jsonl" | "ndjson" | "parquet" if path.is_file() => {
            ConfigError::new(format!(
                "\"{shown}\" has no rows from which a configuration can be guessed; data files have a \
                 column of texts and one of labels"
            ))
        }
        _ => error,
    }
}

//! Loads a configuration from a file or from YAML.

use std::path::{Path, PathBuf};

use serde_yaml::Value;

use super::draft::{self, Draft};
use super::error::ConfigError;
use super::fields::Fault;
use super::overrides::Override;
use super::resolved::Resolved;
use super::schema::{Config, SWEEP};
use super::types::SweepSection;
use super::value::FieldValue;
use super::yaml::{self, Parsed};
use crate::io::files::{SETTINGS_LIMIT, read_limited};
use crate::io::input::wide_encoding;
use crate::output::shell::quoted_path;

/// Returns fields with the value that they have in a run whose configuration does not list them: the behavior
/// of the versions of lstmtext that did not have the field.
fn before_the_field() -> [(&'static str, Value); 7] {
    [
        ("data.version", Value::from(1)),
        ("data.max_skipped", Value::from(1.0)),
        ("text.version", Value::from(1)),
        ("model.ngrams.sizes", Value::Sequence(Vec::new())),
        ("model.lstm.bidirectional", Value::from(false)),
        ("model.embedding.word_dropout", Value::from(0)),
        ("train.scale_branches", Value::from(false)),
    ]
}

/// A parsed configuration, from a file or guessed from data.
#[derive(Clone)]
pub struct Document {
    parsed: Parsed,
    /// The file, if it was read from one.
    file: Option<PathBuf>,
    /// The name of the document in messages.
    pub(super) source: String,
    /// The default name of the experiment.
    pub(super) name: Option<String>,
    /// True for the configuration that a run recorded, which lists every field of its version.
    recorded: bool,
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, is too large, or is not UTF-8 or YAML.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let bytes = read_limited(file, SETTINGS_LIMIT).map_err(|error| {
            let file = file.display();
            ConfigError::new(format!("cannot read the configuration \"{file}\": {error}"))
        })?;
        let source = file.display().to_string();
        if let Some(encoding) = wide_encoding(&bytes) {
            let message = format!("{source}: the file is {encoding}; save it as UTF-8");
            return Err(ConfigError::new(message));
        }
        let yaml = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            ConfigError::new(format!("{source}:{line}: invalid UTF-8; save the file as UTF-8"))
        })?;
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Ok(Self { file: Some(file.to_owned()), ..Self::parse(&yaml, source, name)? })
    }

    /// Parses a configuration; `source` names it in messages, and `name` is the default name of the experiment.
    ///
    /// # Errors
    /// Returns an error if it is not YAML.
    pub fn parse(yaml: &str, source: String, name: Option<String>) -> Result<Self, ConfigError> {
        let parsed = yaml::parse(yaml, &[])
            .map_err(|problems| ConfigError::invalid_yaml(&source, &problems))?;
        Ok(Self { parsed, file: None, source, name, recorded: false })
    }

    fn recorded(self) -> Self {
        Self { recorded: true, ..self }
    }

    /// Returns the values with `overrides` applied.
    ///
    /// # Errors
    /// Returns an error if an override sets an unknown field.
    pub(super) fn with_overrides(&self, overrides: &[Override]) -> Result<Value, ConfigError> {
        let mut root = self.parsed.root.clone();
        if self.recorded {
            set_absent(&mut root, before_the_field());
        }
        let faults = overrides.iter().filter_map(|set| draft::apply(set, &mut root));
        match faults.collect::<Vec<_>>() {
            faults if faults.is_empty() => Ok(root),
            faults => Err(self.error(&faults, overrides)),
        }
    }

    /// Returns the section `sweep` as written; an empty one if there is none, or if it is no mapping.
    ///
    /// # Errors
    /// Returns an error if an override sets an unknown field.
    pub fn sweep(&self, overrides: &[Override]) -> Result<SweepSection, ConfigError> {
        let root = self.with_overrides(overrides)?;
        let section = root.get(SWEEP).and_then(SweepSection::from_yaml);
        Ok(section.unwrap_or_default())
    }

    /// The error that reports `faults` at their positions in this document.
    pub(super) fn error(&self, faults: &[Fault], overrides: &[Override]) -> ConfigError {
        ConfigError::from_faults(faults, &self.parsed.positions, &self.source, overrides)
    }

    /// Applies `overrides`.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] that lists every fault.
    pub fn resolve(&self, overrides: &[Override]) -> Result<Resolved, ConfigError> {
        let root = self.with_overrides(overrides)?;
        let resolved =
            Resolved::check(&root, overrides).map_err(|faults| self.error(&faults, overrides))?;
        Ok(resolved.with_default_name(self.name.clone()))
    }

    /// Applies `overrides` to the configuration of a single training run, which has no section `sweep`.
    ///
    /// # Errors
    /// Returns the errors of [`Document::resolve`], and an error if there is a section `sweep`.
    pub fn resolve_single(&self, overrides: &[Override]) -> Result<Resolved, ConfigError> {
        let resolved = self.resolve(overrides)?;
        if resolved.config.sweep.is_empty() {
            return Ok(resolved);
        }
        let message = match &self.file {
            Some(file) => format!(
                "this configuration describes a sweep; run it with `lstmtext sweep {}`, or train a single \
                 model with --set 'sweep={{}}'",
                quoted_path(file)
            ),
            None => {
                "a sweep trains several models; use `lstmtext sweep` in place of `lstmtext train`"
                    .to_owned()
            }
        };
        let fault = Fault { path: vec![SWEEP.to_owned()], message };
        Err(self.error(&[fault], &[]))
    }
}

/// Sets fields that the configuration does not set, unless a section that contains one is null.
fn set_absent<'a>(root: &mut Value, fields: impl IntoIterator<Item = (&'a str, Value)>) {
    for (field, value) in fields {
        let set = Override::new(field, value);
        let existing = set.path.iter().try_fold(&*root, |node, name| match node.is_null() {
            true => Some(node),
            false => node.get(name.as_str()),
        });
        if existing.is_none() {
            // A section that is not a mapping is reported when the fields are read.
            let _ = set.apply(root);
        }
    }
}

/// Loads the configuration in `file` and applies `overrides`.
///
/// # Errors
/// Returns a [`ConfigError`] that lists every fault, or an error if the file cannot be read.
pub fn load(file: &Path, overrides: &[Override]) -> Result<Resolved, ConfigError> {
    Document::read(file)?.resolve(overrides)
}

/// Returns the defaults with `overrides` applied. The data may be missing.
///
/// # Errors
/// Returns a [`ConfigError`] that lists every fault.
pub fn defaults_with(overrides: &[Override]) -> Result<Resolved, ConfigError> {
    let document = Document::parse("", String::new(), None)?;
    let (resolved, mut faults) = Resolved::read(&document.with_overrides(overrides)?, overrides);
    let is_set = |fault: &Fault| overrides.iter().any(|set| set.overlaps(&fault.path));
    faults.retain(|fault| fault.path != ["data", "train"] || is_set(fault));
    if faults.is_empty() { Ok(resolved) } else { Err(document.error(&faults, overrides)) }
}

/// Returns the defaults with `overrides` applied, before the configuration is guessed from data: defaults may
/// contradict the overrides.
///
/// # Errors
/// Returns a [`ConfigError`] that lists the faults of the overrides.
pub fn settings_before_guess(overrides: &[Override]) -> Result<Config, ConfigError> {
    let document = Document::parse("", String::new(), None)?;
    let Draft { config, faults, .. } = Draft::read(&document.with_overrides(overrides)?);
    if faults.is_empty() { Ok(config) } else { Err(document.error(&faults, overrides)) }
}

/// Loads the configuration that a run recorded in `file`, and applies `overrides`. Fields that are
/// newer than the run keep the behavior that the run began with.
///
/// # Errors
/// Returns the errors of [`load`].
pub fn load_recorded(file: &Path, overrides: &[Override]) -> Result<Resolved, ConfigError> {
    Document::read(file)?.recorded().resolve(overrides)
}

/// Parses a configuration from `yaml` and applies `overrides`; `source` names it in messages.
///
/// # Errors
/// Returns a [`ConfigError`] that lists every fault.
pub fn parse(yaml: &str, source: &str, overrides: &[Override]) -> Result<Resolved, ConfigError> {
    Document::parse(yaml, source.to_owned(), None)?.resolve(overrides)
}

/// Parses the configuration that a run recorded, like [`load_recorded`].
///
/// # Errors
/// Returns a [`ConfigError`] that lists every fault.
pub fn parse_recorded(
    yaml: &str,
    source: &str,
    overrides: &[Override],
) -> Result<Resolved, ConfigError> {
    Document::parse(yaml, source.to_owned(), None)?.recorded().resolve(overrides)
}

/// Parses a configuration for a test. Where it says nothing else, the model has one direction, no n-grams and
/// no word dropout.
#[cfg(test)]
pub fn parse_plain(yaml: &str) -> Resolved {
    let plain = [
        ("model.ngrams", Value::Null),
        ("model.lstm.bidirectional", Value::from(false)),
        ("model.embedding.word_dropout", Value::from(0)),
    ];
    let mut document = Document::parse(yaml, "test".to_owned(), None).unwrap();
    set_absent(&mut document.parsed.root, plain);
    document.resolve(&[]).unwrap()
}

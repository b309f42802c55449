//! Texts of `vectors` and `pretrain`: those of a configuration, or of files.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_yaml::Value;

use super::arguments::{SetArgs, text_override};
use super::starter;
use crate::config::{self, ConfigError, Document, Override, Resolved};
use crate::data::guess::text_fields;
use crate::io::input::inner_extension;
use crate::output::message;

/// A configuration, or files of texts.
#[derive(Debug, Args)]
pub struct PretrainingTextArgs {
    /// Configuration file (YAML), or files of texts: .txt with a text per line, or tables; compressed too
    #[arg(value_name = "CONFIG|FILE")]
    pub paths: Vec<PathBuf>,
    /// Column of the text, by its name or its number from 1; repeat it to join several (data.text_column).
    /// A name that is a number needs quotes: '"3"'
    #[arg(long, value_name = "COLUMN")]
    text: Vec<String>,
    #[command(flatten)]
    pub set: SetArgs,
}

impl PretrainingTextArgs {
    /// Overrides of the configuration.
    pub fn overrides(&self) -> Vec<Override> {
        text_override(&self.text).into_iter().chain(self.set.overrides.iter().cloned()).collect()
    }

    /// Loads the configuration, or makes the one that reads the files. `fixed` overrides come after those of the user.
    ///
    /// # Errors
    /// Returns an error if the configuration is wrong, if there are files besides it, or if the column of the texts is
    /// not clear.
    pub fn load(&self, fixed: &[Override]) -> Result<Resolved, ConfigError> {
        let overrides = self.overrides();
        let with_fixed: Vec<Override> = overrides.iter().chain(fixed).cloned().collect();
        let is_config =
            |path: &Path| matches!(inner_extension(path).as_deref(), Some("yaml" | "yml"));
        let config = self.paths.iter().find(|path| is_config(path));
        match (&self.paths[..], config) {
            ([], _) => Err(ConfigError::new("name a configuration, or files of texts")),
            ([path], Some(_)) => starter::load(path, &with_fixed),
            (_, Some(config)) => Err(ConfigError::new(format!(
                "\"{}\" is a configuration: pass it alone, and name files of texts with --set pretrain.texts",
                config.display(),
            ))),
            (paths, None) => {
                if let Some(fault) = paths.iter().find_map(|path| starter::not_data(path)) {
                    return Err(ConfigError::new(fault));
                }
                let fields = self.fields_of_files(&overrides)?;
                let all: Vec<Override> = fields.into_iter().chain(with_fixed).collect();
                Document::parse("", String::new(), self.name())?.resolve(&all)
            }
        }
    }

    /// Returns the fields with which the files are read. The first file shows in which columns the texts are.
    fn fields_of_files(&self, overrides: &[Override]) -> Result<Vec<Override>, ConfigError> {
        let first = &self.paths[0];
        let known = config::settings_before_guess(overrides)?.data;
        let is_set = |field: &str| overrides.iter().any(|set| set.field() == field);
        let text = is_set("data.text_column").then_some(&known.text_column);
        let guessed = text_fields(first, &known, text)
            .map_err(|error| ConfigError::new(format!("{error:#}")))?;
        let mut fields: Vec<Override> =
            guessed.iter().map(|(field, value)| Override::new(field, value.clone())).collect();
        let shown: Vec<String> = fields
            .iter()
            .filter(|field| !is_set(&field.field()))
            .map(ToString::to_string)
            .collect();
        if !shown.is_empty() {
            message(format!("{}: {}", first.display(), shown.join(", ")));
        }
        let paths = self.paths.iter().map(|path| Value::from(path.to_string_lossy().as_ref()));
        fields.push(Override::new("pretrain.texts", Value::Sequence(paths.collect())));
        Ok(fields)
    }

    /// Name of the first file without its extensions.
    fn name(&self) -> Option<String> {
        let name = self.paths.first()?.file_name()?.to_str()?.split('.').next()?;
        (!name.is_empty()).then(|| name.to_owned())
    }
}

//! Arguments that several commands share.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use super::open_model::OpenModel;
use super::starter;
use crate::backend::{
    Backend, Backends, Compute, Inference, MemoryEstimate, start, start_training,
};
use crate::config::{
    Column, Config, ConfigError, FieldValue, Override, Resolved, positive_integer,
};
use crate::distributed::SingleProcess;
use crate::run::checkpoint::Checkpoint;
use crate::run::saved_model::{SavedModel, peek_config};
use crate::system::device::DeviceChoice;
use crate::system::threads;

/// `--set`, for every command that reads a configuration.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Override a field of the configuration, e.g. train.epochs=5; may be repeated
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub overrides: Vec<Override>,
}

impl SetArgs {
    /// Loads a configuration, or guesses that of data, and applies the overrides.
    ///
    /// # Errors
    /// Returns the errors of [`starter::load`].
    pub fn load(&self, path: &Path) -> Result<Resolved, ConfigError> {
        starter::load(path, &self.overrides)
    }
}

/// Columns of the data.
#[derive(Debug, Args)]
pub struct ColumnArgs {
    /// Column of the text, by its name or its number from 1; repeat it to join several (data.text_column).
    /// A name that is a number needs quotes: '"3"'
    #[arg(long, value_name = "COLUMN")]
    text: Vec<String>,
    /// Column of the label (data.label_column)
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
}

impl ColumnArgs {
    /// Returns the columns as overrides, followed by those of `set`.
    pub fn overrides(&self, set: &SetArgs) -> Vec<Override> {
        let text = text_override(&self.text);
        let label = self.label.as_ref();
        let label = label.map(|name| Override::new("data.label_column", column(name).to_yaml()));
        text.into_iter().chain(label).chain(set.overrides.iter().cloned()).collect()
    }

    /// Loads a configuration like [`SetArgs::load`], with these columns.
    ///
    /// # Errors
    /// Returns the errors of [`starter::load`].
    pub fn load(&self, path: &Path, set: &SetArgs) -> Result<Resolved, ConfigError> {
        starter::load(path, &self.overrides(set))
    }
}

/// Returns the columns of `--text` as an override; `None` if there are none.
pub fn text_override(names: &[String]) -> Option<Override> {
    let column = |name: &String| column(name).to_yaml();
    let columns = match names {
        [] => return None,
        [name] => column(name),
        names => names.iter().map(column).collect(),
    };
    Some(Override::new("data.text_column", columns))
}

/// Returns the column that an argument names: digits are its number from 1, unless they are in double quotes.
pub fn column(text: &str) -> Column {
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match (quoted, text.parse()) {
        (Some(name), _) if name.parse::<u64>().is_ok() => Column::Name(name.to_owned()),
        (_, Ok(number)) if number > 0 => Column::Number(number),
        _ => Column::Name(text.to_owned()),
    }
}

/// Device and number of threads.
#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// Device to compute on: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Number of CPU threads; by default one per core
    #[arg(long, value_name = "N", value_parser = thread_count)]
    pub threads: Option<NonZeroUsize>,
}

/// Parses the value of `--threads`.
pub fn thread_count(text: &str) -> Result<NonZeroUsize, String> {
    match positive_integer(text)? {
        threads if threads.get() <= threads::MAX_COUNT => Ok(threads),
        _ => {
            Err(format!("expected at most {} threads; one per core is fastest", threads::MAX_COUNT))
        }
    }
}

/// The model of a command that predicts.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// Checkpoint, run (uses its best checkpoint), ensemble or cross-validation
    pub checkpoint: PathBuf,
    /// Another model, with which the probabilities are averaged; may be repeated
    #[arg(long, value_name = "CHECKPOINT")]
    with: Vec<PathBuf>,
    /// Ignore the calibration of the model
    #[arg(long)]
    pub uncalibrated: bool,
}

impl ModelArgs {
    /// Returns the paths of all models.
    pub fn paths(&self) -> Vec<&Path> {
        std::iter::once(&self.checkpoint).chain(&self.with).map(PathBuf::as_path).collect()
    }

    /// Opens the models like [`ComputeArgs::open_together`], with their calibration unless it is to be ignored.
    ///
    /// # Errors
    /// Returns the errors of [`ComputeArgs::open_together`].
    pub fn open(
        &self,
        compute: &ComputeArgs,
        backends: &dyn Backends,
        overrides: &[Override],
        long_running: bool,
    ) -> anyhow::Result<OpenModel> {
        let model = compute.open_together(backends, &self.paths(), overrides, long_running)?;
        Ok(model.with_calibration(!self.uncalibrated))
    }
}

impl ComputeArgs {
    /// Returns these arguments as words of a command; none for the defaults.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.device != DeviceChoice::Auto {
            words.extend(["--device".to_owned(), self.device.to_string()]);
        }
        if let Some(threads) = self.threads {
            words.extend(["--threads".to_owned(), threads.to_string()]);
        }
        words
    }

    /// Starts the backend that trains `config`. If this program lacks it, the process continues as
    /// another program: call this before any work is done.
    ///
    /// # Errors
    /// Returns an error if arguments and configuration contradict each other, or if the device cannot
    /// be used.
    pub fn start_training(
        &self,
        backends: &dyn Backends,
        config: &Config,
    ) -> anyhow::Result<Box<dyn Backend>> {
        start_training(backends, config, self.compute(true))
    }

    /// Starts the backend of `config` like [`ComputeArgs::start_training`], for a command that trains no classifier.
    ///
    /// # Errors
    /// Returns the errors of [`start`].
    pub fn start(
        &self,
        backends: &dyn Backends,
        config: &Config,
        long_running: bool,
    ) -> anyhow::Result<Box<dyn Backend>> {
        start(backends, config, self.compute(long_running))
    }

    fn compute(&self, long_running: bool) -> Compute {
        Compute { device: self.device, threads: self.threads, long_running }
    }

    /// Opens a checkpoint or an ensemble, with overrides of its configuration, and its networks. The files
    /// are read and verified once, after the backend is chosen by the configuration of the first member.
    ///
    /// # Errors
    /// Returns an error if the model cannot be used, and those of [`ComputeArgs::start_training`].
    pub fn open(
        &self,
        backends: &dyn Backends,
        path: &Path,
        overrides: &[Override],
        long_running: bool,
    ) -> anyhow::Result<OpenModel> {
        self.open_together(backends, &[path], overrides, long_running)
    }

    /// Opens several models like [`ComputeArgs::open`], which predict together.
    ///
    /// # Errors
    /// Returns the errors of [`ComputeArgs::open`] and of [`SavedModel::open_together`].
    pub fn open_together(
        &self,
        backends: &dyn Backends,
        paths: &[&Path],
        overrides: &[Override],
        long_running: bool,
    ) -> anyhow::Result<OpenModel> {
        let compute = self.compute(long_running);
        let config = peek_config(paths[0], overrides);
        let started = config.map(|config| start(backends, &config, compute)).transpose()?;
        let saved = SavedModel::open_together(paths, overrides)?;
        let backend = match started {
            Some(backend) => backend,
            None => start(backends, saved.config(), compute)?,
        };
        let network = |checkpoint: &Checkpoint| -> anyhow::Result<Box<dyn Inference>> {
            let spec = checkpoint.model_spec();
            let network = match checkpoint.quantized_weights()? {
                Some(tensors) => {
                    MemoryEstimate::quantized_inference(&spec)?.check(&spec, "this model")?;
                    backend.quantized_inference(&spec, tensors)
                }
                None => {
                    MemoryEstimate::inference(&spec)?.check(&spec, "this model")?;
                    backend.inference(&spec, checkpoint.weights()?)
                }
            };
            network.with_context(|| checkpoint.unusable())
        };
        let networks = saved.members.iter().map(network).collect::<anyhow::Result<_>>()?;
        Ok(OpenModel { collective: Arc::new(SingleProcess), saved, networks })
    }
}

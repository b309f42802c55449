//! The stages of pre-training that come before the training of a classifier, in its run directory.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_yaml::Value;

use super::stage_inputs::{StageInputs, inputs_of};
use crate::cli::language_model_run::{self, LanguageModelCompute};
use crate::cli::pretrain::language_model_overrides;
use crate::cli::vectors::learn_to_file;
use crate::config::{self, Config, ConfigError, Override, Resolved, Stage, VocabularySource};
use crate::output::format::join_names;
use crate::output::message;
use crate::pretrain::language_model::{self, Ending};
use crate::run::checkpoint::is_checkpoint;
use crate::run::directory::RunDirectory;
use crate::run::new_run::NewRun;
use crate::system::signals::Interrupt;

/// Name of the file with the vectors of the first stage in the run directory.
const VECTORS: &str = "vectors.npy";
/// Name of the run of the language model in the run directory.
const LANGUAGE_MODEL: &str = "language_model";

/// Runs the stages of a run. Several processes train the language model together; rank 0 learns word vectors alone.
pub struct StageRunner<'a> {
    pub compute: LanguageModelCompute<'a>,
    pub interrupt: &'a Interrupt,
}

impl StageRunner<'_> {
    /// Runs the stages of the configuration that are not done, and lets the classifier start from the last of them.
    /// Returns the signal if one interrupted a stage.
    ///
    /// # Errors
    /// Returns an error if a stage fails.
    pub fn run(&self, resolved: &mut Resolved, run: &RunDirectory) -> anyhow::Result<Option<i32>> {
        let stages = resolved.config.pretrain.stages.clone();
        if stages.is_empty() {
            return Ok(None);
        }
        let group = self.compute.group;
        if stages.has(Stage::LanguageModel) {
            // Before hours of computing.
            group.collective.agree(self.compute.start(&resolved.config))?;
            if let Some(input) = resolved.config.inputs.first() {
                language_model::check(input)?;
            }
        }
        // Those of the configuration, without the results of stages.
        let [of_vectors, of_language_model] =
            [Stage::Vectors, Stage::LanguageModel].map(|stage| inputs_of(stage, resolved));
        if stages.has(Stage::Vectors) {
            let path = run.path().join(VECTORS);
            let learned = group.on_first_with_heartbeat(|heartbeat| {
                self.learn_vectors(&resolved.config, run, &path, of_vectors, heartbeat)
            })?;
            // Rank 0 alone has learned. 0 is no signal.
            let signal = learned.flatten().unwrap_or(0);
            let signal = group.collective.gather_number(signal as u64)?[0];
            if signal != 0 {
                return Ok(Some(signal as i32));
            }
            *resolved = with_path(resolved, "model.embedding.vectors", &path)?;
        }
        if stages.has(Stage::LanguageModel) {
            let of_stage = RunDirectory::open(&run.path().join(LANGUAGE_MODEL));
            group.on_first(|| {
                let mut inputs = StageInputs::read(run.path())?;
                if has_changed(&inputs, Stage::LanguageModel, &of_language_model) {
                    remove(of_stage.path())?;
                }
                inputs.record(run.path(), Stage::LanguageModel, of_language_model)
            })?;
            if let Some(signal) = self.train_language_model(resolved, &of_stage)? {
                return Ok(Some(signal));
            }
            *resolved = with_path(resolved, "train.from", of_stage.path())?;
        }
        group.on_first(|| run.write_config(&resolved.to_yaml()))?;
        Ok(None)
    }

    /// Learns the vectors of a stage from these inputs, unless it is done. Returns the signal if one interrupted it.
    fn learn_vectors(
        &self,
        config: &Config,
        run: &RunDirectory,
        path: &Path,
        inputs: Vec<String>,
        heartbeat: &dyn Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<i32>> {
        let mut recorded = StageInputs::read(run.path())?;
        let is_changed = has_changed(&recorded, Stage::Vectors, &inputs);
        if path.exists() && !is_changed {
            message(format!("stage vectors: {} is done", path.display()));
            return Ok(None);
        }
        message("stage vectors:");
        let signal = learn_to_file(config, path, self.interrupt, heartbeat)?;
        if signal.is_none() {
            recorded.record(run.path(), Stage::Vectors, inputs)?;
        }
        Ok(signal)
    }

    /// Trains the language model of a stage, from where it was interrupted. Returns the signal if one interrupted it.
    fn train_language_model(
        &self,
        resolved: &Resolved,
        run: &RunDirectory,
    ) -> anyhow::Result<Option<i32>> {
        let group = self.compute.group;
        let is_done = run.has_summary() && is_checkpoint(&run.best());
        if group.collective.broadcast_flag(is_done)? {
            message(format!("stage language_model: {} is done", run.path().display()));
            return Ok(None);
        }
        message("stage language_model:");
        let ending = if group.collective.broadcast_flag(run.is_without_checkpoint())? {
            let mut fixed = language_model_overrides();
            fixed.push(Override::new("pretrain.stages", Value::Null));
            if resolved.config.inputs[0].text.vocabulary == VocabularySource::Checkpoint {
                fixed.push(Override::new("text.vocabulary", Value::Null));
            }
            let resolved = with(resolved, &fixed)?;
            let backend = group.collective.agree(self.compute.start(&resolved.config))?;
            let new = group.on_first(|| {
                // A killed process may have left files, but no checkpoint.
                remove(run.path())?;
                NewRun::lock(run.path())
            })?;
            let compute = (&*backend, &self.compute);
            language_model_run::start(&resolved, (run, new), compute, self.interrupt)?
        } else {
            language_model_run::resume(run, &self.compute, &[], self.interrupt)?
        };
        Ok(match ending {
            Ending::Finished(_) => None,
            Ending::Interrupted(signal) => Some(signal),
        })
    }
}

/// Returns true if the inputs of a stage have changed since its results were made, and prints what has.
fn has_changed(before: &StageInputs, stage: Stage, inputs: &[String]) -> bool {
    let changes = before.changes(stage, inputs);
    if !changes.is_empty() {
        let (stage, changes) = (stage.as_str(), join_names(&changes));
        message(format!("stage {stage}: runs again, because its inputs have changed: {changes}"));
    }
    !changes.is_empty()
}

/// Removes a directory if it exists.
fn remove(path: &Path) -> anyhow::Result<()> {
    match path.exists() {
        true => std::fs::remove_dir_all(path)
            .with_context(|| format!("cannot remove \"{}\"", path.display())),
        false => Ok(()),
    }
}

/// Checks that a run whose classifier has begun keeps the settings of its stages.
///
/// # Errors
/// Returns an error that names the first setting that is to change.
pub fn check_resumed(config: &Config, overrides: &[Override]) -> Result<(), ConfigError> {
    let changed =
        overrides.iter().map(Override::field).find(|field| field.starts_with("pretrain."));
    match changed.filter(|_| !config.pretrain.stages.is_empty()) {
        Some(field) => Err(ConfigError::new(format!(
            "{field}: the stages of the run are done, and the classifier has started from them; start a new run"
        ))),
        None => Ok(()),
    }
}

/// Checks that a new run does not name what its stages learn. A run that resumes names the results of its own stages.
///
/// # Errors
/// Returns an error that names the field.
pub fn check_new(config: &Config) -> Result<(), ConfigError> {
    let stages = &config.pretrain.stages;
    let (from, vectors) = (&config.train.from, &config.model.embedding.vectors);
    let conflict = match () {
        () if !stages.is_empty() && from.is_some() => "train.from names another one",
        () if stages.has(Stage::Vectors) && vectors.is_some() => {
            "model.embedding.vectors names others"
        }
        () => return Ok(()),
    };
    Err(ConfigError::new(format!(
        "pretrain.stages learns the vectors or the model from which the training starts, but {conflict}; remove one of \
         them"
    )))
}

/// Returns a configuration with some overrides.
fn with(resolved: &Resolved, overrides: &[Override]) -> Result<Resolved, ConfigError> {
    config::parse_recorded(&resolved.to_yaml(), "config.yaml", overrides)
}

/// Returns a configuration with a path in a field.
fn with_path(resolved: &Resolved, field: &str, path: &Path) -> Result<Resolved, ConfigError> {
    with(resolved, &[Override::new(field, Value::from(path.to_string_lossy().as_ref()))])
}

/// Paths in a run directory that stages write.
pub fn paths(run: &RunDirectory) -> [PathBuf; 2] {
    [VECTORS, LANGUAGE_MODEL].map(|name| run.path().join(name))
}

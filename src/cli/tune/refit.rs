//! Trains the best settings of a search on the training and validation examples together.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use serde_yaml::Value;

use crate::cli::data::write_parts;
use crate::cli::exit::SUCCESS;
use crate::cli::hints::{program, relative};
use crate::cli::many_runs::resume_command;
use crate::config::{Column, Config, ConfigError, Field, Override, Resolved};
use crate::data::{self, SplitName};
use crate::io::replace::create_directory;
use crate::output::format::pluralize;
use crate::output::shell::quoted_path;
use crate::output::{message, note};
use crate::run::checkpoint::is_checkpoint;
use crate::run::directory::RunDirectory;
use crate::run::new_run::NewRun;
use crate::sweep::{Launch, TrainingProcess, was_stopped};
use crate::system::signals::Interrupt;
use crate::system::threads::cores;
use crate::tune::{Leaderboard, Trial, TuneDirectory};

/// Trains the best settings on the training and validation examples. Returns the exit code.
///
/// The run is hidden, and only its model is kept: its validation scores would mislead.
///
/// # Errors
/// Returns an error if the data cannot be read or the files cannot be written, or if the training fails.
pub fn refit(
    directory: &TuneDirectory,
    launch: Launch,
    interrupt: &Interrupt,
) -> anyhow::Result<u8> {
    let trials = directory.trials()?;
    let board = Leaderboard::of(directory, &trials);
    let Some((best, result)) = board.best().and_then(|best| Some((best, best.result?))) else {
        return Ok(SUCCESS);
    };
    let epochs = result.best_epoch.max(1);
    let name = format!("refit-{:03}-{epochs}", best.trial);
    let (model, hidden) = (directory.path().join(&name), directory.path().join(format!(".{name}")));
    let run = RunDirectory::open(&hidden);
    if run.is_training() {
        note("another process trains the best settings on all examples");
        return Ok(SUCCESS);
    }
    if !is_checkpoint(&model) {
        let lock = run.create()?;
        let examples = write_examples(directory)?;
        let resolved = settings(directory, &trials.all[best.trial], &examples)?;
        if !run.can_resume() {
            NewRun::create_in(run.clone(), lock, &resolved.to_yaml())?.begin();
        } else {
            drop(lock);
        }
        message(format!(
            "\nrefit: trial {}, {} on the training and validation examples",
            best.trial,
            pluralize(epochs, "epoch")
        ));
        if let Some(signal) = train(&run, epochs, launch, interrupt)? {
            message(format!("\nstopped by a signal; to continue:\n  {}", resume_command()));
            return Ok(128 + signal as u8);
        }
        let last = run.last();
        let moved = fs::rename(&last, &model);
        moved.with_context(|| format!("cannot move \"{}\"", last.display()))?;
        fs::remove_dir_all(&hidden)
            .with_context(|| format!("cannot remove \"{}\"", hidden.display()))?;
    }
    let path = quoted_path(&relative(&model));
    message(format!(
        "\n{path} has been trained on the validation examples, too: report the score of the search\n\nnext:\n  {} \
         predict {path} TEXT",
        program()
    ));
    Ok(SUCCESS)
}

/// Trains a run for some epochs. Returns the signal if one stopped it.
fn train(
    run: &RunDirectory,
    epochs: usize,
    launch: Launch,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<i32>> {
    let mut command = launch.command(run.path())?;
    command.args(["--stop-after".to_owned(), epochs.to_string()]);
    let mut process = TrainingProcess::start(command, run.log())?;
    let status = process.wait(interrupt)?;
    match interrupt.signal() {
        Some(signal) if was_stopped(status) => Ok(Some(signal)),
        _ if status.success() => Ok(None),
        _ => {
            let log = quoted_path(&relative(&run.log()));
            bail!("refit failed: {}\n  {log}", process.failure(status))
        }
    }
}

/// Checks that the examples can be written to files from which they are read again.
///
/// # Errors
/// Returns an error if a column is named by its number.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    let data = &config.data;
    let labels = if data.label_columns.is_empty() { Some(&data.label_column) } else { None };
    let columns = config.inputs.columns();
    let numbered =
        columns.into_iter().chain(labels).any(|column| matches!(column, Column::Number(_)));
    match numbered {
        true => Err(ConfigError::new(
            "--refit needs columns with names: give the file a header, and name them in data.text_column and \
             data.label_column",
        )),
        false => Ok(()),
    }
}

/// Files of the examples.
struct Files {
    /// Configuration by which they were written.
    config: Config,
    directory: PathBuf,
}

/// Writes the examples to files, unless an earlier refit has.
fn write_examples(directory: &TuneDirectory) -> anyhow::Result<Files> {
    let mut config = directory.space.base.config.clone();
    let to = directory.path().join("refit-data");
    config.data.multi_label = Some(data::has_several_labels(&config, None)?);
    if !to.exists() {
        let mut splits = data::load(&config, None)?;
        splits.drop_long_texts(&config)?;
        ensure!(!splits.train.is_empty(), "there are no training examples");
        create_directory(&to, |to| {
            let parts = [
                ("all".to_owned(), vec![SplitName::Train, SplitName::Validation]),
                ("validation".to_owned(), vec![SplitName::Validation]),
                ("test".to_owned(), vec![SplitName::Test]),
            ];
            write_parts(&config, &splits, to, &parts)
        })?;
    }
    Ok(Files { config, directory: to })
}

/// Fields of the section data that describe the examples, and not how they are read from the files of the user.
const KEPT: [&str; 9] = [
    "text_column",
    "label_column",
    "label_columns",
    "labels",
    "unlabelled",
    "multi_label",
    "version",
    "shard",
    "cache",
];

/// Returns the configuration of a trial, for training on all examples.
fn settings(directory: &TuneDirectory, trial: &Trial, files: &Files) -> anyhow::Result<Resolved> {
    let path = |name: &str| Value::from(files.directory.join(name).to_string_lossy().as_ref());
    let has_test = files.directory.join("test.jsonl").exists();
    let set = |field: &str, value: Value| Override::new(field, value);
    let fields = directory.space.base.fields.iter();
    let is_reset = |field: &&Field| {
        let is_kept = |name: &String| KEPT.contains(&name.as_str());
        // The names of labels are those that columns are renamed to.
        let names_columns = field.path.last().is_some_and(|name| name == "label_names")
            && !files.config.data.label_columns.is_empty();
        field.path[0] == "data"
            && !field.is_section()
            && !field.path.get(1).is_some_and(is_kept)
            && !names_columns
    };
    let reset =
        fields.filter(is_reset).map(|field| set(&field.path.join("."), field.default.clone()));
    let multi_label = files.config.data.multi_label.map_or(Value::Null, Value::from);
    let written = [
        set("data.train", path("all.jsonl")),
        set("data.validation", path("validation.jsonl")),
        set("data.test", if has_test { path("test.jsonl") } else { Value::Null }),
        set("data.multi_label", multi_label),
        // There is no validation that could choose scales or an epoch.
        set("train.scale_branches", false.into()),
        set("train.validate_every", 1_000_000_000_000_u64.into()),
    ];
    let overrides: Vec<Override> = reset.chain(written).collect();
    let mut resolved = directory.resolve_with(trial, &overrides)?;
    resolved.set_shards(resolved.config.train.shards_for(cores(), 1));
    Ok(resolved)
}

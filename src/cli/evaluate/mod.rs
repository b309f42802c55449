//! `lstmtext evaluate`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Serialize;

use super::arguments::{ComputeArgs, SetArgs};
use super::exit::SUCCESS;
use super::hints::missing_data;
use super::output_file;
use crate::backend::{Backends, Inference};
use crate::config::{Config, ConfigError, DataConfig, Format, Override};
use crate::data::batch_plan::BatchLimit;
use crate::data::{self, Dataset, Examples, Fingerprint, SplitName, unknown_texts};
use crate::evaluation::{Evaluation, Predictions, compare};
use crate::io::spool::Spooled;
use crate::objective::Objective;
use crate::output::format::{join_names, pluralize};
use crate::output::{message, note, print_json, print_wrapped, terminal_width};
use crate::run::checkpoint::Checkpoint;

mod comparison;
mod mistakes;
mod provenance;
mod table;

use comparison::ComparisonReport;
use mistakes::MistakesFile;

const EXAMPLES: &str = "\
Examples:
  lstmtext evaluate runs/a
  lstmtext evaluate runs/a/last --split validation --json
  lstmtext evaluate runs/a --data other.csv --set data.label_column=sentiment
  lstmtext evaluate runs/a --split validation --compare runs/b --errors errors.csv

ROC-AUC and average precision are those of the second of two classes, or the mean over more \
classes, each against the rest. The calibration error is the mean difference between confidence \
and accuracy in 15 bins. --compare runs the exact McNemar test on the examples of the first \
checkpoint.";

/// Score a checkpoint on labeled examples
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvaluateArgs {
    /// Checkpoint, or run (uses its best checkpoint)
    checkpoint: PathBuf,
    /// Labeled file or directory, or - for stdin; the data section of the configuration describes its
    /// format and columns
    #[arg(long, value_name = "FILE", conflicts_with = "split")]
    data: Option<PathBuf>,
    /// Split of the run's own data; by default test, or validation if there are no test examples
    #[arg(long, value_name = "NAME")]
    split: Option<SplitName>,
    /// Second checkpoint or run to compare on the same examples
    #[arg(long, value_name = "CHECKPOINT")]
    compare: Option<PathBuf>,
    /// Write misclassified examples, the most confident first, to a .csv, .tsv or .jsonl file
    #[arg(long, value_name = "FILE")]
    errors: Option<MistakesFile>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// A checkpoint and its network.
struct Subject {
    /// The checkpoint.
    checkpoint: Checkpoint,
    /// Its network.
    network: Box<dyn Inference>,
}

#[derive(Serialize)]
struct Report {
    /// Directory of the checkpoint.
    checkpoint: PathBuf,
    /// Epoch of the checkpoint, from 1; `None` if it was not trained.
    epoch: Option<usize>,
    /// Fingerprint of the examples; equal examples have equal ones, in whatever order.
    data: Fingerprint,
    #[serde(flatten)]
    evaluation: Evaluation,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<ComparisonReport>,
}

/// Runs the command.
pub fn run(args: EvaluateArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let args = &args;
    let open = |path: &Path, overrides: &[Override]| -> anyhow::Result<Subject> {
        let (checkpoint, network) = args.compute.open(backends, path, overrides, true)?;
        Ok(Subject { checkpoint, network })
    };
    let mut first = open(&args.checkpoint, &args.set.overrides)?;
    let other = args.compare.as_ref().map(|path| open(path, &[])).transpose()?;
    note_weights(&args.checkpoint, &first.checkpoint);
    if let (Some(path), Some(other)) = (&args.compare, &other) {
        note_weights(path, &other.checkpoint);
    }
    let data = &mut first.checkpoint.resolved.config.data;
    let copy = args.data.as_deref().map(|path| spool(path, data)).transpose()?.flatten();
    let first = &first;
    let (config, labels) = (&first.checkpoint.resolved.config, &first.checkpoint.labels);
    let data = copy.as_ref().map(Spooled::path).or(args.data.as_deref());
    if let Some(file) = &args.errors {
        output_file::check("--errors", file.path(), config, args.data.as_deref())?;
    }
    let (name, examples) = examples(args, data, &first.checkpoint)?;
    let data = examples.clone().encoded(&first.checkpoint.encoders)?;
    note_unknown_texts(first, &examples, &data);
    let predictions = predict(first, &data, config)?;
    let comparison = match &other {
        Some(other) => Some(compare_with(other, first, &examples, &predictions)?),
        None => None,
    };
    if let Some(file) = &args.errors {
        let count = file.write(&predictions, &examples, labels, config)?;
        let order = if count > 1 { ", the most confident first" } else { "" };
        let mistakes = pluralize(count, "mistake");
        message(format!("{}: {mistakes}{order}", file.path().display()));
    }
    let report = Report {
        checkpoint: first.checkpoint.path.clone(),
        epoch: epoch(&first.checkpoint)?,
        data: examples.fingerprint(labels),
        evaluation: Evaluation::of(&predictions, labels),
        comparison,
    };
    match args.json {
        true => print_json(&report)?,
        false => {
            let weights = weights_name(&report.checkpoint, report.epoch);
            let width = terminal_width();
            let mut text = table::of(&name, &weights, &report.evaluation, width);
            if let Some(comparison) = &report.comparison {
                let (checkpoint, evaluation) = (&report.checkpoint, &report.evaluation);
                text += &table::of_comparison(checkpoint, evaluation, comparison, width);
            }
            print_wrapped(&text)?;
        }
    }
    Ok(SUCCESS)
}

/// Epoch of a checkpoint, from 1; `None` if it was not trained.
fn epoch(checkpoint: &Checkpoint) -> anyhow::Result<Option<usize>> {
    let epoch = checkpoint.progress()?.epoch_number();
    Ok((epoch > 0).then_some(epoch))
}

/// Names the weights of a checkpoint.
fn weights_name(checkpoint: &Path, epoch: Option<usize>) -> String {
    let path = checkpoint.display();
    epoch.map_or_else(|| path.to_string(), |epoch| format!("{path} (epoch {epoch})"))
}

/// Notes that a run is evaluated with its best weights, if its own scores are those of the last ones.
fn note_weights(run: &Path, checkpoint: &Checkpoint) {
    let restores_best = checkpoint.resolved.config.train.early_stopping.restore_best;
    if checkpoint.path != run && !restores_best {
        let (best, run) = (checkpoint.path.display(), run.display());
        note(format!(
            "these are the scores of \"{best}\"; the run reports those of \"{run}/last\" \
             (train.early_stopping.restore_best: false)"
        ));
    }
}

/// Prints notes on the texts of which the model knows nothing. `data` has the encoded examples.
fn note_unknown_texts(subject: &Subject, examples: &Examples, data: &Dataset) {
    let Checkpoint { resolved, encoders, .. } = &subject.checkpoint;
    let inputs = &resolved.config.inputs;
    unknown_texts::notes("texts", examples, inputs, encoders, &data.inputs).iter().for_each(note);
}

fn predict(subject: &Subject, data: &Dataset, config: &Config) -> anyhow::Result<Predictions> {
    let limit = BatchLimit::for_evaluation(&config.train);
    let predictions = Predictions::of(&*subject.network, &Objective::default(), data, limit);
    predictions.check_finite().with_context(|| subject.checkpoint.unusable())?;
    Ok(predictions)
}

/// Compares the predictions of `first` with those of `other` on the same examples.
fn compare_with(
    other: &Subject,
    first: &Subject,
    examples: &Examples,
    predictions: &Predictions,
) -> anyhow::Result<ComparisonReport> {
    let others = predict_same_examples(other, first, examples)?;
    let score = others.score();
    Ok(ComparisonReport {
        checkpoint: other.checkpoint.path.clone(),
        epoch: epoch(&other.checkpoint)?,
        accuracy: score.accuracy,
        loss: score.loss,
        comparison: compare(predictions, &others),
    })
}

/// Predicts the examples of `first`, found by its data section, with `other`.
fn predict_same_examples(
    other: &Subject,
    first: &Subject,
    examples: &Examples,
) -> anyhow::Result<Predictions> {
    let (labels, first_labels) = (&other.checkpoint.labels, &first.checkpoint.labels);
    ensure!(
        labels == first_labels,
        "cannot compare \"{}\" with labels {} and \"{}\" with labels {}",
        other.checkpoint.path.display(),
        join_names(labels),
        first.checkpoint.path.display(),
        join_names(first_labels)
    );
    let fingerprint = examples.fingerprint(labels);
    provenance::of_comparison(fingerprint, &first.checkpoint, &other.checkpoint)?
        .iter()
        .for_each(note);
    let config = &other.checkpoint.resolved.config;
    let data = &first.checkpoint.resolved.config.data;
    let config = Config { data: data.clone(), ..config.clone() };
    let data = examples.retokenize(&config)?.encoded(&other.checkpoint.encoders)?;
    predict(other, &data, &config)
}

/// Copies a stream with examples, and sets its format. Without an extension of its own, it has the format
/// of the run's training data.
fn spool(path: &Path, config: &mut DataConfig) -> anyhow::Result<Option<Spooled>> {
    let Some(copy) = Spooled::of(path, data::limits(config))? else { return Ok(None) };
    if config.format == Format::Auto {
        let format = data::format_of(path).or_else(|_| data::format_of(&config.train));
        config.format = format.unwrap_or(Format::Auto);
    }
    ensure!(
        !matches!(config.format, Format::Auto | Format::Folder),
        ConfigError::new(format!(
            "the format of \"{}\" is unknown; pass it, e.g. --set data.format=csv",
            copy.path().display()
        ))
    );
    Ok(Some(copy))
}

/// Returns the examples to evaluate and their name.
fn examples(
    args: &EvaluateArgs,
    data: Option<&Path>,
    checkpoint: &Checkpoint,
) -> anyhow::Result<(String, Examples)> {
    let config = &checkpoint.resolved.config;
    if let Some(path) = data {
        let examples = data::read_examples(path, config, &checkpoint.labels);
        let examples = examples.map_err(|error| match format!("{error:#}").contains("data.filter") {
            true => error.context(
                "use --set data.filter={} to read all rows; the run's data.filter is for its own data",
            ),
            false => error,
        })?;
        examples.notes.iter().for_each(note);
        provenance::of_file(&examples, checkpoint)?.iter().for_each(note);
        return Ok((path.display().to_string(), examples));
    }
    let loaded = match args.split {
        Some(name) => data::load_split(config, name, &checkpoint.labels).map(|split| (name, split)),
        None => default_split(config, &checkpoint.labels),
    };
    let (name, examples) = loaded.map_err(|error| missing_data(error, &config.data))?;
    examples.notes.iter().for_each(note);
    if examples.is_empty() {
        bail!("the run's data has no {} examples", name.adjective());
    }
    let fingerprint = examples.fingerprint(&checkpoint.labels);
    let recorded = checkpoint.progress()?.data;
    provenance::of_split(name, fingerprint, recorded, &args.set.overrides).iter().for_each(note);
    Ok((name.to_string(), examples))
}

/// Returns the test examples, or the validation examples if there are none.
fn default_split(config: &Config, labels: &[String]) -> anyhow::Result<(SplitName, Examples)> {
    let DataConfig { test, split, .. } = &config.data;
    if test.is_some() || split.test.of(1) > 0 {
        let examples = data::load_split(config, SplitName::Test, labels)?;
        if !examples.is_empty() {
            return Ok((SplitName::Test, examples));
        }
    }
    Ok((SplitName::Validation, data::load_split(config, SplitName::Validation, labels)?))
}

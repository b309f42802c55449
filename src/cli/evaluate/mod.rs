//! `lstmtext evaluate`.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use clap::Args;
use serde::Serialize;

use super::{ComputeArgs, FINE, Light, SetArgs};
use crate::backend::Inference;
use crate::config::{Config, DataConfig, Override};
use crate::data::batch_plan::BatchLimit;
use crate::data::{self, Examples, SplitName};
use crate::evaluation::{Comparison, Evaluation, Predictions, compare};
use crate::output::format::join_names;
use crate::output::{message, note, print, print_json};
use crate::run::checkpoint::Checkpoint;

mod mistakes;
mod table;

use mistakes::MistakesFile;

const EXAMPLES: &str = "\
Examples:
  lstmtext evaluate runs/a
  lstmtext evaluate runs/a/last --split validation --json
  lstmtext evaluate runs/a --data other.csv --set data.label_column=sentiment
  lstmtext evaluate runs/a --split validation --compare runs/b --errors errors.csv

ROC-AUC and average precision: of two classes those of the second, of more the mean over all, each
against the rest. calibration error: mean difference between confidence and accuracy, in 15 bins.
--compare: the exact McNemar test, on the examples of the first checkpoint.";

/// Score a checkpoint on labelled examples
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvaluateArgs {
    /// A checkpoint, or a run (then its best)
    checkpoint: PathBuf,
    /// A labelled file or folder; its format and columns are those of the data section
    #[arg(long, value_name = "FILE", conflicts_with = "split")]
    data: Option<PathBuf>,
    /// Part of the run's own data; by default test where there is one, else validation
    #[arg(long, value_name = "NAME")]
    split: Option<SplitName>,
    /// Another checkpoint or run, to be compared on the same examples
    #[arg(long, value_name = "CHECKPOINT")]
    compare: Option<PathBuf>,
    /// Write the mistakes with their texts, the most confident first (.csv, .tsv or .jsonl)
    #[arg(long, value_name = "FILE")]
    errors: Option<MistakesFile>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    set: SetArgs,
    /// Where and how wide to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// A checkpoint and what computes with its weights.
pub struct Subject {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Its network.
    pub classifier: Box<dyn Inference>,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    evaluation: Evaluation,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<ComparisonReport>,
}

/// The other checkpoint's accuracy, and who is right where.
#[derive(Serialize)]
struct ComparisonReport {
    accuracy: f64,
    loss: f64,
    #[serde(flatten)]
    comparison: Comparison,
}

/// Runs the command where it needs no libtorch.
pub fn run(args: EvaluateArgs) -> anyhow::Result<Light> {
    let mut subjects = Vec::new();
    for checkpoint in checkpoints(&args)? {
        let Some(classifier) = args.compute.light(&checkpoint)? else {
            return Ok(Light::NeedsLibtorch);
        };
        subjects.push(Subject { checkpoint, classifier });
    }
    report(&args, &subjects).map(Light::Done)
}

/// The checkpoint, and the one that it is compared with.
///
/// # Errors
/// Where one cannot be used.
pub fn checkpoints(args: &EvaluateArgs) -> anyhow::Result<Vec<Checkpoint>> {
    let mut checkpoints = vec![Checkpoint::open_with(&args.checkpoint, &args.set.overrides)?];
    if let Some(other) = &args.compare {
        checkpoints.push(Checkpoint::open(other)?);
    }
    Ok(checkpoints)
}

/// Scores the first of `subjects` and compares it with the second, where there is one.
///
/// # Errors
/// Where the examples cannot be read, or a result cannot be written.
pub fn report(args: &EvaluateArgs, subjects: &[Subject]) -> anyhow::Result<u8> {
    let Some((first, others)) = subjects.split_first() else { bail!("there is no checkpoint") };
    let (config, labels) = (&first.checkpoint.resolved.config, &first.checkpoint.labels);
    let (name, examples) = examples(args, &first.checkpoint)?;
    if let Some(file) = &args.errors {
        file.check_is_none_of(examples.files())?;
    }
    let predictions = predict(first, examples.clone(), config)?;
    let other = match others.first() {
        Some(other) => Some(predict_the_same(other, first, &examples)?),
        None => None,
    };
    let comparison = other.map(|other| {
        let score = other.score();
        let comparison = compare(&predictions, &other);
        ComparisonReport { accuracy: score.accuracy, loss: score.loss, comparison }
    });
    if let Some(file) = &args.errors {
        let count = file.write(&predictions, &examples, labels, config)?;
        message(format!("{}: {count} mistakes, the most confident first", file.path().display()));
    }
    let report = Report { evaluation: Evaluation::of(&predictions, labels), comparison };
    match args.json {
        true => print_json(&report)?,
        false => {
            let mut text = table::of(&name, &report.evaluation);
            if let (Some(found), Some(other)) = (&report.comparison, &args.compare) {
                text += &table::of_comparison(&args.checkpoint, other, &report.evaluation, found);
            }
            print(&text)?;
        }
    }
    Ok(FINE)
}

fn predict(subject: &Subject, examples: Examples, config: &Config) -> anyhow::Result<Predictions> {
    let data = examples.encoded(&subject.checkpoint.encoders)?;
    Ok(Predictions::of(&*subject.classifier, &data, BatchLimit::of_validation(&config.train)))
}

/// What `other` makes of the examples of `first`, whose data section says where they are.
fn predict_the_same(
    other: &Subject,
    first: &Subject,
    examples: &Examples,
) -> anyhow::Result<Predictions> {
    let (labels, known) = (&other.checkpoint.labels, &first.checkpoint.labels);
    ensure!(
        labels == known,
        "\"{}\" has the labels {}, \"{}\" {}: they cannot be compared",
        other.checkpoint.path.display(),
        join_names(labels),
        first.checkpoint.path.display(),
        join_names(known)
    );
    let own = &other.checkpoint.resolved.config;
    let data = &first.checkpoint.resolved.config.data;
    if !same_parts(own, &first.checkpoint.resolved.config) {
        note(format!(
            "\"{}\" was trained on other parts of the data, perhaps on some of these examples",
            other.checkpoint.path.display()
        ));
    }
    let config = Config { data: data.clone(), ..own.clone() };
    predict(other, examples.reread(&config)?, &config)
}

/// Whether training, validation and test examples are the same: the texts of all columns decide too,
/// since examples with equal texts stay together.
fn same_parts(a: &Config, b: &Config) -> bool {
    let parts = |data: &DataConfig| {
        let files = (data.train.clone(), data.validation.clone(), data.test.clone());
        let rows = (data.filter.clone(), data.label_column.clone(), data.label_names.clone());
        (files, rows, data.labels.clone(), data.split.clone())
    };
    parts(&a.data) == parts(&b.data) && a.inputs.columns() == b.inputs.columns()
}

/// The examples that were asked for, and their name.
fn examples(args: &EvaluateArgs, checkpoint: &Checkpoint) -> anyhow::Result<(String, Examples)> {
    let config = &checkpoint.resolved.config;
    if let Some(path) = &args.data {
        let examples = data::read_labelled(path, config, &checkpoint.labels);
        let examples = examples.map_err(|fault| match format!("{fault:#}").contains("data.filter") {
            true => fault.context("the run's data.filter is for its own file; --set data.filter={} reads all rows"),
            false => fault,
        })?;
        examples.notes.iter().for_each(note);
        return Ok((path.display().to_string(), examples));
    }
    let parts = ["data.split", "data.train", "data.validation", "data.test", "data.filter"];
    let changed = args.set.overrides.iter().map(Override::field);
    for field in changed.filter(|field| parts.iter().any(|part| field.starts_with(part))) {
        note(format!(
            "--set {field} changes the parts: there may be examples that it was trained on"
        ));
    }
    let mut splits = data::load(config)?;
    splits.leave_out_long(config)?;
    splits.notes.iter().for_each(note);
    if splits.labels != checkpoint.labels {
        bail!(
            "the data has the labels {}, the checkpoint {}",
            join_names(&splits.labels),
            join_names(&checkpoint.labels)
        );
    }
    let name = match args.split {
        Some(name) => name,
        None if splits.test.is_empty() => SplitName::Validation,
        None => SplitName::Test,
    };
    let examples = splits.part(name);
    if examples.is_empty() {
        bail!("the configuration has no {name} examples");
    }
    Ok((name.to_string(), examples.clone()))
}

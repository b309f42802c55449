//! `lstmtext evaluate`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::output::{print, print_json};
use super::{ComputeArgs, FINE, Light, SetArgs};
use crate::backend::Classifier;
use crate::bucketing::BatchLimit;
use crate::checkpoint::Checkpoint;
use crate::console::say;
use crate::data::{self, Examples, SplitName};
use crate::numbers::grouped;

const EXAMPLES: &str = "\
Examples:
  lstmtext evaluate runs/a
  lstmtext evaluate runs/a/last --split validation --json
  lstmtext evaluate runs/a --data other.csv --set data.label_column=sentiment";

/// Score a checkpoint on labelled examples
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvaluateArgs {
    /// A checkpoint, or a run (then its best)
    pub checkpoint: PathBuf,
    /// A labelled file or folder; its format and columns are those of the data section
    #[arg(long, value_name = "FILE", conflicts_with = "split")]
    data: Option<PathBuf>,
    /// Part of the run's own data; by default test where there is one, else validation
    #[arg(long, value_name = "NAME")]
    split: Option<SplitName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Changes to the configuration.
    #[command(flatten)]
    pub set: SetArgs,
    /// Where and how wide to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Serialize)]
struct Report {
    examples: usize,
    accuracy: f64,
    loss: f64,
}

/// Runs the command where it needs no libtorch.
pub fn run(args: EvaluateArgs) -> anyhow::Result<Light> {
    let checkpoint = Checkpoint::open_with(&args.checkpoint, &args.set.overrides)?;
    match args.compute.light(&checkpoint)? {
        Some(classifier) => report(&args, &checkpoint, &*classifier).map(Light::Done),
        None => Ok(Light::NeedsLibtorch),
    }
}

/// Scores a classifier.
///
/// # Errors
/// Where the examples cannot be read.
pub fn report(
    args: &EvaluateArgs,
    checkpoint: &Checkpoint,
    classifier: &dyn Classifier,
) -> anyhow::Result<u8> {
    let config = &checkpoint.resolved.config;
    let (name, examples) = examples(args, checkpoint)?;
    let data = examples.encoded(&checkpoint.encoders)?;
    let score = classifier.score(&data, BatchLimit::of_validation(&config.train));
    let report = Report { examples: data.labels.len(), accuracy: score.accuracy, loss: score.loss };
    if args.json {
        print_json(&report)?;
    } else {
        print(&format!(
            "{name}: {} examples  accuracy {:.2} %  loss {:.4}",
            grouped(report.examples),
            100.0 * report.accuracy,
            report.loss
        ))?;
    }
    Ok(FINE)
}

/// The examples that were asked for, and their name.
fn examples(args: &EvaluateArgs, checkpoint: &Checkpoint) -> anyhow::Result<(String, Examples)> {
    let config = &checkpoint.resolved.config;
    if let Some(path) = &args.data {
        let examples = data::read_labelled(path, config, &checkpoint.labels)?;
        for note in &examples.notes {
            say(format!("note: {note}"));
        }
        return Ok((path.display().to_string(), examples));
    }
    let mut splits = data::load(config)?;
    splits.leave_out_long(config)?;
    for note in &splits.notes {
        say(format!("note: {note}"));
    }
    if splits.labels != checkpoint.labels {
        bail!(
            "the data has the labels {}, the checkpoint {}",
            splits.labels.join(", "),
            checkpoint.labels.join(", ")
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

//! `lstmtext ensemble`.

use std::collections::HashSet;
use std::fs;
use std::num::ParseFloatError;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Serialize;

use super::arguments::{ComputeArgs, SetArgs};
use super::exit::SUCCESS;
use super::hints::missing_data;
use super::open_model::{OpenModel, ReadExamples};
use super::provenance;
use crate::backend::Backends;
use crate::config::ConfigError;
use crate::data::{self, Fingerprint, SplitName};
use crate::distributed::SingleProcess;
use crate::evaluation::Predictions;
use crate::io::replace::ensure_new;
use crate::objective::metrics::Score;
use crate::objective::{Averaging, Combination};
use crate::output::format::group_digits;
use crate::output::table::{Align, Table};
use crate::output::{message, note, print_json, print_wrapped, terminal_width};
use crate::run::checkpoint::Checkpoint;
use crate::run::saved_model::{SavedModel, check_members, create_ensemble, is_ensemble};
use crate::system::signals::{Interrupt, Messages};

const EXAMPLES: &str = "\
Examples:
  lstmtext ensemble runs/lstm runs/linear --to runs/both
  lstmtext ensemble runs/seed1 runs/seed2 runs/seed3 --weights equal --to runs/seeds
  lstmtext ensemble runs/a runs/b --average log-odds --weights 0.7,0.3 --to runs/c
  lstmtext evaluate runs/both --split test
  lstmtext serve runs/both

The directory contains a copy of each checkpoint, so the runs can be deleted. evaluate, predict, explain, serve \
and calibrate use it like a checkpoint; other commands take one of its members, such as \
runs/both/members/1. The models may differ in everything but their labels and text columns.

Weights are chosen by the loss on the validation examples of the first run, never on test examples. No \
model may have been trained on them: use the same data section in all runs.";

const MESSAGES: Messages =
    Messages { first: "\nstopped; nothing is saved\n", second: "\nquit; nothing is saved\n" };

/// Combine several models into one, which averages their predictions
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EnsembleArgs {
    /// Checkpoints, or runs (uses their best checkpoints); at least two
    #[arg(value_name = "RUN", required = true, num_args = 2..)]
    models: Vec<PathBuf>,
    /// New directory of the ensemble
    #[arg(long, value_name = "DIRECTORY")]
    to: PathBuf,
    /// Quantity to average: probabilities, as is customary, or log-odds, which gives confident models more
    /// influence
    #[arg(long, value_name = "WHAT", default_value = "probabilities", hide_possible_values = true)]
    average: Averaging,
    /// Weights: auto (chosen on the validation examples of the first run), equal, or a number for each
    /// model, separated by commas
    #[arg(long, value_name = "WEIGHTS", default_value = "auto")]
    weights: Weights,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

#[derive(Clone, Debug)]
enum Weights {
    Auto,
    Equal,
    Given(Vec<f64>),
}

impl FromStr for Weights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = || text.split(',').map(|number| number.trim().parse()).collect();
        match text {
            "auto" => Ok(Self::Auto),
            "equal" => Ok(Self::Equal),
            _ => match numbers() {
                Ok(numbers) => Ok(Self::Given(numbers)),
                Err::<_, ParseFloatError>(_) => {
                    Err("expected auto, equal, or numbers separated by commas".to_owned())
                }
            },
        }
    }
}

#[derive(Serialize)]
struct Report {
    /// Directory of the ensemble.
    ensemble: PathBuf,
    average: Averaging,
    /// Fingerprint of the validation examples; `None` if they cannot be read.
    data: Option<Fingerprint>,
    members: Vec<MemberReport>,
    /// Validation scores of the ensemble.
    validation: Option<Score>,
}

#[derive(Serialize)]
struct MemberReport {
    /// Directory of the checkpoint.
    checkpoint: PathBuf,
    weight: f64,
    /// Its scores on the validation examples of the first run.
    validation: Option<Score>,
}

/// Runs the command.
pub fn run(args: EnsembleArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let given = args.given_combination()?;
    check_models(&args.models)?;
    ensure_new(&args.to)?;
    let model = args.open(backends)?;
    let members = &model.saved.members;
    check_members(members)?;
    let validation = match validate(&model, given.is_none()) {
        Ok(validation) => Some(validation),
        Err(error) if given.is_some() => {
            note(format!("no validation scores: {error:#}"));
            None
        }
        Err(error) => {
            return Err(error.context(
                "cannot choose weights; pass --weights equal, or a number for each model",
            ));
        }
    };
    let combination = match (given, &validation) {
        (Some(given), _) => given,
        (None, Some((_, predictions))) => Predictions::choose_weights(predictions, args.average),
        (None, None) => bail!("cannot choose weights without validation examples"),
    };
    let score = |member: usize| validation.as_ref().map(|(_, all)| all[member].score());
    let member = |(index, checkpoint): (usize, &Checkpoint)| MemberReport {
        checkpoint: checkpoint.path.clone(),
        weight: combination.weights[index],
        validation: score(index),
    };
    let report = Report {
        ensemble: args.to.clone(),
        average: args.average,
        data: validation.as_ref().map(|(fingerprint, _)| *fingerprint),
        members: members.iter().enumerate().map(member).collect(),
        validation: validation
            .as_ref()
            .map(|(_, all)| Predictions::combine(all.clone(), &combination).score()),
    };
    let interrupt = Interrupt::listen_with(MESSAGES)?;
    let before_file = || -> anyhow::Result<()> {
        ensure!(interrupt.signal().is_none(), "stopped by a signal");
        Ok(())
    };
    let created = create_ensemble(&args.to, members, &combination, &before_file);
    if let (Err(_), Some(signal)) = (&created, interrupt.signal()) {
        return Ok(128 + signal as u8);
    }
    created?;
    match args.json {
        true => print_json(&report)?,
        false => print_wrapped(&table(&report))?,
    }
    note_unused(&report);
    message(format!("saved to \"{}\"", args.to.display()));
    Ok(SUCCESS)
}

impl EnsembleArgs {
    /// Returns the combination with the given weights; `None` if they are to be chosen.
    fn given_combination(&self) -> Result<Option<Combination>, ConfigError> {
        let models = self.models.len();
        match &self.weights {
            Weights::Auto => Ok(None),
            Weights::Equal => Ok(Some(Combination::equal(self.average, models))),
            Weights::Given(weights) if weights.len() != models => Err(ConfigError::new(format!(
                "--weights: expected a number for each of the {models} models, found {}",
                weights.len()
            ))),
            Weights::Given(weights) => match Combination::weighted(self.average, weights) {
                None => Err(ConfigError::new(
                    "--weights: expected numbers that are not negative, and not all 0",
                )),
                combination => Ok(combination),
            },
        }
    }

    /// Opens all checkpoints as the members of a model with equal weights.
    fn open(&self, backends: &dyn Backends) -> anyhow::Result<OpenModel> {
        let (mut members, mut networks) = (Vec::new(), Vec::new());
        for path in &self.models {
            let opened = self.compute.open(backends, path, &self.set.overrides, true)?;
            members.extend(opened.saved.members);
            networks.extend(opened.networks);
        }
        let combination = Combination::equal(self.average, members.len());
        Ok(OpenModel {
            collective: Arc::new(SingleProcess),
            saved: SavedModel { path: self.to.clone(), members, combination, calibration: None },
            networks,
        })
    }
}

/// Checks that the models are different checkpoints or runs.
fn check_models(models: &[PathBuf]) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for path in models {
        if is_ensemble(path) {
            return Err(ConfigError::new(format!(
                "\"{0}\" is an ensemble; pass its members instead, such as \"{0}/members/1\"",
                path.display()
            )));
        }
        // A path that does not exist is reported when it is opened.
        if fs::canonicalize(path).is_ok_and(|path| !seen.insert(path)) {
            return Err(ConfigError::new(format!("\"{}\" is given twice", path.display())));
        }
    }
    Ok(())
}

/// Predicts the validation examples of the first member with every member. Returns their fingerprint too. If
/// weights are `chosen` on them, no member may have been trained on them.
fn validate(model: &OpenModel, chosen: bool) -> anyhow::Result<(Fingerprint, Vec<Predictions>)> {
    let (config, labels) = (model.saved.config(), model.saved.labels());
    let examples = data::load_split(config, SplitName::Validation, labels)
        .map_err(|error| missing_data(error, &config.data))?;
    examples.findings.iter().for_each(note);
    for member in &model.saved.members {
        match provenance::training_use(&examples, member)? {
            Some(reason) if chosen => bail!(
                "the validation examples of \"{}\" do not show which model to trust: {reason}",
                model.saved.members[0].path.display()
            ),
            Some(reason) => note(format!("{reason}; its score says little about other texts")),
            None => {}
        }
    }
    let fingerprint = examples.fingerprint(labels);
    let read = ReadExamples { examples, data: &config.data, inputs: &config.inputs };
    let predictions = model.predict(&read).context("cannot score the validation examples")?;
    Ok((fingerprint, predictions.members))
}

/// Formats the weights and scores of the members, and the scores of the ensemble.
fn table(report: &Report) -> String {
    let headings = [
        ("model", Align::Left),
        ("weight", Align::Right),
        ("accuracy", Align::Right),
        ("loss", Align::Right),
    ];
    let mut table = Table::new(headings.map(|(heading, align)| (heading.to_owned(), align)));
    let mut add = |path: &Path, weight: String, score: Option<Score>| {
        let [accuracy, loss] = score.map_or([String::new(), String::new()], |score| {
            [format!("{:.2} %", 100.0 * score.accuracy), format!("{:.4}", score.loss)]
        });
        table.add(vec![path.display().to_string(), weight, accuracy, loss]);
    };
    for member in &report.members {
        add(&member.checkpoint, format!("{:.4}", member.weight), member.validation);
    }
    add(&report.ensemble, String::new(), report.validation);
    let examples = report.data.map_or_else(String::new, |data| {
        format!("validation: {} examples\n\n", group_digits(data.examples()))
    });
    format!("{examples}{}\n", table.lines_within(terminal_width()).join("\n"))
}

/// Notes members that cost time, but change no prediction.
fn note_unused(report: &Report) {
    for member in report.members.iter().filter(|member| member.weight == 0.0) {
        note(format!(
            "\"{}\" has weight 0: leave it out to save its time",
            member.checkpoint.display()
        ));
    }
}

//! `lstmtext calibrate`.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};

use super::arguments::{ComputeArgs, SetArgs};
use super::exit::SUCCESS;
use super::hints::missing_data;
use super::provenance;
use super::unsure::probability;
use crate::backend::Backends;
use crate::config::{ConfigError, Costs, LabelCosts, Labelling};
use crate::data::{self, Examples, SplitName};
use crate::evaluation::{DecisionGoal, FittedCalibration, Predictions};
use crate::objective::{Calibration, Decision, ThresholdGoal, threshold_of_costs};
use crate::output::format::join_names;
use crate::output::{message, note, print_json, print_wrapped, terminal_width};
use crate::run::saved_model::{SavedModel, is_folds};

mod report;

use report::Report;

const EXAMPLES: &str = "\
Examples:
  lstmtext calibrate runs/a
  lstmtext calibrate runs/emotions --maximize f1
  lstmtext calibrate runs/spam --precision 0.99 --label spam
  lstmtext calibrate runs/a --cost costs.yaml
  lstmtext calibrate runs/a --remove

Everything is fitted on the validation examples of the run: temperature scaling, or Platt scaling of each label if \
a text can have several. With a goal, decision thresholds are chosen too. With two classes, the threshold is that of \
the second one, or of --label. With more than two mutually exclusive classes, use --cost.

A cost file is YAML. It has the costs of each true class: {ham: {spam: 20}, spam: {ham: 1}}; those that are missing \
are 1. If a text can have several labels, it has two costs for each: {angry: {false_positive: 1, false_negative: \
5}, …}.

predict, evaluate, explain, serve and export use the calibration of a checkpoint; --uncalibrated ignores it. An \
ensemble is calibrated as a whole; calibrations of its members are not used.";

/// Calibrate the probabilities of a checkpoint, and choose decision thresholds
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CalibrateArgs {
    /// Checkpoint, run (uses its best checkpoint) or ensemble
    checkpoint: PathBuf,
    #[command(flatten)]
    goal: GoalArgs,
    /// Class of the goal if there are two classes; by default the second one
    #[arg(long, value_name = "LABEL", conflicts_with_all = ["cost", "remove"], requires = "goal")]
    label: Option<String>,
    /// Remove the calibration
    #[arg(long, conflicts_with = "goal")]
    remove: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "remove")]
    json: bool,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Goal of decisions, at most one.
#[derive(Debug, Args)]
#[group(id = "goal", multiple = false)]
struct GoalArgs {
    /// Score to maximize by each threshold: f1
    #[arg(long, value_name = "SCORE", hide_possible_values = true)]
    maximize: Option<Maximized>,
    /// Precision that each predicted label reaches, with the highest recall
    #[arg(long, value_name = "P", value_parser = probability)]
    precision: Option<f64>,
    /// Recall that each label reaches, with the highest precision
    #[arg(long, value_name = "R", value_parser = probability)]
    recall: Option<f64>,
    /// YAML file with the costs of wrong predictions, whose expected value is minimized
    #[arg(long, value_name = "FILE")]
    cost: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Maximized {
    F1,
}

/// Goal of decisions.
enum Goal {
    Threshold(DecisionGoal),
    Costs(Costs),
}

/// Runs the command.
pub fn run(args: CalibrateArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    if args.remove {
        return remove(&args);
    }
    if is_folds(&args.checkpoint) {
        bail!(
            "\"{}\" is a cross-validation: each example of its data has trained some of its models, so that none \
             is left to calibrate them",
            args.checkpoint.display()
        );
    }
    let model = args.compute.open(backends, &args.checkpoint, &args.set.overrides, true)?;
    let labels = model.saved.labels();
    let goal = args.goal(&model.saved)?;
    let examples = validation_examples(&model.saved)?;
    let fingerprint = examples.fingerprint(labels);
    let (predictions, notes) = model.predict_own(&examples)?;
    notes.iter().for_each(note);
    let fitted = fit(&predictions, goal.as_ref())?;
    let costs = match &goal {
        Some(Goal::Costs(costs)) => Some(costs),
        _ => None,
    };
    let calibrated = predictions.clone().calibrated(&fitted.calibration);
    let report = Report {
        checkpoint: model.saved.path.clone(),
        data: fingerprint,
        before: report::Scores::of(&predictions, labels, costs),
        after: report::Scores::of(&calibrated, labels, costs),
        labels: report::label_reports(&calibrated, labels, &fitted.calibration.decision),
        calibrated: fitted.calibration.clone(),
    };
    model.saved.save_calibration(Some(&fitted.calibration))?;
    match args.json {
        true => print_json(&report)?,
        false => print_wrapped(&report::table(&report, terminal_width()))?,
    }
    note_faults(&fitted, labels);
    message(format!("the calibration is saved in \"{}\"", model.saved.path.display()));
    Ok(SUCCESS)
}

/// Removes the calibration of a model.
fn remove(args: &CalibrateArgs) -> anyhow::Result<u8> {
    let model = SavedModel::open(&args.checkpoint, &args.set.overrides)?;
    let path = model.path.display();
    match model.calibration {
        None => note(format!("\"{path}\" has no calibration")),
        Some(_) => {
            model.save_calibration(None)?;
            message(format!("\"{path}\" is no longer calibrated"));
        }
    }
    Ok(SUCCESS)
}

impl CalibrateArgs {
    /// Returns the goal for a model, if there is one.
    ///
    /// # Errors
    /// Returns an error if the model cannot pursue it, or if the costs are wrong.
    fn goal(&self, model: &SavedModel) -> Result<Option<Goal>, ConfigError> {
        let GoalArgs { maximize, precision, recall, cost } = &self.goal;
        let (labels, labelling) = (model.labels(), model.config().data.labelling());
        if let Some(file) = cost {
            return Costs::read(file, labelling, labels).map(Goal::Costs).map(Some);
        }
        let f1 = maximize.map(|Maximized::F1| ThresholdGoal::F1);
        let precision = precision.map(ThresholdGoal::Precision);
        let Some(threshold) = f1.or(precision).or(recall.map(ThresholdGoal::Recall)) else {
            return Ok(None);
        };
        if labelling == Labelling::One && labels.len() > 2 {
            return Err(ConfigError::new(format!(
                "a threshold needs two classes, or several labels per text, but the model has {} classes that \
                 exclude each other; use --cost FILE",
                labels.len()
            )));
        }
        let class = self.label.as_ref().map(|label| match labelling {
            Labelling::Several => Err(ConfigError::new(
                "--label: each label of which a text can have several has a threshold of its own; omit --label",
            )),
            Labelling::One => labels.iter().position(|each| each == label).ok_or_else(|| {
                ConfigError::new(format!(
                    "--label {label}: unknown label; the labels are {}",
                    join_names(labels)
                ))
            }),
        });
        Ok(Some(Goal::Threshold(DecisionGoal { threshold, class: class.transpose()? })))
    }
}

/// Reads the validation examples of a model. None of its members may have been trained on them.
fn validation_examples(model: &SavedModel) -> anyhow::Result<Examples> {
    let config = model.config();
    let examples = data::load_split(config, SplitName::Validation, model.labels())
        .map_err(|error| missing_data(error, &config.data))?;
    examples.findings.iter().for_each(note);
    if examples.is_empty() {
        bail!("the run's data has no validation examples, on which calibration is based");
    }
    for member in &model.members {
        if let Some(reason) = provenance::training_use(&examples, member)? {
            bail!(
                "the validation examples do not show how \"{}\" predicts new texts: {reason}",
                model.path.display()
            );
        }
    }
    Ok(examples)
}

/// Chooses the calibration.
fn fit(predictions: &Predictions, goal: Option<&Goal>) -> anyhow::Result<FittedCalibration> {
    let costs = match goal {
        None => return predictions.fit_calibration(None),
        Some(Goal::Threshold(goal)) => return predictions.fit_calibration(Some(*goal)),
        Some(Goal::Costs(costs)) => costs,
    };
    let fitted = predictions.fit_calibration(None)?;
    let threshold =
        |costs: &LabelCosts| threshold_of_costs(costs.false_positive, costs.false_negative);
    let decision = match costs {
        Costs::Classes(costs) => Decision::Costs(costs.clone()),
        Costs::Labels(costs) => Decision::Thresholds(costs.iter().map(threshold).collect()),
    };
    let scaling = fitted.calibration.scaling;
    Ok(FittedCalibration { calibration: Calibration { scaling, decision }, ..fitted })
}

/// Notes the labels whose thresholds could not be chosen.
fn note_faults(fitted: &FittedCalibration, labels: &[String]) {
    let names = |classes: &[usize]| {
        join_names(&classes.iter().map(|class| labels[*class].clone()).collect::<Vec<_>>())
    };
    if !fitted.without_examples.is_empty() {
        let names = names(&fitted.without_examples);
        note(format!("no validation example has the label {names}, so the threshold is 0.5"));
    }
    if !fitted.unreached.is_empty() {
        let names = names(&fitted.unreached);
        note(format!(
            "no threshold reaches the precision for the label {names}; its threshold is 1"
        ));
    }
}

//! Scores before and after calibration.

use std::path::PathBuf;

use serde::Serialize;

use crate::config::{Costs, Labelling};
use crate::data::Fingerprint;
use crate::evaluation::{ClassCounts, ClassScore, Evaluation, Predictions};
use crate::objective::{Calibration, Decision, Scaling};
use crate::output::format::group_digits;
use crate::output::table::{Align, Table};
use crate::output::width::shorten_labels;

/// Width of the scores of a label.
const SCORES_WIDTH: usize = 57;

/// Calibration of a checkpoint, and its effect.
#[derive(Serialize)]
pub struct Report {
    /// Directory of the checkpoint or ensemble.
    pub checkpoint: PathBuf,
    /// Fingerprint of the validation examples.
    pub data: Fingerprint,
    /// Scores on them without the calibration.
    pub before: Scores,
    /// Scores on them with it.
    pub after: Scores,
    /// Scores of each label with it.
    pub labels: Vec<LabelReport>,
    /// The calibration.
    pub calibrated: Calibration,
}

/// Scores that calibration changes.
#[derive(Serialize)]
pub struct Scores {
    expected_calibration_error: f64,
    loss: f64,
    accuracy: f64,
    macro_f1: f64,
    micro_f1: f64,
    /// Mean cost of an example, if there are costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
}

/// Threshold and scores of a label.
#[derive(Serialize)]
pub struct LabelReport {
    label: String,
    /// `None` if the decision has no threshold for it.
    threshold: Option<f64>,
    #[serde(flatten)]
    score: ClassScore,
    examples: usize,
}

impl Scores {
    /// Computes the scores of predictions.
    pub fn of(predictions: &Predictions, labels: &[String], costs: Option<&Costs>) -> Self {
        let evaluation = Evaluation::of(predictions, labels);
        Self {
            expected_calibration_error: evaluation.expected_calibration_error,
            loss: evaluation.loss,
            accuracy: evaluation.accuracy,
            macro_f1: evaluation.macro_average.f1,
            micro_f1: evaluation.micro_average.f1,
            cost: costs.map(|costs| mean_cost(predictions, costs)),
        }
    }
}

/// Returns the mean cost of an example.
fn mean_cost(predictions: &Predictions, costs: &Costs) -> f64 {
    let sum: f64 = match costs {
        Costs::Classes(costs) => (0..predictions.len())
            .map(|example| costs[predictions.label(example)][predictions.predicted(example)])
            .sum(),
        Costs::Labels(costs) => {
            let counts = predictions.class_counts();
            let cost = counts.iter().zip(costs).map(|(counts, costs)| {
                costs.false_positive * counts.false_positives as f64
                    + costs.false_negative * counts.false_negatives as f64
            });
            cost.sum()
        }
    };
    sum / predictions.len().max(1) as f64
}

/// Returns the threshold and the scores of each label.
pub fn label_reports(
    predictions: &Predictions,
    labels: &[String],
    decision: &Decision,
) -> Vec<LabelReport> {
    let default = (predictions.labelling() == Labelling::Several).then_some(0.5);
    let report = |((class, label), counts): ((usize, &String), ClassCounts)| LabelReport {
        label: label.clone(),
        threshold: decision.threshold(class).or(default),
        score: counts.score(),
        examples: counts.examples(),
    };
    labels.iter().enumerate().zip(predictions.class_counts()).map(report).collect()
}

/// Formats the scores in lines of at most `width` columns.
pub fn table(report: &Report, width: usize) -> String {
    let Report { before, after, calibrated, .. } = report;
    let examples = group_digits(report.data.examples());
    let headings = [("", Align::Left), ("before", Align::Right), ("after", Align::Right)];
    let mut table = Table::new(headings.map(|(heading, align)| (heading.to_owned(), align)));
    let number = |value: f64| format!("{value:.4}");
    let percent = |value: f64| format!("{:.2} %", 100.0 * value);
    let accuracy = match calibrated.scaling {
        Scaling::Temperature(_) => "accuracy",
        Scaling::LogOdds(_) => "subset accuracy",
    };
    let mut add = |name: &str, value: &dyn Fn(&Scores) -> String| {
        table.add(vec![name.to_owned(), value(before), value(after)]);
    };
    add("calibration error", &|scores| number(scores.expected_calibration_error));
    add("loss", &|scores| number(scores.loss));
    add(accuracy, &|scores| percent(scores.accuracy));
    add("macro F1", &|scores| percent(scores.macro_f1));
    add("micro F1", &|scores| percent(scores.micro_f1));
    if before.cost.is_some() {
        add("mean cost", &|scores| number(scores.cost.unwrap_or_default()));
    }
    let scores = table.lines_within(width).join("\n");
    let scaling = match &calibrated.scaling {
        Scaling::Temperature(temperature) => format!("\ntemperature: {temperature:.4}\n"),
        Scaling::LogOdds(_) => String::new(),
    };
    format!(
        "validation: {examples} examples\n\n{scores}\n{scaling}\n{}",
        label_table(report, width)
    )
}

/// Formats the thresholds and scores of the labels.
fn label_table(report: &Report, width: usize) -> String {
    let has_lines = matches!(report.calibrated.scaling, Scaling::LogOdds(_));
    let scores_width = if has_lines { SCORES_WIDTH + 17 } else { SCORES_WIDTH };
    let labels = report.labels.iter().map(|label| label.label.as_str());
    let names = shorten_labels(labels, width.saturating_sub(scores_width));
    let has_thresholds = report.labels.iter().any(|label| label.threshold.is_some());
    let mut headings = vec!["label", "precision", "recall", "F1", "examples"];
    if has_thresholds {
        headings.push("threshold");
    }
    if has_lines {
        headings.extend(["slope", "offset"]);
    }
    let align = |index| if index == 0 { Align::Left } else { Align::Right };
    let headings = headings.into_iter().enumerate();
    let mut table = Table::new(headings.map(|(index, heading)| (heading.to_owned(), align(index))));
    for (class, (label, name)) in report.labels.iter().zip(&names.names).enumerate() {
        let score = [label.score.precision, label.score.recall, label.score.f1];
        let mut row = vec![name.clone()];
        row.extend(score.map(|share| format!("{:.2} %", 100.0 * share)));
        row.push(group_digits(label.examples));
        if has_thresholds {
            let threshold = label.threshold;
            row.push(threshold.map_or_else(String::new, |threshold| format!("{threshold:.4}")));
        }
        if let Scaling::LogOdds(lines) = &report.calibrated.scaling {
            row.extend(
                [lines[class].slope, lines[class].offset].map(|value| format!("{value:.3}")),
            );
        }
        table.add(row);
    }
    let key = if names.key.is_empty() { String::new() } else { format!("\n{}", names.key) };
    format!("{}\n{key}", table.lines_within(width).join("\n"))
}

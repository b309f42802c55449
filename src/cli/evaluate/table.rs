//! Scores as tables for a terminal.

use std::path::Path;

use super::comparison::ComparisonReport;
use crate::evaluation::{ClassScore, Evaluation};
use crate::output::format::group_digits;

/// Maximum number of classes in the confusion matrix. With more classes, the most frequent mistakes
/// are listed instead.
const MATRIX_CLASSES: usize = 8;
/// Number of mistakes in that list.
const LISTED_MISTAKES: usize = 10;
/// Maximum length of a label. Longer ones are truncated.
const LABEL_WIDTH: usize = 24;

/// Formats all scores. `name` is the name of the examples, `weights` that of the checkpoint.
pub fn of(name: &str, weights: &str, evaluation: &Evaluation) -> String {
    let [low, high] = evaluation.accuracy_interval.map(|share| 100.0 * share);
    let mut out = format!("{name}: {} examples\n\n", group_digits(evaluation.examples));
    let mut score = |name: &str, value: String| out.push_str(&format!("{name:<20} {value}\n"));
    let ranking_metric = |value: Option<f64>| match value {
        Some(value) => format!("{value:.4}"),
        None => "undefined: needs examples of at least two classes".to_owned(),
    };
    score("checkpoint", weights.to_owned());
    score(
        "accuracy",
        format!("{:.2} %  (95 % CI: {low:.2} to {high:.2} %)", 100.0 * evaluation.accuracy),
    );
    score("loss", format!("{:.4}", evaluation.loss));
    score("ROC-AUC", ranking_metric(evaluation.roc_auc));
    score("average precision", ranking_metric(evaluation.average_precision));
    score("calibration error", format!("{:.4}", evaluation.expected_calibration_error));
    out + &class_table(evaluation) + &confusion_table(evaluation) + &length_table(evaluation)
}

fn class_table(evaluation: &Evaluation) -> String {
    let width = label_width(evaluation).max("macro average".len());
    let head = format!("\n{:<width$}  precision    recall        F1   examples\n", "class");
    let line = |label: &str, score: ClassScore, examples: usize| {
        let [precision, recall, f1] =
            [score.precision, score.recall, score.f1].map(|share| 100.0 * share);
        let (label, examples) = (short(label), group_digits(examples));
        format!("{label:<width$}  {precision:>7.2} % {recall:>7.2} % {f1:>7.2} % {examples:>10}\n")
    };
    let classes =
        evaluation.classes.iter().map(|class| line(&class.label, class.score, class.examples));
    head + &classes.collect::<String>()
        + &line("macro average", evaluation.macro_average, evaluation.examples)
}

fn confusion_table(evaluation: &Evaluation) -> String {
    let label = |class: usize| short(&evaluation.classes[class].label);
    if evaluation.classes.len() > MATRIX_CLASSES {
        let lines = evaluation.confused_pairs().into_iter().take(LISTED_MISTAKES).map(|pair| {
            let (label, predicted) = (label(pair.label), label(pair.predicted));
            format!("{:>9}  {label} predicted as {predicted}\n", group_digits(pair.examples))
        });
        return "\nmost frequent mistakes\n".to_owned() + &lines.collect::<String>();
    }
    // If the labels do not fit, numbers are the column headings.
    const LINE_WIDTH: usize = 80;
    let first = label_width(evaluation).max("label".len());
    let classes = evaluation.classes.len();
    let named = label_width(evaluation).max(9) + 2;
    let fits = first + classes * named <= LINE_WIDTH;
    let width = if fits { named } else { 9 };
    let name = |class: usize| if fits { label(class) } else { format!("({})", class + 1) };
    let heads: String = (0..classes).map(|class| format!("{:>width$}", name(class))).collect();
    let number = |class: usize| if fits { String::new() } else { format!("({}) ", class + 1) };
    let first = if fits { first } else { first + "(8) ".len() };
    let mut out = format!("\n{:<first$}{heads}\n", "label",);
    for (class, row) in evaluation.confusion.iter().enumerate() {
        let counts: String =
            row.iter().map(|count| format!("{:>width$}", group_digits(*count))).collect();
        out += &format!("{:<first$}{counts}\n", number(class) + &label(class));
    }
    out.replacen("\nlabel", "\nconfusion matrix (rows: label, columns: prediction)\nlabel", 1)
}

fn length_table(evaluation: &Evaluation) -> String {
    let mut out = "\ntokens           examples   accuracy   95 % CI\n".to_owned();
    for bucket in &evaluation.lengths {
        let [low, high] = bucket.interval.map(|share| 100.0 * share);
        let range = match bucket.from == bucket.to {
            true => group_digits(bucket.from),
            false => format!("{} to {}", group_digits(bucket.from), group_digits(bucket.to)),
        };
        out += &format!(
            "{range:<15} {:>9}  {:>7.2} %   {low:.2} to {high:.2} %\n",
            group_digits(bucket.examples),
            100.0 * bucket.accuracy,
        );
    }
    out
}

/// Formats the scores of both checkpoints and the McNemar test.
pub fn of_comparison(
    first: &Path,
    other: &Path,
    evaluation: &Evaluation,
    report: &ComparisonReport,
) -> String {
    let (first, other) = (first.display().to_string(), other.display().to_string());
    let width = first.chars().count().max(other.chars().count()).max("checkpoint".len());
    let counts = &report.comparison;
    let line = |name: &str, accuracy: f64, loss: f64, alone: usize| {
        let (accuracy, alone) = (100.0 * accuracy, group_digits(alone));
        format!("{name:<width$}  {accuracy:>7.2} %  {loss:>7.4}  {alone:>12}\n")
    };
    let better = if counts.only_first > counts.only_other { &first } else { &other };
    // 5 % is the customary level. The p-value is printed next to it.
    let verdict = match counts.p_value < 0.05 {
        _ if counts.only_first + counts.only_other == 0 => {
            "both are correct on the same examples".to_owned()
        }
        true => format!("{better} is significantly better (5 % level)"),
        false => "the difference is not significant (5 % level)".to_owned(),
    };
    let p_value = match counts.p_value {
        small if small < 0.0001 => "p < 0.0001".to_owned(),
        p_value => format!("p = {p_value:.4}"),
    };
    format!(
        "\n{:<width$}   accuracy     loss  only correct\n{}{}both correct {}, both wrong {}\n\
         McNemar's test: {p_value}, {verdict}\n",
        "checkpoint",
        line(&first, evaluation.accuracy, evaluation.loss, counts.only_first),
        line(&other, report.accuracy, report.loss, counts.only_other),
        group_digits(counts.both_right),
        group_digits(counts.both_wrong),
    )
}

fn label_width(evaluation: &Evaluation) -> usize {
    evaluation.classes.iter().map(|class| short(&class.label).chars().count()).max().unwrap_or(0)
}

fn short(label: &str) -> String {
    match label.chars().count() > LABEL_WIDTH {
        true => label.chars().take(LABEL_WIDTH - 1).chain(['…']).collect(),
        false => label.to_owned(),
    }
}

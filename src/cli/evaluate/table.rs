//! Scores as tables for a terminal.

use std::path::Path;

use super::comparison::ComparisonReport;
use crate::evaluation::{
    ClassScore, Comparison, Evaluation, LabelSetScores, RESAMPLES, ScoreDifference,
};
use crate::objective::{Calibration, Decision, Scaling};
use crate::output::format::group_digits;
use crate::output::table::{Align, Table};
use crate::output::width::{ShortNames, shorten_labels};

/// Maximum number of classes in the confusion matrix. With more classes, the most frequent mistakes
/// are listed instead.
const MATRIX_CLASSES: usize = 8;
/// Number of mistakes in that list.
const LISTED_MISTAKES: usize = 10;
/// Width of the scores of a class.
const SCORES_WIDTH: usize = 46;
/// Width of its threshold.
const THRESHOLD_WIDTH: usize = 11;

/// Formats all scores in lines of at most `width` columns. `name` is the name of the examples, `weights`
/// that of the checkpoint.
pub fn of(
    name: &str,
    weights: &str,
    evaluation: &Evaluation,
    calibration: Option<&Calibration>,
    width: usize,
) -> String {
    let [low, high] = evaluation.accuracy_interval.map(|share| 100.0 * share);
    let mut out = format!("{name}: {} examples\n\n", group_digits(evaluation.examples));
    let mut score = |name: &str, value: String| out.push_str(&format!("{name:<20} {value}\n"));
    let ranking_metric = |value: Option<f64>| match value {
        Some(value) => format!("{value:.4}"),
        None => match evaluation.label_sets {
            None => "undefined: needs examples of at least two classes".to_owned(),
            Some(_) => "undefined: needs a label that some texts have and some do not".to_owned(),
        },
    };
    score("checkpoint", weights.to_owned());
    if let Some(calibration) = calibration {
        score("calibrated", calibrated(calibration));
    }
    let sets = evaluation.label_sets.as_ref();
    score(
        if sets.is_some() { "subset accuracy" } else { "accuracy" },
        format!("{:.2} %  (95 % CI: {low:.2} to {high:.2} %)", 100.0 * evaluation.accuracy),
    );
    score("loss", format!("{:.4}", evaluation.loss));
    score("ROC-AUC", ranking_metric(evaluation.roc_auc));
    score("average precision", ranking_metric(evaluation.average_precision));
    score("calibration error", format!("{:.4}", evaluation.expected_calibration_error));
    if let Some(sets) = sets {
        score("Hamming loss", format!("{:.4}", sets.hamming_loss));
        score("LRAP", format!("{:.4}", sets.label_ranking_average_precision));
        for (k, precision) in &sets.precision_at {
            score(&format!("precision at {k}"), format!("{:.2} %", 100.0 * precision));
        }
    }
    let thresholds: Vec<Option<f64>> = (0..evaluation.classes.len())
        .map(|class| calibration.and_then(|calibration| calibration.decision.threshold(class)))
        .collect();
    let has_thresholds = thresholds.iter().any(Option::is_some);
    let scores_width = SCORES_WIDTH + if has_thresholds { THRESHOLD_WIDTH } else { 0 };
    let labels = shorten_labels(
        evaluation.classes.iter().map(|class| class.label.as_str()),
        width.saturating_sub(scores_width),
    );
    let tables = [
        class_table(evaluation, &labels, has_thresholds.then_some(&thresholds), width),
        match sets {
            None => confusion_table(evaluation, &labels, width),
            Some(_) => String::new(),
        },
        length_table(evaluation, width),
        coverage_table(evaluation, width),
    ];
    out + &tables.concat()
}

/// Creates a table from headings that are aligned as numbers but for the first.
fn numbers(headings: impl IntoIterator<Item = String>) -> Table {
    let align = |index| if index == 0 { Align::Left } else { Align::Right };
    let headings = headings.into_iter().enumerate();
    Table::new(headings.map(|(index, heading)| (heading, align(index))))
}

fn section(table: &Table, width: usize) -> String {
    format!("{}\n", table.lines_within(width).join("\n"))
}

/// Describes the calibration of the predictions.
fn calibrated(calibration: &Calibration) -> String {
    let scaling = match &calibration.scaling {
        Scaling::Temperature(temperature) => format!("temperature {temperature:.4}"),
        Scaling::LogOdds(_) => "log-odds of each label".to_owned(),
    };
    let decision = match &calibration.decision {
        Decision::Default => "",
        Decision::OneOfTwo { .. } => ", threshold",
        Decision::Thresholds(_) => ", thresholds",
        Decision::Costs(_) => ", smallest expected cost",
    };
    scaling + decision
}

/// Formats the scores of the classes, and their thresholds if there are any.
fn class_table(
    evaluation: &Evaluation,
    labels: &ShortNames,
    thresholds: Option<&Vec<Option<f64>>>,
    width: usize,
) -> String {
    let class = if evaluation.label_sets.is_some() { "label" } else { "class" };
    let mut headings = vec![class, "precision", "recall", "F1", "examples"];
    if thresholds.is_some() {
        headings.push("threshold");
    }
    let mut table = numbers(headings.into_iter().map(String::from));
    let mut add_row = |label: &str, score: ClassScore, examples: usize, threshold: Option<f64>| {
        let shares = [score.precision, score.recall, score.f1];
        let mut row = vec![label.to_owned()];
        row.extend(shares.map(|share| format!("{:.2} %", 100.0 * share)));
        row.push(group_digits(examples));
        if thresholds.is_some() {
            row.push(threshold.map_or_else(String::new, |threshold| format!("{threshold:.4}")));
        }
        table.add(row);
    };
    for (index, (class, label)) in evaluation.classes.iter().zip(&labels.names).enumerate() {
        let threshold = thresholds.and_then(|thresholds| thresholds[index]);
        add_row(label, class.score, class.examples, threshold);
    }
    let mut add = |label: &str, score: ClassScore, examples: usize| {
        add_row(label, score, examples, None);
    };
    let examples = evaluation.examples;
    add("macro average", evaluation.macro_average, examples);
    if evaluation.label_sets.is_some() {
        add("micro average", evaluation.micro_average, examples);
    }
    add("weighted average", evaluation.weighted_average, examples);
    if let Some(LabelSetScores { samples_average, .. }) = evaluation.label_sets {
        add("samples average", samples_average, examples);
    }
    let key = if labels.key.is_empty() { "" } else { "\n" };
    format!("\n{}{key}{}", section(&table, width), labels.key)
}

fn confusion_table(evaluation: &Evaluation, labels: &ShortNames, width: usize) -> String {
    let labels = &labels.names;
    if labels.len() > MATRIX_CLASSES {
        let headings =
            [("examples", Align::Right), ("label", Align::Left), ("predicted as", Align::Left)];
        let mut table = Table::new(headings.map(|(heading, align)| (heading.to_owned(), align)));
        let shown = |class: &str| {
            let index = evaluation.classes.iter().position(|each| each.label == class);
            index.map_or_else(String::new, |index| labels[index].clone())
        };
        for pair in evaluation.confused_pairs.iter().take(LISTED_MISTAKES) {
            let (label, predicted) = (shown(&pair.label), shown(&pair.predicted));
            table.add(vec![group_digits(pair.examples), label, predicted]);
        }
        return format!("\nmost frequent mistakes\n{}", section(&table, width));
    }
    let matrix = |rows: &[String], heads: &[String]| {
        let mut table = numbers(std::iter::once("label".to_owned()).chain(heads.iter().cloned()));
        for (label, counts) in rows.iter().zip(evaluation.confusion.iter().flatten()) {
            let counts = counts.iter().map(|count| group_digits(*count));
            table.add(std::iter::once(label.clone()).chain(counts).collect());
        }
        table
    };
    let mut table = matrix(labels, labels);
    if table.width() > width {
        // Numbers are the column headings. Labels that would look alike have one already.
        let heads: Vec<String> = (1..=labels.len()).map(|class| format!("({class})")).collect();
        let numbered = |(head, label): (&String, &String)| match label.starts_with(head) {
            true => label.clone(),
            false => format!("{head} {label}"),
        };
        let rows: Vec<String> = heads.iter().zip(labels).map(numbered).collect();
        table = matrix(&rows, &heads);
    }
    format!("\nconfusion matrix (rows: label, columns: prediction)\n{}", section(&table, width))
}

fn length_table(evaluation: &Evaluation, width: usize) -> String {
    let mut table = numbers(["tokens", "examples", "accuracy", "95 % CI"].map(String::from));
    for bucket in &evaluation.lengths {
        let [low, high] = bucket.interval.map(|share| 100.0 * share);
        let range = match bucket.from == bucket.to {
            true => group_digits(bucket.from),
            false => format!("{} to {}", group_digits(bucket.from), group_digits(bucket.to)),
        };
        let accuracy = format!("{:.2} %", 100.0 * bucket.accuracy);
        let interval = format!("{low:.2} to {high:.2} %");
        table.add(vec![range, group_digits(bucket.examples), accuracy, interval]);
    }
    format!("\n{}", section(&table, width))
}

/// Formats the accuracy of the most confident predictions.
fn coverage_table(evaluation: &Evaluation, width: usize) -> String {
    let headings = ["coverage", "examples", "accuracy", "95 % CI", "min. probability"];
    let mut table = numbers(headings.map(String::from));
    for each in &evaluation.coverage {
        let [low, high] = each.interval.map(|share| 100.0 * share);
        table.add(vec![
            format!("{:.1} %", 100.0 * each.coverage),
            group_digits(each.examples),
            format!("{:.2} %", 100.0 * each.accuracy),
            format!("{low:.2} to {high:.2} %"),
            format!("{:.4}", each.min_probability),
        ]);
    }
    format!("\n{}", section(&table, width))
}

/// Formats the scores of both checkpoints, the McNemar test and the bootstrap.
pub fn of_comparison(
    first: &Path,
    evaluation: &Evaluation,
    report: &ComparisonReport,
    width: usize,
) -> String {
    let (first, other) = (first.display().to_string(), report.checkpoint.display().to_string());
    let counts = &report.comparison;
    let headings = ["checkpoint", "accuracy", "loss", "only correct"];
    let mut table = numbers(headings.map(String::from));
    let mut add = |name: &str, accuracy: f64, loss: f64, alone: usize| {
        let accuracy = format!("{:.2} %", 100.0 * accuracy);
        table.add(vec![name.to_owned(), accuracy, format!("{loss:.4}"), group_digits(alone)]);
    };
    add(&first, evaluation.accuracy, evaluation.loss, counts.only_first);
    add(&other, report.accuracy, report.loss, counts.only_other);
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
        "\n{}both correct {}, both wrong {}\nMcNemar's test: {p_value}, {verdict}\n\n{}",
        section(&table, width),
        group_digits(counts.both_right),
        group_digits(counts.both_wrong),
        section(&difference_table(counts), width),
    )
}

/// Creates a table of the differences in F1.
fn difference_table(comparison: &Comparison) -> Table {
    let title = format!("bootstrap × {}", group_digits(RESAMPLES));
    let headings = ["first", "other", "difference", "95 % CI", "p"].map(str::to_owned);
    let mut table = numbers(std::iter::once(title).chain(headings));
    let mut add = |name: &str, score: &ScoreDifference| {
        let [low, high] = score.interval.map(|difference| 100.0 * difference);
        table.add(vec![
            name.to_owned(),
            format!("{:.2} %", 100.0 * score.first),
            format!("{:.2} %", 100.0 * score.other),
            format!("{:+.2}", 100.0 * score.difference),
            format!("{low:+.2} to {high:+.2}"),
            format!("{:.4}", score.p_value),
        ]);
    };
    add("macro F1", &comparison.macro_f1);
    if let Some(micro_f1) = &comparison.micro_f1 {
        add("micro F1", micro_f1);
    }
    table
}

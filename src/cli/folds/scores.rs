//! Scores of the folds of a cross-validation.

use serde::Serialize;

use super::fold::Fold;
use crate::config::Metric;
use crate::evaluation::Evaluation;
use crate::output::format::group_digits;
use crate::output::table::{Align, Table};
use crate::output::terminal_width;
use crate::sweep::MeanAndDeviation;

/// Scores of examples that the models have not seen.
#[derive(Serialize)]
pub struct Scores {
    folds: Vec<FoldScore>,
    accuracy: MeanAndDeviation,
    macro_f1: MeanAndDeviation,
    loss: MeanAndDeviation,
    /// The metric of the runs, if it is neither of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<MeanAndDeviation>,
    #[serde(skip)]
    metric_heading: Option<String>,
}

/// Scores of a fold.
#[derive(Serialize)]
struct FoldScore {
    /// Directory of the run.
    run: String,
    /// Number of the fold, from 1.
    fold: usize,
    /// Seed of the split.
    seed: u64,
    examples: usize,
    accuracy: f64,
    macro_f1: f64,
    loss: f64,
    /// Value of the metric of the run, if it is neither of these; null if it is undefined.
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<Option<f64>>,
}

impl Scores {
    pub fn of(folds: &[Fold]) -> Self {
        let metric = folds[0].config.metric();
        let metric = Some(metric).filter(|m| m.is_additional() && **m != Metric::MacroF1);
        let score = |fold: &Fold| {
            let Evaluation { examples, accuracy, loss, macro_average, .. } =
                Evaluation::of(&fold.predictions, &fold.labels);
            FoldScore {
                run: fold.name.clone(),
                fold: fold.fold,
                seed: fold.seed,
                examples,
                accuracy,
                macro_f1: macro_average.f1,
                loss,
                metric: metric.map(|metric| fold.predictions.value(metric, &fold.labels)),
            }
        };
        let folds: Vec<FoldScore> = folds.iter().map(score).collect();
        let over = |value: fn(&FoldScore) -> f64| {
            MeanAndDeviation::of(&folds.iter().map(value).collect::<Vec<_>>())
        };
        Self {
            accuracy: over(|fold| fold.accuracy),
            macro_f1: over(|fold| fold.macro_f1),
            loss: over(|fold| fold.loss),
            metric: metric.and_then(|_| {
                let values: Option<Vec<f64>> =
                    folds.iter().map(|fold| fold.metric.flatten()).collect();
                values.map(|values| MeanAndDeviation::of(&values))
            }),
            metric_heading: metric.map(Metric::heading),
            folds,
        }
    }

    /// Formats a row for each fold, and one for their mean and standard deviation.
    pub fn table(&self) -> String {
        let title = |(title, align): (&str, Align)| (title.to_owned(), align);
        let columns = [
            ("run", Align::Left),
            ("examples", Align::Right),
            ("accuracy", Align::Right),
            ("macro F1", Align::Right),
            ("loss", Align::Right),
        ];
        let columns = columns.map(title).into_iter();
        let metric = self.metric_heading.iter().map(|heading| (heading.clone(), Align::Right));
        let mut table = Table::new(columns.chain(metric));
        for fold in &self.folds {
            let mut row = vec![
                fold.run.clone(),
                group_digits(fold.examples),
                format!("{:.2} %", 100.0 * fold.accuracy),
                format!("{:.4}", fold.macro_f1),
                format!("{:.4}", fold.loss),
            ];
            let shown =
                |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.4}"));
            row.extend(fold.metric.map(shown));
            table.add(row);
        }
        let mut row = vec![
            "mean ± sd".to_owned(),
            String::new(),
            format!("{} %", self.accuracy.format(2, 100.0)),
            self.macro_f1.format(4, 1.0),
            self.loss.format(4, 1.0),
        ];
        if self.metric_heading.is_some() {
            row.push(self.metric.map_or("–".into(), |metric| metric.format(4, 1.0)));
        }
        table.add(row);
        format!("{}\n", table.lines_within(terminal_width()).join("\n"))
    }
}

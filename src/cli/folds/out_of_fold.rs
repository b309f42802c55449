//! Files with the predictions of models that have not seen the examples.

use super::fold::Fold;
use crate::cli::evaluate::mistakes::with_text_columns;
use crate::config::Labelling;
use crate::data::{Examples, Targets};
use crate::evaluation::label_issues;
use crate::tables::records::RecordsFile;

/// Writes a row for each example of each cross-validation, in the order of the file.
pub fn write_predictions(to: &RecordsFile, folds: &[Fold]) -> anyhow::Result<()> {
    let labelling = folds[0].config.data.labelling();
    let columns: &[&str] = match labelling {
        Labelling::One => &["seed", "fold", "file", "line", "label", "predicted", "probability"],
        Labelling::Several => &["seed", "fold", "file", "line", "label", "predicted"],
    };
    let columns = columns.iter().map(|name| (*name).to_owned());
    let names: Vec<String> = columns.chain(folds[0].labels.iter().cloned()).collect();
    let mut order: Vec<(u64, u32, usize, usize)> = Vec::new();
    for (index, fold) in folds.iter().enumerate() {
        let rows = fold.examples.rows.iter().enumerate();
        order.extend(rows.map(|(example, row)| (fold.seed, *row, index, example)));
    }
    order.sort_unstable();
    let rows = order.into_iter().map(|(seed, _, index, example)| {
        let fold = &folds[index];
        let (file, line) = fold.examples.file_and_line(example);
        let text = |text: &str| serde_json::Value::from(text);
        let mut row =
            vec![seed.into(), fold.fold.into(), text(&file.display().to_string()), line.into()];
        let predictions = &fold.predictions;
        match labelling {
            Labelling::One => {
                let predicted = predictions.predicted(example);
                row.extend([
                    text(&fold.labels[predictions.label(example)]),
                    text(&fold.labels[predicted]),
                    predictions.probability(example, predicted).into(),
                ]);
            }
            Labelling::Several => {
                let set = |classes: Vec<usize>| {
                    let names: Vec<&str> =
                        classes.iter().map(|class| fold.labels[*class].as_str()).collect();
                    to.label_set(&names, &fold.config.data)
                };
                let predicted = predictions.predicted_labels(example);
                row.extend([set(predictions.labels(example)), set(predicted)]);
            }
        }
        row.extend(fold.probabilities(example).map(serde_json::Value::from));
        row
    });
    to.write(&names, rows)
}

/// All examples with the probabilities of the models that have not seen them.
pub struct OutOfFold {
    pub examples: Examples,
    labels: Vec<u32>,
    /// Mean over the cross-validations, [N, C].
    probabilities: Vec<f64>,
}

impl OutOfFold {
    pub fn of(folds: &[Fold]) -> Self {
        let classes = folds[0].labels.len();
        let repeats = folds.iter().filter(|fold| fold.fold == folds[0].fold).count() as f64;
        let count = folds.iter().map(|fold| fold.examples.len()).sum::<usize>() / repeats as usize;
        let mut labels = vec![0; count];
        let mut probabilities = vec![0.0; count * classes];
        for fold in folds {
            for (example, row) in fold.examples.rows.iter().enumerate() {
                let row = *row as usize;
                labels[row] = fold.predictions.label(example) as u32;
                let means = &mut probabilities[row * classes..][..classes];
                means.iter_mut().zip(fold.probabilities(example)).for_each(
                    |(mean, probability)| {
                        *mean += probability / repeats;
                    },
                );
            }
        }
        let examples = Examples {
            source: folds[0].examples.source.clone(),
            rows: (0..count as u32).collect(),
            targets: Targets::Labels(labels.clone()),
            findings: Vec::new(),
        };
        Self { examples, labels, probabilities }
    }

    /// Writes the examples whose label is probably wrong. Returns their number.
    pub fn write_issues(&self, to: &RecordsFile, fold: &Fold) -> anyhow::Result<usize> {
        const COLUMNS: [&str; 6] =
            ["label", "suggested", "label_probability", "suggested_probability", "file", "line"];
        let issues = label_issues(&self.labels, &self.probabilities, fold.labels.len());
        let indices: Vec<usize> = issues.iter().map(|issue| issue.example).collect();
        let texts = self.examples.texts(&indices, &fold.config)?;
        let rows = issues.iter().zip(&texts).map(|(issue, texts)| {
            let (file, line) = self.examples.file_and_line(issue.example);
            let mut row: Vec<serde_json::Value> = vec![
                fold.labels[issue.label].as_str().into(),
                fold.labels[issue.suggested].as_str().into(),
                issue.label_probability.into(),
                issue.suggested_probability.into(),
                file.display().to_string().into(),
                line.into(),
            ];
            row.extend(texts.iter().map(|text| serde_json::Value::from(text.as_str())));
            row
        });
        to.write(&with_text_columns(&COLUMNS, &fold.config), rows)?;
        Ok(issues.len())
    }
}

//! Checks that the metric of a run can be computed on its validation examples.

use anyhow::bail;

use super::targets::Targets;
use crate::config::{Config, LabelMetric, Labelling, Metric};

/// Checks that the metric is defined for these validation examples, before a run trains in vain.
///
/// # Errors
/// Returns an error if the metric is that of an unknown label, or of one that no validation example has,
/// or if it compares examples that have a label with others and there are none.
pub fn check_metric(
    config: &Config,
    labels: &[String],
    validation: &Targets,
) -> anyhow::Result<()> {
    let (metric, labelling) = (config.metric(), config.data.labelling());
    const ADVICE: &str = "add such examples, change data.split, or choose another metric";
    if let Some(problem) = metric.unknown_label(labels) {
        bail!("train.early_stopping.metric: {problem}");
    }
    let counts = counts(labelling, validation, labels.len());
    let all = validation.len() as f64;
    match metric {
        Metric::OfLabel(kind, label) => {
            let class = labels.iter().position(|known| known == label);
            let count = class.map_or(0.0, |class| counts[class]);
            if count == 0.0 {
                bail!(
                    "train.early_stopping.metric: {metric} needs validation examples with the label \
                     \"{label}\", but there are none; {ADVICE}"
                );
            }
            if count == all && matches!(kind, LabelMetric::RocAuc | LabelMetric::AveragePrecision) {
                bail!(
                    "train.early_stopping.metric: {metric} needs validation examples without the \
                     label \"{label}\", but there are none; {ADVICE}"
                );
            }
        }
        Metric::RocAuc | Metric::AveragePrecision => {
            if counts.iter().all(|count| *count == 0.0 || *count == all) {
                bail!(
                    "train.early_stopping.metric: {metric} needs validation examples with different \
                     labels, but all have the same; {ADVICE}"
                );
            }
        }
        Metric::Loss
        | Metric::Accuracy
        | Metric::MacroF1
        | Metric::MicroF1
        | Metric::WeightedF1 => {}
    }
    Ok(())
}

/// Counts the examples of each class. A probability as a target stands for the label that it favors.
fn counts(labelling: Labelling, targets: &Targets, classes: usize) -> Vec<f64> {
    let mut counts = vec![0.0; classes];
    for label in targets.iter().flat_map(|target| target.labels(labelling)) {
        counts[label as usize] += 1.0;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_needs_validation_examples_with_and_without_its_label() {
        let labels = ["a", "b", "c"].map(str::to_owned);
        let check = |metric: &str, validation: &Targets| {
            let multi_label = matches!(validation, Targets::LabelSets(_));
            let yaml = format!(
                "data: {{train: x, multi_label: {multi_label}}}\ntrain: {{early_stopping: {{metric: '{metric}'}}}}\n"
            );
            let config = crate::config::parse_plain(&yaml).config;
            check_metric(&config, &labels, validation).map_err(|e| e.to_string())
        };
        let mixed = Targets::from(vec![0, 0, 1]);
        let same = Targets::from(vec![1, 1]);
        for metric in ["loss", "macro_f1", "roc_auc", "f1:a", "recall:b", "average_precision:b"] {
            assert_eq!(check(metric, &mixed), Ok(()), "{metric}");
        }
        for (metric, validation, problem) in [
            ("f1:c", &mixed, "f1:c needs validation examples with the label \"c\""),
            ("roc_auc:b", &same, "needs validation examples without the label \"b\""),
            ("average_precision", &same, "needs validation examples with different labels"),
            ("recall:d", &mixed, "unknown label \"d\"; the labels are a, b, c"),
        ] {
            let error = check(metric, validation).unwrap_err();
            assert!(error.starts_with("train.early_stopping.metric: "), "{error}");
            assert!(error.contains(problem), "{error}");
        }
        let soft = Targets::Probabilities {
            classes: 3,
            probabilities: vec![0.6, 0.3, 0.1, 0.2, 0.7, 0.1],
        };
        assert_eq!(check("recall:b", &soft), Ok(()));
        assert!(check("recall:c", &soft).is_err());
        let sets = Targets::LabelSets([&[0, 2][..], &[0], &[]].into_iter().collect());
        assert_eq!(check("f1:c", &sets), Ok(()));
        assert!(check("f1:b", &sets).is_err());
    }
}

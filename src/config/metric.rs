//! The validation metric that determines the best checkpoint and ranks runs.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_yaml::Value;

use super::value::{FieldValue, Range};
use crate::output::format::join_names;
use crate::output::sanitize::printable;
use crate::output::width::truncate_middle;

/// A metric of predictions for labeled examples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Mean loss.
    Loss,
    /// Share of correct predictions.
    Accuracy,
    /// Unweighted mean of the F1 of the classes.
    MacroF1,
    /// F1 of all classes together: of the sums of their true positives, false positives and false
    /// negatives.
    MicroF1,
    /// Mean of the F1 of the classes, weighted by their numbers of examples.
    WeightedF1,
    /// Area under the ROC curve of the second of two classes, or the mean over more classes.
    RocAuc,
    /// Average precision of the second of two classes, or the mean over more classes.
    AveragePrecision,
    /// Metric of one class against the rest.
    OfLabel(LabelMetric, String),
}

/// A metric of one class against the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelMetric {
    /// Harmonic mean of precision and recall.
    F1,
    /// Share of the predictions of the class that are correct.
    Precision,
    /// Share of the examples of the class that are predicted correctly.
    Recall,
    /// Area under the ROC curve.
    RocAuc,
    /// Average precision.
    AveragePrecision,
}

/// The metrics of all classes, and their names.
const OF_ALL: [(Metric, &str); 7] = [
    (Metric::Loss, "loss"),
    (Metric::Accuracy, "accuracy"),
    (Metric::MacroF1, "macro_f1"),
    (Metric::MicroF1, "micro_f1"),
    (Metric::WeightedF1, "weighted_f1"),
    (Metric::RocAuc, "roc_auc"),
    (Metric::AveragePrecision, "average_precision"),
];

/// The metrics of one class, and their names.
const OF_LABEL: [(LabelMetric, &str); 5] = [
    (LabelMetric::F1, "f1"),
    (LabelMetric::Precision, "precision"),
    (LabelMetric::Recall, "recall"),
    (LabelMetric::RocAuc, "roc_auc"),
    (LabelMetric::AveragePrecision, "average_precision"),
];

/// Names of metrics in configurations of earlier versions.
const FORMER: [(&str, Metric); 2] =
    [("validation_loss", Metric::Loss), ("validation_accuracy", Metric::Accuracy)];

/// Names of metrics in other libraries, in lowercase with underscores.
const FOREIGN: [(&str, &str); 12] = [
    ("val_loss", "loss"),
    ("eval_loss", "loss"),
    ("cross_entropy", "loss"),
    ("val_accuracy", "accuracy"),
    ("val_acc", "accuracy"),
    ("acc", "accuracy"),
    ("f1", "macro_f1"),
    ("f1_score", "macro_f1"),
    ("f1_macro", "macro_f1"),
    ("f1_micro", "micro_f1"),
    ("f1_weighted", "weighted_f1"),
    ("auc", "roc_auc"),
];

/// Minimum Jaro-Winkler similarity of a suggestion.
const SIMILAR: f64 = 0.85;
/// Maximum length in bytes of a name that is compared with others.
const MAX_LENGTH: usize = 64;

impl LabelMetric {
    fn as_str(self) -> &'static str {
        OF_LABEL.iter().find(|(metric, _)| *metric == self).map_or("", |(_, name)| name)
    }

    fn title(self) -> &'static str {
        match self {
            Self::F1 => "F1",
            Self::Precision => "precision",
            Self::Recall => "recall",
            Self::RocAuc => "ROC-AUC",
            Self::AveragePrecision => "average precision",
        }
    }
}

impl Metric {
    /// Returns the metric if all are the same; `None` if they differ or there are none.
    pub fn common<'m>(mut metrics: impl Iterator<Item = &'m Self>) -> Option<&'m Self> {
        let first = metrics.next()?;
        metrics.all(|metric| metric == first).then_some(first)
    }

    /// Returns true for every metric but the loss and the accuracy, which are always measured.
    pub fn is_additional(&self) -> bool {
        !matches!(self, Self::Loss | Self::Accuracy)
    }

    /// Name in tables and sentences, such as "macro F1" and "recall of spam".
    pub fn title(&self) -> String {
        match self {
            Self::Loss => "loss".to_owned(),
            Self::Accuracy => "accuracy".to_owned(),
            Self::MacroF1 => "macro F1".to_owned(),
            Self::MicroF1 => "micro F1".to_owned(),
            Self::WeightedF1 => "weighted F1".to_owned(),
            Self::RocAuc => LabelMetric::RocAuc.title().to_owned(),
            Self::AveragePrecision => LabelMetric::AveragePrecision.title().to_owned(),
            Self::OfLabel(metric, label) => format!("{} of {label}", metric.title()),
        }
    }

    /// Heading of a column: the title, shortened if the label is long.
    pub fn heading(&self) -> String {
        const WIDTH: usize = 24;
        truncate_middle(&printable(&self.title()), WIDTH)
    }

    /// Returns the problem if the metric is that of a label that is not among `labels`.
    pub fn unknown_label(&self, labels: &[String]) -> Option<String> {
        let Self::OfLabel(_, label) = self else { return None };
        if labels.contains(label) {
            return None;
        }
        let lower = label.to_lowercase();
        let is_short = |name: &str| name.len() <= MAX_LENGTH;
        let known = labels.iter().filter(|known| is_short(label) && is_short(known));
        let scored =
            known.map(|known| (strsim::jaro_winkler(&lower, &known.to_lowercase()), known));
        let best = scored.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score >= SIMILAR);
        let advice =
            best.map_or(String::new(), |(_, known)| format!("; did you mean \"{known}\"?"));
        Some(format!("unknown label \"{label}\"{advice}; the labels are {}", join_names(labels)))
    }

    /// Returns the name of the metric that a user most likely means by an invalid value.
    fn similar(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Self::similar_to_text(text),
            // A space after the colon makes `f1: spam` a mapping.
            Value::Mapping(mapping) if mapping.len() == 1 => {
                let (name, label) = mapping.iter().next()?;
                let text = format!("{}:{}", String::from_yaml(name)?, String::from_yaml(label)?);
                text.parse::<Self>().ok().map(|metric| metric.to_string())
            }
            _ => None,
        }
    }

    fn similar_to_text(text: &str) -> Option<String> {
        let most_similar = |name: &str, names: &mut dyn Iterator<Item = &'static str>| {
            let name = name.trim().to_lowercase().replace(['-', ' '], "_");
            let foreign = FOREIGN.iter().find(|(foreign, _)| *foreign == name);
            let scored = names
                .filter(|_| name.len() <= MAX_LENGTH)
                .map(|known| (strsim::jaro_winkler(&name, known), known));
            let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
            let best = best.filter(|(score, _)| *score >= SIMILAR).map(|(_, known)| known);
            (foreign.map(|(_, ours)| *ours), best)
        };
        match text.split_once(':') {
            Some((name, label)) if !label.trim().is_empty() => {
                let (_, best) = most_similar(name, &mut OF_LABEL.iter().map(|(_, name)| *name));
                best.map(|name| format!("{name}:{label}"))
            }
            _ => {
                let name = text.trim_end_matches(':');
                let (foreign, best) = most_similar(name, &mut OF_ALL.iter().map(|(_, name)| *name));
                foreign.or(best).map(str::to_owned)
            }
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::OfLabel(metric, label) => write!(f, "{}:{label}", metric.as_str()),
            of_all => {
                let name = OF_ALL.iter().find(|(metric, _)| metric == of_all);
                f.write_str(name.map_or("", |(_, name)| name))
            }
        }
    }
}

impl FromStr for Metric {
    type Err = String;

    /// Parses a metric such as `macro_f1` or `recall:spam`. A label may contain colons.
    fn from_str(text: &str) -> Result<Self, String> {
        let of_all = OF_ALL.iter().find(|(_, name)| *name == text).map(|(metric, _)| metric);
        let former = || FORMER.iter().find(|(name, _)| *name == text).map(|(_, metric)| metric);
        if let Some(metric) = of_all.or_else(former) {
            return Ok(metric.clone());
        }
        let of_label = text.split_once(':').and_then(|(name, label)| {
            let (metric, _) = OF_LABEL.iter().find(|(_, known)| *known == name)?;
            (!label.trim().is_empty()).then(|| Self::OfLabel(*metric, label.trim().to_owned()))
        });
        of_label.ok_or_else(|| format!("expected {}", Self::alternatives(None).join(", ")))
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FieldValue for Metric {
    const IS_TEXT: bool = true;
    fn from_yaml(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
    fn to_yaml(&self) -> Value {
        Value::from(self.to_string())
    }
    fn alternatives(_: Option<Range>) -> Vec<String> {
        let of_all = OF_ALL.iter().map(|(_, name)| (*name).to_owned());
        of_all.chain(OF_LABEL.iter().map(|(_, name)| format!("{name}:LABEL"))).collect()
    }
    fn suggestion(value: &Value) -> Option<String> {
        Self::similar(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_metric_is_read_again() {
        let names = Metric::alternatives(None);
        assert_eq!(names.len(), 12);
        for name in names {
            assert_eq!(name.parse::<Metric>().unwrap().to_string(), name);
        }
        let metric: Metric = "recall:a: b".parse().unwrap();
        assert_eq!(metric, Metric::OfLabel(LabelMetric::Recall, "a: b".into()));
        assert_eq!(metric.title(), "recall of a: b");
    }

    #[test]
    fn names_of_earlier_versions_are_read() {
        assert_eq!("validation_loss".parse(), Ok(Metric::Loss));
        assert_eq!("validation_accuracy".parse(), Ok(Metric::Accuracy));
        assert_eq!(Metric::from_yaml(&"validation_loss".into()).unwrap().to_yaml(), "loss");
    }

    #[test]
    fn a_similar_metric_is_suggested() {
        let suggestion = |yaml: &str| Metric::suggestion(&serde_yaml::from_str(yaml).unwrap());
        for (wrong, right) in [
            ("val_loss", "loss"),
            ("f1", "macro_f1"),
            ("Macro-F1", "macro_f1"),
            ("micro_f", "micro_f1"),
            ("recal:spam", "recall:spam"),
            ("{f1: spam}", "f1:spam"),
            ("'roc_auc:'", "roc_auc"),
        ] {
            assert_eq!(suggestion(wrong).as_deref(), Some(right), "{wrong}");
        }
        assert_eq!(suggestion("bleu"), None);
        assert_eq!(suggestion("3"), None);
    }

    #[test]
    fn an_unknown_label_is_reported_with_a_similar_one() {
        let labels = ["joy", "sadness"].map(str::to_owned);
        let problem = |metric: &str| metric.parse::<Metric>().unwrap().unknown_label(&labels);
        assert_eq!(problem("f1:joy"), None);
        assert_eq!(problem("macro_f1"), None);
        assert_eq!(
            problem("f1:Sadnes").unwrap(),
            "unknown label \"Sadnes\"; did you mean \"sadness\"?; the labels are joy, sadness"
        );
        assert_eq!(problem("f1:x").unwrap(), "unknown label \"x\"; the labels are joy, sadness");
    }
}

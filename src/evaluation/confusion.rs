//! Pairs of a true and a predicted class, of texts that have exactly one label.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use super::predictions::Predictions;

/// Maximum number of classes in a confusion matrix.
const MATRIX_CLASSES: usize = 100;
/// Maximum number of confused pairs.
const MAX_PAIRS: usize = 1_000;

/// A true class, a wrong prediction, and the number of their examples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfusedPair {
    /// Name of the true class.
    pub label: String,
    /// Name of the predicted class.
    pub predicted: String,
    /// Number of examples.
    pub examples: usize,
}

/// Numbers of examples by true and predicted class. The pairs that do not occur take no memory.
pub struct ConfusionCounts {
    /// Number of classes.
    classes: usize,
    /// Number of examples of each true and predicted class that occur together.
    counts: BTreeMap<(usize, usize), usize>,
}

impl ConfusionCounts {
    /// Counts the examples.
    pub fn of(predictions: &Predictions, classes: usize) -> Self {
        let mut counts = BTreeMap::new();
        for example in 0..predictions.len() {
            let pair = (predictions.label(example), predictions.predicted(example));
            *counts.entry(pair).or_default() += 1;
        }
        Self { classes, counts }
    }

    /// Iterates over true class, predicted class and number of examples of all pairs that occur.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        self.counts.iter().map(|((label, predicted), count)| (*label, *predicted, *count))
    }

    /// Returns the confusion matrix, unless there are too many classes.
    pub(super) fn matrix(&self) -> Option<Vec<Vec<usize>>> {
        if self.classes > MATRIX_CLASSES {
            return None;
        }
        let mut matrix = vec![vec![0; self.classes]; self.classes];
        self.iter().for_each(|(label, predicted, count)| matrix[label][predicted] = count);
        Some(matrix)
    }

    /// Returns the most frequent pairs of a true class and a wrong prediction.
    pub(super) fn pairs(&self, labels: &[String]) -> Vec<ConfusedPair> {
        let wrong = self.iter().filter(|(label, predicted, _)| label != predicted);
        let mut pairs: Vec<_> = wrong.collect();
        pairs.sort_by_key(|(.., count)| Reverse(*count));
        pairs.truncate(MAX_PAIRS);
        let name = |class: usize| labels[class].clone();
        let pair = |(label, predicted, examples)| ConfusedPair {
            label: name(label),
            predicted: name(predicted),
            examples,
        };
        pairs.into_iter().map(pair).collect()
    }
}

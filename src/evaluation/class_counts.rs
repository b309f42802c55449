//! Numbers of right and wrong predictions of each class, from which precision, recall and F1 follow.

use serde::Serialize;

use super::predictions::Predictions;
use crate::config::Labelling;

/// Numbers of examples that have a class or are predicted to have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Examples of the class that are predicted to have it.
    pub true_positives: usize,
    /// Other examples that are predicted to have it.
    pub false_positives: usize,
    /// Examples of the class that are not predicted to have it.
    pub false_negatives: usize,
}

/// Precision, recall and F1 of a class against the rest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassScore {
    /// Share of the predictions of this class that are correct. 0 if it is never predicted.
    pub precision: f64,
    /// Share of the examples of this class that are predicted correctly. 0 if it has no examples.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
}

impl ClassCounts {
    /// Number of examples of the class.
    pub fn examples(&self) -> usize {
        self.true_positives + self.false_negatives
    }

    /// Number of examples that are predicted to have the class.
    pub fn predicted(&self) -> usize {
        self.true_positives + self.false_positives
    }

    /// Returns true if the class has examples or is predicted.
    pub fn is_present(&self) -> bool {
        self.examples() + self.predicted() > 0
    }

    /// Returns precision, recall and F1. A score without a denominator is 0, as in scikit-learn.
    pub fn score(&self) -> ClassScore {
        let share = |part: usize, of: usize| if of == 0 { 0.0 } else { part as f64 / of as f64 };
        ClassScore {
            precision: share(self.true_positives, self.predicted()),
            recall: share(self.true_positives, self.examples()),
            f1: share(2 * self.true_positives, self.examples() + self.predicted()),
        }
    }
}

impl Predictions {
    /// Counts the examples of each class: `[C]`.
    pub fn class_counts(&self) -> Vec<ClassCounts> {
        let mut counts = vec![ClassCounts::default(); self.classes];
        for example in 0..self.len() {
            match self.labelling() {
                Labelling::One => {
                    let (label, predicted) = (self.label(example), self.predicted(example));
                    if label == predicted {
                        counts[label].true_positives += 1;
                    } else {
                        counts[label].false_negatives += 1;
                        counts[predicted].false_positives += 1;
                    }
                }
                Labelling::Several => {
                    for (class, counts) in counts.iter_mut().enumerate() {
                        match (self.has_label(example, class), self.predicts(example, class)) {
                            (true, true) => counts.true_positives += 1,
                            (false, true) => counts.false_positives += 1,
                            (true, false) => counts.false_negatives += 1,
                            (false, false) => {}
                        }
                    }
                }
            }
        }
        counts
    }
}

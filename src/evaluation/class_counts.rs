//! Numbers of right and wrong predictions of each class, from which precision, recall and F1 follow.

use std::iter::Sum;

use serde::Serialize;

use super::predictions::Predictions;
use crate::config::Labelling;

/// Numbers of examples that have a class or not, and are predicted to have it or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClassCounts {
    /// Other examples that are not predicted to have it.
    pub true_negatives: usize,
    /// Other examples that are predicted to have it.
    pub false_positives: usize,
    /// Examples of the class that are not predicted to have it.
    pub false_negatives: usize,
    /// Examples of the class that are predicted to have it.
    pub true_positives: usize,
}

/// Precision, recall and F1 of a class against the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
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

impl Sum for ClassCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, each| Self {
            true_negatives: sum.true_negatives + each.true_negatives,
            false_positives: sum.false_positives + each.false_positives,
            false_negatives: sum.false_negatives + each.false_negatives,
            true_positives: sum.true_positives + each.true_positives,
        })
    }
}

/// Averages of precision, recall and F1 over classes, as in scikit-learn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassAverages {
    /// Unweighted mean: over all labels of which a text can have several, or else over the classes that have
    /// examples or are predicted.
    pub macro_average: ClassScore,
    /// Scores of the predictions of all classes together.
    pub micro_average: ClassScore,
    /// Mean, weighted by the number of examples of each class.
    pub weighted_average: ClassScore,
}

impl ClassAverages {
    /// Computes the averages from the counts of each class.
    pub fn of(labelling: Labelling, counts: &[ClassCounts]) -> Self {
        let is_averaged =
            |counts: &&ClassCounts| labelling == Labelling::Several || counts.is_present();
        let macro_average = counts.iter().filter(is_averaged).map(|counts| (counts.score(), 1.0));
        let weighted = counts.iter().map(|counts| (counts.score(), counts.examples() as f64));
        Self {
            macro_average: mean(macro_average),
            micro_average: counts.iter().copied().sum::<ClassCounts>().score(),
            weighted_average: mean(weighted),
        }
    }
}

/// Returns the mean of scores with weights; 0 if all weights are 0.
pub(super) fn mean(scores: impl Iterator<Item = (ClassScore, f64)>) -> ClassScore {
    let (mut sum, mut total) = (ClassScore::default(), 0.0);
    for (score, weight) in scores {
        sum.precision += weight * score.precision;
        sum.recall += weight * score.recall;
        sum.f1 += weight * score.f1;
        total += weight;
    }
    if total > 0.0 {
        for value in [&mut sum.precision, &mut sum.recall, &mut sum.f1] {
            *value /= total;
        }
    }
    sum
}

/// Adds `examples` examples with these labels and predictions to the counts of the classes, but for true
/// negatives.
pub(super) fn count(
    counts: &mut [ClassCounts],
    labels: &[usize],
    predicted: &[usize],
    examples: usize,
) {
    for class in predicted {
        match labels.contains(class) {
            true => counts[*class].true_positives += examples,
            false => counts[*class].false_positives += examples,
        }
    }
    for class in labels.iter().filter(|class| !predicted.contains(class)) {
        counts[*class].false_negatives += examples;
    }
}

impl Predictions {
    /// Counts the examples of each class: `[C]`.
    pub fn class_counts(&self) -> Vec<ClassCounts> {
        let mut counts = vec![ClassCounts::default(); self.classes];
        for example in 0..self.len() {
            count(&mut counts, &self.labels(example), &self.predicted_labels(example), 1);
        }
        for counts in &mut counts {
            counts.true_negatives = self.len()
                - counts.true_positives
                - counts.false_positives
                - counts.false_negatives;
        }
        counts
    }
}

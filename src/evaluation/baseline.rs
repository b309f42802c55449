//! The scores of a classifier that ignores the texts.

use super::report::wilson_interval;
use crate::data::Targets;
use crate::objective::metrics::Score;

/// Classifier that predicts the shares of the classes for every text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline {
    /// Index of the most frequent class, which it predicts.
    pub class: usize,
    /// Its accuracy, the share of that class, and its loss, the entropy of the shares.
    pub score: Score,
    /// Number of examples.
    examples: usize,
}

impl Baseline {
    /// Maximum share of the baseline's loss that counts as learned.
    const LEARNED: f64 = 0.98;

    /// Computes the scores of the baseline on examples. Returns `None` if they have fewer than two
    /// classes: nothing can be better then.
    pub fn of(targets: &Targets, classes: usize) -> Option<Self> {
        let counts = targets.class_counts(classes);
        let total: f64 = counts.iter().sum();
        if counts.iter().filter(|count| **count > 0.0).count() < 2 {
            return None;
        }
        let shares = counts.iter().map(|count| count / total).filter(|share| *share > 0.0);
        let loss = shares.map(|share| -share * share.ln()).sum();
        let class = (0..classes).max_by(|a, b| counts[*a].total_cmp(&counts[*b]).then(b.cmp(a)))?;
        let score = Score { loss, accuracy: counts[class] / total };
        Some(Self { class, score, examples: targets.len() })
    }

    /// Returns true if a score on the same examples is no better: the accuracy is not higher, or neither
    /// is it significantly higher (95 %) nor is the loss clearly lower.
    pub fn is_matched_by(&self, score: Score) -> bool {
        let correct = (score.accuracy * self.examples as f64).round() as usize;
        let [lowest, _] = wilson_interval(correct, self.examples);
        let is_lucky = lowest <= self.score.accuracy;
        score.accuracy <= self.score.accuracy
            || is_lucky && score.loss > Self::LEARNED * self.score.loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(loss: f64, accuracy: f64) -> Score {
        Score { loss, accuracy }
    }

    #[test]
    fn the_baseline_predicts_the_shares_of_the_classes() {
        let baseline = Baseline::of(&Targets::Labels(vec![1, 0, 1, 1]), 3).unwrap();
        // Python: -(0.75 * log(0.75) + 0.25 * log(0.25))
        assert!((baseline.score.loss - 0.5623351446188083).abs() < 1e-15);
        assert_eq!((baseline.class, baseline.score.accuracy), (1, 0.75));
        assert_eq!(Baseline::of(&Targets::Labels(vec![1, 1]), 2), None);
    }

    #[test]
    fn a_score_must_be_better_beyond_chance() {
        let labels = (0..200).map(|example| u32::from(example >= 160)).collect();
        let baseline = Baseline::of(&Targets::Labels(labels), 2).unwrap();
        assert_eq!(baseline.class, 0);
        assert!(baseline.is_matched_by(baseline.score));
        // A lower loss does not help if every text gets the same class.
        assert!(baseline.is_matched_by(score(0.4, 0.8)));
        assert!(baseline.is_matched_by(score(0.5, 0.82)));
        assert!(!baseline.is_matched_by(score(0.4, 0.82)));
        // An overfitted model has learned something nevertheless.
        assert!(!baseline.is_matched_by(score(0.9, 0.95)));
    }
}

//! The scores of a classifier that ignores the texts.

use super::interval::wilson_interval;
use crate::config::Labelling;
use crate::data::Targets;
use crate::objective::metrics::Score;

/// Classifier that predicts the shares of the classes for every text.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// Indices of the labels that it predicts: the most frequent class, or with several labels, those that at
    /// least half of the texts have.
    pub predicted: Vec<usize>,
    /// Its accuracy, and its loss, the entropy of the shares.
    pub score: Score,
    /// Share of the most frequent class.
    largest_share: f64,
    /// Number of examples.
    pub examples: usize,
    /// Loss of predicting what training with class weights learns without the texts: the weighted shares.
    weighted_loss: f64,
}

/// Score of a model, compared with that of the baseline on the same examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The model has learned something about the texts.
    Better,
    /// The loss is clearly lower, but the accuracy is not higher: rare classes are hardly ever predicted.
    OnlyLowerLoss,
    /// The accuracy is higher or the loss is lower, but so little that it may be chance.
    NotClearlyBetter,
    /// Neither is the accuracy higher nor is the loss lower.
    NotBetter,
}

impl Baseline {
    /// Maximum share of the baseline's loss that counts as learned.
    const LEARNED: f64 = 0.98;

    /// Computes the scores of the baseline on examples. `weights` are the class weights of training,
    /// empty if there are none. Returns `None` if all examples have the same labels: nothing can be better
    /// then.
    pub fn of(
        labelling: Labelling,
        targets: &Targets,
        classes: usize,
        weights: &[f64],
    ) -> Option<Self> {
        match labelling {
            Labelling::One => Self::of_one_label(targets, classes, weights),
            Labelling::Several => Self::of_several_labels(targets, classes, weights),
        }
    }

    fn of_one_label(targets: &Targets, classes: usize, weights: &[f64]) -> Option<Self> {
        let counts = targets.class_counts(classes);
        let total: f64 = counts.iter().sum();
        if counts.iter().filter(|count| **count > 0.0).count() < 2 {
            return None;
        }
        let weight = |class: usize| weights.get(class).copied().unwrap_or(1.0);
        let weighted: f64 = (0..classes).map(|class| weight(class) * counts[class]).sum();
        let loss = |prediction: &dyn Fn(usize) -> f64| -> f64 {
            let present = (0..classes).filter(|class| counts[*class] > 0.0);
            present.map(|class| -counts[class] / total * prediction(class).ln()).sum()
        };
        let class = (0..classes).max_by(|a, b| counts[*a].total_cmp(&counts[*b]).then(b.cmp(a)))?;
        let score = Score::new(loss(&|class| counts[class] / total), counts[class] / total);
        // Infinite for a class that training does not have.
        let weighted_loss = loss(&|class| weight(class) * counts[class] / weighted);
        let weighted_loss = if weighted_loss.is_finite() { weighted_loss } else { score.loss };
        Some(Self {
            predicted: vec![class],
            largest_share: score.accuracy,
            score,
            examples: targets.len(),
            weighted_loss,
        })
    }

    fn of_several_labels(targets: &Targets, classes: usize, weights: &[f64]) -> Option<Self> {
        let examples = targets.len() as f64;
        let shares = targets.class_counts(classes).into_iter().map(|count| count / examples);
        let shares: Vec<f64> = shares.collect();
        if shares.iter().all(|share| [0.0, 1.0].contains(share)) || targets.is_empty() {
            return None;
        }
        let term = |share: f64, predicted: f64| match share {
            0.0 => 0.0,
            share => -share * predicted.ln(),
        };
        let mean = |of: &dyn Fn(usize, f64) -> f64| {
            let losses = shares.iter().enumerate().map(|(class, share)| {
                let predicted = of(class, *share);
                term(*share, predicted) + term(1.0 - share, 1.0 - predicted)
            });
            losses.sum::<f64>() / classes as f64
        };
        let weight = |class: usize| weights.get(class).copied().unwrap_or(1.0);
        let weighted = |class: usize, share: f64| {
            weight(class) * share / (weight(class) * share + 1.0 - share)
        };
        let log_shares: Vec<f64> = shares.iter().map(|share| share.ln()).collect();
        let correct = targets.iter();
        let correct = correct.filter(|each| Labelling::Several.is_correct(&log_shares, *each));
        let accuracy = correct.count() as f64 / examples;
        Some(Self {
            predicted: (0..classes).filter(|class| shares[*class] >= 0.5).collect(),
            score: Score::new(mean(&|_, share| share), accuracy),
            largest_share: shares.iter().copied().fold(0.0, f64::max),
            examples: targets.len(),
            weighted_loss: mean(&weighted),
        })
    }

    /// Compares a score on the same examples with that of the baseline. "Clearly" means a significantly
    /// higher accuracy (95 %), or a loss that is lower by more than 2 %.
    pub fn verdict(&self, score: Score) -> Verdict {
        let correct = (score.accuracy * self.examples as f64).round() as usize;
        let [lowest, _] = wilson_interval(correct, self.examples);
        let accuracy = score.accuracy.total_cmp(&self.score.accuracy);
        let has_low_loss = score.loss <= Self::LEARNED * self.score.loss;
        // Class weights trade accuracy for recall, and shift the probabilities.
        let is_shifted = score.loss <= Self::LEARNED * self.weighted_loss
            && self.score.loss < Self::LEARNED * self.weighted_loss;
        match () {
            _ if lowest > self.score.accuracy => Verdict::Better,
            _ if accuracy.is_gt() && has_low_loss => Verdict::Better,
            _ if accuracy.is_lt() && is_shifted => Verdict::Better,
            _ if has_low_loss => Verdict::OnlyLowerLoss,
            _ if accuracy.is_gt() || score.loss < self.score.loss => Verdict::NotClearlyBetter,
            _ => Verdict::NotBetter,
        }
    }

    /// Returns true if the most frequent class is far more frequent than the mean of all `classes`.
    pub fn is_unbalanced(&self, classes: usize) -> bool {
        self.largest_share * classes as f64 > 1.5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(loss: f64, accuracy: f64) -> Score {
        Score::new(loss, accuracy)
    }

    fn labels(first: usize, second: usize) -> Targets {
        Targets::Labels([vec![0; first], vec![1; second]].concat())
    }

    #[test]
    fn the_baseline_predicts_the_shares_of_the_classes() {
        let baseline = Baseline::of(Labelling::One, &labels(1, 3), 3, &[]).unwrap();
        // Python: -(0.75 * log(0.75) + 0.25 * log(0.25))
        assert!((baseline.score.loss - 0.5623351446188083).abs() < 1e-15);
        assert_eq!((&baseline.predicted[..], baseline.score.accuracy), (&[1][..], 0.75));
        assert_eq!(Baseline::of(Labelling::One, &labels(0, 2), 2, &[]), None);
    }

    #[test]
    fn a_score_must_be_better_beyond_chance() {
        let baseline = Baseline::of(Labelling::One, &labels(160, 40), 2, &[]).unwrap();
        assert_eq!(baseline.predicted, [0]);
        assert_eq!(baseline.verdict(baseline.score), Verdict::NotBetter);
        assert_eq!(baseline.verdict(score(0.6, 0.7)), Verdict::NotBetter);
        assert_eq!(baseline.verdict(score(0.4, 0.8)), Verdict::OnlyLowerLoss);
        assert_eq!(baseline.verdict(score(0.5, 0.82)), Verdict::NotClearlyBetter);
        assert_eq!(baseline.verdict(score(0.4, 0.82)), Verdict::Better);
        // An overfitted model has learned something nevertheless.
        assert_eq!(baseline.verdict(score(0.9, 0.95)), Verdict::Better);
        assert!(baseline.is_unbalanced(2) && !baseline.is_unbalanced(1));
    }

    #[test]
    fn a_better_score_on_few_examples_is_not_called_worse() {
        let baseline = Baseline::of(Labelling::One, &labels(35, 25), 2, &[]).unwrap();
        assert_eq!(baseline.verdict(score(0.6673, 0.7)), Verdict::NotClearlyBetter);
        assert!(!baseline.is_unbalanced(2));
    }

    #[test]
    fn class_weights_may_cost_accuracy() {
        let weights = [100.0 / 184.0, 100.0 / 16.0];
        let [weighted, plain] = [&weights[..], &[]]
            .map(|weights| Baseline::of(Labelling::One, &labels(92, 8), 2, weights).unwrap());
        assert!((weighted.weighted_loss - 2_f64.ln()).abs() < 1e-12);
        assert_eq!(weighted.score, plain.score);
        assert_eq!(weighted.verdict(score(0.4, 0.88)), Verdict::Better);
        assert_eq!(plain.verdict(score(0.4, 0.88)), Verdict::NotBetter);
        assert_eq!(weighted.verdict(score(0.69, 0.88)), Verdict::NotBetter);
        assert_eq!(weighted.verdict(score(0.54, 0.92)), Verdict::NotBetter);
    }

    #[test]
    fn the_baseline_of_several_labels_predicts_the_frequency_of_each() {
        let sets = [&[0][..], &[0, 1], &[], &[0]];
        let targets = Targets::LabelSets(sets.into_iter().collect());
        let baseline = Baseline::of(Labelling::Several, &targets, 2, &[]).unwrap();
        // Python: shares .75 and .25, each with -(0.75 * log(0.75) + 0.25 * log(0.25))
        assert!((baseline.score.loss - 0.5623351446188083).abs() < 1e-15);
        assert_eq!((baseline.predicted, baseline.score.accuracy), (vec![0], 0.5));
        let all = Targets::LabelSets([&[1][..], &[1]].into_iter().collect());
        assert_eq!(Baseline::of(Labelling::Several, &all, 2, &[]), None);
    }
}

//! Combination of the predictions of several models, and the choice of their weights.

use std::borrow::Cow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::cross_entropy::CrossEntropy;
use super::labelling::log_of_complement;
use super::loss_function::LossFunction;
use crate::config::Labelling;
use crate::data::Targets;

/// Maximum number of steps in which weights are chosen.
const MAX_STEPS: usize = 500;
/// Weights are chosen once their loss is within this distance of the smallest one.
const TOLERANCE: f64 = 1e-6;
/// Smallest weight while weights are chosen. Smaller ones could not grow again.
const MIN_WEIGHT: f64 = 1e-9;
/// Chosen weights below this one become 0: they change no prediction that matters.
const NEGLIGIBLE: f64 = 1e-3;
/// Number of examples of which a thread computes the loss at once.
const CHUNK: usize = 256;

/// Quantity of which an ensemble takes the weighted mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Averaging {
    /// Probabilities of the classes.
    Probabilities,
    /// Log-odds between the classes: the normalized weighted geometric mean of the probabilities. With
    /// several labels, the log-odds of each label.
    LogOdds,
}

/// Combination of the predictions of one or more models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Combination {
    /// Quantity that is averaged.
    pub averaging: Averaging,
    /// Weight of each model. They are not negative and add up to 1.
    pub weights: Vec<f64>,
}

impl Combination {
    /// Creates the combination in which `models` models have equal weights.
    pub fn equal(averaging: Averaging, models: usize) -> Self {
        Self { averaging, weights: vec![1.0 / models as f64; models] }
    }

    /// Creates a combination with weights in these proportions; `None` unless they are finite, not
    /// negative, and not all 0.
    pub fn weighted(averaging: Averaging, proportions: &[f64]) -> Option<Self> {
        let sum: f64 = proportions.iter().sum();
        let weights = proportions.iter().map(|weight| weight / sum).collect();
        Some(Self { averaging, weights }).filter(Self::is_valid)
    }

    /// Returns true if there are weights, none is negative, and they add up to 1.
    pub fn is_valid(&self) -> bool {
        /// Largest error of the sum.
        const ROUNDING: f64 = 1e-6;
        let sum: f64 = self.weights.iter().sum();
        self.weights.iter().all(|weight| *weight >= 0.0) && (sum - 1.0).abs() < ROUNDING
    }

    /// Chooses the weights of models that minimize the cross-entropy of labeled examples. `models` has the
    /// log-probabilities of each, [N, C].
    ///
    /// The cross-entropy is convex in the weights. Exponentiated gradient (Kivinen and Warmuth 1997)
    /// descends from equal weights, with steps that grow until the loss rises.
    pub fn fit(
        averaging: Averaging,
        labelling: Labelling,
        models: &[&[f64]],
        classes: usize,
        targets: &Targets,
    ) -> Self {
        let mut best = Self::equal(averaging, models.len());
        let (mut loss, mut slopes) = best.loss(labelling, models, classes, targets);
        let mut step = 1.0;
        for _ in 0..MAX_STEPS {
            let smallest = slopes.iter().copied().fold(f64::INFINITY, f64::min);
            // By convexity, no weights have a loss that is lower by more than this.
            let gap: f64 =
                best.weights.iter().zip(&slopes).map(|(w, slope)| w * (slope - smallest)).sum();
            if gap <= TOLERANCE {
                break;
            }
            let moved = best.weights.iter().zip(&slopes);
            let moved =
                moved.map(|(w, slope)| (w * (step * (smallest - slope)).exp()).max(MIN_WEIGHT));
            let Some(moved) = Self::weighted(averaging, &moved.collect::<Vec<_>>()) else { break };
            let (moved_loss, moved_slopes) = moved.loss(labelling, models, classes, targets);
            if moved_loss < loss {
                (best, loss, slopes) = (moved, moved_loss, moved_slopes);
                step *= 2.0;
            } else {
                step /= 4.0;
            }
        }
        let kept =
            best.weights.iter().map(|weight| if *weight < NEGLIGIBLE { 0.0 } else { *weight });
        Self::weighted(averaging, &kept.collect::<Vec<_>>()).unwrap_or(best)
    }

    /// Combines the log-probabilities of the models, [N, C] each. Those of a single model stay as they are.
    pub fn combine<'m>(
        &self,
        labelling: Labelling,
        models: &[&'m [f64]],
        classes: usize,
    ) -> Cow<'m, [f64]> {
        if let [only] = models {
            return Cow::Borrowed(only);
        }
        let mut combined = vec![0.0; models.first().map_or(0, |model| model.len())];
        let used = || models.iter().zip(&self.weights).filter(|(_, weight)| **weight > 0.0);
        match self.averaging {
            Averaging::LogOdds => {
                for (model, weight) in used() {
                    let logits = labelling.logits(model);
                    combined.iter_mut().zip(logits).for_each(|(sum, logit)| *sum += weight * logit);
                }
                let rows = combined.chunks_exact_mut(classes);
                rows.for_each(|row| labelling.log_probabilities(row));
            }
            Averaging::Probabilities => {
                for (index, value) in combined.iter_mut().enumerate() {
                    let largest =
                        used().map(|(model, _)| model[index]).fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 =
                        used().map(|(model, weight)| weight * (model[index] - largest).exp()).sum();
                    // Rounding must not make it a probability of more than 1.
                    *value = (largest + sum.ln()).min(-f64::MIN_POSITIVE);
                }
            }
        }
        Cow::Owned(combined)
    }

    /// Returns the mean cross-entropy, and its derivative with respect to each weight.
    fn loss(
        &self,
        labelling: Labelling,
        models: &[&[f64]],
        classes: usize,
        targets: &Targets,
    ) -> (f64, Vec<f64>) {
        let loss_function = CrossEntropy { labelling, ..CrossEntropy::default() };
        let examples = targets.len();
        let starts: Vec<usize> = (0..examples).step_by(CHUNK).collect();
        let sums = starts.par_iter().map(|start| {
            let mut sum = (0.0, vec![0.0; models.len()]);
            for example in *start..examples.min(start + CHUNK) {
                let row = example * classes..(example + 1) * classes;
                let models: Vec<&[f64]> = models.iter().map(|model| &model[row.clone()]).collect();
                let log_probabilities = self.combine(labelling, &models, classes);
                let mut errors = log_probabilities.to_vec();
                sum.0 += loss_function.loss(&mut errors, targets.get(example));
                for (slope, model) in sum.1.iter_mut().zip(&models) {
                    *slope += self.slope(labelling, model, &log_probabilities, &errors);
                }
            }
            sum
        });
        // In the same order with any number of threads.
        let sums: Vec<(f64, Vec<f64>)> = sums.collect();
        let mean = |value: fn(&(f64, Vec<f64>), usize) -> f64, model: usize| {
            sums.iter().map(|sum| value(sum, model)).sum::<f64>() / examples.max(1) as f64
        };
        let slopes = (0..models.len()).map(|model| mean(|sum, model| sum.1[model], model));
        (mean(|sum, _| sum.0, 0), slopes.collect())
    }

    /// Derivative of the cross-entropy of an example with respect to the weight of a model. `errors` is the
    /// gradient with respect to the logits: the probability of each class minus its share of the target.
    fn slope(&self, labelling: Labelling, model: &[f64], combined: &[f64], errors: &[f64]) -> f64 {
        let classes = model.iter().zip(combined).zip(errors);
        match (self.averaging, labelling) {
            (Averaging::LogOdds, _) => {
                labelling.logits(model).zip(errors).map(|(logit, error)| error * logit).sum()
            }
            (Averaging::Probabilities, Labelling::One) => classes
                .map(|((own, combined), error)| match combined.exp() - error {
                    0.0 => 0.0,
                    share => -share * (own - combined).exp(),
                })
                .sum(),
            // The logit changes by 1 / (p (1 − p)) with the probability p.
            (Averaging::Probabilities, Labelling::Several) => classes
                .filter(|(_, error)| **error != 0.0)
                .map(|((own, combined), error)| {
                    error * (own - combined - log_of_complement(*combined)).exp()
                })
                .sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::objective::log_softmax;

    const BOTH: [Averaging; 2] = [Averaging::Probabilities, Averaging::LogOdds];

    fn rows(logits: &[[f64; 3]]) -> Vec<f64> {
        let mut rows = logits.concat();
        rows.chunks_exact_mut(3).for_each(log_softmax);
        rows
    }

    #[test]
    fn probabilities_and_log_odds_are_averaged() {
        let (a, b) = ([0.9_f64, 0.1].map(f64::ln), [0.5_f64, 0.5].map(f64::ln));
        let combine = |averaging| {
            let combination = Combination::weighted(averaging, &[3.0, 1.0]).unwrap();
            combination.combine(Labelling::One, &[&a, &b], 2)
        };
        let mean = combine(Averaging::Probabilities);
        assert!((mean[0].exp() - 0.8).abs() < 1e-12 && (mean[1].exp() - 0.2).abs() < 1e-12);
        let log_odds = combine(Averaging::LogOdds);
        assert!((log_odds[0] - log_odds[1] - 0.75 * 9.0_f64.ln()).abs() < 1e-12);
        assert!((log_odds[0].exp() + log_odds[1].exp() - 1.0).abs() < 1e-12);
        let tiny = [-2000.0, 0.0];
        let equal = Combination::equal(Averaging::Probabilities, 2);
        assert!(
            equal.combine(Labelling::One, &[&tiny, &tiny], 2).iter().all(|value| value.is_finite())
        );
    }

    #[test]
    fn a_single_model_is_unchanged_to_the_bit() {
        let row = rows(&[[0.3, -1.0, 2.0]]);
        for averaging in BOTH {
            assert_eq!(Combination::equal(averaging, 1).combine(Labelling::One, &[&row], 3), row);
        }
    }

    #[test]
    fn proportions_are_normalized_and_checked() {
        let weighted = |proportions: &[f64]| Combination::weighted(BOTH[0], proportions);
        assert_eq!(weighted(&[1.0, 3.0]).unwrap().weights, [0.25, 0.75]);
        let invalid: [&[f64]; 5] =
            [&[0.0, 0.0], &[-1.0, 2.0], &[f64::NAN, 1.0], &[f64::INFINITY, 1.0], &[]];
        for invalid in invalid {
            assert_eq!(weighted(invalid), None, "{invalid:?}");
        }
    }

    #[test]
    fn a_useless_model_gets_no_weight() {
        let good = rows(&[[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0], [0.0, 2.0, 0.0]]);
        let bad = rows(&[[0.0, 3.0, 0.0], [3.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]]);
        for averaging in BOTH {
            let targets = Targets::Labels(vec![0, 1, 2, 1]);
            let chosen = Combination::fit(averaging, Labelling::One, &[&bad, &good], 3, &targets);
            assert_eq!(chosen.weights, [0.0, 1.0], "{averaging:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// No other weights, such as those of a single model, have a lower loss.
        #[test]
        fn chosen_weights_minimize_the_loss(
            logits in proptest::collection::vec(proptest::array::uniform3(-3.0..3.0_f64), 40),
            labels in proptest::collection::vec(0..3_u32, 10),
            others in proptest::array::uniform4(0.0..1.0_f64),
        ) {
            let labelled = (Labelling::One, Targets::Labels(labels.clone()));
            let sets = labels.chunks_exact(1).map(|labels| &labels[..labels[0] as usize % 2]);
            let with_sets = (Labelling::Several, Targets::LabelSets(sets.collect()));
            for (labelling, targets) in [labelled, with_sets] {
                let row = |logits: &[f64; 3]| {
                    let mut row = *logits;
                    labelling.log_probabilities(&mut row);
                    row
                };
                let rows = |logits: &[[f64; 3]]| logits.iter().flat_map(row).collect();
                let models: Vec<Vec<f64>> = logits.chunks(10).map(rows).collect();
                let models: Vec<&[f64]> = models.iter().map(Vec::as_slice).collect();
                for averaging in BOTH {
                    let loss = |combination: &Combination| {
                        combination.loss(labelling, &models, 3, &targets).0
                    };
                    let chosen =
                        loss(&Combination::fit(averaging, labelling, &models, 3, &targets));
                    let alone = |model: usize| {
                        let mut weights = [0.0; 4];
                        weights[model] = 1.0;
                        weights
                    };
                    for weights in (0..4).map(alone).chain([others, [1.0; 4]]) {
                        let Some(other) = Combination::weighted(averaging, &weights) else {
                            continue;
                        };
                        prop_assert!(chosen < loss(&other) + 1e-3, "{averaging:?} {weights:?}");
                    }
                }
            }
        }
    }
}

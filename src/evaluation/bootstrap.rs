//! Paired bootstrap: confidence intervals and tests of the differences of two classifiers in F1.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use rayon::prelude::*;
use serde::Serialize;

use super::class_counts::{ClassAverages, ClassCounts, count};
use super::predictions::Predictions;
use crate::config::Labelling;

/// Number of resamples.
pub const RESAMPLES: usize = 2_000;
/// Seed of the first resample; that of each other one is greater by one.
const SEED: u64 = 1;
/// Share of the resamples below the confidence interval, and above it.
const TAIL: f64 = 0.025;

/// Scores of two classifiers on the same examples, and their difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScoreDifference {
    /// Score of the first classifier.
    pub first: f64,
    /// Score of the other classifier.
    pub other: f64,
    /// Score of the first minus that of the other.
    pub difference: f64,
    /// 95 % confidence interval of the difference: percentiles of the paired bootstrap (Efron and Tibshirani
    /// 1993).
    pub interval: [f64; 2],
    /// Two-sided p-value: 2 (1 + min(a, b)) / (1 + n), where a of n resamples have a difference of at most 0,
    /// and b one of at least 0; at most 1.
    pub p_value: f64,
}

/// Differences in macro and micro F1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct F1Differences {
    pub macro_f1: ScoreDifference,
    pub micro_f1: ScoreDifference,
}

/// Macro and micro F1.
#[derive(Clone, Copy)]
struct F1 {
    macro_f1: f64,
    micro_f1: f64,
}

/// Draws examples with replacement, the same for both classifiers, and compares the scores.
pub(super) fn paired_bootstrap(first: &Predictions, other: &Predictions) -> F1Differences {
    let outcomes = Outcomes::of(first, other);
    let scores = outcomes.scores(&outcomes.all());
    let resamples: Vec<[F1; 2]> = (0..RESAMPLES as u64)
        .into_par_iter()
        .map(|resample| outcomes.scores(&outcomes.resample(SEED + resample)))
        .collect();
    let difference = |score: fn(&F1) -> f64| {
        let [first, other] = [score(&scores[0]), score(&scores[1])];
        let differences = resamples.iter().map(|[first, other]| score(first) - score(other));
        ScoreDifference::of(first, other, differences.collect())
    };
    F1Differences {
        macro_f1: difference(|scores| scores.macro_f1),
        micro_f1: difference(|scores| scores.micro_f1),
    }
}

impl ScoreDifference {
    /// Compares two scores, given their differences in resamples.
    fn of(first: f64, other: f64, mut differences: Vec<f64>) -> Self {
        differences.sort_by(f64::total_cmp);
        let total = differences.len();
        let outside = (TAIL * total as f64) as usize;
        let not_positive = differences.iter().filter(|difference| **difference <= 0.0).count();
        let not_negative = differences.iter().filter(|difference| **difference >= 0.0).count();
        let smaller = not_positive.min(not_negative) + 1;
        Self {
            first,
            other,
            difference: first - other,
            interval: [differences[outside], differences[total - 1 - outside]],
            p_value: (2.0 * smaller as f64 / (total + 1) as f64).min(1.0),
        }
    }
}

/// Labels and predictions of all examples. Examples with the same ones share an outcome.
struct Outcomes {
    labelling: Labelling,
    classes: usize,
    /// Each different outcome: the labels, and those that the classifiers predict.
    different: Vec<Outcome>,
    /// Index of the outcome of each example.
    of_example: Vec<u32>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Outcome {
    labels: Vec<usize>,
    predicted: [Vec<usize>; 2],
}

impl Outcomes {
    fn of(first: &Predictions, other: &Predictions) -> Self {
        let mut indices: BTreeMap<Outcome, u32> = BTreeMap::new();
        let mut of_example = Vec::with_capacity(first.len());
        for example in 0..first.len() {
            let predicted = [first, other].map(|each| each.predicted_labels(example));
            let outcome = Outcome { labels: first.labels(example), predicted };
            let next = indices.len() as u32;
            of_example.push(*indices.entry(outcome).or_insert(next));
        }
        let mut different: Vec<(Outcome, u32)> = indices.into_iter().collect();
        different.sort_by_key(|(_, index)| *index);
        Self {
            labelling: first.labelling(),
            classes: first.classes,
            different: different.into_iter().map(|(outcome, _)| outcome).collect(),
            of_example,
        }
    }

    /// Number of examples of each outcome.
    fn all(&self) -> Vec<usize> {
        let mut examples = vec![0; self.different.len()];
        self.of_example.iter().for_each(|outcome| examples[*outcome as usize] += 1);
        examples
    }

    /// Number of examples of each outcome in a resample.
    fn resample(&self, seed: u64) -> Vec<usize> {
        let mut random = Pcg64::seed_from_u64(seed);
        let mut examples = vec![0; self.different.len()];
        let total = self.of_example.len();
        for _ in 0..total {
            examples[self.of_example[random.random_range(0..total)] as usize] += 1;
        }
        examples
    }

    /// Scores of both classifiers, given the number of examples of each outcome.
    fn scores(&self, examples: &[usize]) -> [F1; 2] {
        [0, 1].map(|classifier| {
            let mut counts = vec![ClassCounts::default(); self.classes];
            for (outcome, examples) in self.different.iter().zip(examples) {
                count(&mut counts, &outcome.labels, &outcome.predicted[classifier], *examples);
            }
            let averages = ClassAverages::of(self.labelling, &counts);
            F1 { macro_f1: averages.macro_average.f1, micro_f1: averages.micro_average.f1 }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{label_set_predictions, predictions};
    use super::*;

    fn swapped(difference: ScoreDifference) -> ScoreDifference {
        let ScoreDifference { first, other, difference, interval: [low, high], p_value } =
            difference;
        ScoreDifference {
            first: other,
            other: first,
            difference: -difference,
            interval: [-high, -low],
            p_value,
        }
    }

    #[test]
    fn intervals_are_those_of_the_normal_approximation() {
        // Of 400 examples, 60 are right with the first only, and 30 with the other only.
        let labels: Vec<u32> = (0..400).map(|example| example % 2).collect();
        let rows = |is_right: &dyn Fn(usize) -> bool| -> Vec<Vec<f64>> {
            let row = |(example, label): (usize, &u32)| match (*label == 0) == is_right(example) {
                true => vec![0.8, 0.2],
                false => vec![0.2, 0.8],
            };
            labels.iter().enumerate().map(row).collect()
        };
        let first = predictions(&labels, &rows(&|example| example < 340));
        let other = predictions(&labels, &rows(&|example| !(280..370).contains(&example)));
        let differences = paired_bootstrap(&first, &other);
        let micro = differences.micro_f1;
        assert!((micro.difference - 0.075).abs() < 1e-12 && micro.first == 0.85);
        // Python: 0.075 - 1.96 * sqrt((90 / 400 - 0.075**2) / 400), and with +.
        let [low, high] = micro.interval;
        assert!((low - 0.0291).abs() < 0.005 && (high - 0.1209).abs() < 0.005, "{micro:?}");
        assert!((0.0005..0.006).contains(&micro.p_value), "{micro:?}");
        // The classes are of equal size and difficulty.
        assert!((differences.macro_f1.difference - 0.075).abs() < 1e-3);
        assert_eq!(paired_bootstrap(&other, &first).micro_f1, swapped(micro));
    }

    #[test]
    fn rare_labels_count_in_macro_f1() {
        let labels: Vec<Vec<u32>> =
            (0..200).map(|example| if example % 20 == 0 { vec![0, 1] } else { vec![0] }).collect();
        let with = |rare: &dyn Fn(usize) -> f64| {
            let rows: Vec<Vec<f64>> = (0..200).map(|example| vec![0.9, rare(example)]).collect();
            label_set_predictions(&labels, &rows)
        };
        let first = with(&|example| if example % 20 == 0 { 0.9 } else { 0.1 });
        let other = with(&|_| 0.1);
        let F1Differences { macro_f1, micro_f1 } = paired_bootstrap(&first, &other);
        assert_eq!((macro_f1.first, macro_f1.other), (1.0, 0.5));
        assert!(micro_f1.difference < 0.03 && micro_f1.interval[0] > 0.0);
        assert_eq!(macro_f1.p_value, 2.0 / 2001.0);
        let same = paired_bootstrap(&first, &first).macro_f1;
        assert_eq!((same.difference, same.interval, same.p_value), (0.0, [0.0, 0.0], 1.0));
    }
}

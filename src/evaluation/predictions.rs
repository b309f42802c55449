//! Predictions for examples with known labels.

use std::borrow::Cow;

use crate::backend::Inference;
use crate::data::batch_plan::{BatchLimit, Bucketing};
use crate::data::{Dataset, Target, Targets};
use crate::objective::metrics::{Meter, Score};
use crate::objective::{Averaging, Combination, LossFunction, Objective, argmax, check_finite};

/// Predictions of a classifier for labeled examples.
#[derive(Clone, Debug)]
pub struct Predictions {
    /// Number of classes.
    pub(super) classes: usize,
    /// Shape [N, C], row by row.
    pub(super) log_probabilities: Vec<f64>,
    pub(super) objective: Objective,
    pub(super) targets: Targets,
    /// Sequence length of each example, after truncation.
    pub(super) tokens: Vec<usize>,
}

impl Predictions {
    /// Classifies all examples. `objective` is that of the model; its label smoothing and class weights do
    /// not count in scores.
    pub fn of(
        classifier: &(impl Inference + ?Sized),
        objective: &Objective,
        data: &Dataset,
        limit: BatchLimit,
    ) -> Self {
        let lengths = data.lengths();
        let plan = Bucketing::sorted(limit, &lengths);
        let batches: Vec<&[u32]> = plan.batches().collect();
        let results = classifier.log_probabilities_of_batches(&data.inputs, &batches);
        let classes = results.first().map_or(0, |rows| rows.len() / batches[0].len());
        let mut log_probabilities = vec![0.0; data.len() * classes];
        for (examples, rows) in batches.into_iter().zip(results) {
            for (example, row) in examples.iter().zip(rows.chunks_exact(classes)) {
                log_probabilities[*example as usize * classes..][..classes].copy_from_slice(row);
            }
        }
        let tokens = (0..data.len() as u32).map(|example| data.tokens_of(&[example]));
        Self {
            classes,
            log_probabilities,
            objective: objective.unweighted(),
            targets: data.targets.clone(),
            tokens: tokens.collect(),
        }
    }

    /// Combines the predictions of one or more models for the same examples. The sequence lengths are those
    /// of the first model.
    pub fn combine(mut models: Vec<Self>, combination: &Combination) -> Self {
        let rows: Vec<&[f64]> = models.iter().map(|model| &model.log_probabilities[..]).collect();
        let combined = match combination.combine(&rows, models[0].classes) {
            Cow::Owned(combined) => Some(combined),
            // Those of the only model.
            Cow::Borrowed(_) => None,
        };
        let mut first = models.swap_remove(0);
        first.log_probabilities = combined.unwrap_or(first.log_probabilities);
        first
    }

    /// Chooses the weights with which the predictions of several models for the same examples have the
    /// smallest loss.
    pub fn choose_weights(models: &[Self], averaging: Averaging) -> Combination {
        let first = &models[0];
        let rows: Vec<&[f64]> = models.iter().map(|model| &model.log_probabilities[..]).collect();
        Combination::fit(averaging, &rows, first.classes, &first.targets)
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Returns true if there are no examples.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Checks that all probabilities are finite.
    ///
    /// # Errors
    /// Returns an error if the weights overflow.
    pub fn check_finite(&self) -> anyhow::Result<()> {
        check_finite(self.log_probabilities.iter().copied())
    }

    /// Index of the true class of an example: the most probable one of a distribution, the first one of
    /// a set.
    pub fn label(&self, example: usize) -> usize {
        match self.targets.get(example) {
            Target::Label(label) => label as usize,
            Target::LabelSet(labels) => labels.first().map_or(0, |label| *label as usize),
            Target::Distribution(shares) => {
                argmax(&shares.iter().map(|share| f64::from(*share)).collect::<Vec<_>>())
            }
        }
    }

    /// Index of the most probable class of an example, the first one if several are equal.
    pub fn predicted(&self, example: usize) -> usize {
        argmax(self.row(example))
    }

    /// Probability of a class, from 0 to 1.
    pub fn probability(&self, example: usize, class: usize) -> f64 {
        self.row(example)[class].exp()
    }

    /// Returns true if the most probable class is the true one.
    pub fn is_correct(&self, example: usize) -> bool {
        self.objective.is_correct(self.row(example), self.targets.get(example))
    }

    /// Misclassified examples by falling confidence.
    pub fn mistakes(&self) -> Vec<usize> {
        let confidence = |example: &usize| self.probability(*example, self.predicted(*example));
        let mut mistakes: Vec<usize> =
            (0..self.len()).filter(|example| !self.is_correct(*example)).collect();
        mistakes.sort_by(|a, b| confidence(b).total_cmp(&confidence(a)));
        mistakes
    }

    /// Accuracy and mean loss, without label smoothing and class weights, so that runs are comparable.
    pub fn score(&self) -> Score {
        let mut meter = Meter::default();
        for example in 0..self.len() {
            let mut row = self.row(example).to_vec();
            let loss = self.objective.loss(&mut row, self.targets.get(example));
            meter.add(loss, u64::from(self.is_correct(example)), 1);
        }
        meter.score()
    }

    fn row(&self, example: usize) -> &[f64] {
        &self.log_probabilities[example * self.classes..][..self.classes]
    }

    /// Probability of a class for each example, and whether it is the true one.
    pub(super) fn one_vs_rest(&self, class: usize) -> (Vec<f64>, Vec<bool>) {
        let each = (0..self.len())
            .map(|example| (self.probability(example, class), self.label(example) == class));
        each.unzip()
    }
}

//! Predictions for examples with known labels.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::backend::{GatheredRows, Inference, Learner, compute_distributed};
use crate::config::Labelling;
use crate::data::batch_plan::{BatchLimit, Bucketing};
use crate::data::{Dataset, Targets};
use crate::distributed::Collective;
use crate::model::branch_scales::BranchScales;
use crate::objective::metrics::{Meter, Score};
use crate::objective::{
    Averaging, Combination, Decision, LossFunction, Objective, argmax, check_finite,
};
use crate::text::Corpus;

/// Predictions of a classifier for labeled examples.
#[derive(Clone, Debug)]
pub struct Predictions {
    /// Number of classes.
    pub(super) classes: usize,
    /// Shape [N, C], row by row.
    pub(super) log_probabilities: Vec<f64>,
    pub(super) objective: Objective,
    pub(super) targets: Targets,
    /// Decision by the probabilities.
    pub(super) decision: Decision,
    /// Sequence length of each example, after truncation.
    pub(super) tokens: Vec<usize>,
}

impl Predictions {
    /// Classifies all examples with a model of this labelling. Each process classifies some of the batches, and
    /// all of them get all predictions, with the same bits as those of one process.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn of(
        classifier: &(impl Inference + ?Sized),
        labelling: Labelling,
        data: &Dataset,
        limit: BatchLimit,
        collective: &dyn Collective,
    ) -> anyhow::Result<Self> {
        Self::from_batches(labelling, data, limit, collective, |inputs, batches| {
            classifier.log_probabilities_of_batches(inputs, batches)
        })
    }

    /// Classifies all examples by their n-grams alone, like [`Predictions::of`].
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn of_ngrams(
        learner: &(impl Learner + ?Sized),
        labelling: Labelling,
        data: &Dataset,
        limit: BatchLimit,
        collective: &dyn Collective,
    ) -> anyhow::Result<Self> {
        Self::from_batches(labelling, data, limit, collective, |inputs, batches| {
            learner.ngram_log_probabilities(inputs, batches)
        })
    }

    /// Classifies all examples in batches. `classify` returns the log-probabilities of each batch, [B, C].
    fn from_batches(
        labelling: Labelling,
        data: &Dataset,
        limit: BatchLimit,
        collective: &dyn Collective,
        classify: impl FnMut(&[Corpus], &[&[u32]]) -> Vec<Vec<f64>>,
    ) -> anyhow::Result<Self> {
        let lengths = data.lengths();
        let plan = Bucketing::sorted(limit, &lengths);
        let batches: Vec<&[u32]> = plan.batches().collect();
        let GatheredRows { width: classes, values: log_probabilities } =
            compute_distributed(&data.inputs, &batches, collective, classify)?;
        let tokens = (0..data.len() as u32).map(|example| data.tokens_of(&[example]));
        Ok(Self {
            classes,
            log_probabilities,
            objective: Objective::plain(labelling),
            targets: data.targets.clone(),
            decision: Decision::Default,
            tokens: tokens.collect(),
        })
    }

    /// Combines the predictions of one or more models for the same examples. The sequence lengths are those
    /// of the first model.
    pub fn combine(mut models: Vec<Self>, combination: &Combination) -> Self {
        let rows: Vec<&[f64]> = models.iter().map(|model| &model.log_probabilities[..]).collect();
        let combined = match combination.combine(models[0].labelling(), &rows, models[0].classes) {
            Cow::Owned(combined) => Some(combined),
            // Those of the only model.
            Cow::Borrowed(_) => None,
        };
        let mut first = models.swap_remove(0);
        first.log_probabilities = combined.unwrap_or(first.log_probabilities);
        first
    }

    /// Returns predictions for examples without texts, from logits [N, C] or `[N]`: for two classes, a single logit
    /// is that of the second one.
    pub fn of_logits(labelling: Labelling, targets: Targets, logits: &[f64]) -> Self {
        let of_example = logits.len() / targets.len().max(1);
        let has_implied = of_example == 1 && labelling == Labelling::One;
        let mut log_probabilities = Vec::new();
        for logits in logits.chunks_exact(of_example.max(1)) {
            let first = log_probabilities.len();
            log_probabilities.extend(has_implied.then_some(0.0));
            log_probabilities.extend_from_slice(logits);
            labelling.log_probabilities(&mut log_probabilities[first..]);
        }
        Self {
            classes: of_example + usize::from(has_implied),
            log_probabilities,
            objective: Objective::plain(labelling),
            tokens: vec![0; targets.len()],
            targets,
            decision: Decision::Default,
        }
    }

    /// Chooses the scales of the model's branches with which the loss is smallest. `self` are the predictions
    /// of the model, `ngrams` those of its n-grams alone.
    ///
    /// The loss is that of the examples and of one more, which has their mean predictions and any label with
    /// the same probability: if all predictions are right, larger scales would always be better. It is convex
    /// in the scales. The search starts from scales of 1 and moves to the best neighbor until none is better.
    pub fn choose_branch_scales(&self, ngrams: &Self) -> BranchScales {
        let loss = |scales: BranchScales| (scales, self.scaled_loss(ngrams, scales));
        let mut best = loss(BranchScales::default());
        loop {
            let neighbors = best.0.neighbors().map(loss);
            match neighbors.min_by(|(_, a), (_, b)| a.total_cmp(b)) {
                Some(better) if better.1 < best.1 => best = better,
                _ => break,
            }
        }
        best.0
    }

    /// Returns the predictions with these scales of the model's branches. `ngrams` are those of its n-grams alone.
    pub fn with_branch_scales(self, ngrams: &Self, scales: BranchScales) -> Self {
        if scales == BranchScales::default() {
            return self;
        }
        let rows = (0..self.len()).flat_map(|example| self.scaled_row(ngrams, scales, example));
        let log_probabilities = rows.collect();
        Self { log_probabilities, ..self }
    }

    /// Returns the mean loss with these scales of the branches, of the examples and one with any label.
    fn scaled_loss(&self, ngrams: &Self, scales: BranchScales) -> f64 {
        /// Number of examples whose losses a thread adds up.
        const CHUNK: usize = 1 << 10;
        let share_of_any = 1.0 / (self.len() + 1) as f64;
        let sum = |start: &usize| -> f64 {
            let examples = *start..self.len().min(start + CHUNK);
            let losses = examples.map(|example| {
                let mut row = self.scaled_row(ngrams, scales, example);
                let loss_of_any = self.labelling().loss_of_any(&row);
                let loss = self.objective.loss(&mut row, self.targets.get(example));
                loss + share_of_any * (loss_of_any - loss)
            });
            losses.sum()
        };
        let starts: Vec<usize> = (0..self.len()).step_by(CHUNK).collect();
        // In the same order with any number of threads.
        let sums: Vec<f64> = starts.par_iter().map(sum).collect();
        sums.iter().sum::<f64>() / self.len() as f64
    }

    /// Returns the log-probabilities of an example with these scales of the branches.
    fn scaled_row(&self, ngrams: &Self, scales: BranchScales, example: usize) -> Vec<f64> {
        // The constant up to which logits are determined does not change the log-probabilities of the sum.
        let labelling = self.labelling();
        let logits = labelling.logits(self.row(example)).zip(labelling.logits(ngrams.row(example)));
        let logits =
            logits.map(|(both, ngrams)| scales.lstm * (both - ngrams) + scales.ngrams * ngrams);
        let mut row: Vec<f64> = logits.collect();
        labelling.log_probabilities(&mut row);
        row
    }

    /// Chooses the weights with which the predictions of several models for the same examples have the
    /// smallest loss.
    pub fn choose_weights(models: &[Self], averaging: Averaging) -> Combination {
        let first = &models[0];
        let rows: Vec<&[f64]> = models.iter().map(|model| &model.log_probabilities[..]).collect();
        Combination::fit(averaging, first.labelling(), &rows, first.classes, &first.targets)
    }

    /// Number of labels that a text can have.
    pub fn labelling(&self) -> Labelling {
        self.objective.labelling()
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
        self.targets.get(example).most_probable() as usize
    }

    /// Index of the predicted class of an example: the most probable one, the first one if several are equal,
    /// unless a calibrated model decides otherwise. If texts can have several labels, the most probable label.
    pub fn predicted(&self, example: usize) -> usize {
        match (self.labelling(), &self.decision) {
            (Labelling::Several, _) | (_, Decision::Default) => self.most_probable(example),
            (labelling, decision) => decision.predicted(labelling, self.row(example))[0],
        }
    }

    /// Index of the most probable class of an example, the first one if several are equal.
    pub fn most_probable(&self, example: usize) -> usize {
        argmax(self.row(example))
    }

    /// Returns true if a class is the true one of an example, or one of its labels. A probability as a target
    /// stands for the label that it favors.
    pub fn has_label(&self, example: usize, class: usize) -> bool {
        match self.labelling() {
            Labelling::One => self.label(example) == class,
            Labelling::Several => self.targets.get(example).share(class) >= 0.5,
        }
    }

    /// Indices of the labels of an example.
    pub fn labels(&self, example: usize) -> Vec<usize> {
        let labels = self.targets.get(example).labels(self.labelling());
        labels.into_iter().map(|label| label as usize).collect()
    }

    /// Indices of the predicted labels of an example: that of the predicted class, or of all labels that are
    /// probable enough.
    pub fn predicted_labels(&self, example: usize) -> Vec<usize> {
        self.decision.predicted(self.labelling(), self.row(example))
    }

    /// Probability of a class, from 0 to 1.
    pub fn probability(&self, example: usize, class: usize) -> f64 {
        self.row(example)[class].exp()
    }

    /// Returns true if the predicted class is the true one, or if all labels are predicted correctly.
    pub fn is_correct(&self, example: usize) -> bool {
        match (self.labelling(), &self.decision) {
            (_, Decision::Default) => {
                self.objective.is_correct(self.row(example), self.targets.get(example))
            }
            (Labelling::One, _) => self.has_label(example, self.predicted(example)),
            (Labelling::Several, _) => self.predicted_labels(example) == self.labels(example),
        }
    }

    /// Misclassified examples by falling confidence; with several labels, by falling loss.
    pub fn mistakes(&self) -> Vec<usize> {
        let surprise = |example: &usize| match self.labelling() {
            Labelling::One => self.probability(*example, self.predicted(*example)),
            Labelling::Several => self.loss(*example),
        };
        let mut mistakes: Vec<usize> =
            (0..self.len()).filter(|example| !self.is_correct(*example)).collect();
        mistakes.sort_by(|a, b| surprise(b).total_cmp(&surprise(a)));
        mistakes
    }

    /// Loss of an example, without label smoothing and class weights.
    pub fn loss(&self, example: usize) -> f64 {
        self.objective.loss(&mut self.row(example).to_vec(), self.targets.get(example))
    }

    /// Accuracy and mean loss, without label smoothing and class weights, so that runs are comparable.
    pub fn score(&self) -> Score {
        let mut meter = Meter::default();
        for example in 0..self.len() {
            meter.add(self.loss(example), u64::from(self.is_correct(example)), 1);
        }
        meter.score()
    }

    pub(super) fn row(&self, example: usize) -> &[f64] {
        &self.log_probabilities[example * self.classes..][..self.classes]
    }

    /// Probability of a class for each example, and true if the example has this label.
    pub(super) fn one_vs_rest(&self, class: usize) -> (Vec<f64>, Vec<bool>) {
        let each = (0..self.len())
            .map(|example| (self.probability(example, class), self.has_label(example, class)));
        each.unzip()
    }
}

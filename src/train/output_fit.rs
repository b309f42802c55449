//! Fitting the output layers to convergence, before training: logistic regression with an L2 penalty on the pooled
//! states of a model whose other layers stay as they are (linear probing), and on n-grams.

mod inputs;

use std::ops::Range;

use rayon::prelude::*;

use self::inputs::{HEAD_WEIGHT, Inputs, NgramInputs, States};
use super::lbfgs::{Limits, minimize};
use crate::config::Labelling;
use crate::data::prepared::PreparedData;
use crate::data::{Dataset, Targets};
use crate::evaluation::Predictions;
use crate::model::branch_scales::BranchScales;
use crate::model::{ModelSpec, NamedTensor};
use crate::objective::{LossFunction, Objective};

/// Strengths of the penalty λ/2 ‖W‖² that are tried, from the strongest. The loss is a mean over the examples.
const STRENGTHS: [f64; 9] = [0.3, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5];
/// With fewer training examples, the strength is chosen by cross-validation: few validation examples would not tell.
const CROSS_VALIDATED: usize = 5_000;
/// Number of folds of the cross-validation.
const FOLDS: usize = 5;
/// Number of examples whose slopes a thread computes at a time. Sums do not depend on the number of threads.
const CHUNK: usize = 256;
const LIMITS: Limits = Limits { steps: 500, gradient: 1e-6 };

const BIAS: &str = "head.bias";

/// Outcome of a fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Strength λ of the penalty with the lowest loss of examples that are not fitted.
    pub strength: f64,
    /// Mean loss of the validation examples.
    pub validation_loss: f64,
}

/// Outcome of fitting the output layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutputFit {
    /// Fit of the head to the states of the LSTMs; `None` without an LSTM.
    pub head: Option<Fit>,
    /// Fit of the n-grams, if they were fitted.
    pub ngrams: Option<Fit>,
    /// Scales of separate branches with which the loss of examples outside the fits is lowest; `None` without a
    /// cross-validation.
    pub branch_scales: Option<BranchScales>,
    /// Mean loss of the training examples, computed from the logits of both.
    pub train_loss: f64,
    /// Number of training examples that are predicted correctly.
    pub correct: u64,
}

/// Fits the head, and with `with_ngrams` also the weights of n-grams, to the training examples, each with a penalty
/// that generalizes best, and puts them into `weights`. Separate branches are fitted independently of each other (see
/// `train.separate_branches`); otherwise n-grams are fitted to what the
/// LSTMs leave, which also their cross-validation takes from the head that is fitted to all examples.
///
/// # Errors
/// Returns an error if the weights do not fit the model.
pub fn fit_output(
    data: &PreparedData,
    objective: &Objective,
    weights: &mut [NamedTensor],
    with_ngrams: bool,
) -> anyhow::Result<OutputFit> {
    let spec = ModelSpec::from(data);
    let logits = value(weights, BIAS).map_or(0, <[f32]>::len);
    let separates = data.resolved.config.separates_branches();
    let examples = |set| Examples { set, objective, logits };
    let (train, validation) = (examples(&data.train), examples(&data.validation));
    let mut sums =
        [vec![0.0; data.train.len() * logits], vec![0.0; data.validation.len() * logits]];
    let mut outcome =
        OutputFit { head: None, ngrams: None, branch_scales: None, train_loss: 0.0, correct: 0 };
    let states = States::of_sets(&spec, weights, [&data.train, &data.validation])?;
    let mut of_head = None;
    if let Some([of_train, of_validation]) = states {
        let model =
            Linear { inputs: &of_train, examples: train, has_bias: !separates, offsets: &sums[0] };
        let on_validation =
            Linear { inputs: &of_validation, examples: validation, offsets: &sums[1], ..model };
        let fitted = model.fit(&on_validation, &[]);
        let (of_weights, of_bias) = fitted.weights.split_at(of_train.weights());
        set(weights, HEAD_WEIGHT, of_weights);
        if !separates {
            set(weights, BIAS, of_bias);
        }
        sums = [model.logits(&fitted.weights), on_validation.logits(&fitted.weights)];
        outcome.head = Some(fitted.fit);
        of_head = fitted.held_out;
    }
    let ngrams = with_ngrams.then(|| NgramInputs::of_set(&spec, weights, &data.train)).flatten();
    let of_validation = NgramInputs::of_set(&spec, weights, &data.validation);
    if let Some((of_train, of_validation)) = ngrams.zip(of_validation) {
        let zeros = sums.each_ref().map(|sums| vec![0.0; sums.len()]);
        let offsets = if separates { &zeros } else { &sums };
        // Unless branches are separate, the bias is that of the head.
        let has_bias = separates || outcome.head.is_none();
        let model = Linear { inputs: &of_train, examples: train, has_bias, offsets: &offsets[0] };
        let on_validation =
            Linear { inputs: &of_validation, examples: validation, offsets: &offsets[1], ..model };
        let of_folds = of_train.of_parts(train.targets(), &train.outside_folds())?;
        let of_folds: Vec<&dyn Inputs> = of_folds.iter().map(|inputs| inputs as _).collect();
        let fitted = model.fit(&on_validation, &of_folds);
        let logits = model.logits(&fitted.weights);
        let (mut rest, of_bias) = fitted.weights.split_at(of_train.weights());
        for (name, count) in of_train.tensors() {
            let of_tensor;
            (of_tensor, rest) = rest.split_at(count);
            set(weights, &name, of_tensor);
        }
        if has_bias {
            set(weights, BIAS, of_bias);
        }
        let held_out = of_head.zip(fitted.held_out);
        outcome.branch_scales = held_out
            .filter(|_| separates && data.resolved.config.scales_branches())
            .map(|(of_head, of_ngrams)| train.branch_scales(&of_head, &of_ngrams));
        match separates {
            true => {
                let BranchScales { lstm, ngrams } = outcome.branch_scales.unwrap_or_default();
                let pairs = sums[0].iter_mut().zip(logits);
                pairs.for_each(|(sum, logit)| *sum = lstm * *sum + ngrams * logit);
            }
            false => sums[0] = logits,
        }
        outcome.ngrams = Some(fitted.fit);
    }
    (outcome.train_loss, outcome.correct) = train.score(&sums[0]);
    Ok(outcome)
}

fn value<'a>(weights: &'a [NamedTensor], name: &str) -> Option<&'a [f32]> {
    weights.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.values[..])
}

fn set(weights: &mut [NamedTensor], name: &str, values: &[f64]) {
    for tensor in weights.iter_mut().filter(|tensor| tensor.name == name) {
        tensor.values = values.iter().map(|value| *value as f32).collect();
    }
}

/// Labelled examples of a model with this number of logits.
#[derive(Clone, Copy)]
struct Examples<'a> {
    set: &'a Dataset,
    objective: &'a Objective,
    logits: usize,
}

impl Examples<'_> {
    fn targets(&self) -> &Targets {
        &self.set.targets
    }

    /// Returns the folds of the cross-validation; none if there is no cross-validation.
    fn folds(&self) -> Range<usize> {
        let cross_validates = (2 * FOLDS..CROSS_VALIDATED).contains(&self.set.len());
        if cross_validates { 0..FOLDS } else { 0..0 }
    }

    /// Returns the examples outside each fold.
    fn outside_folds(&self) -> Vec<Vec<usize>> {
        let outside = |fold| {
            let examples = 0..self.set.len();
            examples.filter(|example| Part::Outside(fold).has(*example)).collect()
        };
        self.folds().map(outside).collect()
    }

    /// Returns the scales of the branches that suit their logits [N, logits] best.
    fn branch_scales(&self, of_head: &[f64], of_ngrams: &[f64]) -> BranchScales {
        let predictions = |logits: &[f64]| {
            Predictions::of_logits(self.objective.labelling(), self.targets().clone(), logits)
        };
        let both: Vec<f64> =
            of_head.iter().zip(of_ngrams).map(|(head, ngrams)| head + ngrams).collect();
        predictions(&both).choose_branch_scales(&predictions(of_ngrams))
    }

    /// Returns the loss of an example, not divided by its weight, and whether it is correct. Replaces its logits by the
    /// gradient of the loss.
    fn differentiate(&self, example: usize, logits: &mut [f64], row: &mut Vec<f64>) -> (f64, bool) {
        row.clear();
        // With a single logit, the first class has logit 0.
        let has_implied = self.logits == 1 && self.objective.labelling() == Labelling::One;
        row.extend(has_implied.then_some(0.0));
        row.extend_from_slice(logits);
        self.objective.log_probabilities(row);
        let target = self.targets().get(example);
        let is_correct = self.objective.is_correct(row, target);
        let loss = self.objective.loss(row, target);
        logits.copy_from_slice(&row[row.len() - logits.len()..]);
        (loss, is_correct)
    }

    /// Returns the mean loss of some logits [N, logits], and the number of correct examples.
    fn score(&self, logits: &[f64]) -> (f64, u64) {
        let (mut sum, mut correct, mut row) = (0.0, 0, Vec::new());
        for (example, logits) in logits.chunks_exact(self.logits).enumerate() {
            let (loss, is_correct) = self.differentiate(example, &mut logits.to_vec(), &mut row);
            sum += loss;
            correct += u64::from(is_correct);
        }
        (sum / self.objective.weight(self.targets()).max(f64::MIN_POSITIVE), correct)
    }
}

/// A linear model of some inputs: weights [logits, inputs] or [inputs, logits], as the inputs have them, then biases
/// `[logits]`.
#[derive(Clone, Copy)]
struct Linear<'a> {
    inputs: &'a dyn Inputs,
    examples: Examples<'a>,
    /// The bias is fitted; otherwise it is 0.
    has_bias: bool,
    /// Added to the logits, [N, logits].
    offsets: &'a [f64],
}

/// A fit to some of the examples.
struct FoldFit<'a> {
    part: Part,
    model: Linear<'a>,
    /// Sum of the weights of the examples.
    total: f64,
    weights: Vec<f64>,
}

/// A model that has been fitted to all examples.
struct Fitted {
    fit: Fit,
    weights: Vec<f64>,
    /// Logits of each example that the fit without its fold gives, [N, logits]; `None` without a cross-validation.
    held_out: Option<Vec<f64>>,
}

/// Examples of a fit: all, those outside a fold of the cross-validation, or those in it.
#[derive(Clone, Copy)]
enum Part {
    All,
    Outside(usize),
    Inside(usize),
}

impl Part {
    fn has(self, example: usize) -> bool {
        match self {
            Self::All => true,
            Self::Outside(fold) => example % FOLDS != fold,
            Self::Inside(fold) => example % FOLDS == fold,
        }
    }
}

impl Linear<'_> {
    /// Fits the model with the penalty that generalizes best. `of_folds` are the inputs of fits without the examples of
    /// each fold; none if they are the same.
    fn fit(&self, validation: &Linear, of_folds: &[&dyn Inputs]) -> Fitted {
        let zeros = || vec![0.0; self.inputs.weights() + self.examples.logits];
        let parts = std::iter::once(Part::All).chain(self.examples.folds().map(Part::Outside));
        // The weights of each fit. Each starts from those with a stronger penalty.
        let mut fits: Vec<FoldFit> = parts
            .map(|part| FoldFit {
                part,
                model: match part {
                    Part::Outside(fold) if !of_folds.is_empty() => {
                        Linear { inputs: of_folds[fold], ..*self }
                    }
                    _ => *self,
                },
                total: self.total(part),
                weights: zeros(),
            })
            .collect();
        let mut best: Option<(f64, Fit, Vec<Vec<f64>>)> = None;
        for strength in STRENGTHS {
            let (mut validation_loss, mut held_out) = (f64::NAN, [0.0, 0.0]);
            for FoldFit { part, model, total, weights } in &mut fits {
                *weights = minimize(std::mem::take(weights), LIMITS, |weights| {
                    model.penalized_loss(weights, strength, *part, *total)
                });
                let of_part = match *part {
                    Part::Outside(fold) => {
                        let part = Part::Inside(fold);
                        [model.loss_sum(weights, part, None), self.total(part)]
                    }
                    Part::All | Part::Inside(_) => {
                        let sum = validation.loss_sum(weights, Part::All, None);
                        let total = validation.total(Part::All);
                        validation_loss = sum / total;
                        [sum, total]
                    }
                };
                held_out.iter_mut().zip(of_part).for_each(|(sum, value)| *sum += value);
            }
            let loss = held_out[0] / held_out[1];
            if best.as_ref().is_none_or(|(lowest, ..)| loss < *lowest) {
                let weights = fits.iter().map(|fit| fit.weights.clone()).collect();
                best = Some((loss, Fit { strength, validation_loss }, weights));
            }
        }
        let none = || {
            let fit = Fit { strength: f64::NAN, validation_loss: f64::NAN };
            (f64::NAN, fit, vec![zeros(); fits.len()])
        };
        let (_, fit, mut weights) = best.unwrap_or_else(none);
        let held_out = (fits.len() > 1).then(|| self.held_out_logits(&fits[1..], &weights[1..]));
        Fitted { fit, weights: weights.swap_remove(0), held_out }
    }

    /// Returns the logits [N, logits] of each example that the fit without its fold gives.
    fn held_out_logits(&self, fits: &[FoldFit], weights: &[Vec<f64>]) -> Vec<f64> {
        let (examples, count) = (self.examples.set.len(), self.examples.logits);
        let mut held_out = vec![0.0; examples * count];
        for (fold, (fit, weights)) in fits.iter().zip(weights).enumerate() {
            let logits = fit.model.logits(weights);
            for example in (0..examples).filter(|example| Part::Inside(fold).has(*example)) {
                let range = example * count..(example + 1) * count;
                held_out[range.clone()].copy_from_slice(&logits[range]);
            }
        }
        held_out
    }

    /// Returns the sum of the weights of some examples, by which the sum of their losses is divided.
    fn total(&self, part: Part) -> f64 {
        let Examples { set, objective, .. } = self.examples;
        let examples = (0..set.len() as u32).filter(|example| part.has(*example as usize));
        let examples: Vec<u32> = examples.collect();
        objective.weight(&set.targets.select(&examples)).max(f64::MIN_POSITIVE)
    }

    /// Returns the mean loss of some examples, of this total weight, with a penalty on the weights, and its gradient.
    fn penalized_loss(
        &self,
        weights: &[f64],
        strength: f64,
        part: Part,
        total: f64,
    ) -> (f64, Vec<f64>) {
        let mut gradient = vec![0.0; weights.len()];
        let mut loss = self.loss_sum(weights, part, Some(&mut gradient)) / total;
        gradient.iter_mut().for_each(|slope| *slope /= total);
        let (of_weights, of_biases) = gradient.split_at_mut(self.inputs.weights());
        for (slope, weight) in of_weights.iter_mut().zip(weights) {
            *slope += strength * weight;
            loss += 0.5 * strength * weight * weight;
        }
        if !self.has_bias {
            of_biases.fill(0.0);
        }
        (loss, gradient)
    }

    /// Returns the sum of the losses of some examples, and writes its gradient.
    fn loss_sum(&self, weights: &[f64], part: Part, gradient: Option<&mut [f64]>) -> f64 {
        let count = self.examples.logits;
        let mut slopes = self.logits(weights);
        let chunks = slopes.par_chunks_mut(CHUNK * count).enumerate();
        let sum_of = |(chunk, slopes): (usize, &mut [f64])| {
            let (mut sum, mut row) = (0.0, Vec::new());
            for (example, slopes) in (chunk * CHUNK..).zip(slopes.chunks_exact_mut(count)) {
                match part.has(example) {
                    true => sum += self.examples.differentiate(example, slopes, &mut row).0,
                    false => slopes.fill(0.0),
                }
            }
            sum
        };
        let sums: Vec<f64> = chunks.map(sum_of).collect();
        if let Some(gradient) = gradient {
            let (of_weights, of_biases) = gradient.split_at_mut(self.inputs.weights());
            self.inputs.gradient(&slopes, of_weights);
            for slopes in slopes.chunks_exact(count) {
                of_biases.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope);
            }
        }
        sums.iter().sum()
    }

    /// Returns the logits of all examples, [N, logits].
    fn logits(&self, weights: &[f64]) -> Vec<f64> {
        let count = self.examples.logits;
        let (weights, biases) = weights.split_at(self.inputs.weights());
        let mut logits = self.offsets.to_vec();
        logits.par_chunks_mut(count).enumerate().for_each(|(example, logits)| {
            logits.iter_mut().zip(biases).for_each(|(logit, bias)| *logit += bias);
            self.inputs.add_logits(example, weights, logits);
        });
        logits
    }
}

#[cfg(test)]
mod tests;

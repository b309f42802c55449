//! Warnings about a finished run whose model has learned nothing: its training ended without an error,
//! but not with success.

use super::schedule::Schedule;
use crate::config::{ClassWeights, TrainConfig};
use crate::data::prepared::PreparedData;
use crate::evaluation::{Baseline, Verdict};
use crate::objective::metrics::Score;
use crate::objective::{LossFunction, Objective};
use crate::output::format::{join_names, pluralize};
use crate::run::progress::Progress;
use crate::run::summary::ScoredWeights;

/// Ratio of the training loss of a diverged run to that of guessing. Dropout and noise stay far below it.
const DIVERGED: f64 = 1.5;

/// Minimum ratio of the training loss of a run that has collapsed to that of guessing.
const LEARNING: f64 = 0.9;

/// Returns the warnings about a run with this progress at its end, whose final weights have this score
/// on the validation examples.
pub fn warnings(
    data: &PreparedData,
    objective: &Objective,
    progress: &Progress,
    scored: ScoredWeights,
    score: Score,
) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(endless_warmup(data, progress));
    warnings.extend(late_average(data, progress));
    let diverged = divergence(data, objective, progress);
    let is_diverged = diverged.is_some();
    warnings.extend(diverged);
    let (targets, classes) = (&data.validation.targets, data.labels.len());
    let (labelling, weights) = (objective.labelling(), objective.class_weights());
    let Some(baseline) = Baseline::of(labelling, targets, classes, weights) else {
        return warnings;
    };
    let train = &data.resolved.config.train;
    let predicted = baseline.predicted.iter().map(|class| format!("\"{}\"", data.labels[*class]));
    let always = match &predicted.collect::<Vec<_>>()[..] {
        [] => "always predicting no label".to_owned(),
        labels => format!("always predicting {}", join_names(labels)),
    };
    let can_balance = train.class_weights == ClassWeights::None && baseline.is_unbalanced(classes);
    let verdict = baseline.verdict(score);
    let comparison = match verdict {
        Verdict::Better => None,
        Verdict::OnlyLowerLoss => Some(format!(
            "the loss of the model ({:.4}) is lower than that of {always} ({:.4}), but its accuracy is not \
             higher ({} and {})",
            score.loss,
            baseline.score.loss,
            percent(score.accuracy),
            percent(baseline.score.accuracy)
        )),
        Verdict::NotClearlyBetter => Some(format!(
            "the model ({}) is not clearly better than {always} ({}): with {}, the difference may be chance",
            shown(score),
            shown(baseline.score),
            pluralize(baseline.examples, "example")
        )),
        Verdict::NotBetter => Some(format!(
            "the model ({}) is no better than {always} ({})",
            shown(score),
            shown(baseline.score)
        )),
    };
    if let Some(comparison) = comparison {
        let balance = if can_balance { ", train.class_weights: balanced" } else { "" };
        warnings.push(format!(
            "on the validation examples, {comparison}; try another train.learning_rate, more \
             epochs{balance}, or look at the data with `lstmtext data stats`"
        ));
        return warnings;
    }
    let collapsed = progress.last.filter(|last| {
        baseline.verdict(last.validation) == Verdict::NotBetter
            // An overfitted model has a low training loss.
            && last.train.loss > LEARNING * baseline.score.loss
    });
    if let Some(last) = collapsed.filter(|_| !is_diverged) {
        warnings.push(format!(
            "training collapsed after epoch {}: in the end, the model ({}) was no better than {always} ({}); \
             lower train.learning_rate or {} train.gradient_clip",
            scored.epoch,
            shown(last.validation),
            shown(baseline.score),
            clip_advice(train)
        ));
    }
    warnings
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn shown(score: Score) -> String {
    format!("accuracy {}, loss {:.4}", percent(score.accuracy), score.loss)
}

/// Returns what to do with the gradient clip of a run whose steps are too large.
fn clip_advice(train: &TrainConfig) -> &'static str {
    if train.gradient_clip.is_some() { "lower" } else { "set" }
}

/// Returns a warning if the run ended before its warm-up.
fn endless_warmup(data: &PreparedData, progress: &Progress) -> Option<String> {
    let warmup = data.resolved.config.train.schedule.warmup_steps;
    (warmup > progress.step).then(|| {
        format!(
            "the learning rate never reached train.learning_rate: train.schedule.warmup_steps is \
             {warmup}, but the run has {}; lower it",
            pluralize(progress.step as usize, "step")
        )
    })
}

/// Returns a warning if the run ended before weights were averaged.
fn late_average(data: &PreparedData, progress: &Progress) -> Option<String> {
    let train = &data.resolved.config.train;
    let schedule = Schedule::new(train, progress.steps_per_epoch);
    schedule.lacks_average(progress).then(|| {
        format!(
            "the weights were never averaged: averaging starts after {} of {}, but the run ended in epoch {}; \
             lower train.average.start or train.epochs",
            train.average.start(),
            pluralize(train.epochs, "epoch"),
            progress.epoch_number()
        )
    })
}

/// Returns a warning if the training loss is far above that of guessing. Overfitting does not raise it.
fn divergence(data: &PreparedData, objective: &Objective, progress: &Progress) -> Option<String> {
    let guessing = objective.loss_of_guessing(&data.train.targets, data.labels.len());
    let loss = progress.last?.train.loss;
    (loss > DIVERGED * guessing).then(|| {
        format!(
            "training diverged: in the end, the training loss was {loss:.4}, but that of guessing is \
             {guessing:.4}; lower train.learning_rate, {} train.gradient_clip, or increase \
             train.schedule.warmup_steps",
            clip_advice(&data.resolved.config.train)
        )
    })
}

//! Warnings about a finished run whose model has learned nothing: its training ended without an error,
//! but not with success.

use crate::data::prepared::PreparedData;
use crate::evaluation::Baseline;
use crate::objective::metrics::Score;
use crate::output::format::pluralize;
use crate::run::progress::Progress;
use crate::run::summary::ScoredWeights;

/// Ratio of the training loss of a diverged run to that of guessing. Dropout and noise stay far below it.
const DIVERGED: f64 = 1.5;

/// Returns the warnings about a run with this progress at its end, whose final weights have this score
/// on the validation examples.
pub fn warnings(
    data: &PreparedData,
    progress: &Progress,
    scored: ScoredWeights,
    score: Score,
) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(endless_warmup(data, progress));
    let diverged = divergence(data, progress);
    let is_diverged = diverged.is_some();
    warnings.extend(diverged);
    let Some(baseline) = Baseline::of(&data.validation.targets, data.labels.len()) else {
        return warnings;
    };
    let Score { loss, accuracy } = baseline.score;
    let always = format!(
        "always predicting \"{}\" (accuracy {:.2} %, loss {loss:.4})",
        data.labels[baseline.class],
        100.0 * accuracy
    );
    let is_matched = |score| baseline.is_matched_by(score);
    if is_matched(score) {
        warnings.push(format!(
            "on the validation examples, the model is no better than {always}; try another \
             train.learning_rate, more epochs, train.class_weights: balanced, or look at the data with \
             `lstmtext data stats`"
        ));
    } else if !is_diverged && progress.last.is_some_and(|last| is_matched(last.validation)) {
        warnings.push(format!(
            "training collapsed after epoch {}: in the end, the model was no better than {always}; lower \
             train.learning_rate or train.gradient_clip",
            scored.epoch
        ));
    }
    warnings
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

/// Returns a warning if the training loss is far above that of guessing. Overfitting does not raise it.
fn divergence(data: &PreparedData, progress: &Progress) -> Option<String> {
    let guessing = (data.labels.len() as f64).ln();
    let loss = progress.last?.train.loss;
    (loss > DIVERGED * guessing).then(|| {
        format!(
            "training diverged: in the end, the training loss was {loss:.4}, but that of guessing is \
             {guessing:.4}; lower train.learning_rate, set train.gradient_clip, or increase \
             train.schedule.warmup_steps"
        )
    })
}

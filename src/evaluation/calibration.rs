//! Calibration: does the confidence of predictions match their accuracy?

use serde::Serialize;

use super::predictions::Predictions;
use crate::config::Labelling;

const BINS: usize = 15;

/// Examples of similar confidence, the probability of the most probable class. If a text can have several labels: pairs of
/// an example and a label, whose confidence is the probability of the label.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// Lower bound of the confidence, exclusive.
    pub from: f64,
    /// Upper bound of the confidence, inclusive.
    pub to: f64,
    /// Number of examples, or of pairs.
    pub examples: usize,
    /// Mean confidence.
    pub confidence: f64,
    /// Share of examples of that class, or of the pairs whose example has the label.
    pub accuracy: f64,
}

/// Returns the bins that are not empty, and the expected calibration error.
pub(super) fn calibration(predictions: &Predictions) -> (Vec<CalibrationBin>, f64) {
    let mut sums = [(0_usize, 0.0, 0_usize); BINS];
    let mut add = |confidence: f64, is_correct: bool| {
        let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        let (examples, sum, correct) = &mut sums[bin];
        *examples += 1;
        *sum += confidence;
        *correct += usize::from(is_correct);
    };
    for example in 0..predictions.len() {
        match predictions.labelling() {
            Labelling::One => {
                let class = predictions.most_probable(example);
                add(predictions.probability(example, class), predictions.has_label(example, class));
            }
            Labelling::Several => (0..predictions.classes).for_each(|class| {
                add(predictions.probability(example, class), predictions.has_label(example, class));
            }),
        }
    }
    let mut bins = Vec::new();
    for (number, (examples, sum, correct)) in sums.into_iter().enumerate() {
        if examples > 0 {
            bins.push(CalibrationBin {
                from: number as f64 / BINS as f64,
                to: (number + 1) as f64 / BINS as f64,
                examples,
                confidence: sum / examples as f64,
                accuracy: correct as f64 / examples as f64,
            });
        }
    }
    let weighted =
        |bin: &CalibrationBin| bin.examples as f64 * (bin.confidence - bin.accuracy).abs();
    let total: usize = bins.iter().map(|bin| bin.examples).sum();
    let error = bins.iter().map(weighted).sum::<f64>() / total.max(1) as f64;
    (bins, error)
}

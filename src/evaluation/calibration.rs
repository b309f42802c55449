//! Whether confidence can be believed.

use serde::Serialize;

use super::Predictions;

const BINS: usize = 15;

/// Examples of like confidence, which is the probability of the most probable class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// Their confidence is above this …
    pub from: f64,
    /// … and at most this.
    pub to: f64,
    /// How many there are.
    pub examples: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// Share of them that were classified rightly.
    pub accuracy: f64,
}

/// The bins that have examples, and the expected calibration error.
pub fn calibration(predictions: &Predictions) -> (Vec<CalibrationBin>, f64) {
    let mut sums = [(0_usize, 0.0, 0_usize); BINS];
    for example in 0..predictions.len() {
        let confidence = predictions.probability(example, predictions.predicted(example));
        let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        let (examples, sum, right) = &mut sums[bin];
        *examples += 1;
        *sum += confidence;
        *right += usize::from(predictions.is_right(example));
    }
    let mut bins = Vec::new();
    for (number, (examples, sum, right)) in sums.into_iter().enumerate() {
        if examples > 0 {
            bins.push(CalibrationBin {
                from: number as f64 / BINS as f64,
                to: (number + 1) as f64 / BINS as f64,
                examples,
                confidence: sum / examples as f64,
                accuracy: right as f64 / examples as f64,
            });
        }
    }
    let weighted =
        |bin: &CalibrationBin| bin.examples as f64 * (bin.confidence - bin.accuracy).abs();
    let error = bins.iter().map(weighted).sum::<f64>() / predictions.len().max(1) as f64;
    (bins, error)
}

//! Probabilities and their logits for classes that exclude each other, and for labels of which a text can have
//! several.

use crate::config::Labelling;
use crate::data::Target;

impl Labelling {
    /// Replaces the logits of an example by the log-probabilities of its classes: a softmax over classes that
    /// exclude each other, or else a sigmoid for each label.
    pub fn log_probabilities(self, logits: &mut [f64]) {
        match self {
            Self::One => log_softmax(logits),
            Self::Several => logits.iter_mut().for_each(|logit| *logit = log_sigmoid(*logit)),
        }
    }

    /// Returns logits with these log-probabilities. Those of classes that exclude each other are determined
    /// only up to a constant.
    pub fn logits(self, log_probabilities: &[f64]) -> impl Iterator<Item = f64> {
        log_probabilities.iter().map(move |value| match self {
            Self::One => *value,
            Self::Several => value - log_of_complement(*value),
        })
    }

    /// Returns the log-odds of a class, log p − log (1 − p), from the log-probabilities of all classes.
    pub fn log_odds(self, log_probabilities: &[f64], class: usize) -> f64 {
        let own = log_probabilities[class];
        own - match self {
            Self::One => log_of_others(log_probabilities, class),
            Self::Several => log_of_complement(own),
        }
    }

    /// Returns the mean loss of an example with unknown labels: each class is the label with the same
    /// probability, or the text has each label with probability one half.
    pub fn loss_of_any(self, log_probabilities: &[f64]) -> f64 {
        let loss = |value: &f64| match self {
            Self::One => -value,
            Self::Several => -(value + log_of_complement(*value)) / 2.0,
        };
        log_probabilities.iter().map(loss).sum::<f64>() / log_probabilities.len() as f64
    }

    /// Returns the indices of the predicted labels: that of the most probable class, or of all labels with a
    /// probability of at least one half.
    pub fn predicted_labels(self, log_probabilities: &[f64]) -> Vec<usize> {
        match self {
            Self::One => vec![argmax(log_probabilities)],
            Self::Several => (0..log_probabilities.len())
                .filter(|class| log_probabilities[*class].exp() >= 0.5)
                .collect(),
        }
    }

    /// Returns true if the most probable class is the label, or if the labels with a probability of at least
    /// one half are those of the text. A probability as a target stands for the label that it favors.
    pub fn is_correct(self, log_probabilities: &[f64], target: Target) -> bool {
        match self {
            Self::One => {
                let predicted = argmax(log_probabilities);
                match target {
                    Target::Label(label) => predicted == label as usize,
                    Target::LabelSet(labels) => labels.contains(&(predicted as u32)),
                    Target::Probabilities(shares) | Target::Distilled { labels: shares, .. } => {
                        let largest = shares.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                        shares[predicted] == largest
                    }
                }
            }
            Self::Several => {
                let labels =
                    (0..log_probabilities.len()).filter(|class| target.share(*class) >= 0.5);
                labels.eq(self.predicted_labels(log_probabilities))
            }
        }
    }
}

/// Replaces logits by the log-probabilities of classes that exclude each other.
pub fn log_softmax(logits: &mut [f64]) {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let shift = largest + sum.ln();
    logits.iter_mut().for_each(|logit| *logit -= shift);
}

/// Returns the logarithm of the sigmoid of a logit. It is negative also for logits above 708, whose sigmoid is
/// rounded to 1, so that the logarithm of the complement is finite.
fn log_sigmoid(logit: f64) -> f64 {
    (logit.min(0.0) - (-logit.abs()).exp().ln_1p()).min(-f64::MIN_POSITIVE)
}

/// Returns log (1 − p) for log p, without loss of precision where p is near 0 or 1 (Mächler 2012).
pub fn log_of_complement(log_probability: f64) -> f64 {
    match log_probability > -std::f64::consts::LN_2 {
        true => (-log_probability.exp_m1()).ln(),
        false => (-log_probability.exp()).ln_1p(),
    }
}

/// Returns the log-probability of all classes but one together.
fn log_of_others(log_probabilities: &[f64], class: usize) -> f64 {
    let others = || (0..log_probabilities.len()).filter(|other| *other != class);
    let most = others().map(|other| log_probabilities[other]).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = others().map(|other| (log_probabilities[other] - most).exp()).sum();
    most + sum.ln()
}

/// Returns the index of the largest value, or the first of several.
pub fn argmax(values: &[f64]) -> usize {
    let better =
        |best: usize, index: usize| if values[index] > values[best] { index } else { best };
    (0..values.len()).fold(0, better)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmoids_keep_their_precision() {
        for logit in [-700.0, -40.0, -1.0, 0.0, 0.5, 3.0, 40.0, 700.0] {
            let mut row = [logit];
            Labelling::Several.log_probabilities(&mut row);
            let again = Labelling::Several.log_odds(&row, 0);
            assert!((again - logit).abs() <= 1e-12 * logit.abs(), "{logit}: {again}");
            assert_eq!(Labelling::Several.logits(&row).next(), Some(again));
        }
        // Python: math.log(1 / (1 + math.exp(-1.5)))
        let mut row = [1.5, -1.5];
        Labelling::Several.log_probabilities(&mut row);
        assert!((row[0] + 0.2014132779827524).abs() < 1e-15);
        assert!((row[1] + 1.7014132779827524).abs() < 1e-15);
    }

    #[test]
    fn log_odds_agree_with_probabilities() {
        let mut row = [0.3, -1.2, 0.8];
        Labelling::One.log_probabilities(&mut row);
        let p = row[1].exp();
        assert!((Labelling::One.log_odds(&row, 1) - (p / (1.0 - p)).ln()).abs() < 1e-12);
    }

    #[test]
    fn a_set_is_correct_if_all_labels_are() {
        let row = [0.9_f64, 0.2, 0.5].map(f64::ln);
        let is_correct = |target| Labelling::Several.is_correct(&row, target);
        assert!(is_correct(Target::LabelSet(&[0, 2])));
        assert!(!is_correct(Target::LabelSet(&[0])));
        assert!(!is_correct(Target::LabelSet(&[0, 1, 2])));
        assert!(is_correct(Target::Probabilities(&[0.6, 0.4, 1.0])));
        let nothing = [0.1_f64, 0.2].map(f64::ln);
        assert!(Labelling::Several.is_correct(&nothing, Target::LabelSet(&[])));
    }
}

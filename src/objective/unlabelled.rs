//! Losses that depend on predictions alone, so that texts need no labels.

use super::labelling::log_of_complement;
use crate::config::Labelling;

impl Labelling {
    /// Returns the entropy of a prediction, given its log-probabilities, and replaces these by the gradient
    /// with respect to the logits. With several labels, it is the mean of the entropies of all labels.
    ///
    /// The gradient for logit c is −p_c (log p_c + H), and that of the entropy of a label −z p (1 − p), where
    /// z is its logit.
    pub fn entropy(self, log_probabilities: &mut [f64]) -> f64 {
        let count = log_probabilities.len() as f64;
        match self {
            Self::One => {
                let terms = log_probabilities.iter().map(|value| share(value.exp(), *value));
                let entropy = -terms.sum::<f64>();
                for value in log_probabilities {
                    let probability = value.exp();
                    *value = -share(probability, *value) - probability * entropy;
                }
                entropy
            }
            Self::Several => {
                let mut sum = 0.0;
                for value in log_probabilities {
                    let (log_p, log_q) = (*value, log_of_complement(*value));
                    let (p, q) = (log_p.exp(), log_q.exp());
                    sum -= share(p, log_p) + share(q, log_q);
                    *value = share(p * q, log_q - log_p) / count;
                }
                sum / count
            }
        }
    }

    /// Returns the Kullback-Leibler divergence KL(p ‖ q) of two predictions, given their log-probabilities,
    /// and replaces those of q by the gradient with respect to its logits, q − p. With several labels, it is
    /// the mean of the divergences of all labels.
    pub fn divergence(self, p: &[f64], q: &mut [f64]) -> f64 {
        let count = match self {
            Self::One => 1.0,
            Self::Several => p.len() as f64,
        };
        let mut divergence = 0.0;
        for (p, q) in p.iter().zip(q) {
            divergence += share(p.exp(), *p - *q);
            if self == Self::Several {
                let (without_p, without_q) = (log_of_complement(*p), log_of_complement(*q));
                divergence += share(without_p.exp(), without_p - without_q);
            }
            *q = (q.exp() - p.exp()) / count;
        }
        divergence / count
    }
}

/// Returns probability · value; 0 if the probability is 0, where the value may be infinite.
fn share(probability: f64, value: f64) -> f64 {
    if probability == 0.0 { 0.0 } else { probability * value }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Labelling; 2] = [Labelling::One, Labelling::Several];

    fn log_probabilities(labelling: Labelling, logits: &[f64]) -> Vec<f64> {
        let mut logits = logits.to_vec();
        labelling.log_probabilities(&mut logits);
        logits
    }

    /// Expects `loss` to replace log-probabilities by its gradient with respect to the logits.
    fn check_gradient(labelling: Labelling, loss: impl Fn(&mut [f64]) -> f64) {
        const STEP: f64 = 1e-6;
        let logits = [0.3, -1.2, 0.8];
        let mut gradient = log_probabilities(labelling, &logits);
        loss(&mut gradient);
        for (class, slope) in gradient.iter().enumerate() {
            let at = |by: f64| {
                let mut moved = logits;
                moved[class] += by;
                loss(&mut log_probabilities(labelling, &moved))
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            assert!((slope - expected).abs() < 1e-8, "{class}: {slope}, not {expected}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for labelling in BOTH {
            check_gradient(labelling, |row| labelling.entropy(row));
            let p = log_probabilities(labelling, &[1.0, 0.5, -0.7]);
            check_gradient(labelling, |q| labelling.divergence(&p, q));
        }
    }

    #[test]
    fn values_match_the_formulas() {
        let p = [0.5_f64, 0.25, 0.25].map(f64::ln);
        let [one, several] = BOTH;
        assert!((one.entropy(&mut p.clone()) - 1.5 * 2_f64.ln()).abs() < 1e-12);
        assert_eq!(one.divergence(&p, &mut p.clone()), 0.0);
        let q = [0.25_f64, 0.5, 0.25].map(f64::ln);
        assert!((one.divergence(&p, &mut q.clone()) - 0.25 * 2_f64.ln()).abs() < 1e-12);
        // Python: (log(2) + 2 * (log(4) - 0.75 * log(3))) / 3
        assert!((several.entropy(&mut p.clone()) - 0.6059391565991873).abs() < 1e-12);
        // Python: (log(2) - 0.5 * log(3) + 0.25 * log(0.5) + 0.75 * log(1.5)) / 3
        let expected = 0.09155102405567579;
        assert!((several.divergence(&p, &mut q.clone()) - expected).abs() < 1e-12);
    }

    #[test]
    fn a_probability_of_zero_adds_nothing() {
        let certain = [0.0, f64::NEG_INFINITY];
        for labelling in BOTH {
            let mut gradient = certain;
            assert_eq!((labelling.entropy(&mut gradient), gradient), (0.0, [0.0, 0.0]));
            let mut q = [-1e-3, -7.0];
            let divergence = labelling.divergence(&certain, &mut q);
            assert!(divergence.is_finite() && q.iter().all(|slope| slope.is_finite()));
        }
    }
}

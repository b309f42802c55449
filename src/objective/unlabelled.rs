//! Losses that depend on predictions alone, so that texts need no labels.

/// Returns the entropy of a distribution, given its log-probabilities, and replaces these by the gradient
/// with respect to the logits: the gradient for logit c is −p_c (log p_c + H).
pub fn entropy(log_probabilities: &mut [f64]) -> f64 {
    let entropy = -log_probabilities.iter().map(|value| share(value.exp(), *value)).sum::<f64>();
    for value in log_probabilities {
        let probability = value.exp();
        *value = -share(probability, *value) - probability * entropy;
    }
    entropy
}

/// Returns the Kullback-Leibler divergence KL(p ‖ q) of two distributions, given their log-probabilities,
/// and replaces those of q by the gradient with respect to its logits, q − p.
pub fn divergence(p: &[f64], q: &mut [f64]) -> f64 {
    let mut divergence = 0.0;
    for (p, q) in p.iter().zip(q) {
        divergence += share(p.exp(), *p - *q);
        *q = q.exp() - p.exp();
    }
    divergence
}

/// Returns probability · value; 0 if the probability is 0, where the value may be infinite.
fn share(probability: f64, value: f64) -> f64 {
    if probability == 0.0 { 0.0 } else { probability * value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::log_softmax;

    fn log_probabilities(logits: &[f64]) -> Vec<f64> {
        let mut logits = logits.to_vec();
        log_softmax(&mut logits);
        logits
    }

    /// Expects `loss` to replace log-probabilities by its gradient with respect to the logits.
    fn check_gradient(loss: impl Fn(&mut [f64]) -> f64) {
        const STEP: f64 = 1e-6;
        let logits = [0.3, -1.2, 0.8];
        let mut gradient = log_probabilities(&logits);
        loss(&mut gradient);
        for (class, slope) in gradient.iter().enumerate() {
            let at = |by: f64| {
                let mut moved = logits;
                moved[class] += by;
                loss(&mut log_probabilities(&moved))
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            assert!((slope - expected).abs() < 1e-8, "{class}: {slope}, not {expected}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        check_gradient(entropy);
        let p = log_probabilities(&[1.0, 0.5, -0.7]);
        check_gradient(|q| divergence(&p, q));
    }

    #[test]
    fn values_match_the_formulas() {
        let p = [0.5_f64, 0.25, 0.25].map(f64::ln);
        assert!((entropy(&mut p.clone()) - 1.5 * 2_f64.ln()).abs() < 1e-12);
        assert_eq!(divergence(&p, &mut p.clone()), 0.0);
        let q = [0.25_f64, 0.5, 0.25].map(f64::ln);
        assert!((divergence(&p, &mut q.clone()) - 0.25 * 2_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_probability_of_zero_adds_nothing() {
        let certain = [0.0, f64::NEG_INFINITY];
        let mut gradient = certain;
        assert_eq!((entropy(&mut gradient), gradient), (0.0, [0.0, 0.0]));
        let mut q = [-1e-3, -7.0];
        assert!(
            divergence(&certain, &mut q).is_finite() && q.iter().all(|slope| slope.is_finite())
        );
    }
}

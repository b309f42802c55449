//! The log-odds of a class, which explanations differentiate.

use super::loss_function::LossFunction;
use crate::data::{Target, Targets};

/// The negative log-odds of the target's label, log (1 − p) − log p.
pub struct LogOdds;

impl LossFunction for LogOdds {
    fn weight(&self, targets: &Targets) -> f64 {
        targets.len() as f64
    }

    /// The gradient is −1 for the label's class; the other classes share +1 in proportion to their
    /// probabilities. A target without a single label has no log-odds: its loss and gradient are 0.
    fn loss(&self, log_probabilities: &mut [f64], target: Target) -> f64 {
        let Target::Label(label) = target else {
            log_probabilities.fill(0.0);
            return 0.0;
        };
        let label = label as usize;
        let others = log_of_others(log_probabilities, label);
        let loss = others - log_probabilities[label];
        for (class, value) in log_probabilities.iter_mut().enumerate() {
            *value = if class == label { -1.0 } else { (*value - others).exp() };
        }
        loss
    }
}

/// Returns the log-odds of a class, log p − log (1 − p), from the log-probabilities of all classes.
pub fn log_odds(log_probabilities: &[f64], class: usize) -> f64 {
    log_probabilities[class] - log_of_others(log_probabilities, class)
}

/// Returns the log-probability of all classes but one together.
fn log_of_others(log_probabilities: &[f64], class: usize) -> f64 {
    let others = || (0..log_probabilities.len()).filter(|other| *other != class);
    let most = others().map(|other| log_probabilities[other]).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = others().map(|other| (log_probabilities[other] - most).exp()).sum();
    most + sum.ln()
}

//! The log-odds of a class, which explanations differentiate.

use super::loss_function::LossFunction;
use crate::config::Labelling;
use crate::data::{Target, Targets};

/// The negative log-odds of the target's label, log (1 − p) − log p.
pub struct LogOdds(pub Labelling);

impl LossFunction for LogOdds {
    fn labelling(&self) -> Labelling {
        self.0
    }

    fn weight(&self, targets: &Targets) -> f64 {
        targets.len() as f64
    }

    /// The gradient is −1 for the label's class. If classes exclude each other, the others share +1 in
    /// proportion to their probabilities. A target without a single label has no log-odds: its loss and
    /// gradient are 0.
    fn loss(&self, log_probabilities: &mut [f64], target: Target) -> f64 {
        let Target::Label(label) = target else {
            log_probabilities.fill(0.0);
            return 0.0;
        };
        let label = label as usize;
        let log_odds = self.0.log_odds(log_probabilities, label);
        let others = log_probabilities[label] - log_odds;
        for (class, value) in log_probabilities.iter_mut().enumerate() {
            *value = match self.0 {
                _ if class == label => -1.0,
                Labelling::One => (*value - others).exp(),
                Labelling::Several => 0.0,
            };
        }
        -log_odds
    }
}

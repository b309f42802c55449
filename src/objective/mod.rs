//! Objectives of training: the loss of an example, its gradient with respect to the logits, and what
//! metrics count. Combination of the predictions of several models. Computing the logits belongs to the backends.

mod combination;
mod cross_entropy;
mod log_odds;
mod loss_function;
pub mod metrics;
mod unlabelled;

use crate::config::TrainConfig;
use crate::data::{Target, Targets};

pub use combination::{Averaging, Combination};
pub use cross_entropy::CrossEntropy;
pub use log_odds::{LogOdds, log_odds};
pub use loss_function::{LossFunction, argmax, check_finite, log_softmax};
pub use unlabelled::{divergence, entropy};

/// Objective of training.
#[derive(Clone, Debug)]
pub enum Objective {
    /// Cross-entropy with a label, a set of labels or a distribution for each example.
    CrossEntropy(CrossEntropy),
}

impl Objective {
    /// Creates the configured objective for the classes `labels` and the targets of the training
    /// examples.
    ///
    /// # Errors
    /// Returns an error if the configuration weights a label that the data does not have.
    pub fn new(config: &TrainConfig, labels: &[String], train: &Targets) -> anyhow::Result<Self> {
        CrossEntropy::new(config, labels, train).map(Self::CrossEntropy)
    }

    /// Weight of each class; empty if all are 1.
    pub fn class_weights(&self) -> &[f64] {
        match self {
            Self::CrossEntropy(loss) => &loss.class_weights,
        }
    }

    /// Returns this objective without label smoothing and class weights, so that losses of different
    /// runs are comparable.
    pub fn unweighted(&self) -> Self {
        match self {
            Self::CrossEntropy(_) => Self::CrossEntropy(CrossEntropy::default()),
        }
    }
}

impl LossFunction for Objective {
    fn weight(&self, targets: &Targets) -> f64 {
        match self {
            Self::CrossEntropy(loss) => loss.weight(targets),
        }
    }

    fn log_probabilities(&self, logits: &mut [f64]) {
        match self {
            Self::CrossEntropy(loss) => loss.log_probabilities(logits),
        }
    }

    fn loss(&self, log_probabilities: &mut [f64], target: Target) -> f64 {
        match self {
            Self::CrossEntropy(loss) => loss.loss(log_probabilities, target),
        }
    }

    fn is_correct(&self, log_probabilities: &[f64], target: Target) -> bool {
        match self {
            Self::CrossEntropy(loss) => loss.is_correct(log_probabilities, target),
        }
    }
}

impl Default for Objective {
    fn default() -> Self {
        Self::CrossEntropy(CrossEntropy::default())
    }
}

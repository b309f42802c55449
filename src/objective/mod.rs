//! Objectives of training: the loss of an example, its gradient with respect to the logits, and what
//! metrics count. Combination of the predictions of several models. Computing the logits belongs to the backends.

mod added_losses;
mod calibration;
mod combination;
mod cross_entropy;
mod labelling;
mod log_odds;
mod loss_function;
pub mod metrics;
mod scaling_fit;
mod threshold_choice;
mod unlabelled;

use crate::config::{Config, Labelling};
use crate::data::{Target, Targets};

pub use added_losses::AddedLosses;
pub use calibration::{Calibration, Decision, Line, Scaling, threshold_of_costs};
pub use combination::{Averaging, Combination};
pub use cross_entropy::{CrossEntropy, Distillation};
pub use labelling::{argmax, log_of_complement, log_softmax};
pub use log_odds::LogOdds;
pub use loss_function::{LossFunction, check_finite};
pub use scaling_fit::fit_scaling;
pub use threshold_choice::{ThresholdGoal, choose_threshold};

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
    pub fn new(config: &Config, labels: &[String], train: &Targets) -> anyhow::Result<Self> {
        CrossEntropy::new(config, labels, train).map(Self::CrossEntropy)
    }

    /// Returns the loss of a model that gives all `classes` the same logits.
    pub fn loss_of_guessing(&self, targets: &Targets, classes: usize) -> f64 {
        /// Number of examples from which it is estimated.
        const EXAMPLES: usize = 1_000;
        let step = targets.len().div_ceil(EXAMPLES).max(1);
        let indices: Vec<u32> =
            (0..targets.len()).step_by(step).map(|index| index as u32).collect();
        let targets = targets.select(&indices);
        let loss = |target: Target| {
            let mut row = vec![0.0; classes];
            self.log_probabilities(&mut row);
            self.loss(&mut row, target)
        };
        targets.iter().map(loss).sum::<f64>() / self.weight(&targets)
    }

    /// Weight of each class; empty if all are 1.
    pub fn class_weights(&self) -> &[f64] {
        match self {
            Self::CrossEntropy(loss) => &loss.class_weights,
        }
    }

    /// Creates the cross-entropy without label smoothing and class weights, so that losses of different
    /// runs are comparable.
    pub fn plain(labelling: Labelling) -> Self {
        Self::CrossEntropy(CrossEntropy { labelling, ..CrossEntropy::default() })
    }
}

impl LossFunction for Objective {
    fn labelling(&self) -> Labelling {
        match self {
            Self::CrossEntropy(loss) => loss.labelling,
        }
    }

    fn weight(&self, targets: &Targets) -> f64 {
        match self {
            Self::CrossEntropy(loss) => loss.weight(targets),
        }
    }

    fn loss(&self, log_probabilities: &mut [f64], target: Target) -> f64 {
        match self {
            Self::CrossEntropy(loss) => loss.loss(log_probabilities, target),
        }
    }
}

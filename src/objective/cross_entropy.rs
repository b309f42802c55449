//! Cross-entropy with label smoothing and class weights.

use anyhow::bail;

use super::loss_function::LossFunction;
use crate::config::{ClassWeights, TrainConfig};
use crate::data::{Target, Targets};

/// The cross-entropy of a softmax (a sigmoid over one logit is the softmax over two classes, of which
/// the first has logit 0).
///
/// With q_c the share of class c in the smoothed target times the weight of the class, the loss of an
/// example is −Σ q_c log p_c, and its gradient with respect to logit c is p_c Σ q − q_c.
#[derive(Clone, Debug, Default)]
pub struct CrossEntropy {
    /// Share of the target that is spread evenly over all classes (Szegedy et al. 2016).
    pub label_smoothing: f64,
    /// Weight of each class; empty if all are 1.
    pub class_weights: Vec<f64>,
}

impl CrossEntropy {
    /// Creates the configured loss for the classes `labels` and the targets of the training examples.
    ///
    /// # Errors
    /// Returns an error if the configuration weights a label that the data does not have.
    pub fn new(config: &TrainConfig, labels: &[String], train: &Targets) -> anyhow::Result<Self> {
        let class_weights = match &config.class_weights {
            ClassWeights::None => Vec::new(),
            ClassWeights::Balanced => balanced(&train.class_counts(labels.len())),
            ClassWeights::Given(given) => {
                if let Some(unknown) = given.keys().find(|label| !labels.contains(label)) {
                    bail!(
                        "train.class_weights: unknown label \"{unknown}\"; the labels are {}",
                        labels.join(", ")
                    );
                }
                labels.iter().map(|label| given.get(label).copied().unwrap_or(1.0)).collect()
            }
        };
        Ok(Self { label_smoothing: config.label_smoothing, class_weights })
    }

    fn class_weight(&self, class: usize) -> f64 {
        self.class_weights.get(class).copied().unwrap_or(1.0)
    }

    /// Returns the share of a class in the target before smoothing.
    fn share(target: Target, class: usize) -> f64 {
        match target {
            Target::Label(label) => f64::from(u8::from(label as usize == class)),
            Target::LabelSet(labels) if labels.contains(&(class as u32)) => {
                1.0 / labels.len() as f64
            }
            Target::LabelSet(_) => 0.0,
            Target::Probabilities(shares) => f64::from(shares[class]),
        }
    }
}

/// Returns weights inversely proportional to the number of examples of each class, 1 on average over the
/// examples.
fn balanced(counts: &[f64]) -> Vec<f64> {
    let total: f64 = counts.iter().sum();
    let classes = counts.iter().filter(|count| **count > 0.0).count() as f64;
    // A class without training examples must not count: label smoothing would train for it.
    let weight = |count: &f64| if *count > 0.0 { total / (classes * count) } else { 0.0 };
    counts.iter().map(weight).collect()
}

impl LossFunction for CrossEntropy {
    fn weight(&self, targets: &Targets) -> f64 {
        if self.class_weights.is_empty() {
            return targets.len() as f64;
        }
        let weight = |example: usize| match targets.get(example) {
            Target::Label(label) => self.class_weight(label as usize),
            target => {
                let classes = 0..self.class_weights.len();
                classes.map(|class| Self::share(target, class) * self.class_weight(class)).sum()
            }
        };
        (0..targets.len()).map(weight).sum()
    }

    fn loss(&self, log_probabilities: &mut [f64], target: Target) -> f64 {
        let classes = log_probabilities.len();
        let share = |class: usize| {
            let target_share = (1.0 - self.label_smoothing) * Self::share(target, class);
            (target_share + self.label_smoothing / classes as f64) * self.class_weight(class)
        };
        let total: f64 = (0..classes).map(share).sum();
        let mut loss = 0.0;
        for (class, value) in log_probabilities.iter_mut().enumerate() {
            let share = share(class);
            if share != 0.0 {
                loss -= share * *value;
            }
            *value = value.exp() * total - share;
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_agree_with_finite_differences_of_the_loss() {
        let logits = [0.3, -1.2, 0.8];
        let log_softmax = |logits: &[f64]| -> Vec<f64> {
            let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
            logits.iter().map(|logit| logit - sum.ln()).collect()
        };
        let objectives = [
            CrossEntropy::default(),
            CrossEntropy { label_smoothing: 0.2, class_weights: vec![1.0, 2.5, 0.5] },
        ];
        let targets =
            [Target::Label(1), Target::LabelSet(&[0, 2]), Target::Probabilities(&[0.2, 0.5, 0.3])];
        for objective in &objectives {
            for target in targets {
                let loss = |logits: &[f64]| objective.loss(&mut log_softmax(logits), target);
                let mut gradient = log_softmax(&logits);
                objective.loss(&mut gradient, target);
                for class in 0..logits.len() {
                    let at = |by: f64| {
                        let mut moved = logits;
                        moved[class] += by;
                        loss(&moved)
                    };
                    let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
                    assert!((gradient[class] - slope).abs() < 1e-8, "{target:?} class {class}");
                }
            }
        }
    }

    #[test]
    fn a_distribution_with_all_its_weight_on_a_class_is_that_label() {
        let objective = CrossEntropy { label_smoothing: 0.1, class_weights: vec![2.0, 3.0] };
        let loss = |target| objective.loss(&mut [0.25_f64.ln(), 0.75_f64.ln()], target);
        assert_eq!(loss(Target::Label(1)), loss(Target::Probabilities(&[0.0, 1.0])));
        let labels = Targets::Labels(vec![1, 0, 1]);
        assert_eq!(objective.weight(&labels), 8.0);
    }

    #[test]
    fn balanced_weights_average_to_one_and_leave_out_empty_classes() {
        let weights = balanced(&[6.0, 2.0, 0.0]);
        assert_eq!(weights[2], 0.0);
        assert!((6.0 * weights[0] + 2.0 * weights[1] - 8.0).abs() < 1e-12);
    }
}

//! Cross-entropy and focal loss, with label smoothing and class weights.

use anyhow::bail;

use super::labelling::log_of_complement;
use super::loss_function::LossFunction;
use crate::config::{ClassWeights, Config, Labelling, LossKind};
use crate::data::{Target, Targets};

/// The cross-entropy of a softmax (a sigmoid over one logit is the softmax over two classes, of which the
/// first has logit 0), or with several labels, the mean of the binary cross-entropies of their sigmoids.
///
/// With q_c the share of class c in the smoothed target times the weight of the class, the cross-entropy of
/// an example is −Σ q_c log p_c, and its gradient with respect to logit c is p_c Σ q − q_c. The binary
/// cross-entropy of a label with share q is −(w q log p + (1 − q) log (1 − p)), with w the weight of the label,
/// as `pos_weight` in PyTorch's `BCEWithLogitsLoss`; its gradient is w q (p − 1) + (1 − q) p.
///
/// The focal loss (Lin et al. 2017) multiplies each −log p by (1 − p)^γ.
#[derive(Clone, Debug, Default)]
pub struct CrossEntropy {
    /// Number of labels that a text can have.
    pub labelling: Labelling,
    /// Share of the target that is spread evenly over all classes (Szegedy et al. 2016), or with several
    /// labels, over having and not having each label.
    pub label_smoothing: f64,
    /// Weight of each class; empty if all are 1.
    pub class_weights: Vec<f64>,
    /// Exponent γ of the focal loss; 0 for the cross-entropy.
    pub focal_gamma: f64,
    /// Learning from another model besides the labels.
    pub distillation: Option<Distillation>,
}

/// Distillation (Hinton, Vinyals and Dean 2015): the loss is the mean of that of the labels and the
/// cross-entropy of predictions with the probabilities of another model. The logits of both models are divided
/// by the temperature there, and the loss is multiplied by its square.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distillation {
    /// Share of the cross-entropy with the other model.
    pub weight: f64,
    /// Temperature T.
    pub temperature: f64,
}

impl CrossEntropy {
    /// Creates the configured loss for the classes `labels` and the targets of the training examples.
    ///
    /// # Errors
    /// Returns an error if the configuration weights a label that the data does not have.
    pub fn new(config: &Config, labels: &[String], train: &Targets) -> anyhow::Result<Self> {
        let (labelling, config) = (config.data.labelling(), &config.train);
        let class_weights = match &config.class_weights {
            ClassWeights::None => Vec::new(),
            ClassWeights::Balanced => {
                let counts = train.class_counts(labels.len());
                match labelling {
                    Labelling::One => balanced(&counts),
                    Labelling::Several => balanced_labels(&counts, train.len()),
                }
            }
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
        Ok(Self {
            labelling,
            label_smoothing: config.label_smoothing,
            class_weights,
            focal_gamma: match config.loss {
                LossKind::CrossEntropy => 0.0,
                LossKind::Focal => config.focal_gamma,
            },
            distillation: config.distillation.weight.map(|weight| Distillation {
                weight,
                temperature: config.distillation.temperature,
            }),
        })
    }

    fn class_weight(&self, class: usize) -> f64 {
        self.class_weights.get(class).copied().unwrap_or(1.0)
    }

    /// Returns the share of a class in the target before smoothing. The labels of a set share it if classes
    /// exclude each other.
    pub fn share(&self, target: Target, class: usize) -> f64 {
        let share = target.share(class);
        match (self.labelling, target) {
            (Labelling::One, Target::LabelSet(labels)) => share / labels.len().max(1) as f64,
            _ => share,
        }
    }

    /// Computes the loss of the labels; see [`LossFunction::loss`].
    fn loss_of_labels(&self, log_probabilities: &mut [f64], target: Target) -> f64 {
        match self.labelling {
            Labelling::One => self.softmax_loss(log_probabilities, target),
            Labelling::Several => self.sigmoid_loss(log_probabilities, target),
        }
    }

    /// Computes the loss of classes that exclude each other; see [`LossFunction::loss`].
    fn softmax_loss(&self, log_probabilities: &mut [f64], target: Target) -> f64 {
        let classes = log_probabilities.len();
        let share = |class: usize| {
            let target_share = (1.0 - self.label_smoothing) * self.share(target, class);
            (target_share + self.label_smoothing / classes as f64) * self.class_weight(class)
        };
        if self.focal_gamma > 0.0 {
            return self.focal_softmax_loss(log_probabilities, share);
        }
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

    fn focal_softmax_loss(
        &self,
        log_probabilities: &mut [f64],
        share: impl Fn(usize) -> f64,
    ) -> f64 {
        let (mut loss, mut sum) = (0.0, 0.0);
        let terms = |class: usize, value: f64| {
            let term = FocalTerm::of(value, log_of_complement(value), self.focal_gamma);
            let share = share(class);
            (share * term.loss, share * term.slope)
        };
        for (class, value) in log_probabilities.iter().enumerate() {
            let (term, slope) = terms(class, *value);
            loss += term;
            sum += slope;
        }
        for (class, value) in log_probabilities.iter_mut().enumerate() {
            *value = terms(class, *value).1 - value.exp() * sum;
        }
        loss
    }

    /// Computes the mean loss of all labels; see [`LossFunction::loss`].
    fn sigmoid_loss(&self, log_probabilities: &mut [f64], target: Target) -> f64 {
        let count = log_probabilities.len() as f64;
        let mut loss = 0.0;
        for (class, value) in log_probabilities.iter_mut().enumerate() {
            let share = (1.0 - self.label_smoothing) * self.share(target, class)
                + self.label_smoothing / 2.0;
            let (positive, negative) = (share * self.class_weight(class), 1.0 - share);
            let (log_p, log_q) = (*value, log_of_complement(*value));
            let (p, q) = (log_p.exp(), log_q.exp());
            let gamma = self.focal_gamma;
            // 0 · log 0 is 0.
            if positive != 0.0 {
                loss += positive * FocalTerm::of(log_p, log_q, gamma).loss;
            }
            if negative != 0.0 {
                loss += negative * FocalTerm::of(log_q, log_p, gamma).loss;
            }
            let slope = match gamma {
                0.0 => negative * p - positive * q,
                _ => {
                    positive * q * FocalTerm::of(log_p, log_q, gamma).slope
                        - negative * p * FocalTerm::of(log_q, log_p, gamma).slope
                }
            };
            *value = slope / count;
        }
        loss / count
    }
}

impl Distillation {
    /// Returns T² times the cross-entropy of predictions with the probabilities of another model, both at the
    /// temperature T. Replaces the log-probabilities of the predictions by the gradient with respect to the
    /// logits, T (p − q).
    fn loss(&self, labelling: Labelling, log_probabilities: &mut [f64], teacher: &[f32]) -> f64 {
        let temperature = self.temperature;
        let at_temperature = |log_probabilities: &[f64]| -> Vec<f64> {
            let logits = labelling.logits(log_probabilities).map(|logit| logit / temperature);
            let mut row: Vec<f64> = logits.collect();
            labelling.log_probabilities(&mut row);
            row
        };
        let predicted = at_temperature(log_probabilities);
        let teacher: Vec<f64> = teacher.iter().map(|share| log_share(*share)).collect();
        let teacher = at_temperature(&teacher);
        let count = match labelling {
            Labelling::One => 1.0,
            Labelling::Several => teacher.len() as f64,
        };
        let mut loss = 0.0;
        for ((value, p), q) in log_probabilities.iter_mut().zip(predicted).zip(teacher) {
            loss -= q.exp() * p;
            if labelling == Labelling::Several {
                loss -= log_of_complement(q).exp() * log_of_complement(p);
            }
            *value = temperature * (p.exp() - q.exp()) / count;
        }
        temperature * temperature * loss / count
    }
}

/// Returns the logarithm of a probability of another model, which may be rounded to 0 or 1.
fn log_share(share: f32) -> f64 {
    /// Smallest probability, and smallest probability of the complement.
    const MIN: f64 = 1e-7;
    f64::from(share).clamp(MIN, 1.0 - MIN).ln()
}

/// The focal loss of the right answer, −(1 − p)^γ log p, and its derivative with respect to log p.
struct FocalTerm {
    loss: f64,
    slope: f64,
}

impl FocalTerm {
    /// Computes the term for log p and log (1 − p).
    fn of(log_p: f64, log_q: f64, gamma: f64) -> Self {
        if gamma == 0.0 {
            return Self { loss: -log_p, slope: -1.0 };
        }
        let q = log_q.exp();
        let factor = (gamma * log_q).exp();
        if factor == 0.0 {
            return Self { loss: 0.0, slope: 0.0 };
        }
        // p log p / (1 − p) is −1 in the limit of p = 1, and 0 for p = 0.
        let p = log_p.exp();
        let relative = match () {
            () if p == 0.0 => 0.0,
            () if q == 0.0 => -1.0,
            () => p * log_p / q,
        };
        Self { loss: -factor * log_p, slope: factor * (gamma * relative - 1.0) }
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

/// Returns the number of examples without each label, divided by that of the examples that have it. A label
/// without examples, or that all examples have, has weight 1.
fn balanced_labels(counts: &[f64], examples: usize) -> Vec<f64> {
    let weight = |count: &f64| {
        let others = examples as f64 - count;
        if *count > 0.0 && others > 0.0 { others / count } else { 1.0 }
    };
    counts.iter().map(weight).collect()
}

impl LossFunction for CrossEntropy {
    fn labelling(&self) -> Labelling {
        self.labelling
    }

    fn weight(&self, targets: &Targets) -> f64 {
        if self.class_weights.is_empty() || self.labelling == Labelling::Several {
            return targets.len() as f64;
        }
        let weight = |example: usize| match targets.get(example) {
            Target::Label(label) => self.class_weight(label as usize),
            target => {
                let classes = 0..self.class_weights.len();
                classes.map(|class| self.share(target, class) * self.class_weight(class)).sum()
            }
        };
        (0..targets.len()).map(weight).sum()
    }

    fn loss(&self, log_probabilities: &mut [f64], target: Target) -> f64 {
        let (Some(distillation), Target::Distilled { teacher, .. }) = (self.distillation, target)
        else {
            return self.loss_of_labels(log_probabilities, target);
        };
        let mut of_teacher = log_probabilities.to_vec();
        let (share, of_labels) =
            (distillation.weight, self.loss_of_labels(log_probabilities, target));
        let loss = distillation.loss(self.labelling, &mut of_teacher, teacher);
        for (slope, other) in log_probabilities.iter_mut().zip(of_teacher) {
            *slope = (1.0 - share) * *slope + share * other;
        }
        (1.0 - share) * of_labels + share * loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: [Target; 5] = [
        Target::Label(1),
        Target::LabelSet(&[0, 2]),
        Target::LabelSet(&[]),
        Target::Probabilities(&[0.2, 0.5, 0.3]),
        Target::Distilled { labels: &[0.0, 1.0, 0.0], teacher: &[0.2, 0.5, 0.3] },
    ];

    /// Losses with a labelling, all of them with different settings.
    fn losses(labelling: Labelling) -> impl Iterator<Item = CrossEntropy> {
        let with_gamma = move |focal_gamma| {
            let class_weights = vec![1.0, 2.5, 0.5];
            let distillation = Some(Distillation { weight: 0.7, temperature: 1.5 });
            let plain =
                CrossEntropy { labelling, focal_gamma, distillation, ..CrossEntropy::default() };
            [CrossEntropy { label_smoothing: 0.2, class_weights, ..plain.clone() }, plain]
        };
        [0.0, 0.5, 1.0, 2.0].into_iter().flat_map(with_gamma)
    }

    #[test]
    fn gradients_agree_with_finite_differences_of_the_loss() {
        let logits = [0.3, -1.2, 0.8];
        for objective in [Labelling::One, Labelling::Several].into_iter().flat_map(losses) {
            let log_probabilities = |mut logits: [f64; 3]| {
                objective.log_probabilities(&mut logits);
                logits
            };
            for target in TARGETS {
                let loss = |logits| objective.loss(&mut log_probabilities(logits), target);
                let mut gradient = log_probabilities(logits);
                objective.loss(&mut gradient, target);
                for class in 0..logits.len() {
                    let at = |by: f64| {
                        let mut moved = logits;
                        moved[class] += by;
                        loss(moved)
                    };
                    let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
                    let found = gradient[class];
                    assert!((found - slope).abs() < 1e-8, "{objective:?} {target:?} {class}");
                }
            }
        }
    }

    #[test]
    fn distillation_without_a_temperature_is_cross_entropy_with_probabilities() {
        for labelling in [Labelling::One, Labelling::Several] {
            let plain = CrossEntropy { labelling, ..CrossEntropy::default() };
            let distillation = Some(Distillation { weight: 0.25, temperature: 1.0 });
            let distilled = CrossEntropy { distillation, ..plain.clone() };
            let loss = |loss: &CrossEntropy, target| {
                let mut row = [0.3, -1.2, 0.8];
                loss.log_probabilities(&mut row);
                let value = loss.loss(&mut row, target);
                [value, row[0], row[1], row[2]]
            };
            let (labels, teacher) = (&[0.0, 1.0, 0.0], &[0.2, 0.5, 0.3]);
            let both = loss(&distilled, Target::Distilled { labels, teacher });
            let hard = loss(&plain, Target::Probabilities(labels));
            let soft = loss(&plain, Target::Probabilities(teacher));
            for ((both, hard), soft) in both.iter().zip(hard).zip(soft) {
                assert!((both - (0.75 * hard + 0.25 * soft)).abs() < 1e-6, "{labelling:?}");
            }
        }
    }

    #[test]
    fn extreme_logits_have_finite_losses_and_gradients() {
        for objective in [Labelling::One, Labelling::Several].into_iter().flat_map(losses) {
            for target in TARGETS {
                let mut row = [800.0, -800.0, 0.0];
                objective.log_probabilities(&mut row);
                let loss = objective.loss(&mut row, target);
                assert!(loss.is_finite(), "{objective:?} {target:?}");
                assert!(row.iter().all(|slope| slope.is_finite()), "{objective:?} {target:?}");
            }
        }
    }

    #[test]
    fn losses_of_several_labels_match_pytorch() {
        // import torch; from torch.nn.functional import binary_cross_entropy_with_logits as bce
        // z = torch.tensor([0.3, -1.2, 0.8], dtype=torch.double)
        // y = torch.tensor([1., 0, 1], dtype=torch.double)
        // w = torch.tensor([1, 2.5, .5], dtype=torch.double)
        // print(bce(z, y).item(), bce(z, y, pos_weight=w).item())
        // p = z.sigmoid(); pt = y * p + (1 - y) * (1 - p)
        // print(((1 - pt) ** 2 * -pt.log()).mean().item())
        let labels = |loss: &CrossEntropy| {
            let mut row = [0.3, -1.2, 0.8];
            loss.log_probabilities(&mut row);
            loss.loss(&mut row, Target::LabelSet(&[0, 2]))
        };
        let plain = CrossEntropy { labelling: Labelling::Several, ..CrossEntropy::default() };
        let weighted = CrossEntropy { class_weights: vec![1.0, 2.5, 0.5], ..plain.clone() };
        let focal = CrossEntropy { focal_gamma: 2.0, ..plain.clone() };
        assert!((labels(&plain) - 0.396246125918112).abs() < 1e-12);
        assert!((labels(&weighted) - 0.3343960149268157).abs() < 1e-12);
        assert!((labels(&focal) - 0.0500562666801169).abs() < 1e-12);
    }

    #[test]
    fn a_distribution_with_all_its_weight_on_a_class_is_that_label() {
        let objective = CrossEntropy {
            label_smoothing: 0.1,
            class_weights: vec![2.0, 3.0],
            ..CrossEntropy::default()
        };
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

    #[test]
    fn balanced_labels_count_as_often_with_as_without() {
        assert_eq!(balanced_labels(&[2.0, 8.0, 0.0, 10.0], 10), [4.0, 0.25, 1.0, 1.0]);
    }
}

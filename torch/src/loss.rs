//! Cross-entropy and focal loss from logits, with label smoothing and class weights.

use tch::{Device, Kind, Tensor};

use crate::batch::to_device;
use lstmtext::config::Labelling;
use lstmtext::data::{Dataset, Targets};
use lstmtext::objective::{CrossEntropy, Distillation};

/// Smallest 1 − p in the factor (1 − p)^γ, whose slope could be infinite at 0.
const MIN_COMPLEMENT: f64 = 1e-12;

/// Smallest probability of another model, and smallest one of its complement.
const MIN_TEACHER: f64 = 1e-7;

/// Targets of a batch on a device.
#[derive(Debug)]
pub enum BatchTargets {
    /// Label of each example, int64 `[B]`.
    Labels(Tensor),
    /// Share of each class in the target, float [B, C].
    Shares(Tensor),
    /// Share of each class in the target, and the probabilities of another model, float [B, C].
    Distilled(Tensor, Tensor),
}

impl BatchTargets {
    /// Copies the targets of the examples at these indices to a device. Returns `None` if there are none.
    pub fn gather(
        data: &Dataset,
        examples: &[u32],
        loss: &CrossEntropy,
        classes: usize,
        device: Device,
    ) -> Option<Self> {
        if data.targets.len() < data.len() {
            return None;
        }
        let targets = data.targets.select(examples);
        if let Targets::Labels(labels) = &targets
            && loss.labelling == Labelling::One
        {
            let labels: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
            return Some(Self::Labels(to_device(&labels, device)));
        }
        let size = [examples.len() as i64, classes as i64];
        let matrix = |values: &[f32]| to_device(values, device).view(size);
        if let Targets::Distilled { labels, teacher, .. } = &targets {
            return Some(Self::Distilled(matrix(labels), matrix(teacher)));
        }
        let of = |target| (0..classes).map(move |class| loss.share(target, class) as f32);
        Some(Self::Shares(matrix(&targets.iter().flat_map(of).collect::<Vec<_>>())))
    }
}

/// Training loss. The same formula covers the softmax over classes that exclude each other and their
/// sigmoid: a sigmoid of one logit equals a softmax over two classes, one with logit 0.
#[derive(Debug)]
pub struct CrossEntropyLoss {
    /// Number of labels that a text can have.
    pub labelling: Labelling,
    /// Number of classes C.
    pub classes: usize,
    /// Fraction of the target distribution that is spread evenly over all classes (Szegedy et al.
    /// 2016), or over having and not having each label.
    pub label_smoothing: f64,
    /// Weight of each class, `[C]`.
    pub class_weights: Option<Tensor>,
    /// Exponent of the focal loss; 0 for the cross-entropy.
    pub focal_gamma: f64,
    /// Learning from another model besides the labels.
    pub distillation: Option<Distillation>,
}

impl CrossEntropyLoss {
    /// Creates the same loss on a device.
    pub fn new(loss: &CrossEntropy, classes: usize, device: Device) -> Self {
        let weights =
            || Tensor::from_slice(&loss.class_weights).to_kind(Kind::Float).to_device(device);
        Self {
            labelling: loss.labelling,
            classes,
            label_smoothing: loss.label_smoothing,
            class_weights: (!loss.class_weights.is_empty()).then(weights),
            focal_gamma: loss.focal_gamma,
            distillation: loss.distillation,
        }
    }

    /// Returns the weighted mean over the batch, [], as `torch.nn.CrossEntropyLoss` does, or with several
    /// labels, the mean over the batch and the labels, as `torch.nn.BCEWithLogitsLoss` does with class weights
    /// as `pos_weight`. The logits are `[B]` or [B, C], the log-probabilities [B, C].
    pub fn loss(
        &self,
        logits: &Tensor,
        log_probabilities: &Tensor,
        targets: &BatchTargets,
    ) -> Tensor {
        let of_labels = self.loss_of_labels(logits, log_probabilities, targets);
        let (Some(distillation), BatchTargets::Distilled(shares, teacher)) =
            (self.distillation, targets)
        else {
            return of_labels;
        };
        let Distillation { weight, temperature } = distillation;
        let divisor = match (self.labelling, &self.class_weights) {
            (Labelling::One, Some(weights)) => (shares * weights).sum(Kind::Float),
            _ => Tensor::from(shares.size()[0] as f32),
        };
        let teacher = teacher.clamp(MIN_TEACHER, 1.0 - MIN_TEACHER);
        let losses = match self.labelling {
            Labelling::One => {
                let predicted = (log_probabilities / temperature).log_softmax(1, Kind::Float);
                let teacher = (teacher.log() / temperature).softmax(1, Kind::Float);
                -(teacher * predicted)
            }
            Labelling::Several => {
                let logits = logits / temperature;
                let teacher = teacher.logit(None);
                let teacher = (teacher / temperature).sigmoid();
                let without = (1.0 - &teacher) * (-&logits).log_sigmoid();
                let losses: Tensor = teacher * logits.log_sigmoid() + without;
                losses / -(self.classes as f64)
            }
        };
        let of_teacher = losses.sum(Kind::Float) / divisor * temperature * temperature;
        of_labels * (1.0 - weight) + of_teacher * weight
    }

    /// Returns the loss of the labels, [].
    fn loss_of_labels(
        &self,
        logits: &Tensor,
        log_probabilities: &Tensor,
        targets: &BatchTargets,
    ) -> Tensor {
        match (self.labelling, targets) {
            (
                Labelling::Several,
                BatchTargets::Shares(shares) | BatchTargets::Distilled(shares, _),
            ) => self.sigmoid_loss(logits, shares),
            (Labelling::One, BatchTargets::Labels(labels)) if self.focal_gamma == 0.0 => {
                self.label_loss(log_probabilities, labels)
            }
            (_, targets) => {
                let shares = self.shares(targets);
                self.softmax_loss(log_probabilities, &shares)
            }
        }
    }

    /// Returns the share of each class, [B, C].
    fn shares(&self, targets: &BatchTargets) -> Tensor {
        match targets {
            BatchTargets::Labels(labels) => {
                labels.one_hot(self.classes as i64).to_kind(Kind::Float)
            }
            BatchTargets::Shares(shares) | BatchTargets::Distilled(shares, _) => {
                shares.shallow_clone()
            }
        }
    }

    /// Returns the cross-entropy of one label per example.
    fn label_loss(&self, log_probabilities: &Tensor, labels: &Tensor) -> Tensor {
        let losses = -log_probabilities; // loss if that class were the label, [B, C]
        let of_label = losses.gather(1, &labels.unsqueeze(1), false).squeeze_dim(1); // [B]
        let smoothing = self.label_smoothing / losses.size()[1] as f64;
        let target = 1.0 - self.label_smoothing;
        let Some(weights) = &self.class_weights else {
            return match self.label_smoothing {
                0.0 => of_label.mean(Kind::Float),
                _ => (of_label * target + sum_of_classes(&losses) * smoothing).mean(Kind::Float),
            };
        };
        let weight = weights.index_select(0, labels); // [B]
        let smoothed = sum_of_classes(&(losses * weights)) * smoothing;
        (of_label * &weight * target + smoothed).sum(Kind::Float) / weight.sum(Kind::Float)
    }

    /// Returns the loss of classes that exclude each other with these shares, [B, C].
    fn softmax_loss(&self, log_probabilities: &Tensor, shares: &Tensor) -> Tensor {
        let smoothing = self.label_smoothing / self.classes as f64;
        let smoothed = shares * (1.0 - self.label_smoothing) + smoothing;
        let complement = -log_probabilities.expm1();
        let losses = -self.focused(smoothed * log_probabilities, &complement);
        match &self.class_weights {
            None => sum_of_classes(&losses).mean(Kind::Float),
            Some(weights) => {
                (losses * weights).sum(Kind::Float) / (shares * weights).sum(Kind::Float)
            }
        }
    }

    /// Returns the mean loss of all labels with these shares, [B, C].
    fn sigmoid_loss(&self, logits: &Tensor, shares: &Tensor) -> Tensor {
        let shares = shares * (1.0 - self.label_smoothing) + self.label_smoothing / 2.0;
        let (with, without) = (logits.log_sigmoid(), (-logits).log_sigmoid());
        let positive = self.focused(&shares * &with, &without.exp());
        let positive = match &self.class_weights {
            None => positive,
            Some(weights) => positive * weights,
        };
        let negative = self.focused((1.0 - shares) * &without, &with.exp());
        -(positive + negative).mean(Kind::Float)
    }

    /// Multiplies terms by the factor (1 − p)^γ of the focal loss, given 1 − p.
    fn focused(&self, terms: Tensor, complement: &Tensor) -> Tensor {
        match self.focal_gamma {
            0.0 => terms,
            gamma => terms * complement.clamp_min(MIN_COMPLEMENT).pow_tensor_scalar(gamma),
        }
    }

    /// Counts the examples whose most probable class is the label, or the most probable one of the target,
    /// and with several labels those of which all labels are predicted correctly, int64 [].
    pub fn count_correct(&self, log_probabilities: &Tensor, targets: &BatchTargets) -> Tensor {
        let correct = match (self.labelling, targets) {
            (_, BatchTargets::Labels(labels)) => {
                log_probabilities.argmax(1, false).eq_tensor(labels)
            }
            (Labelling::One, BatchTargets::Shares(shares) | BatchTargets::Distilled(shares, _)) => {
                let predicted = log_probabilities.argmax(1, true);
                shares.gather(1, &predicted, false).eq_tensor(&shares.amax(1, true))
            }
            (
                Labelling::Several,
                BatchTargets::Shares(shares) | BatchTargets::Distilled(shares, _),
            ) => {
                let predicted = log_probabilities.ge(-std::f64::consts::LN_2);
                predicted.eq_tensor(&shares.ge(0.5)).all_dim(1, false)
            }
        };
        correct.sum(Kind::Int64)
    }
}

/// Sums over classes, [B, C] → `[B]`.
fn sum_of_classes(losses: &Tensor) -> Tensor {
    losses.sum_dim_intlist(1, false, Kind::Float)
}

/// Returns the log-probability of each class, [B, C], from logits: those of a sigmoid for two classes, `[B]`,
/// of a softmax, [B, C], or of a sigmoid for each label, [B, C].
pub fn log_probabilities(logits: &Tensor, labelling: Labelling) -> Tensor {
    match (labelling, logits.dim()) {
        (Labelling::One, 1) => Tensor::stack(&[(-logits).log_sigmoid(), logits.log_sigmoid()], 1),
        (Labelling::One, _) => logits.log_softmax(1, Kind::Float),
        (Labelling::Several, _) => logits.log_sigmoid(),
    }
}

/// Returns log (1 − p) from log p. It stays finite where p is rounded to 1.
fn log_of_complement(log_probabilities: &Tensor) -> Tensor {
    /// A value of this size or below has no other effect than 0.
    const ALMOST_ZERO: f64 = -1e-30;
    (-log_probabilities.clamp_max(ALMOST_ZERO).expm1()).log()
}

/// Returns the mean entropy of the predictions, [], from log-probabilities [B, C]; with several labels, the
/// mean over these too.
pub fn mean_entropy(log_probabilities: &Tensor, labelling: Labelling) -> Tensor {
    let terms = log_probabilities.exp() * log_probabilities;
    match labelling {
        Labelling::One => -sum_of_classes(&terms).mean(Kind::Float),
        Labelling::Several => {
            let without = log_of_complement(log_probabilities);
            -(terms + without.exp() * &without).mean(Kind::Float)
        }
    }
}

/// Returns the mean of KL(p ‖ q), [], from log-probabilities [B, C]; with several labels, the mean over these
/// too.
pub fn mean_divergence(p: &Tensor, q: &Tensor, labelling: Labelling) -> Tensor {
    let terms = p.exp() * (p - q);
    match labelling {
        Labelling::One => sum_of_classes(&terms).mean(Kind::Float),
        Labelling::Several => {
            let (without_p, without_q) = (log_of_complement(p), log_of_complement(q));
            (terms + without_p.exp() * (&without_p - without_q)).mean(Kind::Float)
        }
    }
}

/// Returns the sum over the examples of KL(p ‖ q), [], up to a positive factor and a constant for each
/// example, so that its gradient with respect to the logits of q has 1 as its largest value. The gradient
/// of a confident prediction is so small that its square could vanish.
pub fn scaled_divergence(p: &Tensor, q: &Tensor, labelling: Labelling) -> Tensor {
    let slopes = q.detach().exp() - p.exp();
    let largest = slopes.abs().amax(1, true);
    let slopes = slopes / largest.masked_fill(&largest.eq(0.0), 1.0);
    let logits = match labelling {
        // The slopes add up to 0, so that a constant does not matter.
        Labelling::One => q.shallow_clone(),
        Labelling::Several => q - log_of_complement(q),
    };
    (slopes * logits).sum(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sigmoid_is_a_softmax_over_two_classes() {
        let logits = Tensor::from_slice(&[-200.0_f32, -1.5, 0.0, 3.0, 200.0]);
        let pairs = Tensor::stack(&[logits.zeros_like(), logits.shallow_clone()], 1);
        let difference =
            log_probabilities(&logits, Labelling::One) - log_probabilities(&pairs, Labelling::One);
        assert!(difference.abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn scaled_gradients_have_the_direction_of_the_divergence() {
        for labelling in [Labelling::One, Labelling::Several] {
            let p = Tensor::from_slice2(&[[0.1_f32, 2.0, -1.0], [7.0, 0.0, 1.0]]);
            let p = log_probabilities(&p, labelling);
            let logits = Tensor::from_slice2(&[[0.2_f32, 1.0, -1.0], [6.5, 0.0, 1.0]]);
            let logits = logits.set_requires_grad(true);
            let gradient = |loss: fn(&Tensor, &Tensor, Labelling) -> Tensor| {
                let loss = loss(&p, &log_probabilities(&logits, labelling), labelling);
                Tensor::run_backward(&[&loss], &[&logits], false, false).remove(0)
            };
            let (exact, scaled) = (gradient(mean_divergence), gradient(scaled_divergence));
            let cosine = Tensor::cosine_similarity(&exact, &scaled, 1, 1e-30);
            assert!((cosine - 1.0).abs().max().double_value(&[]) < 1e-3, "{labelling:?}");
            let largest = scaled.abs().amax(1, false);
            assert!((largest - 1.0).abs().max().double_value(&[]) < 1e-3, "{labelling:?}");
        }
    }

    /// Returns a loss for some classes.
    fn loss(labelling: Labelling, classes: usize, focal_gamma: f64) -> CrossEntropyLoss {
        let loss = CrossEntropy { labelling, focal_gamma, ..CrossEntropy::default() };
        CrossEntropyLoss::new(&loss, classes, Device::Cpu)
    }

    #[test]
    fn correct_predictions_are_counted() {
        let logits = Tensor::from_slice(&[-1.0_f32, 2.0, 0.5]);
        let log_probabilities = log_probabilities(&logits, Labelling::One);
        let count = |loss: CrossEntropyLoss, log_probabilities: &Tensor, targets: BatchTargets| {
            loss.count_correct(log_probabilities, &targets).int64_value(&[])
        };
        let labels = BatchTargets::Labels(Tensor::from_slice(&[0_i64, 1, 0]));
        assert_eq!(count(loss(Labelling::One, 2, 0.0), &log_probabilities, labels), 2);
        let logits = Tensor::from_slice2(&[[1.0_f32, -1.0], [2.0, 1.0], [-3.0, -1.0]]);
        let log_probabilities = super::log_probabilities(&logits, Labelling::Several);
        let shares = Tensor::from_slice2(&[[1.0_f32, 0.0], [1.0, 0.0], [0.4, 0.0]]);
        let targets = BatchTargets::Shares(shares);
        assert_eq!(count(loss(Labelling::Several, 2, 0.0), &log_probabilities, targets), 2);
    }

    #[test]
    fn extreme_logits_have_finite_losses_and_gradients() {
        let logits = Tensor::from_slice2(&[[200.0_f32, -200.0, 0.0]; 2]).set_requires_grad(true);
        let shares =
            BatchTargets::Shares(Tensor::from_slice2(&[[0.0_f32, 1.0, 0.0], [1.0, 0.0, 0.0]]));
        let is_finite = |tensor: &Tensor| tensor.isfinite().all().int64_value(&[]) == 1;
        for labelling in [Labelling::One, Labelling::Several] {
            for gamma in [0.0, 0.5, 2.0] {
                let log_probabilities = log_probabilities(&logits, labelling);
                let loss = loss(labelling, 3, gamma).loss(&logits, &log_probabilities, &shares);
                let entropy = mean_entropy(&log_probabilities, labelling);
                let others = log_probabilities.detach().flip([1]);
                let divergence = mean_divergence(&others, &log_probabilities, labelling);
                for loss in [loss, entropy, divergence] {
                    let gradient =
                        Tensor::run_backward(&[&loss], &[&logits], true, false).remove(0);
                    assert!(is_finite(&loss) && is_finite(&gradient), "{labelling:?} {gamma}");
                }
            }
        }
    }
}

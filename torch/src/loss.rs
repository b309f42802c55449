//! Cross-entropy from logits, with label smoothing and class weights.

use tch::{Kind, Tensor};

/// Training loss. The same formula covers sigmoid and softmax: a sigmoid of one logit equals a
/// softmax over two classes, one with logit 0.
#[derive(Debug, Default)]
pub struct CrossEntropyLoss {
    /// Fraction of the target distribution that is spread evenly over all classes (Szegedy et al.
    /// 2016).
    pub label_smoothing: f64,
    /// Weight of each class, `[C]`.
    pub class_weights: Option<Tensor>,
}

impl CrossEntropyLoss {
    /// Returns the weighted mean over the batch, [], as `torch.nn.CrossEntropyLoss` does, from
    /// log-probabilities [B, C] and labels, int64 `[B]`.
    pub fn loss(&self, log_probabilities: &Tensor, labels: &Tensor) -> Tensor {
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

    /// Returns the sum of the weights of the examples with these labels, int64 `[B]`. With class
    /// weights it waits for the device.
    pub fn weight(&self, labels: &Tensor) -> f64 {
        match &self.class_weights {
            Some(weights) => weights.index_select(0, labels).sum(Kind::Double).double_value(&[]),
            None => labels.numel() as f64,
        }
    }
}

/// Sums over classes, [B, C] → `[B]`.
fn sum_of_classes(losses: &Tensor) -> Tensor {
    losses.sum_dim_intlist(1, false, Kind::Float)
}

/// Returns the log-probability of each class, [B, C], from logits `[B]` of a sigmoid or [B, C] of a
/// softmax.
pub fn log_probabilities(logits: &Tensor) -> Tensor {
    match logits.dim() {
        1 => Tensor::stack(&[(-logits).log_sigmoid(), logits.log_sigmoid()], 1),
        _ => logits.log_softmax(1, Kind::Float),
    }
}

/// Returns the mean entropy of the predictions, [], from log-probabilities [B, C].
pub fn mean_entropy(log_probabilities: &Tensor) -> Tensor {
    -sum_of_classes(&(log_probabilities.exp() * log_probabilities)).mean(Kind::Float)
}

/// Returns the mean of KL(p ‖ q), [], from log-probabilities [B, C].
pub fn mean_divergence(p: &Tensor, q: &Tensor) -> Tensor {
    sum_of_classes(&(p.exp() * (p - q))).mean(Kind::Float)
}

/// Returns the sum over the examples of KL(p ‖ q), [], up to a positive factor and a constant for each
/// example, so that its gradient with respect to the logits of q has 1 as its largest value. The gradient
/// of a confident prediction is so small that its square could vanish.
pub fn scaled_divergence(p: &Tensor, q: &Tensor) -> Tensor {
    let slopes = q.detach().exp() - p.exp(); // They add up to 0.
    let largest = slopes.abs().amax(1, true);
    let slopes = slopes / largest.masked_fill(&largest.eq(0.0), 1.0);
    (slopes * q).sum(Kind::Float)
}

/// Counts the examples whose most probable class is the label, int64 [].
pub fn count_correct(log_probabilities: &Tensor, labels: &Tensor) -> Tensor {
    log_probabilities.argmax(1, false).eq_tensor(labels).sum(Kind::Int64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sigmoid_is_a_softmax_over_two_classes() {
        let logits = Tensor::from_slice(&[-200.0_f32, -1.5, 0.0, 3.0, 200.0]);
        let pairs = Tensor::stack(&[logits.zeros_like(), logits.shallow_clone()], 1);
        let difference = log_probabilities(&logits) - log_probabilities(&pairs);
        assert!(difference.abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn scaled_gradients_have_the_direction_of_the_divergence() {
        let p = log_probabilities(&Tensor::from_slice2(&[[0.1_f32, 2.0, -1.0], [7.0, 0.0, 1.0]]));
        let logits = Tensor::from_slice2(&[[0.2_f32, 1.0, -1.0], [6.5, 0.0, 1.0]]);
        let logits = logits.set_requires_grad(true);
        let gradient = |loss: fn(&Tensor, &Tensor) -> Tensor| {
            let loss = loss(&p, &log_probabilities(&logits));
            Tensor::run_backward(&[&loss], &[&logits], false, false).remove(0)
        };
        let (exact, scaled) = (gradient(mean_divergence), gradient(scaled_divergence));
        let cosine = Tensor::cosine_similarity(&exact, &scaled, 1, 1e-30);
        assert!((cosine - 1.0).abs().max().double_value(&[]) < 1e-3);
        assert!((scaled.abs().amax(1, false) - 1.0).abs().max().double_value(&[]) < 1e-3);
    }

    #[test]
    fn correct_predictions_are_counted() {
        let log_probabilities = log_probabilities(&Tensor::from_slice(&[-1.0_f32, 2.0, 0.5]));
        let labels = Tensor::from_slice(&[0_i64, 1, 0]);
        assert_eq!(count_correct(&log_probabilities, &labels).int64_value(&[]), 2);
    }
}

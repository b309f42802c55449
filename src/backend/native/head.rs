//! The layer that turns pooled features into logits, and what is differentiated.

/// What the gradient is that of.
pub trait Objective: Sync {
    /// What the examples with these labels weigh together; the gradient is divided by it.
    fn weight(&self, labels: &[u32]) -> f64;

    /// The loss of one example, not yet divided, from the log probabilities of the classes; turns
    /// these into its gradient with respect to the logits of a softmax.
    fn loss(&self, log_probabilities: &mut [f64], label: usize) -> f64;
}

/// The cross-entropy: what it is made of, besides logits and labels.
#[derive(Clone, Debug, Default)]
pub struct CrossEntropy {
    /// Share of the target spread evenly over all classes.
    pub label_smoothing: f64,
    /// What each class weighs; empty where all weigh the same.
    pub class_weights: Vec<f64>,
}

impl Objective for CrossEntropy {
    fn weight(&self, labels: &[u32]) -> f64 {
        match self.class_weights[..] {
            [] => labels.len() as f64,
            _ => labels.iter().map(|label| self.class_weights[*label as usize]).sum(),
        }
    }

    /// With q_c the share of class c in the target times its weight the loss is −Σ q_c log p_c, and
    /// its gradient p_c Σ q − q_c.
    fn loss(&self, log_probabilities: &mut [f64], label: usize) -> f64 {
        let classes = log_probabilities.len();
        let weight = |class: usize| self.class_weights.get(class).copied().unwrap_or(1.0);
        let target = |class: usize| {
            let own =
                if class == label { (1.0 - self.label_smoothing) * weight(class) } else { 0.0 };
            own + self.label_smoothing / classes as f64 * weight(class)
        };
        let total: f64 = (0..classes).map(target).sum();
        let mut loss = 0.0;
        for (class, value) in log_probabilities.iter_mut().enumerate() {
            if target(class) != 0.0 {
                loss -= target(class) * *value;
            }
            *value = value.exp() * total - target(class);
        }
        loss
    }
}

/// How much more probable the class is than all others together: log p − log (1 − p). It is negated,
/// as a loss is.
pub struct LogOdds;

impl Objective for LogOdds {
    fn weight(&self, labels: &[u32]) -> f64 {
        labels.len() as f64
    }

    /// The gradient is −1 for the class, and for the others their shares of what is left.
    fn loss(&self, log_probabilities: &mut [f64], label: usize) -> f64 {
        let others = log_of_others(log_probabilities, label);
        let loss = others - log_probabilities[label];
        for (class, value) in log_probabilities.iter_mut().enumerate() {
            *value = if class == label { -1.0 } else { (*value - others).exp() };
        }
        loss
    }
}

/// log p − log (1 − p) of a class, from the log probabilities of all.
pub fn log_odds(log_probabilities: &[f64], class: usize) -> f64 {
    log_probabilities[class] - log_of_others(log_probabilities, class)
}

/// The log probability of all classes but one together.
fn log_of_others(log_probabilities: &[f64], class: usize) -> f64 {
    let others = || (0..log_probabilities.len()).filter(|other| *other != class);
    let most = others().map(|other| log_probabilities[other]).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = others().map(|other| (log_probabilities[other] - most).exp()).sum();
    most + sum.ln()
}

/// Logits of one example; one logit stands for two classes, of which the first has logit 0.
pub fn logits(features: &[f32], weight: &[f32], bias: &[f32], logits: &mut Vec<f64>) {
    logits.clear();
    if bias.len() == 1 {
        logits.push(0.0);
    }
    for (row, bias) in weight.chunks_exact(features.len()).zip(bias) {
        let product: f32 = row.iter().zip(features).map(|(a, b)| a * b).sum();
        logits.push(f64::from(product + bias));
    }
}

/// Logits to log probabilities.
pub fn log_softmax(logits: &mut [f64]) {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - most).exp()).sum();
    let shift = most + sum.ln();
    logits.iter_mut().for_each(|logit| *logit -= shift);
}

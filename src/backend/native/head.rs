//! The head: pooled features → logits → log-probabilities.

/// Computes the logits of one example. A single logit stands for two classes; the first class then
/// has logit 0.
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

/// Replaces logits by log-probabilities.
pub fn log_softmax(logits: &mut [f64]) {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let shift = largest + sum.ln();
    logits.iter_mut().for_each(|logit| *logit -= shift);
}

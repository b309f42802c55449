//! The head: pooled features → logits.

/// Computes the logits of one example. With a single logit there are two classes: it is the logit of the
/// second, and the first has logit 0.
pub fn logits(features: &[f32], weight: &[f32], bias: &[f32], logits: &mut Vec<f64>) {
    logits.clear();
    if bias.len() == 1 {
        logits.push(0.0);
    }
    for (logit, bias) in bias.iter().enumerate() {
        let row = &weight[logit * features.len()..][..features.len()];
        let product: f32 = row.iter().zip(features).map(|(a, b)| a * b).sum();
        logits.push(f64::from(product + bias));
    }
}

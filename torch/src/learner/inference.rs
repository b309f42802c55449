//! Inference with libtorch.

use tch::Tensor;

use crate::batch::Batch;
use crate::libtorch::{BatchContext, BatchKind, with_batch_context};
use crate::loss::log_probabilities;
use crate::model::{Mode, Model};
use crate::tensors::values;
use lstmtext::backend::Inference;
use lstmtext::text::Corpus;

impl Inference for Model {
    fn log_probabilities(&self, inputs: &[Corpus], examples: &[u32]) -> Vec<f64> {
        self.log_probabilities_of_batches(inputs, &[examples]).concat()
    }

    fn log_probabilities_of_batches(&self, inputs: &[Corpus], batches: &[&[u32]]) -> Vec<Vec<f64>> {
        self.classify(inputs, batches, |batch| self.logits(batch, Mode::Evaluate))
    }
}

impl Model {
    /// Computes log-probabilities [B, C] for each batch from its logits. Waits for the device once, after the
    /// last batch.
    pub(super) fn classify(
        &self,
        inputs: &[Corpus],
        batches: &[&[u32]],
        logits: impl Fn(&Batch) -> Tensor,
    ) -> Vec<Vec<f64>> {
        let _no_grad = tch::no_grad_guard();
        // Another model may have changed the settings. If they cannot be applied, the forward pass
        // reports the error.
        let _ = self.numerics().apply();
        let classify = |examples: &&[u32]| {
            with_batch_context(batch_context(false, inputs, examples), || {
                let batch = Batch::gather(inputs, examples, self.device());
                log_probabilities(&logits(&batch), self.labelling()).flatten(0, 1)
            })
        };
        // Only log-probabilities are kept, so that the batches take the memory of one batch.
        let results: Vec<Tensor> = batches.iter().map(classify).collect();
        if results.is_empty() {
            return Vec::new();
        }
        let values = values(&Tensor::cat(&results, 0));
        let mut remaining = &values[..];
        let mut next = |result: &Tensor| {
            let (first, rest) = remaining.split_at(result.numel());
            remaining = rest;
            first.to_vec()
        };
        results.iter().map(&mut next).collect()
    }
}

/// Describes a batch for error messages.
pub(super) fn batch_context(training: bool, inputs: &[Corpus], examples: &[u32]) -> BatchContext {
    let time_steps = |corpus: &Corpus| examples.iter().map(|i| corpus.steps(*i as usize)).max();
    let time_steps = inputs.iter().filter_map(time_steps).max().unwrap_or(0);
    let kind = if training { BatchKind::Training } else { BatchKind::Inference };
    BatchContext { kind, examples: examples.len(), time_steps }
}

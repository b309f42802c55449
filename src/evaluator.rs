//! Scores a model on labelled examples.

use tch::Device;

use crate::batch::Batch;
use crate::bucketing::{BatchLimit, Bucketing};
use crate::loss::{CrossEntropy, count_correct, log_probabilities};
use crate::metrics::{Meter, Score};
use crate::model::{Mode, Model};
use crate::text::Encoded;

/// The mean cross-entropy (neither smoothed nor weighted, so that runs can be compared) and the
/// accuracy on all examples.
pub fn evaluate(model: &Model, data: &Encoded, limit: BatchLimit, device: Device) -> Score {
    let criterion = CrossEntropy::default();
    let mut meter = Meter::default();
    let _no_grad = tch::no_grad_guard();
    for examples in Bucketing::sorted(limit, &data.lengths()).batches() {
        let batch = Batch::gather(&data.inputs, &data.labels, examples, device);
        let log_probabilities = log_probabilities(&model.logits(&batch, Mode::Evaluate));
        let loss = criterion.loss(&log_probabilities, &batch.labels).double_value(&[]);
        meter.add(loss, count_correct(&log_probabilities, &batch.labels), batch.examples as u64);
    }
    meter.score()
}

//! LSTMs in bf16 and fp16 on the CPU; tests/cuda has the tests on CUDA devices.

use lstmtext::backend::native::NativeLearner;
use lstmtext::backend::{Inference, LOSS_SCALE, Learner, StepStats};
use lstmtext::distributed::Worker;
use lstmtext::model::named_tensors::NamedTensor;
use lstmtext_torch::learner::TorchLearner;

use crate::case::{objective, step};
use crate::{Case, assert_close, relative_error, steps};

const NETWORKS: [&str; 5] = [
    "model: {embedding: {size: 6}, lstm: {units: 5}, pooling: max, head: {dropout: 0}}\n",
    "model: {embedding: {size: 6}, lstm: {units: 5, layers: 2}, pooling: last, head: {dropout: 0}}\n",
    "model: {embedding: {size: 6}, lstm: {units: 5, bidirectional: true}, pooling: mean, head: {dropout: 0}}\n",
    "# front\nmodel: {embedding: {size: 6}, lstm: {units: 5, layers: 2, bidirectional: true}, pooling: mean, head: {dropout: 0}}\n",
    "model: {embedding: {size: 6}, lstm: {units: 5, bidirectional: true}, pooling: [attention, last], head: {dropout: 0}}\n",
];

fn learner(network: &str, fields: &str) -> (Case, TorchLearner) {
    let case = Case::new(&format!("{fields}\n{network}"), 3);
    let learner = TorchLearner::new(case.model(), &case.config.train, &objective(&[]));
    (case, learner)
}

/// Log-probabilities and gradients differ from those of fp32 by the rounding error of the
/// precision: not by more, and not by less, because the LSTM does compute in that precision.
#[test]
fn half_precision_is_close_to_fp32() {
    for network in NETWORKS {
        for (precision, rounding) in [("bf16", 2e-3), ("fp16", 3e-4)] {
            let at = format!("{precision} {network}");
            let (case, mut full) = learner(network, "");
            let (_, mut half) = learner(network, &format!("precision: {precision}"));
            let [exact, rough] = [&full, &half].map(|learner| {
                let log_probabilities = learner.log_probabilities(&case.corpora, &case.examples());
                log_probabilities.into_iter().map(|value| value as f32).collect::<Vec<_>>()
            });
            let error = relative_error(&rough, &exact);
            assert!((rounding / 100.0..10.0 * rounding).contains(&error), "{at}: {error}");

            let data = case.data();
            for learner in [&mut full, &mut half] {
                let batch = (learner.preparer(Worker::ALONE))(&data, &[0, 1, 3, 9], 1);
                step(learner, &batch, None, 0.0);
                assert!(learner.drain_step_stats().iter().all(StepStats::is_finite));
            }
            // Max pooling may select another of several nearly equal states.
            if network.contains("max") {
                continue;
            }
            for (exact, rough) in full.gradients().iter().zip(half.gradients()) {
                let error = relative_error(&rough.values, &exact.values);
                assert!(error < 30.0 * rounding, "{at}: the gradient of {}: {error}", exact.name);
            }
        }
    }
}

/// An overflow of fp16 skips the step and halves the loss scale. Training continues.
#[test]
fn steps_that_overflow_fp16_are_skipped() {
    let (case, mut learner) = learner(NETWORKS[0], "precision: fp16");
    let data = case.data();
    let scale = |state: &[NamedTensor]| {
        LOSS_SCALE.map(|name| state.iter().find(|tensor| tensor.name == name).unwrap().values[0])
    };
    let set = |learner: &mut TorchLearner, factor: f32| {
        let mut state = learner.optimizer_state();
        state.iter_mut().find(|tensor| tensor.name == LOSS_SCALE[0]).unwrap().values[0] = factor;
        learner.load_optimizer_state(state).unwrap();
    };
    steps(&mut learner, &data);
    let stats = learner.drain_step_stats();
    assert!(stats.iter().all(|step| step.gradient_norm.is_some()), "{stats:?}");
    assert_eq!(scale(&learner.optimizer_state()), [65_536.0, 3.0]);

    let before = learner.weights();
    set(&mut learner, 2_f32.powi(40));
    steps(&mut learner, &data);
    let stats = learner.drain_step_stats();
    let overflowed = |step: &StepStats| step.is_finite() && step.gradient_norm.is_none();
    assert!(stats.iter().all(overflowed), "{stats:?}");
    assert_eq!(scale(&learner.optimizer_state()), [2_f32.powi(37), 0.0]);
    assert_close(&learner.weights(), &before, "skipped steps");

    // The step does not depend on the scale.
    let gradient = |learner: &mut TorchLearner, factor: f32| {
        set(learner, factor);
        let batch = (learner.preparer(Worker::ALONE))(&data, &[0, 1, 3, 9], 1);
        step(learner, &batch, Some(0.3), 0.0);
        let norm = learner.drain_step_stats()[0].gradient_norm.unwrap();
        (norm, learner.gradients())
    };
    let (norm, gradients) = gradient(&mut learner, 65_536.0);
    let (same_norm, same) = gradient(&mut learner, 4_096.0);
    assert!((norm / same_norm - 1.0).abs() < 1e-3, "{norm} {same_norm}");
    for (one, other) in gradients.iter().zip(&same) {
        assert!(relative_error(&one.values, &other.values) < 5e-3, "{}", one.name);
    }

    // If the gradient overflows with any scale, training has diverged.
    set(&mut learner, 1.0);
    let mut broken = before;
    broken.iter_mut().find(|tensor| tensor.name == "head.weight").unwrap().values.fill(1e30);
    learner.load_weights(broken).unwrap();
    steps(&mut learner, &data);
    assert!(!learner.drain_step_stats().iter().any(StepStats::is_finite));
}

/// A run can be resumed in another precision, and on the other backend.
#[test]
fn the_precision_of_a_run_can_change() {
    let (case, mut half) = learner(NETWORKS[0], "precision: fp16");
    let data = case.data();
    steps(&mut half, &data);
    let (_, mut full) = learner(NETWORKS[0], "");
    full.load_optimizer_state(half.optimizer_state()).unwrap();
    full.load_weights(half.weights()).unwrap();
    let mut native = NativeLearner::new(&case.spec(), &objective(&[]), half.weights()).unwrap();
    native.load_optimizer_state(half.optimizer_state()).unwrap();
    steps(&mut full, &data);
    steps(&mut native, &data);
    assert_close(&native.weights(), &full.weights(), "resumed in fp32");
    half.load_optimizer_state(full.optimizer_state()).unwrap();
    steps(&mut half, &data);
    assert!(half.drain_step_stats().iter().all(StepStats::is_finite));
}

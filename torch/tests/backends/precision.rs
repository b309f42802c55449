//! LSTMs in 16 bits, as far as the CPU shows it; tests/cuda has the rest.

use lstmtext::backend::native::NativeLearner;
use lstmtext::backend::{Inference, LOSS_SCALE, Learner, StepStats};
use lstmtext::data::Dataset;
use lstmtext::model::named_tensors::NamedTensor;
use lstmtext_torch::learner::TorchLearner;

use crate::case::{objective, step};
use crate::{Case, assert_close, steps};

const NETWORKS: [&str; 4] = [
    "model: {embedding: {size: 6}, lstm: {units: 5}, pooling: max, head: {dropout: 0}}\n",
    "model: {embedding: {size: 6}, lstm: {units: 5, layers: 2}, pooling: last, head: {dropout: 0}}\n",
    "model: {embedding: {size: 6}, lstm: {units: 5, bidirectional: true}, pooling: mean, head: {dropout: 0}}\n",
    "# front\nmodel: {embedding: {size: 6}, lstm: {units: 5, layers: 2, bidirectional: true}, pooling: mean, head: {dropout: 0}}\n",
];

fn learner(network: &str, more: &str) -> (Case, TorchLearner) {
    let case = Case::new(&format!("{more}\n{network}"), 3);
    let learner = TorchLearner::new(case.model(), &case.config.train, &objective(&[]));
    (case, learner)
}

fn data(case: &Case) -> Dataset {
    Dataset { inputs: case.corpora.clone(), targets: case.labels.clone().into() }
}

/// What differs at most, over the largest.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(1e-30_f32, |most, value| most.max(value.abs()));
    let pairs = found.iter().zip(expected);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

/// Log probabilities and gradients are those of fp32 as nearly as the digits allow, and not nearer: the LSTM
/// does compute in them. The weights stay in fp32.
#[test]
fn sixteen_bits_come_near_to_thirty_two() {
    for network in NETWORKS {
        for (precision, digit) in [("bf16", 2e-3), ("fp16", 3e-4)] {
            let at = format!("{precision} {network}");
            let (case, mut full) = learner(network, "");
            let (_, mut half) = learner(network, &format!("precision: {precision}"));
            let [exact, rough] = [&full, &half].map(|learner| {
                let found = learner.log_probabilities(&case.corpora, &case.examples());
                found.into_iter().map(|number| number as f32).collect::<Vec<_>>()
            });
            let error = difference(&rough, &exact);
            assert!((digit / 100.0..10.0 * digit).contains(&error), "{at}: {error}");

            let data = data(&case);
            for learner in [&mut full, &mut half] {
                let batch = (learner.preparer())(&data, &[0, 1, 3, 9], 1);
                step(learner, &batch, None, 0.0);
                assert!(learner.drain_step_stats().iter().all(StepStats::is_finite));
            }
            // Among states that are nearly equal another one may be the largest.
            if network.contains("max") {
                continue;
            }
            for (exact, rough) in full.gradients().iter().zip(half.gradients()) {
                let error = difference(&rough.values, &exact.values);
                assert!(error < 30.0 * digit, "{at}: the gradient of {}: {error}", exact.name);
            }
        }
    }
}

/// A gradient beyond fp16 costs a step and half of the scale, neither weights nor the run.
#[test]
fn a_gradient_too_large_for_fp16_is_left_out() {
    let (case, mut learner) = learner(NETWORKS[0], "precision: fp16");
    let data = data(&case);
    let scale = |memory: &[NamedTensor]| {
        LOSS_SCALE.map(|name| memory.iter().find(|array| array.name == name).unwrap().values[0])
    };
    let set = |learner: &mut TorchLearner, factor: f32| {
        let mut memory = learner.optimizer_state();
        memory.iter_mut().find(|array| array.name == LOSS_SCALE[0]).unwrap().values[0] = factor;
        learner.load_optimizer_state(memory).unwrap();
    };
    steps(&mut learner, &data);
    let measured = learner.drain_step_stats();
    assert!(measured.iter().all(|step| step.gradient_norm.is_some()), "{measured:?}");
    assert_eq!(scale(&learner.optimizer_state()), [65_536.0, 3.0]);

    let before = learner.weights();
    set(&mut learner, 2_f32.powi(40));
    steps(&mut learner, &data);
    let measured = learner.drain_step_stats();
    let left_out = |step: &StepStats| step.is_finite() && step.gradient_norm.is_none();
    assert!(measured.iter().all(left_out), "{measured:?}");
    assert_eq!(scale(&learner.optimizer_state()), [2_f32.powi(37), 0.0]);
    assert_close(&learner.weights(), &before, "no step was made");

    // With any scale the step is the same.
    let gradient = |learner: &mut TorchLearner, factor: f32| {
        set(learner, factor);
        let batch = (learner.preparer())(&data, &[0, 1, 3, 9], 1);
        step(learner, &batch, Some(0.3), 0.0);
        let norm = learner.drain_step_stats()[0].gradient_norm.unwrap();
        (norm, learner.gradients())
    };
    let (norm, gradients) = gradient(&mut learner, 65_536.0);
    let (same_norm, same) = gradient(&mut learner, 4_096.0);
    assert!((norm / same_norm - 1.0).abs() < 1e-3, "{norm} {same_norm}");
    for (one, other) in gradients.iter().zip(&same) {
        assert!(difference(&one.values, &other.values) < 5e-3, "{}", one.name);
    }

    // Where no scale helps, training has diverged.
    set(&mut learner, 1.0);
    let mut broken = before;
    broken.iter_mut().find(|array| array.name == "head.weight").unwrap().values.fill(1e30);
    learner.load_weights(broken).unwrap();
    steps(&mut learner, &data);
    assert!(!learner.drain_step_stats().iter().any(StepStats::is_finite));
}

/// A run goes on in another precision, and on the other backend.
#[test]
fn a_run_may_change_its_precision() {
    let (case, mut half) = learner(NETWORKS[0], "precision: fp16");
    let data = data(&case);
    steps(&mut half, &data);
    let (_, mut full) = learner(NETWORKS[0], "");
    full.load_optimizer_state(half.optimizer_state()).unwrap();
    full.load_weights(half.weights()).unwrap();
    let mut native = NativeLearner::new(&case.spec(), &objective(&[]), half.weights()).unwrap();
    native.load_optimizer_state(half.optimizer_state()).unwrap();
    steps(&mut full, &data);
    steps(&mut native, &data);
    assert_close(&native.weights(), &full.weights(), "both go on alike");
    half.load_optimizer_state(full.optimizer_state()).unwrap();
    steps(&mut half, &data);
    assert!(half.drain_step_stats().iter().all(StepStats::is_finite));
}

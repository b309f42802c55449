//! Steps with a gradient that is not finite.

use lstmtext::backend::native::NativeLearner;
use lstmtext::backend::{Learner, StepStats};
use lstmtext::data::Dataset;
use lstmtext::model::NamedTensor;
use lstmtext_torch::learner::TorchLearner;
use lstmtext_torch::tensors::to_named_tensors;

use crate::case::objective;
use crate::{Case, steps};

/// Weights and optimizer state keep every bit.
#[test]
fn steps_with_a_gradient_that_is_not_finite_are_skipped() {
    for optimizer in [
        "optimizer: adam",
        "optimizer: adamw",
        "optimizer: rmsprop, weight_decay: 0.1",
        "optimizer: rmsprop, rmsprop: {momentum: 0.5}",
        "optimizer: adadelta",
        "optimizer: sgd, sgd: {momentum: 0.9}",
    ] {
        for sparse in [false, true] {
            let case = Case::new(
                &format!(
                    "model: {{embedding: {{size: 6}}, lstm: {{units: 5}}}}\n\
                     train: {{sparse_embedding: {sparse}, {optimizer}}}\n"
                ),
                3,
            );
            let data = case.data();
            let model = case.model();
            let weights = to_named_tensors(model.state_dict());
            let mut native = NativeLearner::new(&case.spec(), &objective(&[]), weights).unwrap();
            let mut torch = TorchLearner::new(model, &case.config.train, &objective(&[]));
            assert_skips_steps(&mut native, &data, optimizer);
            assert_skips_steps(&mut torch, &data, optimizer);
        }
    }
}

fn assert_skips_steps(learner: &mut dyn Learner, data: &Dataset, context: &str) {
    steps(learner, data);
    assert!(learner.drain_step_stats().iter().all(StepStats::is_finite));
    let initial = learner.weights();
    let mut broken = initial.clone();
    let bias = broken.iter_mut().find(|tensor| tensor.name == "head.bias").unwrap();
    bias.values[0] = f32::NAN;
    learner.load_weights(broken.clone()).unwrap();
    let state = learner.optimizer_state();
    steps(learner, data);
    let stats = learner.drain_step_stats();
    assert!(stats.len() == 3 && !stats.iter().any(StepStats::is_finite), "{stats:?}");
    let bits = |tensors: &[NamedTensor]| -> Vec<Vec<u32>> {
        tensors.iter().map(|tensor| tensor.values.iter().map(|x| x.to_bits()).collect()).collect()
    };
    assert_eq!(bits(&learner.weights()), bits(&broken), "{context}");
    assert_eq!(bits(&learner.optimizer_state()), bits(&state), "{context}");
    learner.load_weights(initial).unwrap();
    steps(learner, data);
    assert!(
        learner.drain_step_stats().iter().all(StepStats::is_finite),
        "{context}: training must continue"
    );
}

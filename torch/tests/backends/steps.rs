//! Steps whose gradient is not finite.

use lstmtext::backend::native::NativeLearner;
use lstmtext::backend::{Learner, StepStats};
use lstmtext::data::Dataset;
use lstmtext::model::NamedTensor;
use lstmtext_torch::learner::TorchLearner;
use lstmtext_torch::tensors::to_named_tensors;

use crate::case::objective;
use crate::{Case, steps};

/// A step whose gradient is not finite leaves weights and optimizer state as they were.
#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
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
            let data =
                Dataset { inputs: case.corpora.clone(), targets: case.labels.clone().into() };
            let model = case.model();
            let weights = to_named_tensors(model.state());
            let mut native = NativeLearner::new(&case.spec(), &objective(&[]), weights).unwrap();
            let mut torch = TorchLearner::new(model, &case.config.train, &objective(&[]));
            stays_as_it_is(&mut native, &data, optimizer);
            stays_as_it_is(&mut torch, &data, optimizer);
        }
    }
}

fn stays_as_it_is(learner: &mut dyn Learner, data: &Dataset, what: &str) {
    steps(learner, data);
    assert!(learner.drain_step_stats().iter().all(StepStats::is_finite));
    let sound = learner.weights();
    let mut broken = sound.clone();
    let bias = broken.iter_mut().find(|array| array.name == "head.bias").unwrap();
    bias.values[0] = f32::NAN;
    learner.load_weights(broken.clone()).unwrap();
    let memory = learner.optimizer_state();
    steps(learner, data);
    let measured = learner.drain_step_stats();
    assert!(measured.len() == 3 && !measured.iter().any(StepStats::is_finite), "{measured:?}");
    let bits = |arrays: &[NamedTensor]| -> Vec<Vec<u32>> {
        arrays.iter().map(|array| array.values.iter().map(|x| x.to_bits()).collect()).collect()
    };
    assert_eq!(bits(&learner.weights()), bits(&broken), "{what}");
    assert_eq!(bits(&learner.optimizer_state()), bits(&memory), "{what}");
    learner.load_weights(sound).unwrap();
    steps(learner, data);
    assert!(learner.drain_step_stats().iter().all(StepStats::is_finite), "{what}: it goes on");
}

//! Frozen layers, and layers with learning rates of their own.

use std::collections::{HashMap, HashSet};

use lstmtext::backend::Learner;
use lstmtext::backend::native::NativeLearner;
use lstmtext::model::NamedTensor;
use lstmtext_torch::learner::TorchLearner;
use lstmtext_torch::tensors::to_named_tensors;

use crate::case::{Case, OPTIMIZERS, objective};
use crate::{assert_close, steps};

const INPUTS: &str = "model: {head: {dropout: 0}}\ninputs:\n  \
                      story: {embedding: {size: 4}, lstm: {units: 5, layers: 2}, pooling: attention, \
                      ngrams: {sizes: [1, 2], min_count: 1}}\n  \
                      question: {lstm: null, ngrams: {sizes: [1], buckets: 5}}\n";

/// Layers that are frozen, by the beginnings of the names of their tensors.
const FROZEN: [&[&str]; 4] = [
    &["story.ngrams"],
    &["story.ngrams", "question.ngrams"],
    &["story.embedding", "story.lstm.weight_ih_l0", "head", "question.ngrams"],
    &["story.embedding", "story.lstm", "story.attention", "head"],
];

/// The factors of `train.layer_decay: 0.5` for two LSTM layers. Those of frozen layers are 0.
fn rate_factors(weights: &[NamedTensor], frozen: &[&str]) -> HashMap<String, f64> {
    let factor = |name: &str| match () {
        () if frozen.iter().any(|layer| name.starts_with(layer)) => 0.0,
        () if name.contains("embedding") => 0.125,
        () if name.contains("_l0") => 0.25,
        () if name.contains("_l1") => 0.5,
        () => 1.0,
    };
    weights.iter().map(|tensor| (tensor.name.clone(), factor(&tensor.name))).collect()
}

#[test]
fn frozen_layers_and_layers_of_other_rates_agree() {
    for optimizer in OPTIMIZERS {
        for sparse in [false, true] {
            let train = format!("train: {{sparse_embedding: {sparse}, {optimizer}}}\n");
            let case = Case::new(&format!("{INPUTS}{train}"), 3);
            for frozen in FROZEN {
                let context = format!("{train}{frozen:?}");
                let (data, model) = (case.data(), case.model());
                let initial = to_named_tensors(model.state_dict());
                let factors = rate_factors(&initial, frozen);
                let objective = objective(&[]);
                let mut native =
                    NativeLearner::new(&case.spec(), &objective, initial.clone()).unwrap();
                let mut torch = TorchLearner::new(model, &case.config.train, &objective);
                let mut learners: [&mut dyn Learner; 2] = [&mut native, &mut torch];
                for learner in &mut learners {
                    learner.set_rate_factors(&factors);
                    steps(*learner, &data);
                    for after in learner.weights() {
                        let before = initial.iter().find(|tensor| tensor.name == after.name);
                        let is_frozen = factors[&after.name] == 0.0;
                        let is_same = before.unwrap().values == after.values;
                        assert!(is_same || !is_frozen, "{context}: {} has changed", after.name);
                    }
                    // The logs have no gradients of layers that are not trained.
                    let names: HashSet<String> =
                        learner.gradients().into_iter().map(|tensor| tensor.name).collect();
                    assert!(names.iter().all(|name| factors[name] > 0.0), "{context}: {names:?}");
                }
                assert_close(&native.weights(), &torch.weights(), &context);
                assert_close(&native.optimizer_state(), &torch.optimizer_state(), &context);
                assert_close(&native.gradients(), &torch.gradients(), &context);
            }
        }
    }
}

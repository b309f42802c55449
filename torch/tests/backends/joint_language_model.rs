//! A joint language model.

use std::collections::HashMap;

use lstmtext::backend::language_model::DropoutRates;
use lstmtext::backend::native::NativeLearner;
use lstmtext::backend::{JointBatch, LanguageModelBatch, LanguageModelSettings, Learner};
use lstmtext::distributed::Worker;
use lstmtext::model::LanguageModelSpec;
use lstmtext_torch::learner::TorchLearner;
use lstmtext_torch::tensors::to_named_tensors;

use crate::case::{Case, objective, step};
use crate::language_model_case::ALL;
use crate::{assert_close, assert_losses_close, losses};

/// Gives a learner of a case a language model with 4 rows and this dropout.
pub fn join_language_model(case: &Case, learner: &mut dyn Learner, dropout: DropoutRates) {
    let vocabulary_size = case.vocabulary_sizes[0];
    let spec = LanguageModelSpec { input: &case.config.inputs[0], vocabulary_size };
    let mut weights = spec.initial_weights(3);
    weights.retain(|tensor| !tensor.name.contains("lstm") && !tensor.name.contains("embedding"));
    let settings = LanguageModelSettings {
        rows: 4,
        negatives: 5,
        counts: (0..vocabulary_size as u64).map(|id| 1 + 20 / (1 + id)).collect(),
        dropout,
        gradient_clip: None,
        shards: 2,
        seed: 1,
        precision: case.config.precision,
    };
    learner.join_language_model(&spec, settings, weights).unwrap();
}

/// Returns the batch of the language model in a step.
pub fn joint_batch(case: &Case, step: u64) -> JointBatch {
    let ids = |direction| (0..16).map(|i| 4 + (i * i + direction + step as u32) % 5).collect();
    let directions = case.config.inputs[0].lstm.directions() as u32;
    let batch = LanguageModelBatch { ids: (0..directions).map(ids).collect(), rows: 4 };
    JointBatch { batch, step, starts: step == 2 }
}

/// Makes some steps with a language model, from the step with this number on.
fn train(case: &Case, learner: &mut dyn Learner, first: u64) {
    let data = case.data();
    learner.start_averaging();
    for number in first..first + 4 {
        let examples = [[0, 1, 3, 9], [4, 1, 6, 1]][number as usize % 2];
        let batch = (learner.preparer(Worker::ALONE))(&data, &examples, 1);
        let batch = batch.with_language_model(Some(joint_batch(case, number)));
        step(learner, &batch, Some(0.3), 0.01);
    }
}

fn learners(case: &Case, dropout: &DropoutRates) -> (NativeLearner, TorchLearner) {
    let model = case.model();
    let weights = to_named_tensors(model.state_dict());
    let mut native = NativeLearner::new(&case.spec(), &objective(&[]), weights).unwrap();
    let mut torch = TorchLearner::new(model, &case.config.train, &objective(&[]));
    join_language_model(case, &mut native, *dropout);
    join_language_model(case, &mut torch, *dropout);
    (native, torch)
}

/// Both backends make the same steps, and each continues from the state of the other.
#[test]
fn a_joint_language_model_agrees() {
    for (embedding, lstm, fields, dropout) in [
        ("", "bidirectional: true", "optimizer: sgd", DropoutRates::default()),
        ("", "layers: 2", "sparse_embedding: true", ALL),
        ("", "bidirectional: true, layers: 2", "sparse_embedding: false", DropoutRates::default()),
        (", trainable: false", "layers: 1", "optimizer: sgd", DropoutRates::default()),
        ("", "layers: 1", "average: {method: ema, decay: 0.5}", DropoutRates::default()),
    ] {
        let case = Case::new(
            &format!(
                "model: {{embedding: {{size: 6{embedding}}}, lstm: {{units: 5, {lstm}}}, pooling: mean, \
                 head: {{dropout: 0}}}}\ntrain: {{language_model_weight: 0.7, {fields}}}\n"
            ),
            3,
        );
        let context = format!("{embedding} {lstm} {fields}");
        let (mut native, mut torch) = learners(&case, &dropout);
        train(&case, &mut native, 0);
        train(&case, &mut torch, 0);
        assert_close(&native.gradients(), &torch.gradients(), &context);
        assert_close(&native.weights(), &torch.weights(), &context);
        let (native_state, torch_state) = (native.optimizer_state(), torch.optimizer_state());
        assert!(native_state.iter().any(|t| t.name == "language_model.output.bias"), "{context}");
        assert_close(&native_state, &torch_state, &context);
        let (of_native, of_torch) = (losses(&mut native), losses(&mut torch));
        assert!(
            of_native.len() == 4 && of_native.iter().all(|losses| losses[1] > 0.5),
            "{context}"
        );
        assert_losses_close(&of_native, &of_torch, 1e-4);

        // Frozen layers stay as they are, whatever the language model says.
        let frozen = ["embedding.weight", "lstm.weight_hh_l0"];
        let factors = HashMap::from(frozen.map(|name| (name.to_owned(), 0.0)));
        for learner in [&mut native as &mut dyn Learner, &mut torch] {
            let frozen_weights = |learner: &dyn Learner| {
                let mut weights = learner.raw_weights().unwrap_or_else(|| learner.weights());
                weights.retain(|tensor| frozen.contains(&&*tensor.name));
                weights
            };
            learner.set_rate_factors(&factors);
            let before = frozen_weights(learner);
            train(&case, learner, 4);
            assert!(frozen_weights(learner) == before, "{context}");
            learner.set_rate_factors(&HashMap::new());
            train(&case, learner, 8);
        }
        assert_close(&native.gradients(), &torch.gradients(), &context);
        assert_close(&native.weights(), &torch.weights(), &context);
        let (native_state, torch_state) = (native.optimizer_state(), torch.optimizer_state());

        let raw =
            |learner: &dyn Learner| learner.raw_weights().unwrap_or_else(|| learner.weights());
        let (of_native, of_torch) = (raw(&native), raw(&torch));
        let (mut native, mut torch) = learners(&case, &dropout);
        for (learner, weights, state) in [
            (&mut native as &mut dyn Learner, of_torch, torch_state),
            (&mut torch, of_native, native_state),
        ] {
            learner.load_weights(weights).unwrap();
            learner.load_optimizer_state(state).unwrap();
            train(&case, learner, 12);
        }
        assert_close(&native.weights(), &torch.weights(), &context);
        assert_close(&native.optimizer_state(), &torch.optimizer_state(), &context);
    }
}

//! Averages of the weights.

use lstmtext::backend::native::NativeLearner;
use lstmtext::backend::{Inference, Learner};
use lstmtext::config::TrainConfig;
use lstmtext::distributed::Worker;
use lstmtext_torch::learner::TorchLearner;
use lstmtext_torch::tensors::to_named_tensors;

use crate::case::{Case, objective, step};
use crate::{assert_close, steps};

fn learners(case: &Case, config: &TrainConfig) -> (NativeLearner, TorchLearner) {
    let model = case.model();
    let weights = to_named_tensors(model.state_dict());
    let native = NativeLearner::new(&case.spec(), &objective(&[]), weights).unwrap();
    (native, TorchLearner::new(model, config, &objective(&[])))
}

/// With a decay of 0.1, deviations are rescaled after few steps.
#[test]
fn averages_agree_and_each_backend_continues_those_of_the_other() {
    for average in ["method: ema", "method: ema, decay: 0.1", "method: swa"] {
        for sparse in [false, true] {
            let context = format!("{average}, sparse: {sparse}");
            let case = Case::new(
                &format!(
                    "model: {{embedding: {{size: 6}}, lstm: {{units: 5}}, head: {{dropout: 0}}}}\n\
                     train: {{sparse_embedding: {sparse}, average: {{{average}}}}}\n"
                ),
                3,
            );
            let data = case.data();
            let (mut native, mut torch) = learners(&case, &case.config.train);
            steps(&mut native, &data);
            steps(&mut torch, &data);
            let mut all: [&mut dyn Learner; 2] = [&mut native, &mut torch];
            for learner in &mut all {
                learner.start_averaging();
                // Batches have different words.
                for examples in
                    [[0, 1, 3, 9], [4, 1, 6, 1], [2, 5, 7, 8], [0, 0, 1, 1]].iter().cycle().take(16)
                {
                    let batch = (learner.preparer(Worker::ALONE))(&data, examples, 1);
                    step(*learner, &batch, Some(0.3), 0.01);
                }
                let raw = learner.weights();
                learner.use_averages();
                assert_ne!(learner.weights(), raw, "{context}");
            }
            assert_close(&native.weights(), &torch.weights(), &context);
            let (of_native, of_torch) =
                (native.raw_weights().unwrap(), torch.raw_weights().unwrap());
            assert_close(&of_native, &of_torch, &context);
            let (native_state, torch_state) = (native.optimizer_state(), torch.optimizer_state());
            assert_close(&native_state, &torch_state, &context);

            let (mut native, mut torch) = learners(&case, &case.config.train);
            native.load_weights(of_torch).unwrap();
            native.load_optimizer_state(torch_state).unwrap();
            torch.load_weights(of_native).unwrap();
            torch.load_optimizer_state(native_state).unwrap();
            steps(&mut native, &data);
            steps(&mut torch, &data);
            native.use_averages();
            torch.use_averages();
            assert_close(&native.weights(), &torch.weights(), &context);
            let examples = case.examples();
            let (native, torch) = (
                native.log_probabilities(&case.corpora, &examples),
                torch.log_probabilities(&case.corpora, &examples),
            );
            for (native, torch) in native.iter().zip(&torch) {
                assert!((native - torch).abs() < 1e-4, "{context}: {native} {torch}");
            }
        }
    }
}

#[test]
fn the_next_step_continues_from_the_weights_before_averaging() {
    let case = Case::new(
        "model: {embedding: {size: 6}, lstm: {units: 5}}\ntrain: {average: {method: ema}}\n",
        2,
    );
    let data = case.data();
    let trained = |reads: bool| {
        let (_, mut torch) = learners(&case, &case.config.train);
        torch.start_averaging();
        for _ in 0..3 {
            steps(&mut torch, &data);
            if reads {
                torch.use_averages();
            }
        }
        torch.use_averages();
        (torch.raw_weights(), torch.weights(), torch.optimizer_state())
    };
    assert!(trained(true) == trained(false));
}

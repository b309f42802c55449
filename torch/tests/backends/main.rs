//! Compares the native backend with libtorch: log-probabilities, gradients and training steps.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "tests"
)]

mod averaging;
mod case;
mod dense_gradients;
mod joint_language_model;
mod language_model_case;
mod language_models;
mod layers;
mod precision;
mod processes;
mod steps;
#[path = "../../../tests/support/thread_group.rs"]
mod thread_group;

use tch::{Device, Kind, Tensor};

use lstmtext::backend::kernel::Instructions;
use lstmtext::backend::native::{
    BatchSharder, Dropout, Gradients, NativeLearner, Network, ShardedBatch,
};
use lstmtext::backend::{Learner, StepStats};
use lstmtext::data::Dataset;
use lstmtext::distributed::{Collective, Worker};
use lstmtext::model::NamedTensor;
use lstmtext::objective::CrossEntropy;
use lstmtext_torch::batch::Batch;
use lstmtext_torch::learner::TorchLearner;
use lstmtext_torch::loss::{BatchTargets, CrossEntropyLoss, log_probabilities};
use lstmtext_torch::model::{Mode, Model};
use lstmtext_torch::tensors::to_named_tensors;

use crate::case::{Case, OPTIMIZERS, objective, step};
use crate::dense_gradients::dense_gradients;

impl Case {
    fn network(&self, model: &Model, instructions: Instructions) -> Network {
        Network::new(&self.spec(), to_named_tensors(model.state_dict()), instructions).unwrap()
    }

    fn batch(&self, shards: usize, dropout: Option<&Dropout>) -> ShardedBatch {
        let mut sharder = BatchSharder::new(&self.config.inputs, &self.vocabulary_sizes, shards);
        let targets = self.data().targets;
        sharder.shard(&self.corpora, Some(&targets), &self.examples(), dropout)
    }
}

fn check(fields: &str, classes: usize) {
    let case = Case::new(fields, classes);
    let model = case.model();
    let batch = Batch::gather(&case.corpora, &case.examples(), Device::Cpu);
    let weights: Vec<f64> = (0..classes).map(|class| 1.0 + class as f64 / 2.0).collect();
    let labelling = case.config.data.labelling();
    let losses = [(0.0, vec![], 0.0), (0.1, weights, 0.0), (0.0, vec![], 2.0)];
    for (smoothing, weights, focal_gamma) in losses {
        let criterion = CrossEntropy {
            label_smoothing: smoothing,
            class_weights: weights,
            labelling,
            focal_gamma,
            distillation: None,
        };
        let (data, examples) = (case.data(), case.examples());
        let targets = BatchTargets::gather(&data, &examples, &criterion, classes, Device::Cpu);
        let ngrams = model.select_ngrams(&batch, true);
        let logits = model.logits_from(&batch, &ngrams, Mode::Evaluate, &[]);
        let expected = log_probabilities(&logits, criterion.labelling);
        let loss = CrossEntropyLoss::new(&criterion, classes, Device::Cpu);
        let loss = loss.loss(&logits, &expected, &targets.unwrap());
        let parameters = model.parameters();
        let (names, mut tensors): (Vec<String>, Vec<Tensor>) = parameters.into_iter().unzip();
        tensors.extend(ngrams);
        let mut expected_gradients = Tensor::run_backward(&[&loss], &tensors, false, false);
        let expected_ngrams = expected_gradients.split_off(names.len());
        let expected: Vec<f64> =
            Vec::try_from(expected.detach().to_kind(Kind::Double).contiguous().flatten(0, 1))
                .unwrap();
        for instructions in Instructions::available() {
            for shards in [1, 2, 5] {
                let at = format!("{fields} {instructions} {shards}");
                let mut network = case.network(&model, instructions);
                let batch = case.batch(shards, None);
                let actual = network.log_probabilities(&batch);
                let difference = actual.iter().zip(&expected).map(|(a, b)| (a - b).abs());
                let difference = difference.fold(0.0, f64::max);
                assert!(difference < 2e-6, "{at}: log-probabilities differ by {difference}");
                let mut gradients = Gradients::default();
                let actual = network.gradients(&batch, &criterion, None, &mut gradients);
                assert!((actual.mean - loss.double_value(&[])).abs() < 1e-6, "{at}");
                assert_eq!(gradients.ngrams.len(), expected_ngrams.len(), "{at}");
                for (actual, expected) in gradients.ngrams.iter().zip(&expected_ngrams) {
                    let expected = Vec::<f32>::try_from(expected.contiguous().flatten(0, -1));
                    let error = relative_error(&actual.values, &expected.unwrap());
                    assert!(error < 5e-5, "{at}: n-grams have relative error {error}");
                }
                let gradients = dense_gradients(&network, &gradients);
                for (name, expected) in names.iter().zip(&expected_gradients) {
                    let expected =
                        Vec::<f32>::try_from(expected.contiguous().flatten(0, -1)).unwrap();
                    let actual =
                        &gradients.iter().find(|(parameter, _)| parameter == name).unwrap().1;
                    assert_eq!(actual.len(), expected.len(), "{at}: {name}");
                    let error = relative_error(actual, &expected);
                    assert!(error < 5e-5, "{at}: {name} has relative error {error}");
                }
            }
        }
    }
}

const POOLINGS: [&str; 5] = ["last", "mean", "max", "attention", "[attention, last, max, mean]"];

#[test]
fn gradients_agree_for_every_pooling() {
    for pooling in POOLINGS {
        check(
            &format!("model: {{embedding: {{size: 6}}, lstm: {{units: 5}}, pooling: {pooling}}}\n"),
            2,
        );
    }
}

#[test]
fn gradients_agree_for_several_labels() {
    let ngrams = "ngrams: {sizes: [1, 2], min_count: 1";
    for fields in [
        format!("# several labels\nmodel: {{lstm: {{units: 5}}, {ngrams}}}}}\n"),
        "# several labels\nmodel: {lstm: {units: 7, bidirectional: true}}\n".to_owned(),
    ] {
        check(&fields, 2);
        check(&fields, 5);
    }
}

#[test]
fn gradients_agree_for_several_layers_and_directions() {
    for pooling in POOLINGS {
        for lstm in [
            "units: 21, bidirectional: true",
            "units: 7, layers: 3",
            "units: 18, layers: 2, bidirectional: true",
        ] {
            check(
                &format!(
                    "model: {{embedding: {{size: 37}}, lstm: {{{lstm}}}, pooling: {pooling}}}\n"
                ),
                4,
            );
        }
    }
}

#[test]
fn gradients_agree_with_padding_in_front() {
    for pooling in POOLINGS {
        for lstm in [
            "units: 33",
            "units: 7, layers: 2",
            "units: 5, bidirectional: true",
            "units: 5, layers: 2, bidirectional: true",
        ] {
            check(
                &format!(
                    "# front\nmodel: {{embedding: {{size: 6}}, lstm: {{{lstm}}}, pooling: {pooling}}}\n"
                ),
                2,
            );
        }
    }
}

#[test]
fn gradients_agree_for_several_inputs() {
    check(
        "inputs:\n  story: {embedding: {size: 4}, lstm: {units: 5, bidirectional: true}}\n  \
         question: {embedding: {size: 3, trainable: false}, lstm: {units: 2, layers: 2}, \
         pooling: [mean, attention]}\n",
        3,
    );
}

#[test]
fn gradients_agree_for_ngrams() {
    let ngrams = "ngrams: {sizes: [1, 2, 3], min_count: 1";
    for (fields, classes) in [
        (format!("model: {{embedding: {{size: 6}}, lstm: {{units: 5}}, {ngrams}}}}}\n"), 2),
        (format!("model: {{lstm: null, {ngrams}}}}}\n"), 2),
        (format!("model: {{lstm: null, {ngrams}, weighting: none}}}}\n"), 4),
        (format!("# front\nmodel: {{lstm: {{units: 5}}, {ngrams}, buckets: 7}}}}\n"), 3),
        (
            "inputs:\n  story: {lstm: null, ngrams: {sizes: [2], min_count: 1}}\n  \
             question: {embedding: {size: 3}, lstm: {units: 2}}\n  \
             answer: {lstm: {units: 3}, ngrams: {sizes: [1], buckets: 5}}\n"
                .to_owned(),
            3,
        ),
    ] {
        check(&fields, classes);
    }
}

/// Vectors of words are means of their own and those of their character n-grams, also of words outside the vocabulary.
#[test]
fn character_ngrams_agree() {
    let embedding = "embedding: {size: 6, subwords: {sizes: [1, 3], buckets: 9}}";
    for model in [
        format!("model: {{{embedding}, lstm: {{units: 5}}, head: {{dropout: 0}}}}\n"),
        format!(
            "# front\nmodel: {{{embedding}, lstm: {{units: 5, layers: 2}}, pooling: last, head: {{dropout: 0}}}}\n"
        ),
        "model: {head: {dropout: 0}}\ninputs:\n  story: {embedding: {size: 4, subwords: {sizes: [2, 3], buckets: 5}}, \
         lstm: {units: 5, bidirectional: true}}\n  question: {embedding: {size: 3, trainable: false, subwords: \
         {sizes: [1, 2], buckets: 4}}, lstm: {units: 2}}\n  answer: {lstm: {units: 2}}\n"
            .to_owned(),
    ] {
        check(&model, 3);
        for (optimizer, sparse) in OPTIMIZERS.into_iter().flat_map(|all| [(all, false), (all, true)]) {
            let train = format!("train: {{sparse_embedding: {sparse}, {optimizer}}}\n");
            let case = Case::new(&format!("{model}{train}"), 3);
            let (data, model) = (case.data(), case.model());
            let weights = to_named_tensors(model.state_dict());
            let mut native = NativeLearner::new(&case.spec(), &objective(&[]), weights).unwrap();
            let mut torch = TorchLearner::new(model, &case.config.train, &objective(&[]));
            for _ in 0..2 {
                steps(&mut native, &data);
                steps(&mut torch, &data);
                // Optimizers that divide by small gradients magnify rounding errors.
                let tolerance = 1e-3;
                assert_within(&native.weights(), &torch.weights(), tolerance, &train);
                let state = (native.optimizer_state(), torch.optimizer_state());
                assert_within(&state.0, &state.1, tolerance, &train);
                assert_within(&native.gradients(), &torch.gradients(), tolerance, &train);
            }
        }
    }
}

/// The weights of n-grams are updated row by row, with their own regularization, and are not clipped.
#[test]
fn training_steps_agree_for_ngrams() {
    for optimizer in OPTIMIZERS {
        for (average, separate) in [("none", false), ("ema", false), ("none", true)] {
            let case = Case::new(
                &format!(
                    "model: {{embedding: {{size: 6}}, lstm: {{units: 5}}, head: {{dropout: 0}}, \
                     ngrams: {{sizes: [1, 2], min_count: 1, l2: 0.1}}}}\n\
                     train: {{average: {{method: {average}}}, separate_branches: {separate}, {optimizer}}}\n"
                ),
                3,
            );
            let data = case.data();
            let model = case.model();
            let weights = to_named_tensors(model.state_dict());
            let mut native = NativeLearner::new(&case.spec(), &objective(&[]), weights).unwrap();
            let mut torch = TorchLearner::new(model, &case.config.train, &objective(&[]));
            native.start_averaging();
            torch.start_averaging();
            for _ in 0..2 {
                steps(&mut native, &data);
                steps(&mut torch, &data);
                assert_close(&native.weights(), &torch.weights(), optimizer);
                if average == "none" {
                    // The sums of small changes that an average consists of differ more.
                    let state = (native.optimizer_state(), torch.optimizer_state());
                    assert_close(&state.0, &state.1, optimizer);
                }
                assert_close(&native.gradients(), &torch.gradients(), optimizer);
                // Each backend continues from the state of the other.
                let (state, weights) = (native.optimizer_state(), native.weights());
                native.load_optimizer_state(torch.optimizer_state()).unwrap();
                native.load_weights(torch.weights()).unwrap();
                torch.load_optimizer_state(state).unwrap();
                torch.load_weights(weights).unwrap();
            }
            native.use_averages();
            torch.use_averages();
            assert_close(&native.weights(), &torch.weights(), optimizer);
        }
    }
}

/// Tests every optimizer with dense and sparse updates of the embedding.
#[test]
fn training_steps_agree_for_every_optimizer() {
    for optimizer in OPTIMIZERS {
        for sparse in [false, true] {
            let case = Case::new(
                &format!(
                    "model: {{embedding: {{size: 6}}, lstm: {{units: 5}}, head: {{dropout: 0}}}}\n\
                     train: {{sparse_embedding: {sparse}, {optimizer}}}\n"
                ),
                3,
            );
            let data = case.data();
            let model = case.model();
            let mut initial = to_named_tensors(model.state_dict());
            let mut native =
                NativeLearner::new(&case.spec(), &objective(&[]), initial.clone()).unwrap();
            let mut torch = TorchLearner::new(model, &case.config.train, &objective(&[]));
            steps(&mut native, &data);
            steps(&mut torch, &data);
            assert_close(&native.weights(), &torch.weights(), optimizer);
            assert_close(&native.optimizer_state(), &torch.optimizer_state(), optimizer);
            let gradients = native.gradients();
            assert_close(&gradients, &torch.gradients(), optimizer);
            let squares = gradients.iter().flat_map(|tensor| &tensor.values).map(|x| x * x);
            assert!(squares.sum::<f32>().sqrt() < 0.3001, "gradients must be clipped");

            // Each backend continues from the state of the other.
            let (state, weights) = (native.optimizer_state(), native.weights());
            native.load_optimizer_state(torch.optimizer_state()).unwrap();
            native.load_weights(torch.weights()).unwrap();
            torch.load_optimizer_state(state).unwrap();
            torch.load_weights(weights).unwrap();
            steps(&mut native, &data);
            steps(&mut torch, &data);
            assert_close(&native.weights(), &torch.weights(), optimizer);

            // The texts of the steps do not contain "i", so that only weight decay changes its
            // vector.
            initial.retain(|tensor| tensor.name == "embedding.weight");
            let vector = |tensor: &NamedTensor| tensor.values[tensor.values.len() - 6..].to_vec();
            let weights = native.weights();
            let trained = weights.iter().find(|tensor| tensor.name == "embedding.weight").unwrap();
            let changes = !sparse && optimizer.contains("optimizer: adam");
            assert_eq!(
                vector(&initial[0]) != vector(trained),
                changes,
                "{optimizer}, sparse: {sparse}"
            );
        }
    }
}

/// The models have several inputs and layers, frozen vectors, n-grams, and padding in front, shared or
/// not.
#[test]
fn adversarial_training_agrees() {
    let train = "train: {sparse_embedding: false, optimizer: sgd, adversarial: {epsilon: 2, weight: 0.6}}\n";
    for model in [
        "model: {embedding: {size: 6}, lstm: {units: 5}, pooling: max, head: {dropout: 0}}\n",
        "model: {embedding: {size: 9}, lstm: {units: 7, layers: 2, bidirectional: true}, \
         pooling: [mean, attention], head: {dropout: 0}}\n",
        "# front\nmodel: {embedding: {size: 6}, lstm: {units: 5, layers: 2}, pooling: last, \
         head: {dropout: 0}}\n",
        "# front\nmodel: {embedding: {size: 6}, lstm: {units: 5, bidirectional: true}, pooling: mean, \
         head: {dropout: 0}}\n",
        "model: {head: {dropout: 0}}\ninputs:\n  story: {embedding: {size: 4}, lstm: {units: 5}}\n  \
         question: {embedding: {size: 3, trainable: false}, lstm: {units: 2}}\n",
        "model: {head: {dropout: 0}}\ninputs:\n  story: {lstm: null, ngrams: {sizes: [2], min_count: 1}}\n  \
         question: {lstm: {units: 3}}\n  answer: {lstm: {units: 2}, ngrams: {sizes: [1], buckets: 5}}\n",
    ] {
        let case = Case::new(&format!("{model}{train}"), 3);
        let (data, model) = (case.data(), case.model());
        let weights = to_named_tensors(model.state_dict());
        let objective = objective(&[1.0, 0.5, 2.0]);
        let mut native = NativeLearner::new(&case.spec(), &objective, weights.clone()).unwrap();
        let mut torch = TorchLearner::new(model, &case.config.train, &objective);
        steps(&mut native, &data);
        steps(&mut torch, &data);
        assert_close(&native.gradients(), &torch.gradients(), train);
        assert_close(&native.weights(), &torch.weights(), train);
        let (native, torch) = (losses(&mut native), losses(&mut torch));
        assert!(native.len() == 3 && native.iter().all(|losses| losses[1] > losses[0]));
        assert_losses_close(&native, &torch, 1e-5);
    }
}

/// The terms of unlabelled texts: those of the batch, or others that share words and n-grams with it. The larger
/// xi, the smaller is the effect of rounding on the direction.
#[test]
fn training_on_unlabelled_texts_agrees() {
    for (model, train) in [
        (
            "model: {embedding: {size: 70}, lstm: {units: 5}, pooling: max, head: {dropout: 0}}\n",
            "optimizer: sgd, virtual_adversarial: {epsilon: 2, weight: 0.6, xi: 1}",
        ),
        (
            "# front\nmodel: {embedding: {size: 6}, lstm: {units: 5, layers: 2}, pooling: [last, attention], \
             head: {dropout: 0}}\n",
            "optimizer: sgd, entropy_weight: 0.4, virtual_adversarial: {epsilon: 1, xi: 1}, adversarial: {epsilon: 2}",
        ),
        (
            "# front\nmodel: {embedding: {size: 6}, lstm: {units: 5, bidirectional: true}, pooling: mean, \
             head: {dropout: 0}}\n",
            "optimizer: adam, virtual_adversarial: {epsilon: 1, xi: 1}",
        ),
        (
            "model: {head: {dropout: 0}}\ninputs:\n  story: {embedding: {size: 4}, lstm: {units: 5}, \
             ngrams: {sizes: [2], min_count: 1}}\n  question: {embedding: {size: 3, trainable: false}, \
             lstm: {units: 2}}\n",
            "optimizer: adam, virtual_adversarial: {epsilon: 1, xi: 1}, entropy_weight: 0.1",
        ),
        (
            "model: {embedding: {size: 4}, lstm: {units: 5}, head: {dropout: 0}, \
             ngrams: {sizes: [1, 2], min_count: 1}}\n",
            "optimizer: sgd, separate_branches: true, adversarial: {epsilon: 2}, entropy_weight: 0.3, \
             virtual_adversarial: {epsilon: 1, xi: 1}",
        ),
        (
            "model: {lstm: null, ngrams: {sizes: [1, 2], min_count: 1}}\n",
            "optimizer: sgd, entropy_weight: 0.8",
        ),
    ] {
        let case = Case::new(&format!("{model}train: {{{train}}}\n"), 3);
        let data = case.data();
        let texts = Dataset { targets: Vec::new().into(), ..data.clone() };
        let weights = to_named_tensors(case.model().state_dict());
        let objective = objective(&[1.0, 0.5, 2.0]);
        for others in [None, Some(&[1, 2, 5, 11, 16][..])] {
            let mut native = NativeLearner::new(&case.spec(), &objective, weights.clone()).unwrap();
            let mut torch = TorchLearner::new(case.model(), &case.config.train, &objective);
            let learners: [&mut dyn Learner; 2] = [&mut native, &mut torch];
            for learner in learners {
                let mut batch = (learner.preparer(Worker::ALONE))(&data, &[0, 1, 3, 9], 1);
                if let Some(others) = others {
                    let others = (learner.unlabelled_preparer(Worker::ALONE))(&texts, others, 2);
                    batch = batch.with_unlabelled(others);
                }
                (0..2).for_each(|_| step(learner, &batch, Some(0.3), 0.01));
            }
            let context = format!("{model}{train} {others:?}");
            // The direction of a perturbation is a small gradient divided by its norm, which magnifies
            // the rounding errors of single precision.
            let tolerance = 1e-3;
            assert_within(&native.gradients(), &torch.gradients(), tolerance, &context);
            assert_within(&native.weights(), &torch.weights(), tolerance, &context);
            let (native, torch) = (losses(&mut native), losses(&mut torch));
            assert!(native.iter().flatten().all(|loss| *loss > 0.0), "{context}: {native:?}");
            assert_losses_close(&native, &torch, 1e-4);
        }
    }
}

/// Makes three steps on the same four examples.
fn steps(learner: &mut dyn Learner, data: &Dataset) {
    let batch = (learner.preparer(Worker::ALONE))(data, &[0, 1, 3, 9], 1);
    for _ in 0..3 {
        step(learner, &batch, Some(0.3), 0.01);
    }
}

/// Returns the losses of each step: that of the labels, and those that training adds to it.
fn losses(learner: &mut dyn Learner) -> Vec<Vec<f64>> {
    let losses = |step: &StepStats| {
        let added = step.added.terms().map(|(_, value)| value);
        [step.loss.mean].into_iter().chain(added).collect()
    };
    learner.drain_step_stats().iter().map(losses).collect()
}

fn assert_losses_close(actual: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64) {
    let counts = |steps: &[Vec<f64>]| steps.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(counts(actual), counts(expected));
    let mut pairs = actual.iter().flatten().zip(expected.iter().flatten());
    assert!(pairs.all(|(a, b)| (a - b).abs() < tolerance), "{actual:?} {expected:?}");
}

/// Returns the largest difference, relative to the largest expected value.
fn relative_error(actual: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(1e-30_f32, |most, value| most.max(value.abs()));
    let pairs = actual.iter().zip(expected);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

/// Expects tensors to agree to 1e-4 of their largest value.
fn assert_close(actual: &[NamedTensor], expected: &[NamedTensor], context: &str) {
    assert_within(actual, expected, 1e-4, context);
}

/// Expects tensors to agree to this fraction of their largest value.
fn assert_within(actual: &[NamedTensor], expected: &[NamedTensor], tolerance: f32, context: &str) {
    assert_eq!(actual.len(), expected.len());
    for expected in expected {
        let actual = actual.iter().find(|tensor| tensor.name == expected.name).unwrap();
        assert_eq!(actual.shape, expected.shape);
        let error = relative_error(&actual.values, &expected.values);
        assert!(error < tolerance, "{context}: {} has relative error {error}", actual.name);
    }
}

//! Compares both backends with PyTorch: logits, every gradient, the losses of ten steps and the
//! weights after them, for each optimizer. `make_golden.py` generated the golden files.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../backends/dense_gradients.rs"]
mod dense_gradients;

use std::collections::HashMap;
use std::path::Path;

use lstmtext::backend::kernel::Instructions;
use lstmtext::backend::native::{
    BatchSharder, Gradients, NativeLearner, Network, Perturbation, UnlabelledTerms,
    VirtualPerturbation,
};
use lstmtext::backend::{Learner, RandomSigns};
use lstmtext::config::{self, Labelling, PadSide, TrainConfig};
use lstmtext::data::{Dataset, Targets};
use lstmtext::distributed::{Group, Worker};
use lstmtext::model::ModelSpec;
use lstmtext::objective::{CrossEntropy, Distillation, Objective};
use lstmtext::text::Corpus;
use lstmtext_torch::batch::{Batch, PaddedTexts, Padding};
use lstmtext_torch::learner::TorchLearner;
use lstmtext_torch::loss::{BatchTargets, CrossEntropyLoss, log_probabilities};
use lstmtext_torch::model::{Mode, Model};
use lstmtext_torch::optimizer::Optimizer;
use lstmtext_torch::tensors::{to_named_tensors, to_tensors};
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use crate::dense_gradients::dense_gradients;

const VOCABULARY: usize = 23;
const EMBEDDING: usize = 6;
const UNITS: usize = 5;

#[derive(Deserialize)]
struct Golden {
    torch: String,
    lengths: Vec<i64>,
    cases: HashMap<String, Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    optimizer: String,
    pooling: serde_json::Value,
    logits: usize,
    learning_rate: f64,
    #[serde(default = "one")]
    layers: usize,
    #[serde(default)]
    bidirectional: bool,
    #[serde(default)]
    weight_decay: f64,
    #[serde(default)]
    momentum: f64,
    #[serde(default)]
    nesterov: bool,
    gradient_clip: Option<f64>,
    class_weights: Option<Vec<f64>>,
    #[serde(default)]
    label_smoothing: f64,
    adversarial: Option<serde_json::Value>,
    virtual_adversarial: Option<serde_json::Value>,
    #[serde(default)]
    entropy_weight: f64,
    #[serde(default)]
    multi_label: bool,
    #[serde(default)]
    focal_gamma: f64,
    distillation: Option<Distilled>,
    /// The targets are probabilities, which are in the file of tensors.
    #[serde(default, rename = "soft")]
    _soft: bool,
}

#[derive(Clone, Copy, Deserialize)]
struct Distilled {
    weight: f64,
    temperature: f64,
}

fn one() -> usize {
    1
}

impl Case {
    fn loss(&self) -> CrossEntropy {
        let class_weights = self.class_weights.clone().unwrap_or_default();
        CrossEntropy {
            labelling: match self.multi_label {
                true => Labelling::Several,
                false => Labelling::One,
            },
            label_smoothing: self.label_smoothing,
            class_weights,
            focal_gamma: self.focal_gamma,
            distillation: self
                .distillation
                .map(|Distilled { weight, temperature }| Distillation { weight, temperature }),
        }
    }

    fn classes(&self) -> usize {
        self.logits.max(2)
    }

    fn spec<'a>(&self, config: &'a config::Config) -> ModelSpec<'a> {
        ModelSpec {
            config,
            vocabulary_sizes: vec![VOCABULARY],
            ngram_counts: vec![0],
            classes: self.classes(),
        }
    }

    /// Returns the configuration of the same model and optimizer.
    fn config(&self) -> config::Config {
        let Self { optimizer, pooling, layers, bidirectional, momentum, nesterov, .. } = self;
        // A momentum of another optimizer is rejected.
        let momentum = match optimizer.as_str() {
            "sgd" => format!("sgd: {{momentum: {momentum}, nesterov: {nesterov}}}"),
            _ => format!("rmsprop: {{momentum: {momentum}}}"),
        };
        let section = |name: &str, section: &Option<serde_json::Value>| {
            section.as_ref().map_or(String::new(), |section| format!(", {name}: {section}"))
        };
        let adversarial = section("adversarial", &self.adversarial)
            + &section("virtual_adversarial", &self.virtual_adversarial);
        let yaml = format!(
            "data: {{train: none.csv, multi_label: {}}}\n\
             model: {{embedding: {{size: {EMBEDDING}}}, pooling: {pooling}, head: {{dropout: 0.0}}, \
             lstm: {{units: {UNITS}, layers: {layers}, bidirectional: {bidirectional}}}}}\n\
             train: {{sparse_embedding: false, optimizer: {optimizer}, weight_decay: {}, label_smoothing: {}, \
             {momentum}{adversarial}, entropy_weight: {}}}\n",
            self.multi_label, self.weight_decay, self.label_smoothing, self.entropy_weight
        );
        config::parse_recorded(&yaml, "golden", &[])
            .unwrap_or_else(|error| panic!("{error}"))
            .config
    }
}

struct GoldenTensors(HashMap<String, Tensor>);

impl GoldenTensors {
    /// Returns the texts, of these lengths, and labels of a case.
    fn data(&self, case: &str, lengths: &[i64]) -> Dataset {
        let ids = self.get(case, "ids");
        let rows = lengths.iter().enumerate().map(|(row, length)| {
            let row = Vec::<i64>::try_from(ids.get(row as i64)).unwrap();
            row[..*length as usize].iter().map(|id| *id as u32).collect()
        });
        let rows: Vec<Vec<u32>> = rows.collect();
        let corpus = Corpus::from_texts(PadSide::Back, usize::MAX, rows.iter().map(|row| &row[..]));
        Dataset { inputs: vec![corpus], targets: self.targets(case) }
    }

    fn targets(&self, case: &str) -> Targets {
        let labels = self.get(case, "labels");
        if let Some(teacher) = self.0.get(&format!("{case}/teacher")) {
            let values = |tensor: &Tensor| Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap();
            let classes = teacher.size()[1];
            let rows = match labels.dim() {
                1 => labels.one_hot(classes).to_kind(Kind::Float),
                _ => labels,
            };
            let (labels, teacher) = (values(&rows), values(teacher));
            return Targets::Distilled { classes: classes as usize, labels, teacher };
        }
        if labels.dim() == 1 {
            let labels = Vec::<i64>::try_from(labels).unwrap();
            return Targets::Labels(labels.into_iter().map(|label| label as u32).collect());
        }
        let classes = labels.size()[1] as usize;
        let probabilities = Vec::<f32>::try_from(labels.flatten(0, 1)).unwrap();
        if probabilities.iter().any(|value| *value > 0.0 && *value < 1.0) {
            return Targets::Probabilities { classes, probabilities };
        }
        let set = |row: &[f32]| -> Vec<u32> {
            (0..).zip(row).filter(|(_, value)| **value > 0.0).map(|(label, _)| label).collect()
        };
        let sets: Vec<Vec<u32>> = probabilities.chunks_exact(classes).map(set).collect();
        Targets::LabelSets(sets.iter().map(Vec::as_slice).collect())
    }

    fn gradient(&self, case: &str, parameter: &str) -> Tensor {
        self.get(case, &format!("gradient/{parameter}"))
    }

    fn get(&self, case: &str, name: &str) -> Tensor {
        self.0[&format!("{case}/{name}")].shallow_clone()
    }

    /// Returns the tensors whose names start with `case/prefix/`, without this prefix.
    fn with_prefix(&self, case: &str, prefix: &str) -> Vec<(String, Tensor)> {
        let prefix = format!("{case}/{prefix}/");
        let named = |(name, tensor): (&String, &Tensor)| {
            Some((name.strip_prefix(&prefix)?.to_owned(), tensor.shallow_clone()))
        };
        self.0.iter().filter_map(named).collect()
    }
}

fn golden() -> (Golden, GoldenTensors) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let json = std::fs::read(directory.join("golden.json")).unwrap();
    let tensors = Tensor::read_safetensors(directory.join("golden.safetensors")).unwrap();
    (serde_json::from_slice(&json).unwrap(), GoldenTensors(tensors.into_iter().collect()))
}

/// Returns the largest difference, relative to the largest value of PyTorch.
fn relative_error(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!(ours.numel(), theirs.numel());
    let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
    largest(&(ours.view_as(theirs) - theirs)) / largest(theirs).max(1e-12)
}

fn check(name: &str, ours: &Tensor, theirs: &Tensor, tolerance: f64) {
    let error = relative_error(ours, theirs);
    assert!(error <= tolerance, "{name}: relative error {error:e}");
}

/// Compares logits, gradients, losses and weights of the libtorch backend with PyTorch.
fn compare_libtorch(name: &str) {
    let (golden, golden_tensors) = golden();
    assert_eq!(golden.torch, "2.11.0");
    let case = &golden.cases[name];
    let config = case.config();
    let weights = to_named_tensors(golden_tensors.with_prefix(name, "before"));
    let model = Model::new(&case.spec(&config), weights, Device::Cpu).unwrap();
    let lengths = Tensor::from_slice(&golden.lengths);
    let time_steps = *golden.lengths.iter().max().unwrap();
    let batch = Batch {
        inputs: vec![PaddedTexts {
            words: None,
            ids: golden_tensors.get(name, "ids"),
            padding: Padding::new(lengths, time_steps, PadSide::Back),
        }],
        ngrams: vec![None],
    };
    let logits = model.logits(&batch, Mode::Train);
    check("logits", &logits, &golden_tensors.get(name, "logits"), 1e-5);
    // The losses and weights of the following steps show the gradients of all other terms.
    if !config.train.has_perturbations() && case.entropy_weight == 0.0 {
        let (loss, classes) = (case.loss(), case.classes());
        let criterion = CrossEntropyLoss::new(&loss, classes, Device::Cpu);
        let data = golden_tensors.data(name, &golden.lengths);
        let targets = BatchTargets::gather(&data, &all(&data), &loss, classes, Device::Cpu);
        let log_probabilities = log_probabilities(&logits, loss.labelling);
        let loss = criterion.loss(&logits, &log_probabilities, &targets.unwrap());
        let gradients = Optimizer::new(&config.train, model.parameters()).gradients(&loss);
        for ((parameter, _), gradient) in model.parameters().iter().zip(&gradients) {
            check(parameter, gradient, &golden_tensors.gradient(name, parameter), 1e-4);
        }
    }
    let objective = Objective::CrossEntropy(case.loss());
    compare_steps(name, &mut TorchLearner::new(model, &config.train, &objective));
}

/// Compares gradients, losses and weights of the native backend with PyTorch.
fn compare_native(name: &str) {
    let (golden, golden_tensors) = golden();
    let case = &golden.cases[name];
    let config = case.config();
    let spec = case.spec(&config);
    let weights = to_named_tensors(golden_tensors.with_prefix(name, "before"));
    let data = golden_tensors.data(name, &golden.lengths);
    for instructions in Instructions::available() {
        let mut network = Network::new(&spec, weights.clone(), instructions).unwrap();
        let mut sharder = BatchSharder::new(&config.inputs, &spec.vocabulary_sizes, 2);
        let batch = sharder.shard(&data.inputs, Some(&data.targets), &all(&data), None);
        let normalization = network.normalization(&data.word_frequencies(&spec.vocabulary_sizes));
        let perturbation = |epsilon: Option<f64>, weight: f64| {
            epsilon.map(|epsilon| Perturbation { epsilon, weight, normalization: &normalization })
        };
        let TrainConfig { adversarial, virtual_adversarial, entropy_weight, .. } = &config.train;
        let (mut gradients, mut unlabelled) = (Gradients::default(), Gradients::default());
        let adversarial = perturbation(adversarial.epsilon, adversarial.weight);
        let partial = network.labelled_gradients(&batch, &case.loss(), None, adversarial, false);
        network.complete(&batch, partial, None, &mut gradients);
        let virtual_perturbation = |perturbation| VirtualPerturbation {
            perturbation,
            xi: virtual_adversarial.xi,
            signs: RandomSigns::new(0),
        };
        let perturbation = perturbation(virtual_adversarial.epsilon, virtual_adversarial.weight);
        let terms = UnlabelledTerms {
            entropy_weight: *entropy_weight,
            virtual_adversarial: perturbation.map(virtual_perturbation),
        };
        let partial = network.unlabelled_gradients(&batch, None, &terms);
        network.complete(&batch, partial, None, &mut unlabelled);
        gradients.add(&unlabelled);
        for (parameter, ours) in dense_gradients(&network, &gradients) {
            // The second bias has no gradient.
            if !ours.is_empty() {
                let theirs = golden_tensors.gradient(name, &parameter);
                let at = format!("{instructions}: {parameter}");
                check(&at, &Tensor::from_slice(&ours), &theirs, 1e-4);
            }
        }
    }
    let objective = Objective::CrossEntropy(case.loss());
    let mut learner = NativeLearner::new(&spec, &objective, weights).unwrap();
    compare_steps(name, &mut learner);
}

/// Compares the losses of ten steps and the weights after them.
fn compare_steps(name: &str, learner: &mut dyn Learner) {
    let (golden, golden_tensors) = golden();
    let case = &golden.cases[name];
    let data = golden_tensors.data(name, &golden.lengths);
    let batch = (learner.preparer(Worker::ALONE))(&data, &all(&data), 0);
    let losses = Vec::<f32>::try_from(golden_tensors.get(name, "losses")).unwrap();
    for (step, expected) in losses.iter().enumerate() {
        learner.step(&batch, Group::ALONE, case.gradient_clip, case.learning_rate).unwrap();
        let loss = learner.drain_step_stats()[0].loss.mean;
        let difference = (loss - f64::from(*expected)).abs();
        assert!(difference < 2e-5 * f64::from(*expected).max(1.0), "loss {step}: {difference:e}");
    }
    for (parameter, ours) in to_tensors(learner.weights()) {
        let theirs = golden_tensors.get(name, &format!("after/{parameter}"));
        if parameter.contains("bias_hh") {
            assert_eq!(ours, theirs, "{parameter} must stay zero");
        } else {
            check(&format!("{parameter} after ten steps"), &ours, &theirs, 2e-4);
        }
    }
}

/// Returns the indices of all examples.
fn all(data: &Dataset) -> Vec<u32> {
    (0..data.len() as u32).collect()
}

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        $(
            mod $name {
                #[test]
                fn libtorch_agrees() {
                    super::compare_libtorch(stringify!($name));
                }

                #[test]
                fn native_agrees() {
                    super::compare_native(stringify!($name));
                }
            }
        )+

        #[test]
        fn every_case_is_tested() {
            let mut cases = golden().0.cases.into_keys().collect::<Vec<_>>();
            let mut tested = vec![$( stringify!($name) ),+];
            cases.sort();
            tested.sort();
            assert_eq!(cases, tested);
        }
    };
}

cases![
    adam_last,
    adam_decay_mean,
    adamw_max_bidirectional,
    rmsprop_two_layers,
    rmsprop_momentum,
    adadelta_deep_bidirectional,
    sgd_plain,
    sgd_nesterov_smoothing,
    adam_class_weights,
    adam_attention,
    rmsprop_attention_deep_bidirectional,
    sgd_every_pooling,
    adamw_max_attention,
    adam_adversarial,
    sgd_adversarial_attention,
    adam_virtual_adversarial,
    sgd_virtual_adversarial_entropy,
    adam_several_labels,
    sgd_several_labels_focal,
    adam_several_labels_unlabelled,
    adam_focal,
    adam_soft_labels,
    adam_distillation,
    sgd_distillation_several_labels,
];

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::backend::kernel::Instructions;
use crate::backend::{Inference, Learner, RandomSigns};
use crate::config::{self, Config, PadSide};
use crate::data::{Dataset, Targets};
use crate::distributed::{Group, Worker};
use crate::model::{ModelSpec, NamedTensor, initial_weights};
use crate::objective::Objective;
use crate::text::{Corpus, Ids};

mod processes;
mod separate_branches;
mod subwords;

fn parse(yaml: &str) -> Config {
    config::parse_plain(&format!("data: {{train: x}}\n{yaml}")).config
}

fn spec(config: &Config) -> ModelSpec<'_> {
    ModelSpec { config, vocabulary_sizes: vec![20], ngram_counts: vec![20], classes: 2 }
}

fn learner(config: &Config) -> NativeLearner {
    let weights = initial_weights(&spec(config), 3).unwrap();
    let labels = ["a", "b"].map(str::to_owned);
    let objective = Objective::new(config, &labels, &data().targets).unwrap();
    NativeLearner::new(&spec(config), &objective, weights).unwrap()
}

/// Creates a corpus in which each word is an n-gram.
fn corpus<'a>(pad: PadSide, texts: impl IntoIterator<Item = &'a [u32]>) -> Corpus {
    let texts: Vec<&[u32]> = texts.into_iter().collect();
    let (mut rows, mut counts) = (Vec::new(), Vec::new());
    for text in &texts {
        let distinct: BTreeSet<u32> = text.iter().copied().collect();
        counts.push(distinct.len());
        rows.extend(distinct);
    }
    let mut corpus = Corpus::from_texts(pad, 9, texts);
    corpus.set_ngrams(Ids::Memory(rows), &counts);
    corpus
}

fn data() -> Dataset {
    let texts = [&[4, 5, 6][..], &[7, 4], &[8, 9, 10, 11, 5], &[6]];
    let inputs = vec![corpus(PadSide::Back, texts)];
    Dataset { inputs, targets: Targets::Labels(vec![0, 1, 1, 0]) }
}

#[test]
fn weights_are_loaded_by_name_and_the_others_stay() {
    let config = parse("model: {embedding: {size: 3}, lstm: {units: 4}}\n");
    let mut learner = learner(&config);
    let predict = |learner: &NativeLearner| learner.log_probabilities(&data().inputs, &[0, 1]);
    let (before, predictions) = (learner.weights(), predict(&learner));
    let vectors = |value: f32| NamedTensor {
        name: "embedding.weight".to_owned(),
        shape: vec![20, 3],
        values: vec![value; 60],
    };
    learner.load_weights(vec![vectors(1.0)]).unwrap();
    let loaded = learner.weights();
    assert_eq!(loaded[0], vectors(1.0));
    assert_eq!(loaded[1..], before[1..]);
    assert_ne!(predict(&learner), predictions, "the new vectors are used");
    for (name, shape, fault) in [
        ("head.weight", vec![1, 5], "[1, 5] in the file"),
        ("gru.weight", vec![1], "no tensor gru"),
    ] {
        let values = vec![0.0; shape.iter().product()];
        let wrong = NamedTensor { name: name.to_owned(), shape, values };
        let error = learner.load_weights(vec![vectors(2.0), wrong]).unwrap_err().to_string();
        assert!(error.contains(fault), "{error}");
        assert_eq!(learner.weights(), loaded, "nothing changes if a tensor does not fit");
    }
}

/// With one unit, the mean of a gate is the gate itself, so the equations of the LSTM lead from it to
/// the states. This includes padding in front.
#[test]
fn states_follow_from_the_gates() {
    for pad in ["back", "front"] {
        let config = parse(&format!(
            "text: {{max_length: 6, pad: {pad}}}\nmodel: {{embedding: {{size: 3}}, initialization: pytorch, \
             lstm: {{units: 1, layers: 2, bidirectional: true}}}}\n"
        ));
        let weights = initial_weights(&spec(&config), 3).unwrap();
        let network = NativeInference::new(&spec(&config), weights).unwrap();
        let corpus = Corpus::from_texts(config.text.pad, 6, [&[4, 5, 6, 4][..]]);
        let layers = network.states(0, &corpus, 0).layers;
        assert_eq!((layers.len(), layers[0].len()), (2, 2));
        let steps = if pad == "front" { 6 } else { 4 };
        for directions in &layers {
            for (direction, states) in directions.iter().enumerate() {
                assert_eq!(states.hidden.len(), steps);
                let (mut cell, mut hidden) = (0.0_f32, 0.0);
                for step in 0..steps {
                    let step = if direction == 0 { step } else { steps - 1 - step };
                    let [input, forget, candidate, output] = states.gate_means[step];
                    cell = forget * cell + input * candidate;
                    hidden = output * cell.tanh();
                    assert!((hidden - states.hidden[step][0]).abs() < 1e-6, "{pad}: step {step}");
                }
                assert!((cell - states.final_cell[0]).abs() < 1e-6);
                assert!((hidden - states.final_hidden[0]).abs() < 1e-6);
            }
        }
    }
}

/// With `pooling: last`, the head's inputs are the hidden states after the last step.
#[test]
fn predictions_are_computed_from_the_states() {
    let config = parse(
        "text: {max_length: 6, pad: front}\n\
         model: {embedding: {size: 3}, lstm: {units: 5}, pooling: last, head: {activation: softmax}}\n",
    );
    let weights = initial_weights(&spec(&config), 3).unwrap();
    let head = weights.iter().find(|tensor| tensor.name == "head.weight").unwrap().values.clone();
    let network = NativeInference::new(&spec(&config), weights).unwrap();
    let corpus = Corpus::from_texts(config.text.pad, 6, [&[4, 5, 6, 4][..]]);
    let states = &network.states(0, &corpus, 0).layers[0][0];
    let logits: Vec<f64> = head
        .chunks(5)
        .map(|row| row.iter().zip(&states.final_hidden).map(|(a, b)| f64::from(a * b)).sum())
        .collect();
    let actual = network.log_probabilities(&[corpus], &[0]);
    assert!(((actual[1] - actual[0]) - (logits[1] - logits[0])).abs() < 1e-6, "{actual:?}");
}

/// The weights are a softmax over real tokens of the products of query and states, and the head gets
/// the mean with these weights, for both directions and padding in front.
#[test]
fn attention_is_a_weighted_mean_of_the_states() {
    for pad in ["back", "front"] {
        let config = parse(&format!(
            "text: {{max_length: 6, pad: {pad}}}\n\
             model: {{embedding: {{size: 3}}, lstm: {{units: 2, bidirectional: true}}, \
             pooling: attention, initialization: pytorch, head: {{activation: softmax}}}}\n"
        ));
        let mut weights = initial_weights(&spec(&config), 3).unwrap();
        let query = [1.5, -2.0, 4.0, 0.5];
        let mut head = Vec::new();
        for tensor in &mut weights {
            match tensor.name.as_str() {
                "attention.query" => tensor.values = query.to_vec(),
                "head.weight" => head = tensor.values.clone(),
                "head.bias" => tensor.values.fill(0.0),
                _ => {}
            }
        }
        let network = NativeInference::new(&spec(&config), weights).unwrap();
        let corpus = Corpus::from_texts(config.text.pad, 6, [&[4, 5, 6, 4][..]]);
        let states = network.states(0, &corpus, 0);
        let weights = states.attention.unwrap();
        let padding = weights.len() - 4;
        assert_eq!(padding, if pad == "front" { 2 } else { 0 });
        assert!(weights[..padding].iter().all(|weight| *weight == 0.0));
        let hidden = |step: usize| -> Vec<f32> {
            states.layers[0].iter().flat_map(|direction| direction.hidden[step].clone()).collect()
        };
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let scores = (padding..weights.len()).map(|step| dot(&query, &hidden(step)).exp());
        let scores: Vec<f32> = scores.collect();
        let sum: f32 = scores.iter().sum();
        let mut mean = [0.0; 4];
        for (step, score) in (padding..).zip(&scores) {
            assert!((weights[step] - score / sum).abs() < 1e-6, "{pad}: {weights:?}");
            mean.iter_mut().zip(hidden(step)).for_each(|(to, state)| *to += score / sum * state);
        }
        let logits: Vec<f32> = head.chunks(4).map(|row| dot(row, &mean)).collect();
        let actual = network.log_probabilities(&[corpus], &[0]);
        assert!((actual[1] - actual[0] - f64::from(logits[1] - logits[0])).abs() < 1e-6);
    }
}

#[test]
fn a_small_perturbation_doubles_the_gradient() {
    let gradients = |adversarial: &str| {
        let config = parse(&format!(
            "model: {{embedding: {{size: 3}}, lstm: {{units: 4}}, head: {{dropout: 0}}}}\n\
             train: {{optimizer: sgd, gradient_clip: null, adversarial: {{{adversarial}}}}}\n"
        ));
        train_batches(&config, &data(), &[vec![0, 1, 2, 3]]).gradients
    };
    let alone = gradients("epsilon: null");
    let ratios = |epsilon: f64| -> Vec<f32> {
        let both = gradients(&format!("epsilon: {epsilon}, weight: 1"));
        let pairs = alone.iter().zip(&both);
        let values = pairs.flat_map(|(a, b)| a.values.iter().zip(&b.values));
        values.filter(|(a, _)| a.abs() > 1e-3).map(|(a, b)| b / a).collect()
    };
    let small = ratios(1e-4);
    assert!(small.len() > 10 && small.iter().all(|ratio| (ratio - 2.0).abs() < 1e-2), "{small:?}");
    assert!(ratios(5.0).iter().any(|ratio| (ratio - 2.0).abs() > 0.1));
}

/// Returns the gradients of the terms of unlabelled texts.
fn unlabelled_gradients(config: &Config, weights: &[NamedTensor], shards: usize) -> Gradients {
    let mut network = Network::new(&spec(config), weights.to_vec(), Instructions::best()).unwrap();
    let mut sharder = BatchSharder::new(&config.inputs, &[20], shards);
    let (data, dropout) = (data(), Dropout::new(1));
    let batch = sharder.shard(&data.inputs, None, &[0, 1, 2, 3], Some(&dropout));
    let normalization = network.normalization(&data.word_frequencies(&[20]));
    let virtual_adversarial = &config.train.virtual_adversarial;
    let perturbation = virtual_adversarial.epsilon.map(|epsilon| VirtualPerturbation {
        perturbation: Perturbation {
            epsilon,
            weight: virtual_adversarial.weight,
            normalization: &normalization,
        },
        xi: virtual_adversarial.xi,
        signs: RandomSigns::new(1),
    });
    let terms = UnlabelledTerms {
        entropy_weight: config.train.entropy_weight,
        virtual_adversarial: perturbation,
    };
    let mut gradients = Gradients::default();
    let partial = network.unlabelled_gradients(&batch, Some(&dropout), &terms);
    network.complete(&batch, partial, Some(&dropout), &mut gradients);
    gradients
}

const UNLABELLED_MODEL: &str = "model: {embedding: {size: 3}, lstm: {units: 4, bidirectional: true}, \
     pooling: [mean, attention], head: {dropout: 0, activation: softmax}, ngrams: {sizes: [1]}}\n";

#[test]
fn entropy_gradients_agree_with_finite_differences() {
    const STEP: f32 = 1e-2;
    let config = parse(&format!("{UNLABELLED_MODEL}train: {{entropy_weight: 0.7}}\n"));
    let weights = initial_weights(&spec(&config), 3).unwrap();
    let gradients = unlabelled_gradients(&config, &weights, 2);
    let network = Network::new(&spec(&config), weights.clone(), Instructions::best()).unwrap();
    let names = |gradient: &NamedTensor| gradient.name.clone();
    let dense: Vec<NamedTensor> = gradients.tensors(network.weights(), 1.0);
    assert!(dense.iter().map(names).any(|name| name == "attention.query"));
    let entropy_of = |weights: Vec<NamedTensor>| {
        let inference = NativeInference::new(&spec(&config), weights).unwrap();
        let predictions = inference.log_probabilities(&data().inputs, &[0, 1, 2, 3]);
        -predictions.iter().map(|value| value.exp() * value).sum::<f64>() / 4.0
    };
    for gradient in dense.iter().filter(|gradient| !gradient.name.contains("embedding")) {
        let index = weights.iter().position(|weight| weight.name == gradient.name).unwrap();
        if weights[index].shape != gradient.shape {
            continue; // The weights of n-grams have only the rows of the batch.
        }
        for value in [0, gradient.values.len() - 1] {
            let at = |by: f32| {
                let mut moved = weights.clone();
                moved[index].values[value] += by;
                entropy_of(moved)
            };
            let expected = 0.7 * (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
            let actual = f64::from(gradient.values[value]);
            let error = (actual - expected).abs();
            assert!(error < 1e-5 + 1e-3 * expected.abs(), "{}: {actual} {expected}", gradient.name);
        }
    }
}

#[test]
fn unlabelled_terms_add_up_and_do_not_depend_on_shards() {
    let gradients = |train: &str, shards: usize| {
        let config = parse(&format!("{UNLABELLED_MODEL}train: {{{train}}}\n"));
        let weights = initial_weights(&spec(&config), 3).unwrap();
        let network = Network::new(&spec(&config), weights.clone(), Instructions::best()).unwrap();
        unlabelled_gradients(&config, &weights, shards).tensors(network.weights(), 1.0)
    };
    let close = |a: &[NamedTensor], b: &[NamedTensor], what: &str| {
        for (a, b) in a.iter().zip(b) {
            assert_eq!(a.shape, b.shape, "{what}: {}", a.name);
            let largest = b.values.iter().fold(1e-9_f32, |largest, value| largest.max(value.abs()));
            for (a, b) in a.values.iter().zip(&b.values) {
                assert!((a - b).abs() < 1e-3 * largest, "{what}: {a} {b}");
            }
        }
    };
    let virtual_adversarial = "virtual_adversarial: {epsilon: 2, weight: 0.5}";
    let alone = gradients(virtual_adversarial, 1);
    assert!(alone.iter().all(|tensor| tensor.values.iter().any(|value| *value != 0.0)));
    close(&gradients(virtual_adversarial, 3), &alone, "shards");
    let twice = gradients("virtual_adversarial: {epsilon: 2, weight: 1}", 1);
    let mut doubled = alone.clone();
    doubled.iter_mut().flat_map(|tensor| &mut tensor.values).for_each(|value| *value *= 2.0);
    close(&twice, &doubled, "weights");
    let entropy = gradients("entropy_weight: 0.3", 1);
    let mut sum = alone;
    let values = sum.iter_mut().flat_map(|tensor| &mut tensor.values);
    let others = entropy.iter().flat_map(|tensor| &tensor.values);
    values.zip(others).for_each(|(sum, value)| *sum += value);
    close(&gradients(&format!("entropy_weight: 0.3, {virtual_adversarial}"), 1), &sum, "sum");
}

/// To first order, the perturbed predictions, and with them the gradient, are linear in the perturbation.
#[test]
fn the_gradient_of_the_divergence_grows_with_the_perturbation() {
    let norm = |epsilon: f64| {
        let train = format!("virtual_adversarial: {{epsilon: {epsilon}}}");
        let config = parse(&format!("{UNLABELLED_MODEL}train: {{{train}}}\n"));
        let weights = initial_weights(&spec(&config), 3).unwrap();
        unlabelled_gradients(&config, &weights, 1).norm()
    };
    let ratio = norm(0.2) / norm(0.1);
    assert!((ratio - 2.0).abs() < 0.05, "{ratio}");
}

#[test]
fn a_batch_of_unlabelled_texts_replaces_that_of_the_examples() {
    let config = parse(&format!(
        "{UNLABELLED_MODEL}train: {{optimizer: sgd, gradient_clip: null, entropy_weight: 0.5, \
         virtual_adversarial: {{epsilon: 1}}}}\n"
    ));
    let others = [&[4, 12, 13][..], &[14, 6, 15, 4]];
    let others =
        Dataset { inputs: vec![corpus(PadSide::Back, others)], targets: Targets::default() };
    let gradients = |unlabelled: Option<&Dataset>| {
        let mut learner = learner(&config);
        let mut batch = (learner.preparer(Worker::ALONE))(&data(), &[0, 1, 3], 5);
        if let Some(texts) = unlabelled {
            let all: Vec<u32> = (0..texts.len() as u32).collect();
            batch =
                batch.with_unlabelled((learner.unlabelled_preparer(Worker::ALONE))(texts, &all, 5));
        }
        learner.step(&batch, Group::ALONE, None, 0.1).unwrap();
        (learner.gradients(), learner.drain_step_stats()[0].loss.mean)
    };
    let own = gradients(None);
    let same = Dataset {
        inputs: vec![corpus(PadSide::Back, [&[4, 5, 6][..], &[7, 4], &[6]])],
        targets: Targets::default(),
    };
    assert!(gradients(Some(&same)) == own, "the same texts have the same bits");
    let other = gradients(Some(&others));
    assert_eq!(other.1, own.1, "the loss is that of the labelled examples");
    let rows = |gradients: &[NamedTensor], name: &str| {
        gradients.iter().find(|tensor| tensor.name == name).unwrap().shape[0]
    };
    for name in ["embedding.weight", "ngrams.weight"] {
        // 4, 5, 6 and 7, and then also 12 to 15.
        assert_eq!((rows(&own.0, name), rows(&other.0, name)), (4, 8), "{name}");
    }
}

/// Result of some training steps.
#[derive(PartialEq)]
struct Trained {
    /// Gradients of the first step.
    gradients: Vec<NamedTensor>,
    weights: Vec<NamedTensor>,
    optimizer_state: Vec<NamedTensor>,
    stats: String,
}

fn train_batches(config: &Config, data: &Dataset, batches: &[Vec<u32>]) -> Trained {
    let vocabulary_sizes = vec![20; data.inputs.len()];
    let ngram_counts = vec![20; data.inputs.len()];
    let spec = ModelSpec { config, vocabulary_sizes, ngram_counts, classes: 2 };
    let labels = ["a", "b"].map(str::to_owned);
    let objective = Objective::new(config, &labels, &data.targets).unwrap();
    let weights = initial_weights(&spec, 3).unwrap();
    let mut learner = NativeLearner::new(&spec, &objective, weights).unwrap();
    learner.start_averaging();
    let mut prepare = learner.preparer(Worker::ALONE);
    let mut gradients = Vec::new();
    for (seed, batch) in (1..).zip(batches) {
        let batch = prepare(data, batch, seed);
        learner.step(&batch, Group::ALONE, Some(0.5), 0.1).unwrap();
        if seed == 1 {
            gradients = learner.gradients();
        }
    }
    Trained {
        gradients,
        stats: format!("{:?}", learner.drain_step_stats()),
        weights: learner.weights(),
        optimizer_state: learner.optimizer_state(),
    }
}

const NETWORKS: [&str; 14] = [
    "model: {lstm: null, ngrams: {sizes: [1]}}\ntrain: {optimizer: adamw, average: {method: ema}",
    "model: {embedding: {size: 3}, lstm: {units: 4}, ngrams: {sizes: [1], l2: 0.01, weighting: none}}\n\
     train: {average: {method: swa}, optimizer: adadelta",
    "model: {embedding: {size: 3}, lstm: {units: 4}}\ntrain: {class_weights: {a: 1, b: 3}",
    "model: {embedding: {size: 3, dropout: 0.3}, lstm: {units: 5, layers: 2, dropout: 0.4, \
     bidirectional: true}, head: {dropout: 0.5}}\ntrain: {optimizer: adamw",
    "model: {embedding: {size: 3, word_dropout: 0.5}, lstm: {units: 4, bidirectional: true}, \
     pooling: mean}\ntrain: {sparse_embedding: false, average: {method: swa}",
    "text: {pad: front, max_length: 9}\nmodel: {embedding: {size: 3}, lstm: {units: 4}, \
     pooling: last}\ntrain: {optimizer: sgd, sgd: {momentum: 0.9}",
    "model: {embedding: {size: 3, word_dropout: 0.3}, lstm: {units: 5, bidirectional: true}, \
     pooling: [attention, max, last]}\ntrain: {sparse_embedding: false",
    "text: {pad: front, max_length: 9}\nmodel: {embedding: {size: 3}, lstm: {units: 4, layers: 2}, \
     pooling: [mean, attention]}\ntrain: {optimizer: adadelta",
    "inputs: {a: {embedding: {size: 2}}, b: {embedding: {size: 4, trainable: false}, lstm: {units: 3}}}\n\
     train: {optimizer: rmsprop, average: {method: ema}",
    "inputs: {a: {embedding: {size: 3, word_dropout: 0.3}, lstm: {bidirectional: true}}, \
     b: {embedding: {size: 4, dropout: 0.2}, lstm: {units: 3}, text: {pad: front, max_length: 9}}}\n\
     train: {adversarial: {epsilon: 0.5}",
    "inputs: {a: {lstm: null, ngrams: {sizes: [1]}}, b: {embedding: {size: 4}, lstm: {units: 3}, \
     ngrams: {sizes: [1]}}}\ntrain: {adversarial: {epsilon: 0.5}",
    "inputs: {a: {embedding: {size: 3, word_dropout: 0.3}, lstm: {bidirectional: true, layers: 2}}, \
     b: {embedding: {size: 4, dropout: 0.2}, lstm: {units: 3}, text: {pad: front, max_length: 9}}}\n\
     train: {virtual_adversarial: {epsilon: 0.5}, entropy_weight: 0.3",
    "text: {pad: front, max_length: 9}\nmodel: {embedding: {size: 3}, lstm: {units: 4, layers: 2}, \
     pooling: [last, attention]}\ntrain: {adversarial: {epsilon: 1}, virtual_adversarial: {epsilon: 1}",
    "model: {lstm: null, ngrams: {sizes: [1]}}\ntrain: {entropy_weight: 0.3",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Batches differ in size, and some have fewer examples than shards.
    #[test]
    fn any_number_of_threads_gives_the_same_bits(
        texts in prop::collection::vec(prop::collection::vec(4_u32..20, 1..9), 12..40),
        network in 0..NETWORKS.len(),
        shards in 1_usize..=9,
        threads in 2_usize..=5,
        first_batch in 1_usize..12,
    ) {
        let parse = |shards| parse(&format!("{}, shards: {shards}}}\n", NETWORKS[network]));
        let config = parse(shards);
        let inputs = config.inputs.iter().enumerate().map(|(index, input)| {
            let texts = texts.iter().cycle().skip(index).take(texts.len());
            corpus(input.text.pad, texts.map(|text| &text[..]))
        });
        let targets = Targets::Labels((0..texts.len() as u32).map(|i| i * i % 2).collect());
        let data = Dataset { inputs: inputs.collect(), targets };
        let all: Vec<u32> = (0..texts.len() as u32).rev().collect();
        let (first, rest) = all.split_at(first_batch);
        let batches = [first.to_vec(), rest.to_vec(), vec![0]];
        let on_threads = |threads: usize, config: &Config| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| train_batches(config, &data, &batches))
        };
        let one = on_threads(1, &config);
        prop_assert!(one == on_threads(threads, &config), "{threads} threads");
        // Other shards differ in rounding only.
        let whole = on_threads(1, &parse(1));
        for (tensor, other) in one.gradients.iter().zip(&whole.gradients) {
            for (a, b) in tensor.values.iter().zip(&other.values) {
                prop_assert!((a - b).abs() < 1e-5, "{}: {a} {b}", tensor.name);
            }
        }
    }

    /// Neither the shards nor the other texts of a batch matter.
    #[test]
    fn predictions_do_not_depend_on_threads_or_batches(
        texts in prop::collection::vec(prop::collection::vec(4_u32..20, 1..9), 1..40),
        network in 0..8_usize,
        threads in 2_usize..=5,
    ) {
        let config = parse(&format!("{}}}\n", NETWORKS[network]));
        let weights = initial_weights(&spec(&config), 3).unwrap();
        let inference = NativeInference::new(&spec(&config), weights).unwrap();
        let pad = config.text.pad;
        let inputs = [corpus(pad, texts.iter().map(|text| &text[..]))];
        let all: Vec<u32> = (0..texts.len() as u32).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let together = pool.install(|| inference.log_probabilities(&inputs, &all));
        let batches: Vec<&[u32]> = all.chunks(7).collect();
        let apart = pool.install(|| inference.log_probabilities_of_batches(&inputs, &batches));
        let alone = all.iter().flat_map(|text| inference.log_probabilities(&inputs, &[*text]));
        prop_assert_eq!(&together, &apart.concat());
        prop_assert_eq!(&together, &alone.collect::<Vec<_>>());
    }
}

/// Trains `steps` steps, and reads the averages after those for which `reads` returns true.
fn train_averaged(
    config: &Config,
    steps: u64,
    mut reads: impl FnMut(u64, &mut NativeLearner) -> bool,
) -> NativeLearner {
    let mut learner = learner(config);
    let mut prepare = learner.preparer(Worker::ALONE);
    learner.start_averaging();
    for step in 1..=steps {
        let examples = [step as u32 % 4, (step as u32 / 3) % 4];
        learner.step(&prepare(&data(), &examples, step), Group::ALONE, Some(1.0), 0.05).unwrap();
        if reads(step, &mut learner) {
            learner.use_averages();
        }
    }
    learner
}

const AVERAGED: &str = "model: {embedding: {size: 3}, lstm: {units: 4}}\ntrain: {average";

#[test]
fn predictions_and_weights_are_those_of_the_average_until_the_next_step() {
    for fields in ["method: ema, decay: 0.8", "method: swa"] {
        let config = parse(&format!("{AVERAGED}: {{{fields}}}}}\n"));
        let initial = learner(&config).weights();
        let mut expected: Vec<Vec<f64>> = Vec::new();
        let as_f64 = |tensor: &NamedTensor| tensor.values.iter().map(|v| f64::from(*v)).collect();
        let start: Vec<Vec<f64>> = initial.iter().map(as_f64).collect();
        let mut learner = train_averaged(&config, 40, |step, learner| {
            let weights: Vec<Vec<f64>> = learner.weights().iter().map(as_f64).collect();
            let n = step as f64;
            let decay = match fields {
                "method: swa" => (n - 1.0) / n,
                _ => ((1.0 + n) / (10.0 + n)).min(0.8),
            };
            if expected.is_empty() {
                expected.clone_from(&start);
            }
            for (average, weight) in expected.iter_mut().flatten().zip(weights.iter().flatten()) {
                *average = decay * *average + (1.0 - decay) * weight;
            }
            step % 7 == 0
        });
        let raw = learner.weights();
        let trainable: Vec<_> =
            raw.iter().filter(|tensor| !tensor.name.contains("bias_hh")).cloned().collect();
        assert_eq!(learner.raw_weights().unwrap(), trainable);
        learner.use_averages();
        let averages = learner.weights();
        assert_ne!(averages, raw);
        assert_eq!(learner.raw_weights().unwrap(), trainable);
        for (average, expected) in averages.iter().zip(&expected) {
            for (average, expected) in average.values.iter().zip(expected) {
                let error = (f64::from(*average) - expected).abs();
                assert!(error < 1e-5, "{fields}: {average} instead of {expected}");
            }
        }
        let inference = NativeInference::new(&spec(&config), averages).unwrap();
        let inputs = &data().inputs;
        let predictions = learner.log_probabilities(inputs, &[0, 1, 2]);
        assert_eq!(predictions, inference.log_probabilities(inputs, &[0, 1, 2]));
    }
}

#[test]
fn reading_averages_changes_nothing() {
    for optimizer in ["adam", "adam, sparse_embedding: false", "rmsprop", "sgd"] {
        // With this decay, deviations are rescaled several times.
        let config =
            parse(&format!("{AVERAGED}: {{method: ema, decay: 0.5}}, optimizer: {optimizer}}}\n"));
        let mut rarely = train_averaged(&config, 90, |_, _| false);
        let mut often = train_averaged(&config, 90, |step, _| step % 3 != 0);
        assert_eq!(rarely.raw_weights(), often.raw_weights(), "{optimizer}");
        assert_eq!(rarely.optimizer_state(), often.optimizer_state(), "{optimizer}");
        rarely.use_averages();
        often.use_averages();
        assert_eq!(rarely.weights(), often.weights(), "{optimizer}");
    }
}

#[test]
fn averaging_does_not_change_training() {
    let train = |fields: &str| {
        let config = parse(&format!("{AVERAGED}: {{{fields}}}, sparse_embedding: false}}\n"));
        let mut learner = train_averaged(&config, 20, |_, _| false);
        let mut state = learner.optimizer_state();
        state.retain(|tensor| !tensor.name.starts_with("average."));
        (learner.weights(), state)
    };
    let plain = train("method: none");
    assert_eq!(train("method: ema"), plain);
    assert_eq!(train("method: swa"), plain);
}

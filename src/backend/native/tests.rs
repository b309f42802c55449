use super::*;
use crate::backend::{Collective, Learner, SingleProcess};
use crate::config::{self, Config, PadSide};
use crate::data::{Dataset, Targets};
use crate::model::{ModelSpec, NamedTensor, initial_weights};
use crate::objective::{CrossEntropy, Objective};
use crate::text::Corpus;

fn parse(yaml: &str) -> Config {
    config::parse(&format!("data: {{train: x}}\n{yaml}"), "test", &[]).unwrap().config
}

fn spec(config: &Config) -> ModelSpec<'_> {
    ModelSpec { config, vocabulary_sizes: vec![20], classes: 2 }
}

fn learner(config: &Config) -> NativeLearner {
    let weights = initial_weights(&spec(config), 3).unwrap();
    let objective = Objective::CrossEntropy(CrossEntropy::default());
    NativeLearner::new(&spec(config), &objective, weights).unwrap()
}

fn data() -> Dataset {
    let texts = [&[4, 5, 6][..], &[7, 4], &[8, 9, 10, 11, 5], &[6]];
    let inputs = vec![Corpus::from_texts(PadSide::Back, 9, texts)];
    Dataset { inputs, targets: Targets::Labels(vec![0, 1, 1, 0]) }
}

fn step(learner: &mut NativeLearner, collective: &dyn Collective) {
    let batch = (learner.preparer())(&data(), &[0, 1, 2, 3], 1);
    learner.compute_gradients(&batch).unwrap();
    learner.sum_gradients(collective).unwrap();
    learner.clip_gradients(None).unwrap();
    learner.update(0.1).unwrap();
}

/// Two processes that compute the same share: each sum is twice the own value.
struct TwoAlike;

impl Collective for TwoAlike {
    fn rank(&self) -> usize {
        0
    }
    fn size(&self) -> usize {
        2
    }
    fn sum(&self, values: &mut [f32]) -> anyhow::Result<()> {
        values.iter_mut().for_each(|value| *value *= 2.0);
        Ok(())
    }
    fn sum_f64(&self, values: &mut [f64]) -> anyhow::Result<()> {
        values.iter_mut().for_each(|value| *value *= 2.0);
        Ok(())
    }
    fn broadcast(&self, _: &mut [f32]) -> anyhow::Result<()> {
        Ok(())
    }
}

/// SGD moves the weights by the sum of the gradients of all processes.
#[test]
fn gradients_are_summed_over_the_processes_before_the_update() {
    let config = parse(
        "model: {embedding: {size: 3}, lstm: {units: 4}, head: {dropout: 0}}\n\
         train: {optimizer: sgd, learning_rate: 0.1}\n",
    );
    let start = learner(&config).weights();
    let after = |collective: &dyn Collective| {
        let mut learner = learner(&config);
        step(&mut learner, collective);
        let stats = learner.drain_step_stats()[0];
        (learner.weights(), stats)
    };
    let ((one, alone), (two, together)) = (after(&SingleProcess), after(&TwoAlike));
    assert_eq!(together.loss.correct, 2 * alone.loss.correct);
    let norms = (alone.gradient_norm.unwrap(), together.gradient_norm.unwrap());
    assert!((norms.1 / norms.0 - 2.0).abs() < 1e-6, "{norms:?}");
    for ((start, one), two) in start.iter().zip(&one).zip(&two) {
        let moved = |after: &NamedTensor| -> Vec<f32> {
            after.values.iter().zip(&start.values).map(|(to, from)| to - from).collect()
        };
        for (one, two) in moved(one).iter().zip(moved(two)) {
            assert!((2.0 * one - two).abs() < 1e-6, "{}: {one} and {two}", start.name);
        }
    }
}

#[test]
fn weights_are_loaded_by_name_and_the_others_stay() {
    let config = parse("model: {embedding: {size: 3}, lstm: {units: 4}}\n");
    let mut learner = learner(&config);
    let before = learner.weights();
    let vectors = |value: f32| NamedTensor {
        name: "embedding.weight".to_owned(),
        shape: vec![20, 3],
        values: vec![value; 60],
    };
    learner.load_weights(vec![vectors(1.0)]).unwrap();
    let loaded = learner.weights();
    assert_eq!(loaded[0], vectors(1.0));
    assert_eq!(loaded[1..], before[1..]);
    // The new vectors are computed with.
    let changed = learner.drain_step_stats().is_empty();
    assert!(changed);
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

/// With one unit, means over the units are the gates themselves, and lead to the states by the
/// equations of the LSTM, padding in front included.
#[test]
fn gates_lead_to_the_states() {
    for pad in ["back", "front"] {
        let config = parse(&format!(
            "text: {{max_length: 6, pad: {pad}}}\nmodel: {{embedding: {{size: 3}}, initialization: pytorch, \
             lstm: {{units: 1, layers: 2, bidirectional: true}}}}\n"
        ));
        let weights = initial_weights(&spec(&config), 3).unwrap();
        let network = NativeInference::new(&spec(&config), weights).unwrap();
        let corpus = Corpus::from_texts(config.text.pad, 6, [&[4, 5, 6, 4][..]]);
        let layers = network.states(0, &corpus, 0);
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

/// The states at the last step are what `pooling: last` hands to the head.
#[test]
fn states_are_those_that_predictions_are_made_of() {
    let config = parse(
        "text: {max_length: 6, pad: front}\n\
         model: {embedding: {size: 3}, lstm: {units: 5}, pooling: last, head: {activation: softmax}}\n",
    );
    let weights = initial_weights(&spec(&config), 3).unwrap();
    let head = weights.iter().find(|tensor| tensor.name == "head.weight").unwrap().values.clone();
    let network = NativeInference::new(&spec(&config), weights).unwrap();
    let corpus = Corpus::from_texts(config.text.pad, 6, [&[4, 5, 6, 4][..]]);
    let states = &network.states(0, &corpus, 0)[0][0];
    let logits: Vec<f64> = head
        .chunks(5)
        .map(|row| row.iter().zip(&states.final_hidden).map(|(a, b)| f64::from(a * b)).sum())
        .collect();
    let found = crate::backend::Inference::log_probabilities(&network, &[corpus], &[0]);
    assert!(((found[1] - found[0]) - (logits[1] - logits[0])).abs() < 1e-6, "{found:?}");
}

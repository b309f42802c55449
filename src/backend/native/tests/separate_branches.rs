//! Training of the LSTMs and the n-grams on losses of their own.

use std::collections::HashMap;

use super::*;

const LSTM: &str = "embedding: {size: 3}, lstm: {units: 4}";
const NGRAMS: &str = "ngrams: {sizes: [1], weighting: none}";

/// Trains some steps, without an update of the bias if it is not trained.
fn train(model: &str, fields: &str, trains_bias: bool) -> NativeLearner {
    let config = parse(&format!("model: {{{model}}}\ntrain: {{gradient_clip: null{fields}}}\n"));
    let mut learner = learner(&config);
    if !trains_bias {
        let names = learner.weights().into_iter().map(|tensor| tensor.name);
        let factor = |name: &String| if name == "head.bias" { 0.0 } else { 1.0 };
        let factors: HashMap<String, f64> =
            names.map(|name| (name.clone(), factor(&name))).collect();
        learner.set_rate_factors(&factors);
    }
    let mut prepare = learner.preparer(Worker::ALONE);
    for step in 0..10 {
        let examples = [step as u32 % 4, (step as u32 + 1) % 4];
        learner.step(&prepare(&data(), &examples, step), Group::ALONE, None, 0.05).unwrap();
    }
    learner
}

#[test]
fn separate_branches_learn_as_if_they_were_alone() {
    for terms in ["", ", adversarial: {epsilon: 0.5}, virtual_adversarial: {epsilon: 0.5}"] {
        let fields = format!("{terms}, separate_branches: true");
        let both = train(&format!("{LSTM}, {NGRAMS}"), &fields, true).weights();
        let ngrams = train(&format!("lstm: null, {NGRAMS}"), "", true).weights();
        let lstm = train(&format!("{LSTM}, ngrams: null"), terms, false).weights();
        let alone = ngrams.iter().chain(lstm.iter().filter(|tensor| tensor.name != "head.bias"));
        assert_eq!(alone.clone().count(), both.len());
        for tensor in alone {
            assert!(both.contains(tensor), "{terms}: {}", tensor.name);
        }
    }
}

#[test]
fn the_measured_loss_of_separate_branches_is_that_of_their_sum() {
    let model = "embedding: {size: 3, word_dropout: 0}, lstm: {units: 4}, head: {dropout: 0}";
    let mut learner = train(&format!("{model}, {NGRAMS}"), ", separate_branches: true", true);
    learner.drain_step_stats();
    let examples = [0, 1, 2, 3];
    let data = data();
    let mut prepare = learner.preparer(Worker::ALONE);
    let batch = prepare(&data, &examples, 1);
    let rows = learner.log_probabilities(&data.inputs, &examples);
    let labels = [0, 1, 1, 0];
    let losses = rows.chunks_exact(2).zip(labels).map(|(row, label): (&[f64], usize)| -row[label]);
    let expected = losses.sum::<f64>() / 4.0;
    learner.step(&batch, Group::ALONE, None, 0.05).unwrap();
    let measured = learner.drain_step_stats()[0].loss.mean;
    assert!((measured - expected).abs() < 1e-6, "{measured} instead of {expected}");
}

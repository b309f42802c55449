use super::*;
use crate::config::PadSide;
use crate::config::{NgramWeighting, parse_plain};
use crate::model::naive_bayes::log_count_ratios;
use crate::random::normal;
use crate::text::{Corpus, Ids};

/// A model of random n-grams: each label has some that are more frequent with it.
fn set(examples: usize, classes: u32) -> Dataset {
    let labels: Vec<u32> = (0..examples as u32).map(|example| example % classes).collect();
    let mut corpus = Corpus::from_texts(PadSide::Back, 9, labels.iter().map(|_| &[4][..]));
    let (mut rows, mut lengths) = (Vec::new(), Vec::new());
    for (example, label) in labels.iter().enumerate() {
        let has = |row: &u32| {
            let shift = if row % classes == *label { 0.8 } else { 0.0 };
            normal(3, (example * 12) as u64 + u64::from(*row)) + shift > 0.7
        };
        let of_example: Vec<u32> = (0..12).filter(has).collect();
        lengths.push(of_example.len());
        rows.extend(of_example);
    }
    corpus.set_ngrams(Ids::Memory(rows), &lengths);
    Dataset { inputs: vec![corpus], targets: Targets::Labels(labels) }
}

fn tensor(name: &str, shape: [usize; 2], value: impl Fn(u64) -> f64) -> NamedTensor {
    let values = (0..(shape[0] * shape[1]) as u64).map(|index| value(index) as f32).collect();
    NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values }
}

/// Compares the gradient with central differences, and the minimum with the points around it.
fn check(model: Linear, strength: f64) {
    let total = model.total(Part::All);
    let evaluate = |weights: &[f64]| model.penalized_loss(weights, strength, Part::All, total);
    let count = model.inputs.weights() + model.examples.logits;
    let mut start: Vec<f64> = (0..count).map(|index| normal(2, index as u64)).collect();
    if !model.has_bias {
        start[model.inputs.weights()..].fill(0.0);
    }
    let (_, gradient) = evaluate(&start);
    for (index, slope) in gradient.iter().enumerate().filter(|(_, slope)| **slope != 0.0) {
        let at = |offset: f64| {
            let mut moved = start.clone();
            moved[index] += offset;
            evaluate(&moved).0
        };
        let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((slope - expected).abs() < 1e-7, "{index}: {slope} {expected}");
    }
    assert!(gradient.iter().filter(|slope| **slope != 0.0).count() >= model.inputs.weights());
    let fitted = minimize(start.clone(), LIMITS, evaluate);
    let (loss, gradient) = evaluate(&fitted);
    assert!(loss < evaluate(&start).0, "{loss}");
    assert!(gradient.iter().all(|slope| slope.abs() < 1e-5), "{gradient:?}");
}

#[test]
fn the_fit_is_a_minimum_of_the_penalized_loss() {
    for (classes, logits) in [(2, 1), (3, 3)] {
        let (set, objective) = (set(300, classes), Objective::plain(Labelling::One));
        let examples = Examples { set: &set, objective: &objective, logits };
        let config =
            parse_plain("data: {train: x}\nmodel: {lstm: null, ngrams: {sizes: [1]}}\n").config;
        let spec = ModelSpec {
            config: &config,
            vocabulary_sizes: vec![5],
            ngram_counts: vec![12],
            classes: classes as usize,
        };
        let weights = [
            tensor("ngrams.weight", [12, logits], |_| 0.0),
            tensor("ngrams.value", [12, logits], |index| 1.0 + 0.1 * index as f64),
        ];
        let ngrams = NgramInputs::of_set(&spec, &weights, &set).unwrap();
        let values = (0..300 * 4).map(|index| normal(1, index) as f32).collect();
        let states = States { values, features: 4, logits };
        let no_offsets = vec![0.0; 300 * logits];
        let offsets: Vec<f64> = (0..300 * logits as u64).map(|index| normal(5, index)).collect();
        for (inputs, has_bias, offsets) in [
            (&states as &dyn Inputs, true, &no_offsets),
            (&states, false, &offsets),
            (&ngrams, true, &no_offsets),
            (&ngrams, false, &offsets),
        ] {
            check(Linear { inputs, examples, has_bias, offsets }, 0.01);
        }
    }
}

#[test]
fn the_strength_is_that_with_the_lowest_loss_of_examples_outside_the_fit() {
    let objective = Objective::plain(Labelling::One);
    let (train, validation) = (set(60, 2), set(3, 2));
    let states = |set: &Dataset, seed: u64| {
        // Each of the 40 features is noise, so that a weak penalty overfits.
        let values = (0..set.len() as u64 * 40).map(|index| normal(seed, index) as f32).collect();
        States { values, features: 40, logits: 1 }
    };
    let (of_train, of_validation) = (states(&train, 1), states(&validation, 2));
    let examples = |set| Examples { set, objective: &objective, logits: 1 };
    let zeros = vec![0.0; 60];
    let model =
        Linear { inputs: &of_train, examples: examples(&train), has_bias: true, offsets: &zeros };
    let on_validation = Linear {
        inputs: &of_validation,
        examples: examples(&validation),
        offsets: &zeros[..3],
        ..model
    };
    let Fitted { fit, weights, held_out } = model.fit(&on_validation, &[]);
    assert_eq!(fit.strength, STRENGTHS[0]);
    let loss = on_validation.loss_sum(&weights, Part::All, None) / 3.0;
    assert!((fit.validation_loss - loss).abs() < 1e-12);
    // Features of noise tell nothing about examples that the fit has not seen.
    let (held_out, logits) = (held_out.unwrap(), model.logits(&weights));
    let loss = |logits: &[f64]| model.examples.score(logits).0;
    assert!(loss(&logits) < loss(&held_out), "{} {}", loss(&logits), loss(&held_out));
}

/// With labels that no n-gram tells of, values of naive Bayes still separate the examples that they come from.
#[test]
fn values_of_ngrams_come_from_other_folds() {
    let config =
        parse_plain("data: {train: x}\nmodel: {lstm: null, ngrams: {sizes: [1]}}\n").config;
    let spec = ModelSpec {
        config: &config,
        vocabulary_sizes: vec![5],
        ngram_counts: vec![400],
        classes: 2,
    };
    // As many of both in each fold.
    let labels: Vec<u32> = (0..100).map(|example| example / FOLDS as u32 % 2).collect();
    let mut corpus = Corpus::from_texts(PadSide::Back, 9, labels.iter().map(|_| &[4][..]));
    // Each n-gram is in about five texts, which determine its value.
    let ngrams_of = |text: u64| {
        (0..400).filter(move |row| normal(11, text * 400 + u64::from(*row)) > 1.65).collect()
    };
    let texts: Vec<Vec<u32>> = (0..100).map(ngrams_of).collect();
    let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
    corpus.set_ngrams(Ids::Memory(texts.concat()), &lengths);
    let set = Dataset { inputs: vec![corpus], targets: Targets::Labels(labels) };
    let times_idf = config.inputs[0].ngrams.weighting == NgramWeighting::NaiveBayesIdf;
    let values =
        log_count_ratios(&set.inputs[0], &set.targets, 0..100, [400, 1], times_idf).unwrap();
    let weights = [
        tensor("ngrams.weight", [400, 1], |_| 0.0),
        tensor("ngrams.value", [400, 1], |index| f64::from(values[index as usize])),
    ];
    let objective = Objective::plain(Labelling::One);
    let examples = Examples { set: &set, objective: &objective, logits: 1 };
    let ngrams = NgramInputs::of_set(&spec, &weights, &set).unwrap();
    let of_folds = ngrams.of_parts(&set.targets, &examples.outside_folds()).unwrap();
    let of_folds: Vec<&dyn Inputs> = of_folds.iter().map(|inputs| inputs as _).collect();
    let zeros = vec![0.0; 100];
    let model = Linear { inputs: &ngrams, examples, has_bias: true, offsets: &zeros };
    let accuracy = |of_folds: &[&dyn Inputs]| {
        let held_out = model.fit(&model, of_folds).held_out.unwrap();
        examples.score(&held_out).1
    };
    let (of_all, of_others) = (accuracy(&[]), accuracy(&of_folds));
    assert!(of_all >= 75 && (35..=65).contains(&of_others), "{of_all} {of_others}");
}

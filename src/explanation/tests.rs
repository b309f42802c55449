use std::collections::BTreeSet;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::integrated_gradients::probes;
use super::model::Model;
use super::*;
use crate::backend::native::NativeInference;
use crate::config;
use crate::model::{ModelSpec, NamedTensor, initial_weights};
use crate::objective::{Averaging, Combination};
use crate::random::mix;
use crate::text::{Encoders, word_hash};

/// Creates a model with random weights and the vocabulary a to i.
fn explainer(fields: &str, classes: usize) -> Explainer {
    let yaml =
        format!("data: {{train: x}}\n{fields}\n").replace("text: {", "text: {min_count: 1, ");
    let yaml = match yaml.contains("text: {") {
        true => yaml,
        false => format!("{yaml}text: {{min_count: 1}}\n"),
    };
    let config = config::parse_plain(&yaml).config;
    let columns = vec![vec!["a b c d e f g h i".to_owned()]; config.inputs.columns().len()];
    let encoders = Encoders::from_texts(&config.inputs, &columns).unwrap();
    let (vocabulary_sizes, ngram_counts) = (encoders.vocabulary_sizes(), encoders.ngram_counts());
    let spec = ModelSpec { config: &config, vocabulary_sizes, ngram_counts, classes };
    let mut random = Pcg64::seed_from_u64(7);
    let mut weights = initial_weights(&spec, 1).unwrap();
    for tensor in weights.iter_mut().filter(|tensor| !tensor.name.contains("bias_hh")) {
        tensor.values.fill_with(|| random.random_range(-0.8..0.8));
    }
    let labels = (0..classes).map(|class| format!("class {class}")).collect();
    let classifier = NativeInference::new(&spec, weights).unwrap();
    let combination = Combination::equal(Averaging::LogOdds, 1);
    Explainer::of(vec![Model { config, encoders, labels, classifier }], combination, None)
}

const MODELS: [(&str, usize); 11] = [
    ("model: {embedding: {size: 5}, lstm: {units: 4}, pooling: last}", 2),
    ("model: {embedding: {size: 5}, lstm: {units: 4}, pooling: mean}", 2),
    ("model: {embedding: {size: 5}, lstm: {units: 4}, pooling: max}", 2),
    (
        "model: {embedding: {size: 5}, lstm: {units: 4, bidirectional: true, layers: 2}, pooling: mean}",
        2,
    ),
    ("model: {embedding: {size: 5}, lstm: {units: 4, bidirectional: true}, pooling: last}", 3),
    ("model: {embedding: {size: 5}, lstm: {units: 4}, head: {activation: softmax}}", 2),
    ("model: {embedding: {size: 5, trainable: false}, lstm: {units: 4}, head: {dropout: 0.5}}", 4),
    (
        "text: {pad: front, max_length: 12}\nmodel: {embedding: {size: 5}, lstm: {units: 4}, pooling: last}",
        2,
    ),
    ("model: {embedding: {size: 5}, lstm: {units: 4, bidirectional: true}, pooling: attention}", 2),
    (
        "text: {pad: front, max_length: 12}\nmodel: {embedding: {size: 5}, lstm: {units: 4}, pooling: [attention, last]}",
        3,
    ),
    (
        "inputs:\n  story: {embedding: {size: 4}, lstm: {units: 5, bidirectional: true}, pooling: last}\n  question: {embedding: {size: 3}, lstm: {units: 2}, pooling: mean}",
        3,
    ),
];

fn texts(explainer: &Explainer) -> Vec<String> {
    ["a b c z a h i", "c c d"][..explainer.inputs().columns().len()]
        .iter()
        .map(|t| (*t).into())
        .collect()
}

fn contributions(explanation: &Explanation) -> Vec<f64> {
    let words = explanation.inputs.iter().flat_map(|input| &input.words);
    words.map(|word| word.contribution).collect()
}

#[test]
fn contributions_add_up_to_the_difference_in_log_odds() {
    for (fields, classes) in MODELS {
        let explainer = explainer(fields, classes);
        for class in 0..classes {
            let explanation = explainer
                .explain(&texts(&explainer), Some(class), Method::IntegratedGradients)
                .unwrap();
            let integration = explanation.integration.unwrap();
            let expected = explanation.log_odds - integration.baseline_log_odds;
            let sum: f64 = contributions(&explanation).iter().sum();
            assert!((sum - expected - integration.completeness_gap).abs() < 1e-9);
            assert!(
                integration.completeness_gap.abs() <= (0.01 * expected.abs()).max(1e-3),
                "{fields}: {integration:?}, not {expected}"
            );
            let (p, log_odds) = (explanation.probability, explanation.log_odds);
            assert!((log_odds - (p / (1.0 - p)).ln()).abs() < 1e-6);
        }
    }
}

/// With large weights the log-odds jump somewhere on the path, where intervals must be halved.
#[test]
fn jumps_are_integrated_with_more_points() {
    let mut explainer = explainer(MODELS[5].0, 2);
    let mut weights: Vec<NamedTensor> = explainer.models[0].classifier.weights().cloned().collect();
    for tensor in &mut weights {
        tensor.values.iter_mut().for_each(|value| *value *= 5.0);
    }
    let model = &mut explainer.models[0];
    let vocabulary_sizes = model.encoders.vocabulary_sizes();
    let ngram_counts = model.encoders.ngram_counts();
    let spec = ModelSpec { config: &model.config, vocabulary_sizes, ngram_counts, classes: 2 };
    model.classifier = NativeInference::new(&spec, weights).unwrap();
    let text = "a b c d e f g h i ".repeat(9);
    let explanation = explainer.explain(&[text], Some(1), Method::IntegratedGradients).unwrap();
    let integration = explanation.integration.unwrap();
    let expected = explanation.log_odds - integration.baseline_log_odds;
    assert!(integration.steps > 32, "{integration:?}");
    assert!(integration.completeness_gap.abs() <= 0.01 * expected.abs(), "{integration:?}");
}

/// Compares each derivative with a finite difference of its word vector.
#[test]
fn derivatives_match_finite_differences() {
    const STEP: f64 = 0.02;
    for (fields, classes) in MODELS {
        // The maximum has no unique derivative if two values are equal.
        if fields.contains("max}") {
            continue;
        }
        let explainer = explainer(fields, classes);
        let texts = texts(&explainer);
        for (input, text) in texts.iter().enumerate() {
            let words: Vec<&str> = text.split(' ').collect();
            let derivatives = probes::derivatives(&explainer.models[0], &texts, 0.5).remove(input);
            if !explainer.inputs()[input].has_lstm() {
                assert!(derivatives.is_empty());
                continue;
            }
            assert_eq!(derivatives.len(), words.len());
            for (word, actual) in derivatives.iter().enumerate() {
                let moved = |by| {
                    probes::log_odds_with(&explainer.models[0], &texts, 0.5, (input, word), by)
                };
                let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                assert!((actual - expected).abs() < 1e-3, "{fields}, {word}: {actual}, {expected}");
            }
        }
    }
}

#[test]
fn leave_one_out_matches_texts_without_the_word() {
    for (fields, classes) in MODELS {
        let explainer = explainer(fields, classes);
        let texts = texts(&explainer);
        let log_odds = |texts: &[String]| {
            explainer.explain(texts, Some(1), Method::LeaveOneOut).unwrap().log_odds
        };
        let explanation = explainer.explain(&texts, Some(1), Method::LeaveOneOut).unwrap();
        assert_eq!(explanation.integration, None);
        let mut expected = Vec::new();
        for (input, text) in texts.iter().enumerate() {
            let words: Vec<&str> = text.split(' ').collect();
            for word in 0..words.len() {
                let mut shorter = texts.clone();
                shorter[input] = [&words[..word], &words[word + 1..]].concat().join(" ");
                expected.push(log_odds(&texts) - log_odds(&shorter));
            }
        }
        let actual = contributions(&explanation);
        assert_eq!(actual.len(), expected.len());
        assert!(actual.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{fields}");
    }
}

#[test]
fn the_most_probable_class_is_explained_by_default() {
    let explainer = explainer(MODELS[8].0, 3);
    let explanation = explainer.explain(&texts(&explainer), None, Method::LeaveOneOut).unwrap();
    let most = explanation.classes.iter().map(|class| class.probability).fold(0.0, f64::max);
    assert_eq!(explanation.probability, most);
    let sum: f64 = explanation.classes.iter().map(|class| class.probability).sum();
    assert!((sum - 1.0).abs() < 1e-6);
}

#[test]
fn words_have_attention_weights_that_add_up_to_one() {
    for (fields, classes) in MODELS {
        let explainer = explainer(fields, classes);
        let explanation = explainer.explain(&texts(&explainer), None, Method::LeaveOneOut).unwrap();
        for (input, text) in explainer.inputs().iter().zip(&explanation.inputs) {
            let sum: Option<f32> = text.words.iter().map(|word| word.attention).sum();
            assert_eq!(sum.is_some(), input.has_attention(), "{fields}");
            assert!(sum.is_none_or(|sum| (sum - 1.0).abs() < 1e-5), "{fields}: {sum:?}");
            let ranked = text.ranked_by_attention();
            assert!(ranked.is_sorted_by(|a, b| a.1 >= b.1));
            assert_eq!(ranked.len(), if input.has_attention() { text.words.len() } else { 0 });
        }
    }
}

#[test]
fn words_have_their_positions_in_the_text() {
    let explainer = explainer("text: {start_token: true, max_length: 4, truncate: middle}", 2);
    let text = "A  b, zebra C";
    let explanation = explainer.explain(&[text.into()], None, Method::IntegratedGradients).unwrap();
    let words: Vec<(&str, bool)> =
        explanation.inputs[0].words.iter().map(|word| (&*word.word, word.known)).collect();
    // The middle two of six tokens are truncated.
    assert_eq!(words, [("<start>", true), ("A", true), ("zebra", false), ("C", true)]);
    assert_eq!(explanation.inputs[0].words[0].span, None);
    assert_eq!(&text[explanation.inputs[0].words[3].span.clone().unwrap()], "C");
    let empty = explainer.explain(&[String::new()], None, Method::LeaveOneOut).unwrap();
    assert_eq!(empty.inputs[0].words.len(), 1);
}

/// Contributions of n-grams are exact and belong to their words.
#[test]
fn contributions_of_ngrams_are_exact() {
    let explainer = explainer("model: {lstm: null, ngrams: {sizes: [1, 2], min_count: 1}}", 2);
    let weights: Vec<&NamedTensor> = explainer.models[0].classifier.weights().collect();
    let tensor = |name: &str| {
        weights.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.values).unwrap()
    };
    let (weight, value) = (tensor("ngrams.weight"), tensor("ngrams.value"));
    let index = explainer.models[0].encoders[0].ngrams().unwrap();
    let logit = |ngram: &str| {
        let hash = ngram.split(' ').fold(0, |hash, word| mix(hash ^ word_hash(word)));
        let row = index.row(hash).unwrap() as usize;
        f64::from(weight[row]) * f64::from(value[row])
    };
    let text = "a b z a b".to_owned();
    let explanation = explainer.explain(&[text], Some(1), Method::IntegratedGradients).unwrap();
    let ngrams = &explanation.inputs[0].ngrams;
    let names: BTreeSet<&str> = ngrams.iter().map(|each| each.ngram.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["a", "b", "a b"]));
    for each in ngrams {
        assert!((each.contribution - logit(&each.ngram)).abs() < 1e-6, "{each:?}");
    }
    let a = logit("a") / 2.0 + logit("a b") / 4.0;
    let b = logit("b") / 2.0 + logit("a b") / 4.0;
    for (actual, expected) in contributions(&explanation).iter().zip([a, b, 0.0, a, b]) {
        assert!((actual - expected).abs() < 1e-6, "{actual}, not {expected}");
    }
    let integration = explanation.integration.unwrap();
    assert!(integration.completeness_gap.abs() < 1e-6, "{integration:?}");
}

/// N-grams read the words that are truncated for the LSTM.
#[test]
fn truncated_words_contribute_to_ngrams() {
    let fields = "text: {max_length: 2, truncate: back}\n\
                  model: {lstm: {units: 2}, ngrams: {sizes: [1], min_count: 1}}";
    let explainer = explainer(fields, 2);
    for method in [Method::IntegratedGradients, Method::LeaveOneOut] {
        let explanation = explainer.explain(&["a b c".to_owned()], None, method).unwrap();
        assert_eq!(
            (explanation.inputs[0].words.len(), explanation.inputs[0].tokens_unread),
            (3, 1)
        );
        assert_ne!(explanation.inputs[0].words[2].contribution, 0.0);
    }
}

/// Combines models of words and of characters, which truncate at different places.
fn ensemble(averaging: Averaging, classes: usize) -> Explainer {
    let fields = [
        "text: {start_token: true}\nmodel: {embedding: {size: 5}, lstm: {units: 4}}",
        "text: {tokenizer: characters, max_length: 9}\nmodel: {embedding: {size: 3}, lstm: {units: 2}}",
        "model: {lstm: null, ngrams: {sizes: [1, 2], min_count: 1}}",
    ];
    let models = fields.into_iter().flat_map(|fields| explainer(fields, classes).models).collect();
    let combination = Combination::weighted(averaging, &[3.0, 5.0, 2.0]).unwrap();
    Explainer::of(models, combination, None)
}

#[test]
fn contributions_to_averaged_log_odds_are_weighted_means() {
    let ensemble = ensemble(Averaging::LogOdds, 2);
    // One model reads spaces, and no model splits "bcd" for the others.
    let texts = ["a bcd a, h i".to_owned()];
    let explanation = ensemble.explain(&texts, Some(1), None).unwrap();
    assert_eq!(explanation.method, Method::IntegratedGradients);
    let integration = explanation.integration.unwrap();
    let sum: f64 = contributions(&explanation).iter().sum();
    let difference = explanation.log_odds - integration.baseline_log_odds;
    assert!((sum - difference - integration.completeness_gap).abs() < 1e-6);
    assert!(integration.completeness_gap.abs() < 0.02);
    let words: Vec<&str> =
        explanation.inputs[0].words.iter().map(|word| word.word.as_str()).collect();
    assert_eq!(words, ["<start>", "a", " ", "bcd", "a", ",", " ", "h", " ", "i"]);
    let alone = |model: usize| {
        let mut weights = [0.0; 3];
        weights[model] = 1.0;
        let combination = Combination::weighted(Averaging::LogOdds, &weights).unwrap();
        let Explainer { models, .. } = self::ensemble(Averaging::LogOdds, 2);
        Explainer::of(models, combination, None).explain(&texts, Some(1), None).unwrap()
    };
    let alone: Vec<Explanation> = (0..3).map(alone).collect();
    for (index, contribution) in contributions(&explanation).into_iter().enumerate() {
        let weighted = [0.3, 0.5, 0.2].into_iter().zip(&alone);
        let expected: f64 = weighted.map(|(w, alone)| w * contributions(alone)[index]).sum();
        assert!((contribution - expected).abs() < 1e-9, "word {index}");
    }
}

#[test]
fn leaving_a_word_of_an_ensemble_out_is_exact() {
    for (averaging, classes) in [(Averaging::Probabilities, 3), (Averaging::LogOdds, 3)] {
        let ensemble = ensemble(averaging, classes);
        let log_odds = |text: &str| {
            ensemble.explain(&[text.to_owned()], Some(1), Method::LeaveOneOut).unwrap().log_odds
        };
        let explanation = ensemble.explain(&["a bc h".to_owned()], Some(1), None).unwrap();
        assert_eq!(explanation.method, Method::LeaveOneOut);
        let word = explanation.inputs[0].words.iter().find(|word| word.word == "bc").unwrap();
        let expected = log_odds("a bc h") - log_odds("a  h");
        assert!((word.contribution - expected).abs() < 1e-6, "{averaging:?}");
        let refused = ensemble.explain(&["a".to_owned()], None, Method::IntegratedGradients);
        assert!(refused.unwrap_err().to_string().contains("use leave-one-out"));
    }
}

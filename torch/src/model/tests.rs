use tch::{Device, Tensor};

use super::{Mode, Model};
use crate::batch::Batch;
use crate::tensors::to_named_tensors;
use lstmtext::config;
use lstmtext::model::summary::summarize;
use lstmtext::model::{ModelSpec, NamedTensor, initial_weights};
use lstmtext::text::{Encoder, Encoders, Vocabulary};

fn configured(fields: &str) -> config::Config {
    let yaml = format!("data: {{train: x}}\ntext: {{min_count: 1}}\n{fields}");
    config::parse_recorded(&yaml, "test", &[]).unwrap_or_else(|error| panic!("{error}")).config
}

/// Creates a model with initial weights.
fn model(config: &config::Config, vocabulary_sizes: &[usize], classes: usize) -> Model {
    let (vocabulary_sizes, ngram_counts) =
        (vocabulary_sizes.to_vec(), vec![0; vocabulary_sizes.len()]);
    let spec = ModelSpec { config, vocabulary_sizes, ngram_counts, classes };
    let weights = initial_weights(&spec, 1).unwrap();
    Model::new(&spec, weights, Device::Cpu).unwrap()
}

/// Encodes texts as one batch.
fn batch(config: &config::Config, texts: &[&str]) -> Batch {
    let words = vec!["a b c d e f g h i".to_owned()];
    let encoder = Encoder::new(&config.text, Vocabulary::build(&words, &config.text).unwrap());
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let all: Vec<u32> = (0..texts.len() as u32).collect();
    Batch::gather(&[encoder.encode_all(&texts)], &all, Device::Cpu)
}

fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

/// Replaces the query of attention, with which all words have the same weight at the start.
fn attend_unequally(model: &mut Model) {
    let mut weights = to_named_tensors(model.state_dict());
    weights.retain(|tensor| tensor.name == "attention.query");
    for query in &mut weights {
        query.values = (0..query.values.len()).map(|index| index as f32 - 2.5).collect();
    }
    model.load(weights).unwrap();
}

/// Padding at the end changes nothing, for any direction, pooling and number of layers.
#[test]
fn padding_is_invisible() {
    for pooling in ["last", "mean", "max", "attention", "[last, mean, max, attention]"] {
        for lstm in [
            "{units: 6}",
            "{units: 6, bidirectional: true}",
            "{units: 6, layers: 2, bidirectional: true}",
        ] {
            let fields =
                format!("model: {{pooling: {pooling}, lstm: {lstm}, initialization: pytorch}}\n");
            let config = configured(&fields);
            let mut model = model(&config, &[13], 3);
            attend_unequally(&mut model);
            let alone = model.logits(&batch(&config, &["a b c"]), Mode::Evaluate);
            let padded =
                model.logits(&batch(&config, &["a b c d e f g h i", "a b c", "e"]), Mode::Evaluate);
            let difference = largest(&(alone.get(0) - padded.get(1)));
            assert!(difference < 1e-6, "{fields}: {difference}");
            assert!(largest(&(padded.get(0) - padded.get(1))) > 1e-4, "the texts differ");
        }
    }
}

#[test]
fn padding_in_front_depends_on_max_length_only() {
    let front = |length: usize| {
        let fields = format!("pad: front, max_length: {length}, min_count: 1");
        let model = "model: {pooling: last, initialization: pytorch}\n";
        config::parse_recorded(
            &format!("data: {{train: x}}\ntext: {{{fields}}}\n{model}"),
            "test",
            &[],
        )
        .unwrap()
        .config
    };
    let config = front(9);
    let model = model(&config, &[13], 2);
    let alone = model.logits(&batch(&config, &["a b c"]), Mode::Evaluate);
    let together = model.logits(&batch(&config, &["a b c", "a b c d e f g h i"]), Mode::Evaluate);
    assert!(largest(&(alone.get(0) - together.get(0))) < 1e-6, "other texts have no effect");
    let shorter = model.logits(&batch(&front(5), &["a b c"]), Mode::Evaluate);
    assert!(largest(&(alone - shorter)) > 1e-5, "max_length has an effect");
}

#[test]
fn parameters_have_pytorch_names_and_match_the_summary() {
    let config = configured(
        "model: {lstm: {units: 5, layers: 2, bidirectional: true}, embedding: {size: 3}, \
         pooling: [max, attention]}\n",
    );
    let model = model(&config, &[13], 4);
    let names: Vec<String> = model.state_dict().into_iter().map(|(name, _)| name).collect();
    let mut expected = vec!["embedding.weight".to_owned()];
    for suffix in ["l0", "l0_reverse", "l1", "l1_reverse"] {
        for kind in ["weight_ih", "weight_hh", "bias_ih"] {
            expected.push(format!("lstm.{kind}_{suffix}"));
        }
    }
    expected.extend(["attention.query".into(), "head.weight".into(), "head.bias".into()]);
    expected.extend(["l0", "l0_reverse", "l1", "l1_reverse"].map(|s| format!("lstm.bias_hh_{s}")));
    assert_eq!(names, expected);
    assert_eq!(model.parameter_count(), summarize(&config, &[13], &[0], 4).total());
}

#[test]
fn weights_of_another_model_are_rejected() {
    let config = configured("model: {lstm: {units: 5}, embedding: {size: 3}}\n");
    let spec = ModelSpec {
        config: &config,
        vocabulary_sizes: vec![13],
        ngram_counts: vec![0],
        classes: 2,
    };
    let weights = || initial_weights(&spec, 1).unwrap();
    let error = |weights| Model::new(&spec, weights, Device::Cpu).unwrap_err().to_string();
    assert!(error(weights().split_off(1)).contains("have no tensor embedding.weight"));
    let mut other = weights();
    other[0] = NamedTensor { shape: vec![14, 3], values: vec![0.0; 42], ..other[0].clone() };
    assert!(error(other).contains("[14, 3] in the file"));
    let mut unknown = weights();
    unknown.push(NamedTensor { name: "extra".into(), shape: vec![1], values: vec![0.0] });
    assert!(error(unknown).contains("extra"));
}

#[test]
fn weights_are_loaded_by_name_and_the_others_stay() {
    let config = configured("model: {lstm: {units: 5}, embedding: {size: 3}}\n");
    let mut model = model(&config, &[13], 2);
    let state = |model: &Model| to_named_tensors(model.state_dict());
    let vectors = |value: f32| NamedTensor {
        name: "embedding.weight".to_owned(),
        shape: vec![13, 3],
        values: vec![value; 39],
    };
    let before = state(&model);
    model.load(vec![vectors(1.0)]).unwrap();
    let loaded = state(&model);
    assert_eq!(loaded[0], vectors(1.0));
    assert_eq!(loaded[1..], before[1..]);
    for (name, shape, fault) in [
        ("head.weight", vec![1, 6], "[1, 6] in the file"),
        ("gru.weight", vec![1, 5], "no tensor gru.weight"),
    ] {
        let values = vec![0.0; shape.iter().product()];
        let wrong = NamedTensor { name: name.to_owned(), shape, values };
        let error = model.load(vec![vectors(2.0), wrong]).unwrap_err().to_string();
        assert!(error.contains(fault), "{error}");
        assert_eq!(state(&model), loaded, "an error changes no tensor");
    }
}

#[test]
fn dropout_is_active_in_training_only() {
    let config = configured(
        "model: {embedding: {dropout: 0.3, word_dropout: 0.3}, lstm: {units: 8, layers: 2, dropout: 0.3}, initialization: pytorch}\n",
    );
    let model = model(&config, &[13], 2);
    let batch = batch(&config, &["a b c d", "e f"]);
    let logits = |mode| model.logits(&batch, mode);
    assert_eq!(largest(&(logits(Mode::Evaluate) - logits(Mode::Evaluate))), 0.0);
    assert!(largest(&(logits(Mode::Train) - logits(Mode::Train))) > 1e-4);
}

#[test]
fn a_sigmoid_is_limited_to_two_classes() {
    let config = configured("model: {head: {activation: sigmoid}}\n");
    let spec = ModelSpec {
        config: &config,
        vocabulary_sizes: vec![13],
        ngram_counts: vec![0],
        classes: 3,
    };
    let error = Model::new(&spec, Vec::new(), Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("the data has 3"), "{error}");
    let model = model(&config, &[13], 2);
    assert_eq!(model.logits(&batch(&config, &["a", "b"]), Mode::Evaluate).size(), [2]);
}

const TWO_INPUTS: &str = "inputs:\n  story: {embedding: {size: 4}, lstm: {units: 5, bidirectional: true}}\n  \
                          question: {embedding: {size: 3}, lstm: {units: 2}, pooling: mean}\n";

/// Encodes pairs of texts as one batch with two inputs.
fn two_inputs(config: &config::Config, texts: &[(&str, &str)]) -> Batch {
    let column = |pick: fn(&(&str, &str)) -> String| texts.iter().map(pick).collect::<Vec<_>>();
    let columns = [column(|pair| pair.0.to_owned()), column(|pair| pair.1.to_owned())];
    let words = vec!["a b c d e f g h i".to_owned()];
    let encoders = Encoders::from_texts(&config.inputs, &[words.clone(), words]).unwrap();
    let all: Vec<u32> = (0..texts.len() as u32).collect();
    Batch::gather(&encoders.encode(&columns), &all, Device::Cpu)
}

#[test]
fn padding_is_invisible_in_every_input() {
    let config = configured(TWO_INPUTS);
    let model = model(&config, &[13, 13], 3);
    let logits = |texts: &[(&str, &str)]| model.logits(&two_inputs(&config, texts), Mode::Evaluate);
    let alone = logits(&[("a b c", "d")]);
    let padded = logits(&[("a b c d e f", "a"), ("a b c", "d"), ("e", "f g h i")]);
    assert!(largest(&(alone.get(0) - padded.get(1))) < 1e-6);
    let other_question = logits(&[("a b c", "e")]);
    assert!(largest(&(alone - other_question)) > 1e-5, "both inputs have an effect");
}

#[test]
fn parameter_names_include_the_input() {
    let config = configured(TWO_INPUTS);
    let model = model(&config, &[13, 10], 3);
    let sizes: Vec<(String, Vec<i64>)> =
        model.parameters().into_iter().map(|(name, tensor)| (name, tensor.size())).collect();
    let size = |name: &str| &sizes.iter().find(|(parameter, _)| parameter == name).unwrap().1;
    assert_eq!(size("story.embedding.weight"), &[13, 4]);
    assert_eq!(size("story.lstm.weight_ih_l0_reverse"), &[20, 4]);
    assert_eq!(size("question.embedding.weight"), &[10, 3]);
    assert_eq!(size("question.lstm.weight_hh_l0"), &[8, 2]);
    assert_eq!(size("head.weight"), &[3, 12]);
    assert_eq!(model.parameter_count(), summarize(&config, &[13, 10], &[0, 0], 3).total());
}

#[test]
fn frozen_word_vectors_are_not_parameters() {
    let config = configured("model: {embedding: {size: 3, trainable: false}, lstm: {units: 2}}\n");
    let mut model = model(&config, &[13], 2);
    let vectors: Vec<f32> = (0..39).map(|index| index as f32).collect();
    let (name, shape) = ("embedding.weight".to_owned(), vec![13, 3]);
    model.load(vec![NamedTensor { name, shape, values: vectors.clone() }]).unwrap();
    assert!(model.parameters().iter().all(|(name, _)| name != "embedding.weight"));
    let (_, weight) =
        model.state_dict().into_iter().find(|(name, _)| name == "embedding.weight").unwrap();
    assert_eq!(Vec::<f32>::try_from(weight.flatten(0, 1)).unwrap(), vectors);
    assert_eq!(model.parameter_count(), summarize(&config, &[13], &[0], 1).trainable());
}

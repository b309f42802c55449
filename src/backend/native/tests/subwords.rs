//! Vectors of words that are means of their own and those of their character n-grams.

use super::*;
use crate::model::quantization::quantized;
use crate::text::Encoders;

/// Texts with words outside the vocabulary, which share character n-grams with others.
const TEXTS: [&str; 4] = ["abc cab zab", "cab abz abz", "bca", "qq abc bca"];

struct Case {
    config: Config,
    sizes: Vec<usize>,
    data: Dataset,
}

impl Case {
    fn new(fields: &str) -> Self {
        let config = parse(&format!(
            "text: {{min_count: 1}}\nmodel: {{embedding: {{size: 3, word_dropout: 0, subwords: {{sizes: [1, 3], \
             buckets: 11}}}}, lstm: {{units: 4}}, head: {{dropout: 0}}, ngrams: null, {fields}}}\n"
        ));
        let encoders =
            Encoders::from_texts(&config.inputs, &[vec!["abc cab bca".to_owned()]]).unwrap();
        let inputs = encoders.encode(&[TEXTS.map(str::to_owned).to_vec()]);
        let targets = Targets::Labels(vec![0, 1, 1, 0]);
        Self { sizes: encoders.vocabulary_sizes(), config, data: Dataset { inputs, targets } }
    }

    fn spec(&self) -> ModelSpec<'_> {
        ModelSpec {
            config: &self.config,
            vocabulary_sizes: self.sizes.clone(),
            ngram_counts: vec![0],
            classes: 2,
        }
    }

    fn weights(&self) -> Vec<NamedTensor> {
        let mut weights = initial_weights(&self.spec(), 3).unwrap();
        for tensor in weights.iter_mut().filter(|tensor| tensor.name.starts_with("embedding")) {
            tensor.values.iter_mut().for_each(|value| *value *= 20.0);
        }
        weights
    }

    fn gradients(&self, weights: Vec<NamedTensor>, shards: usize) -> (f64, Gradients) {
        let mut network = Network::new(&self.spec(), weights, Instructions::best()).unwrap();
        let mut sharder = BatchSharder::new(&self.config.inputs, &self.sizes, shards);
        let batch = sharder.shard(&self.data.inputs, Some(&self.data.targets), &[0, 1, 2, 3], None);
        let mut gradients = Gradients::default();
        let objective = Objective::plain(crate::config::Labelling::One);
        let loss = network.gradients(&batch, &objective, None, &mut gradients);
        (loss.mean, gradients)
    }
}

#[test]
fn gradients_of_words_and_their_ngrams_agree_with_finite_differences() {
    const STEP: f32 = 1e-2;
    for fields in ["pooling: mean", "pooling: max, initialization: pytorch"] {
        let case = Case::new(fields);
        let weights = case.weights();
        let (_, gradients) = case.gradients(weights.clone(), 2);
        let names = ["embedding.weight", "embedding.subwords.weight"];
        for (index, tensor) in weights.iter().enumerate() {
            if !names.contains(&tensor.name.as_str()) {
                continue;
            }
            let rows = gradients.rows_of(index).unwrap();
            assert!(rows.words.is_sorted() && !rows.words.is_empty());
            assert_eq!(rows.values.len(), rows.words.len() * 3);
            for (row, word) in rows.words.iter().enumerate() {
                for column in 0..3 {
                    let at = |by: f32| {
                        let mut moved = weights.clone();
                        moved[index].values[*word as usize * 3 + column] += by;
                        case.gradients(moved, 1).0
                    };
                    let expected = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
                    let actual = f64::from(rows.values[row * 3 + column]);
                    assert!(
                        (actual - expected).abs() < 2e-4,
                        "{}: {actual} {expected}",
                        tensor.name
                    );
                }
            }
        }
        // Words that the vocabulary lacks train their n-grams only.
        let of_words = gradients.rows_of(0).unwrap();
        assert!(of_words.words.iter().all(|word| (*word as usize) < case.sizes[0]));
    }
}

#[test]
fn unknown_words_have_vectors_and_the_padding_has_none() {
    let case = Case::new("pooling: last");
    let network = NativeInference::new(&case.spec(), case.weights()).unwrap();
    let rows = network.log_probabilities(&case.data.inputs, &[0, 1, 2, 3]);
    let mut others = case.weights();
    for tensor in others.iter_mut().filter(|tensor| tensor.name == "embedding.weight") {
        // The vector of OOV, which no word has.
        tensor.values[2 * 3..3 * 3].fill(9.0);
    }
    let changed = NativeInference::new(&case.spec(), others).unwrap();
    assert_eq!(changed.log_probabilities(&case.data.inputs, &[0, 1, 2, 3]), rows);
    let vectors = network.vectors_of_text(0, &case.data.inputs[0]);
    assert_eq!(vectors.len(), 3 * 3);
    assert_ne!(vectors[..3], vectors[6..]);
}

#[test]
fn quantized_networks_compose_vectors_too() {
    let case = Case::new("pooling: mean");
    let weights = case.weights();
    let network = NativeInference::new(&case.spec(), weights.clone()).unwrap();
    let expected = network.log_probabilities(&case.data.inputs, &[0, 1, 2, 3]);
    let tensors = quantized(&case.spec(), weights).unwrap();
    let compact = NativeInference::quantized(&case.spec(), tensors).unwrap();
    let actual = compact.log_probabilities(&case.data.inputs, &[0, 1, 2, 3]);
    for (actual, expected) in actual.iter().zip(&expected) {
        assert!((actual - expected).abs() < 0.01, "{actual} {expected}");
    }
    assert_ne!(actual, expected);
}

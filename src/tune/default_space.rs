//! The space that is searched if the configuration does not name one. It depends on the data and on the time.

use std::time::Duration;

use serde_yaml::{Mapping, Value};

use crate::config::{Config, Input, Override, TokenizerKind};

/// Multiplications and additions per second and core that a trial reaches at least.
const RATE: f64 = 4e10;
/// Number of epochs of all trials that should fit into the time.
const EPOCHS: f64 = 100.0;
/// Maximum number of tokens for which each trial may learn subwords of its own.
const MAX_SUBWORD_TOKENS: usize = 500_000;
/// Largest embedding.
const MAX_EMBEDDING: u64 = 256;

/// What the space depends on.
#[derive(Clone, Debug)]
pub struct DataFacts {
    /// Number of training examples.
    pub examples: usize,
    /// Quantiles of the lengths of the texts in tokens, of the input with the longest texts: 50, 75, 90 and 98 %.
    pub lengths: [usize; 4],
    /// Number of tokens of all training examples.
    pub tokens: usize,
    /// Number of different words that occur often enough for the vocabulary, of each input.
    pub words: Vec<usize>,
    /// Class names.
    pub labels: Vec<String>,
}

impl DataFacts {
    /// Number of epochs of a trial that trains to the end.
    pub fn epochs(&self) -> usize {
        match self.examples {
            20_000.. => 9,
            3_000.. => 27,
            _ => 81,
        }
    }

    /// Largest number of LSTM units with which the epochs of some trials fit into the time.
    fn max_units(&self, budget: Option<Duration>, cores: usize) -> u64 {
        let Some(budget) = budget else { return 256 };
        let seconds = budget.as_secs_f64() / EPOCHS;
        let seconds_of = |units: u64| {
            // Forward and backward, in two directions, with an embedding of the same size.
            let operations = 2.0 * 3.0 * 8.0 * (units * units) as f64;
            self.tokens as f64 * operations / (RATE * cores as f64)
        };
        [256, 128, 64].into_iter().find(|units| seconds_of(*units) <= seconds).unwrap_or(32)
    }
}

/// Returns the fields of the section `sweep` for data. `fixed` are fields that do not vary.
pub fn default_fields(
    config: &Config,
    facts: &DataFacts,
    budget: Option<Duration>,
    cores: usize,
    fixed: &[Override],
) -> Mapping {
    let mut axes: Vec<(&str, Value)> = Vec::new();
    let has_lstm = config.inputs.iter().any(|input| input.has_lstm());
    // The sizes of a model that was trained before are fixed.
    let is_new = config.train.from.is_none();
    if has_lstm {
        if is_new {
            let units = facts.max_units(budget, cores);
            axes.push(("model.lstm.units", powers_of_two(16, units)));
            if config.model.embedding.vectors.is_none() {
                let size = (2 * units).clamp(64, MAX_EMBEDDING);
                axes.push(("model.embedding.size", powers_of_two(16, size)));
            }
            axes.push(("model.lstm.bidirectional", list([true, false])));
            axes.push(("model.pooling", pooling()));
        }
        axes.push(("model.embedding.word_dropout", range("uniform", 0.0, 0.6)));
        axes.push(("model.head.dropout", range("uniform", 0.0, 0.7)));
        if let Some(lengths) = lengths(facts.lengths) {
            axes.push(("text.max_length", lengths));
        }
    }
    if is_new {
        let words = facts.words.iter().copied().max().unwrap_or(0);
        let sizes: Vec<u64> = [5_000, 10_000, 20_000, 50_000]
            .into_iter()
            .filter(|size| (*size as usize) < words)
            .collect();
        if sizes.len() > 1 {
            axes.push(("text.vocabulary_size", list(sizes)));
        }
        let has_words = |input: &Input| input.text.tokenizer.kind == TokenizerKind::Words;
        if facts.tokens <= MAX_SUBWORD_TOKENS && config.inputs.iter().all(has_words) {
            axes.push(("text.tokenizer", list(["words", "bpe"])));
        }
    }
    axes.push(("model.ngrams.sizes", ngram_sizes()));
    axes.push(("train.learning_rate", range("log_uniform", 5e-4, 1e-2)));
    let batches = [8, 16, 32, 64, 128].into_iter();
    let batches: Vec<u64> =
        batches.filter(|size| (*size as usize) * 20 <= facts.examples).collect();
    if batches.len() > 1 {
        axes.push(("train.batch_size", list(batches)));
    }
    axes.push(("train.schedule.name", list(["linear", "constant"])));
    axes.push(("train.average.method", list(["none", "ema"])));
    let is_fixed = |field: &str| fixed.iter().any(|set| set.overlaps_field(field));
    let axes = axes.into_iter().filter(|(field, _)| !is_fixed(field));
    axes.map(|(field, values)| (Value::from(field), values)).collect()
}

fn list<T: Into<Value>>(values: impl IntoIterator<Item = T>) -> Value {
    Value::Sequence(values.into_iter().map(Into::into).collect())
}

fn range(name: &str, low: f64, high: f64) -> Value {
    let ends = list([low, high]);
    Value::Mapping([(Value::from(name), ends)].into_iter().collect())
}

/// Powers of two from `low` to `high`.
fn powers_of_two(low: u64, high: u64) -> Value {
    let powers = std::iter::successors(Some(low), |power| Some(2 * power));
    list(powers.take_while(|power| *power <= high))
}

fn pooling() -> Value {
    let both = list(["mean", "max"]);
    list([Value::from("max"), "mean".into(), "attention".into(), both])
}

fn ngram_sizes() -> Value {
    let up_to = |longest: u64| list(1..=longest);
    list([list::<u64>([]), up_to(1), up_to(2), up_to(3)])
}

/// Maximum lengths that cut different shares of the texts; `None` if all texts are short.
fn lengths(quantiles: [usize; 4]) -> Option<Value> {
    /// A text of this length takes little time in any case.
    const SHORT: usize = 50;
    let round = |length: usize| length.next_multiple_of(10).max(SHORT) as u64;
    let mut lengths: Vec<u64> = quantiles.into_iter().map(round).collect();
    lengths.dedup();
    (lengths.len() > 1).then(|| list(lengths))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Document, SearchSpace};
    use crate::random::Sequence;
    use crate::tune::space::Coordinates;

    fn facts(examples: usize) -> DataFacts {
        let tokens = 230 * examples;
        DataFacts {
            examples,
            lengths: [170, 280, 450, 800],
            tokens,
            words: vec![40_000],
            labels: Vec::new(),
        }
    }

    fn space(yaml: &str, facts: &DataFacts, fixed: &[Override]) -> SearchSpace {
        let document = Document::parse(yaml, "test".to_owned(), None).unwrap();
        let config = config::parse(yaml, "test", &[]).unwrap().config;
        let budget = Some(Duration::from_secs(300));
        let fields = default_fields(&config, facts, budget, 2, fixed);
        let overrides = [
            fixed,
            &[
                Override::new("sweep", Value::Mapping(fields)),
                "sweep.method=tpe".parse().unwrap(),
                "sweep.trials=9".parse().unwrap(),
            ],
        ];
        let overrides = overrides.concat();
        SearchSpace::of(&document, &overrides).unwrap()
    }

    /// No contradiction is drawn, so that no draw is wasted.
    #[test]
    fn all_points_of_the_space_are_valid() {
        for model in ["", "model: {lstm: null}\n", "model: {embedding: {vectors: x.txt}}\n"] {
            let yaml = format!("data: {{train: x.csv}}\n{model}");
            let space = space(&yaml, &facts(22_500), &[]);
            let mut random = Sequence::new(1);
            for _ in 0..200 {
                let settings = Coordinates::draw(space.axes.len(), &mut random).settings(&space);
                match space.resolve(&settings) {
                    Ok(_) => {}
                    // Neither an LSTM nor n-grams.
                    Err(_) if model.contains("lstm: null") => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    #[test]
    fn the_space_depends_on_the_data_and_the_time() {
        let fields = |space: &SearchSpace| -> Vec<String> {
            space.axes.iter().map(|axis| axis.key.clone()).collect()
        };
        let long = space("data: {train: x.csv}\n", &facts(22_500), &[]);
        assert!(fields(&long).contains(&"text.max_length".to_owned()));
        assert!(!fields(&long).contains(&"text.tokenizer".to_owned()), "it would take long");
        let short = DataFacts { lengths: [8, 10, 14, 20], words: vec![900], ..facts(1_000) };
        let set: Override = "train.learning_rate=0.001".parse().unwrap();
        let short = fields(&space("data: {train: x.csv}\n", &short, &[set]));
        assert!(short.contains(&"text.tokenizer".to_owned()));
        for absent in ["text.max_length", "text.vocabulary_size", "train.learning_rate"] {
            assert!(!short.contains(&absent.to_owned()), "{absent}");
        }
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert_eq!(facts(22_500).max_units(minutes(1), 2), 32);
        assert_eq!(facts(22_500).max_units(minutes(60), 2), 64);
        assert_eq!(facts(1_000).max_units(minutes(5), 2), 128);
        assert_eq!([100, 3_000, 22_500].map(|examples| facts(examples).epochs()), [81, 27, 9]);
    }
}

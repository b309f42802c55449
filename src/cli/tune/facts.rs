//! Facts about the data from which the default space of a search follows.

use crate::config::{Config, Input};
use crate::data;
use crate::run::checkpoint::Checkpoint;
use crate::text::{Encoder, Vocabulary};
use crate::tune::DataFacts;

/// Words beyond this number make no difference to the space.
const MAX_WORDS: usize = 50_001;

/// Reads the training examples of a configuration, and counts their tokens and words.
///
/// # Errors
/// Returns an error if the data cannot be read.
pub fn read(config: &Config) -> anyhow::Result<DataFacts> {
    let mut config = config.clone();
    config.data.multi_label = Some(data::has_several_labels(&config, None)?);
    let known = Checkpoint::source_encoders(&config)?;
    known.share_subwords(&config.inputs);
    let data = data::load(&config, None)?;
    let train = &data.train;
    let mut facts = DataFacts {
        examples: train.len(),
        lengths: [0; 4],
        tokens: 0,
        words: Vec::new(),
        labels: data.labels.clone(),
    };
    let needs_training = config.inputs.iter().any(|input| input.text.tokenizer.needs_training());
    if needs_training {
        // Learns the subwords of all inputs.
        train.encoders(&config.inputs, &known)?;
    }
    for (index, input) in config.inputs.iter().enumerate() {
        let mut input: Input = input.clone();
        input.text.vocabulary_size = input.text.vocabulary_size.max(MAX_WORDS);
        let vocabulary: Vocabulary = train.vocabulary(index, &input)?;
        facts.words.push(vocabulary.len());
        let encoder = Encoder::new(&input.text, vocabulary).without_truncation();
        let corpus = train.encode(index, &encoder)?;
        let mut lengths: Vec<usize> =
            (0..corpus.len()).map(|text| corpus.text(text).len()).collect();
        lengths.sort_unstable();
        let at = |percent: usize| {
            let position = percent * lengths.len().saturating_sub(1) / 100;
            lengths.get(position).copied().unwrap_or(0)
        };
        let quantiles = [50, 75, 90, 98].map(at);
        if quantiles[3] > facts.lengths[3] {
            facts.lengths = quantiles;
        }
        facts.tokens +=
            lengths.iter().map(|length| length.min(&input.text.max_length)).sum::<usize>();
    }
    Ok(facts)
}

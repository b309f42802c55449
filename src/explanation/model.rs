//! The model of a checkpoint, as the attribution methods use it.

use crate::backend::Inference;
use crate::backend::native::NativeInference;
use crate::config::{Config, Labelling};
use crate::text::{Corpus, EncodedWords, Encoders, LocatedText};

/// Maximum number of examples in memory at once.
const CHUNK_SIZE: usize = 1024;
/// Batch size of the variants.
const BATCH_SIZE: usize = 64;

/// A model with its vocabularies and labels.
pub(super) struct Model {
    pub config: Config,
    pub encoders: Encoders,
    pub labels: Vec<String>,
    pub classifier: NativeInference,
}

/// An encoded example and the class to explain.
pub(super) struct EncodedExample {
    /// Tokens of each input.
    pub texts: Vec<LocatedText>,
    pub class: usize,
    /// Log-odds of the class.
    pub log_odds: f64,
}

impl Model {
    /// Number of labels that a text can have.
    pub fn labelling(&self) -> Labelling {
        self.config.data.labelling()
    }

    /// Creates a corpus for an input, with the padding of its configuration and without n-grams.
    pub fn corpus<'a>(&self, input: usize, texts: impl IntoIterator<Item = &'a [u32]>) -> Corpus {
        let text = &self.config.inputs[input].text;
        Corpus::from_texts(text.pad, text.max_length, texts)
    }

    /// Encodes texts of an input.
    pub fn encode<'a>(
        &self,
        input: usize,
        texts: impl IntoIterator<Item = &'a EncodedWords>,
    ) -> Corpus {
        self.encoders[input].encode_words(texts)
    }

    /// Computes the log-probabilities [C] of variants of an example, one for each of `tokens`: input
    /// `changed` has the words of `variant(token)`, the others keep theirs.
    pub fn variants(
        &self,
        texts: &[LocatedText],
        changed: usize,
        tokens: &[usize],
        variant: impl Fn(usize) -> EncodedWords,
    ) -> Vec<Vec<f64>> {
        let mut log_probabilities = Vec::with_capacity(tokens.len());
        for tokens in tokens.chunks(CHUNK_SIZE) {
            let variants: Vec<EncodedWords> = tokens.iter().map(|token| variant(*token)).collect();
            let corpora: Vec<_> = texts
                .iter()
                .enumerate()
                .map(|(input, text)| match input == changed {
                    true => self.encode(input, &variants),
                    false => self.encode(input, std::iter::repeat_n(&text.words(), tokens.len())),
                })
                .collect();
            let examples: Vec<u32> = (0..tokens.len() as u32).collect();
            let batches: Vec<&[u32]> = examples.chunks(BATCH_SIZE).collect();
            for rows in self.classifier.log_probabilities_of_batches(&corpora, &batches) {
                log_probabilities.extend(rows.chunks_exact(self.labels.len()).map(<[f64]>::to_vec));
            }
        }
        log_probabilities
    }
}

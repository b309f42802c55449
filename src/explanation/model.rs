//! The model of a checkpoint, as the attribution methods use it.

use crate::backend::Inference;
use crate::backend::native::NativeInference;
use crate::config::Config;
use crate::text::{Corpus, Encoders};

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
    /// Ids of each input.
    pub ids: Vec<Vec<u32>>,
    pub class: usize,
    /// Log-odds of the class.
    pub log_odds: f64,
}

impl Model {
    /// Creates a corpus for an input, with the padding of its configuration.
    pub fn corpus<'a>(&self, input: usize, texts: impl IntoIterator<Item = &'a [u32]>) -> Corpus {
        let text = &self.config.inputs[input].text;
        Corpus::from_texts(text.pad, text.max_length, texts)
    }

    /// Computes the log-probabilities [C] of `count` variants of an example: input `changed` has
    /// the ids of `variant`, the others keep `ids`.
    pub fn variants(
        &self,
        ids: &[Vec<u32>],
        changed: usize,
        count: usize,
        variant: impl Fn(usize) -> Vec<u32>,
    ) -> Vec<Vec<f64>> {
        let indices: Vec<usize> = (0..count).collect();
        let mut log_probabilities = Vec::with_capacity(count);
        for indices in indices.chunks(CHUNK_SIZE) {
            let variants: Vec<Vec<u32>> = indices.iter().map(|index| variant(*index)).collect();
            let corpora: Vec<_> = ids
                .iter()
                .enumerate()
                .map(|(input, ids)| match input == changed {
                    true => self.corpus(input, variants.iter().map(Vec::as_slice)),
                    false => self.corpus(input, indices.iter().map(|_| ids.as_slice())),
                })
                .collect();
            let examples: Vec<u32> = (0..indices.len() as u32).collect();
            let batches: Vec<&[u32]> = examples.chunks(BATCH_SIZE).collect();
            for rows in self.classifier.log_probabilities_of_batches(&corpora, &batches) {
                log_probabilities.extend(rows.chunks_exact(self.labels.len()).map(<[f64]>::to_vec));
            }
        }
        log_probabilities
    }
}

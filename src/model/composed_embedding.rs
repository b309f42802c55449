//! Vectors of the words of a vocabulary that have character n-grams, for programs that know no character n-grams.

use super::named_tensors::NamedTensor;
use super::parameters::{embedding_name, subwords_name};
use crate::config::Inputs;
use crate::text::{Encoder, WordBuckets};

/// Replaces the vectors of words and of their character n-grams by the means of both. Does nothing for inputs without
/// character n-grams.
pub fn compose_embeddings(inputs: &Inputs, encoders: &[Encoder], weights: &mut Vec<NamedTensor>) {
    for (input, encoder) in inputs.iter().zip(encoders) {
        let name = subwords_name(input);
        let subwords = weights.iter().position(|tensor| tensor.name == name);
        let Some((subwords, buckets)) = subwords.zip(encoder.word_buckets()) else { continue };
        let subwords = weights.remove(subwords);
        let name = embedding_name(input);
        for tensor in weights.iter_mut().filter(|tensor| tensor.name == name) {
            compose(tensor, &subwords, buckets);
        }
    }
}

/// Replaces own vectors [V, E] by means with vectors of buckets.
fn compose(own: &mut NamedTensor, subwords: &NamedTensor, buckets: &WordBuckets) {
    let size = subwords.shape[1];
    for (word, row) in own.values.chunks_exact_mut(size).enumerate() {
        let buckets = buckets.get(word);
        for bucket in buckets {
            let vector = &subwords.values[*bucket as usize * size..][..size];
            row.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
        }
        row.iter_mut().for_each(|value| *value /= (buckets.len() + 1) as f32);
    }
}

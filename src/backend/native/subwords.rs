//! Gradients of word vectors that are means: of the vectors of the words, and of those of their character n-grams.

use rayon::prelude::*;

use super::gradients::RowGradient;
use crate::text::CorpusWords;

/// Number of buckets whose gradients a thread computes at a time.
const CHUNK: usize = 1 << 10;

/// Character n-grams of the distinct words of a batch.
pub struct BatchSubwords {
    /// Weight of each part of a word in its vector: 1 divided by their number.
    scales: Vec<f32>,
    /// Number of words in the vocabulary. The others follow them.
    known: usize,
    /// Distinct buckets, sorted.
    buckets: Vec<u32>,
    /// End of each bucket in `words`.
    ends: Vec<usize>,
    /// Words of one bucket after the other, as indices; twice if a word has two n-grams in the bucket.
    words: Vec<u32>,
}

impl BatchSubwords {
    /// Collects the n-grams of some words, which are sorted.
    pub fn new(of_corpus: &CorpusWords, words: &[u32]) -> Self {
        let known = words.partition_point(|word| of_corpus.is_known(*word));
        let parts = |(index, word): (usize, &u32)| {
            of_corpus.buckets(*word).len() + usize::from(index < known)
        };
        let scales = words.iter().enumerate().map(|word| 1.0 / parts(word) as f32).collect();
        let pair = |bucket: &u32, word: u32| u64::from(*bucket) << u32::BITS | u64::from(word);
        let pairs = (0..).zip(words).flat_map(|(index, word)| {
            of_corpus.buckets(*word).iter().map(move |bucket| pair(bucket, index))
        });
        let mut pairs: Vec<u64> = pairs.collect();
        pairs.sort_unstable();
        let (mut buckets, mut ends) = (Vec::new(), Vec::new());
        for (index, pair) in pairs.iter().enumerate() {
            let bucket = (pair >> u32::BITS) as u32;
            if buckets.last() != Some(&bucket) {
                ends.extend((index > 0).then_some(index));
                buckets.push(bucket);
            }
        }
        ends.extend((!buckets.is_empty()).then_some(pairs.len()));
        Self {
            scales,
            known,
            buckets,
            ends,
            words: pairs.into_iter().map(|pair| pair as u32).collect(),
        }
    }

    /// Turns the gradient of the vectors of the words, [words, E], into that of their own vectors. Writes the gradient of
    /// the vectors of buckets to `subwords`.
    pub fn split(&self, size: usize, of_words: &mut RowGradient, subwords: &mut RowGradient) {
        let rows = of_words.values.chunks_exact_mut(size).zip(&self.scales);
        rows.for_each(|(row, scale)| row.iter_mut().for_each(|value| *value *= scale));
        let values = &of_words.values;
        subwords.words.clone_from(&self.buckets);
        subwords.values.clear();
        subwords.values.resize(self.buckets.len() * size, 0.0);
        let chunks = subwords.values.par_chunks_mut(CHUNK * size).enumerate();
        chunks.for_each(|(chunk, sums)| {
            for (bucket, sum) in (chunk * CHUNK..).zip(sums.chunks_exact_mut(size)) {
                let start = bucket.checked_sub(1).map_or(0, |before| self.ends[before]);
                for word in &self.words[start..self.ends[bucket]] {
                    let row = &values[*word as usize * size..][..size];
                    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
            }
        });
        of_words.words.truncate(self.known);
        of_words.values.truncate(self.known * size);
    }
}

//! Character n-grams of words, as in fastText (Bojanowski et al. 2017): a word whose n-grams are known has a vector,
//! even if the word itself is new or misspelt. The vectors belong to the backends.

use std::sync::Arc;

use rayon::prelude::*;

use super::{FIRST_WORD, Vocabulary};
use crate::config::SubwordsConfig;

/// First and last character of every word.
const BOUNDARIES: [char; 2] = ['<', '>'];
/// Number of words that a thread takes at a time.
const CHUNK: usize = 1 << 10;

/// Hashes the character n-grams of words to buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharacterNgrams {
    smallest: usize,
    largest: usize,
    buckets: u32,
}

impl CharacterNgrams {
    /// Creates the configured n-grams; `None` if there are none.
    pub fn new(config: &SubwordsConfig) -> Option<Self> {
        let [smallest, largest] = config.sizes.0?;
        Some(Self { smallest, largest, buckets: config.buckets as u32 })
    }

    /// Appends the bucket of each character n-gram of a word between boundaries. A boundary alone is none.
    pub fn append(&self, word: &str, buckets: &mut Vec<u32>) {
        let [start, end] = BOUNDARIES;
        let bounded: String = std::iter::once(start).chain(word.chars()).chain([end]).collect();
        let starts: Vec<usize> =
            bounded.char_indices().map(|(at, _)| at).chain([bounded.len()]).collect();
        let last = starts.len() - 1;
        for first in 0..last {
            for size in self.smallest..=self.largest.min(last - first) {
                let is_boundary = size == 1 && (first == 0 || first + 1 == last);
                if !is_boundary {
                    let ngram = &bounded.as_bytes()[starts[first]..starts[first + size]];
                    buckets.push(hash(ngram) % self.buckets);
                }
            }
        }
    }
}

/// FNV-1a of 32 bits, with fastText's sign extension of bytes, so that the buckets are those of fastText.
fn hash(bytes: &[u8]) -> u32 {
    const OFFSET: u32 = 2_166_136_261;
    const PRIME: u32 = 16_777_619;
    bytes.iter().fold(OFFSET, |hash, byte| {
        (hash ^ i32::from(byte.cast_signed()).cast_unsigned()).wrapping_mul(PRIME)
    })
}

/// The buckets of several words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WordBuckets {
    /// End of each word in `buckets`.
    ends: Vec<u32>,
    buckets: Vec<u32>,
}

impl WordBuckets {
    /// Finds the buckets of some words.
    pub fn of<W: AsRef<str> + Sync>(ngrams: &CharacterNgrams, words: &[W]) -> Self {
        let chunks: Vec<Self> = words
            .par_chunks(CHUNK)
            .map(|words| {
                let mut lists = Self::default();
                words.iter().for_each(|word| {
                    lists.push_with(|buckets| ngrams.append(word.as_ref(), buckets));
                });
                lists
            })
            .collect();
        let mut all = Self::default();
        for chunk in &chunks {
            (0..chunk.count()).for_each(|word| all.push(chunk.get(word)));
        }
        all
    }

    /// Number of words.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Returns the buckets of the word at `index`.
    pub fn get(&self, index: usize) -> &[u32] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.buckets[start as usize..self.ends[index] as usize]
    }

    /// Adds a word with these buckets.
    pub fn push(&mut self, buckets: &[u32]) {
        self.push_with(|all| all.extend_from_slice(buckets));
    }

    /// Removes all words.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.buckets.clear();
    }

    fn push_with(&mut self, append: impl FnOnce(&mut Vec<u32>)) {
        append(&mut self.buckets);
        self.ends.push(self.buckets.len() as u32);
    }
}

/// Character n-grams of the words of a vocabulary, and of all others.
#[derive(Clone, Debug)]
pub struct VocabularyNgrams {
    /// Their sizes and buckets.
    pub ngrams: CharacterNgrams,
    /// Buckets of the word of each id, none for the special ones.
    pub known: Arc<WordBuckets>,
}

impl VocabularyNgrams {
    /// Finds the n-grams of a vocabulary.
    pub fn new(ngrams: CharacterNgrams, vocabulary: &Vocabulary) -> Self {
        let mut known = WordBuckets::default();
        (0..FIRST_WORD).for_each(|_| known.push(&[]));
        let words: Vec<&str> = vocabulary.regular_words().collect();
        let regular = WordBuckets::of(&ngrams, &words);
        (0..regular.count()).for_each(|word| known.push(regular.get(word)));
        Self { ngrams, known: Arc::new(known) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ngrams(smallest: usize, largest: usize) -> CharacterNgrams {
        CharacterNgrams { smallest, largest, buckets: 1 << 31 }
    }

    fn hashes(ngrams: &[&str]) -> Vec<u32> {
        ngrams.iter().map(|ngram| hash(ngram.as_bytes()) % (1 << 31)).collect()
    }

    #[test]
    fn words_have_the_ngrams_between_boundaries() {
        let of = |ngrams: CharacterNgrams, word: &str| {
            let mut buckets = Vec::new();
            ngrams.append(word, &mut buckets);
            buckets
        };
        assert_eq!(of(ngrams(3, 4), "cat"), hashes(&["<ca", "<cat", "cat", "cat>", "at>"]));
        assert_eq!(of(ngrams(1, 2), "né"), hashes(&["<n", "n", "né", "é", "é>"]));
        assert_eq!(of(ngrams(3, 6), "a"), hashes(&["<a>"]));
        assert!(of(ngrams(4, 6), "a").is_empty());
    }

    /// FNV-1a of "a" is 0xE40C292C (Fowler, Noll and Vo). A byte above 127 is extended to 32 bits.
    #[test]
    fn hashes_are_those_of_fasttext() {
        assert_eq!(hash(b""), 2_166_136_261);
        assert_eq!(hash(b"a"), 0xE40C_292C);
        let extended = (2_166_136_261_u32 ^ 0xFFFF_FFC3).wrapping_mul(16_777_619);
        assert_eq!(hash(&[0xC3]), extended);
    }

    #[test]
    fn lists_are_in_the_order_of_the_words() {
        let words: Vec<String> = (0..3_000).map(|word| format!("w{word}")).collect();
        let (ngrams, mut expected) = (ngrams(2, 3), Vec::new());
        let lists = WordBuckets::of(&ngrams, &words);
        assert_eq!(lists.count(), 3_000);
        ngrams.append("w2999", &mut expected);
        assert_eq!(lists.get(2_999), expected);
    }
}

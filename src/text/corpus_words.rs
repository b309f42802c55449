//! Words of a corpus with their character n-grams: those of the vocabulary, and those outside it, which have ids from
//! the vocabulary size on. The ids of the texts themselves have OOV in their place.

use std::sync::Arc;

use super::OOV;
use super::character_ngrams::WordBuckets;

/// Words of a corpus with the buckets of their character n-grams.
#[derive(Clone, Debug, PartialEq)]
pub struct CorpusWords {
    /// Buckets of the words of the vocabulary.
    known: Arc<WordBuckets>,
    /// Buckets of the words outside it.
    unknown: WordBuckets,
    /// Ids of the words of all OOV tokens, in the order of the texts: OOV for one without n-grams.
    ids: Vec<u32>,
    /// End of each text in `ids`.
    ends: Vec<usize>,
}

impl CorpusWords {
    /// Number of words, which are numbered from 0.
    pub fn count(&self) -> usize {
        self.known.count() + self.unknown.count()
    }

    /// Returns true if a word is in the vocabulary.
    pub fn is_known(&self, word: u32) -> bool {
        (word as usize) < self.known.count()
    }

    /// Returns the buckets of the character n-grams of a word. Only special words have none.
    pub fn buckets(&self, word: u32) -> &[u32] {
        match (word as usize).checked_sub(self.known.count()) {
            None => self.known.get(word as usize),
            Some(unknown) => self.unknown.get(unknown),
        }
    }

    /// Returns the words of the OOV tokens of a text.
    pub(super) fn unknown_words(&self, text: usize) -> &[u32] {
        let start = text.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.ids[start..self.ends[text]]
    }
}

/// Collects the words of a corpus.
#[derive(Debug)]
pub struct CorpusWordsBuilder(CorpusWords);

impl CorpusWordsBuilder {
    /// Starts with the words of a vocabulary, and words outside it.
    pub fn new(known: Arc<WordBuckets>, unknown: WordBuckets) -> Self {
        Self(CorpusWords { known, unknown, ids: Vec::new(), ends: Vec::new() })
    }

    /// Adds a word outside the vocabulary. Returns its id.
    pub fn add_word(&mut self, buckets: &[u32]) -> u32 {
        self.0.unknown.push(buckets);
        self.0.count() as u32 - 1
    }

    /// Adds a text. Replaces the ids of words outside the vocabulary by OOV.
    pub fn add_text(&mut self, ids: &mut [u32]) {
        let Self(CorpusWords { known, ids: all, ends, .. }) = self;
        for id in ids {
            if *id as usize >= known.count() || *id == OOV {
                all.push(*id);
                *id = OOV;
            }
        }
        ends.push(all.len());
    }

    /// Returns the words of all texts.
    pub fn finish(self) -> CorpusWords {
        self.0
    }
}

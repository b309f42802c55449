//! Collects encoded texts from chunks, which threads encode. Encoding belongs in [`encoder`](super::encoder).

use std::io;

use rustc_hash::FxHashMap;

use super::character_ngrams::{VocabularyNgrams, WordBuckets};
use super::corpus_words::CorpusWordsBuilder;
use super::{Corpus, IdsWriter, OOV};
use crate::config::TextConfig;

/// Destinations of the encoded texts of an input.
pub struct CorpusWriters {
    /// Ids of the tokens.
    pub tokens: IdsWriter,
    /// Rows of the n-grams.
    pub ngrams: IdsWriter,
}

/// Texts that one thread has encoded.
#[derive(Default)]
pub struct Chunk {
    /// Ids of the tokens of all texts.
    pub ids: Vec<u32>,
    /// Number of tokens of each text.
    pub lengths: Vec<usize>,
    /// Hashes of the words of the current text.
    pub words: Vec<u64>,
    /// Rows of the n-grams of all texts.
    pub ngrams: Vec<u32>,
    /// Number of n-grams of each text.
    pub ngram_counts: Vec<usize>,
    /// Ids of words outside the vocabulary that have character n-grams, numbered from the vocabulary size, and
    /// the buckets of these.
    unknown_ids: FxHashMap<Box<str>, u32>,
    unknown: WordBuckets,
}

impl Chunk {
    /// Returns the id of a word outside the vocabulary: OOV if it has no character n-grams.
    pub fn unknown_id(&mut self, word: &str, ngrams: &VocabularyNgrams) -> u32 {
        if let Some(id) = self.unknown_ids.get(word) {
            return *id;
        }
        let mut buckets = Vec::new();
        ngrams.ngrams.append(word, &mut buckets);
        let id = match buckets[..] {
            [] => OOV,
            _ => {
                self.unknown.push(&buckets);
                (ngrams.known.count() + self.unknown.count() - 1) as u32
            }
        };
        self.unknown_ids.insert(word.into(), id);
        id
    }

    /// Adds a text of another process.
    pub fn push_absent(&mut self, has_ngrams: bool) {
        self.lengths.push(0);
        self.ngram_counts.extend(has_ngrams.then_some(0));
    }
}

/// Builds a corpus from chunks.
pub struct CorpusBuilder {
    writers: CorpusWriters,
    lengths: Vec<usize>,
    ngram_counts: Vec<usize>,
    words: Option<WordsBuilder>,
}

/// Builds the words of a corpus from chunks.
struct WordsBuilder {
    words: CorpusWordsBuilder,
    vocabulary_size: u32,
    /// Ids of the words outside the vocabulary that chunks have numbered for themselves.
    ids: FxHashMap<Box<str>, u32>,
}

impl CorpusBuilder {
    /// Starts a corpus. `unknown` are the words outside the vocabulary that are numbered already.
    pub fn new(
        writers: CorpusWriters,
        ngrams: Option<&VocabularyNgrams>,
        unknown: WordBuckets,
    ) -> Self {
        let words = ngrams.map(|VocabularyNgrams { known, .. }| {
            let words = CorpusWordsBuilder::new(known.clone(), unknown);
            WordsBuilder { words, vocabulary_size: known.count() as u32, ids: FxHashMap::default() }
        });
        Self { writers, lengths: Vec::new(), ngram_counts: Vec::new(), words }
    }

    /// Adds the texts of chunks, in order.
    ///
    /// # Errors
    /// Returns an error if the ids cannot be written.
    pub fn add(&mut self, chunks: &mut [Chunk]) -> io::Result<()> {
        for chunk in chunks {
            if let Some(words) = &mut self.words {
                words.add(chunk);
            }
            self.writers.tokens.push(&chunk.ids)?;
            self.writers.ngrams.push(&chunk.ngrams)?;
            self.lengths.extend(&chunk.lengths);
            self.ngram_counts.extend(&chunk.ngram_counts);
        }
        Ok(())
    }

    /// Returns the corpus of texts that are padded like this.
    ///
    /// # Errors
    /// Returns an error if the ids cannot be written.
    pub fn finish(self, config: &TextConfig, has_ngrams: bool) -> io::Result<Corpus> {
        let Self { writers, lengths, ngram_counts, words } = self;
        let mut corpus = Corpus::new(config.pad, config.max_length);
        corpus.set_tokens(writers.tokens.finish()?, &lengths);
        if has_ngrams {
            corpus.set_ngrams(writers.ngrams.finish()?, &ngram_counts);
        }
        if let Some(words) = words {
            corpus.set_words(words.words.finish());
        }
        Ok(corpus)
    }
}

impl WordsBuilder {
    /// Adds the texts of a chunk. Replaces the ids of its words outside the vocabulary by OOV.
    fn add(&mut self, chunk: &mut Chunk) {
        let numbered = std::mem::take(&mut chunk.unknown_ids).into_iter();
        let numbered = numbered.filter(|(_, id)| *id != OOV);
        let mut numbered: Vec<(u32, Box<str>)> = numbered.map(|(word, id)| (id, word)).collect();
        numbered.sort_unstable();
        let mut ids = Vec::with_capacity(numbered.len());
        for (index, (_, word)) in numbered.into_iter().enumerate() {
            let buckets = chunk.unknown.get(index);
            ids.push(*self.ids.entry(word).or_insert_with(|| self.words.add_word(buckets)));
        }
        if !ids.is_empty() {
            for id in chunk.ids.iter_mut().filter(|id| **id >= self.vocabulary_size) {
                *id = ids[(*id - self.vocabulary_size) as usize];
            }
        }
        let mut rest = &mut chunk.ids[..];
        for length in &chunk.lengths {
            let text;
            (text, rest) = rest.split_at_mut(*length);
            self.words.add_text(text);
        }
    }
}

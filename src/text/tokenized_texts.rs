//! Texts as tokens, before a vocabulary is chosen.

use std::io;
use std::sync::Arc;

use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};

use super::Tokenizer;
use super::ids::{Ids, IdsWriter};
use super::shared_lengths::SharedLengths;
use crate::config::{TextConfig, TokenizerKind};
use crate::distributed::Shards;
use crate::subwords::Subwords;

/// Number of texts that a thread tokenizes at a time.
const CHUNK: usize = 64;
/// Number of tokens of a mapped file after which their memory is released during a scan.
const SCAN_TOKENS: usize = 16 << 20;

/// Tokenized texts. A token is an index into the distinct words in order of first occurrence.
#[derive(Debug, Default, PartialEq)]
pub struct TokenizedTexts {
    words: Vec<Box<str>>,
    /// End of each text in `tokens`.
    ends: Vec<u64>,
    tokens: Ids,
    /// Lengths of the texts of all processes, if each has some of them; those of others are empty here.
    shared: Option<SharedLengths>,
}

impl TokenizedTexts {
    /// Creates tokenized texts from the words, the ends of the texts and the tokens, as saved by
    /// another process.
    ///
    /// # Errors
    /// Returns a message if they are inconsistent.
    pub fn new(words: Vec<Box<str>>, ends: Vec<u64>, tokens: Ids) -> Result<Self, String> {
        let end = ends.last().copied().unwrap_or(0);
        if !ends.is_sorted() || end != tokens.len() as u64 {
            return Err("the ends of the texts do not match the tokens".into());
        }
        let distinct: FxHashSet<&str> = words.iter().map(|word| &**word).collect();
        if distinct.len() < words.len() {
            return Err("a word occurs twice".into());
        }
        for chunk in tokens.chunks(SCAN_TOKENS) {
            if chunk.par_iter().any(|token| *token as usize >= words.len()) {
                return Err("a token has no word".into());
            }
            tokens.release();
        }
        Ok(Self { words, ends, tokens, shared: None })
    }

    /// Tokenizes texts in memory.
    pub fn from_texts(texts: &[String], config: &TextConfig) -> Self {
        let mut builder = TokenizedTextsBuilder::new(config, IdsWriter::Memory(Vec::new()));
        // Writing to memory does not fail.
        let texts = builder.add(texts).and_then(|()| builder.finish()).unwrap_or_default();
        match config.tokenizer.subwords() {
            Some(subwords) if config.tokenizer.kind == TokenizerKind::Bpe => {
                let memory = |_| Ok(IdsWriter::Memory(Vec::new()));
                texts.split_words(subwords, memory).unwrap_or_default()
            }
            _ => texts,
        }
    }

    /// Turns the texts of this process into those of all processes, of which there are `count`.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn into_shard(mut self, shards: &Arc<Shards>, count: usize) -> anyhow::Result<Self> {
        let (mut own, mut end) = (self.ends.iter(), 0);
        let ends = (0..count).map(|text| {
            if shards.is_own(text) {
                end = own.next().copied().unwrap_or(end);
            }
            end
        });
        self.ends = ends.collect();
        self.share_lengths(shards.clone())?;
        Ok(self)
    }

    /// Tells the other processes the lengths of the texts of this one.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn share_lengths(&mut self, shards: Arc<Shards>) -> anyhow::Result<()> {
        let texts = 0..self.len();
        let own = texts.clone().filter(|text| shards.is_own(*text));
        let own: Vec<u32> = own.map(|text| self.text(text).len() as u32).collect();
        let lengths = shards.complete(texts, &own)?;
        self.shared = Some(SharedLengths { shards, lengths });
        Ok(())
    }

    /// Splits every word into its subwords, which become the words. The tokens go to the result of `writer`,
    /// which receives their number. If texts are divided among processes, [`TokenizedTexts::share_lengths`] must
    /// follow.
    ///
    /// # Errors
    /// Returns an error if the tokens cannot be written.
    pub fn split_words(
        &self,
        subwords: &Subwords,
        writer: impl FnOnce(u64) -> anyhow::Result<IdsWriter>,
    ) -> anyhow::Result<Self> {
        let all: Vec<Vec<&str>> =
            self.words.par_iter().map(|word| parts_of(word, subwords)).collect();
        // Words are in the order of their first occurrence, and so are their parts.
        let mut indices: FxHashMap<&str, u32> = FxHashMap::default();
        let mut words: Vec<Box<str>> = Vec::new();
        let mut parts: Vec<Box<[u32]>> = Vec::with_capacity(all.len());
        for word in &all {
            let mut of_word = Vec::with_capacity(word.len());
            for part in word {
                let next = words.len() as u32;
                let index = *indices.entry(part).or_insert(next);
                if index == next {
                    words.push((*part).into());
                }
                of_word.push(index);
            }
            parts.push(of_word.into());
        }
        let mut count = 0;
        self.for_each_text(0..self.len(), |tokens| {
            count += tokens.iter().map(|token| parts[*token as usize].len() as u64).sum::<u64>();
        });
        let mut writer = writer(count)?;
        let mut ends = Vec::with_capacity(self.len());
        let (mut end, mut read) = (0, 0);
        let mut buffer: Vec<u32> = Vec::new();
        for text in 0..self.len() {
            let tokens = self.text(text);
            buffer.clear();
            buffer.extend(tokens.iter().flat_map(|token| &parts[*token as usize]));
            writer.push(&buffer)?;
            end += buffer.len() as u64;
            ends.push(end);
            read += tokens.len();
            if read > SCAN_TOKENS {
                self.release();
                read = 0;
            }
        }
        self.release();
        Ok(Self { words, ends, tokens: writer.finish()?, shared: None })
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns true if there are no texts.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the tokens of the text at `index`; none if another process has it.
    pub fn text(&self, index: usize) -> &[u32] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.tokens[start as usize..self.ends[index] as usize]
    }

    /// Number of tokens of the text at `index`, also if another process has it.
    pub fn length(&self, index: usize) -> usize {
        self.shared.as_ref().map_or_else(|| self.text(index).len(), |shared| shared.get(index))
    }

    /// Division of the texts among processes; `None` if this process has all of them.
    pub fn shards(&self) -> Option<&Arc<Shards>> {
        self.shared.as_ref().map(|shared| &shared.shards)
    }

    /// Returns true if this process has the text at `index`.
    pub fn has_text(&self, index: usize) -> bool {
        self.shards().is_none_or(|shards| shards.is_own(index))
    }

    /// Calls `each` with the tokens of the texts at these indices. Releases the memory of mapped
    /// tokens along the way.
    pub fn for_each_text(&self, texts: impl Iterator<Item = usize>, mut each: impl FnMut(&[u32])) {
        let mut read = 0;
        for text in texts {
            let tokens = self.text(text);
            each(tokens);
            read += tokens.len();
            if read > SCAN_TOKENS {
                self.release();
                read = 0;
            }
        }
        self.release();
    }

    /// Releases the memory of mapped tokens.
    pub fn release(&self) {
        self.tokens.release();
    }

    /// Distinct words in order of first occurrence.
    pub fn words(&self) -> &[Box<str>] {
        &self.words
    }

    /// End of each text among all tokens.
    pub fn ends(&self) -> &[u64] {
        &self.ends
    }
}

/// Returns the subwords of a piece.
fn parts_of<'w>(piece: &'w str, subwords: &Subwords) -> Vec<&'w str> {
    let mut parts = Vec::new();
    subwords.split_piece(piece, |part| parts.push(part));
    parts
}

/// Builds [`TokenizedTexts`] chunk by chunk.
pub struct TokenizedTextsBuilder {
    tokenizer: Tokenizer,
    /// Index of each word in `words`.
    word_indices: FxHashMap<Box<str>, u32>,
    words: Vec<Box<str>>,
    ends: Vec<u64>,
    token_count: u64,
    writer: IdsWriter,
}

/// Texts that one thread has tokenized.
#[derive(Default)]
struct Chunk {
    /// Word indices. New words are numbered from the number of known words.
    tokens: Vec<u32>,
    lengths: Vec<usize>,
    new_indices: FxHashMap<Box<str>, u32>,
    new_words: Vec<Box<str>>,
}

impl TokenizedTextsBuilder {
    /// Creates a builder with the configured tokenizer, whose words are split into subwords later: see
    /// [`TokenizedTexts::split_words`]. Tokens go to `writer`.
    pub fn new(config: &TextConfig, writer: IdsWriter) -> Self {
        Self {
            tokenizer: Tokenizer::of_pieces(config),
            word_indices: FxHashMap::default(),
            words: Vec::new(),
            ends: Vec::new(),
            token_count: 0,
            writer,
        }
    }

    /// Tokenizes texts on all threads and appends them. The result does not depend on the number of
    /// threads.
    ///
    /// # Errors
    /// Returns an error if the tokens cannot be written.
    pub fn add(&mut self, texts: &[String]) -> io::Result<()> {
        let (word_indices, first_new) = (&self.word_indices, self.words.len() as u32);
        let chunks: Vec<Chunk> = texts
            .par_chunks(CHUNK)
            .map_init(
                || self.tokenizer.clone(),
                |tokenizer, texts| Chunk::tokenize(tokenizer, texts, word_indices, first_new),
            )
            .collect();
        for mut chunk in chunks {
            let words = std::mem::take(&mut chunk.new_words);
            let indices: Vec<u32> = words.into_iter().map(|word| self.index_of(word)).collect();
            for token in chunk.tokens.iter_mut().filter(|token| **token >= first_new) {
                *token = indices[(*token - first_new) as usize];
            }
            self.writer.push(&chunk.tokens)?;
            for length in chunk.lengths {
                self.token_count += length as u64;
                self.ends.push(self.token_count);
            }
        }
        Ok(())
    }

    /// Returns the index of a word, and adds the word if it is new.
    fn index_of(&mut self, word: Box<str>) -> u32 {
        let next = self.words.len() as u32;
        let index = *self.word_indices.entry(word.clone()).or_insert(next);
        if index == next {
            self.words.push(word);
        }
        index
    }

    /// Returns all texts.
    ///
    /// # Errors
    /// Returns an error if the tokens cannot be written.
    pub fn finish(self) -> io::Result<TokenizedTexts> {
        let Self { words, ends, writer, .. } = self;
        Ok(TokenizedTexts { words, ends, tokens: writer.finish()?, shared: None })
    }
}

impl Chunk {
    fn tokenize(
        tokenizer: &mut Tokenizer,
        texts: &[String],
        word_indices: &FxHashMap<Box<str>, u32>,
        first_new: u32,
    ) -> Self {
        let mut chunk = Self::default();
        for text in texts {
            let before = chunk.tokens.len();
            tokenizer.tokens(text, |token| {
                let index = match word_indices.get(token).or_else(|| chunk.new_indices.get(token)) {
                    Some(index) => *index,
                    None => {
                        let index = first_new + chunk.new_words.len() as u32;
                        chunk.new_words.push(token.into());
                        chunk.new_indices.insert(token.into(), index);
                        index
                    }
                };
                chunk.tokens.push(index);
            });
            chunk.lengths.push(chunk.tokens.len() - before);
        }
        chunk
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config;

    proptest! {
        /// Words are numbered by first occurrence, however the texts are divided among calls.
        #[test]
        fn texts_are_recovered_from_their_tokens(
            texts in prop::collection::vec("[a-f]( [a-f]{1,2}){0,9}", 0..200),
            cut in 0_usize..200,
        ) {
            let config = config::parse("data: {train: x}\n", "test", &[]).unwrap().config.text;
            let mut builder = TokenizedTextsBuilder::new(&config, IdsWriter::Memory(Vec::new()));
            let (first, second) = texts.split_at(cut.min(texts.len()));
            builder.add(first).unwrap();
            builder.add(second).unwrap();
            let tokenized = builder.finish().unwrap();
            prop_assert_eq!(tokenized.len(), texts.len());
            let mut seen = 0;
            for (index, text) in texts.iter().enumerate() {
                let tokens = tokenized.text(index);
                let words = tokens.iter().map(|token| &*tokenized.words()[*token as usize]);
                prop_assert_eq!(words.collect::<Vec<_>>().join(" "), text.clone());
                for token in tokens {
                    prop_assert!(*token <= seen);
                    seen += u32::from(*token == seen);
                }
            }
            prop_assert_eq!(tokenized.words().len(), seen as usize);
            prop_assert_eq!(&TokenizedTexts::from_texts(&texts, &config), &tokenized);
        }
    }
}

//! Encodes texts as ids: tokenizes, looks words up and truncates; then looks n-grams up.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::character_ngrams::{CharacterNgrams, VocabularyNgrams, WordBuckets};
use super::corpus_builder::{Chunk, CorpusBuilder, CorpusWriters};
use super::corpus_words::CorpusWordsBuilder;
use super::{
    Corpus, FIRST_WORD, Ids, IdsWriter, NgramIndex, OOV, START, TokenizedTexts, Tokenizer,
    Vocabulary, word_hash,
};
use crate::config::{PadSide, TextConfig, Truncate};
use crate::random::fingerprint;
use crate::subwords::Subwords;

/// Number of texts that a thread encodes at a time.
const CHUNK: usize = 256;
/// Number of chunks that are encoded before they are written.
const CHUNKS: usize = 64;

/// Encodes a text as 1 to `text.max_length` ids, and as the rows of its n-grams.
#[derive(Clone, Debug)]
pub struct Encoder {
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    ngrams: Option<NgramIndex>,
    character_ngrams: Option<VocabularyNgrams>,
    config: TextConfig,
}

impl Encoder {
    /// Creates an encoder from a text section and a vocabulary.
    pub fn new(config: &TextConfig, vocabulary: Vocabulary) -> Self {
        let tokenizer = Tokenizer::new(config);
        let config = config.clone();
        Self { tokenizer, vocabulary, ngrams: None, character_ngrams: None, config }
    }

    /// Returns the encoder with an index of n-grams.
    pub fn with_ngrams(self, ngrams: Option<NgramIndex>) -> Self {
        Self { ngrams, ..self }
    }

    /// Returns the encoder with character n-grams of the words.
    pub fn with_character_ngrams(self, ngrams: Option<CharacterNgrams>) -> Self {
        let character_ngrams = ngrams.map(|ngrams| VocabularyNgrams::new(ngrams, &self.vocabulary));
        Self { character_ngrams, ..self }
    }

    /// Buckets of the character n-grams of each word of the vocabulary; `None` without these.
    pub fn word_buckets(&self) -> Option<&WordBuckets> {
        self.character_ngrams.as_ref().map(|ngrams| &*ngrams.known)
    }

    /// Computes a fingerprint of subwords, vocabulary and n-grams.
    pub fn fingerprint(&self) -> u64 {
        let subwords = self.subwords().map_or("", |subwords| subwords.sha256());
        let words = self.vocabulary.words().iter().map(|word| word_hash(word));
        let ngrams = self.ngrams.iter().flat_map(|index| index.hashes().unwrap_or_default());
        fingerprint([word_hash(subwords)].into_iter().chain(words).chain(ngrams.copied()))
    }

    /// Returns a copy of the encoder that does not truncate.
    pub fn without_truncation(&self) -> Self {
        let config =
            TextConfig { max_length: usize::MAX, pad: PadSide::Back, ..self.config.clone() };
        Self { config, ..self.clone() }
    }

    /// Returns a copy of the encoder that neither truncates nor adds a start token: pre-training adds one to each
    /// text by itself.
    pub fn for_pretraining(&self) -> Self {
        let whole = self.without_truncation();
        Self { config: TextConfig { start_token: false, ..whole.config.clone() }, ..whole }
    }

    /// Subwords into which texts are split; `None` if they are split into words or characters.
    pub fn subwords(&self) -> Option<&Arc<Subwords>> {
        self.tokenizer.subwords()
    }

    /// N-grams that the model knows; `None` if it reads none.
    pub fn ngrams(&self) -> Option<&NgramIndex> {
        self.ngrams.as_ref()
    }

    /// Vocabulary of the encoder.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Returns true if a model knows nothing of a text with these ids: no word of it is in the
    /// vocabulary. Punctuation does not count, unless the text has nothing else. A model that reads character
    /// n-grams knows something of every word.
    pub fn is_unknown(&self, ids: &[u32]) -> bool {
        if self.character_ngrams.is_some() {
            return false;
        }
        let known = ids.iter().filter(|id| **id >= FIRST_WORD);
        let mut known = known.map(|id| &self.vocabulary.words()[*id as usize]).peekable();
        let has_tokens = known.peek().is_some();
        !known.any(|word| word.contains(char::is_alphanumeric))
            && (!has_tokens || ids.contains(&OOV))
    }

    /// Number of texts of which a model knows nothing (see [`Encoder::is_unknown`]), without those of other
    /// processes.
    pub fn unknown_texts(&self, corpus: &Corpus) -> usize {
        let is_unknown =
            |text: &usize| corpus.has_text(*text) && self.is_unknown(corpus.text(*text));
        (0..corpus.len()).into_par_iter().filter(is_unknown).count()
    }

    /// Encodes texts on all threads, preserving their order.
    pub fn encode_all(&self, texts: &[String]) -> Corpus {
        let mut chunks: Vec<Chunk> = texts
            .par_chunks(CHUNK)
            .map_init(
                || self.tokenizer.clone(),
                |tokenizer, texts| {
                    let mut chunk = Chunk::default();
                    for text in texts {
                        self.encode_into(tokenizer, text, &mut chunk);
                    }
                    chunk
                },
            )
            .collect();
        let tokens = chunks.iter().map(|chunk| chunk.ids.len()).sum();
        let ngrams = chunks.iter().map(|chunk| chunk.ngrams.len()).sum();
        let [tokens, ngrams] =
            [tokens, ngrams].map(|count| IdsWriter::Memory(Vec::with_capacity(count)));
        let writers = CorpusWriters { tokens, ngrams };
        let mut builder =
            CorpusBuilder::new(writers, self.character_ngrams.as_ref(), WordBuckets::default());
        // Writing to memory does not fail.
        let corpus = builder
            .add(&mut chunks)
            .and_then(|()| builder.finish(&self.config, self.ngrams.is_some()));
        corpus.unwrap_or_else(|_| Corpus::new(self.config.pad, self.config.max_length))
    }

    /// Encodes the tokenized texts at the indices `texts`, in this order. The ids go to `writers`. Texts of other
    /// processes are empty: [`Corpus::share_statistics`] must follow.
    ///
    /// # Errors
    /// Returns an error if the ids cannot be written.
    pub fn encode_tokens(
        &self,
        tokenized: &TokenizedTexts,
        texts: &[u32],
        writers: CorpusWriters,
    ) -> io::Result<Corpus> {
        let words = tokenized.words().par_iter();
        let mut ids: Vec<u32> = words.clone().map(|word| self.vocabulary.id(word)).collect();
        let unknown = self.number_unknown(tokenized.words(), &mut ids);
        let hashes: Vec<u64> = match self.ngrams {
            Some(_) => words.map(|word| word_hash(word)).collect(),
            None => Vec::new(),
        };
        let mut builder = CorpusBuilder::new(writers, self.character_ngrams.as_ref(), unknown);
        for texts in texts.chunks(CHUNK * CHUNKS) {
            let mut chunks: Vec<Chunk> = texts
                .par_chunks(CHUNK)
                .map(|texts| {
                    let mut chunk = Chunk::default();
                    for text in texts {
                        if !tokenized.has_text(*text as usize) {
                            chunk.push_absent(self.ngrams.is_some());
                            continue;
                        }
                        let start = chunk.ids.len();
                        chunk.ids.extend(self.config.start_token.then_some(START));
                        let tokens = tokenized.text(*text as usize).iter();
                        chunk.ids.extend(tokens.clone().map(|token| ids[*token as usize]));
                        if self.ngrams.is_some() {
                            chunk.words.extend(tokens.map(|token| hashes[*token as usize]));
                        }
                        self.finish_text(start, &mut chunk);
                    }
                    chunk
                })
                .collect();
            builder.add(&mut chunks)?;
            tokenized.release();
        }
        builder.finish(&self.config, self.ngrams.is_some())
    }

    /// Gives the words outside the vocabulary ids of their own, if they have character n-grams. Returns the buckets
    /// of these n-grams. `ids` are those of the words.
    fn number_unknown(&self, words: &[Box<str>], ids: &mut [u32]) -> WordBuckets {
        let mut unknown = WordBuckets::default();
        let Some(VocabularyNgrams { ngrams, known }) = &self.character_ngrams else {
            return unknown;
        };
        let of_words = words.iter().zip(ids);
        let (words, ids): (Vec<_>, Vec<_>) = of_words.filter(|(_, id)| **id == OOV).unzip();
        let buckets = WordBuckets::of(ngrams, &words);
        for (index, id) in ids.into_iter().enumerate() {
            if !buckets.get(index).is_empty() {
                *id = (known.count() + unknown.count()) as u32;
                unknown.push(buckets.get(index));
            }
        }
        unknown
    }

    /// Encodes texts whose words are known already. The ids are not truncated.
    pub fn encode_words<'a>(&self, texts: impl IntoIterator<Item = &'a EncodedWords>) -> Corpus {
        let (mut ids, mut rows, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let known = self.character_ngrams.as_ref();
        let mut words = known
            .map(|ngrams| CorpusWordsBuilder::new(ngrams.known.clone(), WordBuckets::default()));
        for EncodedWords { ids: of_text, hashes, unknown } in texts {
            ids.push(&of_text[..]);
            counts.extend(self.ngrams.as_ref().map(|index| index.append_rows(hashes, &mut rows)));
            if let Some((words, known)) = words.as_mut().zip(known) {
                let (mut unknown, mut of_text) = (unknown.iter(), of_text.clone());
                for id in of_text.iter_mut().filter(|id| **id == OOV) {
                    let mut buckets = Vec::new();
                    let word = unknown.next().map_or("", |word| word);
                    known.ngrams.append(word, &mut buckets);
                    if !word.is_empty() && !buckets.is_empty() {
                        *id = words.add_word(&buckets);
                    }
                }
                words.add_text(&mut of_text);
            }
        }
        let mut corpus = Corpus::from_texts(self.config.pad, self.config.max_length, ids);
        if self.ngrams.is_some() {
            corpus.set_ngrams(Ids::Memory(rows), &counts);
        }
        if let Some(words) = words {
            corpus.set_words(words.finish());
        }
        corpus
    }

    fn encode_into(&self, tokenizer: &mut Tokenizer, text: &str, chunk: &mut Chunk) {
        let start = chunk.ids.len();
        if self.config.start_token {
            chunk.ids.push(START);
        }
        tokenizer.tokens(text, |token| {
            let id = match (self.vocabulary.id(token), &self.character_ngrams) {
                (OOV, Some(ngrams)) => chunk.unknown_id(token, ngrams),
                (id, _) => id,
            };
            chunk.ids.push(id);
            if self.ngrams.is_some() {
                chunk.words.push(word_hash(token));
            }
        });
        self.finish_text(start, chunk);
    }

    /// Truncates the text whose ids begin at `start`, and records its length. Looks up the n-grams of
    /// its words, and clears the words.
    fn finish_text(&self, start: usize, chunk: &mut Chunk) {
        if chunk.ids.len() == start {
            // An LSTM needs at least one step.
            chunk.ids.push(OOV);
        }
        let excess = self.excess(chunk.ids.len() - start);
        chunk.ids.drain(start + excess.start..start + excess.end);
        chunk.lengths.push(chunk.ids.len() - start);
        if let Some(index) = &self.ngrams {
            chunk.ngram_counts.push(index.append_rows(&chunk.words, &mut chunk.ngrams));
            chunk.words.clear();
        }
    }

    /// Returns the range of tokens to remove from a text of `length` tokens.
    fn excess(&self, length: usize) -> Range<usize> {
        let limit = self.config.max_length;
        let excess = length.saturating_sub(limit);
        let first = match self.config.truncate {
            Truncate::Front => 0,
            Truncate::Middle => limit.div_ceil(2),
            Truncate::Back => limit,
        };
        let first = first.min(length);
        first..first + excess
    }

    /// Returns the tokens of a text that a model reads, in two parts: with n-grams all of them, otherwise those
    /// that truncation leaves.
    pub fn tokens_read<'t>(&self, tokens: &'t [u32]) -> [&'t [u32]; 2] {
        if self.ngrams.is_some() {
            return [tokens, &[]];
        }
        let start = usize::from(self.config.start_token);
        let Range { start: first, end } = self.excess(tokens.len() + start);
        [&tokens[..first.saturating_sub(start)], &tokens[end.saturating_sub(start)..]]
    }

    /// Encodes a text and returns the position of each token in it.
    pub fn locate(&self, text: &str) -> LocatedText {
        let mut tokens = Vec::new();
        if self.config.start_token {
            tokens.push(LocatedToken { id: START, ..LocatedToken::ABSENT });
        }
        let mut tokenizer = self.tokenizer.clone();
        tokenizer.tokens_with_spans(text, |token, span| {
            let (id, word) = (self.vocabulary.id(token), Some(word_hash(token)));
            let is_unknown = id == OOV && self.character_ngrams.is_some();
            let unknown = is_unknown.then(|| token.into());
            tokens.push(LocatedToken { id, word, span: Some(span), unknown });
        });
        if tokens.is_empty() {
            tokens.push(LocatedToken::ABSENT);
        }
        let truncated = self.excess(tokens.len());
        LocatedText { tokens, truncated }
    }
}

/// Tokens of a text and their positions in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedText {
    /// All tokens. There is at least one.
    pub tokens: Vec<LocatedToken>,
    /// Tokens that are truncated. N-grams include them.
    pub truncated: Range<usize>,
}

impl LocatedText {
    /// Returns the tokens that remain after truncation.
    pub fn into_read(mut self) -> Vec<LocatedToken> {
        self.tokens.drain(self.truncated);
        self.tokens
    }

    /// Returns the words of the text, as an encoder takes them.
    pub fn words(&self) -> EncodedWords {
        let unknown = self.read().map(|index| &self.tokens[index]).filter(|token| token.id == OOV);
        EncodedWords {
            ids: self.ids(),
            hashes: self.located_words().map(|(_, word)| word).collect(),
            unknown: unknown.map(|token| token.unknown.clone().unwrap_or_default()).collect(),
        }
    }

    /// Ids of the tokens that remain after truncation.
    pub fn ids(&self) -> Vec<u32> {
        self.read().map(|index| self.tokens[index].id).collect()
    }

    /// Returns the text up to and including the token at `index`.
    pub fn prefix(&self, index: usize) -> Self {
        let Range { start, end } = self.truncated;
        let length = index + 1;
        Self {
            tokens: self.tokens[..length].to_vec(),
            truncated: start.min(length)..end.min(length),
        }
    }

    /// Removes the token at `index`. No other token is read in its place.
    pub fn remove(&mut self, index: usize) {
        self.tokens.remove(index);
        let Range { start, end } = &mut self.truncated;
        *start -= usize::from(index < *start);
        *end -= usize::from(index < *end);
    }

    /// Indices of the tokens that remain after truncation.
    pub fn read(&self) -> impl Iterator<Item = usize> {
        (0..self.truncated.start).chain(self.truncated.end..self.tokens.len())
    }

    /// Index and hash of each word (see [`word_hash`]), also of those that are truncated.
    pub fn located_words(&self) -> impl Iterator<Item = (usize, u64)> {
        self.tokens.iter().enumerate().filter_map(|(index, token)| Some((index, token.word?)))
    }
}

/// An id and its position in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedToken {
    /// Id of the token.
    pub id: u32,
    /// Hash of the word (see [`word_hash`]). `None` if the token is not in the text.
    pub word: Option<u64>,
    /// Byte range in the text. `None` for the start token, and for the OOV token that replaces an
    /// empty text.
    pub span: Option<Range<usize>>,
    /// A word outside the vocabulary, if the model reads its character n-grams.
    pub unknown: Option<Box<str>>,
}

impl LocatedToken {
    /// An OOV token that is not in the text.
    const ABSENT: Self = Self { id: OOV, word: None, span: None, unknown: None };
}

/// Words of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedWords {
    /// Ids that the LSTM reads.
    pub ids: Vec<u32>,
    /// Hashes of the words of which n-grams consist (see [`word_hash`]).
    pub hashes: Vec<u64>,
    /// Words of the OOV ids, if the model reads their character n-grams; otherwise, and for an id that stands for no
    /// word, empty.
    pub unknown: Vec<Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn encode(fields: &str, text: &str) -> Vec<u32> {
        let yaml = format!("data: {{train: x}}\ntext: {{min_count: 1, {fields}}}\n");
        let config = config::parse(&yaml, "test", &[]).unwrap().config.text;
        let vocabulary = Vocabulary::build(&["a b c d e f".into()], &config).unwrap();
        let corpus = Encoder::new(&config, vocabulary).encode_all(&[text.into()]);
        corpus.text(0).to_vec()
    }

    #[test]
    fn long_texts_are_truncated_at_the_configured_end() {
        assert_eq!(encode("max_length: 5, truncate: back", "a b c d e f"), [4, 5, 6, 7, 8]);
        assert_eq!(encode("max_length: 5, truncate: front", "a b c d e f"), [5, 6, 7, 8, 9]);
        assert_eq!(encode("max_length: 5, truncate: middle", "a b c d e f"), [4, 5, 6, 8, 9]);
        assert_eq!(encode("max_length: 6", "a b c d e f"), [4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn the_start_token_counts_towards_the_length_as_in_keras() {
        assert_eq!(encode("start_token: true", "a z"), [START, 4, OOV]);
        assert_eq!(encode("start_token: true, max_length: 2, truncate: front", "a b"), [4, 5]);
        assert_eq!(encode("start_token: true", ""), [START]);
    }

    #[test]
    fn an_empty_text_becomes_one_oov_token() {
        assert_eq!(encode("", "  \t"), [OOV]);
    }

    #[test]
    fn texts_without_a_known_word_are_unknown() {
        let config = config::parse("data: {train: x}\ntext: {min_count: 1}\n", "test", &[]);
        let config = config.unwrap().config.text;
        let vocabulary = Vocabulary::build(&["a , 👍".into()], &config).unwrap();
        let encoder = Encoder::new(&config, vocabulary);
        let texts = ["a", "z a", ",", "👍!", "z", "z,", "", "👍"].map(String::from);
        let corpus = encoder.encode_all(&texts);
        let unknown: Vec<bool> =
            (0..texts.len()).map(|text| encoder.is_unknown(corpus.text(text))).collect();
        assert_eq!(unknown, [false, false, false, true, true, true, true, false]);
        assert_eq!(encoder.unknown_texts(&corpus), 4);
    }

    #[test]
    fn texts_keep_their_order() {
        let config = config::parse("data: {train: x}\n", "test", &[]).unwrap().config.text;
        let texts: Vec<String> = (0..1_000).map(|i| format!("w{}", i % 10)).collect();
        let encoder = Encoder::new(&config, Vocabulary::build(&texts, &config).unwrap());
        let corpus = encoder.encode_all(&texts);
        assert_eq!((corpus.len(), corpus.tokens()), (1_000, 1_000));
        for (index, text) in texts.iter().enumerate() {
            assert_eq!(corpus.text(index), [encoder.vocabulary().id(text)]);
        }
    }
}

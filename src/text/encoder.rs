//! Encodes texts as ids: tokenizes, looks words up and truncates.

use std::io;
use std::ops::Range;

use rayon::prelude::*;

use super::{
    Corpus, FIRST_WORD, Ids, IdsWriter, OOV, START, TokenizedTexts, Tokenizer, Vocabulary,
};
use crate::config::{PadSide, TextConfig, Truncate};

/// Number of texts that a thread encodes at a time.
const CHUNK: usize = 256;
/// Number of chunks that are encoded before they are written.
const CHUNKS: usize = 64;

/// Encodes a text as 1 to `text.max_length` ids.
#[derive(Clone, Debug)]
pub struct Encoder {
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    config: TextConfig,
}

impl Encoder {
    /// Creates an encoder from a text section and a vocabulary.
    pub fn new(config: &TextConfig, vocabulary: Vocabulary) -> Self {
        Self { tokenizer: Tokenizer::new(config), vocabulary, config: config.clone() }
    }

    /// Returns a copy of the encoder that does not truncate.
    pub fn without_truncation(&self) -> Self {
        let config =
            TextConfig { max_length: usize::MAX, pad: PadSide::Back, ..self.config.clone() };
        Self { config, ..self.clone() }
    }

    /// Vocabulary of the encoder.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Returns true if a model knows nothing of a text with these ids: no word of it is in the
    /// vocabulary. Punctuation does not count, unless the text has nothing else.
    pub fn is_unknown(&self, ids: &[u32]) -> bool {
        let known = ids.iter().filter(|id| **id >= FIRST_WORD);
        let mut known = known.map(|id| &self.vocabulary.words()[*id as usize]).peekable();
        let has_tokens = known.peek().is_some();
        !known.any(|word| word.contains(char::is_alphanumeric))
            && (!has_tokens || ids.contains(&OOV))
    }

    /// Number of texts of which a model knows nothing (see [`Encoder::is_unknown`]).
    pub fn unknown_texts(&self, corpus: &Corpus) -> usize {
        (0..corpus.len()).into_par_iter().filter(|text| self.is_unknown(corpus.text(*text))).count()
    }

    /// Encodes texts on all threads, preserving their order.
    pub fn encode_all(&self, texts: &[String]) -> Corpus {
        let chunks: Vec<Chunk> = texts
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
        let mut ids = Vec::with_capacity(chunks.iter().map(|chunk| chunk.ids.len()).sum());
        let mut corpus = Corpus::new(self.config.pad, self.config.max_length);
        for chunk in &chunks {
            ids.extend_from_slice(&chunk.ids);
            corpus.add_lengths(&chunk.lengths);
        }
        corpus.set_ids(Ids::Memory(ids));
        corpus
    }

    /// Encodes the tokenized texts at the indices `texts`, in this order. The ids go to `writer`.
    ///
    /// # Errors
    /// Returns an error if the ids cannot be written.
    pub fn encode_tokens(
        &self,
        tokenized: &TokenizedTexts,
        texts: &[u32],
        mut writer: IdsWriter,
    ) -> io::Result<Corpus> {
        let ids = tokenized.words().par_iter().map(|word| self.vocabulary.id(word));
        let ids: Vec<u32> = ids.collect();
        let mut corpus = Corpus::new(self.config.pad, self.config.max_length);
        for texts in texts.chunks(CHUNK * CHUNKS) {
            let chunks: Vec<Chunk> = texts
                .par_chunks(CHUNK)
                .map(|texts| {
                    let mut chunk = Chunk::default();
                    for text in texts {
                        let start = chunk.ids.len();
                        chunk.ids.extend(self.config.start_token.then_some(START));
                        let tokens = tokenized.text(*text as usize).iter();
                        chunk.ids.extend(tokens.map(|token| ids[*token as usize]));
                        self.finish_text(start, &mut chunk);
                    }
                    chunk
                })
                .collect();
            for chunk in &chunks {
                writer.push(&chunk.ids)?;
                corpus.add_lengths(&chunk.lengths);
            }
            tokenized.release();
        }
        corpus.set_ids(writer.finish()?);
        Ok(corpus)
    }

    fn encode_into(&self, tokenizer: &mut Tokenizer, text: &str, chunk: &mut Chunk) {
        let start = chunk.ids.len();
        if self.config.start_token {
            chunk.ids.push(START);
        }
        tokenizer.tokens(text, |token| chunk.ids.push(self.vocabulary.id(token)));
        self.finish_text(start, chunk);
    }

    /// Truncates the text whose ids begin at `start`, and records its length.
    fn finish_text(&self, start: usize, chunk: &mut Chunk) {
        if chunk.ids.len() == start {
            // An LSTM needs at least one step.
            chunk.ids.push(OOV);
        }
        let excess = self.excess(chunk.ids.len() - start);
        chunk.ids.drain(start + excess.start..start + excess.end);
        chunk.lengths.push(chunk.ids.len() - start);
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

    /// Encodes a text and returns the position of each token in it, and the number of tokens that
    /// were truncated.
    pub fn encode_with_spans(&self, text: &str) -> (Vec<LocatedToken>, usize) {
        let mut tokens = Vec::new();
        if self.config.start_token {
            tokens.push(LocatedToken { id: START, span: None });
        }
        let mut tokenizer = self.tokenizer.clone();
        tokenizer.tokens_with_spans(text, |token, span| {
            tokens.push(LocatedToken { id: self.vocabulary.id(token), span: Some(span) });
        });
        if tokens.is_empty() {
            tokens.push(LocatedToken { id: OOV, span: None });
        }
        let excess = self.excess(tokens.len());
        tokens.drain(excess.clone());
        (tokens, excess.len())
    }
}

/// An id and its position in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedToken {
    /// Id of the token.
    pub id: u32,
    /// Byte range in the text. `None` for the start token, and for the OOV token that replaces an
    /// empty text.
    pub span: Option<Range<usize>>,
}

/// Texts that one thread has encoded.
#[derive(Default)]
struct Chunk {
    ids: Vec<u32>,
    lengths: Vec<usize>,
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

//! Texts to ids: tokenized, looked up, cut to length.

use std::io;
use std::ops::Range;

use rayon::prelude::*;

use super::{Corpus, Ids, IdsWriter, OOV, START, TokenizedTexts, Tokenizer, Vocabulary};
use crate::config::{PadSide, TextConfig, Truncate};

/// Texts encoded by one thread at a time.
const CHUNK: usize = 256;
/// Chunks that are in memory together.
const CHUNKS: usize = 64;

/// Turns a text into at most `text.max_length` ids.
#[derive(Clone, Debug)]
pub struct Encoder {
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    config: TextConfig,
}

impl Encoder {
    /// The encoder for the configuration's text section and this vocabulary.
    pub fn new(config: &TextConfig, vocabulary: Vocabulary) -> Self {
        Self { tokenizer: Tokenizer::new(config), vocabulary, config: config.clone() }
    }

    /// The same encoder, but one that cuts no text.
    pub fn uncut(&self) -> Self {
        let config =
            TextConfig { max_length: usize::MAX, pad: PadSide::Back, ..self.config.clone() };
        Self { config, ..self.clone() }
    }

    /// The words that have ids.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The ids of every text, in order; encoded on all threads.
    pub fn encode_all(&self, texts: &[String]) -> Corpus {
        let parts: Vec<Part> = texts
            .par_chunks(CHUNK)
            .map_init(
                || self.tokenizer.clone(),
                |tokenizer, texts| {
                    let mut part = Part::default();
                    for text in texts {
                        self.encode_into(tokenizer, text, &mut part);
                    }
                    part
                },
            )
            .collect();
        let mut ids = Vec::with_capacity(parts.iter().map(|part| part.ids.len()).sum());
        let mut corpus = Corpus::new(self.config.pad, self.config.max_length);
        for part in &parts {
            ids.extend_from_slice(&part.ids);
            corpus.add_lengths(&part.lengths);
        }
        corpus.set_ids(Ids::Memory(ids));
        corpus
    }

    /// The ids of some texts whose tokens are known, in this order; they go to `writer`.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn encode_tokens(
        &self,
        tokens: &TokenizedTexts,
        texts: &[u32],
        mut writer: IdsWriter,
    ) -> io::Result<Corpus> {
        let words = tokens.words().par_iter().map(|word| self.vocabulary.id(word));
        let words: Vec<u32> = words.collect();
        let mut corpus = Corpus::new(self.config.pad, self.config.max_length);
        for texts in texts.chunks(CHUNK * CHUNKS) {
            let parts: Vec<Part> = texts
                .par_chunks(CHUNK)
                .map(|texts| {
                    let mut part = Part::default();
                    for text in texts {
                        let start = part.ids.len();
                        part.ids.extend(self.config.start_token.then_some(START));
                        let numbers = tokens.text(*text as usize).iter();
                        part.ids.extend(numbers.map(|number| words[*number as usize]));
                        self.end_text(start, &mut part);
                    }
                    part
                })
                .collect();
            for part in &parts {
                writer.push(&part.ids)?;
                corpus.add_lengths(&part.lengths);
            }
            tokens.release();
        }
        corpus.set_ids(writer.finish()?);
        Ok(corpus)
    }

    fn encode_into(&self, tokenizer: &mut Tokenizer, text: &str, part: &mut Part) {
        let start = part.ids.len();
        if self.config.start_token {
            part.ids.push(START);
        }
        tokenizer.tokens(text, |token| part.ids.push(self.vocabulary.id(token)));
        self.end_text(start, part);
    }

    /// Ends the text whose ids begin at `start`.
    fn end_text(&self, start: usize, part: &mut Part) {
        if part.ids.len() == start {
            // An LSTM needs something to read.
            part.ids.push(OOV);
        }
        let cut = self.cut(part.ids.len() - start);
        part.ids.drain(start + cut.start..start + cut.end);
        part.lengths.push(part.ids.len() - start);
    }

    /// What is cut out of so many tokens.
    fn cut(&self, length: usize) -> Range<usize> {
        let most = self.config.max_length;
        let excess = length.saturating_sub(most);
        let first = match self.config.truncate {
            Truncate::Front => 0,
            Truncate::Middle => most.div_ceil(2),
            Truncate::Back => most,
        };
        let first = first.min(length);
        first..first + excess
    }

    /// The tokens that are read of a text, with their places in it, and how many are not, since the
    /// text is too long.
    pub fn located(&self, text: &str) -> (Vec<LocatedToken>, usize) {
        let mut tokens = Vec::new();
        if self.config.start_token {
            tokens.push(LocatedToken { id: START, span: None });
        }
        let mut tokenizer = self.tokenizer.clone();
        tokenizer.located(text, |token, span| {
            tokens.push(LocatedToken { id: self.vocabulary.id(token), span: Some(span) });
        });
        if tokens.is_empty() {
            tokens.push(LocatedToken { id: OOV, span: None });
        }
        let cut = self.cut(tokens.len());
        tokens.drain(cut.clone());
        (tokens, cut.len())
    }
}

/// A token that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedToken {
    /// Its id.
    pub id: u32,
    /// Where it stands in the text; nothing for what stands in no text: the start token, and what
    /// is read of a text without words.
    pub span: Option<Range<usize>>,
}

/// What a thread made of its texts.
#[derive(Default)]
struct Part {
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
    fn long_texts_lose_the_end_that_was_asked_for() {
        assert_eq!(encode("max_length: 5, truncate: back", "a b c d e f"), [4, 5, 6, 7, 8]);
        assert_eq!(encode("max_length: 5, truncate: front", "a b c d e f"), [5, 6, 7, 8, 9]);
        assert_eq!(encode("max_length: 5, truncate: middle", "a b c d e f"), [4, 5, 6, 8, 9]);
        assert_eq!(encode("max_length: 6", "a b c d e f"), [4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn the_start_token_counts_as_in_keras() {
        assert_eq!(encode("start_token: true", "a z"), [START, 4, OOV]);
        assert_eq!(encode("start_token: true, max_length: 2, truncate: front", "a b"), [4, 5]);
        assert_eq!(encode("start_token: true", ""), [START]);
    }

    #[test]
    fn an_empty_text_is_one_unknown_word() {
        assert_eq!(encode("", "  \t"), [OOV]);
    }

    #[test]
    fn many_texts_keep_their_order() {
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

//! Texts to ids: tokenized, looked up, cut to length.

use std::borrow::Cow;
use std::io;
use std::ops::{Deref, Range};

use rayon::prelude::*;

use super::dictionary;
use super::{Ids, IdsWriter, OOV, START, TokenizedTexts, Tokenizer, Vocabulary};
use crate::config::{Input, Inputs, PadSide, TextConfig, Truncate};
use crate::data::Examples;

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
        corpus.ids = Ids::Memory(ids);
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
        corpus.ids = writer.finish()?;
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

/// The encoders of all inputs, in their order.
#[derive(Clone, Debug)]
pub struct Encoders {
    encoders: Vec<Encoder>,
    /// For each input the columns that its texts are made of.
    parts: Vec<Vec<usize>>,
}

impl Encoders {
    /// Encoders with a vocabulary for each input.
    pub fn new(inputs: &Inputs, vocabularies: Vec<Vocabulary>) -> Self {
        let encoders = inputs.iter().zip(vocabularies);
        let encoders = encoders.map(|(input, words)| Encoder::new(&input.text, words)).collect();
        Self { encoders, parts: inputs.parts() }
    }

    /// Encoders with the words of the training examples, or of the dictionaries that the
    /// configuration names.
    ///
    /// # Errors
    /// Where no word is left, or a dictionary cannot be used.
    pub fn build(inputs: &Inputs, train: &Examples) -> anyhow::Result<Self> {
        Self::build_with(inputs, |number, config| train.vocabulary(number, config))
    }

    /// Encoders with the words of texts that are all there, one list for each column of the inputs.
    ///
    /// # Errors
    /// As [`Encoders::build`].
    pub fn of_texts(inputs: &Inputs, columns: &[Vec<String>]) -> anyhow::Result<Self> {
        let parts = inputs.parts();
        Self::build_with(inputs, |number, config| {
            Vocabulary::build(&joined(columns, &parts[number]), config)
        })
    }

    fn build_with(
        inputs: &Inputs,
        count: impl Fn(usize, &TextConfig) -> anyhow::Result<Vocabulary>,
    ) -> anyhow::Result<Self> {
        let build = |(number, input): (usize, &Input)| match &input.text.vocabulary {
            Some(path) => dictionary::read(path, input),
            None => count(number, &input.text),
        };
        let vocabularies = inputs.iter().enumerate().map(build);
        Ok(Self::new(inputs, vocabularies.collect::<anyhow::Result<_>>()?))
    }

    /// The ids of every text of every input.
    pub fn encode(&self, columns: &[Vec<String>]) -> Vec<Corpus> {
        let inputs = self.encoders.iter().zip(&self.parts);
        inputs.map(|(encoder, parts)| encoder.encode_all(&joined(columns, parts))).collect()
    }

    /// The number of ids of each input.
    pub fn sizes(&self) -> Vec<usize> {
        self.encoders.iter().map(|encoder| encoder.vocabulary().len()).collect()
    }
}

/// The texts of an input, each of its `parts` among the columns, joined by spaces.
pub fn joined<'a>(columns: &'a [Vec<String>], parts: &[usize]) -> Cow<'a, [String]> {
    if let [alone] = parts {
        return Cow::Borrowed(&columns[*alone]);
    }
    let examples = 0..columns[0].len();
    let join = |example: usize| {
        let texts: Vec<&str> = parts.iter().map(|part| columns[*part][example].as_str()).collect();
        texts.join(" ")
    };
    examples.map(join).collect()
}

impl Deref for Encoders {
    type Target = [Encoder];
    fn deref(&self) -> &[Encoder] {
        &self.encoders
    }
}

/// Encoded texts, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Corpus {
    ids: Ids,
    ends: Vec<usize>,
    pad: PadSide,
    max_length: usize,
}

impl Corpus {
    /// No texts yet; `max_length` is what padding in front fills up to.
    pub fn new(pad: PadSide, max_length: usize) -> Self {
        Self { ids: Ids::default(), ends: Vec::new(), pad, max_length }
    }

    /// A corpus of these texts, each of at least one id.
    pub fn of<'a>(
        pad: PadSide,
        max_length: usize,
        texts: impl IntoIterator<Item = &'a [u32]>,
    ) -> Self {
        let mut corpus = Self::new(pad, max_length);
        let mut ids = Vec::new();
        for text in texts {
            debug_assert!(!text.is_empty());
            ids.extend_from_slice(text);
            corpus.ends.push(ids.len());
        }
        corpus.ids = Ids::Memory(ids);
        corpus
    }

    fn add_lengths(&mut self, lengths: &[usize]) {
        let mut end = self.ends.last().copied().unwrap_or(0);
        self.ends.extend(lengths.iter().map(|length| {
            end += length;
            end
        }));
    }

    /// The number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The ids of text number `index`, at least one.
    pub fn text(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.ids[start..self.ends[index]]
    }

    /// The tokens of all texts together.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The ids of all texts, one after the other.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Where short texts are filled.
    pub fn pad(&self) -> PadSide {
        self.pad
    }

    /// The steps T that a batch needs to hold text `index`: its length, or all of
    /// `text.max_length` where padding stands in front and is read.
    pub fn steps(&self, index: usize) -> usize {
        match self.pad {
            PadSide::Back => self.text(index).len(),
            PadSide::Front => self.max_length,
        }
    }

    /// The steps of every text, in order.
    pub fn lengths(&self) -> Vec<usize> {
        (0..self.len()).map(|index| self.steps(index)).collect()
    }
}

/// Encoded examples with their classes.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// For each input its texts as ids.
    pub inputs: Vec<Corpus>,
    /// A class number for every example.
    pub labels: Vec<u32>,
}

impl Dataset {
    /// The number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The tokens of all inputs together.
    pub fn tokens(&self) -> usize {
        self.inputs.iter().map(Corpus::tokens).sum()
    }

    /// The tokens of all inputs of some examples.
    pub fn tokens_of(&self, examples: &[u32]) -> usize {
        let of = |corpus: &Corpus| -> usize {
            examples.iter().map(|example| corpus.text(*example as usize).len()).sum()
        };
        self.inputs.iter().map(of).sum()
    }

    /// For each input the steps of every example.
    pub fn lengths(&self) -> Vec<Vec<usize>> {
        self.inputs.iter().map(Corpus::lengths).collect()
    }
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

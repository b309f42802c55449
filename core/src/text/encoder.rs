//! Texts to ids: tokenized, looked up, cut to length.

use std::borrow::Cow;
use std::ops::Deref;

use rayon::prelude::*;

use super::dictionary;
use super::{OOV, START, Tokenizer, Vocabulary};
use crate::config::{Input, Inputs, PadSide, TextConfig, Truncate};

/// Texts encoded by one thread at a time.
const CHUNK: usize = 256;

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
        let parts: Vec<Corpus> = texts
            .par_chunks(CHUNK)
            .map_init(
                || self.tokenizer.clone(),
                |tokenizer, texts| {
                    let mut part = Corpus::new(self.config.pad, self.config.max_length);
                    for text in texts {
                        self.encode_into(tokenizer, text, &mut part);
                    }
                    part
                },
            )
            .collect();
        let mut corpus = Corpus::new(self.config.pad, self.config.max_length);
        corpus.ids.reserve_exact(parts.iter().map(|part| part.ids.len()).sum());
        for part in &parts {
            let offset = corpus.ids.len();
            corpus.ids.extend_from_slice(&part.ids);
            corpus.ends.extend(part.ends.iter().map(|end| offset + end));
        }
        corpus
    }

    fn encode_into(&self, tokenizer: &mut Tokenizer, text: &str, corpus: &mut Corpus) {
        let start = corpus.ids.len();
        if self.config.start_token {
            corpus.ids.push(START);
        }
        tokenizer.tokens(text, |token| corpus.ids.push(self.vocabulary.id(token)));
        if corpus.ids.len() == start {
            // An LSTM needs something to read.
            corpus.ids.push(OOV);
        }
        let length = corpus.ids.len() - start;
        if let Some(excess) = length.checked_sub(self.config.max_length) {
            let cut = match self.config.truncate {
                Truncate::Front => start,
                Truncate::Middle => start + self.config.max_length.div_ceil(2),
                Truncate::Back => start + self.config.max_length,
            };
            corpus.ids.drain(cut..cut + excess);
        }
        corpus.ends.push(corpus.ids.len());
    }
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

    /// Encoders with the words of the training texts, or of the dictionaries that the
    /// configuration names; `columns` has the texts of each column of the inputs.
    ///
    /// # Errors
    /// Where no word is left, or a dictionary cannot be used.
    pub fn build(inputs: &Inputs, columns: &[Vec<String>]) -> anyhow::Result<Self> {
        let build = |(input, parts): (&Input, Vec<usize>)| match &input.text.vocabulary {
            Some(path) => dictionary::read(path, input),
            None => Vocabulary::build(&joined(columns, &parts), &input.text),
        };
        let vocabularies = inputs.iter().zip(inputs.parts()).map(build);
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
    ids: Vec<u32>,
    ends: Vec<usize>,
    pad: PadSide,
    max_length: usize,
}

impl Corpus {
    /// No texts yet; `max_length` is what padding in front fills up to.
    pub fn new(pad: PadSide, max_length: usize) -> Self {
        Self { ids: Vec::new(), ends: Vec::new(), pad, max_length }
    }

    /// Adds a text of at least one id.
    pub fn push(&mut self, text: &[u32]) {
        debug_assert!(!text.is_empty());
        self.ids.extend_from_slice(text);
        self.ends.push(self.ids.len());
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
#[derive(Clone, Debug)]
pub struct Encoded {
    /// For each input its texts as ids.
    pub inputs: Vec<Corpus>,
    /// A class number for every example.
    pub labels: Vec<u32>,
}

impl Encoded {
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

//! Texts as numbers of their words, before it is known which words a model will know.

use std::io;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::Tokenizer;
use super::ids::{Ids, IdsWriter};
use crate::config::TextConfig;

/// Texts that one thread cuts into tokens at a time.
const CHUNK: usize = 64;
/// Tokens of a file that are in memory together where they are read one after the other.
const MANY: usize = 16 << 20;

/// The tokens of texts; a word's number says how many others were seen before it.
#[derive(Debug, Default, PartialEq)]
pub struct TokenizedTexts {
    words: Vec<Box<str>>,
    /// For each text where the next one begins.
    ends: Vec<u64>,
    numbers: Ids,
}

impl TokenizedTexts {
    /// What was made by another process: words, ends of texts, numbers of words.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn new(words: Vec<Box<str>>, ends: Vec<u64>, numbers: Ids) -> Result<Self, String> {
        let end = ends.last().copied().unwrap_or(0);
        if !ends.is_sorted() || end != numbers.len() as u64 {
            return Err("the ends of the texts do not fit the tokens".into());
        }
        for numbers_here in numbers.chunks(MANY) {
            if numbers_here.par_iter().any(|number| *number as usize >= words.len()) {
                return Err("a token has no word".into());
            }
            numbers.release();
        }
        Ok(Self { words, ends, numbers })
    }

    /// The tokens of texts that are all there.
    pub fn of(texts: &[String], config: &TextConfig) -> Self {
        let mut tokenization = Tokenization::new(config, IdsWriter::Memory(Vec::new()));
        let done = tokenization.add(texts).and_then(|()| tokenization.finish());
        done.unwrap_or_default()
    }

    /// The number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The numbers of the words of text `index`.
    pub fn text(&self, index: usize) -> &[u32] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.numbers[start as usize..self.ends[index] as usize]
    }

    /// The numbers of the words of some texts in turn; those in a file leave memory again.
    pub fn read(&self, texts: impl Iterator<Item = usize>, mut each: impl FnMut(&[u32])) {
        let mut read = 0;
        for text in texts {
            let numbers = self.text(text);
            each(numbers);
            read += numbers.len();
            if read > MANY {
                self.release();
                read = 0;
            }
        }
        self.release();
    }

    /// Gives back the memory of tokens that lie in a file.
    pub fn release(&self) {
        self.numbers.release();
    }

    /// Every word, by its number.
    pub fn words(&self) -> &[Box<str>] {
        &self.words
    }

    /// For each text where the next one begins.
    pub fn ends(&self) -> &[u64] {
        &self.ends
    }
}

/// Makes tokens of texts, some at a time.
pub struct Tokenization {
    tokenizer: Tokenizer,
    numbers: FxHashMap<Box<str>, u32>,
    words: Vec<Box<str>>,
    ends: Vec<u64>,
    tokens: u64,
    writer: IdsWriter,
}

/// What a thread made of its texts.
#[derive(Default)]
struct Part {
    /// Numbers of words; those of new ones begin where the known ones end.
    numbers: Vec<u32>,
    lengths: Vec<usize>,
    new_numbers: FxHashMap<Box<str>, u32>,
    new_words: Vec<Box<str>>,
}

impl Tokenization {
    /// Cuts texts as the configuration says, and hands the tokens to `writer`.
    pub fn new(config: &TextConfig, writer: IdsWriter) -> Self {
        Self {
            tokenizer: Tokenizer::new(config),
            numbers: FxHashMap::default(),
            words: Vec::new(),
            ends: Vec::new(),
            tokens: 0,
            writer,
        }
    }

    /// Adds texts, on all threads; the numbers do not depend on how many there are.
    ///
    /// # Errors
    /// Where the tokens cannot be written.
    pub fn add(&mut self, texts: &[String]) -> io::Result<()> {
        let (known, first_new) = (&self.numbers, self.words.len() as u32);
        let parts: Vec<Part> = texts
            .par_chunks(CHUNK)
            .map_init(
                || self.tokenizer.clone(),
                |tokenizer, texts| Part::of(tokenizer, texts, known, first_new),
            )
            .collect();
        for mut part in parts {
            let words = std::mem::take(&mut part.new_words);
            let numbers: Vec<u32> = words.into_iter().map(|word| self.number(word)).collect();
            for number in part.numbers.iter_mut().filter(|number| **number >= first_new) {
                *number = numbers[(*number - first_new) as usize];
            }
            self.writer.push(&part.numbers)?;
            for length in part.lengths {
                self.tokens += length as u64;
                self.ends.push(self.tokens);
            }
        }
        Ok(())
    }

    /// The number of a word that no earlier call had.
    fn number(&mut self, word: Box<str>) -> u32 {
        let next = self.words.len() as u32;
        let number = *self.numbers.entry(word.clone()).or_insert(next);
        if number == next {
            self.words.push(word);
        }
        number
    }

    /// All that was added.
    ///
    /// # Errors
    /// Where the tokens cannot be written.
    pub fn finish(self) -> io::Result<TokenizedTexts> {
        let Self { words, ends, writer, .. } = self;
        Ok(TokenizedTexts { words, ends, numbers: writer.finish()? })
    }
}

impl Part {
    fn of(
        tokenizer: &mut Tokenizer,
        texts: &[String],
        known: &FxHashMap<Box<str>, u32>,
        first_new: u32,
    ) -> Self {
        let mut part = Self::default();
        for text in texts {
            let before = part.numbers.len();
            tokenizer.tokens(text, |token| {
                let number = match known.get(token).or_else(|| part.new_numbers.get(token)) {
                    Some(number) => *number,
                    None => {
                        let number = first_new + part.new_words.len() as u32;
                        part.new_words.push(token.into());
                        part.new_numbers.insert(token.into(), number);
                        number
                    }
                };
                part.numbers.push(number);
            });
            part.lengths.push(part.numbers.len() - before);
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config;

    proptest! {
        /// Words have the numbers of their first sight, however the texts are handed over.
        #[test]
        fn every_text_can_be_read_back(
            texts in prop::collection::vec("[a-f]( [a-f]{1,2}){0,9}", 0..200),
            cut in 0_usize..200,
        ) {
            let config = config::parse("data: {train: x}\n", "test", &[]).unwrap().config.text;
            let mut tokenization = Tokenization::new(&config, IdsWriter::Memory(Vec::new()));
            let (first, second) = texts.split_at(cut.min(texts.len()));
            tokenization.add(first).unwrap();
            tokenization.add(second).unwrap();
            let tokens = tokenization.finish().unwrap();
            prop_assert_eq!(tokens.len(), texts.len());
            let mut seen = 0;
            for (index, text) in texts.iter().enumerate() {
                let numbers = tokens.text(index);
                let words = numbers.iter().map(|number| &*tokens.words()[*number as usize]);
                prop_assert_eq!(words.collect::<Vec<_>>().join(" "), text.clone());
                for number in numbers {
                    prop_assert!(*number <= seen);
                    seen += u32::from(*number == seen);
                }
            }
            prop_assert_eq!(tokens.words().len(), seen as usize);
            prop_assert_eq!(&TokenizedTexts::of(&texts, &config), &tokens);
        }
    }
}

//! Encoders of all inputs of a model.

use std::borrow::Cow;
use std::ops::Deref;

use super::dictionary;
use super::{Corpus, Encoder, Vocabulary};
use crate::config::{Input, Inputs, TextConfig};

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

    /// Encoders with the words of texts that are all there, one list for each column of the inputs.
    ///
    /// # Errors
    /// As [`Encoders::build`].
    pub fn of_texts(inputs: &Inputs, columns: &[Vec<String>]) -> anyhow::Result<Self> {
        let parts = inputs.parts();
        Self::build(inputs, |number, config| {
            Vocabulary::build(&joined(columns, &parts[number]), config)
        })
    }

    /// Builds the encoders of all inputs. The vocabulary of an input is read from the file in
    /// `text.vocabulary`, or counted by `count` from the number and the configuration of the input.
    ///
    /// # Errors
    /// Returns an error if a vocabulary file cannot be used or `count` fails.
    pub fn build(
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

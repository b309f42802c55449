//! Encoders of all inputs of a model.

use std::borrow::Cow;
use std::ops::Deref;

use super::{Corpus, Encoder, Vocabulary, vocabulary_file};
use crate::config::{Input, Inputs};

/// Encoders of all inputs, in the order of the configuration.
#[derive(Clone, Debug)]
pub struct Encoders {
    encoders: Vec<Encoder>,
    /// Indices of the columns of each input.
    columns: Vec<Vec<usize>>,
}

impl Encoders {
    /// Creates encoders from a vocabulary for each input.
    pub fn new(inputs: &Inputs, vocabularies: Vec<Vocabulary>) -> Self {
        let encoders = inputs.iter().zip(vocabularies);
        let encoders = encoders.map(|(input, words)| Encoder::new(&input.text, words)).collect();
        Self { encoders, columns: inputs.column_indices() }
    }

    /// Builds encoders with the vocabularies of texts in memory, one list per column of the inputs.
    ///
    /// # Errors
    /// See [`Encoders::build`].
    pub fn from_texts(inputs: &Inputs, columns: &[Vec<String>]) -> anyhow::Result<Self> {
        let indices = inputs.column_indices();
        Self::build(inputs, |index, input| {
            Vocabulary::build(&join_columns(columns, &indices[index]), &input.text)
        })
    }

    /// Builds encoders. The vocabulary of an input is read from the file in `text.vocabulary`, or
    /// counted by `count`, which receives the index of the input and the input.
    ///
    /// # Errors
    /// Returns an error if a vocabulary file cannot be used or `count` fails.
    pub fn build(
        inputs: &Inputs,
        count: impl Fn(usize, &Input) -> anyhow::Result<Vocabulary>,
    ) -> anyhow::Result<Self> {
        let build = |(index, input): (usize, &Input)| match &input.text.vocabulary {
            Some(path) => vocabulary_file::read(path, input),
            None => count(index, input),
        };
        let vocabularies = inputs.iter().enumerate().map(build);
        Ok(Self::new(inputs, vocabularies.collect::<anyhow::Result<_>>()?))
    }

    /// Encodes the texts of each input.
    pub fn encode(&self, columns: &[Vec<String>]) -> Vec<Corpus> {
        let inputs = self.encoders.iter().zip(&self.columns);
        inputs
            .map(|(encoder, indices)| encoder.encode_all(&join_columns(columns, indices)))
            .collect()
    }

    /// Vocabulary size V of each input.
    pub fn vocabulary_sizes(&self) -> Vec<usize> {
        self.encoders.iter().map(|encoder| encoder.vocabulary().len()).collect()
    }
}

/// Returns the texts of an input: its columns, given by their indices, joined by spaces.
pub fn join_columns<'a>(columns: &'a [Vec<String>], indices: &[usize]) -> Cow<'a, [String]> {
    if let [column] = indices {
        return Cow::Borrowed(&columns[*column]);
    }
    let examples = 0..columns[0].len();
    let join = |example: usize| {
        let texts: Vec<&str> =
            indices.iter().map(|column| columns[*column][example].as_str()).collect();
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

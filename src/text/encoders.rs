//! Encoders of all inputs of a model.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};

use super::word_counts::count_words;
use super::{
    CharacterNgrams, Corpus, Encoder, NgramIndex, TokenizedTexts, Vocabulary, vocabulary_file,
};
use crate::config::{Input, Inputs, TextConfig, VocabularySource};
use crate::subwords::Subwords;

/// Encoders of a model from which another one starts, by the names of its inputs.
#[derive(Clone, Debug, Default)]
pub struct KnownEncoders(HashMap<Option<String>, Encoder>);

impl KnownEncoders {
    /// Takes the encoders of a model with these inputs.
    pub fn of(inputs: &Inputs, encoders: &Encoders) -> Self {
        let names = inputs.iter().map(|input| input.name.clone());
        Self(names.zip(encoders.iter().cloned()).collect())
    }

    /// Lets inputs whose byte-pair encoding would be trained use that of their namesakes in the model.
    pub fn share_subwords(&self, inputs: &Inputs) {
        for input in inputs.iter().filter(|input| input.text.tokenizer.needs_training()) {
            let subwords = self.get(input).and_then(Encoder::subwords);
            if let Some(subwords) = subwords.filter(|subwords| subwords.splits_pieces()) {
                input.text.tokenizer.set_subwords(subwords.clone());
            }
        }
    }

    fn get(&self, input: &Input) -> Option<&Encoder> {
        self.0.get(&input.name)
    }
}

/// Encoders of all inputs, in the order of the configuration.
#[derive(Clone, Debug)]
pub struct Encoders {
    encoders: Vec<Encoder>,
    /// Indices of the columns of each input.
    columns: Vec<Vec<usize>>,
}

impl Encoders {
    /// Creates encoders from a vocabulary and, if configured, an index of n-grams for each input.
    pub fn new(inputs: &Inputs, indices: Vec<(Vocabulary, Option<NgramIndex>)>) -> Self {
        let encoder = |(input, (words, ngrams)): (&Input, (Vocabulary, Option<NgramIndex>))| {
            let subwords = CharacterNgrams::new(&input.embedding.subwords);
            let subwords = subwords.filter(|_| input.has_lstm());
            Encoder::new(&input.text, words).with_ngrams(ngrams).with_character_ngrams(subwords)
        };
        let encoders = inputs.iter().zip(indices).map(encoder).collect();
        Self { encoders, columns: inputs.column_indices() }
    }

    /// Builds encoders with the vocabularies of texts in memory, one list per column of the inputs. No
    /// texts are needed if the vocabularies are in files and n-grams are not counted.
    ///
    /// # Errors
    /// See [`Encoders::build`].
    pub fn from_texts(inputs: &Inputs, columns: &[Vec<String>]) -> anyhow::Result<Self> {
        let indices = inputs.column_indices();
        for (indices, input) in indices.iter().zip(&**inputs) {
            let tokenizer = &input.text.tokenizer;
            tokenizer.read_file().with_context(|| input.field("text.tokenizer"))?;
            if !tokenizer.needs_training() {
                continue;
            }
            ensure!(
                !columns.is_empty(),
                "{}: bpe is trained on texts, and there are none; set it to the tokenizer.json of the run that \
                 has the vocabulary",
                input.field("text.tokenizer")
            );
            let pieces = TokenizedTexts::from_texts(&join_columns(columns, indices), &input.text);
            tokenizer.set_subwords(trained(&pieces, 0..pieces.len(), &input.text)?);
        }
        let tokenize = |(indices, input): (&Vec<usize>, &Input)| match columns.is_empty() {
            true => TokenizedTexts::default(),
            false => TokenizedTexts::from_texts(&join_columns(columns, indices), &input.text),
        };
        let tokenized: Vec<TokenizedTexts> = indices.iter().zip(&**inputs).map(tokenize).collect();
        let texts: Vec<u32> = (0..columns.first().map_or(0, Vec::len) as u32).collect();
        let count = |index: usize, input: &Input| {
            let texts = texts.iter().map(|text| *text as usize);
            Vocabulary::count(&tokenized[index], texts, &input.text)
        };
        Self::build(inputs, &KnownEncoders::default(), count, |index| (&tokenized[index], &texts))
    }

    /// Builds encoders. The vocabulary of an input is read from the file in `text.vocabulary`, or
    /// counted by `count`, which receives the index of the input and the input. `texts` returns the
    /// tokenized texts of the input at an index, and the indices of those whose n-grams count. The
    /// words and n-grams in `known` keep their ids and come first; with `text.vocabulary: checkpoint`,
    /// there are no others.
    ///
    /// # Errors
    /// Returns an error if a vocabulary file cannot be used, `count` fails, no n-gram is
    /// frequent enough, or `known` lacks the vocabulary of an input.
    pub fn build<'a>(
        inputs: &Inputs,
        known: &KnownEncoders,
        count: impl Fn(usize, &Input) -> anyhow::Result<Vocabulary>,
        texts: impl Fn(usize) -> (&'a TokenizedTexts, &'a [u32]),
    ) -> anyhow::Result<Self> {
        // Before the processes that have some of the texts count together.
        let read = |input: &Input| match &input.text.vocabulary {
            VocabularySource::File(path) => vocabulary_file::read(path, input).map(Some),
            VocabularySource::Counted | VocabularySource::Checkpoint => Ok(None),
        };
        let read = inputs.iter().map(read).collect::<anyhow::Result<Vec<Option<Vocabulary>>>>();
        let read = match (!inputs.is_empty()).then(|| texts(0).0.shards()).flatten() {
            Some(shards) => shards.collective().agree(read)?,
            None => read?,
        };
        let build = |((index, input), read): ((usize, &Input), Option<Vocabulary>)| {
            let known = known.get(input);
            let is_counted = input.text.vocabulary == VocabularySource::Counted;
            let words = match (read, known) {
                (Some(words), _) => words,
                (None, None) if is_counted => count(index, input)?,
                (None, Some(known)) if is_counted => {
                    let size = input.text.vocabulary_size;
                    known.vocabulary().extended(&count(index, input)?, size)
                }
                (None, Some(known)) => known.vocabulary().clone(),
                (None, None) => bail!(
                    "{}: the checkpoint from which the training starts has no such input",
                    input.field("text.vocabulary")
                ),
            };
            let known = known.and_then(|known| known.ngrams()?.counted_like(&input.ngrams));
            let (tokenized, texts) = texts(index);
            let count = || NgramIndex::build(tokenized, texts, &input.ngrams);
            let ngrams = match (&input.text.vocabulary, known) {
                (VocabularySource::Checkpoint, Some(known)) => Ok(Some(known.clone())),
                (_, Some(known)) => {
                    count().map(|ngrams| Some(known.extended(&ngrams?, &input.ngrams)))
                }
                (_, None) => count(),
            };
            Ok((words, ngrams.with_context(|| input.field("ngrams"))?))
        };
        let indices = inputs.iter().enumerate().zip(read).map(build);
        Ok(Self::new(inputs, indices.collect::<anyhow::Result<_>>()?))
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

    /// Number of n-grams of each input; 0 for an input without n-grams.
    pub fn ngram_counts(&self) -> Vec<usize> {
        let count = |encoder: &Encoder| encoder.ngrams().map_or(0, NgramIndex::len);
        self.encoders.iter().map(count).collect()
    }
}

/// Trains the byte-pair encoding of an input on the pieces of the texts at these indices.
///
/// # Errors
/// Returns an error if it cannot be written as JSON, or if a process is lost that has some of the texts.
pub fn trained(
    pieces: &TokenizedTexts,
    texts: impl Iterator<Item = usize>,
    config: &TextConfig,
) -> anyhow::Result<Arc<Subwords>> {
    let words = count_words(pieces, texts, |_| true)?;
    let counted = words.iter().map(|counted| (&*counted.word, counted.count));
    Subwords::train(counted, config.bpe_size, config.lowercase).map(Arc::new)
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

//! Encoded texts of one input.

use super::Ids;
use crate::config::PadSide;

/// Encoded texts, concatenated.
#[derive(Clone, Debug, PartialEq)]
pub struct Corpus {
    tokens: Lists,
    /// Rows of the n-grams of each text, each once and in ascending order. `None` without n-grams.
    ngrams: Option<Lists>,
    pad: PadSide,
    max_length: usize,
}

/// Lists of ids, concatenated.
#[derive(Clone, Debug, Default, PartialEq)]
struct Lists {
    ids: Ids,
    /// End of each list in `ids`.
    ends: Vec<usize>,
}

impl Lists {
    /// Sets the ids of all lists. `lengths` are their lengths.
    fn new(ids: Ids, lengths: &[usize]) -> Self {
        let ends = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        Self { ids, ends: ends.collect() }
    }

    fn get(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.ids[start..self.ends[index]]
    }
}

impl Corpus {
    /// Creates an empty corpus. `max_length` is the length to which texts are padded in front.
    pub fn new(pad: PadSide, max_length: usize) -> Self {
        Self { tokens: Lists::default(), ngrams: None, pad, max_length }
    }

    /// Creates a corpus from the ids of each text, at least one per text.
    pub fn from_texts<'a>(
        pad: PadSide,
        max_length: usize,
        texts: impl IntoIterator<Item = &'a [u32]>,
    ) -> Self {
        let (mut ids, mut lengths) = (Vec::new(), Vec::new());
        for text in texts {
            debug_assert!(!text.is_empty());
            ids.extend_from_slice(text);
            lengths.push(text.len());
        }
        let mut corpus = Self::new(pad, max_length);
        corpus.set_tokens(Ids::Memory(ids), &lengths);
        corpus
    }

    /// Sets the ids of the tokens of all texts, and their number in each text.
    pub(super) fn set_tokens(&mut self, ids: Ids, lengths: &[usize]) {
        self.tokens = Lists::new(ids, lengths);
    }

    /// Sets the rows of the n-grams of all texts, and their number in each text.
    pub fn set_ngrams(&mut self, rows: Ids, lengths: &[usize]) {
        self.ngrams = Some(Lists::new(rows, lengths));
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.tokens.ends.len()
    }

    /// Returns true if there are no texts.
    pub fn is_empty(&self) -> bool {
        self.tokens.ends.is_empty()
    }

    /// Returns the ids of the text at `index`, at least one.
    pub fn text(&self, index: usize) -> &[u32] {
        self.tokens.get(index)
    }

    /// Returns the rows of the n-grams of the text at `index`, in ascending order; none if the model has
    /// no n-grams.
    pub fn ngrams(&self, index: usize) -> &[u32] {
        self.ngrams.as_ref().map_or(&[], |ngrams| ngrams.get(index))
    }

    /// Returns true if the model reads the n-grams of the texts.
    pub fn has_ngrams(&self) -> bool {
        self.ngrams.is_some()
    }

    /// Number of tokens of all texts.
    pub fn tokens(&self) -> usize {
        self.tokens.ids.len()
    }

    /// Ids of all texts, concatenated.
    pub fn ids(&self) -> &[u32] {
        &self.tokens.ids
    }

    /// Returns the share of each id of a vocabulary of `size` among all tokens.
    pub fn frequencies(&self, size: usize) -> Vec<f32> {
        let mut counts = vec![0_u32; size];
        self.ids().iter().for_each(|id| counts[*id as usize] += 1);
        let total = self.tokens().max(1) as f64;
        counts.into_iter().map(|count| (f64::from(count) / total) as f32).collect()
    }

    /// Side on which short texts are padded.
    pub fn pad(&self) -> PadSide {
        self.pad
    }

    /// Number of time steps T that the text at `index` needs in a batch: its length, or
    /// `text.max_length` if texts are padded in front, because the LSTM then reads the padding.
    pub fn steps(&self, index: usize) -> usize {
        match self.pad {
            PadSide::Back => self.text(index).len(),
            PadSide::Front => self.max_length,
        }
    }

    /// Number of time steps of each text.
    pub fn lengths(&self) -> Vec<usize> {
        (0..self.len()).map(|index| self.steps(index)).collect()
    }
}

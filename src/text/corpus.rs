//! Encoded texts of one input.

use super::Ids;
use crate::config::PadSide;

/// Encoded texts, concatenated.
#[derive(Clone, Debug, PartialEq)]
pub struct Corpus {
    ids: Ids,
    /// End of each text in `ids`.
    ends: Vec<usize>,
    pad: PadSide,
    max_length: usize,
}

impl Corpus {
    /// Creates an empty corpus. `max_length` is the length to which texts are padded in front.
    pub fn new(pad: PadSide, max_length: usize) -> Self {
        Self { ids: Ids::default(), ends: Vec::new(), pad, max_length }
    }

    /// Creates a corpus from the ids of each text, at least one per text.
    pub fn from_texts<'a>(
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

    /// Sets the ids of all texts, after [`Self::add_lengths`].
    pub(super) fn set_ids(&mut self, ids: Ids) {
        self.ids = ids;
    }

    /// Adds texts of these lengths.
    pub(super) fn add_lengths(&mut self, lengths: &[usize]) {
        let mut end = self.ends.last().copied().unwrap_or(0);
        self.ends.extend(lengths.iter().map(|length| {
            end += length;
            end
        }));
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns true if there are no texts.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the ids of the text at `index`, at least one.
    pub fn text(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.ids[start..self.ends[index]]
    }

    /// Number of tokens of all texts.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Ids of all texts, concatenated.
    pub fn ids(&self) -> &[u32] {
        &self.ids
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

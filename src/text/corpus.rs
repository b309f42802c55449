//! Encoded texts of one input.

use super::Ids;
use crate::config::PadSide;

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

    /// Sets the ids of all texts, whose lengths are known.
    pub(super) fn set_ids(&mut self, ids: Ids) {
        self.ids = ids;
    }

    pub(super) fn add_lengths(&mut self, lengths: &[usize]) {
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

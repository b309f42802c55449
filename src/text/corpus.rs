//! Encoded texts of one input.

use std::sync::Arc;

use anyhow::{Context, ensure};

use super::corpus_words::CorpusWords;
use super::shared_lengths::SharedLengths;
use super::{Ids, OOV};
use crate::config::PadSide;
use crate::distributed::{Collective, Shards};

/// Encoded texts, concatenated.
#[derive(Clone, Debug, PartialEq)]
pub struct Corpus {
    tokens: Lists,
    /// Rows of the n-grams of each text, each once and in ascending order. `None` without n-grams.
    ngrams: Option<Lists>,
    pad: PadSide,
    max_length: usize,
    /// Lengths of the texts of all processes, if each has some of them; those of others are empty here.
    shared: Option<Arc<SharedLengths>>,
    /// Number of n-grams of each of these texts.
    shared_ngrams: Option<Arc<Vec<u32>>>,
    /// Number of occurrences of each id, `[V]`, in the texts of all processes.
    counts: Option<Arc<Vec<u64>>>,
    /// Words of the texts with their character n-grams, if the model reads them.
    words: Option<Arc<CorpusWords>>,
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
        Self {
            tokens: Lists::default(),
            ngrams: None,
            pad,
            max_length,
            shared: None,
            shared_ngrams: None,
            counts: None,
            words: None,
        }
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

    /// Sets the words of all texts, whose ids must be those of the tokens.
    pub(super) fn set_words(&mut self, words: CorpusWords) {
        self.words = Some(Arc::new(words));
    }

    /// Words of the texts with their character n-grams; `None` if the model does not read these.
    pub fn words(&self) -> Option<&CorpusWords> {
        self.words.as_deref()
    }

    /// Returns the ids of the words of the text at `index`: those of its tokens. With character n-grams, words
    /// outside the vocabulary have ids of their own, from the vocabulary size on.
    pub fn word_ids(&self, index: usize) -> impl Iterator<Item = u32> {
        let mut unknown = self.words().map_or(&[][..], |words| words.unknown_words(index)).iter();
        let has_words = self.words.is_some();
        self.text(index).iter().map(move |id| match has_words && *id == OOV {
            true => unknown.next().copied().unwrap_or(OOV),
            false => *id,
        })
    }

    /// Tells the other processes the lengths of the texts of this one, their numbers of n-grams, and how often each
    /// id of a vocabulary of `size` occurs in them. `rows` are the rows of the texts that `shards` divides.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn share_statistics(
        &mut self,
        shards: &Arc<Shards>,
        rows: &[u32],
        size: usize,
    ) -> anyhow::Result<()> {
        let rows = rows.iter().map(|row| *row as usize);
        let complete = |length: &dyn Fn(usize) -> usize| {
            let own = rows.clone().zip(0..).filter(|(row, _)| shards.is_own(*row));
            let own: Vec<u32> = own.map(|(_, text)| length(text) as u32).collect();
            shards.complete(rows.clone(), &own)
        };
        let lengths = complete(&|text| self.text(text).len())?;
        let has_ngrams = self.has_ngrams();
        let ngrams = has_ngrams.then(|| complete(&|text| self.ngrams(text).len())).transpose()?;
        self.shared_ngrams = ngrams.map(Arc::new);
        self.shared = Some(Arc::new(SharedLengths { shards: shards.clone(), lengths }));
        let mut counts = self.count_ids(size);
        shards.collective().sum_counts(&mut counts)?;
        self.counts = Some(Arc::new(counts));
        Ok(())
    }

    /// Returns the texts at these indices, in this order, also those of other processes. All processes collect
    /// the same texts.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn collect(&self, texts: &[u32], collective: &dyn Collective) -> anyhow::Result<Self> {
        self.collect_with(texts, self.has_ngrams(), collective)
    }

    /// Returns the texts at these indices without their n-grams, like [`Corpus::collect`].
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn collect_tokens(
        &self,
        texts: &[u32],
        collective: &dyn Collective,
    ) -> anyhow::Result<Self> {
        self.collect_with(texts, false, collective)
    }

    fn collect_with(
        &self,
        texts: &[u32],
        with_ngrams: bool,
        collective: &dyn Collective,
    ) -> anyhow::Result<Self> {
        let mut own = Vec::new();
        for (position, text) in (0..).zip(texts.iter().map(|text| *text as usize)) {
            if self.has_text(text) {
                own.push(position);
                let ngrams = if with_ngrams { self.ngrams(text) } else { &[] };
                for ids in [self.text(text), ngrams] {
                    own.push(ids.len() as u32);
                    own.extend_from_slice(ids);
                }
            }
        }
        let messages = collective.gather_arrays(&own)?;
        // Ids and n-grams of each text.
        let mut collected: Vec<[&[u32]; 2]> = vec![[&[], &[]]; texts.len()];
        for mut message in messages.iter().map(Vec::as_slice) {
            while let Some((position, mut rest)) = message.split_first() {
                let mut next = || {
                    let (length, after) = rest.split_first()?;
                    let (ids, after) = after.split_at_checked(*length as usize)?;
                    rest = after;
                    Some(ids)
                };
                let text = next().zip(next()).map(|(ids, ngrams)| [ids, ngrams]);
                let slot = collected.get_mut(*position as usize);
                *slot.context("received an unknown text")? =
                    text.context("received half a text")?;
                message = rest;
            }
        }
        ensure!(
            collected.iter().all(|[ids, _]| !ids.is_empty()),
            "no process has some of the texts"
        );
        let lists = |part: usize| {
            let lengths: Vec<usize> = collected.iter().map(|text| text[part].len()).collect();
            let ids: Vec<u32> = collected.iter().flat_map(|text| text[part]).copied().collect();
            Lists::new(Ids::Memory(ids), &lengths)
        };
        let mut corpus = Self::new(self.pad, self.max_length);
        corpus.tokens = lists(0);
        corpus.ngrams = with_ngrams.then(|| lists(1));
        corpus.counts = self.counts.clone();
        Ok(corpus)
    }

    /// Returns true if the texts are divided among processes.
    pub fn is_sharded(&self) -> bool {
        self.shared.is_some()
    }

    /// Division of the texts among processes; `None` if this process has all of them.
    pub fn shards(&self) -> Option<&Shards> {
        self.shared.as_ref().map(|shared| &*shared.shards)
    }

    /// Returns true if this corpus is the result of [`Corpus::collect`].
    pub fn is_collected(&self) -> bool {
        self.counts.is_some() && !self.is_sharded()
    }

    /// Returns true if this process has the text at `index`.
    pub fn has_text(&self, index: usize) -> bool {
        !self.text(index).is_empty()
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.tokens.ends.len()
    }

    /// Returns true if there are no texts.
    pub fn is_empty(&self) -> bool {
        self.tokens.ends.is_empty()
    }

    /// Returns the ids of the text at `index`, at least one; none if another process has it.
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

    /// Number of tokens of the text at `index`, also if another process has it.
    pub fn length(&self, index: usize) -> usize {
        self.shared.as_ref().map_or_else(|| self.text(index).len(), |shared| shared.get(index))
    }

    /// Number of n-grams of the text at `index`, also if another process has it.
    pub fn ngram_count(&self, index: usize) -> usize {
        let shared = self.shared_ngrams.as_ref();
        shared.map_or_else(|| self.ngrams(index).len(), |counts| counts[index] as usize)
    }

    /// Number of tokens of all texts, also of those of other processes.
    pub fn tokens(&self) -> usize {
        match &self.shared {
            Some(shared) => shared.lengths.iter().map(|length| *length as usize).sum(),
            None => self.tokens.ids.len(),
        }
    }

    /// Ids of all texts that this process has, concatenated.
    pub fn ids(&self) -> &[u32] {
        &self.tokens.ids
    }

    /// Returns the number of occurrences of each id of a vocabulary of `size`, in the texts of all processes.
    pub fn id_counts(&self, size: usize) -> Vec<u64> {
        self.counts.as_ref().map_or_else(|| self.count_ids(size), |counts| counts.to_vec())
    }

    fn count_ids(&self, size: usize) -> Vec<u64> {
        let mut counts = vec![0; size];
        self.ids().iter().for_each(|id| counts[*id as usize] += 1);
        counts
    }

    /// Returns the share of each id of a vocabulary of `size` among all tokens.
    pub fn frequencies(&self, size: usize) -> Vec<f32> {
        let counts = self.id_counts(size);
        let total = counts.iter().sum::<u64>().max(1) as f64;
        counts.into_iter().map(|count| (count as f64 / total) as f32).collect()
    }

    /// Side on which short texts are padded.
    pub fn pad(&self) -> PadSide {
        self.pad
    }

    /// Number of time steps T that the text at `index` needs in a batch: its length, or
    /// `text.max_length` if texts are padded in front, because the LSTM then reads the padding.
    pub fn steps(&self, index: usize) -> usize {
        match self.pad {
            PadSide::Back => self.length(index),
            PadSide::Front => self.max_length,
        }
    }

    /// Number of time steps of each text.
    pub fn lengths(&self) -> Vec<usize> {
        (0..self.len()).map(|index| self.steps(index)).collect()
    }
}

//! Texts as one long sequence of tokens, which a language model reads in several rows side by side.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use crate::backend::LanguageModelBatch;
use crate::random::{SeedPurpose, derive_seed};
use crate::text::{Corpus, START};

/// The tokens of all texts in the order of an epoch. A START token stands before each text that does not begin with
/// one.
pub struct TokenStream<'a> {
    corpora: Vec<&'a Corpus>,
    /// Index of each text among those of all corpora, in the order of the epoch.
    order: Vec<u32>,
    /// Position after the last token of each text.
    ends: Vec<u64>,
}

/// Division of a stream into rows of equal length and steps of equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Number of rows B.
    pub count: usize,
    /// Number of predicted tokens T of a row in a step.
    pub steps: usize,
    /// Number of tokens of each row.
    length: u64,
}

impl Rows {
    /// Divides a stream of `tokens` tokens into at most `rows` rows, read in steps of at most `steps` tokens. Short
    /// streams have fewer rows and shorter steps. Returns `None` if there is nothing to predict.
    pub fn new(tokens: u64, rows: usize, steps: usize) -> Option<Self> {
        let steps = (steps as u64).min(tokens.checked_sub(1)?);
        let count = (rows as u64).min(tokens / (steps + 1)).max(1);
        let length = tokens / count;
        (steps > 0).then_some(Self { count: count as usize, steps: steps as usize, length })
    }

    /// Number of batches of an epoch. The last tokens of a row that do not fill a batch are left out.
    pub fn batches(&self) -> usize {
        ((self.length - 1) / self.steps as u64) as usize
    }

    /// Share of the tokens that an epoch leaves out.
    pub fn left_out(&self) -> f64 {
        let predicted = self.batches() as u64 * self.steps as u64;
        1.0 - predicted as f64 / (self.length - 1) as f64
    }
}

impl<'a> TokenStream<'a> {
    /// Creates the stream of an epoch, with the texts in an order that depends on `seed` and the epoch, from 0.
    pub fn shuffled(
        corpora: impl IntoIterator<Item = &'a Corpus>,
        seed: u64,
        epoch: usize,
    ) -> Self {
        let mut stream = Self::in_order(corpora);
        let seed = derive_seed(seed, SeedPurpose::Shuffle(epoch));
        stream.order.shuffle(&mut Pcg64::seed_from_u64(seed));
        stream.set_ends();
        stream
    }

    /// Creates a stream with the texts in their order.
    pub fn in_order(corpora: impl IntoIterator<Item = &'a Corpus>) -> Self {
        let corpora: Vec<&Corpus> = corpora.into_iter().collect();
        let texts: usize = corpora.iter().map(|corpus| corpus.len()).sum();
        let mut stream = Self { corpora, order: (0..texts as u32).collect(), ends: Vec::new() };
        stream.set_ends();
        stream
    }

    fn set_ends(&mut self) {
        let mut end = 0;
        let ends = self.order.iter().map(|text| {
            let text = self.text(*text);
            end += u64::from(lacks_start(text)) + text.len() as u64;
            end
        });
        self.ends = ends.collect();
    }

    /// Returns the ids of a text, given by its index among those of all corpora.
    fn text(&self, mut index: u32) -> &'a [u32] {
        for corpus in &self.corpora {
            match index.checked_sub(corpus.len() as u32) {
                None => return corpus.text(index as usize),
                Some(rest) => index = rest,
            }
        }
        &[]
    }

    /// Returns the number of occurrences of each id, `[V]`.
    pub fn counts(&self, vocabulary_size: usize) -> Vec<u64> {
        let mut counts = vec![0; vocabulary_size];
        for corpus in &self.corpora {
            let of_corpus = corpus.id_counts(vocabulary_size);
            counts.iter_mut().zip(of_corpus).for_each(|(sum, count)| *sum += count);
        }
        let lacking = self.order.iter().filter(|text| lacks_start(self.text(**text)));
        counts[START as usize] += lacking.count() as u64;
        counts
    }

    /// Number of tokens, with those before the texts.
    pub fn tokens(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Appends `count` ids from `position` on.
    fn read(&self, position: u64, count: usize, ids: &mut Vec<u32>) {
        let end = ids.len() + count;
        let mut text = self.ends.partition_point(|end| *end <= position);
        let start = text.checked_sub(1).map_or(0, |before| self.ends[before]);
        let mut skipped = (position - start) as usize;
        while ids.len() < end && text < self.order.len() {
            let all = self.text(self.order[text]);
            let starts = usize::from(lacks_start(all));
            if skipped < starts {
                ids.push(START);
            }
            let missing = end - ids.len();
            ids.extend(all[skipped.saturating_sub(starts)..].iter().take(missing));
            (text, skipped) = (text + 1, 0);
        }
    }

    /// Returns a batch, given by its index in the epoch. A second direction reads each row from its end.
    pub fn batch(&self, rows: &Rows, index: usize, directions: usize) -> LanguageModelBatch {
        let (steps, mut ids) = (rows.steps, vec![Vec::new(); directions]);
        let offset = (index * steps) as u64;
        for row in 0..rows.count as u64 {
            let start = row * rows.length;
            self.read(start + offset, steps + 1, &mut ids[0]);
            if let Some(reverse) = ids.get_mut(1) {
                let from = reverse.len();
                self.read(start + rows.length - offset - steps as u64 - 1, steps + 1, reverse);
                reverse[from..].reverse();
            }
        }
        LanguageModelBatch { ids, rows: rows.count }
    }
}

/// Returns true if a text does not begin with a START token of its own (`text.start_token`).
fn lacks_start(text: &[u32]) -> bool {
    text.first() != Some(&START)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::PadSide;

    fn corpora(texts: &[Vec<Vec<u32>>]) -> Vec<Corpus> {
        let corpus = |texts: &Vec<Vec<u32>>| {
            Corpus::from_texts(PadSide::Back, usize::MAX, texts.iter().map(Vec::as_slice))
        };
        texts.iter().map(corpus).collect()
    }

    #[test]
    fn rows_continue_from_batch_to_batch_in_both_directions() {
        let corpora = corpora(&[vec![vec![4, 5, 6], vec![7]], vec![vec![8, 9, 10, 11]]]);
        let stream = TokenStream::in_order(&corpora);
        // START 4 5 6 START 7 | START 8 9 10 11
        assert_eq!(stream.tokens(), 11);
        let rows = Rows::new(11, 2, 2).unwrap();
        assert_eq!((rows.count, rows.length, rows.batches()), (2, 5, 2));
        let batches: Vec<_> = (0..2).map(|index| stream.batch(&rows, index, 2).ids).collect();
        assert_eq!(batches[0][0], [1, 4, 5, 7, 1, 8]);
        assert_eq!(batches[1][0], [5, 6, 1, 8, 9, 10]);
        assert_eq!(batches[0][1], [1, 6, 5, 10, 9, 8]);
        assert_eq!(batches[1][1], [5, 4, 1, 8, 1, 7]);
    }

    #[test]
    fn each_text_has_one_start() {
        let with_start = corpora(&[vec![vec![START, 4, 5], vec![START, 6]], vec![vec![7]]]);
        let without = corpora(&[vec![vec![4, 5], vec![6]], vec![vec![7]]]);
        let [a, b] = [&with_start, &without].map(TokenStream::in_order);
        let all = |stream: &TokenStream| {
            let mut ids = Vec::new();
            (0..stream.tokens()).for_each(|position| stream.read(position, 1, &mut ids));
            let mut whole = Vec::new();
            stream.read(0, stream.tokens() as usize, &mut whole);
            assert_eq!(ids, whole);
            whole
        };
        assert_eq!(all(&a), [START, 4, 5, START, 6, START, 7]);
        assert_eq!(all(&b), all(&a));
        assert_eq!(a.counts(9), b.counts(9));
        assert_eq!(a.counts(9), [0, 3, 0, 0, 1, 1, 1, 1, 0]);
    }

    #[test]
    fn short_streams_have_fewer_rows() {
        assert_eq!(Rows::new(1, 64, 64), None);
        assert_eq!(Rows::new(0, 64, 64), None);
        let rows = |tokens, count, steps| {
            let rows = Rows::new(tokens, count, steps).unwrap();
            (rows.count, rows.steps, rows.batches())
        };
        assert_eq!(rows(2, 64, 64), (1, 1, 1));
        assert_eq!(rows(200, 64, 64), (3, 64, 1));
        assert_eq!(rows(64 * 65, 64, 64), (64, 64, 1));
        assert_eq!(rows(10, 3, 4), (2, 4, 1));
    }

    #[test]
    fn tokens_that_fill_no_batch_are_left_out() {
        for (tokens, expected) in [(64 * 65, 0.0), (64 * 100, 35.0 / 99.0), (64 * 129, 0.0)] {
            let left_out = Rows::new(tokens, 64, 64).unwrap().left_out();
            assert!((left_out - expected).abs() < 1e-12, "{tokens}: {left_out}");
        }
    }

    proptest! {
        #[test]
        fn batches_read_the_stream_in_its_order(
            texts in prop::collection::vec(prop::collection::vec(4_u32..9, 1..7), 1..12),
            count in 1_usize..5,
            steps in 1_usize..6,
            seed in 0_u64..9,
        ) {
            let corpora = corpora(&[texts.clone(), texts]);
            let stream = TokenStream::shuffled(&corpora, seed, 1);
            let mut all = Vec::new();
            stream.read(0, stream.tokens() as usize, &mut all);
            prop_assert_eq!(all.len() as u64, stream.tokens());
            let rows = Rows::new(stream.tokens(), count, steps).unwrap();
            for index in 0..rows.batches() {
                let batch = stream.batch(&rows, index, 2);
                prop_assert_eq!(batch.steps(), rows.steps);
                for row in 0..rows.count {
                    let part = |direction: usize| {
                        &batch.ids[direction][row * (rows.steps + 1)..][..=rows.steps]
                    };
                    let row = &all[row * rows.length as usize..][..rows.length as usize];
                    prop_assert_eq!(part(0), &row[index * rows.steps..][..=rows.steps]);
                    let reversed: Vec<u32> = row.iter().rev().copied().collect();
                    prop_assert_eq!(part(1), &reversed[index * rows.steps..][..=rows.steps]);
                }
            }
        }
    }
}

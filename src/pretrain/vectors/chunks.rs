//! The texts in chunks, which threads learn from one after another, and the order of the chunks.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::random::absorb;
use crate::text::Corpus;

/// Number of tokens from which a chunk is complete. Longer texts are cut, and no window spans a cut.
const CHUNK: usize = 10_000;

/// Some consecutive texts of a corpus, or a part of a long one.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    corpus: usize,
    texts: Range<usize>,
    /// Tokens of each text.
    tokens: Range<usize>,
}

impl Chunk {
    /// Returns the ids of the texts.
    pub fn texts<'a>(&self, corpora: &'a [Corpus]) -> impl Iterator<Item = &'a [u32]> + use<'a> {
        let (corpus, tokens) = (&corpora[self.corpus], self.tokens.clone());
        self.texts.clone().map(move |text| {
            let ids = corpus.text(text);
            &ids[tokens.start.min(ids.len())..tokens.end.min(ids.len())]
        })
    }
}

/// Divides all texts into chunks.
pub fn chunks(corpora: &[Corpus]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for (corpus, texts) in corpora.iter().enumerate() {
        let mut add = |texts: Range<usize>, tokens: Range<usize>| {
            if !texts.is_empty() {
                chunks.push(Chunk { corpus, texts, tokens });
            }
        };
        let (mut first, mut length) = (0, 0);
        for text in 0..texts.len() {
            let tokens = texts.text(text).len();
            if tokens > CHUNK {
                add(first..text, 0..CHUNK);
                for start in (0..tokens).step_by(CHUNK) {
                    add(text..text + 1, start..start + CHUNK);
                }
            }
            length += tokens;
            if length >= CHUNK {
                if tokens <= CHUNK {
                    add(first..text + 1, 0..CHUNK);
                }
                (first, length) = (text + 1, 0);
            }
        }
        add(first..texts.len(), 0..CHUNK);
    }
    chunks
}

/// Hands out the chunks of all epochs to threads, and sums the losses.
pub struct Queue {
    chunks: Vec<Chunk>,
    epochs: usize,
    seed: u64,
    state: Mutex<State>,
    stopped: AtomicBool,
}

/// Progress of the queue.
struct State {
    /// Epochs that have begun, from 1; 0 at first.
    epoch: usize,
    /// Chunks of this epoch, in the order in which they are taken from the end.
    order: Vec<u32>,
    /// Losses of this epoch.
    losses: LossSum,
    /// Mean loss of the last epoch that has ended.
    last_loss: f64,
}

/// A sum of losses of some predictions.
#[derive(Clone, Copy, Debug, Default)]
pub struct LossSum {
    /// Sum of the losses.
    pub sum: f64,
    /// Their number.
    pub count: u64,
}

impl LossSum {
    /// Adds a loss.
    pub fn add(&mut self, loss: f64) {
        self.sum += loss;
        self.count += 1;
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

impl Queue {
    /// Creates a queue. `seed` determines the order of the chunks in each epoch.
    pub fn new(chunks: Vec<Chunk>, epochs: usize, seed: u64) -> Self {
        let losses = LossSum::default();
        let state = State { epoch: 0, order: Vec::new(), losses, last_loss: f64::NAN };
        let (state, stopped) = (Mutex::new(state), AtomicBool::new(false));
        Self { chunks, epochs, seed, state, stopped }
    }

    /// Returns the next chunk, and a seed for it. Returns `None` at the end, or when the queue is stopped. `losses`
    /// are those of the chunk before.
    pub fn next(&self, losses: LossSum) -> Option<(&Chunk, u64)> {
        let mut state = self.lock();
        state.losses.sum += losses.sum;
        state.losses.count += losses.count;
        if self.is_stopped() {
            return None;
        }
        if state.order.is_empty() {
            if state.epoch == self.epochs {
                return None;
            }
            state.last_loss = state.losses.mean().unwrap_or(state.last_loss);
            state.losses = LossSum::default();
            let epoch = state.epoch as u64;
            let mut keys: Vec<(u64, u32)> = (0..self.chunks.len() as u32)
                .map(|chunk| (absorb(self.seed, [epoch, u64::from(chunk)]), chunk))
                .collect();
            keys.sort_unstable();
            state.order = keys.into_iter().map(|(_, chunk)| chunk).collect();
            state.epoch += 1;
        }
        let chunk = state.order.pop()?;
        let seed = absorb(self.seed, [u64::MAX, state.epoch as u64, u64::from(chunk)]);
        Some((&self.chunks[chunk as usize], seed))
    }

    /// Ends the work after the current predictions.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Returns true after [`Queue::stop`].
    #[inline]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Returns the current epoch, from 1, and its mean loss so far: that of the epoch before at its beginning, and
    /// NaN at that of the first one.
    pub fn epoch(&self) -> (usize, f64) {
        let state = self.lock();
        (state.epoch.max(1), state.losses.mean().unwrap_or(state.last_loss))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PadSide;

    fn corpus(lengths: &[usize]) -> Corpus {
        let texts: Vec<Vec<u32>> = lengths.iter().map(|length| vec![7; *length]).collect();
        Corpus::from_texts(PadSide::Back, 0, texts.iter().map(Vec::as_slice))
    }

    #[test]
    fn chunks_are_a_partition_of_the_tokens() {
        let corpora =
            [corpus(&[9_999, 1, 1, 20_001, 5, 10_000]), corpus(&[]), corpus(&[6_000, 25_000, 3])];
        let chunks = chunks(&corpora);
        let lengths: Vec<usize> =
            chunks.iter().map(|chunk| chunk.texts(&corpora).map(<[u32]>::len).sum()).collect();
        assert_eq!(
            lengths,
            [10_000, 1, 10_000, 10_000, 1, 10_005, 6_000, 10_000, 10_000, 5_000, 3]
        );
    }

    #[test]
    fn every_epoch_has_each_chunk_once_in_another_order() {
        let corpora = [corpus(&[10_000; 50])];
        let queue = Queue::new(chunks(&corpora), 3, 1);
        let mut seeds = Vec::new();
        let mut epochs = Vec::new();
        for epoch in 1..=3 {
            let mut order = Vec::new();
            for _ in 0..50 {
                let (chunk, seed) = queue.next(LossSum { sum: 2.0, count: 1 }).unwrap();
                order.push(chunk.texts.start);
                seeds.push(seed);
            }
            assert_eq!(queue.epoch(), (epoch, 2.0));
            epochs.push(order.clone());
            order.sort_unstable();
            assert!(order.into_iter().eq(0..50));
        }
        assert!(queue.next(LossSum::default()).is_none());
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 150);
    }

    #[test]
    fn a_stopped_queue_ends() {
        let queue = Queue::new(chunks(&[corpus(&[3])]), 2, 1);
        assert!(queue.epoch().1.is_nan());
        assert!(queue.next(LossSum::default()).is_some());
        queue.stop();
        assert!(queue.next(LossSum::default()).is_none());
    }
}

//! A thread that learns from chunks of texts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pulp::{Simd, WithSimd};

use super::chunks::{Chunk, LossSum, Queue};
use super::negatives::{NegativeTable, Subsampling};
use super::prediction::{add_row, add_to, loss, predict};
use super::shared::SharedMatrix;
use crate::backend::kernel::{AlignedVec, Instructions};
use crate::config::{VectorsConfig, VectorsMethod};
use crate::random::Sequence;
use crate::text::{Corpus, FIRST_WORD, WordBuckets};

/// One prediction in this number adds its loss to the mean that is reported.
const LOSS_INTERVAL: u64 = 32;
/// Number of positions with the same learning rate.
const RATE_INTERVAL: usize = 128;

/// State that all threads share.
pub struct SharedState<'a> {
    /// Texts to learn from.
    pub corpora: &'a [Corpus],
    /// The method and its settings.
    pub settings: &'a VectorsConfig,
    /// Input vectors, [V, E].
    pub inputs: SharedMatrix,
    /// Input vectors of character n-grams, if words have these.
    pub subwords: Option<SharedSubwords>,
    /// Output vectors, [V, E].
    pub outputs: SharedMatrix,
    /// Words that predictions are compared with.
    pub negatives: NegativeTable,
    /// Words that are skipped.
    pub subsampling: Subsampling,
    /// Chunks of texts that are left.
    pub queue: Queue,
    /// Number of tokens of all epochs, without those outside the vocabulary.
    pub total: u64,
    /// Number of tokens that threads have begun to learn from.
    pub learned: AtomicU64,
}

impl SharedState<'_> {
    /// Learning rate after this number of tokens.
    fn rate(&self, tokens: f64) -> f32 {
        let left = (1.0 - tokens / self.total as f64).max(0.0);
        (self.settings.learning_rate() * left) as f32
    }
}

/// Input vectors of character n-grams.
pub struct SharedSubwords {
    /// Vectors of the buckets, [buckets, E].
    pub vectors: SharedMatrix,
    /// Buckets of each word.
    pub buckets: Arc<WordBuckets>,
}

/// Buffers of a thread.
pub struct Worker<'a> {
    shared: &'a SharedState<'a>,
    random: Sequence,
    /// Words of a text that are not skipped.
    words: Vec<u32>,
    /// Vector from which the words are predicted: [E], padded.
    hidden: AlignedVec,
    /// Sum of the steps of a prediction: [E], padded.
    gradient: AlignedVec,
    /// The word to predict, and the words that it is compared with.
    targets: Vec<u32>,
    /// Words that the next prediction is compared with. They are drawn early, so that their vectors are in the
    /// cache by then.
    drawn: Vec<u32>,
    /// Scores of the targets.
    scores: Vec<f32>,
    predictions: u64,
    losses: LossSum,
}

impl<'a> Worker<'a> {
    /// Creates a worker.
    pub fn new(shared: &'a SharedState) -> Self {
        let vector = || AlignedVec::zeros(shared.inputs.padded_columns());
        Self {
            shared,
            random: Sequence::new(0),
            words: Vec::new(),
            hidden: vector(),
            gradient: vector(),
            targets: Vec::new(),
            drawn: vec![0; shared.settings.negatives],
            scores: vec![0.0; 1 + shared.settings.negatives],
            predictions: 0,
            losses: LossSum::default(),
        }
    }

    /// Learns from chunks until none is left.
    pub fn run(&mut self, instructions: Instructions) {
        let queue = &self.shared.queue;
        while let Some((chunk, seed)) = queue.next(std::mem::take(&mut self.losses)) {
            self.random = Sequence::new(seed);
            self.draw();
            instructions.run(ChunkPass { worker: self, chunk });
        }
    }

    /// Keeps the words of a text that are not skipped. Returns the number of its words in the vocabulary.
    fn select_words(&mut self, text: &[u32]) -> usize {
        self.words.clear();
        let mut known = 0;
        for id in text.iter().filter(|id| **id >= FIRST_WORD) {
            known += 1;
            if self.shared.subsampling.keeps(*id, &mut self.random) {
                self.words.push(*id);
            }
        }
        known
    }

    /// Draws the words that the next prediction is compared with.
    #[inline(always)]
    fn draw(&mut self) {
        let SharedState { negatives, outputs, .. } = self.shared;
        for drawn in &mut self.drawn {
            *drawn = negatives.draw(&mut self.random);
            outputs.prefetch(*drawn);
        }
    }

    /// Sets the targets of a prediction of `word`. A drawn word that is `word` itself is left out, as in word2vec.
    #[inline(always)]
    fn set_targets(&mut self, word: u32) {
        self.targets.clear();
        self.targets.push(word);
        self.targets.extend(self.drawn.iter().filter(|drawn| **drawn != word));
        self.draw();
    }

    /// Adds the input vectors of a word to the hidden vector. Returns their number.
    #[inline(always)]
    fn add_inputs<S: Simd>(&mut self, simd: S, word: u32) -> usize {
        let (hidden, _) = S::as_mut_simd_f32s(&mut self.hidden);
        add_row(simd, hidden, self.shared.inputs.row(simd, word));
        let Some(SharedSubwords { vectors, buckets }) = &self.shared.subwords else { return 1 };
        let buckets = buckets.get(word as usize);
        buckets.iter().for_each(|bucket| add_row(simd, hidden, vectors.row(simd, *bucket)));
        1 + buckets.len()
    }

    /// Adds the step of a prediction to the input vectors of a word.
    #[inline(always)]
    fn add_step<S: Simd>(&self, simd: S, word: u32) {
        let (step, _) = S::as_simd_f32s(&self.gradient);
        add_to(simd, self.shared.inputs.row(simd, word), step);
        if let Some(SharedSubwords { vectors, buckets }) = &self.shared.subwords {
            let buckets = buckets.get(word as usize).iter();
            buckets.for_each(|bucket| add_to(simd, vectors.row(simd, *bucket), step));
        }
    }

    /// Divides the hidden vector by the number of vectors of which it is the sum.
    #[inline(always)]
    fn scale_hidden<S: Simd>(&mut self, simd: S, count: usize) {
        let scale = simd.splat_f32s(1.0 / count as f32);
        let (hidden, _) = S::as_mut_simd_f32s(&mut self.hidden);
        hidden.iter_mut().for_each(|value| *value = simd.mul_f32s(*value, scale));
    }

    /// Fetches the vectors of a word that will soon be in a window into the cache.
    #[inline(always)]
    fn prefetch(&self, position: usize) {
        if let Some(word) = self.words.get(position) {
            self.shared.inputs.prefetch(*word);
            self.shared.outputs.prefetch(*word);
        }
    }

    /// Learns from the prediction of the targets from `hidden`. Leaves the step of the input vectors in `gradient`.
    #[inline(always)]
    fn predict_targets<S: Simd>(&mut self, simd: S, rate: f32) {
        self.gradient.fill(0.0);
        let vectors = (S::as_simd_f32s(&self.hidden).0, S::as_mut_simd_f32s(&mut self.gradient).0);
        let scores = &mut self.scores[..self.targets.len()];
        predict(simd, &self.shared.outputs, vectors, &self.targets, scores, rate);
        if self.predictions.is_multiple_of(LOSS_INTERVAL) {
            self.losses.add(loss(scores));
        }
        self.predictions += 1;
    }

    /// Predicts the word at `position` from the mean of the vectors of its neighbours, and adds the step to the
    /// vector of each of them. Mikolov et al. (2013) call this CBOW.
    #[inline(always)]
    fn learn_word<S: Simd>(&mut self, simd: S, position: usize, window: [usize; 2], rate: f32) {
        let [first, end] = window;
        self.set_targets(self.words[position]);
        self.hidden.fill(0.0);
        let mut count = 0;
        for neighbour in (first..end).filter(|neighbour| *neighbour != position) {
            count += self.add_inputs(simd, self.words[neighbour]);
        }
        self.scale_hidden(simd, count);
        self.predict_targets(simd, rate);
        for neighbour in (first..end).filter(|neighbour| *neighbour != position) {
            self.add_step(simd, self.words[neighbour]);
        }
    }

    /// Predicts each neighbour of the word at `position` from its vector: skip-gram.
    #[inline(always)]
    fn learn_neighbours<S: Simd>(
        &mut self,
        simd: S,
        position: usize,
        window: [usize; 2],
        rate: f32,
    ) {
        let [first, end] = window;
        let word = self.words[position];
        for neighbour in (first..end).filter(|neighbour| *neighbour != position) {
            self.set_targets(self.words[neighbour]);
            self.hidden.fill(0.0);
            let count = self.add_inputs(simd, word);
            if count > 1 {
                self.scale_hidden(simd, count);
            }
            self.predict_targets(simd, rate);
            self.add_step(simd, word);
        }
    }
}

/// Learns from the texts of a chunk.
struct ChunkPass<'w, 'a> {
    worker: &'w mut Worker<'a>,
    chunk: &'a Chunk,
}

impl WithSimd for ChunkPass<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { worker, chunk } = self;
        let shared = worker.shared;
        let VectorsConfig { method, window, .. } = *shared.settings;
        for text in chunk.texts(shared.corpora) {
            let known = worker.select_words(text);
            let begun = shared.learned.fetch_add(known as u64, Ordering::Relaxed) as f64;
            let count = worker.words.len();
            let mut rate = 0.0;
            for position in 0..count {
                if position.is_multiple_of(RATE_INTERVAL) {
                    rate = shared.rate(begun + (known * position) as f64 / count as f64);
                }
                if shared.queue.is_stopped() {
                    return;
                }
                worker.prefetch(position + window + 1);
                let reach = 1 + worker.random.below(window as u32) as usize;
                let window = [position.saturating_sub(reach), (position + reach + 1).min(count)];
                if window[1] - window[0] > 1 {
                    match method {
                        VectorsMethod::Cbow => worker.learn_word(simd, position, window, rate),
                        VectorsMethod::Skipgram => {
                            worker.learn_neighbours(simd, position, window, rate);
                        }
                    }
                }
            }
        }
    }
}

//! Word vectors from texts: CBOW and skip-gram with negative sampling, as in word2vec (Mikolov et al. 2013) and
//! fastText. Reading vectors from a file belongs in [`text`](crate::text), and writing them in
//! [`interchange`](crate::interchange).
//!
//! Each word has an input vector, U(−1/2E, 1/2E) at first, and an output vector, 0 at first. The result is the
//! input vectors. The occurrences of frequent words are thinned out; then a window around each word, whose size is
//! drawn anew, has its neighbours. [`prediction`] has the equations, [`worker`] the two methods. The learning rate
//! falls linearly over the tokens of all epochs.
//!
//! With character n-grams (Bojanowski et al. 2017), the input of a word is its own vector and those of its n-grams: the
//! hidden vector is the mean of all inputs, and each gets the whole step, as in fastText.
//!
//! ## Threads
//!
//! All threads change the same two matrices without locks (Hogwild, Recht et al. 2011), as in word2vec, fastText and
//! gensim: two threads rarely meet at the same word, and a lost update among billions does no harm. [`shared`]
//! explains how this is defined behavior. One thread computes the same vectors every time. Several threads differ
//! a little from run to run, since the order of their updates does. Computing the steps of a block of words from the
//! same vectors, and adding them in a fixed order, would be the same every time. But every thread would wait for the
//! slowest one after each block, and a block must stay small, because it has the same frequent words many times.
//! A thread needs about a tenth of a millisecond for a block of 256 words.

mod chunks;
mod negatives;
mod prediction;
mod shared;
mod worker;

use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::ensure;

use self::chunks::Queue;
use self::negatives::{NegativeTable, Subsampling};
use self::shared::SharedMatrix;
use self::worker::{SharedState, SharedSubwords, Worker};
use super::PretrainingTexts;
use crate::backend::kernel::Instructions;
use crate::config::{SubwordsConfig, VectorsConfig};
use crate::random::{named_seed, uniform};
use crate::system::threads::spawn_scoped;
use crate::text::{CharacterNgrams, FIRST_WORD, VocabularyNgrams, WordVectors};

/// Interval between reports of the progress.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// Settings for learning word vectors.
#[derive(Clone, Debug)]
pub struct VectorLearning<'a> {
    /// The method and its settings.
    pub settings: &'a VectorsConfig,
    /// Character n-grams of the words.
    pub subwords: &'a SubwordsConfig,
    /// Dimension of the vectors, E, at least 1.
    pub size: usize,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Number of threads, at least 1.
    pub threads: usize,
}

/// Progress of learning.
#[derive(Clone, Copy, Debug)]
pub struct VectorProgress {
    /// Current epoch, from 1.
    pub epoch: usize,
    /// Number of tokens that were learned from, in all epochs. Tokens outside the vocabulary do not count.
    pub tokens: u64,
    /// Number of tokens of all epochs.
    pub total: u64,
    /// Mean loss of the predictions in this epoch; NaN before the first one.
    pub loss: f64,
}

/// Learned word vectors.
#[derive(Clone, Debug)]
pub struct LearnedVectors {
    /// Vectors of the words that occur in the texts; `found` marks them. The other rows are 0. With character n-grams,
    /// they are means of their own and those of their n-grams.
    pub vectors: WordVectors,
    /// Vectors of the buckets of character n-grams, [buckets, E]; empty without these.
    pub subwords: Vec<f32>,
    /// Number of tokens of an epoch. Tokens outside the vocabulary do not count.
    pub tokens: u64,
    /// Mean loss of the predictions in the last epoch: −log σ(h · u) of the word, and −log σ(−h · u) summed over
    /// the words that it is compared with.
    pub loss: f64,
}

impl VectorLearning<'_> {
    /// Learns vectors for the words of the vocabulary that occur in the texts. Calls `report` several times per
    /// second and at the end. Returns `None` if it has asked to stop.
    ///
    /// # Errors
    /// Returns an error if no text has two words of the vocabulary, all texts together have a single one, the
    /// learning rate is too high for finite vectors, or a thread cannot be started.
    pub fn run(
        &self,
        texts: &PretrainingTexts,
        report: &mut dyn FnMut(VectorProgress) -> ControlFlow<()>,
    ) -> anyhow::Result<Option<LearnedVectors>> {
        let mut counts = texts.counts.clone();
        counts[..FIRST_WORD as usize].fill(0);
        check(texts, &counts)?;
        let tokens: u64 = counts.iter().sum();
        let Self { settings, subwords, size, seed, threads } = *self;
        let seed = named_seed(seed, "word vectors");
        let initial = |index| (uniform(seed, index as u64) - 0.5) / size as f32;
        let ngrams = CharacterNgrams::new(subwords);
        let ngrams = ngrams.map(|ngrams| VocabularyNgrams::new(ngrams, texts.encoder.vocabulary()));
        let first = counts.len() * size;
        let subwords = ngrams.map(|VocabularyNgrams { known, .. }| SharedSubwords {
            vectors: SharedMatrix::new(subwords.buckets, size, |index| initial(first + index)),
            buckets: known,
        });
        let shared = SharedState {
            corpora: &texts.train,
            settings,
            inputs: SharedMatrix::new(counts.len(), size, initial),
            subwords,
            outputs: SharedMatrix::new(counts.len(), size, |_| 0.0),
            negatives: NegativeTable::new(&counts),
            subsampling: Subsampling::new(&counts, settings.sample),
            queue: Queue::new(chunks::chunks(&texts.train), settings.epochs, seed),
            total: tokens * settings.epochs as u64,
            learned: AtomicU64::new(0),
        };
        let progress = || {
            let (epoch, loss) = shared.queue.epoch();
            let tokens = shared.learned.load(Ordering::Relaxed);
            VectorProgress { epoch, tokens, total: shared.total, loss }
        };
        run_threads(threads, &shared, &mut || {
            if report(progress()).is_break() {
                shared.queue.stop();
            }
        })?;
        if shared.queue.is_stopped() {
            return Ok(None);
        }
        let (vectors, loss) = (vectors_of(&shared, &counts, size), progress().loss);
        let buckets = shared.subwords.iter().flat_map(|subwords| subwords.vectors.rows());
        let subwords: Vec<f32> = buckets.flatten().collect();
        ensure!(
            vectors.values.iter().chain(&subwords).all(|value| value.is_finite()),
            "some vectors are not finite; lower pretrain.vectors.learning_rate, {}",
            settings.learning_rate()
        );
        Ok(Some(LearnedVectors { vectors, subwords, tokens, loss }))
    }
}

/// Checks that there is something to learn from. `counts` are those of the words, `[V]`.
fn check(texts: &PretrainingTexts, counts: &[u64]) -> anyhow::Result<()> {
    let words = counts.iter().filter(|count| **count > 0).count();
    ensure!(
        words > 1,
        "the texts have {words} of the words of the vocabulary, but vectors need 2 at least; name more texts, or \
         lower text.min_count"
    );
    let has_neighbours =
        |text: &[u32]| text.iter().filter(|id| **id >= FIRST_WORD).nth(1).is_some();
    ensure!(
        texts
            .train
            .iter()
            .any(|corpus| (0..corpus.len()).any(|text| has_neighbours(corpus.text(text)))),
        "each text has a single word of the vocabulary at most, but vectors are learned from neighbours; does the \
         file have a text per line?"
    );
    Ok(())
}

/// Runs workers until all are done, and calls `report` meanwhile and at the end.
fn run_threads(
    threads: usize,
    shared: &SharedState,
    report: &mut dyn FnMut(),
) -> anyhow::Result<()> {
    let instructions = Instructions::best();
    let reporter = thread::current();
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..threads {
            let reporter = &reporter;
            let work = move || {
                Worker::new(shared).run(instructions);
                reporter.unpark();
            };
            // The threads that have started end on an error.
            let started = spawn_scoped(scope, "word vectors", work);
            workers.push(started.inspect_err(|_| shared.queue.stop())?);
        }
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::park_timeout(REPORT_INTERVAL);
            report();
        }
        for worker in workers {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        Ok(())
    })
}

/// Returns the vectors of the words that occur in the texts.
fn vectors_of(shared: &SharedState, counts: &[u64], size: usize) -> WordVectors {
    let found: Vec<bool> = counts.iter().map(|count| *count > 0).collect();
    let mut values = vec![0.0; counts.len() * size];
    for (id, (row, found)) in (0..).zip(values.chunks_exact_mut(size).zip(&found)) {
        if *found {
            row.iter_mut().zip(shared.inputs.values(id)).for_each(|(to, from)| *to = from);
            let Some(SharedSubwords { vectors, buckets }) = &shared.subwords else { continue };
            let buckets = buckets.get(id as usize);
            for bucket in buckets {
                row.iter_mut().zip(vectors.values(*bucket)).for_each(|(to, from)| *to += from);
            }
            row.iter_mut().for_each(|value| *value /= (buckets.len() + 1) as f32);
        }
    }
    WordVectors { values, size, found, skipped: 0 }
}

#[cfg(test)]
mod tests;

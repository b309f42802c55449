//! A measurement of training:
//!
//! ```sh
//! cargo test --release -p lstmtext --lib -- --ignored --nocapture tokens_per_second
//! ```

use std::time::Instant;

use super::*;
use crate::random::uniform;

/// Vocabulary size.
const VOCABULARY: usize = 30_000;
const ROWS: usize = 64;
const STEPS: usize = 64;
/// Number of training steps after a few that warm up.
const REPETITIONS: usize = 30;

/// Returns batches of words with the frequencies of Zipf and Mandelbrot's law, and the counts of the words.
fn batches(count: u64) -> (Vec<LanguageModelBatch>, Vec<u64>) {
    let frequencies = (0..VOCABULARY).map(|rank| 1.0 / (rank as f64 + 2.7));
    let sums: Vec<f64> = frequencies
        .scan(0.0, |sum, frequency| {
            *sum += frequency;
            Some(*sum)
        })
        .collect();
    let total = sums[VOCABULARY - 1];
    let word = |seed: u64, index: u64| {
        let at = f64::from(uniform(seed, index)) * total;
        sums.partition_point(|sum| *sum <= at).min(VOCABULARY - 1) as u32
    };
    let batch = |seed: u64| {
        let ids = (0..(ROWS * (STEPS + 1)) as u64).map(|index| word(seed, index)).collect();
        LanguageModelBatch { ids: vec![ids], rows: ROWS }
    };
    let counts = (0..VOCABULARY).map(|rank| 1 + (1e7 / total / (rank as f64 + 2.7)) as u64);
    ((0..count).map(batch).collect(), counts.collect())
}

#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stderr, reason = "a measurement prints its result")]
fn tokens_per_second() {
    crate::system::threads::set_count(None).unwrap();
    let case = Case::with_sizes("layers: 1", 100, 256);
    let (batches, counts) = batches(8);
    let settings = LanguageModelSettings {
        rows: ROWS,
        negatives: 1000,
        counts,
        gradient_clip: Some(1.0),
        shards: 4,
        ..case.settings.clone()
    };
    let spec = LanguageModelSpec { vocabulary_size: VOCABULARY, ..case.spec() };
    let weights = spec.initial_weights(1);
    let mut learner = NativeLanguageModel::new(&spec, settings, weights).unwrap();
    let mut seconds = Vec::new();
    for (step, batch) in (0..REPETITIONS as u64 + 5).zip(batches.iter().cycle()) {
        let start = Instant::now();
        learner.step(batch, step, 1e-3, Group::ALONE).unwrap();
        seconds.push(start.elapsed().as_secs_f64());
    }
    let measured = &mut seconds[5..];
    measured.sort_by(f64::total_cmp);
    let rate = |seconds: f64| (ROWS * STEPS) as f64 / seconds;
    let (median, best) = (rate(measured[REPETITIONS / 2]), rate(measured[0]));
    eprintln!("{median:.0} tokens per second (median), {best:.0} (best)");
    let start = Instant::now();
    learner.score(&batches[0], true).unwrap();
    eprintln!("{:.0} scored tokens per second", rate(start.elapsed().as_secs_f64()));
}

//! The random words of a step that predictions are compared with. The softmax over them belongs to the backends.

use anyhow::ensure;

use crate::random::{absorb, mix, named_seed};

/// Exponent of the counts of words in the probabilities of drawing them (Mikolov et al. 2013).
const EXPONENT: f64 = 0.75;

/// Draws words with probabilities proportional to count^0.75, in constant time for each (Walker 1977, Vose 1991).
struct AliasTable {
    /// Words that can be drawn.
    words: Vec<u32>,
    /// For each of these words, the probability that a draw of its place means itself.
    own: Vec<f64>,
    /// For each of these words, the index of the one that a draw means otherwise.
    alias: Vec<u32>,
}

impl AliasTable {
    /// Creates the table of words with these weights.
    fn new(words: Vec<u32>, weights: &[f64]) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut own: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut alias: Vec<u32> = (0..words.len() as u32).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            alias.iter().partition(|index| own[**index as usize] < 1.0);
        while let (Some(donee), Some(donor)) = (small.pop(), large.last().copied()) {
            alias[donee as usize] = donor;
            own[donor as usize] -= 1.0 - own[donee as usize];
            if own[donor as usize] < 1.0 {
                large.pop();
                small.push(donor);
            }
        }
        // What is left differs from 1 by rounding only.
        small.iter().chain(&large).for_each(|index| own[*index as usize] = 1.0);
        Self { words, own, alias }
    }

    /// Returns the word of a random number.
    fn word(&self, random: u64) -> u32 {
        const HALF: u32 = u64::BITS / 2;
        let index = (((random >> HALF) * self.words.len() as u64) >> HALF) as usize;
        let is_own = f64::from(random as u32) < self.own[index] * 2.0_f64.powi(HALF as i32);
        self.words[if is_own { index } else { self.alias[index] as usize }]
    }
}

/// Draws the negatives of each step, the same words for all tokens.
pub struct NegativeSampler {
    table: AliasTable,
    seed: u64,
    /// Number of words that a step draws, N.
    count: usize,
    /// Logarithm of the probability that a step draws each word at least once, `[V]`.
    log_inclusion: Vec<f32>,
}

impl NegativeSampler {
    /// Creates the sampler of words with these counts, `[V]`, which draws `count` words in each step.
    ///
    /// # Errors
    /// Returns an error if no word has a count, or if there are to be no negatives.
    pub fn new(counts: &[u64], count: usize, seed: u64) -> anyhow::Result<Self> {
        ensure!(count > 0, "a language model needs at least one negative");
        let words: Vec<u32> =
            (0..).zip(counts).filter(|(_, count)| **count > 0).map(|(word, _)| word).collect();
        ensure!(!words.is_empty(), "a language model needs at least one word that occurs");
        // Words that never occur are not drawn, but may be targets.
        let weight = |count: &u64| (*count.max(&1) as f64).powf(EXPONENT);
        let weights: Vec<f64> = words.iter().map(|word| weight(&counts[*word as usize])).collect();
        let total: f64 = weights.iter().sum();
        let inclusion = |each: &u64| {
            // 1 − (1 − p)^N. A word that is the only one has p = 1.
            let missing = count as f64 * (-weight(each) / total).ln_1p();
            (-missing.exp_m1()).ln() as f32
        };
        let log_inclusion = counts.iter().map(inclusion).collect();
        Ok(Self {
            table: AliasTable::new(words, &weights),
            seed: named_seed(seed, "negatives"),
            count,
            log_inclusion,
        })
    }

    /// Returns the different words that a step draws, sorted.
    pub fn distinct(&self, step: u64) -> Vec<u32> {
        let seed = absorb(self.seed, [step]);
        let word = |index| self.table.word(mix(seed ^ mix(index)));
        let mut drawn: Vec<u32> = (0..self.count as u64).map(word).collect();
        drawn.sort_unstable();
        drawn.dedup();
        drawn
    }

    /// Returns the logarithm of the probability 1 − (1 − p)^N that a step draws a word at least once.
    pub fn log_inclusion(&self, word: u32) -> f32 {
        self.log_inclusion[word as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_drawn_in_proportion_to_their_probabilities() {
        let counts = [0, 1, 16, 0, 81, 10_000];
        let weights = [1.0, 8.0, 27.0, 1000.0];
        let negatives = NegativeSampler::new(&counts, 7, 1).unwrap();
        const DRAWS: u64 = 200_000;
        let mut drawn = [0.0; 6];
        for index in 0..DRAWS {
            drawn[negatives.table.word(mix(index)) as usize] += 1.0;
        }
        let total: f64 = weights.iter().sum();
        for (word, weight) in [1, 2, 4, 5].into_iter().zip(weights) {
            let expected = weight / total;
            let deviation = (expected * DRAWS as f64).sqrt();
            let actual: f64 = drawn[word as usize];
            assert!((actual - expected * DRAWS as f64).abs() < 4.0 * deviation, "{drawn:?}");
            let expected = (1.0 - (1.0 - expected).powi(7)).ln() as f32;
            assert!((negatives.log_inclusion(word) - expected).abs() < 1e-6);
        }
        assert_eq!((drawn[0], drawn[3]), (0.0, 0.0), "words without a count are not drawn");
        assert_eq!(
            negatives.log_inclusion(0),
            negatives.log_inclusion(1),
            "the count is at least 1"
        );
        let only = NegativeSampler::new(&[0, 3], 5, 1).unwrap();
        assert_eq!((only.log_inclusion(1), only.distinct(2)), (0.0, vec![1]));
    }

    #[test]
    fn negatives_need_words() {
        assert!(NegativeSampler::new(&[0, 0], 5, 1).is_err());
        assert!(NegativeSampler::new(&[1], 0, 1).is_err());
    }
}

//! The words that predictions are compared with, and the words that are skipped.

use crate::random::Sequence;

/// Power of the count in proportion to which negative words are drawn (Mikolov et al. 2013).
const POWER: f64 = 0.75;
/// 2^32, the number of values of a 32-bit draw.
const RANGE: f64 = (1_u64 << 32) as f64;

/// Draws words in proportion to count^0.75, each in constant time, by Walker's alias method (Vose 1991).
pub struct NegativeTable {
    /// One slot per id, `[V]`, each drawn equally often.
    slots: Vec<Slot>,
}

/// Two words that share a slot.
#[derive(Clone, Copy)]
struct Slot {
    /// Fraction of the draws that return the slot's own word, times 2^32.
    threshold: u32,
    /// Word that the other draws return.
    alias: u32,
}

impl NegativeTable {
    /// Creates the table from the count of each id, `[V]`. Ids with a count of 0 are never drawn; at least one
    /// count is positive.
    pub fn new(counts: &[u64]) -> Self {
        let weights: Vec<f64> = counts.iter().map(|count| (*count as f64).powf(POWER)).collect();
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let most = counts.iter().zip(0..).max().map_or(0, |(_, id)| id);
        // Probability that a slot returns its own word. Rounding leaves some slots unpaired at the end, which
        // share with the most frequent word.
        let mut own: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut aliases: Vec<u32> = vec![most; own.len()];
        let (mut light, mut heavy): (Vec<u32>, Vec<u32>) =
            (0..own.len() as u32).partition(|id| own[*id as usize] < 1.0);
        while let (Some(small), Some(large)) = (light.pop(), heavy.pop()) {
            aliases[small as usize] = large;
            let left = own[large as usize] - (1.0 - own[small as usize]);
            own[large as usize] = left;
            if left < 1.0 { light.push(large) } else { heavy.push(large) }
        }
        let slot = |(own, alias): (f64, u32)| Slot { threshold: (own * RANGE) as u32, alias };
        Self { slots: own.into_iter().zip(aliases).map(slot).collect() }
    }

    /// Draws a word.
    #[inline]
    pub fn draw(&self, random: &mut Sequence) -> u32 {
        let drawn = random.draw();
        let own = ((drawn >> 32) * self.slots.len() as u64) >> 32;
        let Slot { threshold, alias } = self.slots[own as usize];
        if (drawn as u32) < threshold { own as u32 } else { alias }
    }
}

/// Skips occurrences of frequent words at random (subsampling).
pub struct Subsampling {
    /// Fraction of the occurrences of each id that is kept, times 2^32; `u32::MAX` for all, `[V]`.
    thresholds: Vec<u32>,
}

impl Subsampling {
    /// Creates the subsampling of words with these counts, `[V]`. Of a word with frequency f, the fraction
    /// sqrt(sample / f) + sample / f is kept, as in word2vec; with a sample of 0, all are.
    pub fn new(counts: &[u64], sample: f64) -> Self {
        let total = counts.iter().sum::<u64>() as f64;
        let threshold = |count: &u64| {
            let ratio = sample * total / *count as f64;
            if sample > 0.0 { ((ratio.sqrt() + ratio) * RANGE) as u32 } else { u32::MAX }
        };
        Self { thresholds: counts.iter().map(threshold).collect() }
    }

    /// Returns true if an occurrence of a word is kept.
    #[inline]
    pub fn keeps(&self, id: u32, random: &mut Sequence) -> bool {
        let threshold = self.thresholds[id as usize];
        threshold == u32::MAX || (random.draw() as u32) < threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 400_000;

    #[test]
    fn negatives_are_drawn_in_proportion_to_a_power_of_their_counts() {
        for counts in [vec![0, 0, 0, 0, 1], vec![0, 1000, 100, 0, 10, 10, 1], vec![5; 7]] {
            let table = NegativeTable::new(&counts);
            let mut drawn = vec![0; counts.len()];
            let mut random = Sequence::new(1);
            (0..DRAWS).for_each(|_| drawn[table.draw(&mut random) as usize] += 1);
            let weights: Vec<f64> = counts.iter().map(|count| (*count as f64).powf(0.75)).collect();
            for (weight, count) in weights.iter().zip(&drawn) {
                let expected = weight / weights.iter().sum::<f64>() * DRAWS as f64;
                assert!((expected - f64::from(*count)).abs() <= 4.0 * expected.sqrt(), "{drawn:?}");
            }
        }
    }

    #[test]
    fn large_tables_have_exact_probabilities() {
        let counts: Vec<u64> = (0..5_000).map(|id| 1_000_000 / (id + 1)).collect();
        let table = NegativeTable::new(&counts);
        let mut probabilities = vec![0.0; counts.len()];
        for (own, slot) in table.slots.iter().enumerate() {
            let share = f64::from(slot.threshold) / RANGE;
            probabilities[own] += share;
            probabilities[slot.alias as usize] += 1.0 - share;
        }
        let weights: Vec<f64> = counts.iter().map(|count| (*count as f64).powf(0.75)).collect();
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        for (probability, weight) in probabilities.iter().zip(weights) {
            assert!((probability - weight / mean).abs() < 1e-5, "{probability}, {}", weight / mean);
        }
    }

    #[test]
    fn frequent_words_are_skipped_as_in_word2vec() {
        // Frequencies 0.9, 0.0999 and 0.0001.
        let counts = [9_000_000, 999_000, 1_000];
        let mut random = Sequence::new(2);
        let mut kept = |subsampling: &Subsampling, id: u32| {
            (0..DRAWS).filter(|_| subsampling.keeps(id, &mut random)).count() as f64 / DRAWS as f64
        };
        let subsampling = Subsampling::new(&counts, 1e-3);
        for (id, frequency) in [(0, 0.9_f64), (1, 0.0999)] {
            let expected = (1e-3 / frequency).sqrt() + 1e-3 / frequency;
            assert!((kept(&subsampling, id) - expected).abs() < 2e-3, "{id}");
        }
        assert_eq!(kept(&subsampling, 2), 1.0);
        assert_eq!(kept(&Subsampling::new(&counts, 0.0), 0), 1.0);
    }
}

//! Random directions from which virtual adversarial training starts, the same with both backends.

use crate::random::fingerprint;

/// A random sign for each component of each word vector: pure functions of seed and position, which do
/// not depend on the order of computation.
#[derive(Clone, Copy, Debug)]
pub struct RandomSigns {
    seed: u64,
}

impl RandomSigns {
    /// Number of components whose signs are drawn together.
    pub const BLOCK: usize = u64::BITS as usize;

    /// Returns the signs of this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Returns the signs of the components from [`RandomSigns::BLOCK`] · `block` on, one in each bit, of a
    /// word vector. `input` is the index of the input, `example` the position of the example in its
    /// batch, and `word` that of the word in its text.
    pub fn draw(&self, input: usize, example: u32, word: usize, block: usize) -> u64 {
        let position = [input as u64, u64::from(example), word as u64, block as u64];
        fingerprint(std::iter::once(self.seed).chain(position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_differ_between_positions_and_are_balanced() {
        let signs = RandomSigns::new(7);
        let draw = |i: usize| signs.draw(i % 2, (i / 2 % 5) as u32, i / 10 % 10, i / 100);
        let mut all: Vec<u64> = (0..1_000).map(draw).collect();
        let ones: u32 = all.iter().map(|bits| bits.count_ones()).sum();
        // 64,000 signs have a standard deviation of 126.
        assert!((ones as i32 - 32_000).abs() < 500, "{ones}");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1_000);
        assert_ne!(RandomSigns::new(8).draw(0, 0, 0, 0), signs.draw(0, 0, 0, 0));
    }
}

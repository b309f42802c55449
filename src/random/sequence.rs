//! A sequence of random numbers with a state, for loops that draw millions of them.

use super::{GAMMA, mix, unit_interval};

/// The sequence of SplitMix64 (Steele, Lea and Flood 2014) with a seed.
#[derive(Clone, Debug)]
pub struct Sequence {
    state: u64,
}

impl Sequence {
    /// Begins the sequence with this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns the next number, uniform over all 64 bits.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        let drawn = mix(self.state);
        self.state = self.state.wrapping_add(GAMMA);
        drawn
    }

    /// Returns a number in [0, 1), uniform over multiples of 2^-53.
    pub fn unit(&mut self) -> f64 {
        unit_interval(self.draw())
    }

    /// Returns an integer below `bound`, uniform up to a bias of bound / 2^32. `bound` is not 0.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        (((self.draw() >> 32) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_splitmix64() {
        // First outputs of the reference implementation (https://prng.di.unimi.it/splitmix64.c) with state 0.
        let mut sequence = Sequence::new(0);
        assert_eq!(sequence.draw(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(sequence.draw(), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn integers_below_a_bound_are_uniform() {
        let mut sequence = Sequence::new(7);
        let mut counts = [0; 5];
        (0..50_000).for_each(|_| counts[sequence.below(5) as usize] += 1);
        // The standard deviation of each count is 89.
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
    }
}

//! Dropout of the hidden states before the projection. Where it is applied belongs elsewhere.

use crate::random::{absorb, mix, named_seed};

/// Number of bits of a random number that decide about a unit.
const BITS: u32 = 16;

/// Dropout masks of one step, a pure function of the seed, the step, and the position of each unit.
pub struct StateDropout {
    seed: u64,
    /// A unit is dropped if its 16 random bits are below this number.
    threshold: u64,
}

impl StateDropout {
    /// Returns the masks of a step. The rate is rounded to a multiple of 1/65536.
    pub fn new(seed: u64, step: u64, rate: f64) -> Self {
        let seed = absorb(named_seed(seed, "dropout"), [step]);
        let most = f64::from((1_u32 << BITS) - 1);
        Self { seed, threshold: (rate * f64::from(1_u32 << BITS)).round().clamp(0.0, most) as u64 }
    }

    /// Returns true if any unit may be dropped.
    pub fn is_on(&self) -> bool {
        self.threshold > 0
    }

    /// Writes 0 or 1/(1 − rate) for each unit of the token at a row of the batch and a step of the row.
    pub fn mask(&self, direction: usize, row: usize, step: usize, mask: &mut [f32]) {
        const MASK: u64 = (1 << BITS) - 1;
        let kept = (1_u64 << BITS) as f32 / ((1 << BITS) - self.threshold) as f32;
        let token = absorb(self.seed, [direction as u64, row as u64, step as u64]);
        for (group, units) in (0..).zip(mask.chunks_mut((u64::BITS / BITS) as usize)) {
            let mut random = mix(token ^ group);
            for unit in units {
                *unit = if random & MASK < self.threshold { 0.0 } else { kept };
                random >>= BITS;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_keep_the_mean_and_differ_by_position() {
        let dropout = StateDropout::new(1, 2, 0.3);
        let mask = |dropout: &StateDropout, direction, row, step| {
            let mut mask = vec![0.0; 10_001];
            dropout.mask(direction, row, step, &mut mask);
            mask
        };
        let first = mask(&dropout, 0, 3, 4);
        let mean = first.iter().sum::<f32>() / first.len() as f32;
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
        let dropped = first.iter().filter(|value| **value == 0.0).count();
        assert!((2_800..3_200).contains(&dropped), "{dropped}");
        assert_eq!(first, mask(&StateDropout::new(1, 2, 0.3), 0, 3, 4));
        let others = [
            mask(&dropout, 1, 3, 4),
            mask(&dropout, 0, 4, 4),
            mask(&dropout, 0, 3, 5),
            mask(&StateDropout::new(1, 3, 0.3), 0, 3, 4),
            mask(&StateDropout::new(2, 2, 0.3), 0, 3, 4),
        ];
        assert!(others.iter().all(|other| *other != first));
        assert!(!StateDropout::new(1, 2, 0.0).is_on());
    }
}

//! Random numbers from explicit seeds: every purpose has its own seed, derived from `train.seed`.
//! Nothing here draws from a global generator, and only a [`Sequence`] keeps a state.

mod sequence;

pub use sequence::Sequence;

/// Purpose of a seed.
#[derive(Clone, Copy, Debug)]
pub enum SeedPurpose {
    /// Initial weights.
    Weights,
    /// Order of the examples in an epoch.
    Shuffle(usize),
    /// Dropout in a step.
    Dropout(u64),
    /// Vectors of the words that a word vector file lacks, for an input.
    WordVectors(usize),
    /// Order of the unlabelled texts, and dropout on them.
    Unlabelled,
    /// Choice of the texts that are held out from pre-training.
    HeldOut,
    /// Initial weights, order of the texts, negatives and dropout of a language model that is trained jointly with a classifier.
    LanguageModel,
}

/// Derives the seed for a purpose from the seed of a run. It depends on nothing else, so a resumed
/// run draws the same numbers as an uninterrupted one.
pub fn derive_seed(seed: u64, purpose: SeedPurpose) -> u64 {
    let (kind, number) = match purpose {
        SeedPurpose::Weights => (1, 0),
        SeedPurpose::Shuffle(epoch) => (2, epoch as u64),
        SeedPurpose::Dropout(step) => (3, step),
        SeedPurpose::WordVectors(input) => (4, input as u64),
        SeedPurpose::Unlabelled => (5, 0),
        SeedPurpose::HeldOut => (6, 0),
        SeedPurpose::LanguageModel => (7, 0),
    };
    absorb(mix(seed), [kind, number])
}

/// Hashes a sequence of numbers.
pub fn fingerprint(numbers: impl Iterator<Item = u64>) -> u64 {
    absorb(0, numbers)
}

/// Value `index` of the sequence with this seed, uniform in [0, 1).
pub fn uniform(seed: u64, index: u64) -> f32 {
    const BITS: u32 = 24;
    (mix(seed ^ mix(index)) >> (64 - BITS)) as f32 / (1 << BITS) as f32
}

/// Converts random bits to a number in [0, 1) with 53 bits.
pub fn unit_interval(bits: u64) -> f64 {
    const BITS: u32 = f64::MANTISSA_DIGITS;
    (bits >> (64 - BITS)) as f64 / (1_u64 << BITS) as f64
}

/// Derives a seed for something with a name, such as a tensor.
pub fn named_seed(seed: u64, name: &str) -> u64 {
    absorb(mix(seed), name.bytes().map(u64::from))
}

/// Value `index` of the sequence with this seed, normal with mean 0 and variance 1 (Box and Muller
/// 1958).
pub fn normal(seed: u64, index: u64) -> f64 {
    const BITS: u32 = 53;
    // In (0, 1], where the logarithm is finite.
    let unit = |number: u64| {
        ((mix(seed ^ mix(number)) >> (64 - BITS)) + 1) as f64 / (1_u64 << BITS) as f64
    };
    // Two normal values come from the same pair of uniform values.
    let (radius, angle) = (unit(index | 1), unit(index & !1));
    let radius = (-2.0 * radius.ln()).sqrt();
    let (sine, cosine) = (std::f64::consts::TAU * angle).sin_cos();
    radius * if index.is_multiple_of(2) { cosine } else { sine }
}

/// Mixes numbers into a state, one after another. From a state of 0, it is the [`fingerprint`] of the numbers.
pub fn absorb(state: u64, numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(state, |state, number| mix(state ^ number))
}

/// Increment of the state of SplitMix64, 2^64 divided by the golden ratio.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// One round of SplitMix64 (Steele, Lea and Flood 2014).
pub fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(GAMMA);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_have_distinct_seeds() {
        let mut seeds: Vec<u64> = (0..100)
            .flat_map(|i| {
                [
                    derive_seed(1, SeedPurpose::Shuffle(i)),
                    derive_seed(1, SeedPurpose::Dropout(i as u64)),
                    derive_seed(1, SeedPurpose::WordVectors(i)),
                    derive_seed(i as u64, SeedPurpose::Weights),
                    derive_seed(i as u64, SeedPurpose::Unlabelled),
                ]
            })
            .collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 500);
        assert_eq!(
            derive_seed(1, SeedPurpose::Shuffle(3)),
            derive_seed(1, SeedPurpose::Shuffle(3))
        );
    }

    #[test]
    fn the_mixer_is_splitmix64() {
        // First output of the reference implementation with state 0.
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
    }
}

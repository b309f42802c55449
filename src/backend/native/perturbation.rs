//! Adversarial perturbation of word vectors (Miyato, Dai and Goodfellow 2017).
//!
//! The perturbation of an example is the vector of norm ε that raises its loss most, to first order:
//! ε g / ‖g‖, where g is the gradient with respect to the word vectors of all of its tokens. Word vectors
//! that grow would make a perturbation of fixed size harmless. The paper therefore normalizes them,
//! v̄ = (v − μ) / σ, with mean μ and standard deviation σ of each dimension over the words, weighted by
//! their frequency. Here word vectors stay as they are, and only the perturbation is that of normalized
//! vectors: the gradient with respect to v̄ is σ g, and the perturbation of v is σ times that of v̄.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::backend::kernel::{AlignedVec, Instructions};

/// Number of word vectors whose sums a thread computes at a time.
const CHUNK: usize = 512;

/// Perturbations of a step, and the weight of the loss with them.
#[derive(Clone, Copy)]
pub struct Perturbation<'a> {
    /// Norm of the perturbation of an example, of normalized word vectors.
    pub epsilon: f64,
    /// Weight of the loss.
    pub weight: f64,
    /// Normalization of the word vectors.
    pub normalization: &'a Normalization,
}

/// Normalization of the word vectors of each input: the standard deviation of each dimension, `[E]` in whole
/// vectors.
pub struct Normalization(pub Vec<AlignedVec>);

impl Normalization {
    /// Returns the normalization of word vectors [V, E] of each input whose words have these frequencies.
    pub fn new<'a>(
        instructions: Instructions,
        inputs: impl Iterator<Item = (&'a [f32], &'a [f32])>,
    ) -> Self {
        let deviations =
            inputs.map(|(vectors, frequencies)| deviations(instructions, vectors, frequencies));
        Self(deviations.collect())
    }
}

/// Returns the factor that gives a vector with this square of its norm the norm `norm`; 0 for the zero
/// vector.
pub fn factor_to(norm: f64, square: f64) -> f32 {
    if square == 0.0 { 0.0 } else { (norm / square.sqrt()) as f32 }
}

/// Returns the standard deviation of each dimension of word vectors [V, E], weighted by frequency.
fn deviations(instructions: Instructions, vectors: &[f32], frequencies: &[f32]) -> AlignedVec {
    let size = vectors.len() / frequencies.len().max(1);
    let chunks = vectors.par_chunks(CHUNK * size).zip(frequencies.par_chunks(CHUNK));
    let sums = chunks.map(|(vectors, frequencies)| {
        let mut sums = vec![0.0; 2 * size];
        instructions.run(Moments { vectors, frequencies, sums: &mut sums });
        sums
    });
    let sums: Vec<Vec<f32>> = sums.collect();
    let sum = |index: usize| sums.iter().map(|sums| f64::from(sums[index])).sum::<f64>();
    let mut deviations = AlignedVec::default();
    deviations.resize_zeroed(size.next_multiple_of(instructions.lanes()));
    for (dimension, deviation) in deviations[..size].iter_mut().enumerate() {
        let (mean, square) = (sum(dimension), sum(size + dimension));
        *deviation = (square - mean * mean).max(0.0).sqrt() as f32;
    }
    deviations
}

/// Adds up frequency times value, and frequency times square, of each dimension: [2, E].
struct Moments<'a> {
    vectors: &'a [f32],
    frequencies: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Moments<'_> {
    type Output = ();

    /// The compiler vectorizes these plain loops inside [`WithSimd`].
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { vectors, frequencies, sums } = self;
        let size = sums.len() / 2;
        let (means, squares) = sums.split_at_mut(size);
        for (vector, frequency) in vectors.chunks_exact(size).zip(frequencies) {
            for ((mean, square), value) in means.iter_mut().zip(&mut *squares).zip(vector) {
                *mean += frequency * value;
                *square += frequency * value * value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words differ in frequency, and there are several chunks.
    #[test]
    fn deviations_are_weighted_by_frequency() {
        let (size, words) = (3, 2 * CHUNK + 7);
        let value =
            |index: usize| ((index * 7919 % 1013) as f32 / 500.0 - 0.7) * (index % size) as f32;
        let vectors: Vec<f32> = (0..words * size).map(value).collect();
        let counts: Vec<f32> = (0..words).map(|word| (words / (word + 1)) as f32).collect();
        let total: f32 = counts.iter().sum();
        let frequencies: Vec<f32> = counts.iter().map(|count| count / total).collect();
        for instructions in Instructions::available() {
            let deviations = deviations(instructions, &vectors, &frequencies);
            assert_eq!(deviations.len() % instructions.lanes(), 0);
            assert_eq!(deviations[0], 0.0, "all values of this dimension are equal");
            for dimension in 1..size {
                let moment = |power: i32, mean: f64| -> f64 {
                    let values = vectors.iter().skip(dimension).step_by(size).zip(&frequencies);
                    let terms =
                        values.map(|(v, f)| f64::from(*f) * (f64::from(*v) - mean).powi(power));
                    terms.sum()
                };
                let expected = moment(2, moment(1, 0.0)).sqrt();
                let actual = f64::from(deviations[dimension]);
                let error = actual / expected - 1.0;
                assert!(error.abs() < 1e-4, "{instructions}: {actual}, not {expected}");
            }
            assert!(deviations[size..].iter().all(|deviation| *deviation == 0.0));
        }
    }

    #[test]
    fn an_example_without_gradient_is_not_perturbed() {
        assert_eq!((factor_to(2.0, 0.0), factor_to(2.0, 16.0)), (0.0, 0.5));
    }
}

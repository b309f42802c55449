//! The register tile of integer products.

use pulp::Simd;

use super::super::cell::GATES;

/// Largest magnitude of a quantized value.
pub const LIMIT: f32 = 127.0;

/// Instructions that multiply integers and add the products up in 32 bits.
pub trait IntegerProduct: Copy {
    /// Instructions for floats, with as many lanes.
    type Simd: Simd;
    /// A 32-bit integer, or a float that is one, for each lane.
    type Vector: Copy;

    /// Number of activations in a 32-bit word: bytes, 16-bit integers or a float.
    const GROUP: usize;
    /// Value that is added to each activation.
    const OFFSET: i32;

    /// Returns the instructions for floats.
    fn simd(self) -> Self::Simd;

    /// Returns zeros.
    fn zero(self) -> Self::Vector;

    /// Loads a vector from `values`.
    ///
    /// # Safety
    /// `values` must point to a whole vector.
    unsafe fn load(self, values: *const i32) -> Self::Vector;

    /// Adds to each lane of `sums` the products of the activations in a word with the weights in the lane of
    /// `weights`.
    fn multiply_add(
        self,
        sums: Self::Vector,
        activations: i32,
        weights: Self::Vector,
    ) -> Self::Vector;

    /// Converts integers to floats.
    fn to_floats(self, sums: Self::Vector) -> <Self::Simd as Simd>::f32s;

    /// Rounds floats to integers, the nearest or the even one, and writes them as activations.
    ///
    /// # Safety
    /// `activations` must have room for the activations of a whole vector.
    unsafe fn round(self, values: <Self::Simd as Simd>::f32s, activations: *mut i32);
}

/// Number of lanes.
pub const fn lanes<P: IntegerProduct>() -> usize {
    <P::Simd as Simd>::F32_LANES
}

/// Packed activations of several rows.
#[derive(Clone, Copy)]
pub struct Activations<'a> {
    /// [rows, `row_stride`].
    pub words: &'a [i32],
    /// Number of words from one row to the next.
    pub row_stride: usize,
}

/// Packed weights of the four gates of a vector of units.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// [words of a row, i f g o, lanes].
    pub words: &'a [i32],
    /// Initial values of the sums, [i f g o, lanes].
    pub offsets: &'a [i32],
}

/// Returns the products of M rows of activations, from `row` on, with the weights of four gates.
#[inline(always)]
pub fn multiply<P: IntegerProduct, const M: usize>(
    product: P,
    activations: Activations,
    row: usize,
    weights: Weights,
) -> [[P::Vector; GATES]; M] {
    let lanes = lanes::<P>();
    let words = weights.words.len() / (GATES * lanes);
    let Activations { words: activations, row_stride } = activations;
    assert!(words <= row_stride && activations.len() >= (row + M) * row_stride);
    assert!(weights.offsets.len() == GATES * lanes);
    let mut sums = [[product.zero(); GATES]; M];
    for gate in 0..GATES {
        // SAFETY: `offsets` has a vector for each gate.
        let offset = unsafe { product.load(weights.offsets.as_ptr().add(gate * lanes)) };
        for row in &mut sums {
            row[gate] = offset;
        }
    }
    let mut packed = weights.words.as_ptr();
    // SAFETY: The rows from `row` on are within `activations`, as asserted above.
    let first = unsafe { activations.as_ptr().add(row * row_stride) };
    for word in 0..words {
        // SAFETY: `weights` has four vectors for each word, and a row has at least as many words.
        unsafe {
            let vectors: [P::Vector; GATES] =
                std::array::from_fn(|gate| product.load(packed.add(gate * lanes)));
            for m in 0..M {
                let activation = *first.add(m * row_stride + word);
                for gate in 0..GATES {
                    sums[m][gate] = product.multiply_add(sums[m][gate], activation, vectors[gate]);
                }
            }
            packed = packed.add(GATES * lanes);
        }
    }
    sums
}

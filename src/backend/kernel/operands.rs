//! The formats of the operands of matrix products: single precision, or bf16. Sums are always in single precision.

use pulp::Simd;

use super::aligned_vec::AlignedVec;
use super::buffer::Buffer;

/// Format of the operands of a product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OperandFormat {
    /// Single precision.
    #[default]
    Float,
    /// Single precision, but rounded to the 8 significant bits of bf16: for processors without instructions for it.
    RoundedFloat,
    /// bf16: a 32-bit word has those of two successive terms of the sum.
    Bf16Pairs,
}

impl OperandFormat {
    /// Number of 32-bit words of `terms` successive terms of a sum.
    pub fn words(self, terms: usize) -> usize {
        match self {
            Self::Float | Self::RoundedFloat => terms,
            Self::Bf16Pairs => terms.div_ceil(2),
        }
    }

    /// Fills the right operand of a product: blocks of [`terms` in words, width] with these widths. `fill` writes them in
    /// single precision, [terms, width], and need not write padding, which is zero.
    pub fn pack(
        self,
        packed: &mut [f32],
        terms: usize,
        widths: impl Iterator<Item = usize> + Clone,
        fill: impl FnOnce(&mut [f32]),
    ) {
        if self == Self::Float {
            return fill(packed);
        }
        let mut floats = Buffer::take();
        floats.resize_zeroed(terms * widths.clone().sum::<usize>());
        fill(&mut floats);
        let (mut floats, mut packed) = (&floats[..], packed);
        for width in widths {
            let (block, other_floats) = floats.split_at(terms * width);
            let (to, others) = packed.split_at_mut(self.words(terms) * width);
            self.convert_block(block, width, to);
            (floats, packed) = (other_floats, others);
        }
    }

    /// Converts a matrix [terms, width] in single precision to [words, width].
    fn convert_block(self, matrix: &[f32], width: usize, packed: &mut [f32]) {
        match self {
            Self::Float => packed.copy_from_slice(matrix),
            Self::RoundedFloat => round_all(matrix, packed),
            Self::Bf16Pairs => {
                for (rows, packed) in matrix.chunks(2 * width).zip(packed.chunks_exact_mut(width)) {
                    let (first, second) = rows.split_at(width);
                    let pairs = packed.iter_mut().zip(first).enumerate();
                    pairs.for_each(|(at, (word, first))| {
                        let second = second.get(at).copied().unwrap_or(0.0);
                        *word = pair(*first, second);
                    });
                }
            }
        }
    }
}

/// Returns the nearest bf16 in the upper 16 bits of a word; of two, that with an even last bit. NaN stays NaN.
#[inline(always)]
fn rounded_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let bits = if value.is_nan() { bits | 0x40_0000 } else { rounded };
    bits & 0xffff_0000
}

/// Returns the nearest bf16 in single precision.
#[cfg(test)]
pub fn rounded(value: f32) -> f32 {
    f32::from_bits(rounded_bits(value))
}

/// Returns the word of two bf16.
#[inline(always)]
fn pair(first: f32, second: f32) -> f32 {
    f32::from_bits(rounded_bits(first) >> 16 | rounded_bits(second))
}

/// Rounds values to bf16.
pub fn round_all(values: &[f32], rounded: &mut [f32]) {
    let pairs = rounded.iter_mut().zip(values);
    pairs.for_each(|(to, from)| *to = f32::from_bits(rounded_bits(*from)));
}

/// Rows of an operand in single precision.
#[derive(Clone, Copy)]
pub struct OperandRows<'a> {
    /// Row r starts at `values[r * stride]`.
    pub values: &'a [f32],
    /// Distance between rows.
    pub stride: usize,
    /// Number of rows.
    pub count: usize,
    /// Number of values of a row.
    pub width: usize,
}

impl<'a> OperandRows<'a> {
    /// Returns the left operand whose terms are the values of a row, and the distance between its rows in words. `words`
    /// has the rows that must be converted.
    #[inline(always)]
    pub fn left<S: Simd>(
        self,
        products: impl Products<S>,
        words: &'a mut AlignedVec,
    ) -> (&'a [f32], usize) {
        if !products.converts() {
            return (self.values, self.stride);
        }
        let stride = products.words(self.width);
        products.convert_rows(self, words);
        (words, stride)
    }
}

/// Instructions that multiply and add operands of a format, in words of 32 bits.
pub trait Products<S: Simd>: Copy {
    /// Number of terms of a sum in a word.
    const GROUP: usize;

    /// Number of words of `terms` terms of a sum.
    #[inline(always)]
    fn words(self, terms: usize) -> usize {
        terms.div_ceil(Self::GROUP)
    }

    /// Returns true if left operands in single precision must be converted.
    fn converts(self) -> bool;

    /// Returns `sum` plus the products of the terms in a word, which stands in all lanes of `factor`, with those in
    /// each lane of `vector`.
    fn add(self, simd: S, factor: S::f32s, vector: S::f32s, sum: S::f32s) -> S::f32s;

    /// Converts the rows of a left operand whose terms are the values of a row, to [count, words].
    fn convert_rows(self, rows: OperandRows, words: &mut AlignedVec);

    /// Converts the rows of an operand whose terms are the rows, to [words, width].
    fn convert_terms(self, rows: OperandRows, words: &mut AlignedVec);
}

/// An operation that is compiled for each set of instructions and each format of operands.
pub trait ProductOperation {
    /// Returns the format of the operands that are packed.
    fn format(&self) -> OperandFormat;

    /// Runs the operation.
    fn compute<S: Simd, P: Products<S>>(self, simd: S, products: P);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_even() {
        for (value, expected) in [
            (1.0, 1.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
            (1.0 + 1.01 / 256.0, 1.0 + 2.0 / 256.0),
            (-0.0, -0.0),
            (f32::INFINITY, f32::INFINITY),
            (f32::MAX, f32::INFINITY),
        ] {
            let rounded = f32::from_bits(rounded_bits(value));
            assert_eq!(rounded.to_bits(), f32::to_bits(expected), "{value}");
        }
        for bits in [0x7fff_ffff, 0x7f80_0001, 0xffff_ffff] {
            assert!(f32::from_bits(rounded_bits(f32::from_bits(bits))).is_nan(), "{bits:x}");
        }
    }
}

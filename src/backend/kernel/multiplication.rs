//! The instructions that multiply the operands of each format.

use pulp::{Simd, WithSimd};

use super::aligned_vec::AlignedVec;
use super::instructions::{Instructions, mul_add};
use super::operands::{OperandFormat, OperandRows, ProductOperation, Products, round_all};

impl OperandFormat {
    /// Returns the form of bf16 that this processor multiplies fastest with these instructions.
    pub fn bf16(instructions: Instructions) -> Self {
        match instructions.multiply_pairs() && pairs_are_fast() {
            true => Self::Bf16Pairs,
            false => Self::RoundedFloat,
        }
    }
}

/// Returns true if this processor multiplies pairs of bf16 faster than floats: AMD's do. Intel's start half as many
/// products of pairs as of floats in a cycle (up to Emerald Rapids, without AMX), so that packing is not worth it.
fn pairs_are_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let vendor = std::arch::x86_64::__cpuid(0);
        [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// An operation in single precision.
struct InFloats<Operation> {
    operation: Operation,
    products: Floats,
}

impl<Operation: ProductOperation> WithSimd for InFloats<Operation> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.operation.compute(simd, self.products);
    }
}

impl Instructions {
    /// Returns true if this processor multiplies pairs of bf16.
    pub(super) fn multiply_pairs(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => Pairs::new(simd).is_some(),
            _ => false,
        }
    }

    /// Runs an operation with this instruction set and the format of its operands.
    ///
    /// # Panics
    /// Panics if its operands are packed for another processor.
    #[inline(always)]
    pub fn multiply(self, operation: impl ProductOperation) {
        let rounds = match operation.format() {
            OperandFormat::Float => false,
            OperandFormat::RoundedFloat => true,
            OperandFormat::Bf16Pairs => match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512(simd) => {
                    #[expect(
                        clippy::expect_used,
                        reason = "the operands were packed on this processor"
                    )]
                    let pairs = Pairs::new(simd).expect("a processor with AVX-512 BF16");
                    return pairs.vectorize(simd, operation);
                }
                #[expect(clippy::panic, reason = "the operands were packed on this processor")]
                _ => panic!("{self} does not multiply pairs of bf16"),
            },
        };
        self.run(InFloats { operation, products: Floats { rounds } });
    }
}

/// Products in single precision.
#[derive(Clone, Copy)]
pub struct Floats {
    /// Left operands are rounded to bf16.
    pub rounds: bool,
}

impl<S: Simd> Products<S> for Floats {
    const GROUP: usize = 1;

    #[inline(always)]
    fn converts(self) -> bool {
        self.rounds
    }

    #[inline(always)]
    fn add(self, simd: S, factor: S::f32s, vector: S::f32s, sum: S::f32s) -> S::f32s {
        mul_add(simd, factor, vector, sum)
    }

    #[inline(always)]
    fn convert_rows(
        self,
        OperandRows { values, stride, count, width }: OperandRows,
        words: &mut AlignedVec,
    ) {
        words.resize(count * width);
        for row in 0..count {
            round_all(&values[row * stride..][..width], &mut words[row * width..][..width]);
        }
    }

    #[inline(always)]
    fn convert_terms(self, rows: OperandRows, words: &mut AlignedVec) {
        Products::<S>::convert_rows(self, rows, words);
    }
}

#[cfg(target_arch = "x86_64")]
use x86::Pairs;

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! Products of bf16 with AVX-512.

    use std::arch::x86_64::*;
    use std::mem::transmute;

    use pulp::x86::V4;

    use super::{OperandRows, ProductOperation, Products};
    use crate::backend::kernel::aligned_vec::AlignedVec;

    /// Number of floats in a vector.
    const LANES: usize = 16;

    /// Products of pairs of bf16. Exists only on processors with AVX-512 BF16.
    #[derive(Clone, Copy)]
    pub struct Pairs(());

    impl Pairs {
        /// Returns the instructions if this processor has them besides those of [`V4`].
        pub fn new(_: V4) -> Option<Self> {
            is_x86_feature_detected!("avx512bf16").then_some(Self(()))
        }

        /// Runs an operation that is compiled for these instructions.
        pub fn vectorize(self, simd: V4, operation: impl ProductOperation) {
            /// Has the features of [`V4`], and BF16.
            #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,fxsr")]
            fn run(simd: V4, pairs: Pairs, operation: impl ProductOperation) {
                operation.compute(simd, pairs);
            }
            // SAFETY: `simd` and `self` exist only on processors with all of these features.
            unsafe { run(simd, self, operation) }
        }
    }

    /// Mask of the first `count` lanes.
    #[inline(always)]
    fn mask(count: usize) -> __mmask16 {
        if count >= LANES { !0 } else { (1 << count) - 1 }
    }

    impl Products<V4> for Pairs {
        const GROUP: usize = 2;

        #[inline(always)]
        fn converts(self) -> bool {
            true
        }

        #[inline(always)]
        fn add(
            self,
            _: V4,
            factor: pulp::f32x16,
            vector: pulp::f32x16,
            sum: pulp::f32x16,
        ) -> pulp::f32x16 {
            // SAFETY: `self` exists only on processors with this instruction. All types are 64 bytes of any bits.
            unsafe {
                let pairs = |words| transmute::<pulp::f32x16, __m512bh>(words);
                let sum = transmute::<pulp::f32x16, __m512>(sum);
                let sum = _mm512_dpbf16_ps(sum, pairs(factor), pairs(vector));
                transmute::<__m512, pulp::f32x16>(sum)
            }
        }

        #[inline(always)]
        fn convert_rows(
            self,
            OperandRows { values, stride, count, width }: OperandRows,
            words: &mut AlignedVec,
        ) {
            let width_in_words = width.div_ceil(2);
            words.resize(count * width_in_words);
            for row in 0..count {
                let from = &values[row * stride..][..width];
                let to = &mut words[row * width_in_words..][..width_in_words];
                for at in (0..width).step_by(2 * LANES) {
                    let rest = width - at;
                    // SAFETY: As above. The masks end with the row, in values and in words.
                    unsafe {
                        let from = from.as_ptr().add(at);
                        let low = _mm512_maskz_loadu_ps(mask(rest), from);
                        let high_mask = mask(rest.saturating_sub(LANES));
                        let high = _mm512_maskz_loadu_ps(high_mask, from.wrapping_add(LANES));
                        let pairs = _mm512_cvtne2ps_pbh(high, low);
                        let to = to.as_mut_ptr().add(at / 2);
                        let to_mask = mask(rest.div_ceil(2));
                        let pairs = transmute::<__m512bh, __m512i>(pairs);
                        _mm512_mask_storeu_epi32(to.cast(), to_mask, pairs);
                    }
                }
            }
        }

        #[inline(always)]
        fn convert_terms(
            self,
            OperandRows { values, stride, count, width }: OperandRows,
            words: &mut AlignedVec,
        ) {
            words.resize(count.div_ceil(2) * width);
            for (pair, to) in words.chunks_exact_mut(width.max(1)).enumerate() {
                let first = &values[2 * pair * stride..][..width];
                let has_second = 2 * pair + 1 < count;
                let second =
                    if has_second { &values[(2 * pair + 1) * stride..][..width] } else { first };
                for at in (0..width).step_by(LANES) {
                    let lanes = mask(width - at);
                    // SAFETY: As above. The mask ends with the rows.
                    unsafe {
                        let convert = |row: &[f32], lanes| {
                            let values = _mm512_maskz_loadu_ps(lanes, row.as_ptr().add(at));
                            let halves = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values));
                            _mm512_cvtepu16_epi32(halves)
                        };
                        let low = convert(first, lanes);
                        let high = convert(second, if has_second { lanes } else { 0 });
                        let pairs = _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
                        _mm512_mask_storeu_epi32(to.as_mut_ptr().add(at).cast(), lanes, pairs);
                    }
                }
            }
        }
    }
}

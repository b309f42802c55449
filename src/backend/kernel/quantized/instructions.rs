//! The instructions for integer products, chosen at run time.

use std::fmt;

use pulp::{Scalar128b, Simd, WithSimd};

use super::super::instructions::{Instructions, mul_add};
use super::super::product::{load, store};
use super::product::IntegerProduct;

/// An operation that is compiled for each set of instructions.
pub trait IntegerOperation {
    /// Runs the operation.
    fn run<P: IntegerProduct>(self, product: P);
}

/// A set of instructions for integer products that this processor supports.
#[derive(Clone, Copy)]
pub enum IntegerInstructions {
    /// AVX-512 VNNI.
    #[cfg(target_arch = "x86_64")]
    Vnni(x86::Vnni),
    /// AVX-512 without VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512(x86::Avx512),
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    /// NEON, with integers as floats.
    #[cfg(target_arch = "aarch64")]
    Neon(Floats<pulp::aarch64::Neon>),
    /// Plain loops, with integers as floats.
    Portable(Floats<Scalar128b>),
}

impl IntegerInstructions {
    /// Returns the fastest instructions with as many lanes as those for floats.
    pub fn beside(instructions: Instructions) -> Self {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512(simd) => match x86::Vnni::new(simd) {
                Some(vnni) => Self::Vnni(vnni),
                None => Self::Avx512(x86::Avx512::new(simd)),
            },
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2(simd) => Self::Avx2(x86::Avx2(simd)),
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon(simd) => Self::Neon(Floats(simd)),
            Instructions::Portable => Self::Portable(Floats(Scalar128b)),
        }
    }

    /// Returns all instructions that this processor supports, each with those for floats beside it.
    #[cfg(test)]
    pub fn available() -> Vec<(Instructions, Self)> {
        let mut available = Vec::new();
        for instructions in Instructions::available() {
            available.push((instructions, Self::beside(instructions)));
            #[cfg(target_arch = "x86_64")]
            if let (Instructions::Avx512(simd), Self::Vnni(_)) =
                (instructions, Self::beside(instructions))
            {
                available.push((instructions, Self::Avx512(x86::Avx512::new(simd))));
            }
        }
        available
    }

    /// Number of activations in a 32-bit word.
    pub fn group(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(_) => x86::Vnni::GROUP,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => x86::Avx512::GROUP,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => x86::Avx2::GROUP,
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => Floats::<pulp::aarch64::Neon>::GROUP,
            Self::Portable(_) => Floats::<Scalar128b>::GROUP,
        }
    }

    /// Value that is added to each activation.
    pub fn offset(self) -> i32 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(_) => x86::Vnni::OFFSET,
            _ => 0,
        }
    }

    /// Packs quantized values as activations. Fills up the last words of the row `activations` with zeros.
    pub fn pack(self, values: &[i8], activations: &mut [i32]) {
        match self.group() {
            4 => {
                // The offset of 128 flips the highest bit.
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(activations);
                let (bytes, rest) = bytes.split_at_mut(values.len());
                for (byte, value) in bytes.iter_mut().zip(values) {
                    *byte = value.cast_unsigned() ^ 0x80;
                }
                rest.fill(0x80);
            }
            2 => {
                let integers: &mut [i16] = bytemuck::cast_slice_mut(activations);
                let (integers, rest) = integers.split_at_mut(values.len());
                for (integer, value) in integers.iter_mut().zip(values) {
                    *integer = i16::from(*value);
                }
                rest.fill(0);
            }
            _ => {
                let floats: &mut [f32] = bytemuck::cast_slice_mut(activations);
                let (floats, rest) = floats.split_at_mut(values.len());
                for (float, value) in floats.iter_mut().zip(values) {
                    *float = f32::from(*value);
                }
                rest.fill(0.0);
            }
        }
    }

    /// Runs an operation with these instructions.
    pub fn run(self, operation: impl IntegerOperation) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(product) => product.vectorize(operation),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(product) => product.vectorize(operation),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(product) => Simd::vectorize(product.0, With { operation, product }),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(product) => Simd::vectorize(product.0, With { operation, product }),
            Self::Portable(product) => Simd::vectorize(product.0, With { operation, product }),
        }
    }
}

impl fmt::Debug for IntegerInstructions {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(_) => "AVX-512 VNNI",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "AVX2",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "NEON",
            Self::Portable(_) => "portable",
        })
    }
}

/// An operation with the instructions for its integer products.
struct With<Operation, Product> {
    operation: Operation,
    product: Product,
}

impl<Operation: IntegerOperation, Product: IntegerProduct> WithSimd for With<Operation, Product> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.operation.run(self.product);
    }
}

/// The instructions for floats, which are exact for integers below 2^24.
#[derive(Clone, Copy)]
pub struct Floats<S>(S);

/// Adding and subtracting this number rounds a float to the nearest integer, or to the even one: it leaves no bits for
/// fractions.
const ROUNDING: f32 = 12_582_912.0;

impl<S: Simd> IntegerProduct for Floats<S> {
    type Simd = S;
    type Vector = S::f32s;

    const GROUP: usize = 1;
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }

    #[inline(always)]
    fn zero(self) -> S::f32s {
        self.0.splat_f32s(0.0)
    }

    #[inline(always)]
    unsafe fn load(self, values: *const i32) -> S::f32s {
        // SAFETY: The caller guarantees a whole vector.
        unsafe { load::<S>(values.cast(), 0) }
    }

    #[inline(always)]
    fn multiply_add(self, sums: S::f32s, activations: i32, weights: S::f32s) -> S::f32s {
        let activation = f32::from_bits(activations.cast_unsigned());
        mul_add(self.0, self.0.splat_f32s(activation), weights, sums)
    }

    #[inline(always)]
    fn to_floats(self, sums: S::f32s) -> S::f32s {
        sums
    }

    #[inline(always)]
    unsafe fn round(self, values: S::f32s, activations: *mut i32) {
        let rounding = self.0.splat_f32s(ROUNDING);
        let rounded = self.0.sub_f32s(self.0.add_f32s(values, rounding), rounding);
        // SAFETY: The caller guarantees room for the activations of a vector.
        unsafe { store::<S>(activations.cast(), 0, rounded) };
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    //! Instructions of x86-64 processors.

    use std::arch::x86_64::*;
    use std::mem::transmute;

    use pulp::Simd;
    use pulp::x86::{V3, V4};

    use super::{IntegerOperation, IntegerProduct, With};

    /// AVX-512, with or without VNNI; with it, exists only on processors that support it.
    #[derive(Clone, Copy)]
    pub struct Zmm<const VNNI: bool>(V4);

    /// AVX-512 VNNI.
    pub type Vnni = Zmm<true>;

    /// AVX-512 without VNNI.
    pub type Avx512 = Zmm<false>;

    /// AVX2.
    #[derive(Clone, Copy)]
    pub struct Avx2(pub V3);

    impl Avx512 {
        /// Returns the instructions without VNNI.
        pub fn new(simd: V4) -> Self {
            Self(simd)
        }

        /// Runs an operation that is compiled for these instructions.
        pub fn vectorize(self, operation: impl IntegerOperation) {
            Simd::vectorize(self.0, With { operation, product: self });
        }
    }

    impl Vnni {
        /// Returns the instructions if this processor supports VNNI.
        pub fn new(simd: V4) -> Option<Self> {
            is_x86_feature_detected!("avx512vnni").then_some(Self(simd))
        }

        /// Runs an operation that is compiled for these instructions.
        pub fn vectorize(self, operation: impl IntegerOperation) {
            /// Has the features of [`V4`], and VNNI.
            #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni")]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,fxsr")]
            fn run(product: Vnni, operation: impl IntegerOperation) {
                operation.run(product);
            }
            // SAFETY: `self` exists only on processors with VNNI and all features of `V4`.
            unsafe { run(self, operation) }
        }
    }

    impl<const VNNI: bool> IntegerProduct for Zmm<VNNI> {
        type Simd = V4;
        type Vector = __m512i;

        const GROUP: usize = if VNNI { 4 } else { 2 };
        const OFFSET: i32 = if VNNI { 128 } else { 0 };

        #[inline(always)]
        fn simd(self) -> V4 {
            self.0
        }

        #[inline(always)]
        fn zero(self) -> __m512i {
            // SAFETY: `V4` exists only on processors with AVX-512.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn load(self, values: *const i32) -> __m512i {
            // SAFETY: As above; the caller guarantees a whole vector.
            unsafe { _mm512_loadu_si512(values.cast()) }
        }

        #[inline(always)]
        fn multiply_add(self, sums: __m512i, activations: i32, weights: __m512i) -> __m512i {
            // SAFETY: As above, with F and BW; `Vnni` exists only on processors with VNNI.
            unsafe {
                let activations = _mm512_set1_epi32(activations);
                match VNNI {
                    true => _mm512_dpbusd_epi32(sums, activations, weights),
                    false => _mm512_add_epi32(sums, _mm512_madd_epi16(activations, weights)),
                }
            }
        }

        #[inline(always)]
        fn to_floats(self, sums: __m512i) -> pulp::f32x16 {
            // SAFETY: As above; both types are 16 floats.
            unsafe { transmute::<__m512, pulp::f32x16>(_mm512_cvtepi32_ps(sums)) }
        }

        #[inline(always)]
        unsafe fn round(self, values: pulp::f32x16, activations: *mut i32) {
            // SAFETY: As above; the caller guarantees room for the activations of a vector: 16 or 32 bytes.
            unsafe {
                let integers = _mm512_cvtps_epi32(transmute::<pulp::f32x16, __m512>(values));
                match VNNI {
                    true => {
                        let bytes = _mm512_cvtsepi32_epi8(integers);
                        let unsigned = _mm_xor_si128(bytes, _mm_set1_epi8(i8::MIN));
                        _mm_storeu_si128(activations.cast(), unsigned);
                    }
                    false => {
                        let integers = _mm512_cvtsepi32_epi16(integers);
                        _mm256_storeu_si256(activations.cast(), integers);
                    }
                }
            }
        }
    }

    impl IntegerProduct for Avx2 {
        type Simd = V3;
        type Vector = __m256i;

        const GROUP: usize = 2;
        const OFFSET: i32 = 0;

        #[inline(always)]
        fn simd(self) -> V3 {
            self.0
        }

        #[inline(always)]
        fn zero(self) -> __m256i {
            // SAFETY: `V3` exists only on processors with AVX2.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        unsafe fn load(self, values: *const i32) -> __m256i {
            // SAFETY: As above; the caller guarantees a whole vector.
            unsafe { _mm256_loadu_si256(values.cast()) }
        }

        #[inline(always)]
        fn multiply_add(self, sums: __m256i, activations: i32, weights: __m256i) -> __m256i {
            // SAFETY: As above.
            unsafe {
                let products = _mm256_madd_epi16(_mm256_set1_epi32(activations), weights);
                _mm256_add_epi32(sums, products)
            }
        }

        #[inline(always)]
        fn to_floats(self, sums: __m256i) -> pulp::f32x8 {
            // SAFETY: As above; both types are 8 floats.
            unsafe { transmute::<__m256, pulp::f32x8>(_mm256_cvtepi32_ps(sums)) }
        }

        #[inline(always)]
        unsafe fn round(self, values: pulp::f32x8, activations: *mut i32) {
            // SAFETY: As above; the caller guarantees room for the activations of a vector: 16 bytes.
            unsafe {
                let integers = _mm256_cvtps_epi32(transmute::<pulp::f32x8, __m256>(values));
                let halves =
                    (_mm256_castsi256_si128(integers), _mm256_extracti128_si256::<1>(integers));
                _mm_storeu_si128(activations.cast(), _mm_packs_epi32(halves.0, halves.1));
            }
        }
    }
}

//! The vector instructions to compute with, chosen at run time.

use std::any::TypeId;
use std::fmt;

use pulp::{Scalar128b, Simd, WithSimd};

/// A set of vector instructions that this processor supports.
#[derive(Clone, Copy)]
pub enum Instructions {
    /// 16 floats in each of 32 registers.
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    /// 8 floats in each of 16 registers.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    /// 4 floats in each of 32 registers.
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
    /// 4 floats, in plain loops that the compiler vectorizes.
    Portable,
}

impl Instructions {
    /// Returns all instruction sets that this processor supports, fastest first.
    pub fn available() -> Vec<Self> {
        let mut available = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            available.extend(pulp::x86::V4::try_new().map(Self::Avx512));
            available.extend(pulp::x86::V3::try_new().map(Self::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        available.extend(pulp::aarch64::Neon::try_new().map(Self::Neon));
        available.push(Self::Portable);
        available
    }

    /// Returns the fastest instruction set of this processor.
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// Number of floats in a vector.
    pub fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => 16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => 8,
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => 4,
            Self::Portable => 4,
        }
    }

    /// Runs an operation with this instruction set.
    #[inline(always)]
    pub fn run<Operation: WithSimd>(self, operation: Operation) -> Operation::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => Simd::vectorize(simd, operation),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => Simd::vectorize(simd, operation),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(simd) => Simd::vectorize(simd, operation),
            Self::Portable => Scalar128b.vectorize(operation),
        }
    }
}

impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "AVX2 with FMA",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "NEON",
            Self::Portable => "portable",
        })
    }
}

impl fmt::Debug for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns a · b + c, rounded once if the processor has an instruction for it. Rounding once in
/// software takes a hundred times as long as rounding twice.
#[inline(always)]
pub fn mul_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    match TypeId::of::<S>() == TypeId::of::<Scalar128b>() {
        true => simd.add_f32s(simd.mul_f32s(a, b), c),
        false => simd.mul_add_e_f32s(a, b, c),
    }
}

/// Clamps x to [−limit, limit]. NaN stays NaN.
#[inline(always)]
pub fn clamp<S: Simd>(simd: S, x: S::f32s, limit: f32) -> S::f32s {
    let (low, high) = (simd.splat_f32s(-limit), simd.splat_f32s(limit));
    match TypeId::of::<S>() == TypeId::of::<Scalar128b>() {
        true => {
            let x = simd.select_f32s(simd.less_than_f32s(x, low), low, x);
            simd.select_f32s(simd.greater_than_f32s(x, high), high, x)
        }
        // If one operand is NaN, these instructions return the second.
        false => simd.min_f32s(high, simd.max_f32s(low, x)),
    }
}

/// Returns c − a · b.
#[inline(always)]
pub fn negate_mul_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    match TypeId::of::<S>() == TypeId::of::<Scalar128b>() {
        true => simd.sub_f32s(c, simd.mul_f32s(a, b)),
        false => simd.negate_mul_add_e_f32s(a, b, c),
    }
}

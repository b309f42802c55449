//! A matrix that several threads change at the same time, without locks.
//!
//! Each value is a relaxed atomic, so that a race between threads is no data race: a thread reads an old value or
//! a new one, and one of two concurrent updates can be lost. Compilers do not combine atomic accesses into vector
//! instructions, so that loads and stores of vectors are written in assembly. To Rust, the assembly stands for one
//! relaxed access to each value: processors never divide the four bytes of an aligned value.

use std::any::TypeId;
use std::cell::UnsafeCell;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::mem::transmute_copy;
use std::sync::atomic::{AtomicU32, Ordering};

use pulp::Simd;

/// Number of values in a cache line.
pub const LINE: usize = 16;

/// Bits of the values of a cache line.
#[repr(C, align(64))]
struct Line([AtomicU32; LINE]);

/// A matrix of shared values. Its rows are padded with zeros to cache lines.
pub struct SharedMatrix {
    lines: Vec<Line>,
    columns: usize,
    /// Number of lines of a row.
    width: usize,
}

impl SharedMatrix {
    /// Creates a matrix [rows, columns] with the values of `value`, which takes the index of a value.
    pub fn new(rows: usize, columns: usize, value: impl Fn(usize) -> f32) -> Self {
        let width = columns.div_ceil(LINE);
        let line = |index: usize| {
            let (row, first) = (index / width, index % width * LINE);
            Line(std::array::from_fn(|at| {
                let column = first + at;
                let value = if column < columns { value(row * columns + column) } else { 0.0 };
                AtomicU32::new(value.to_bits())
            }))
        };
        Self { lines: (0..rows * width).map(line).collect(), columns, width }
    }

    /// Number of values of a row with its padding, a multiple of [`LINE`].
    pub fn padded_columns(&self) -> usize {
        self.width * LINE
    }

    #[inline(always)]
    fn lines(&self, row: u32) -> &[Line] {
        &self.lines[row as usize * self.width..][..self.width]
    }

    /// Returns a row as vectors.
    #[inline(always)]
    pub fn row<S: Simd>(&self, _: S, row: u32) -> &[SharedVector<S>] {
        let lines = self.lines(row);
        let count = size_of_val(lines) / size_of::<S::f32s>();
        // SAFETY: The vectors cover the lines exactly: the size of a line is a multiple of that of a vector, and
        // its alignment is at least as large. Both types allow changes through shared references.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), count) }
    }

    /// Fetches a row into the cache.
    #[inline(always)]
    pub fn prefetch(&self, row: u32) {
        #[cfg(target_arch = "x86_64")]
        for line in self.lines(row) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: A prefetch has no effect on memory.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(line).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = row;
    }

    /// Returns the values of each row.
    pub fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = f32> + '_> + '_ {
        (0..(self.lines.len() / self.width) as u32).map(|row| self.values(row))
    }

    /// Returns the values of a row, [columns].
    pub fn values(&self, row: u32) -> impl Iterator<Item = f32> + '_ {
        let bits = self.lines(row).iter().flat_map(|line| &line.0);
        bits.take(self.columns).map(|bits| f32::from_bits(bits.load(Ordering::Relaxed)))
    }
}

/// A vector of values that other threads may change at any time.
#[repr(transparent)]
pub struct SharedVector<S: Simd>(UnsafeCell<S::f32s>);

impl<S: Simd> SharedVector<S> {
    /// Reads each value atomically.
    #[inline(always)]
    pub fn load(&self) -> S::f32s {
        let from = self.0.get();
        #[cfg(target_arch = "x86_64")]
        if TypeId::of::<S>() == TypeId::of::<pulp::x86::V4>() {
            // SAFETY: The processor has AVX-512, as a value of V4 exists. The address is aligned, and both
            // types are 16 floats.
            return unsafe { transmute_copy(&x86_64::load_512(from.cast())) };
        } else if TypeId::of::<S>() == TypeId::of::<pulp::x86::V3>() {
            // SAFETY: As above, with AVX and 8 floats.
            return unsafe { transmute_copy(&x86_64::load_256(from.cast())) };
        }
        #[cfg(target_arch = "aarch64")]
        if TypeId::of::<S>() == TypeId::of::<pulp::aarch64::Neon>() {
            // SAFETY: As above, with NEON and 4 floats.
            return unsafe { transmute_copy(&aarch64::load(from.cast())) };
        }
        let mut vector: S::f32s = bytemuck::Zeroable::zeroed();
        for (at, value) in values_of(&mut vector).iter_mut().enumerate() {
            // SAFETY: The vector has this many values, which are only accessed atomically.
            let bits = unsafe { &*from.cast::<AtomicU32>().add(at) };
            *value = f32::from_bits(bits.load(Ordering::Relaxed));
        }
        vector
    }

    /// Writes each value atomically.
    #[inline(always)]
    pub fn store(&self, mut vector: S::f32s) {
        let to = self.0.get();
        #[cfg(target_arch = "x86_64")]
        if TypeId::of::<S>() == TypeId::of::<pulp::x86::V4>() {
            // SAFETY: As in `load`.
            return unsafe { x86_64::store_512(to.cast(), transmute_copy(&vector)) };
        } else if TypeId::of::<S>() == TypeId::of::<pulp::x86::V3>() {
            // SAFETY: As in `load`.
            return unsafe { x86_64::store_256(to.cast(), transmute_copy(&vector)) };
        }
        #[cfg(target_arch = "aarch64")]
        if TypeId::of::<S>() == TypeId::of::<pulp::aarch64::Neon>() {
            // SAFETY: As in `load`.
            return unsafe { aarch64::store(to.cast(), transmute_copy(&vector)) };
        }
        for (at, value) in values_of(&mut vector).iter().enumerate() {
            // SAFETY: As in `load`.
            let bits = unsafe { &*to.cast::<AtomicU32>().add(at) };
            bits.store(value.to_bits(), Ordering::Relaxed);
        }
    }
}

/// Returns the values of a vector.
#[inline(always)]
fn values_of<V: bytemuck::Pod>(vector: &mut V) -> &mut [f32] {
    bytemuck::cast_slice_mut(std::slice::from_mut(vector))
}

/// Relaxed loads and stores of the values of a vector. The addresses are aligned to the vector and valid.
#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::asm;
    use std::arch::x86_64::{__m256, __m512};

    #[target_feature(enable = "avx512f")]
    #[inline]
    pub unsafe fn load_512(from: *const f32) -> __m512 {
        let vector;
        // SAFETY: The caller passes a valid address.
        unsafe {
            asm!("vmovaps {}, [{}]", out(zmm_reg) vector, in(reg) from,
                options(nostack, preserves_flags, readonly));
        }
        vector
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    pub unsafe fn store_512(to: *mut f32, vector: __m512) {
        // SAFETY: The caller passes a valid address.
        unsafe {
            asm!("vmovaps [{}], {}", in(reg) to, in(zmm_reg) vector,
                options(nostack, preserves_flags));
        }
    }

    #[target_feature(enable = "avx")]
    #[inline]
    pub unsafe fn load_256(from: *const f32) -> __m256 {
        let vector;
        // SAFETY: The caller passes a valid address.
        unsafe {
            asm!("vmovaps {}, [{}]", out(ymm_reg) vector, in(reg) from,
                options(nostack, preserves_flags, readonly));
        }
        vector
    }

    #[target_feature(enable = "avx")]
    #[inline]
    pub unsafe fn store_256(to: *mut f32, vector: __m256) {
        // SAFETY: The caller passes a valid address.
        unsafe {
            asm!("vmovaps [{}], {}", in(reg) to, in(ymm_reg) vector,
                options(nostack, preserves_flags));
        }
    }
}

/// Relaxed loads and stores of the values of a vector. The addresses are valid.
#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use std::arch::aarch64::float32x4_t;
    use std::arch::asm;

    #[target_feature(enable = "neon")]
    #[inline]
    pub unsafe fn load(from: *const f32) -> float32x4_t {
        let vector;
        // SAFETY: The caller passes a valid address.
        unsafe {
            asm!("ldr {:q}, [{}]", out(vreg) vector, in(reg) from,
                options(nostack, preserves_flags, readonly));
        }
        vector
    }

    #[target_feature(enable = "neon")]
    #[inline]
    pub unsafe fn store(to: *mut f32, vector: float32x4_t) {
        // SAFETY: The caller passes a valid address.
        unsafe {
            asm!("str {:q}, [{}]", in(vreg) vector, in(reg) to,
                options(nostack, preserves_flags));
        }
    }
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::*;
    use crate::backend::kernel::Instructions;

    /// Adds 1 to the values of a row.
    struct Increment<'a>(&'a SharedMatrix, u32);

    impl WithSimd for Increment<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for vector in self.0.row(simd, self.1) {
                vector.store(simd.add_f32s(vector.load(), simd.splat_f32s(1.0)));
            }
        }
    }

    #[test]
    fn all_instructions_read_and_write_the_same_values() {
        for instructions in Instructions::available() {
            let matrix = SharedMatrix::new(3, 21, |index| index as f32);
            assert_eq!(matrix.padded_columns(), 32);
            instructions.run(Increment(&matrix, 1));
            for (row, added) in [(0, 0.0), (1, 1.0), (2, 0.0)] {
                let expected = (0..21).map(|column| (row * 21 + column) as f32 + added);
                assert!(matrix.values(row as u32).eq(expected), "{instructions}, row {row}");
            }
        }
    }

    #[test]
    fn concurrent_updates_may_be_lost_but_leave_whole_values() {
        const UPDATES: usize = 20_000;
        for instructions in Instructions::available() {
            let matrix = SharedMatrix::new(1, 32, |_| 0.0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        (0..UPDATES).for_each(|_| instructions.run(Increment(&matrix, 0)));
                    });
                }
            });
            let is_count =
                |value: f32| (1.0..=(4 * UPDATES) as f32).contains(&value) && value.fract() == 0.0;
            assert!(matrix.values(0).all(is_count), "{instructions}");
        }
    }
}

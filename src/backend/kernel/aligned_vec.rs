//! A vector of floats, aligned to cache lines.

use std::ops::{Deref, DerefMut};

/// Number of floats in a cache line.
const LINE: usize = 16;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct CacheLine([f32; LINE]);

/// Floats that start at a cache line. A SIMD vector that straddles two lines costs two loads.
#[derive(Clone, Default)]
pub struct AlignedVec {
    lines: Vec<CacheLine>,
    length: usize,
}

impl AlignedVec {
    /// Returns `length` zeros.
    pub fn zeros(length: usize) -> Self {
        let mut vec = Self::default();
        vec.resize(length);
        vec
    }

    /// Changes the length. Existing values stay; the values of added elements are unspecified.
    pub fn resize(&mut self, length: usize) {
        let lines = length.div_ceil(LINE);
        if self.lines.len() < lines {
            self.lines.resize(lines, CacheLine([0.0; LINE]));
        }
        self.length = length;
    }

    /// Changes the length and sets all values to zero.
    pub fn resize_zeroed(&mut self, length: usize) {
        self.resize(length);
        self.fill(0.0);
    }
}

impl Deref for AlignedVec {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.length]
    }
}

impl DerefMut for AlignedVec {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.length]
    }
}

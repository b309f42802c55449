//! Memory for vectors: zeros at first, aligned to cache lines.

use std::ops::{Deref, DerefMut};

/// The floats of a cache line.
const LINE: usize = 16;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Floats that begin at a cache line: a vector that straddles two lines costs two loads.
#[derive(Clone, Default)]
pub struct Floats {
    lines: Vec<Line>,
    length: usize,
}

impl Floats {
    /// `length` zeros.
    pub fn zeros(length: usize) -> Self {
        let mut floats = Self::default();
        floats.resize(length);
        floats
    }

    /// Makes it `length` floats; what it held stays where it fits, what is new may hold anything.
    pub fn resize(&mut self, length: usize) {
        let lines = length.div_ceil(LINE);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0.0; LINE]));
        }
        self.length = length;
    }

    /// Makes it `length` zeros.
    pub fn clear(&mut self, length: usize) {
        self.resize(length);
        self.fill(0.0);
    }
}

impl Deref for Floats {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.length]
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.length]
    }
}

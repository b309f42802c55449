//! Buffers that an operation needs while it runs. Each thread keeps its own from one operation to the next.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::aligned_vec::AlignedVec;

thread_local! {
    static IDLE: RefCell<Vec<AlignedVec>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of the current thread, with any contents.
pub struct Buffer(AlignedVec);

impl Buffer {
    /// Takes an idle buffer, or an empty one.
    pub fn take() -> Self {
        Self(IDLE.with_borrow_mut(Vec::pop).unwrap_or_default())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        IDLE.with_borrow_mut(|idle| idle.push(std::mem::take(&mut self.0)));
    }
}

impl Deref for Buffer {
    type Target = AlignedVec;
    fn deref(&self) -> &AlignedVec {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut AlignedVec {
        &mut self.0
    }
}

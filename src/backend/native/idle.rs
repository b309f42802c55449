//! Buffers that are reused to save allocations.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buffers that no thread uses at the moment.
pub struct Idle<T>(Mutex<Vec<T>>);

impl<T> Idle<T> {
    /// Takes a buffer, if there is one.
    pub fn take(&self) -> Option<T> {
        self.lock().pop()
    }

    /// Puts back a buffer for later use.
    pub fn put_back(&self, buffer: T) {
        self.lock().push(buffer);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Idle<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

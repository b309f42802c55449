//! The size of the largest allocation of a thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// The allocator of the system, which records the largest allocation of each thread.
struct Recorder;

#[global_allocator]
static RECORDER: Recorder = Recorder;

fn record(bytes: usize) {
    LARGEST.set(LARGEST.get().max(bytes));
}

// SAFETY: The allocator of the system does all the work.
unsafe impl GlobalAlloc for Recorder {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        record(layout.size());
        // SAFETY: The caller keeps the contract of `GlobalAlloc`, here and below.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        record(layout.size());
        // SAFETY: As above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        record(bytes);
        // SAFETY: As above.
        unsafe { System.realloc(start, layout, bytes) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: As above.
        unsafe { System.dealloc(start, layout) }
    }
}

/// Runs `operation`. Returns its result and the bytes of the largest allocation of this thread in the meantime.
pub fn with_largest<T>(operation: impl FnOnce() -> T) -> (T, usize) {
    LARGEST.set(0);
    let result = operation();
    (result, LARGEST.get())
}

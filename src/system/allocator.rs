//! The memory allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::signals;

/// The allocator of the system. If it has no memory left, the process ends with an error message and exit
/// code 1, where Rust would abort it.
pub struct Allocator;

// SAFETY: the memory is that of the system's allocator or of the reserve, each of which hands it out once.
// A failed allocation does not return, and does not unwind.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the rules of this function.
        or_reserve(unsafe { System.alloc(layout) }, layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above. The reserve is zero before it is handed out.
        or_reserve(unsafe { System.alloc_zeroed(layout) }, layout)
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that a layout of this size is valid.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !RESERVE.contains(memory) {
            // SAFETY: the memory is that of the system's allocator, and the caller keeps its rules.
            let moved = unsafe { System.realloc(memory, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        let moved = or_reserve(std::ptr::null_mut(), new);
        // SAFETY: both have at least this size, and the reserve hands out other memory each time.
        unsafe { memory.copy_to_nonoverlapping(moved, layout.size().min(size)) };
        moved
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if !RESERVE.contains(memory) {
            // SAFETY: the memory is that of the system's allocator, and the caller keeps its rules.
            unsafe { System.dealloc(memory, layout) }
        }
    }
}

/// Returns `memory`, or reserved memory in its place for the last actions of a process without memory.
#[inline]
fn or_reserve(memory: *mut u8, layout: Layout) -> *mut u8 {
    match memory.is_null() {
        false => memory,
        true if FAILING.get() => RESERVE.take(layout),
        true => fail(),
    }
}

/// Memory that is handed out once the system has none, and never returned.
struct Reserve {
    memory: UnsafeCell<[u8; Self::BYTES]>,
    used: AtomicUsize,
}

// SAFETY: `take` hands out each byte once.
unsafe impl Sync for Reserve {}

static RESERVE: Reserve =
    Reserve { memory: UnsafeCell::new([0; Reserve::BYTES]), used: AtomicUsize::new(0) };

impl Reserve {
    const BYTES: usize = 64 << 10;

    fn contains(&self, memory: *mut u8) -> bool {
        memory.addr().wrapping_sub(self.memory.get().addr()) < Self::BYTES
    }

    /// Returns unused memory. Ends the process if there is not enough.
    fn take(&self, layout: Layout) -> *mut u8 {
        let most = layout.size().saturating_add(layout.align());
        let start = self.used.fetch_add(most.min(Self::BYTES), Ordering::Relaxed);
        if start.saturating_add(most) > Self::BYTES {
            signals::write_stderr("\nerror: not enough memory\n");
            exit();
        }
        let first = self.memory.get().cast::<u8>().wrapping_add(start);
        first.wrapping_add(first.align_offset(layout.align()))
    }
}

thread_local! {
    /// An allocation has failed, and this thread ends the process.
    static FAILING: Cell<bool> = const { Cell::new(false) };
}

const MESSAGE: &str = "not enough memory: the system refused more; use less data or a smaller model or \
                       batch, close other programs, or raise the limit (ulimit -v, ulimit -d, cgroup)";

type OnFailure = Box<dyn Fn(&str) + Send>;

/// The last action before the process ends.
static ON_FAILURE: Mutex<Option<OnFailure>> = Mutex::new(None);

/// Sets what is done with the error message if memory runs out, before the process ends. It replaces the
/// former action. The action should need little memory.
pub fn on_failure(action: impl Fn(&str) + Send + 'static) {
    if let Ok(mut current) = ON_FAILURE.lock() {
        *current = Some(Box::new(action));
    }
}

/// Ends the process after an allocation has failed.
#[cold]
fn fail() -> ! {
    FAILING.set(true);
    let Ok(action) = ON_FAILURE.try_lock() else {
        // Another thread ends the process.
        thread::sleep(Duration::from_secs(10));
        exit();
    };
    signals::write_stderr("\nerror: ");
    signals::write_stderr(MESSAGE);
    signals::write_stderr("\n");
    if let Some(action) = &*action {
        action(MESSAGE);
    }
    exit();
}

fn exit() -> ! {
    // SAFETY: the process ends, without a destructor that could wait for another thread.
    unsafe { libc::_exit(1) }
}

/// Keeps freed memory in the process for the next step. Returned to the system, it would have to be
/// faulted in again page by page.
pub(super) fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Maximum that glibc accepts.
        const MMAP_THRESHOLD: libc::c_int = 32 << 20;
        const TRIM_THRESHOLD: libc::c_int = libc::c_int::MAX;
        // SAFETY: mallopt takes integers only, and no other thread runs yet.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
            libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD);
        }
    }
}

/// Keeps at most a few megabytes of freed memory at the end of each heap from now on. A server needs
/// much memory only once in a while.
pub fn keep_little_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const TRIM_THRESHOLD: libc::c_int = 8 << 20;
        // SAFETY: mallopt takes integers only, and locks what it changes.
        unsafe {
            libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD);
        }
    }
}

/// Returns freed memory between memory in use to the system.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes an integer only, and locks what it changes.
    unsafe {
        libc::malloc_trim(0);
    }
}

//! Threads: those that compute, and others, whose start may fail.

use std::env;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Builder, JoinHandle, Scope, ScopedJoinHandle};

use anyhow::{Context, anyhow};

use super::floating_point::flush_denormals;
use crate::output::note;

/// Maximum number of threads that compute.
pub const MAX_COUNT: usize = 1024;

/// Context of the error of a thread that cannot be started.
const CANNOT_START: &str = "cannot start a thread: the limit of the system (ulimit -u, pids.max) is \
                            reached, or its memory is full";

/// Sets the number of threads. The default is OMP_NUM_THREADS, as in libtorch, or else the number
/// of cores. The calling thread is one of them, so that it need not be woken after every step. Only
/// the first call has an effect.
///
/// # Errors
/// Returns an error if the system refuses to start a thread.
pub fn set_count(threads: Option<NonZeroUsize>) -> anyhow::Result<()> {
    static IS_SET: AtomicBool = AtomicBool::new(false);
    if IS_SET.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let openmp = || env::var("OMP_NUM_THREADS").ok()?.split(',').next()?.trim().parse().ok();
    let threads = threads.or_else(openmp).map_or(0, NonZeroUsize::get).min(MAX_COUNT);
    let cores = cores();
    if threads > cores {
        note(format!("{threads} threads on {cores} cores are slower than one thread per core"));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread();
    // The error's source is the same as the error.
    pool.build_global().map_err(|error| anyhow!("{CANNOT_START}: {error}"))
}

/// Creates threads that compute for another program, such as a Python interpreter, with the same results as this
/// program. The calling thread stays as it is. By default, there is one thread per core.
///
/// # Errors
/// Returns an error if the system refuses to start a thread.
pub fn new_pool(threads: Option<NonZeroUsize>) -> anyhow::Result<rayon::ThreadPool> {
    let threads = threads.map_or(0, NonZeroUsize::get).min(MAX_COUNT);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let pool = pool.start_handler(|_| flush_denormals());
    pool.build().map_err(|error| anyhow!("{CANNOT_START}: {error}"))
}

/// Number of CPU cores that this process may use, at least 1.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Number of CPU cores of this machine that are online, at least 1.
pub fn cores_of_machine() -> usize {
    // SAFETY: sysconf has no preconditions.
    let cores = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(cores).unwrap_or(1).max(1)
}

/// Number of threads.
pub fn count() -> usize {
    rayon::current_num_threads()
}

/// Starts a thread.
///
/// # Errors
/// Returns an error if the system refuses to start it.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(work).context(CANNOT_START)
}

/// Starts a thread that ends before `scope` does.
///
/// # Errors
/// Returns an error if the system refuses to start it.
pub fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> anyhow::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().name(name.to_owned()).spawn_scoped(scope, work).context(CANNOT_START)
}

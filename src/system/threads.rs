//! Threads of the native backend.

use std::env;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::Context;

use crate::output::note;

/// Context of the error of a thread that cannot be started.
const CANNOT_START: &str =
    "cannot start a thread; the system allows no more of them, or has no memory for it";

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
    let threads = threads.or_else(openmp).map_or(0, NonZeroUsize::get);
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    if threads > cores {
        note(format!("{threads} threads on {cores} cores are slower than one thread per core"));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread();
    pool.build_global().context("cannot start the compute threads")
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
    thread::Builder::new().name(name.to_owned()).spawn(work).context(CANNOT_START)
}

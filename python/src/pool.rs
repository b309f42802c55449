//! The threads that compute.

use std::num::NonZeroUsize;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use lstmtext::system::threads;
use rayon::ThreadPool;

/// Threads of a process. A fork of it has none of them.
struct Pool {
    process: u32,
    threads: Option<NonZeroUsize>,
    pool: Arc<ThreadPool>,
}

/// The threads that computed last.
static POOL: Mutex<Option<Pool>> = Mutex::new(None);

/// Runs `work` on this number of threads; by default on one per core.
///
/// # Errors
/// Returns the error of `work`, or one if the system refuses to start a thread.
pub fn run<T: Send>(
    threads: Option<NonZeroUsize>,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    pool(threads)?.install(work)
}

fn pool(threads: Option<NonZeroUsize>) -> anyhow::Result<Arc<ThreadPool>> {
    let mut current = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let process = process::id();
    if let Some(former) = &*current
        && former.process == process
        && former.threads == threads
    {
        return Ok(former.pool.clone());
    }
    let pool = Arc::new(threads::new_pool(threads)?);
    let former = current.replace(Pool { process, threads, pool: pool.clone() });
    if let Some(former) = former.filter(|former| former.process != process) {
        // Dropping it would wait for threads that the fork does not have.
        std::mem::forget(former);
    }
    Ok(pool)
}

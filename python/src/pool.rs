//! The threads that compute.

use std::num::NonZeroUsize;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use lstmtext::system::threads;
use rayon::ThreadPool;

/// Threads of a model, which start when they are needed.
pub struct Pool {
    count: Option<NonZeroUsize>,
    /// The threads, and the process that started them: a fork of it has none of them.
    started: Mutex<Option<(u32, Arc<ThreadPool>)>>,
}

impl Pool {
    /// Creates a pool of this number of threads; by default of one per core.
    pub fn new(count: Option<NonZeroUsize>) -> Self {
        Self { count, started: Mutex::default() }
    }

    /// Runs `work` on the threads.
    ///
    /// # Errors
    /// Returns the error of `work`, or one if the system refuses to start a thread.
    pub fn run<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        self.threads()?.install(work)
    }

    fn threads(&self) -> anyhow::Result<Arc<ThreadPool>> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let process = process::id();
        if let Some((of, threads)) = &*started
            && *of == process
        {
            return Ok(threads.clone());
        }
        let threads = Arc::new(threads::new_pool(self.count)?);
        // The former threads do not exist in this process, so nothing may be sent to them.
        std::mem::forget(started.replace((process, threads.clone())));
        Ok(threads)
    }
}

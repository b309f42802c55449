//! Texts of several requests, computed together.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Limits;
use super::measures::Measures;
use crate::explanation::{Explainer, Explanation, Method};
use crate::predictor::{ClassProbability, Predictor};

/// The texts of a request.
pub struct Job {
    /// For each column its texts.
    pub columns: Vec<Vec<String>>,
    /// Gets the classes of each text, the most probable first.
    pub reply: oneshot::Sender<Vec<Vec<ClassProbability>>>,
    /// Their room in the queue, given back with the job.
    pub room: OwnedSemaphorePermit,
}

/// What is to be explained.
pub struct Question {
    /// The text of each column.
    pub texts: Vec<String>,
    /// The class; the most probable one where there is none.
    pub class: Option<usize>,
    /// How contributions are measured.
    pub method: Method,
    /// Gets the explanation.
    pub reply: oneshot::Sender<anyhow::Result<Explanation>>,
}

/// Computes what the others ask.
pub struct Batcher {
    /// Requests; closed when the server has ended.
    pub jobs: Receiver<Job>,
    /// How many texts go together, and how long the first waits.
    pub limits: Limits,
    /// Counts them.
    pub measures: Arc<Measures>,
}

impl Batcher {
    /// Computes until there are no more requests.
    pub fn run(self, predictor: &Predictor) {
        while let Ok(first) = self.jobs.recv() {
            let jobs = self.gather(first);
            let mut columns = vec![Vec::new(); jobs[0].columns.len()];
            let mut waiting = Vec::with_capacity(jobs.len());
            // Who has gone waits for nothing.
            for job in jobs.into_iter().filter(|job| !job.reply.is_closed()) {
                waiting.push((job.columns[0].len(), job.reply, job.room));
                for (all, own) in columns.iter_mut().zip(job.columns) {
                    all.extend(own);
                }
            }
            if waiting.is_empty() {
                continue;
            }
            self.measures.batch(columns[0].len());
            let mut results = predictor.predict(&columns, self.limits.max_batch.get()).into_iter();
            for (texts, reply, room) in waiting {
                drop(room);
                // Who asked may be gone.
                let _ = reply.send(results.by_ref().take(texts).collect());
            }
        }
    }

    /// What comes within the wait, up to a batch.
    fn gather(&self, first: Job) -> Vec<Job> {
        let end = Instant::now() + Duration::from_millis(self.limits.max_wait);
        let mut texts = first.columns[0].len();
        let mut jobs = vec![first];
        while texts < self.limits.max_batch.get() {
            let left = end.saturating_duration_since(Instant::now());
            match self.jobs.recv_timeout(left) {
                Ok(job) => {
                    texts += job.columns[0].len();
                    jobs.push(job);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        jobs
    }
}

/// Explains until there are no more questions. It has a thread of its own, so that a long text
/// delays no prediction more than another text does.
pub fn explain_all(explainer: &Explainer, questions: &Receiver<Question>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    while let Ok(Question { texts, class, method, reply }) = questions.recv() {
        if reply.is_closed() {
            continue;
        }
        let explain = || explainer.explain(&texts, class, method);
        let found = match &pool {
            Ok(pool) => pool.install(explain),
            Err(error) => Err(anyhow::anyhow!("cannot start a thread: {error}")),
        };
        let _ = reply.send(found);
    }
}

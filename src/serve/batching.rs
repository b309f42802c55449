//! Texts of several requests, computed together.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Limits;
use super::metrics::Metrics;
use crate::explanation::{Explainer, Explanation, Method};
use crate::prediction::{Classifier, Prediction};

/// Texts that are to be classified.
pub struct PredictJob {
    /// For each column its texts.
    pub columns: Vec<Vec<String>>,
    /// Gets the predictions.
    pub reply: oneshot::Sender<anyhow::Result<Vec<Prediction>>>,
    /// Their places in the queue, given back with the job.
    pub permit: OwnedSemaphorePermit,
}

/// A text that is to be explained.
pub struct ExplainJob {
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
    pub jobs: Receiver<PredictJob>,
    /// How many texts go together, and how long the first waits.
    pub limits: Limits,
    /// Counts them.
    pub metrics: Arc<Metrics>,
}

impl Batcher {
    /// Computes until there are no more requests.
    pub fn run(self, classifier: &Classifier) {
        while let Ok(first) = self.jobs.recv() {
            let jobs = self.gather(first);
            let mut columns = vec![Vec::new(); jobs[0].columns.len()];
            let mut waiting = Vec::with_capacity(jobs.len());
            // Who has gone waits for nothing.
            for job in jobs.into_iter().filter(|job| !job.reply.is_closed()) {
                waiting.push((job.columns[0].len(), job.reply, job.permit));
                for (all, own) in columns.iter_mut().zip(job.columns) {
                    all.extend(own);
                }
            }
            if waiting.is_empty() {
                continue;
            }
            let most = self.limits.max_batch.get();
            self.metrics.batches(columns[0].len(), most);
            let mut found =
                classifier.predict_columns(&columns, most, usize::MAX).map(Vec::into_iter);
            for (texts, reply, permit) in waiting {
                drop(permit);
                let own = match &mut found {
                    Ok(found) => Ok(found.by_ref().take(texts).collect()),
                    Err(error) => Err(anyhow!("{error:#}")),
                };
                // Who asked may be gone.
                let _ = reply.send(own);
            }
        }
    }

    /// What comes within the wait, up to a batch.
    fn gather(&self, first: PredictJob) -> Vec<PredictJob> {
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

/// Explains until there are no more jobs. It has a thread of its own, so that a long text
/// delays no prediction more than another text does.
pub fn explain_all(explainer: &Explainer, jobs: &Receiver<ExplainJob>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    while let Ok(ExplainJob { texts, class, method, reply }) = jobs.recv() {
        if reply.is_closed() {
            continue;
        }
        let explain = || explainer.explain(&texts, class, method);
        let found = match &pool {
            Ok(pool) => pool.install(explain),
            Err(error) => Err(anyhow!("cannot start a thread: {error}")),
        };
        let _ = reply.send(found);
    }
}

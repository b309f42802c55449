//! Batching of the texts of concurrent requests.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::limits::Limits;
use super::metrics::Metrics;
use crate::explanation::{Explainer, Explanation, Method};
use crate::prediction::{Classifier, Prediction};

/// Texts of a request to classify.
pub struct PredictJob {
    /// Texts of each column.
    pub columns: Vec<Vec<String>>,
    /// Number of classes to return.
    pub top: usize,
    /// Receives the predictions.
    pub reply: oneshot::Sender<anyhow::Result<Vec<Prediction>>>,
    /// Permits for the texts in the queue, released with the job.
    pub permit: OwnedSemaphorePermit,
}

/// Example to explain.
pub struct ExplainJob {
    /// Text of each column.
    pub texts: Vec<String>,
    /// Class to explain. The default is the most probable one.
    pub class: Option<usize>,
    /// Attribution method. The default is that of the model.
    pub method: Option<Method>,
    /// Receives the explanation.
    pub reply: oneshot::Sender<anyhow::Result<Explanation>>,
}

/// Classifies the texts of all requests.
pub struct Batcher {
    /// Queue of requests. It is closed when the server has stopped.
    pub jobs: Receiver<PredictJob>,
    /// Batch size and wait.
    pub limits: Limits,
    /// Records batch sizes.
    pub metrics: Arc<Metrics>,
}

impl Batcher {
    /// Runs until the queue is closed.
    pub fn run(self, classifier: &Classifier) {
        while let Ok(first) = self.jobs.recv() {
            let jobs = self.gather(first);
            let mut columns = vec![Vec::new(); jobs[0].columns.len()];
            let mut waiting = Vec::with_capacity(jobs.len());
            let top = jobs.iter().map(|job| job.top).max().unwrap_or(1);
            // Skip clients that have disconnected.
            for job in jobs.into_iter().filter(|job| !job.reply.is_closed()) {
                waiting.push((job.columns[0].len(), job.reply, job.permit));
                for (column, texts) in columns.iter_mut().zip(job.columns) {
                    column.extend(texts);
                }
            }
            if waiting.is_empty() {
                continue;
            }
            let batch_size = self.limits.max_batch.get();
            self.metrics.record_batches(columns[0].len(), batch_size);
            let mut predictions =
                classifier.predict_columns(&columns, batch_size, top).map(Vec::into_iter);
            for (texts, reply, permit) in waiting {
                drop(permit);
                let result = match &mut predictions {
                    Ok(predictions) => Ok(predictions.by_ref().take(texts).collect()),
                    Err(error) => Err(anyhow!("{error:#}")),
                };
                // The client may have disconnected.
                let _ = reply.send(result);
            }
        }
    }

    /// Collects jobs until the batch is full or the wait is over.
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

/// Computes explanations until the queue is closed. It runs on a thread of its own, so that a long
/// explanation does not delay predictions.
pub fn explain_all(explainer: &Explainer, jobs: &Receiver<ExplainJob>) {
    // The calling thread is the only one of its pool.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
    while let Ok(ExplainJob { texts, class, method, reply }) = jobs.recv() {
        if reply.is_closed() {
            continue;
        }
        let explain = || explainer.explain(&texts, class, method);
        let result = match &pool {
            Ok(pool) => pool.install(explain),
            Err(error) => Err(anyhow!("cannot start the explanation thread: {error}")),
        };
        let _ = reply.send(result);
    }
}

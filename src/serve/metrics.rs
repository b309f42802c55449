//! Prometheus metrics.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Counters and histograms of requests, texts and batches.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<PathLabel, Histogram, fn() -> Histogram>,
    texts: Counter,
    batches: Histogram,
    waiting: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    path: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PathLabel {
    path: String,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("lstmtext");
        let requests = Family::default();
        registry.register("requests", "Requests answered", requests.clone());
        let seconds: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 14)));
        registry.register("request_seconds", "Time from request to response", seconds.clone());
        let texts = Counter::default();
        registry.register("texts", "Texts classified", texts.clone());
        let batches = Histogram::new(exponential_buckets(1.0, 2.0, 10));
        registry.register("batch_texts", "Texts per batch", batches.clone());
        let waiting = Gauge::default();
        registry.register("waiting_texts", "Texts waiting or being computed", waiting.clone());
        Self { registry, requests, seconds, texts, batches, waiting }
    }
}

impl Metrics {
    /// Records an answered request.
    pub fn record_request(&self, path: &str, status: u16, time: Duration) {
        self.requests.get_or_create(&RequestLabels { path: path.to_owned(), status }).inc();
        self.seconds
            .get_or_create(&PathLabel { path: path.to_owned() })
            .observe(time.as_secs_f64());
    }

    /// Records the computation of `texts` texts in batches of at most `batch_size`.
    pub fn record_batches(&self, texts: usize, batch_size: usize) {
        self.texts.inc_by(texts as u64);
        for first in (0..texts).step_by(batch_size) {
            self.batches.observe(batch_size.min(texts - first) as f64);
        }
    }

    /// Encodes all metrics in the OpenMetrics text format. `waiting` is the current queue length.
    pub fn encode(&self, waiting: usize) -> String {
        self.waiting.set(waiting as f64);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

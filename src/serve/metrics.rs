//! What Prometheus reads.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Counts requests, texts and batches.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Path, Histogram, fn() -> Histogram>,
    texts: Counter,
    batches: Histogram,
    waiting: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    path: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Path {
    path: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("lstmtext");
        let requests = Family::default();
        registry.register("requests", "Requests answered", requests.clone());
        let seconds: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 14)));
        registry.register("request_seconds", "Time from request to answer", seconds.clone());
        let texts = Counter::default();
        registry.register("texts", "Texts classified", texts.clone());
        let batches = Histogram::new(exponential_buckets(1.0, 2.0, 10));
        registry.register("batch_texts", "Texts computed together", batches.clone());
        let waiting = Gauge::default();
        registry.register("waiting_texts", "Texts that wait or are computed", waiting.clone());
        Self { registry, requests, seconds, texts, batches, waiting }
    }
}

impl Metrics {
    /// A request was answered.
    pub fn request(&self, path: &'static str, status: u16, time: Duration) {
        self.requests.get_or_create(&Answered { path, status }).inc();
        self.seconds.get_or_create(&Path { path }).observe(time.as_secs_f64());
    }

    /// So many texts are computed, at most `most` together.
    pub fn batches(&self, texts: usize, most: usize) {
        self.texts.inc_by(texts as u64);
        for first in (0..texts).step_by(most) {
            self.batches.observe(most.min(texts - first) as f64);
        }
    }

    /// All of it as text, and how many texts wait now.
    pub fn text(&self, waiting: usize) -> String {
        self.waiting.set(waiting as f64);
        let mut text = String::new();
        // A string takes whatever is written.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

//! Limits of the server, as command-line options.

use std::num::{NonZeroU64, NonZeroUsize};

use clap::Args;

use crate::config::positive_integer;

/// Limits on requests, and batching options.
#[derive(Clone, Debug, Args)]
pub struct Limits {
    /// Maximum number of texts in a batch
    #[arg(long, value_name = "N", default_value = "64", value_parser = positive_integer)]
    pub(super) max_batch: NonZeroUsize,
    /// Milliseconds to wait for more texts before computing a batch; texts that arrive while the
    /// previous batch is computed need no wait
    #[arg(long, value_name = "MS", default_value = "0")]
    pub(super) max_wait: u64,
    /// Maximum number of texts that are waiting or being computed; also the maximum per request
    #[arg(long, value_name = "N", default_value = "4096", value_parser = positive_integer)]
    pub(super) queue: NonZeroUsize,
    /// Maximum size of a request in kilobytes
    #[arg(long, value_name = "KB", default_value = "1024", value_parser = positive_integer)]
    pub(super) max_body_kb: NonZeroUsize,
    /// Maximum size of all requests in progress in megabytes
    #[arg(long, value_name = "MB", default_value = "64", value_parser = positive_integer)]
    pub(super) max_bodies_mb: NonZeroUsize,
    /// Maximum size of a text in kilobytes
    #[arg(long, value_name = "KB", default_value = "64", value_parser = positive_integer)]
    pub(super) max_text_kb: NonZeroUsize,
    /// Maximum number of open connections; more wait to be accepted
    #[arg(long, value_name = "N", default_value = "4096", value_parser = positive_integer)]
    pub(super) max_connections: NonZeroUsize,
    /// Seconds to receive and answer a request; idle connections are closed after the same time
    #[arg(long, value_name = "S", default_value = "30")]
    pub(super) timeout: NonZeroU64,
}

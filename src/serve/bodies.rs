//! Receiving the bodies of requests, within a limit for all of them together.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::limits::Limits;
use crate::system::allocator;

/// Smallest allocation for a body in bytes.
const MIN_CAPACITY: usize = 4 << 10;
/// Maximum number of bytes of a body that are read although it is too large.
const DISCARD_BYTES: usize = 4 << 20;
/// Maximum time to read them.
const DISCARD_TIME: Duration = Duration::from_secs(1);
/// Time after which the memory of bodies is returned to the system.
const RETURN_INTERVAL: Duration = Duration::from_secs(2);
/// Size of bodies in bytes whose memory is worth returning.
const RETURN_BYTES: usize = 8 << 20;

/// Receives bodies, and counts their bytes.
pub struct Bodies {
    /// One permit for each byte that may be allocated.
    permits: Arc<Semaphore>,
    /// Number of permits when no request is in progress.
    all_permits: usize,
    max_body: usize,
    /// Bytes allocated since freed memory was returned last.
    allocated: AtomicUsize,
}

/// A received body. Its bytes count until it is dropped.
pub struct ReceivedBody {
    /// Content.
    pub bytes: Vec<u8>,
    permits: Option<OwnedSemaphorePermit>,
}

/// Reason why a body was not received.
#[derive(Debug)]
pub enum BodyError {
    /// The body is larger than `--max-body-kb`.
    TooLarge,
    /// The bodies of other requests take up `--max-bodies-mb`.
    Full,
    /// The connection was lost, or the encoding of the body is wrong.
    Broken(axum::Error),
}

impl Bodies {
    /// Creates the counter of a server without requests.
    pub fn new(limits: &Limits) -> Self {
        let max_body = limits.max_body_kb.get().saturating_mul(1000);
        let all = limits.max_bodies_mb.get().saturating_mul(1_000_000).max(max_body);
        let all_permits = all.min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(all_permits));
        Self { permits, all_permits, max_body, allocated: AtomicUsize::new(0) }
    }

    /// Receives the body of a request.
    ///
    /// # Errors
    /// Returns an error if the body is too large or cannot be received, or if there is no memory for it.
    pub async fn receive(&self, request: Request) -> Result<ReceivedBody, BodyError> {
        let waits_for_permission = request.headers().contains_key(header::EXPECT);
        let mut body = request.into_body();
        let received = self.receive_body(&mut body).await;
        if matches!(received, Err(BodyError::TooLarge | BodyError::Full)) && !waits_for_permission {
            // A client that is still sending when the connection is closed may lose the response.
            let _ = timeout(DISCARD_TIME, discard(&mut body)).await;
        }
        received
    }

    async fn receive_body(&self, body: &mut Body) -> Result<ReceivedBody, BodyError> {
        if body.size_hint().lower() > self.max_body as u64 {
            return Err(BodyError::TooLarge);
        }
        let mut received = ReceivedBody { bytes: Vec::new(), permits: None };
        while let Some(data) = next_data(body).await {
            let data = data.map_err(BodyError::Broken)?;
            let length = received.bytes.len() + data.len();
            if length > self.max_body {
                return Err(BodyError::TooLarge);
            }
            self.reserve(&mut received, length)?;
            received.bytes.extend_from_slice(&data);
        }
        Ok(received)
    }

    /// Allocates memory for `length` bytes in total.
    fn reserve(&self, body: &mut ReceivedBody, length: usize) -> Result<(), BodyError> {
        let capacity = body.bytes.capacity();
        if length <= capacity {
            return Ok(());
        }
        let larger = length.max(2 * capacity).max(MIN_CAPACITY).min(self.max_body);
        let more = u32::try_from(larger - capacity).map_err(|_| BodyError::Full)?;
        let permits = self.permits.clone().try_acquire_many_owned(more);
        let permits = permits.map_err(|_| BodyError::Full)?;
        match &mut body.permits {
            Some(all) => all.merge(permits),
            none => *none = Some(permits),
        }
        self.allocated.fetch_add(larger - capacity, Ordering::Relaxed);
        body.bytes.reserve_exact(larger - body.bytes.len());
        Ok(())
    }

    /// Returns the memory of earlier bodies to the system, whenever no request is in progress. The
    /// allocator keeps it otherwise.
    pub async fn return_memory(&self) {
        loop {
            sleep(RETURN_INTERVAL).await;
            if self.permits.available_permits() == self.all_permits
                && self.allocated.load(Ordering::Relaxed) >= RETURN_BYTES
            {
                self.allocated.store(0, Ordering::Relaxed);
                allocator::return_freed_memory();
            }
        }
    }
}

/// Returns the next part of a body; an empty one for trailers, which have no meaning here.
async fn next_data(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// Reads the rest of a body that is too large, up to a limit.
async fn discard(body: &mut Body) {
    let mut left = DISCARD_BYTES;
    while let Some(Ok(data)) = next_data(body).await {
        left = left.saturating_sub(data.len());
        if left == 0 {
            return;
        }
    }
}

//! The HTTP server: predictions, explanations, metrics and a page to try them. Models and their
//! arithmetic come from elsewhere.

mod api;
mod batching;
mod metrics;

use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::config::count;
use crate::explanation::Explainer;
use crate::output::format::join_names;
use crate::output::{message, note};
use crate::prediction::Classifier;
use crate::prediction::text_columns::TextColumns;
use crate::system::process;

use api::AppState;
use batching::{Batcher, explain_all};
use metrics::Metrics;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// Explanations that may wait; each takes as long as some hundred texts.
const EXPLANATIONS: usize = 16;
/// How long requests that are under way are waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// How long no connection is accepted where that failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How much is taken, and how it is put together.
#[derive(Clone, Debug, Args)]
pub struct Limits {
    /// Texts that are computed together
    #[arg(long, value_name = "N", default_value = "64", value_parser = count)]
    max_batch: NonZeroUsize,
    /// Milliseconds that the first text of a batch waits for others, besides those that came while
    /// the last batch was computed
    #[arg(long, value_name = "MS", default_value = "0")]
    max_wait: u64,
    /// Texts that may wait or be computed; of one request too
    #[arg(long, value_name = "N", default_value = "4096", value_parser = count)]
    queue: NonZeroUsize,
    /// Kilobytes of a request
    #[arg(long, value_name = "KB", default_value = "1024", value_parser = count)]
    max_body_kb: NonZeroUsize,
    /// Kilobytes of a text
    #[arg(long, value_name = "KB", default_value = "64", value_parser = count)]
    max_text_kb: NonZeroUsize,
    /// Seconds from the head of a request to its answer, slow senders included; a connection that
    /// asks nothing for so long is closed
    #[arg(long, value_name = "S", default_value = "30")]
    timeout: NonZeroU64,
}

/// Serves until a signal. This thread computes, others talk.
///
/// # Errors
/// Where the address cannot be listened on.
pub fn serve(
    address: SocketAddr,
    checkpoint: &Path,
    limits: Limits,
    classifier: &Classifier,
    explainer: Explainer,
) -> anyhow::Result<()> {
    process::raise_open_file_limit();
    let runtime =
        Builder::new_multi_thread().worker_threads(2).enable_all().build().context("no threads")?;
    let listener = listen(&runtime, address)
        .with_context(|| format!("cannot listen on {address}; --port takes another"))?;
    let address = listener.local_addr().context("cannot tell the address")?;
    let metrics = Arc::new(Metrics::default());
    let (predicting, jobs) = mpsc::channel();
    let (explaining, explanations) = mpsc::sync_channel(EXPLANATIONS);
    let state = AppState {
        columns: TextColumns::of(classifier.inputs()),
        labels: classifier.labels().to_vec(),
        checkpoint: checkpoint.display().to_string(),
        permits: Arc::new(Semaphore::new(limits.queue.get().min(Semaphore::MAX_PERMITS))),
        limits: limits.clone(),
        metrics: metrics.clone(),
        predicting,
        explaining,
    };
    let computing = thread::spawn(move || explain_all(&explainer, &explanations));
    let talking = thread::spawn(move || {
        let served = runtime.block_on(talk(listener, state));
        // Requests that nobody finished sending are not waited for.
        runtime.shutdown_background();
        served
    });
    message(format!(
        "serving \"{}\", labels {}, on http://{address}",
        checkpoint.display(),
        join_names(classifier.labels())
    ));
    if !address.ip().is_loopback() {
        note("whoever reaches this address may ask; nothing checks who it is");
    }
    Batcher { jobs, limits: limits, metrics }.run(classifier);
    let served = talking.join().map_err(|_| anyhow!("the server broke off"))?;
    match served.context("cannot serve")? {
        End::Answered => {
            computing.join().map_err(|_| anyhow!("explaining broke off"))?;
            message("ended; every request was answered");
        }
        // An explanation that is under way is left to itself.
        End::GivenUp => message("ended; requests that took longer were given up"),
    }
    Ok(())
}

fn listen(runtime: &Runtime, address: SocketAddr) -> io::Result<TcpListener> {
    let _context = runtime.enter();
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A server that was just ended leaves connections behind that would hold its port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What became of the requests that were under way at the end.
enum End {
    Answered,
    GivenUp,
}

/// Answers until a signal, then what is under way.
async fn talk(listener: TcpListener, state: AppState) -> io::Result<End> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let connections = GracefulShutdown::new();
    tokio::select! {
        () = accept(listener, state, &connections) => {}
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    message("ending: requests that are under way are answered first");
    tokio::select! {
        () = connections.shutdown() => Ok(End::Answered),
        () = sleep(LAST_ANSWERS) => Ok(End::GivenUp),
        _ = interrupted.recv() => Ok(End::GivenUp),
        _ = terminated.recv() => Ok(End::GivenUp),
    }
}

/// Answers on every connection, until the future is dropped.
async fn accept(listener: TcpListener, state: AppState, connections: &GracefulShutdown) {
    let mut http = conn::auto::Builder::new(TokioExecutor::new()).http1_only();
    // Who never sends the whole head of a request is not waited for.
    let timeout = Duration::from_secs(state.limits.timeout.get());
    http.http1().timer(TokioTimer::new()).header_read_timeout(timeout);
    let router = api::router(state);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // For want of file handles, mostly: some connection has to end first.
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::spawn(connections.watch(connection));
    }
}

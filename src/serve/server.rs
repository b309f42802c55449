//! The server: its threads, its connections and its shutdown.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;

use crate::explanation::Explainer;
use crate::output::format::join_names;
use crate::output::{message, note};
use crate::prediction::Classifier;
use crate::prediction::text_columns::TextColumns;
use crate::system::{allocator, process, threads};

use super::access::Access;
use super::api::{self, AppState};
use super::batching::{Batcher, explain_all};
use super::bodies::Bodies;
use super::metrics::Metrics;
use super::options::ServerOptions;

/// Maximum number of connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// Maximum number of explanations that wait. Each takes as long as a few hundred predictions.
const EXPLANATION_QUEUE: usize = 16;
/// Time that requests in progress are given to finish on shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Maximum size in bytes of the headers of a request, and of what is read ahead of its body.
const CONNECTION_BUFFER: usize = 16 << 10;
/// Pause after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves until a signal arrives. Predictions are computed on the calling thread, HTTP is handled on
/// another, and explanations are computed on a third.
///
/// # Errors
/// Returns an error if the server cannot listen on the address, or cannot start its threads.
pub fn serve(
    options: ServerOptions,
    checkpoint: &Path,
    classifier: &Classifier,
    explainer: Explainer,
) -> anyhow::Result<()> {
    process::raise_open_file_limit();
    allocator::keep_little_freed_memory();
    // Runtimes with more threads panic if one cannot be started.
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the server")?;
    let address = options.address();
    let listener = listen(&runtime, address)
        .with_context(|| format!("cannot listen on {address}; choose another port with --port"))?;
    let address = listener.local_addr().context("cannot read the address of the socket")?;
    let (access, limits) = (options.access, options.limits);
    let metrics = Arc::new(Metrics::default());
    let (predict_jobs, jobs) = mpsc::channel();
    let (explain_jobs, explanations) = mpsc::sync_channel(EXPLANATION_QUEUE);
    let state = AppState {
        columns: TextColumns::of(classifier.config()),
        labels: classifier.labels().to_vec(),
        labelling: classifier.labelling(),
        calibrated: classifier.is_calibrated(),
        model: model_name(checkpoint),
        methods: explainer.methods().to_vec(),
        access: Access::new(address.ip(), access),
        bodies: Arc::new(Bodies::new(&limits)),
        permits: Arc::new(Semaphore::new(limits.queue.get().min(Semaphore::MAX_PERMITS))),
        limits: limits.clone(),
        metrics: metrics.clone(),
        predict_jobs,
        explain_jobs,
    };
    let explaining = threads::spawn("explain", move || explain_all(&explainer, &explanations))?;
    let http = threads::spawn("http", move || {
        let served = runtime.block_on(run(listener, state));
        // Do not wait for requests that were only sent in part.
        runtime.shutdown_background();
        served
    })?;
    message(format!(
        "serving \"{}\" (labels: {}) on http://{address}",
        checkpoint.display(),
        join_names(classifier.labels())
    ));
    if !address.ip().is_loopback() {
        note("no authentication: anyone who can connect can query");
        note("clients that use a name instead of an address need --allow-host NAME");
    }
    Batcher { jobs, limits, metrics }.run(classifier);
    let served = http.join().map_err(|_| anyhow!("the HTTP thread panicked"))?;
    match served.context("cannot serve")? {
        Shutdown::Clean => {
            explaining.join().map_err(|_| anyhow!("the explanation thread panicked"))?;
            message("stopped; all requests were answered");
        }
        // An explanation in progress is abandoned.
        Shutdown::Aborted => message("stopped; requests still in progress were aborted"),
    }
    Ok(())
}

/// Returns the name of the run, or of the checkpoint's directory. Clients are not shown the path.
fn model_name(checkpoint: &Path) -> String {
    let path = fs::canonicalize(checkpoint).unwrap_or_else(|_| checkpoint.to_owned());
    let is_of_run = |name: &&OsStr| *name != "best" && *name != "last";
    let mut names = path.iter().rev();
    let name = names.clone().find(is_of_run).or_else(|| names.next());
    name.map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}

fn listen(runtime: &Runtime, address: SocketAddr) -> io::Result<TcpListener> {
    let _context = runtime.enter();
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Otherwise connections of a server that just stopped would block the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Outcome of a shutdown.
enum Shutdown {
    /// All requests were answered.
    Clean,
    /// Some requests took too long.
    Aborted,
}

/// Answers requests until a signal arrives, then those still in progress.
async fn run(listener: TcpListener, state: AppState) -> io::Result<Shutdown> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let connections = GracefulShutdown::new();
    let bodies = state.bodies.clone();
    tokio::select! {
        () = bodies.return_memory() => {}
        () = accept(listener, state, &connections) => {}
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    message("stopping: answering the requests in progress; press Ctrl-C again to stop now");
    tokio::select! {
        () = connections.shutdown() => Ok(Shutdown::Clean),
        () = sleep(SHUTDOWN_GRACE) => Ok(Shutdown::Aborted),
        _ = interrupted.recv() => Ok(Shutdown::Aborted),
        _ = terminated.recv() => Ok(Shutdown::Aborted),
    }
}

/// Accepts connections until the future is dropped.
async fn accept(listener: TcpListener, state: AppState, connections: &GracefulShutdown) {
    let mut http = conn::auto::Builder::new(TokioExecutor::new()).http1_only();
    // A client that never finishes its request headers is disconnected.
    let timeout = Duration::from_secs(state.limits.timeout.get());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .max_buf_size(CONNECTION_BUFFER);
    // Some clients close their side of the connection once they have sent the request.
    http.http1().half_close(true);
    let slots = state.limits.max_connections.get().min(Semaphore::MAX_PERMITS);
    let slots = Arc::new(Semaphore::new(slots));
    let router = api::router(state);
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Usually the process is out of file descriptors until a connection closes.
            sleep(ACCEPT_RETRY).await;
            continue;
        };
        // A client that does not read its response is disconnected.
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(timeout));
        let service = TowerToHyperService::new(router.clone());
        let connection =
            http.serve_connection(TokioIo::new(Box::pin(stream)), service).into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // The client has its error already, if there is one.
            let _ = connection.await;
            drop(slot);
        });
    }
}

//! `lstmtext serve`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
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

use super::output::listed;
use super::texts::TextColumns;
use super::{ComputeArgs, FINE, Light, count};
use crate::checkpoint::Checkpoint;
use crate::classifier::Classifier;
use crate::console::say;
use crate::explanation::Explainer;
use crate::process;

mod api;
mod batching;
mod metrics;

use api::AppState;
use batching::{Batcher, explain_all};
use metrics::Metrics;

const EXAMPLES: &str = "\
Examples:
  lstmtext serve runs/a
  curl -s localhost:8000/predict -d '{\"text\": \"One of the best films of the year.\"}'
  curl -s localhost:8000/predict -d '{\"texts\": [\"A mess.\", \"Superb.\"], \"top\": 1}'
  curl -s localhost:8000/explain -d '{\"text\": \"Not bad at all.\", \"method\": \"leave-one-out\"}'

GET / is a page to try it, /healthz says what is served, /metrics is for Prometheus. A model of
several columns takes an object in place of a text: {\"text\": {\"story\": \"…\", \"question\": \"…\"}}.
Texts that come while others are computed are computed together. What cannot be answered gets a
status from 400 on and {\"error\": \"…\"}; 503 where too many texts wait. Ctrl-C or SIGTERM: requests
that are under way are answered first, for at most 10 seconds or until it comes once more.";

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// Explanations that may wait; each takes as long as some hundred texts.
const EXPLANATIONS: usize = 16;
/// How long requests that are under way are waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// How long no connection is accepted where that failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Answer over HTTP
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// A checkpoint, or a run (then its best)
    pub checkpoint: PathBuf,
    /// The address to listen on; others than this machine reach 0.0.0.0
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(long, value_name = "N", default_value = "8000")]
    port: u16,
    #[command(flatten)]
    limits: Limits,
    /// Where and how wide to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// How much is taken, and how it is put together.
#[derive(Clone, Debug, Args)]
struct Limits {
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

/// Runs the command where it needs no libtorch.
pub fn run(args: ServeArgs) -> anyhow::Result<Light> {
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    match args.compute.light(&checkpoint)? {
        Some(classifier) => {
            let explainer = Explainer::new(&checkpoint)?;
            serve(args, &Classifier::new(checkpoint, classifier), explainer).map(Light::Done)
        }
        None => Ok(Light::NeedsLibtorch),
    }
}

/// Serves until a signal. This thread computes, others talk.
///
/// # Errors
/// Where the address cannot be listened on.
pub fn serve(args: ServeArgs, classifier: &Classifier, explainer: Explainer) -> anyhow::Result<u8> {
    process::allow_many_files();
    let runtime =
        Builder::new_multi_thread().worker_threads(2).enable_all().build().context("no threads")?;
    let address = SocketAddr::new(args.host, args.port);
    let listener = listen(&runtime, address)
        .with_context(|| format!("cannot listen on {address}; --port takes another"))?;
    let address = listener.local_addr().context("cannot tell the address")?;
    let metrics = Arc::new(Metrics::default());
    let (predicting, jobs) = mpsc::channel();
    let (explaining, explanations) = mpsc::sync_channel(EXPLANATIONS);
    let state = AppState {
        columns: TextColumns::of(classifier.inputs()),
        labels: classifier.labels().to_vec(),
        checkpoint: args.checkpoint.display().to_string(),
        permits: Arc::new(Semaphore::new(args.limits.queue.get().min(Semaphore::MAX_PERMITS))),
        limits: args.limits.clone(),
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
    say(format!(
        "serving \"{}\", labels {}, on http://{address}",
        args.checkpoint.display(),
        listed(classifier.labels())
    ));
    if !address.ip().is_loopback() {
        say("note: whoever reaches this address may ask; nothing checks who it is");
    }
    Batcher { jobs, limits: args.limits, metrics }.run(classifier);
    let served = talking.join().map_err(|_| anyhow!("the server broke off"))?;
    match served.context("cannot serve")? {
        End::Answered => {
            computing.join().map_err(|_| anyhow!("explaining broke off"))?;
            say("ended; every request was answered");
        }
        // An explanation that is under way is left to itself.
        End::GivenUp => say("ended; requests that took longer were given up"),
    }
    Ok(FINE)
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
    say("ending: requests that are under way are answered first");
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

//! `lstmtext serve`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use super::output::listed;
use super::texts::TextColumns;
use super::{ComputeArgs, FINE, Light, count};
use crate::checkpoint::Checkpoint;
use crate::console::say;
use crate::explanation::Explainer;
use crate::predictor::Predictor;
use crate::process;

mod api;
mod batching;
mod measures;

use api::Shared;
use batching::{Batcher, explain_all};
use measures::Measures;

const EXAMPLES: &str = "\
Examples:
  lstmtext serve runs/a
  curl -s localhost:8000/predict -d '{\"text\": \"One of the best films of the year.\"}'
  curl -s localhost:8000/predict -d '{\"texts\": [\"A mess.\", \"Superb.\"], \"top\": 1}'
  curl -s localhost:8000/explain -d '{\"text\": \"Not bad at all.\", \"method\": \"leave-one-out\"}'

GET / is a page to try it, /healthz says what is served, /metrics is for Prometheus. A model of
several columns takes an object in place of a text: {\"text\": {\"story\": \"…\", \"question\": \"…\"}}.
Texts that come within the wait are computed together. What cannot be answered gets a status from
400 on and {\"error\": \"…\"}; 503 where too many texts wait. Ctrl-C or SIGTERM: requests that are
under way are answered first, for at most 10 seconds or until it comes once more.";

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// Explanations that may wait; each takes as long as some hundred texts.
const EXPLANATIONS: usize = 16;
/// How long requests that are under way are waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

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
    /// Milliseconds that the first text of a batch waits for others
    #[arg(long, value_name = "MS", default_value = "2")]
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
    /// Seconds from the head of a request to its answer, slow senders included
    #[arg(long, value_name = "S", default_value = "30")]
    timeout: NonZeroU64,
}

/// Runs the command where it needs no libtorch.
pub fn run(args: ServeArgs) -> anyhow::Result<Light> {
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    match args.compute.light(&checkpoint)? {
        Some(classifier) => {
            let explainer = Explainer::new(&checkpoint)?;
            serve(args, &Predictor::new(checkpoint, classifier), explainer).map(Light::Done)
        }
        None => Ok(Light::NeedsLibtorch),
    }
}

/// Serves until a signal. This thread computes, others talk.
///
/// # Errors
/// Where the address cannot be listened on.
pub fn serve(args: ServeArgs, predictor: &Predictor, explainer: Explainer) -> anyhow::Result<u8> {
    process::allow_many_files();
    let runtime =
        Builder::new_multi_thread().worker_threads(2).enable_all().build().context("no threads")?;
    let address = SocketAddr::new(args.host, args.port);
    let listener = listen(&runtime, address)
        .with_context(|| format!("cannot listen on {address}; --port takes another"))?;
    let address = listener.local_addr().context("cannot tell the address")?;
    let measures = Arc::new(Measures::default());
    let (texts, jobs) = mpsc::channel();
    let (questions, explanations) = mpsc::sync_channel(EXPLANATIONS);
    let shared = Shared {
        columns: TextColumns::of(predictor.inputs()),
        labels: predictor.labels().to_vec(),
        checkpoint: args.checkpoint.display().to_string(),
        room: Arc::new(Semaphore::new(args.limits.queue.get().min(Semaphore::MAX_PERMITS))),
        limits: args.limits.clone(),
        measures: measures.clone(),
        texts,
        questions,
    };
    let explaining = thread::spawn(move || explain_all(&explainer, &explanations));
    let talking = thread::spawn(move || {
        let served = runtime.block_on(talk(listener, shared));
        // Requests that nobody finished sending are not waited for.
        runtime.shutdown_background();
        served
    });
    say(format!(
        "serving \"{}\", labels {}, on http://{address}",
        args.checkpoint.display(),
        listed(predictor.labels())
    ));
    if !address.ip().is_loopback() {
        say("note: whoever reaches this address may ask; nothing checks who it is");
    }
    Batcher { jobs, limits: args.limits, measures }.run(predictor);
    let served = talking.join().map_err(|_| anyhow!("the server broke off"))?;
    match served.context("cannot serve")? {
        End::Answered => {
            explaining.join().map_err(|_| anyhow!("explaining broke off"))?;
            say("ended; every request was answered");
        }
        // An explanation that is under way is left to itself.
        End::GivenUp => say("ended; requests that took longer were given up"),
    }
    Ok(FINE)
}

fn listen(runtime: &Runtime, address: SocketAddr) -> std::io::Result<TcpListener> {
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
async fn talk(listener: TcpListener, shared: Shared) -> std::io::Result<End> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let (stop, stopped) = tokio::sync::watch::channel(());
    let mut hear = stopped.clone();
    let shutdown = async move {
        // An error is that the other end is gone, which is the end as well.
        let _ = hear.changed().await;
    };
    let server = axum::serve(listener, api::router(shared)).with_graceful_shutdown(shutdown);
    let deadline = async {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        say("ending: requests that are under way are answered first");
        let _ = stop.send(());
        tokio::select! {
            () = tokio::time::sleep(LAST_ANSWERS) => {}
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    };
    tokio::select! {
        served = async { server.await } => served.map(|()| End::Answered),
        () = deadline => Ok(End::GivenUp),
    }
}

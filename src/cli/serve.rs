//! `lstmtext serve`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::arguments::ComputeArgs;
use super::exit::SUCCESS;
use crate::backend::Backends;
use crate::explanation::Explainer;
use crate::prediction::Classifier;
use crate::serve::{AccessArgs, Limits, serve};

const EXAMPLES: &str = "\
Examples:
  lstmtext serve runs/a
  curl -s localhost:8000/predict -d '{\"text\": \"One of the best films of the year.\"}'
  curl -s localhost:8000/predict -d '{\"texts\": [\"A mess.\", \"Superb.\"], \"top\": 1}'
  curl -s localhost:8000/explain -d '{\"text\": \"Not bad at all.\", \"method\": \"leave-one-out\"}'

GET / is a web page to try the model, /healthz describes the model, /metrics is for Prometheus.
Requests have to name the server by localhost or its address; other names need --allow-host. Web pages of \
other sites are refused unless --allow-origin allows them.
If the model has several text columns, each text is an object:
  {\"text\": {\"story\": \"…\", \"question\": \"…\"}}
Concurrent requests are batched. Errors have status 4xx or 5xx and the body {\"error\": \"…\"}. \
Status 503 means that too many texts are waiting. \
Ctrl-C or SIGTERM stops the server after it has answered the requests in progress, at most 10 \
seconds later. A second signal stops it at once.";

/// Serve predictions over HTTP
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Checkpoint, or run (uses its best checkpoint)
    checkpoint: PathBuf,
    /// Address to listen on; 0.0.0.0 accepts connections from other machines
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on; 0 chooses a free one
    #[arg(long, value_name = "N", default_value = "8000")]
    port: u16,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Serves until a signal arrives.
pub fn run(args: ServeArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let (checkpoint, network) = args.compute.open(backends, &args.checkpoint, &[], true)?;
    let explainer = Explainer::new(&checkpoint)?;
    let classifier = Classifier::new(checkpoint, network);
    let address = SocketAddr::new(args.host, args.port);
    serve(address, &args.checkpoint, args.access, args.limits, &classifier, explainer)?;
    Ok(SUCCESS)
}

//! `lstmtext serve`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::{ComputeArgs, FINE, Light};
use crate::explanation::Explainer;
use crate::prediction::Classifier;
use crate::run::checkpoint::Checkpoint;
use crate::serve::{Limits, serve};

const EXAMPLES: &str = "\
Examples:
  lstmtext serve runs/a
  curl -s localhost:8000/predict -d '{\"text\": \"One of the best films of the year.\"}'
  curl -s localhost:8000/predict -d '{\"texts\": [\"A mess.\", \"Superb.\"], \"top\": 1}'
  curl -s localhost:8000/explain -d '{\"text\": \"Not bad at all.\", \"method\": \"leave-one-out\"}'

GET / is a web page to try the model, /healthz describes the model, /metrics is for Prometheus. If the
model has several text columns, each text is an object:
{\"text\": {\"story\": \"…\", \"question\": \"…\"}}.
Concurrent requests are batched. Errors have status 4xx or 5xx and the body {\"error\": \"…\"}; 503 means
that too many texts are waiting. Ctrl-C or SIGTERM stops the server after it has answered the requests
in progress, at most 10 seconds later; a second signal stops it at once.";

/// Serve predictions over HTTP
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Checkpoint, or run (uses its best checkpoint)
    pub checkpoint: PathBuf,
    /// Address to listen on; 0.0.0.0 accepts connections from other machines
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on; 0 chooses a free one
    #[arg(long, value_name = "N", default_value = "8000")]
    port: u16,
    #[command(flatten)]
    limits: Limits,
    /// Where and how wide to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Runs the command where it needs no libtorch.
pub fn run(args: ServeArgs) -> anyhow::Result<Light> {
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    match args.compute.light(&checkpoint)? {
        Some(classifier) => {
            let explainer = Explainer::new(&checkpoint)?;
            answer(args, &Classifier::new(checkpoint, classifier), explainer).map(Light::Done)
        }
        None => Ok(Light::NeedsLibtorch),
    }
}

/// Serves until a signal arrives.
///
/// # Errors
/// Returns an error if the server cannot listen on the address.
pub fn answer(
    args: ServeArgs,
    classifier: &Classifier,
    explainer: Explainer,
) -> anyhow::Result<u8> {
    let address = SocketAddr::new(args.host, args.port);
    serve(address, &args.checkpoint, args.limits, classifier, explainer)?;
    Ok(FINE)
}

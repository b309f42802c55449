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

GET / is a page to try it, /healthz says what is served, /metrics is for Prometheus. A model of
several columns takes an object in place of a text: {\"text\": {\"story\": \"…\", \"question\": \"…\"}}.
Texts that come while others are computed are computed together. What cannot be answered gets a
status from 400 on and {\"error\": \"…\"}; 503 where too many texts wait. Ctrl-C or SIGTERM: requests
that are under way are answered first, for at most 10 seconds or until it comes once more.";

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

/// Serves until a signal.
///
/// # Errors
/// Where the address cannot be listened on.
pub fn answer(
    args: ServeArgs,
    classifier: &Classifier,
    explainer: Explainer,
) -> anyhow::Result<u8> {
    let address = SocketAddr::new(args.host, args.port);
    serve(address, &args.checkpoint, args.limits, classifier, explainer)?;
    Ok(FINE)
}

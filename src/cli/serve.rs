//! `lstmtext serve`.

use clap::Args;

use super::arguments::{ComputeArgs, ModelArgs};
use super::exit::SUCCESS;
use super::open_model::OpenModel;
use super::unsure::UnsureArgs;
use crate::backend::Backends;
use crate::explanation::Explainer;
use crate::prediction::Classifier;
use crate::serve::{ServerOptions, serve};

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
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    unsure: UnsureArgs,
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Serves until a signal arrives.
pub fn run(args: ServeArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let OpenModel { saved, networks, .. } = args.model.open(&args.compute, backends, &[], true)?;
    let explainer = Explainer::new(&saved)?;
    let classifier = args.unsure.apply(Classifier::new(saved, networks))?;
    serve(args.server, &args.model.checkpoint, &classifier, explainer)?;
    Ok(SUCCESS)
}

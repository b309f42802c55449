//! What `lstmtext bench` is told; it runs with libtorch.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::{ComputeArgs, SetArgs};

const EXAMPLES: &str = "\
Examples:
  lstmtext bench configs/imdb.yaml
  lstmtext bench configs/imdb.yaml --threads 1 --set model.lstm.units=128 --steps 20

Trains on the configuration's own data and keeps nothing. On the CPU, with backend: auto, both
backends take turns, so that what else the machine does troubles both alike; the figures are medians over the rounds.";

/// Show what the time of a training step goes into
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// The configuration, a YAML file
    pub config: PathBuf,
    /// Steps in a round
    #[arg(long, value_name = "N", default_value = "50")]
    pub steps: NonZeroUsize,
    /// Rounds
    #[arg(long, value_name = "N", default_value = "5")]
    pub rounds: NonZeroUsize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Changes to the configuration.
    #[command(flatten)]
    pub set: SetArgs,
    /// Where and how wide to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

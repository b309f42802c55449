//! What `lstmtext bench` is told; it runs with libtorch.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::{ComputeArgs, SetArgs};

const EXAMPLES: &str = "\
Examples:
  lstmtext bench configs/imdb.yaml
  lstmtext bench configs/imdb.yaml --threads 1 --set model.lstm.units=128 --steps 20
  lstmtext bench configs/imdb.yaml --device cuda --trace trace.json

Trains on the configuration's own data and keeps nothing. On the CPU, with backend: auto, both
backends take turns, so that what else the machine does troubles both alike; the figures are medians over the rounds. libtorch suffers more from other load than the kernel.

embed: input products of each distinct word, and their gradients. forward, backward: the LSTM.
head: pooled states to loss. wait: for the slower thread. merge: the threads' gradients added up.
clip: the gradients' norm. optimizer. pack: new weights in the kernel's order. GFLOP/s nominal: as
if every token were multiplied with every weight of the LSTM three times, which the kernel avoids.
On CUDA a step is what it takes from beginning to end, with making its batch ready; a trace, which
ui.perfetto.dev opens, shows every operation and kernel.";

/// Show what the time of a training step goes into
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// The configuration, a YAML file
    pub config: PathBuf,
    /// Steps in a round
    #[arg(long, value_name = "N", default_value = "50", value_parser = crate::config::count)]
    pub steps: NonZeroUsize,
    /// Rounds
    #[arg(long, value_name = "N", default_value = "5", value_parser = crate::config::count)]
    pub rounds: NonZeroUsize,
    /// After all rounds, write what libtorch does in one more to this file, for Perfetto
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
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

//! What `lstmtext train` is told; it runs with libtorch.

use std::path::PathBuf;

use clap::Args;

use super::{ComputeArgs, SetArgs};

const EXAMPLES: &str = "\
Examples:
  lstmtext train configs/imdb.yaml
  lstmtext train configs/imdb.yaml --out runs/a --set train.seed=2 --set model.pooling=max
  lstmtext train --resume runs/a
  lstmtext train --resume runs/a --set train.epochs=8

The run folder gets config.yaml, TensorBoard event files, metrics.jsonl, summary.json and the
checkpoints best/ and last/. Ctrl-C finishes the step, writes last/ and says how to go on.";

/// Train a model and save it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// The configuration, a YAML file (lstmtext config prints every field)
    #[arg(required_unless_present = "resume")]
    pub config: Option<PathBuf>,
    /// Go on with the run in this folder
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "out"])]
    pub resume: Option<PathBuf>,
    /// Folder of the run; by default runs/NAME-TIME
    #[arg(long, value_name = "RUN")]
    pub out: Option<PathBuf>,
    /// Leave the test examples to evaluate: whoever compares runs should not see their test scores
    #[arg(long)]
    pub no_test: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
    /// Changes to the configuration.
    #[command(flatten)]
    pub set: SetArgs,
    /// Where and how wide to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

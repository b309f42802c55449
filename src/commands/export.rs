//! `lstmtext export`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::FINE;
use super::output::print;
use crate::checkpoint::Checkpoint;
use crate::config::ConfigError;
use crate::keras;

const EXAMPLE: &str = "\
Example:
  lstmtext export runs/a --to weights.npz

The arrays have Keras's names and layout: embedding/embeddings, lstm/kernel, lstm/recurrent_kernel,
lstm/bias (gates in the order i, f, c, o), dense/kernel, dense/bias; lstm_1 is a second layer,
lstm/backward/kernel the other direction, story/lstm/kernel the LSTM of the input story. So
  layer.set_weights([w[\"lstm/kernel\"], w[\"lstm/recurrent_kernel\"], w[\"lstm/bias\"]])
puts them into a Keras model, and lstmtext import brings them back.";

/// Write the weights of a checkpoint in Keras's layout
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ExportArgs {
    /// A checkpoint, or a run (then its best)
    checkpoint: PathBuf,
    /// The file to write (.npz)
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Runs the command.
pub fn run(args: ExportArgs) -> anyhow::Result<u8> {
    if args.to.extension().is_none_or(|extension| extension != "npz") {
        let path = args.to.display();
        bail!(ConfigError::new(format!("--to \"{path}\": the name must end in .npz")));
    }
    let model = Checkpoint::open(&args.checkpoint)?.model(tch::Device::Cpu)?;
    keras::export(&model, &args.to)?;
    print(&args.to.display().to_string()).map(|()| FINE)
}

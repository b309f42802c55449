//! What `lstmtext export` is told; it runs with libtorch.

use std::path::PathBuf;

use clap::Args;

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
    pub checkpoint: PathBuf,
    /// The file to write (.npz)
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

//! What `lstmtext import` is told; it runs with libtorch.

use std::path::PathBuf;

use clap::Args;

use super::SetArgs;

const EXAMPLES: &str = "\
Examples:
  lstmtext import configs/keras_imdb_80.yaml weights.npz --to imported
  lstmtext import runs/a weights.npz --to imported

The configuration (or checkpoint) says what the model is; its words are those of the training
examples, or of the file in text.vocabulary. Where that and data.labels are set, no data is read.
`lstmtext export --help` has the names of the arrays.";

/// Make a checkpoint of weights in Keras's layout
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// A configuration (YAML), or a checkpoint or run whose model the weights are for
    pub model: PathBuf,
    /// The weights (.npz)
    pub weights: PathBuf,
    /// New folder that becomes the checkpoint
    #[arg(long, value_name = "FOLDER")]
    pub to: PathBuf,
    /// Changes to the configuration.
    #[command(flatten)]
    pub set: SetArgs,
}

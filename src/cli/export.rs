//! `lstmtext export`; for Keras it runs with libtorch.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use clap::Args;

use super::{FINE, Light};
use crate::config::ConfigError;
use crate::interchange::pytorch;
use crate::output::print;
use crate::run::checkpoint::Checkpoint;

const EXAMPLES: &str = "\
Examples:
  lstmtext export runs/a --to exported
  lstmtext export runs/a --to weights.npz

A folder gets model.safetensors, the weights under PyTorch's names, and model.json: labels, layers,
tokenizer, vocabulary. docs/python-onnx.md has a PyTorch module for it, and
  python scripts/export_onnx.py exported model.onnx
turns it into ONNX.

The arrays of a file .npz have Keras's names and layout: embedding/embeddings, lstm/kernel,
lstm/recurrent_kernel, lstm/bias (gates in the order i, f, c, o), dense/kernel, dense/bias; lstm_1
is a second layer, lstm/backward/kernel the other direction, story/lstm/kernel the LSTM of the input
story. So
  layer.set_weights([w[\"lstm/kernel\"], w[\"lstm/recurrent_kernel\"], w[\"lstm/bias\"]])
puts them into a Keras model, and lstmtext import brings them back.";

/// Write a checkpoint for Python, or its weights in Keras's layout
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// A checkpoint, or a run (then its best)
    pub checkpoint: PathBuf,
    /// A new folder for Python, or a file .npz for Keras
    #[arg(long, value_name = "FOLDER|FILE")]
    pub to: PathBuf,
}

/// Runs the command where it needs no libtorch.
pub fn run(args: ExportArgs) -> anyhow::Result<Light> {
    let ExportArgs { checkpoint, to } = args;
    let path = to.display();
    match to.extension() {
        Some(extension) if extension == "npz" => return Ok(Light::NeedsLibtorch),
        Some(_) => bail!(ConfigError::new(format!(
            "--to \"{path}\": name a folder, without an ending, or a file .npz; for ONNX, export a \
             folder and call scripts/export_onnx.py FOLDER FILE.onnx"
        ))),
        None => {}
    }
    ensure!(!to.exists(), "\"{path}\" is there already; name a new folder");
    pytorch::write(&Checkpoint::open(&checkpoint)?, &to)?;
    print(&path.to_string()).map(|()| Light::Done(FINE))
}

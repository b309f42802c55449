//! `lstmtext export`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::exit::SUCCESS;
use crate::backend::MemoryEstimate;
use crate::config::ConfigError;
use crate::interchange::{keras, pytorch};
use crate::io::replace::ensure_new;
use crate::output::print_data;
use crate::run::checkpoint::Checkpoint;

const EXAMPLES: &str = "\
Examples:
  lstmtext export runs/a --to exported
  lstmtext export runs/a --to weights.npz

A directory contains model.safetensors, the weights under PyTorch's names, and model.json: labels, \
layers, tokenizer and vocabulary. docs/python-onnx.md has a PyTorch module that loads it, and
  python scripts/export_onnx.py exported model.onnx
converts it to ONNX.

The arrays of an .npz file have Keras's names and layout: embedding/embeddings, lstm/kernel, \
lstm/recurrent_kernel, lstm/bias (gates in the order i, f, c, o), dense/kernel, dense/bias. lstm_1 is a \
second layer, lstm/backward/kernel the backward direction, story/lstm/kernel the LSTM of the input story.
  layer.set_weights([w[\"lstm/kernel\"], w[\"lstm/recurrent_kernel\"], w[\"lstm/bias\"]])
loads them into a Keras model; `lstmtext import` reads them back.";

/// Export a checkpoint for Python, or its weights in Keras's layout
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Checkpoint, or run (uses its best checkpoint)
    checkpoint: PathBuf,
    /// New directory for Python, or .npz file for Keras
    #[arg(long, value_name = "DIRECTORY|FILE")]
    to: PathBuf,
}

/// Runs the command.
pub fn run(args: ExportArgs) -> anyhow::Result<u8> {
    let ExportArgs { checkpoint, to } = args;
    let path = to.display();
    let npz = match to.extension() {
        Some(extension) if extension == "npz" => true,
        Some(_) => bail!(ConfigError::new(format!(
            "--to \"{path}\": name a directory without an extension, or an .npz file; for ONNX, export \
             a directory and run scripts/export_onnx.py DIRECTORY FILE.onnx"
        ))),
        None => false,
    };
    ensure_new(&to)?;
    let checkpoint = Checkpoint::open(&checkpoint)?;
    let spec = checkpoint.model_spec();
    MemoryEstimate::export(&spec)?.check(&spec, "exporting this model")?;
    match npz {
        true => keras::export(&checkpoint.weights()?, &to)?,
        false => pytorch::write(&checkpoint, &to)?,
    }
    print_data(&path.to_string())?;
    Ok(SUCCESS)
}

//! `lstmtext export`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;

use super::compact::{self, CompactArgs};
use super::exit::SUCCESS;
use crate::backend::MemoryEstimate;
use crate::config::ConfigError;
use crate::interchange::{keras, onnx, pytorch};
use crate::io::replace::ensure_new;
use crate::output::print_data;
use crate::run::checkpoint::Checkpoint;

const EXAMPLES: &str = "\
Examples:
  lstmtext export runs/a --to exported
  lstmtext export runs/a --to model.onnx
  lstmtext export runs/a --to weights.npz
  lstmtext export runs/a --quantize int8 --to small

A directory contains model.safetensors, the weights under PyTorch's names, and model.json: labels, \
layers, tokenizer and vocabulary. docs/python-onnx.md has a PyTorch module that loads it.

An .onnx file contains the whole model for ONNX Runtime. Its inputs are the ids of each text, their number, \
and the rows of its n-grams; its outputs are logits and probabilities. Its metadata entry lstmtext holds \
model.json. docs/python-onnx.md has an example.

The arrays of an .npz file have Keras's names and layout: embedding/embeddings, lstm/kernel, \
lstm/recurrent_kernel, lstm/bias (gates in the order i, f, c, o), dense/kernel, dense/bias. lstm_1 is a \
second layer, lstm/backward/kernel the backward direction, story/lstm/kernel the LSTM of the input story.
  layer.set_weights([w[\"lstm/kernel\"], w[\"lstm/recurrent_kernel\"], w[\"lstm/bias\"]])
loads them into a Keras model; `lstmtext import` reads them back.

With --quantize, --vocabulary-size or --ngrams, the directory is a smaller checkpoint for prediction, which \
other commands open like any other. It cannot be resumed; one with --quantize cannot be trained or exported \
again. docs/models.md has sizes and scores.";

/// Export a checkpoint for PyTorch or ONNX Runtime, or its weights in Keras's layout
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Checkpoint, or run (uses its best checkpoint)
    checkpoint: PathBuf,
    /// New directory for PyTorch, .onnx file for ONNX Runtime, or .npz file for Keras
    #[arg(long, value_name = "DIRECTORY|FILE")]
    to: PathBuf,
    /// Write an ONNX file, whatever its extension
    #[arg(long, conflicts_with_all = ["quantize", "vocabulary_size", "ngrams"])]
    onnx: bool,
    #[command(flatten)]
    compact: CompactArgs,
}

/// Format of an exported model.
enum Format {
    /// Directory for PyTorch.
    Directory,
    Onnx,
    /// Weights in Keras's layout.
    Npz,
}

impl Format {
    fn of(to: &Path, onnx: bool) -> anyhow::Result<Self> {
        Ok(match to.extension() {
            _ if onnx => Self::Onnx,
            None => Self::Directory,
            Some(extension) if extension == "onnx" => Self::Onnx,
            Some(extension) if extension == "npz" => Self::Npz,
            Some(_) => bail!(ConfigError::new(format!(
                "--to \"{}\": name a directory without an extension for PyTorch, an .onnx file for \
                 ONNX Runtime, or an .npz file for Keras; --onnx writes an ONNX file of any name",
                to.display()
            ))),
        })
    }
}

/// Runs the command.
pub fn run(args: ExportArgs) -> anyhow::Result<u8> {
    let ExportArgs { checkpoint, to, onnx, compact } = args;
    if let Some(compaction) = compact.compaction() {
        ensure_new(&to)?;
        compact::export(&checkpoint, compaction, &to)?;
        print_data(&to.display().to_string())?;
        return Ok(SUCCESS);
    }
    let format = Format::of(&to, onnx)?;
    ensure_new(&to)?;
    let checkpoint = Checkpoint::open(&checkpoint)?;
    checkpoint.check_precision()?;
    let spec = checkpoint.model_spec();
    MemoryEstimate::export(&spec)?.check(&spec, "exporting this model")?;
    match format {
        Format::Directory => pytorch::write(&checkpoint, &to)?,
        Format::Onnx => onnx::export(&checkpoint, &to)?,
        Format::Npz => keras::export(&checkpoint.weights()?, &to)?,
    }
    print_data(&to.display().to_string())?;
    Ok(SUCCESS)
}

//! Options of `lstmtext export` that write a compact checkpoint.

use std::path::Path;

use clap::{Args, ValueEnum};

use crate::backend::MemoryEstimate;
use crate::config::ConfigError;
use crate::output::format::format_bytes;
use crate::output::note;
use crate::run::checkpoint::{Checkpoint, Compaction};

/// Options that make a checkpoint smaller.
#[derive(Debug, Args)]
pub struct CompactArgs {
    /// Write a small checkpoint for prediction, with weights of this precision
    #[arg(long, value_name = "PRECISION")]
    quantize: Option<Quantization>,
    /// Write a checkpoint with only the N words, special ids included, whose vectors have the largest norms
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(5..))]
    vocabulary_size: Option<u32>,
    /// Write a checkpoint with only the N n-grams that add most to the logits
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ngrams: Option<u32>,
}

/// Precision of quantized weights.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Quantization {
    /// 8-bit integers with a scale for each row
    Int8,
}

impl CompactArgs {
    /// Returns the changes, if any.
    pub fn compaction(&self) -> Option<Compaction> {
        let Self { quantize, vocabulary_size, ngrams } = self;
        let is_compact = quantize.is_some() || vocabulary_size.is_some() || ngrams.is_some();
        is_compact.then(|| Compaction {
            quantize: quantize.is_some(),
            vocabulary_size: vocabulary_size.map(|size| size as usize),
            ngrams: ngrams.map(|count| count as usize),
        })
    }
}

/// Writes a compact checkpoint to the new directory `to`.
///
/// # Errors
/// Returns an error if `to` has an extension, or if the checkpoint cannot be exported.
pub fn export(checkpoint: &Path, compaction: Compaction, to: &Path) -> anyhow::Result<()> {
    if to.extension().is_some_and(|extension| extension == "npz" || extension == "onnx") {
        let message = "--quantize, --vocabulary-size and --ngrams write a checkpoint: --to must be a directory";
        return Err(ConfigError::new(message).into());
    }
    let checkpoint = Checkpoint::open(checkpoint)?;
    let spec = checkpoint.model_spec();
    MemoryEstimate::export(&spec)?.check(&spec, "exporting this model")?;
    let sizes = checkpoint.export_compact(to, compaction)?;
    note(format!(
        "{}, {:.1} times smaller than the checkpoint without its optimizer state ({})",
        format_bytes(sizes.after),
        sizes.before as f64 / sizes.after.max(1) as f64,
        format_bytes(sizes.before)
    ));
    Ok(())
}

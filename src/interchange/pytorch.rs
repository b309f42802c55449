//! Exported models for PyTorch: a directory with the weights and, as JSON, everything else that is needed
//! to reproduce the predictions.
//!
//! | file | content |
//! |---|---|
//! | `model.safetensors` | weights under PyTorch's names |
//! | `model.json` | labels and, for each input, tokenizer, vocabulary and layers |
//! | `tokenizer.json` | subwords, if the tokenizer has any; with several inputs `NAME.tokenizer.json` for each |

use std::path::Path;

use super::description::model_json;
use crate::io::files::{create_parent_directory, write as write_file};
use crate::io::replace::create_directory;
use crate::model::named_tensors;
use crate::run::checkpoint::{Checkpoint, tokenizer_file};

const WEIGHTS: &str = "model.safetensors";
const DESCRIPTION: &str = "model.json";

/// Writes the new directory `path`, and creates missing parents.
///
/// # Errors
/// Returns an error if a file cannot be read or written; no directory is left then.
pub fn write(checkpoint: &Checkpoint, path: &Path) -> anyhow::Result<()> {
    let json = model_json(checkpoint)?;
    let weights = checkpoint.weights()?;
    create_parent_directory(path)?;
    create_directory(path, |directory| {
        named_tensors::write(&directory.join(WEIGHTS), &weights)?;
        let inputs = checkpoint.resolved.config.inputs.iter().zip(&*checkpoint.encoders);
        for (input, encoder) in inputs {
            if let Some(subwords) = encoder.subwords() {
                write_file(&directory.join(tokenizer_file(input)), subwords.json())?;
            }
        }
        write_file(&directory.join(DESCRIPTION), &json)
    })
}

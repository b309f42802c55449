//! Byte-pair encoding of examples: it is trained on those for training, and splits the pieces of all.

use std::sync::Arc;

use anyhow::Context;

use crate::config::Config;
use crate::data::examples::Examples;
use crate::text::trained_subwords;

/// Trains the byte-pair encoding of each input that has none yet on these examples. Returns the indices of these
/// inputs.
pub(super) fn learn_subwords(examples: &Examples, config: &Config) -> anyhow::Result<Vec<usize>> {
    let mut learned = Vec::new();
    for (index, input) in config.inputs.iter().enumerate() {
        let tokenizer = &input.text.tokenizer;
        if tokenizer.needs_training() {
            let rows = examples.rows.iter().map(|row| *row as usize);
            let pieces = &examples.source.inputs[index];
            tokenizer.set_subwords(trained_subwords(pieces, rows, &input.text)?);
            learned.push(index);
        }
    }
    Ok(learned)
}

/// Splits the pieces of the inputs at these indices into subwords. Examples of one source share the result.
pub(super) fn split_pieces(
    all: &mut [&mut Examples],
    config: &Config,
    inputs: &[usize],
) -> anyhow::Result<()> {
    if inputs.is_empty() {
        return Ok(());
    }
    for at in 0..all.len() {
        let (before, rest) = all.split_at_mut(at);
        let Some((examples, after)) = rest.split_first_mut() else { break };
        let of_source = examples.source.clone();
        if before.iter().any(|other| Arc::ptr_eq(&other.source, &of_source)) {
            // It has been split with the other one.
            continue;
        }
        let mut sharing: Vec<&mut &mut Examples> =
            after.iter_mut().filter(|other| Arc::ptr_eq(&other.source, &of_source)).collect();
        drop(of_source);
        // Nothing else holds the source while it changes.
        sharing.iter_mut().for_each(|other| other.source = Arc::default());
        let source = Arc::get_mut(&mut examples.source).context("the texts are in use")?;
        source.split_pieces(&config.inputs, inputs)?;
        sharing.iter_mut().for_each(|other| other.source = examples.source.clone());
    }
    Ok(())
}

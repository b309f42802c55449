//! A configuration with its data read, tokenized and encoded.

use std::time::Instant;

use anyhow::ensure;

use crate::checkpoint::Checkpoint;
use crate::config::Resolved;
use crate::data::{self, DataSplits, Examples};
use crate::text::{Encoded, Encoder, Vocabulary};

/// Everything that training needs besides a model.
pub struct Experiment {
    /// The configuration.
    pub resolved: Resolved,
    /// The label of each class number.
    pub labels: Vec<String>,
    /// The tokenizer and the vocabulary of the training examples.
    pub encoder: Encoder,
    /// The training examples.
    pub train: Encoded,
    /// The validation examples.
    pub validation: Encoded,
    /// The test examples, possibly none.
    pub test: Encoded,
    /// What the user should know about the data.
    pub notes: Vec<String>,
    /// Seconds that reading and encoding took.
    pub seconds: f64,
}

impl Experiment {
    /// Reads the data and builds the vocabulary from the training examples.
    ///
    /// # Errors
    /// Where the data cannot be read, or no word of it occurs often enough.
    pub fn prepare(resolved: Resolved) -> anyhow::Result<Self> {
        let start = Instant::now();
        let splits = data::load(&resolved.config.data)?;
        let vocabulary = Vocabulary::build(&splits.train.texts, &resolved.config.text)?;
        let encoder = Encoder::new(&resolved.config.text, vocabulary);
        Ok(Self::encode(resolved, splits, encoder, start))
    }

    /// Reads the data of a checkpoint's run again.
    ///
    /// # Errors
    /// Where the data cannot be read, or has other labels now.
    pub fn reopen(checkpoint: &Checkpoint) -> anyhow::Result<Self> {
        let start = Instant::now();
        let resolved = checkpoint.resolved.clone();
        let splits = data::load(&resolved.config.data)?;
        ensure!(
            splits.labels == checkpoint.labels,
            "the data has the labels {}, the run was begun with {}",
            splits.labels.join(", "),
            checkpoint.labels.join(", ")
        );
        Ok(Self::encode(resolved, splits, checkpoint.encoder.clone(), start))
    }

    fn encode(resolved: Resolved, splits: DataSplits, encoder: Encoder, start: Instant) -> Self {
        let encode = |examples: Examples| Encoded {
            corpus: encoder.encode_all(&examples.texts),
            labels: examples.labels,
        };
        Self {
            resolved,
            labels: splits.labels,
            train: encode(splits.train),
            validation: encode(splits.validation),
            test: encode(splits.test),
            notes: splits.notes,
            seconds: start.elapsed().as_secs_f64(),
            encoder,
        }
    }
}

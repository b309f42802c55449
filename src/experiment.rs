//! A configuration with its data read, tokenized and encoded.

use std::time::Instant;

use anyhow::ensure;

use crate::checkpoint::Checkpoint;
use crate::config::Resolved;
use crate::data::{self, DataSplits, Examples};
use crate::text::{Encoded, Encoders};

/// Everything that training needs besides a model.
pub struct Experiment {
    /// The configuration.
    pub resolved: Resolved,
    /// The label of each class number.
    pub labels: Vec<String>,
    /// For each input the tokenizer and the vocabulary.
    pub encoders: Encoders,
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
        let mut splits = data::load(&resolved.config)?;
        let encoders = Encoders::build(&resolved.config.inputs, &splits.train.texts)?;
        splits.leave_out_long(&resolved.config)?;
        Ok(Self::encode(resolved, splits, encoders, start))
    }

    /// Reads the data of a checkpoint's run again.
    ///
    /// # Errors
    /// Where the data cannot be read, or has other labels now.
    pub fn reopen(checkpoint: &Checkpoint) -> anyhow::Result<Self> {
        let start = Instant::now();
        let resolved = checkpoint.resolved.clone();
        let mut splits = data::load(&resolved.config)?;
        splits.leave_out_long(&resolved.config)?;
        ensure!(
            splits.labels == checkpoint.labels,
            "the data has the labels {}, the run was begun with {}",
            splits.labels.join(", "),
            checkpoint.labels.join(", ")
        );
        Ok(Self::encode(resolved, splits, checkpoint.encoders.clone(), start))
    }

    fn encode(resolved: Resolved, splits: DataSplits, encoders: Encoders, start: Instant) -> Self {
        let encode = |examples: Examples| Encoded {
            inputs: encoders.encode(&examples.texts),
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
            encoders,
        }
    }
}

//! A configuration with its data read, tokenized and encoded.

use std::time::Instant;

use anyhow::{Context, ensure};

use crate::config::{Config, Input, Resolved};
use crate::data::{self, DataSplits, Dataset};
use crate::random::{SeedPurpose, derive_seed};
use crate::text::{Corpus, Encoders, WordVectors, coverage, read_vectors};

/// Everything that training needs besides a model.
pub struct PreparedData {
    /// The configuration.
    pub resolved: Resolved,
    /// The label of each class number.
    pub labels: Vec<String>,
    /// For each input the tokenizer and the vocabulary.
    pub encoders: Encoders,
    /// For each input its pre-trained word vectors, where it has some that a new model begins with.
    pub vectors: Vec<Option<WordVectors>>,
    /// The training examples.
    pub train: Dataset,
    /// The validation examples.
    pub validation: Dataset,
    /// The test examples, possibly none.
    pub test: Dataset,
    /// What the user should know about the data.
    pub notes: Vec<String>,
    /// Seconds that reading and encoding took.
    pub seconds: f64,
}

impl PreparedData {
    /// Reads the data and builds the vocabulary from the training examples.
    ///
    /// # Errors
    /// Where the data cannot be read, or no word of it occurs often enough.
    pub fn prepare(resolved: Resolved) -> anyhow::Result<Self> {
        let start = Instant::now();
        let mut splits = data::load(&resolved.config)?;
        let encoders = splits.train.encoders(&resolved.config.inputs)?;
        splits.leave_out_long(&resolved.config)?;
        let vectors = read_all_vectors(&resolved.config, &encoders)?;
        let mut experiment = Self::encode(resolved, splits, encoders, start)?;
        experiment.vectors = vectors;
        experiment.notes.extend(experiment.coverage_notes());
        experiment.seconds = start.elapsed().as_secs_f64();
        Ok(experiment)
    }

    /// Reads the data of a run again, whose `labels` and `encoders` its checkpoint holds.
    ///
    /// # Errors
    /// Where the data cannot be read, or has other labels now.
    pub fn reopen(
        resolved: Resolved,
        labels: &[String],
        encoders: Encoders,
    ) -> anyhow::Result<Self> {
        let start = Instant::now();
        let mut splits = data::load(&resolved.config)?;
        splits.leave_out_long(&resolved.config)?;
        ensure!(
            splits.labels == labels,
            "the data has the labels {}, the run was begun with {}",
            splits.labels.join(", "),
            labels.join(", ")
        );
        Self::encode(resolved, splits, encoders, start)
    }

    fn encode(
        resolved: Resolved,
        splits: DataSplits,
        encoders: Encoders,
        start: Instant,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            resolved,
            labels: splits.labels,
            vectors: Vec::new(),
            train: splits.train.encoded(&encoders)?,
            validation: splits.validation.encoded(&encoders)?,
            test: splits.test.encoded(&encoders)?,
            notes: splits.notes,
            seconds: start.elapsed().as_secs_f64(),
            encoders,
        })
    }

    /// The tokens of all examples.
    pub fn tokens(&self) -> usize {
        self.train.tokens() + self.validation.tokens() + self.test.tokens()
    }

    /// How much of the vocabulary and of the training texts has a pre-trained vector.
    fn coverage_notes(&self) -> Vec<String> {
        let inputs = self.resolved.config.inputs.iter().zip(&self.vectors).zip(&self.train.inputs);
        let note = |((input, vectors), corpus): ((&Input, &Option<WordVectors>), &Corpus)| {
            let vectors = vectors.as_ref()?;
            let coverage = coverage(&vectors.found, corpus.ids().iter().copied());
            let left_out = match vectors.skipped {
                0 => String::new(),
                words => format!("; {words} words of the file are not UTF-8 and were left out"),
            };
            Some(format!(
                "{}: {:.2} % of the words and {:.2} % of the training tokens have a vector{left_out}",
                input.field("embedding.vectors"),
                100.0 * coverage.types,
                100.0 * coverage.tokens,
            ))
        };
        inputs.filter_map(note).collect()
    }
}

fn read_all_vectors(
    config: &Config,
    encoders: &Encoders,
) -> anyhow::Result<Vec<Option<WordVectors>>> {
    let read = |(number, input): (usize, &Input)| {
        let Some(path) = &input.embedding.vectors else { return Ok(None) };
        let seed = derive_seed(config.train.seed, SeedPurpose::WordVectors(number));
        let words = encoders[number].vocabulary();
        let vectors = read_vectors(path, words, input.embedding.size, seed);
        vectors.with_context(|| input.field("embedding.vectors")).map(Some)
    };
    config.inputs.iter().enumerate().map(read).collect()
}

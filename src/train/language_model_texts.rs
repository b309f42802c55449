//! Batches of the joint language model of a classifier.

use anyhow::Context;

use crate::backend::{Backend, JointBatch, LanguageModelSettings};
use crate::config::Config;
use crate::data::prepared::PreparedData;
use crate::pretrain::language_model::{self, Rows, TokenStream};
use crate::random::{SeedPurpose, derive_seed};
use crate::text::Corpus;

/// The training texts and the unlabelled ones as a stream of tokens in batches, one for each step: a pure function of
/// texts, settings and step. The texts are passed over again and again, in epochs of their own.
pub struct LanguageModelTexts<'a> {
    corpora: Vec<&'a Corpus>,
    vocabulary_size: usize,
    rows: Rows,
    directions: usize,
    seed: u64,
    /// Index of the current epoch of these texts.
    epoch: usize,
    stream: TokenStream<'a>,
}

impl<'a> LanguageModelTexts<'a> {
    /// Divides the texts of `data` into rows and steps. Returns `None` if there is no joint language model.
    ///
    /// # Errors
    /// Returns an error if there are too few texts.
    pub fn of(data: &'a PreparedData) -> anyhow::Result<Option<Self>> {
        let config = &data.resolved.config;
        if !config.train.has_language_model() {
            return Ok(None);
        }
        let sets = std::iter::once(&data.train).chain(&data.unlabelled);
        let corpora: Vec<&Corpus> = sets.map(|set| &set.inputs[0]).collect();
        let seed = derive_seed(config.train.seed, SeedPurpose::LanguageModel);
        let stream = TokenStream::shuffled(corpora.iter().copied(), seed, 0);
        let of_model = &config.pretrain.language_model;
        let rows = Rows::new(stream.tokens(), of_model.batch_size, of_model.sequence_length);
        let rows = rows.context("train.language_model_weight: there are too few texts")?;
        Ok(Some(Self {
            corpora,
            vocabulary_size: data.encoders.vocabulary_sizes()[0],
            rows,
            directions: config.inputs[0].lstm.directions(),
            seed,
            epoch: 0,
            stream,
        }))
    }

    /// Rows and steps of a batch.
    pub fn rows(&self) -> Rows {
        self.rows
    }

    /// Returns the settings of the language model.
    ///
    /// # Errors
    /// Returns an error if it does not fit into memory.
    pub fn settings(
        &self,
        backend: &dyn Backend,
        config: &Config,
    ) -> anyhow::Result<LanguageModelSettings> {
        let counts = self.stream.counts(self.vocabulary_size);
        language_model::settings(backend, config, counts, self.seed, self.rows)
    }

    /// Returns the batch of a step, counted from 0.
    pub fn batch(&mut self, step: u64) -> JointBatch {
        let batches = self.rows.batches() as u64;
        let (epoch, index) = ((step / batches) as usize, (step % batches) as usize);
        if epoch != self.epoch {
            self.stream = TokenStream::shuffled(self.corpora.iter().copied(), self.seed, epoch);
            self.epoch = epoch;
        }
        let batch = self.stream.batch(&self.rows, index, self.directions);
        JointBatch { batch, step, starts: index == 0 }
    }
}

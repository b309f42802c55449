//! Texts that steps read besides the training examples.

use super::language_model_texts::LanguageModelTexts;
use super::unlabelled::UnlabelledTexts;
use crate::backend::{Learner, PreparedBatch, Preparer};
use crate::data::prepared::PreparedData;
use crate::distributed::Worker;

/// Texts that steps read besides the training examples.
pub struct AddedTexts<'a> {
    /// Texts for the terms of the loss that need no labels.
    pub unlabelled: Option<UnlabelledTexts<'a>>,
    /// Texts of the joint language model.
    pub language_model: Option<LanguageModelTexts<'a>>,
}

impl<'a> AddedTexts<'a> {
    /// Plans the batches of the texts that the configuration of `data` uses.
    ///
    /// # Errors
    /// Returns an error if there are too few texts for a language model.
    pub fn of(data: &'a PreparedData) -> anyhow::Result<Self> {
        let config = &data.resolved.config.train;
        let unlabelled = data.unlabelled.as_ref().filter(|_| config.has_unlabelled_terms());
        Ok(Self {
            unlabelled: unlabelled.map(|texts| UnlabelledTexts::new(texts, config)),
            language_model: LanguageModelTexts::of(data)?,
        })
    }

    /// Returns the batches of these texts for the steps of a single process.
    pub fn batches(self, learner: &dyn Learner) -> AddedBatches<'a> {
        let prepare = self.unlabelled.as_ref().map(|_| learner.unlabelled_preparer(Worker::ALONE));
        AddedBatches { texts: self, prepare }
    }
}

/// Batches of texts that a single process reads besides the training examples.
pub struct AddedBatches<'a> {
    texts: AddedTexts<'a>,
    /// The learner's function for unlabelled texts, if there are any.
    prepare: Option<Preparer>,
}

impl AddedBatches<'_> {
    /// Adds the batches of a step, counted from 0 and not before that of an earlier call, to that of the labelled
    /// examples.
    pub fn add_to(&mut self, mut batch: PreparedBatch, step: u64) -> PreparedBatch {
        if let Some((texts, prepare)) = self.texts.unlabelled.as_mut().zip(self.prepare.as_mut()) {
            batch = texts.add_to(batch, step, prepare);
        }
        let texts = self.texts.language_model.as_mut();
        batch.with_language_model(texts.map(|texts| texts.batch(step)))
    }
}

//! The texts of the batches of an epoch, on their way to the thread that prepares the batches. If several processes
//! have different texts, they collect those of many batches at once.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::added_texts::AddedTexts;
use crate::backend::JointBatch;
use crate::data::Dataset;
use crate::data::batch_plan::BatchPlan;
use crate::distributed::Collective;
use crate::random::{SeedPurpose, derive_seed};

/// Number of batches whose texts processes send each other at once.
const WINDOW: usize = 32;

/// A data set with the texts of a batch.
enum Texts<'a> {
    /// The whole data set.
    All(&'a Dataset),
    /// The texts of some batches.
    Collected(Arc<Dataset>),
}

/// Texts of a batch.
pub struct BatchTexts<'a> {
    texts: Texts<'a>,
    /// Indices of the examples among the texts.
    pub examples: Vec<u32>,
    /// Seed of dropout.
    pub seed: u64,
}

impl Deref for BatchTexts<'_> {
    type Target = Dataset;
    fn deref(&self) -> &Dataset {
        match &self.texts {
            Texts::All(data) => data,
            Texts::Collected(data) => data,
        }
    }
}

/// Texts of a step.
pub struct StepTexts<'a> {
    /// Training examples.
    pub labelled: BatchTexts<'a>,
    /// Unlabelled texts, if there are any.
    pub unlabelled: Option<BatchTexts<'a>>,
    /// Tokens of the joint language model, if there is one.
    pub language_model: Option<JointBatch>,
}

/// The texts of the steps of an epoch, from some step on.
pub struct EpochTexts<'a, 'plan> {
    data: &'a Dataset,
    plan: &'plan BatchPlan,
    added: AddedTexts<'a>,
    /// `train.seed`.
    seed: u64,
    /// Index of the next batch.
    next: usize,
    /// Number of steps before it in all epochs.
    step: u64,
}

impl<'a, 'plan> EpochTexts<'a, 'plan> {
    /// Starts with the batch `next` of an epoch, before which `step` steps have been done.
    pub fn new(
        data: &'a Dataset,
        plan: &'plan BatchPlan,
        added: AddedTexts<'a>,
        seed: u64,
        (next, step): (usize, u64),
    ) -> Self {
        Self { data, plan, added, seed, next, step }
    }

    /// Returns the texts besides the training examples, for the next epoch.
    pub fn into_added(self) -> AddedTexts<'a> {
        self.added
    }

    /// Collects the texts of the next steps.
    fn collect_window(
        &mut self,
        collective: &dyn Collective,
    ) -> anyhow::Result<Vec<StepTexts<'static>>> {
        let steps: Vec<StepTexts> = self.by_ref().take(WINDOW).collect();
        let (labelled, unlabelled): (Vec<_>, Vec<_>) =
            steps.into_iter().map(|step| (step.labelled, step.unlabelled)).unzip();
        let labelled = collect(labelled, collective)?;
        let mut unlabelled =
            collect(unlabelled.into_iter().flatten().collect(), collective)?.into_iter();
        let steps = labelled.into_iter().map(|labelled| StepTexts {
            labelled,
            unlabelled: unlabelled.next(),
            // Language models need all texts in one process.
            language_model: None,
        });
        Ok(steps.collect())
    }
}

/// Yields steps that refer to the whole data set; with sharded data, collect their texts before use.
impl<'a> Iterator for EpochTexts<'a, '_> {
    type Item = StepTexts<'a>;

    fn next(&mut self) -> Option<StepTexts<'a>> {
        if self.next == self.plan.len() {
            return None;
        }
        let step = self.step;
        let batch = |data: &'a Dataset, seed: u64, examples: &[u32]| BatchTexts {
            texts: Texts::All(data),
            examples: examples.to_vec(),
            seed,
        };
        let seed = derive_seed(self.seed, SeedPurpose::Dropout(step));
        let unlabelled = self.added.unlabelled.as_mut().map(|texts| {
            let (data, seed) = (texts.data(), texts.dropout_seed(step));
            batch(data, seed, texts.batch(step))
        });
        let labelled = batch(self.data, seed, self.plan.batch(self.next));
        let language_model = self.added.language_model.as_mut().map(|texts| texts.batch(step));
        let texts = StepTexts { labelled, unlabelled, language_model };
        self.next += 1;
        self.step += 1;
        Some(texts)
    }
}

/// Collects the texts of batches of one data set.
fn collect(
    batches: Vec<BatchTexts>,
    collective: &dyn Collective,
) -> anyhow::Result<Vec<BatchTexts<'static>>> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let all: Vec<u32> = batches.iter().flat_map(|batch| &batch.examples).copied().collect();
    let texts = Arc::new(first.collect(&all, collective)?);
    let mut positions = 0_u32..;
    let batch = |batch: &BatchTexts| BatchTexts {
        texts: Texts::Collected(texts.clone()),
        examples: positions.by_ref().take(batch.examples.len()).collect(),
        seed: batch.seed,
    };
    Ok(batches.iter().map(batch).collect())
}

/// Collects the texts of an epoch ahead of the steps that need them.
pub struct Windows<'a, 'plan> {
    texts: EpochTexts<'a, 'plan>,
    sender: Sender<Vec<StepTexts<'a>>>,
}

impl<'a, 'plan> Windows<'a, 'plan> {
    /// Sends the texts to the receiver of `sender`.
    pub fn new(texts: EpochTexts<'a, 'plan>, sender: Sender<Vec<StepTexts<'a>>>) -> Self {
        Self { texts, sender }
    }

    /// Collects windows until one window beyond `batch` has been sent to the preparation thread. All processes must
    /// call this before the same steps.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn reach(&mut self, batch: usize, collective: &dyn Collective) -> anyhow::Result<()> {
        let wanted = self.texts.plan.len().min(batch + 1 + WINDOW);
        while self.texts.next < wanted {
            // If the receiver has failed, its thread reports the cause.
            let _ = self.sender.send(self.texts.collect_window(collective)?);
        }
        Ok(())
    }

    /// Returns the texts besides the training examples, for the next epoch.
    pub fn into_added(self) -> AddedTexts<'a> {
        self.texts.into_added()
    }
}

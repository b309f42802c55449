//! Batches of unlabelled texts for the steps of a run.

use crate::backend::{PreparedBatch, Preparer};
use crate::config::TrainConfig;
use crate::data::Dataset;
use crate::data::batch_plan::{BatchPlan, Bucketing};
use crate::random::{SeedPurpose, derive_seed};

/// Unlabelled texts in batches, one for each step: a pure function of texts, settings and step. The texts
/// are passed over again and again, in epochs of their own.
pub struct UnlabelledTexts<'a> {
    data: &'a Dataset,
    lengths: Vec<Vec<usize>>,
    bucketing: Bucketing,
    seed: u64,
    /// Index of the current epoch of these texts.
    epoch: usize,
    /// Step of its first batch, from 0.
    start: u64,
    plan: BatchPlan,
}

impl<'a> UnlabelledTexts<'a> {
    /// Plans the batches of `data`, which has at least one text.
    pub fn new(data: &'a Dataset, config: &TrainConfig) -> Self {
        let (bucketing, lengths) = (Bucketing::new(config), data.lengths());
        let seed = derive_seed(config.seed, SeedPurpose::Unlabelled);
        let plan = bucketing.plan(&lengths, seed, 0);
        Self { data, lengths, bucketing, seed, epoch: 0, start: 0, plan }
    }

    /// Adds the batch of a step, counted from 0 and not before that of an earlier call, to that of the
    /// labelled examples. `prepare` is the learner's function for unlabelled texts.
    pub fn add_to(
        &mut self,
        batch: PreparedBatch,
        step: u64,
        prepare: &mut Preparer,
    ) -> PreparedBatch {
        let (seed, data) = (self.dropout_seed(step), self.data);
        batch.with_unlabelled(prepare(data, self.batch(step), seed))
    }

    /// Returns the seed of dropout in a step.
    pub fn dropout_seed(&self, step: u64) -> u64 {
        derive_seed(self.seed, SeedPurpose::Dropout(step))
    }

    /// Returns the texts from which the batches are.
    pub fn data(&self) -> &'a Dataset {
        self.data
    }

    /// Returns the indices of the texts of a step, counted from 0 and not before that of an earlier call.
    pub fn batch(&mut self, step: u64) -> &[u32] {
        while step >= self.start + self.plan.len() as u64 {
            self.start += self.plan.len() as u64;
            self.epoch += 1;
            self.plan = self.bucketing.plan(&self.lengths, self.seed, self.epoch);
        }
        self.plan.batch((step - self.start) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, PadSide};
    use crate::text::Corpus;

    #[test]
    fn each_epoch_has_all_texts_and_a_resumed_run_the_same_batches() {
        let texts: Vec<Vec<u32>> = (0..23_usize).map(|i| vec![4; 1 + i % 5]).collect();
        let corpus = Corpus::from_texts(PadSide::Back, 9, texts.iter().map(|text| &text[..]));
        let data = Dataset { inputs: vec![corpus], ..Dataset::default() };
        for size in ["batch_size: 4", "token_budget: 12"] {
            let yaml = format!("data: {{train: x}}\ntrain: {{{size}}}\n");
            let config = config::parse(&yaml, "test", &[]).unwrap().config.train;
            let mut texts = UnlabelledTexts::new(&data, &config);
            let batches: Vec<Vec<u32>> = (0..40).map(|step| texts.batch(step).to_vec()).collect();
            let mut first: Vec<u32> = batches.concat()[..23].to_vec();
            assert_ne!(first, batches.concat()[23..46], "{size}: every epoch has its own order");
            first.sort_unstable();
            assert_eq!(first, (0..23).collect::<Vec<u32>>(), "{size}");
            let mut resumed = UnlabelledTexts::new(&data, &config);
            assert_eq!(resumed.batch(31), batches[31], "{size}");
            assert_eq!(resumed.batch(32), batches[32], "{size}");
        }
    }
}

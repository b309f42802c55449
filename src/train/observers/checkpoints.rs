//! Writes the checkpoints of a run.

use super::observer::Observer;
use crate::backend::Learner;
use crate::data::prepared::PreparedData;
use crate::model::NamedTensor;
use crate::run::checkpoint::{self, Checkpoint, Contents, ModelKind};
use crate::run::directory::RunDirectory;
use crate::run::progress::Progress;
use crate::run::summary::CheckpointKind;

/// Writes `best/` and `last/` into a run directory.
pub struct CheckpointWriter<'a> {
    data: &'a PreparedData,
    run: RunDirectory,
}

impl<'a> CheckpointWriter<'a> {
    /// Writes into `run` checkpoints of a model that is trained on `data`.
    pub fn new(data: &'a PreparedData, run: RunDirectory) -> Self {
        Self { data, run }
    }
}

impl Observer for CheckpointWriter<'_> {
    fn checkpoint(
        &mut self,
        kind: CheckpointKind,
        learner: &mut dyn Learner,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let mut weights = learner.weights();
        progress.branch_scales().apply(&mut weights);
        let contents = Contents {
            model: ModelKind::Classifier,
            resolved: &self.data.resolved,
            labels: &self.data.labels,
            encoders: &self.data.encoders,
            weights,
            raw_weights: learner.raw_weights(),
            optimizer_state: learner.optimizer_state(),
            progress,
        };
        checkpoint::save(&self.run.checkpoint(kind), &contents)
    }

    fn best_weights(&self) -> anyhow::Result<Option<Vec<NamedTensor>>> {
        Checkpoint::open(&self.run.best())?.weights().map(Some)
    }
}

//! Vectors of texts: the pooled features of a trained model.

use anyhow::{bail, ensure};

use super::classifier::native_inference;
use crate::backend::native::NativeInference;
use crate::data::batch_plan::{BatchLimit, Bucketing};
use crate::objective::check_finite;
use crate::run::saved_model::SavedModel;
use crate::text::{Corpus, Encoders};

/// A trained model that turns texts into vectors: the pooled hidden states of each input with an LSTM, in the
/// order of the inputs.
pub struct Embedder {
    network: NativeInference,
    encoders: Encoders,
    size: usize,
}

impl Embedder {
    /// Loads the network of a model.
    ///
    /// # Errors
    /// Returns an error for an ensemble and for a model without an LSTM, and if the weights do not fit the
    /// configuration.
    pub fn new(saved: &SavedModel) -> anyhow::Result<Self> {
        let [checkpoint] = &saved.members[..] else {
            bail!(
                "\"{}\" is an ensemble, whose models have vectors of their own; pass one of its runs",
                saved.path.display()
            );
        };
        let inputs = &checkpoint.resolved.config.inputs;
        let size = inputs.iter().map(|input| input.features()).sum();
        ensure!(size > 0, "the model has no LSTM, and so no vectors (model.lstm: null)");
        let network = native_inference(checkpoint)?;
        Ok(Self { network, encoders: checkpoint.encoders.clone(), size })
    }

    /// Size D of a vector.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns the vectors of examples, [N, D], in order. `columns` has the texts of each text column. Examples
    /// of similar length are computed in batches of at most `batch_size`.
    ///
    /// # Errors
    /// Returns an error if the weights overflow.
    pub fn embed(&self, columns: &[Vec<String>], batch_size: usize) -> anyhow::Result<Vec<f32>> {
        let count = columns.first().map_or(0, Vec::len);
        if count == 0 {
            return Ok(Vec::new());
        }
        let inputs = self.encoders.encode(columns);
        let lengths: Vec<Vec<usize>> = inputs.iter().map(Corpus::lengths).collect();
        let plan = Bucketing::sorted(BatchLimit::Examples(batch_size), &lengths);
        let batches: Vec<&[u32]> = plan.batches().collect();
        let mut vectors = vec![0.0; count * self.size];
        let all = self.network.features_of_batches(&inputs, &batches);
        for (examples, rows) in batches.into_iter().zip(all) {
            for (example, row) in examples.iter().zip(rows.chunks_exact(self.size)) {
                vectors[*example as usize * self.size..][..self.size].copy_from_slice(row);
            }
        }
        check_finite(vectors.iter().map(|value| f64::from(*value)))?;
        Ok(vectors)
    }
}

//! Result of a finished run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::plausible::is_plausible_duration;
use super::progress::ModelSource;
use crate::data::Fingerprint;
use crate::objective::metrics::Score;

/// Checkpoint of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointKind {
    /// `best/`: the weights of the best validation so far.
    Best,
    /// `last/`: the state after the latest step.
    Last,
}

impl CheckpointKind {
    /// Name of its directory.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Last => "last",
        }
    }
}

/// Weights that scores belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoredWeights {
    /// Checkpoint that contains them.
    pub checkpoint: CheckpointKind,
    /// Epoch of their validation, from 1.
    pub epoch: usize,
}

impl fmt::Display for ScoredWeights {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/ (epoch {})", self.checkpoint.as_str(), self.epoch)
    }
}

/// Result of a finished run, in `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Number of trainable parameters.
    pub parameters: usize,
    /// Best epoch, from 1.
    pub best_epoch: usize,
    /// Seconds of training, without validation and writing.
    pub seconds: f64,
    /// Number of tokens trained on per second.
    pub tokens_per_second: f64,
    /// Weights that both scores belong to. `None` in summaries of earlier versions, whose validation
    /// score is that of the best epoch.
    #[serde(default)]
    pub scored: Option<ScoredWeights>,
    /// Model from whose weights the run started; missing if it started from initial weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ModelSource>,
    /// Score on the validation examples.
    pub validation: Score,
    /// Number of validation examples; 0 in summaries of earlier versions.
    #[serde(default)]
    pub validation_examples: usize,
    /// Fingerprint of the validation examples; `None` in summaries of earlier versions.
    #[serde(default)]
    pub validation_data: Option<Fingerprint>,
    /// Score on the test examples; null if there are none.
    pub test: Option<Score>,
    /// Fingerprint of the test examples; `None` without a score, and in summaries of earlier versions.
    #[serde(default)]
    pub test_data: Option<Fingerprint>,
    /// Warnings about a model that has learned nothing.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Notes on the data, such as texts that are in two splits.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl RunSummary {
    /// Weights that the validation score belongs to.
    pub fn scored(&self) -> ScoredWeights {
        let best = ScoredWeights { checkpoint: CheckpointKind::Best, epoch: self.best_epoch };
        self.scored.unwrap_or(best)
    }

    /// Returns false if no run can have this summary.
    pub(super) fn is_plausible(&self) -> bool {
        let mut scores = [Some(self.validation), self.test].into_iter().flatten();
        scores.all(|score| score.is_plausible())
            && is_plausible_duration(self.seconds)
            && is_plausible_duration(self.tokens_per_second)
    }
}

#[cfg(test)]
impl RunSummary {
    /// Summary of some run.
    pub const EXAMPLE: Self = Self {
        parameters: 7,
        best_epoch: 2,
        seconds: 9.5,
        scored: None,
        source: None,
        tokens_per_second: 100.0,
        validation: Score::new(0.25, 0.9),
        validation_examples: 50,
        validation_data: None,
        test: None,
        test_data: None,
        warnings: Vec::new(),
        notes: Vec::new(),
    };
}

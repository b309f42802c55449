//! Comparison with another checkpoint.

use std::path::PathBuf;

use serde::Serialize;

use crate::evaluation::Comparison;

/// Scores of the other checkpoint, and on which examples the two disagree.
#[derive(Serialize)]
pub struct ComparisonReport {
    /// Directory of the other checkpoint.
    pub checkpoint: PathBuf,
    /// Epoch of the other checkpoint, from 1; `None` if it was not trained.
    pub epoch: Option<usize>,
    /// Accuracy of the other checkpoint.
    pub accuracy: f64,
    /// Loss of the other checkpoint.
    pub loss: f64,
    /// Numbers of examples that one or both classify correctly, and the p-value.
    #[serde(flatten)]
    pub comparison: Comparison,
}

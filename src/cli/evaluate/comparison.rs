//! Comparison with another checkpoint.

use serde::Serialize;

use crate::evaluation::Comparison;

/// Scores of the other checkpoint, and on which examples the two disagree.
#[derive(Serialize)]
pub struct ComparisonReport {
    /// Accuracy of the other checkpoint.
    pub accuracy: f64,
    /// Loss of the other checkpoint.
    pub loss: f64,
    /// Numbers of examples that one or both classify correctly, and the p-value.
    #[serde(flatten)]
    pub comparison: Comparison,
}

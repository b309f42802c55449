//! Scores of a classifier on labeled examples. They equal those of scikit-learn and SciPy. Reading
//! the examples and printing the scores belong elsewhere.

mod baseline;
mod calibration;
mod class_counts;
mod comparison;
mod label_issues;
mod metric;
mod predictions;
mod ranking;
mod report;

pub use baseline::{Baseline, Verdict};
pub use calibration::CalibrationBin;
pub use class_counts::{ClassCounts, ClassScore};
pub use comparison::{Comparison, compare};
pub use label_issues::{LabelIssue, label_issues};
pub use predictions::Predictions;
pub use report::{ClassReport, ConfusedPair, ConfusionCounts, Evaluation, LengthBucket};

#[cfg(test)]
pub(crate) mod tests;

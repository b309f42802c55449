//! Scores of a classifier on labeled examples. They equal those of scikit-learn and SciPy. Reading
//! the examples and printing the scores belong elsewhere.

mod baseline;
mod bootstrap;
mod calibrated;
mod calibration;
mod class_counts;
mod comparison;
mod confusion;
mod coverage;
mod interval;
mod label_issues;
mod label_sets;
mod metric;
mod predictions;
mod ranking;
mod report;

pub use baseline::{Baseline, Verdict};
pub use bootstrap::{RESAMPLES, ScoreDifference};
pub use calibrated::{DecisionGoal, FittedCalibration};
pub use calibration::CalibrationBin;
pub use class_counts::{ClassAverages, ClassCounts, ClassScore};
pub use comparison::{Comparison, compare};
pub use confusion::{ConfusedPair, ConfusionCounts};
pub use coverage::Coverage;
pub use label_issues::{LabelIssue, label_issues};
pub use label_sets::LabelSetScores;
pub use predictions::Predictions;
pub use report::{ClassReport, Evaluation, LengthBucket};

#[cfg(test)]
pub(crate) mod tests;

//! The finished runs of a row of the leaderboard, and statistics over them.

use std::ops::Add;

use serde::Serialize;
use serde_json::Value;

use crate::data::Fingerprint;
use crate::objective::metrics::Score;
use crate::output::score_table::ScoreCell;
use crate::run::summary::ScoredWeights;

/// A finished run.
#[derive(Clone, Debug, Serialize)]
pub struct FinishedRun {
    /// Index in the sweep.
    pub index: usize,
    /// Name of its directory.
    pub run: String,
    /// `train.seed`.
    pub seed: Value,
    /// Weights that the score belongs to.
    pub scored: ScoredWeights,
    /// Validation score.
    pub validation: Score,
    /// Number of validation examples.
    pub validation_examples: usize,
    /// Fingerprint of the validation examples.
    pub validation_data: Option<Fingerprint>,
    /// Best epoch, starting at 1.
    pub best_epoch: usize,
    /// Training time in seconds.
    pub seconds: f64,
    /// Warnings about its model.
    pub warnings: Vec<String>,
    /// Notes on its data.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// Validation examples of the finished runs of a row. Only rows with the same ones are comparable.
#[derive(Clone, Debug, PartialEq)]
pub enum ValidationData {
    /// All runs have these.
    Same(Fingerprint),
    /// The runs have different ones: those of each seed, in the order of the seeds.
    PerSeed(Vec<(Value, Fingerprint)>),
    /// Runs of an earlier version do not record them.
    Unrecorded,
}

impl ValidationData {
    /// Compares the validation examples of the runs, which are in the order of their seeds.
    pub fn of(finished: &[FinishedRun]) -> Self {
        let recorded = |run: &FinishedRun| Some((run.seed.clone(), run.validation_data?));
        let recorded: Option<Vec<(Value, Fingerprint)>> = finished.iter().map(recorded).collect();
        match recorded.unwrap_or_default() {
            sets if sets.is_empty() => Self::Unrecorded,
            sets if sets.iter().all(|(_, data)| *data == sets[0].1) => Self::Same(sets[0].1),
            sets => Self::PerSeed(sets),
        }
    }

    /// Returns the heading of the rows with these examples.
    pub fn heading(&self) -> String {
        match self {
            Self::Same(data) => {
                format!("{} validation examples, {}", data.examples(), data.short())
            }
            Self::PerSeed(sets) => {
                let all = sets.iter().map(|(_, data)| *data).fold(Fingerprint::default(), Add::add);
                format!("different validation examples for each seed, {}", all.short())
            }
            Self::Unrecorded => {
                "unknown validation examples (earlier version, or no checkpoint)".to_owned()
            }
        }
    }
}

/// Scores over the finished runs of a row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Validation loss.
    pub loss: MeanAndDeviation,
    /// Validation accuracy.
    pub accuracy: MeanAndDeviation,
    /// Metric of the runs on the validation examples, if it is neither loss nor accuracy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<MeanAndDeviation>,
    /// Mean epoch of the scored weights.
    pub epoch: f64,
    /// Mean best epoch.
    pub best_epoch: f64,
    /// Mean training time in seconds.
    pub seconds: f64,
}

/// Mean and standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeanAndDeviation {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation, with n − 1 in the denominator; `None` for a single value.
    pub standard_deviation: Option<f64>,
}

impl MeanAndDeviation {
    /// Computes the statistics of at least one value.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_deviation = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        Self { mean, standard_deviation }
    }

    /// Computes the statistics of the metric of runs; `None` if a run has none.
    fn of_metric(scores: impl Iterator<Item = Score>) -> Option<Self> {
        let values: Option<Vec<f64>> = scores.map(|score| score.metric).collect();
        values.map(|values| Self::of(&values))
    }

    /// Returns the statistics as a cell of a table.
    pub fn cell(&self) -> ScoreCell {
        ScoreCell::Score(self.mean, self.standard_deviation)
    }

    /// Formats both values times `factor`, as in "0.2584 ± 0.0041".
    pub fn format(&self, decimals: usize, factor: f64) -> String {
        let mean = self.mean * factor;
        match self.standard_deviation {
            Some(deviation) => format!("{mean:.decimals$} ± {:.decimals$}", deviation * factor),
            None => format!("{mean:.decimals$}"),
        }
    }
}

/// Test scores over the runs of a row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TestScores {
    /// Test loss.
    pub loss: MeanAndDeviation,
    /// Test accuracy.
    pub accuracy: MeanAndDeviation,
    /// Metric of the runs on the test examples, if it is neither loss nor accuracy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<MeanAndDeviation>,
}

impl TestScores {
    /// Computes the statistics of at least one score.
    pub fn of(scores: &[Score]) -> Self {
        let statistics = |value: fn(&Score) -> f64| {
            MeanAndDeviation::of(&scores.iter().map(value).collect::<Vec<_>>())
        };
        Self {
            loss: statistics(|score| score.loss),
            accuracy: statistics(|score| score.accuracy),
            metric: MeanAndDeviation::of_metric(scores.iter().copied()),
        }
    }

    /// Returns the mean scores.
    pub fn mean(&self) -> Score {
        let metric = self.metric.map(|metric| metric.mean);
        Score { metric, ..Score::new(self.loss.mean, self.accuracy.mean) }
    }
}

impl Scores {
    /// Computes the statistics; `None` without runs.
    pub fn of(finished: &[FinishedRun]) -> Option<Self> {
        if finished.is_empty() {
            return None;
        }
        let statistics = |value: fn(&FinishedRun) -> f64| {
            MeanAndDeviation::of(&finished.iter().map(value).collect::<Vec<_>>())
        };
        Some(Self {
            loss: statistics(|run| run.validation.loss),
            accuracy: statistics(|run| run.validation.accuracy),
            metric: MeanAndDeviation::of_metric(finished.iter().map(|run| run.validation)),
            epoch: statistics(|run| run.scored.epoch as f64).mean,
            best_epoch: statistics(|run| run.best_epoch as f64).mean,
            seconds: statistics(|run| run.seconds).mean,
        })
    }

    /// Returns the mean scores.
    pub fn mean(&self) -> Score {
        let metric = self.metric.map(|metric| metric.mean);
        Score { metric, ..Score::new(self.loss.mean, self.accuracy.mean) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_deviation_is_that_of_a_sample() {
        // Python: statistics.mean([2, 4, 9]), statistics.stdev([2, 4, 9])
        let statistics = MeanAndDeviation::of(&[2.0, 4.0, 9.0]);
        assert_eq!(statistics.mean, 5.0);
        assert!((statistics.standard_deviation.unwrap() - 3.605551275463989).abs() < 1e-12);
        assert_eq!(
            MeanAndDeviation::of(&[0.5]),
            MeanAndDeviation { mean: 0.5, standard_deviation: None }
        );
        assert_eq!(MeanAndDeviation::of(&[0.25, 0.25]).format(2, 100.0), "25.00 ± 0.00");
    }
}

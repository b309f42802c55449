//! The measurements of a run, and their positions on the x axis.

use clap::ValueEnum;

use crate::config::Metric;
use crate::events::{ACCURACY, LEARNING_RATE, LOSS, Scalar, TOKENS_PER_SECOND};
use crate::objective::metrics::Score;
use crate::plot::geometry::Point;
use crate::plot::series::Interpolation;
use crate::run::records::{ValidationRecord, ValidationTime};

/// Quantity on the x axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum XAxis {
    /// Epochs.
    Epoch,
    /// Steps.
    Step,
    /// Time spent training.
    Time,
}

/// Tags of the training curves in [`RunCurves::steps`].
pub const TAGS: [&str; 4] = [LOSS, ACCURACY, LEARNING_RATE, TOKENS_PER_SECOND];

/// The measurements of a run.
#[derive(Clone, Debug)]
pub struct RunCurves {
    /// Name of the run.
    pub name: String,
    /// Metric that determines the best validation.
    pub metric: Metric,
    /// Lines of `metrics.jsonl`.
    pub records: Vec<ValidationRecord>,
    /// Lines of `times.jsonl`.
    pub times: Vec<ValidationTime>,
    /// Training curves by step, in the order of [`TAGS`]. Empty without event files.
    pub steps: [Vec<Scalar>; 4],
    /// Score of the best validation. If it is unknown, the best validation is that with the lowest loss.
    pub best: Option<Score>,
}

/// Returns a value of a record, if it has one.
pub(super) type RecordValue = fn(&ValidationRecord) -> Option<f64>;

/// A run and its x axis.
pub(super) struct Run<'a> {
    pub(super) curves: &'a RunCurves,
    /// Converts steps to x values.
    interpolation: Interpolation,
    /// Index of the best record.
    pub(super) best: Option<usize>,
}

impl<'a> Run<'a> {
    pub(super) fn new(curves: &'a RunCurves, x_axis: XAxis) -> Self {
        let interpolation = match x_axis {
            XAxis::Epoch => {
                let steps = curves.records.iter().map(|record| record.step as f64);
                Interpolation::new(steps.zip(epochs(&curves.records)))
            }
            XAxis::Step => Interpolation::new([(1.0, 1.0)].into_iter()),
            XAxis::Time => Interpolation::new(elapsed_seconds(&curves.times)),
        };
        let is_best = |record: &ValidationRecord| Some(record.validation) == curves.best;
        let best = curves.records.iter().position(is_best);
        Self { curves, interpolation, best: best.or_else(|| lowest_loss(&curves.records)) }
    }

    /// Returns a point for each record that has a value.
    pub(super) fn record_points(&self, value: RecordValue) -> Vec<Point> {
        self.curves.records.iter().filter_map(|record| self.record_point(record, value)).collect()
    }

    /// Returns the point of the best record, if it has a value.
    pub(super) fn best_point(&self, value: RecordValue) -> Option<Point> {
        self.record_point(&self.curves.records[self.best?], value)
    }

    fn record_point(&self, record: &ValidationRecord, value: RecordValue) -> Option<Point> {
        let x = match record.step {
            // A frozen model is validated before the first step.
            0 => 0.0,
            step => self.interpolation.x(step as f64)?,
        };
        Some((x, value(record)?))
    }

    /// Returns the points of a curve with its values multiplied by `scale`.
    pub(super) fn step_points(&self, curve: &[Scalar], scale: f64) -> Vec<Point> {
        curve
            .iter()
            .filter_map(|point| {
                Some((self.interpolation.x(point.step as f64)?, scale * point.value))
            })
            .filter(|point| point.1.is_finite())
            .collect()
    }

    /// Returns the largest x value.
    pub(super) fn end(&self) -> f64 {
        let steps = self.curves.steps.iter().filter_map(|curve| Some(curve.last()?.step));
        let steps = steps.chain(self.curves.records.last().map(|record| record.step));
        steps.max().and_then(|step| self.interpolation.x(step as f64)).unwrap_or(0.0)
    }

    /// Describes the best validation for the legend.
    pub(super) fn best_validation(&self) -> String {
        let Some(best) = self.best else { return "no validation yet".into() };
        let Score { loss, accuracy, metric } = self.curves.records[best].validation;
        let epoch = epochs(&self.curves.records)[best];
        let decimals = if epoch.fract() == 0.0 { 0 } else { 1 };
        let metric = metric.map_or(String::new(), |value| {
            format!(", {} {value:.4}", self.curves.metric.heading())
        });
        format!(
            "best at epoch {epoch:.decimals$}: validation loss {loss:.4}, accuracy {:.2} %{metric}",
            100.0 * accuracy
        )
    }
}

/// Returns the index of the first record with the lowest validation loss.
fn lowest_loss(records: &[ValidationRecord]) -> Option<usize> {
    let losses = records.iter().map(|record| record.validation.loss).enumerate();
    losses.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index)
}

/// Returns the number of epochs completed at each record: integers if there is one record per epoch,
/// otherwise the step divided by the steps per epoch. The latter is estimated as the maximum of step divided
/// by epoch, which is exact if a record is at the end of an epoch.
pub(super) fn epochs(records: &[ValidationRecord]) -> Vec<f64> {
    let one_per_epoch = records.iter().enumerate().all(|(i, record)| record.epoch == i + 1);
    if one_per_epoch {
        return records.iter().map(|record| record.epoch as f64).collect();
    }
    let steps_per_epoch = records
        .iter()
        .map(|record| record.step as f64 / record.epoch.max(1) as f64)
        .fold(f64::MIN_POSITIVE, f64::max);
    let position = |record: &ValidationRecord| {
        let end = record.epoch as f64;
        (record.step as f64 / steps_per_epoch).clamp((end - 1.0).max(0.0), end)
    };
    records.iter().map(position).collect()
}

/// Returns the step of each validation with the seconds of training before it.
fn elapsed_seconds(times: &[ValidationTime]) -> impl Iterator<Item = Point> {
    times.iter().scan(0.0, |sum, time| {
        *sum += time.train_seconds;
        Some((time.step as f64, *sum))
    })
}

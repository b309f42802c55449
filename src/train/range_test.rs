//! Learning rate range test (Smith 2017): trains for some steps while the learning rate rises from step to step,
//! and looks at the loss. The weights are of no use afterwards.

use serde::Serialize;

use super::added_texts::AddedTexts;
use super::layer_rates::LayerRates;
use crate::backend::Learner;
use crate::data::batch_plan::Bucketing;
use crate::data::prepared::PreparedData;
use crate::distributed::{Group, Worker};
use crate::random::{SeedPurpose, derive_seed};
use crate::system::signals::Interrupt;

/// Weight of the previous average in the loss that decides whether the test ends.
const SMOOTHING: f64 = 0.8;
/// The test ends when the average loss is this many times the lowest one, and the first one.
const DIVERGED: f64 = 4.0;
/// Share of the steps on either side over which the loss is smoothed.
const WINDOW: f64 = 0.05;
/// Share of first steps without a suggestion: the rates are too low to matter.
const SKIPPED: f64 = 0.1;

/// Learning rates of a test.
#[derive(Clone, Copy, Debug)]
pub struct RangeTest {
    /// Rate of the first step.
    pub low: f64,
    /// Rate of the last step.
    pub high: f64,
    /// Number of steps, at least 2.
    pub steps: usize,
}

/// A step of a test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RangePoint {
    /// Learning rate.
    pub learning_rate: f64,
    /// Training loss of the batch before the step.
    pub loss: f64,
    /// Mean of the losses around it, weighted by their distance.
    pub smoothed: f64,
}

impl RangeTest {
    /// Returns the learning rate of a step, counted from 0. The rates grow by the same factor in each step.
    pub fn rate(&self, step: usize) -> f64 {
        let share = step as f64 / (self.steps - 1).max(1) as f64;
        self.low * (self.high / self.low).powf(share)
    }

    /// Trains until the rate is the highest one, the loss explodes, or a signal arrives.
    ///
    /// # Errors
    /// Returns the backend's own errors.
    pub fn run(
        &self,
        learner: &mut dyn Learner,
        data: &PreparedData,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Vec<RangePoint>> {
        let config = &data.resolved.config.train;
        if let Some(rates) = LayerRates::new(data)? {
            learner.set_rate_factors(&rates.factors(0));
        }
        let (bucketing, lengths) = (Bucketing::new(config), data.train.lengths());
        let mut prepare = learner.preparer(Worker::ALONE);
        let mut added = AddedTexts::of(data)?.batches(learner);
        let (mut points, mut end) = (Vec::new(), Divergence::default());
        for epoch in 0.. {
            let plan = bucketing.plan(&lengths, config.seed, epoch);
            for batch in plan.batches() {
                let step = points.len();
                if step >= self.steps || interrupt.signal().is_some() {
                    return Ok(self.smoothed(points));
                }
                let seed = derive_seed(config.seed, SeedPurpose::Dropout(step as u64));
                let prepared = added.add_to(prepare(&data.train, batch, seed), step as u64);
                let learning_rate = self.rate(step);
                learner.step(&prepared, Group::ALONE, config.gradient_clip, learning_rate)?;
                let stats = learner.drain_step_stats();
                let loss = stats.last().map_or(f64::NAN, |stats| stats.loss.mean);
                if !loss.is_finite() {
                    return Ok(self.smoothed(points));
                }
                points.push(RangePoint { learning_rate, loss, smoothed: loss });
                if end.is_reached(loss) {
                    return Ok(self.smoothed(points));
                }
            }
        }
        Ok(self.smoothed(points))
    }

    /// Smooths the losses. Unlike a running average, the mean does not lag behind the rate.
    fn smoothed(&self, mut points: Vec<RangePoint>) -> Vec<RangePoint> {
        let width = (WINDOW * self.steps as f64).ceil().max(1.0) as usize;
        let losses: Vec<f64> = points.iter().map(|point| point.loss).collect();
        for (index, point) in points.iter_mut().enumerate() {
            let near = index.saturating_sub(width)..(index + width + 1).min(losses.len());
            let (mut sum, mut weights) = (0.0, 0.0);
            for other in near {
                let weight = (width + 1 - index.abs_diff(other)) as f64;
                sum += weight * losses[other];
                weights += weight;
            }
            point.smoothed = sum / weights;
        }
        points
    }
}

/// Recognizes a loss that has exploded.
#[derive(Default)]
struct Divergence {
    average: f64,
    lowest: f64,
    first: f64,
    steps: i32,
}

impl Divergence {
    /// Adds the loss of a step. Returns true if the losses have exploded.
    fn is_reached(&mut self, loss: f64) -> bool {
        self.steps += 1;
        self.average = SMOOTHING * self.average + (1.0 - SMOOTHING) * loss;
        // The average starts at 0.
        let average = self.average / (1.0 - SMOOTHING.powi(self.steps));
        if self.steps == 1 {
            (self.lowest, self.first) = (average, average);
        }
        self.lowest = self.lowest.min(average);
        average > DIVERGED * self.first.max(self.lowest)
    }
}

/// Returns the index of the suggested learning rate: that at which the smoothed loss falls fastest over the
/// logarithm of the rate, before it rises for the first time. `None` if the loss does not fall.
pub fn suggestion(points: &[RangePoint]) -> Option<usize> {
    let first = ((SKIPPED * points.len() as f64) as usize).max(1);
    let start = points.iter().take(first).map(|point| point.smoothed).sum::<f64>() / first as f64;
    let lowest = first_valley(points, first, start)?;
    let slope = |index: usize| -> Option<f64> {
        let (before, after) = (points.get(index - 1)?, points.get(index + 1)?);
        let width = (after.learning_rate / before.learning_rate).ln();
        Some((after.smoothed - before.smoothed) / width)
    };
    let slopes = (first..=lowest).filter_map(|index| Some((index, slope(index)?)));
    slopes.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(steepest, _)| steepest)
}

/// Returns the index of the lowest smoothed loss after index `first` and before the loss rises noticeably after
/// its fall from `start`. `None` if it does not fall.
fn first_valley(points: &[RangePoint], first: usize, start: f64) -> Option<usize> {
    /// Fall, as a share of the loss, that is more than noise.
    const FALL: f64 = 0.03;
    /// Rise, as a share of the fall, that ends the valley.
    const RISE: f64 = 0.05;
    /// Rise, as a share of the loss, that is more than noise.
    const NOISE: f64 = 0.01;
    let mut lowest = first;
    for index in first..points.len() {
        let loss = points[index].smoothed;
        if loss < points[lowest].smoothed {
            lowest = index;
        }
        let fall = start - points[lowest].smoothed;
        let rise = loss - points[lowest].smoothed;
        if fall > FALL * start && rise > (RISE * fall).max(NOISE * start) {
            break;
        }
    }
    let fall = start - points.get(lowest)?.smoothed;
    (fall > FALL * start).then_some(lowest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(loss: impl Fn(f64) -> f64) -> Vec<RangePoint> {
        let test = RangeTest { low: 1e-5, high: 10.0, steps: 121 };
        let point = |step| {
            let learning_rate = test.rate(step);
            let loss = loss(learning_rate.log10());
            RangePoint { learning_rate, loss, smoothed: loss }
        };
        (0..test.steps).map(point).collect()
    }

    #[test]
    fn rates_grow_by_the_same_factor() {
        let test = RangeTest { low: 1e-4, high: 1.0, steps: 5 };
        let rates: Vec<f64> = (0..5).map(|step| (test.rate(step) * 1e9).round() / 1e9).collect();
        assert_eq!(rates, [1e-4, 1e-3, 1e-2, 1e-1, 1.0]);
    }

    #[test]
    fn the_rate_at_which_the_loss_falls_fastest_is_suggested() {
        // The loss falls around 10^-3, is lowest near 0.1, and explodes afterwards.
        let falls =
            |x: f64| 1.0 - 1.0 / (1.0 + (-4.0 * (x + 3.0)).exp()) + (x + 0.5).max(0.0).powi(2);
        let points = points(falls);
        let rate = points[suggestion(&points).unwrap()].learning_rate;
        assert!((rate.log10() + 3.0).abs() < 0.1, "{rate}");
    }

    #[test]
    fn the_fall_after_a_spike_does_not_count() {
        let spike = |x: f64| if (-1.2..-0.8).contains(&x) { 3.0 } else { 0.0 };
        let falls = |x: f64| 1.0 - 1.0 / (1.0 + (-4.0 * (x + 3.0)).exp()) + spike(x);
        let points = points(falls);
        let rate = points[suggestion(&points).unwrap()].learning_rate;
        assert!((rate.log10() + 3.0).abs() < 0.1, "{rate}");
    }

    #[test]
    fn a_loss_that_does_not_fall_gives_no_suggestion() {
        assert_eq!(suggestion(&points(|x| 6.0 + x)), None);
        assert_eq!(suggestion(&points(|_| 1.0)), None);
        assert_eq!(suggestion(&points(|x| 1.0 + 0.01 * (9.0 * x).sin())), None, "noise");
        assert_eq!(suggestion(&[]), None);
    }

    #[test]
    fn a_test_ends_when_the_loss_explodes() {
        let mut end = Divergence::default();
        assert!(!(0..50).any(|step| end.is_reached(0.7 / f64::from(step + 1))));
        assert!(!(0..50).any(|_| end.is_reached(0.7)), "the first loss is not an explosion");
        let more = (0..100).take_while(|_| !end.is_reached(50.0)).count();
        assert!(more < 3, "{more}");
    }

    #[test]
    fn smoothed_losses_do_not_lag_behind() {
        let test = RangeTest { low: 1e-3, high: 1.0, steps: 100 };
        let point = |step: usize| {
            let loss = if step < 50 { 1.0 } else { 0.0 };
            RangePoint { learning_rate: test.rate(step), loss, smoothed: loss }
        };
        let smoothed = test.smoothed((0..100).map(point).collect());
        assert_eq!((smoothed[44].smoothed, smoothed[55].smoothed), (1.0, 0.0));
        assert!((smoothed[49].smoothed + smoothed[50].smoothed - 1.0).abs() < 1e-12);
        assert!([49, 50].contains(&suggestion(&smoothed).unwrap()));
    }
}

//! Ranges of numbers, and the round ones among them.

use crate::output::format::group_digits;

/// A range with ticks at round numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

/// The least and the greatest of the values, 0 and 1 where there are none.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let values = values.filter(|value| value.is_finite());
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// The least of 1, 2 and 5 times a power of ten that is not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

impl Axis {
    /// From `low` to `high`, a tick every `step`.
    pub(super) fn new(low: f64, high: f64, step: f64) -> Self {
        Self { low, high, step }
    }

    /// Around all values, between ticks, with about six of them; never beyond `limits`.
    pub(super) fn around(values: impl Iterator<Item = f64>, limits: (f64, f64)) -> Self {
        let (low, high) = bounds(values);
        // Values that are all the same, or nearly, must not lie on the edge.
        let margin = (0.02 * (high - low)).max(1e-3 * high.abs()).max(1e-6);
        let step = round_step((high - low + 2.0 * margin) / 6.0);
        let low = ((low - margin) / step).floor() * step;
        let high = ((high + margin) / step).ceil() * step;
        Self { low: low.max(limits.0), high: high.min(limits.1), step }
    }

    /// From 0 up to a tick that no value exceeds; ticks at whole numbers.
    pub(super) fn counts(values: impl Iterator<Item = f64>) -> Self {
        let (_, high) = bounds(values);
        Self::up_to(high, round_step((high / 6.0).max(1.0)))
    }

    /// From 0 up to a tick that no value exceeds.
    pub(super) fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let (_, high) = bounds(values);
        let high = if high > 0.0 { high } else { 1.0 };
        Self::up_to(high, round_step(high / 6.0))
    }

    fn up_to(high: f64, step: f64) -> Self {
        Self { low: 0.0, high: (high / step - 1e-9).ceil().max(1.0) * step, step }
    }

    /// Around positions in epochs, with a little room on both sides; ticks at whole epochs.
    pub(super) fn epochs(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = bounds(values);
        let low = if low < 1.0 { 0.0 } else { low };
        Self::with_room(low, high, round_step(((high - low) / 10.0).max(1.0)))
    }

    /// From 0 past all positions, with a little room on both sides.
    pub(super) fn along(values: impl Iterator<Item = f64>) -> Self {
        let (_, high) = bounds(values);
        let high = if high > 0.0 { high } else { 1.0 };
        Self::with_room(0.0, high, round_step(high / 8.0))
    }

    fn with_room(low: f64, high: f64, step: f64) -> Self {
        let room = if high > low { 0.03 * (high - low) } else { 0.5 };
        Self { low: low - room, high: high + room, step }
    }

    /// The multiples of the step in the range.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let first = (self.low / self.step - 1e-6).ceil();
        let count = ((self.high / self.step + 1e-6).floor() - first) as usize;
        // No axis here has more; a range of absurd numbers may.
        (0..=count.min(50)).map(|index| (first + index as f64) * self.step).collect()
    }

    /// A tick in figures, as many behind the point as the step has.
    pub(super) fn label(&self, tick: f64) -> String {
        let decimals = (-self.step.log10().floor()).clamp(0.0, 9.0) as usize;
        match decimals {
            0 if tick >= 0.0 => group_digits(tick.round() as usize),
            _ => format!("{tick:.decimals$}"),
        }
    }

    /// Where in the range the value lies: 0 is its beginning, 1 its end.
    pub(super) fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|tick| axis.label(tick)).collect()
    }

    fn around(values: &[f64], limits: (f64, f64)) -> Axis {
        Axis::around(values.iter().copied(), limits)
    }

    fn epochs(values: &[f64]) -> Axis {
        Axis::epochs(values.iter().copied())
    }

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        let axis = around(&[0.2135, 0.4569], ANY);
        assert_eq!(labels(&axis), ["0.20", "0.25", "0.30", "0.35", "0.40", "0.45", "0.50"]);
        assert_eq!((axis.share(axis.low), axis.share(axis.high)), (0.0, 1.0));
        assert_eq!(labels(&around(&[1_100.0, 4_900.0], ANY))[0], "1,000");
    }

    #[test]
    fn an_axis_stays_within_its_limits() {
        let axis = around(&[78.0, 100.0], (0.0, 100.0));
        assert_eq!((axis.low, axis.high), (75.0, 100.0));
        assert_eq!(labels(&axis), ["75", "80", "85", "90", "95", "100"]);
    }

    #[test]
    fn a_single_value_lies_inside_its_axis() {
        for value in [0.0, 0.2521, 50.0, 100.0, 1e300] {
            let axis = around(&[value], ANY);
            assert!(axis.low < value && value < axis.high, "{axis:?}");
            assert!((2..=10).contains(&axis.ticks().len()), "{axis:?}");
        }
    }

    #[test]
    fn no_values_make_an_axis_too() {
        assert!(!around(&[], ANY).ticks().is_empty());
        assert_eq!(labels(&Axis::counts([].into_iter())), ["0", "1"]);
        assert!(!epochs(&[]).ticks().is_empty());
    }

    #[test]
    fn axes_from_zero_end_at_a_tick() {
        let from_zero = |high: f64| Axis::from_zero([0.0, high].into_iter());
        assert_eq!(labels(&from_zero(0.002)), ["0.0000", "0.0005", "0.0010", "0.0015", "0.0020"]);
        assert_eq!(labels(&from_zero(2_264_111.0)).last().unwrap(), "2,500,000");
        assert_eq!(labels(&from_zero(0.0)).last().unwrap(), "1.0");
        for high in [1e-12, 0.3, 7.0, 1e300] {
            let axis = from_zero(high);
            assert!(axis.high >= high && (2..=12).contains(&axis.ticks().len()), "{axis:?}");
        }
    }

    #[test]
    fn positions_along_an_axis_begin_at_zero() {
        let axis = Axis::along([625.0, 2_500.0].into_iter());
        assert_eq!(labels(&axis), ["0", "500", "1,000", "1,500", "2,000", "2,500"]);
        assert!(axis.share(0.0) > 0.02 && axis.share(2_500.0) < 0.98);
        assert_eq!(labels(&Axis::along([].into_iter())).len(), 6);
    }

    #[test]
    fn epochs_are_whole() {
        assert_eq!(labels(&epochs(&[1.0, 2.0, 4.0])), ["1", "2", "3", "4"]);
        assert_eq!(labels(&epochs(&[1.0])), ["1"]);
        assert_eq!(labels(&epochs(&[0.25, 1.9])), ["0", "1"]);
        assert_eq!(labels(&epochs(&[1.0, 60.0])), ["0", "10", "20", "30", "40", "50", "60"]);
    }

    #[test]
    fn counts_begin_at_nothing() {
        assert_eq!(labels(&Axis::counts([3.0].into_iter())), ["0", "1", "2", "3"]);
        let axis = Axis::counts([2_712.0, 5.0].into_iter());
        assert_eq!(labels(&axis), ["0", "500", "1,000", "1,500", "2,000", "2,500", "3,000"]);
    }
}

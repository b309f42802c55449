//! Axes: a range of values with ticks at round numbers.

use crate::output::format::group_digits;

/// A range of values with ticks at multiples of a step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    step: f64,
    /// The values are logarithms to base 10.
    is_logarithmic: bool,
}

/// Returns the smallest and the largest finite value, or 0 and 1 if there is none.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let values = values.filter(|value| value.is_finite());
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// Returns the smallest number not below `minimum` that is 1, 2 or 5 times a power of ten.
fn round_step(minimum: f64) -> f64 {
    let power = 10_f64.powf(minimum.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|step| *step >= minimum * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

impl Axis {
    /// Creates an axis from `low` to `high` with a tick at each multiple of `step`.
    pub(super) fn new(low: f64, high: f64, step: f64) -> Self {
        Self { low, high, step, is_logarithmic: false }
    }

    /// Creates an axis around logarithms to base 10, with ticks at powers of ten.
    pub(super) fn powers_of_ten(logarithms: impl Iterator<Item = f64>) -> Self {
        let (low, high) = bounds(logarithms);
        let step = round_step(((high - low) / 10.0).max(1.0));
        Self { is_logarithmic: true, ..Self::padded(low, high, step) }
    }

    /// Creates an axis around all values that begins and ends at one of about six ticks, but never
    /// exceeds `limits`.
    pub(super) fn around(values: impl Iterator<Item = f64>, limits: (f64, f64)) -> Self {
        let (low, high) = bounds(values);
        // Keeps values off the edges, even if all are equal.
        let margin = (0.02 * (high - low)).max(1e-3 * high.abs()).max(1e-6);
        let step = round_step((high - low + 2.0 * margin) / 6.0);
        let low = ((low - margin) / step).floor() * step;
        let high = ((high + margin) / step).ceil() * step;
        Self::new(low.max(limits.0), high.min(limits.1), step)
    }

    /// Creates an axis from 0 to the first tick not below any value, with ticks at integers.
    pub(super) fn counts(values: impl Iterator<Item = f64>) -> Self {
        let (_, high) = bounds(values);
        Self::up_to(high, round_step((high / 6.0).max(1.0)))
    }

    /// Creates an axis from 0 to the first tick not below any value.
    pub(super) fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let (_, high) = bounds(values);
        let high = if high > 0.0 { high } else { 1.0 };
        Self::up_to(high, round_step(high / 6.0))
    }

    fn up_to(high: f64, step: f64) -> Self {
        Self::new(0.0, (high / step - 1e-9).ceil().max(1.0) * step, step)
    }

    /// Creates an axis around epochs, padded on both sides, with ticks at whole epochs.
    pub(super) fn epochs(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = bounds(values);
        let low = if low < 1.0 { 0.0 } else { low };
        Self::padded(low, high, round_step(((high - low) / 10.0).max(1.0)))
    }

    /// Creates an axis from 0 to the largest value, padded on both sides.
    pub(super) fn padded_from_zero(values: impl Iterator<Item = f64>) -> Self {
        let (_, high) = bounds(values);
        let high = if high > 0.0 { high } else { 1.0 };
        Self::padded(0.0, high, round_step(high / 8.0))
    }

    fn padded(low: f64, high: f64, step: f64) -> Self {
        let padding = if high > low { 0.03 * (high - low) } else { 0.5 };
        Self::new(low - padding, high + padding, step)
    }

    /// Start of the range.
    pub(super) fn low(&self) -> f64 {
        self.low
    }

    /// End of the range.
    pub(super) fn high(&self) -> f64 {
        self.high
    }

    /// Returns the ticks.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let first = (self.low / self.step - 1e-6).ceil();
        let count = ((self.high / self.step + 1e-6).floor() - first) as usize;
        // Extreme values must not make an endless axis.
        (0..=count.min(50)).map(|index| (first + index as f64) * self.step).collect()
    }

    /// Formats a tick with the decimals of the step.
    pub(super) fn label(&self, tick: f64) -> String {
        if self.is_logarithmic {
            return format!("1e{}", tick.round());
        }
        let decimals = (-self.step.log10().floor()).clamp(0.0, 9.0) as usize;
        match decimals {
            0 if tick >= 0.0 => group_digits(tick.round() as usize),
            _ => format!("{tick:.decimals$}"),
        }
    }

    /// Returns the position of a value in the range, from 0 at its start to 1 at its end.
    pub(super) fn fraction(&self, value: f64) -> f64 {
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
    fn ticks_are_round_numbers_that_enclose_the_values() {
        let axis = around(&[0.2135, 0.4569], ANY);
        assert_eq!(labels(&axis), ["0.20", "0.25", "0.30", "0.35", "0.40", "0.45", "0.50"]);
        assert_eq!((axis.fraction(axis.low), axis.fraction(axis.high)), (0.0, 1.0));
        assert_eq!(labels(&around(&[1_100.0, 4_900.0], ANY))[0], "1,000");
    }

    #[test]
    fn an_axis_stays_within_its_limits() {
        let axis = around(&[78.0, 100.0], (0.0, 100.0));
        assert_eq!((axis.low, axis.high), (75.0, 100.0));
        assert_eq!(labels(&axis), ["75", "80", "85", "90", "95", "100"]);
    }

    #[test]
    fn a_single_value_is_inside_the_axis() {
        for value in [0.0, 0.2521, 50.0, 100.0, 1e300] {
            let axis = around(&[value], ANY);
            assert!(axis.low < value && value < axis.high, "{axis:?}");
            assert!((2..=10).contains(&axis.ticks().len()), "{axis:?}");
        }
    }

    #[test]
    fn an_axis_needs_no_values() {
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
    fn a_padded_axis_contains_zero() {
        let axis = Axis::padded_from_zero([625.0, 2_500.0].into_iter());
        assert_eq!(labels(&axis), ["0", "500", "1,000", "1,500", "2,000", "2,500"]);
        assert!(axis.fraction(0.0) > 0.02 && axis.fraction(2_500.0) < 0.98);
        assert_eq!(labels(&Axis::padded_from_zero([].into_iter())).len(), 6);
    }

    #[test]
    fn epoch_ticks_are_integers() {
        assert_eq!(labels(&epochs(&[1.0, 2.0, 4.0])), ["1", "2", "3", "4"]);
        assert_eq!(labels(&epochs(&[1.0])), ["1"]);
        assert_eq!(labels(&epochs(&[0.25, 1.9])), ["0", "1"]);
        assert_eq!(labels(&epochs(&[1.0, 60.0])), ["0", "10", "20", "30", "40", "50", "60"]);
    }

    #[test]
    fn count_axes_start_at_zero() {
        assert_eq!(labels(&Axis::counts([3.0].into_iter())), ["0", "1", "2", "3"]);
        let axis = Axis::counts([2_712.0, 5.0].into_iter());
        assert_eq!(labels(&axis), ["0", "500", "1,000", "1,500", "2,000", "2,500", "3,000"]);
    }
}

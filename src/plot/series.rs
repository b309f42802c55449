//! Operations on curves: downsampling, smoothing, clipping, interpolation.

use super::geometry::Point;

/// Reduces a curve to at most `max_points` points, by averaging equal numbers of neighbors.
pub(super) fn downsample(points: &[Point], max_points: usize) -> Vec<Point> {
    let neighbors = points.len().div_ceil(max_points.max(1)).max(1);
    points.chunks(neighbors).map(mean).collect()
}

/// Averages the points in each interval of the x axis.
pub(super) fn bin(points: &[Point], interval: f64) -> Vec<Point> {
    let number = |point: &Point| (point.0 / interval).floor();
    points.chunk_by(|a, b| number(a) == number(b)).map(mean).collect()
}

fn mean(points: &[Point]) -> Point {
    let count = points.len() as f64;
    let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    (sum.0 / count, sum.1 / count)
}

/// Smooths a curve as TensorBoard does, by an exponential moving average. `weight` (0 to 1) is the weight of
/// the previous average. As in Adam (Kingma and Ba 2015), dividing by the sum of all weights corrects the
/// bias towards 0 at the start.
pub(super) fn smooth(points: &[Point], weight: f64) -> Vec<Point> {
    let (mut sum, mut weights) = (0.0, 0.0);
    let average = |&(x, y): &Point| {
        sum = weight * sum + (1.0 - weight) * y;
        weights = weight * weights + (1.0 - weight);
        (x, sum / weights)
    };
    points.iter().map(average).collect()
}

/// Sorts values, and removes a fraction of the lowest and of the highest.
pub(super) fn trim(mut values: Vec<f64>, fraction: f64) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    let cut = (fraction * values.len() as f64) as usize;
    values.truncate(values.len() - cut);
    values.split_off(cut)
}

/// Returns the parts of a line between the heights `top` and `bottom`.
pub(super) fn clip(points: &[Point], top: f64, bottom: f64) -> Vec<Vec<Point>> {
    let mut lines: Vec<Vec<Point>> = Vec::new();
    for pair in points.windows(2) {
        let Some((from, to)) = clip_segment(pair[0], pair[1], top, bottom) else { continue };
        match lines.last_mut() {
            Some(line) if line.last() == Some(&from) => line.push(to),
            _ => lines.push(vec![from, to]),
        }
    }
    lines
}

fn clip_segment(from: Point, to: Point, top: f64, bottom: f64) -> Option<(Point, Point)> {
    let inside = |height: f64| (top..=bottom).contains(&height);
    if (from.1 < top && to.1 < top) || (from.1 > bottom && to.1 > bottom) {
        return None;
    }
    let at = |height: f64| {
        let fraction = (height - from.1) / (to.1 - from.1);
        (from.0 + fraction * (to.0 - from.0), height)
    };
    let cut = |point: Point| match point.1 {
        height if inside(height) => point,
        height if height < top => at(top),
        _ => at(bottom),
    };
    Some((cut(from), cut(to)))
}

/// Linear interpolation from steps to x values.
#[derive(Clone, Debug)]
pub(super) struct Interpolation {
    /// Ascending steps with their x values, starting at step 0.
    points: Vec<Point>,
}

impl Interpolation {
    /// Creates an interpolation from steps with known x values.
    pub(super) fn new(known: impl Iterator<Item = Point>) -> Self {
        let mut points = vec![(0.0, 0.0)];
        for (step, x) in known {
            if points.last().is_some_and(|last| step > last.0) {
                points.push((step, x));
            }
        }
        Self { points }
    }

    /// Returns the x value of a step. After the last known step, the mean slope from the start continues.
    /// Returns `None` if nothing is known.
    pub(super) fn x(&self, step: f64) -> Option<f64> {
        let (first, last) = (self.points.first()?, self.points.last().filter(|last| last.0 > 0.0)?);
        let after = self.points.partition_point(|point| point.0 < step);
        let (from, to) = match after {
            0 => return Some(first.1),
            after if after < self.points.len() => (&self.points[after - 1], &self.points[after]),
            _ => (first, last),
        };
        Some(from.1 + (step - from.0) / (to.0 - from.0) * (to.1 - from.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by hand: the first value is 1, the next is (0.6·0.4·1 + 0.4·0) / (1 − 0.6²), and so on.
    #[test]
    fn smoothing_is_that_of_tensorboard() {
        let points = [(1.0, 1.0), (2.0, 0.0), (3.0, 0.0)];
        let smoothed = smooth(&points, 0.6);
        let expected = [1.0, 0.24 / 0.64, 0.144 / 0.784];
        for ((point, smoothed), expected) in points.iter().zip(&smoothed).zip(expected) {
            assert_eq!(point.0, smoothed.0);
            assert!((smoothed.1 - expected).abs() < 1e-12, "{smoothed:?} {expected}");
        }
        assert_eq!(smooth(&points, 0.0), points);
        let constant = smooth(&[(0.0, 0.3); 4], 0.9);
        assert!(constant.iter().all(|point| (point.1 - 0.3).abs() < 1e-12));
    }

    #[test]
    fn neighboring_points_are_averaged() {
        let points: Vec<Point> = (0..7).map(|i| (f64::from(i), f64::from(10 * i))).collect();
        let threes = [(1.0, 10.0), (4.0, 40.0), (6.0, 60.0)];
        assert_eq!(downsample(&points, 3), threes);
        assert_eq!(downsample(&points, 7), points);
        assert_eq!(downsample(&[], 3), []);
        assert_eq!(bin(&points, 3.0), threes);
        assert_eq!(bin(&points, 1.0), points);
        assert_eq!(bin(&points, 6.0), [(2.5, 25.0), (6.0, 60.0)]);
        assert_eq!(bin(&[], 3.0), []);
    }

    #[test]
    fn extreme_values_are_trimmed() {
        let values: Vec<f64> = (0..40).rev().map(f64::from).collect();
        let trimmed = trim(values, 0.05);
        assert_eq!((trimmed.len(), trimmed[0], trimmed[35]), (36, 2.0, 37.0));
        assert_eq!(trim(vec![3.0, 1.0], 0.05), [1.0, 3.0]);
        assert!(trim(vec![], 0.05).is_empty());
    }

    #[test]
    fn lines_are_clipped_to_the_frame() {
        let line = [(0.0, 5.0), (1.0, -5.0), (2.0, 5.0), (3.0, 15.0), (4.0, 16.0)];
        let expected = [vec![(0.0, 5.0), (0.5, 0.0)], vec![(1.5, 0.0), (2.0, 5.0), (2.5, 10.0)]];
        assert_eq!(clip(&line, 0.0, 10.0), expected);
        assert_eq!(clip(&[(0.0, -1.0), (1.0, 11.0)], 0.0, 10.0).len(), 1);
        assert!(clip(&[(0.0, 20.0), (1.0, 30.0)], 0.0, 10.0).is_empty());
        assert!(clip(&[(0.0, 5.0)], 0.0, 10.0).is_empty());
    }

    #[test]
    fn steps_between_known_ones_are_interpolated() {
        let points = [(100.0, 1.0), (300.0, 2.0), (300.0, 9.0)].into_iter();
        let interpolation = Interpolation::new(points);
        let x = |step| interpolation.x(step).unwrap();
        assert_eq!([0.0, 50.0, 100.0, 200.0, 300.0].map(x), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(x(600.0), 4.0);
        assert_eq!(Interpolation::new([].into_iter()).x(5.0), None);
    }
}

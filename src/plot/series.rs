//! Points of curves: where they lie, fewer of them, smoother ones.

use super::sheet::Point;

/// The means of so many neighbouring points that no more than `most` are left.
pub(super) fn thinned(points: &[Point], most: usize) -> Vec<Point> {
    let together = points.len().div_ceil(most.max(1)).max(1);
    points.chunks(together).map(mean).collect()
}

/// The means of points that lie together in a piece of the x axis, all of which are `piece` wide.
pub(super) fn merged(points: &[Point], piece: f64) -> Vec<Point> {
    let number = |point: &Point| (point.0 / piece).floor();
    points.chunk_by(|a, b| number(a) == number(b)).map(mean).collect()
}

fn mean(points: &[Point]) -> Point {
    let count = points.len() as f64;
    let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    (sum.0 / count, sum.1 / count)
}

/// The curve as TensorBoard smooths it: an exponential moving average of the values, in which
/// `weight` (0 to 1) is the share of those before, divided by the sum of all weights so far, as
/// Adam's moments are (Kingma and Ba 2015), so that it does not begin near 0.
pub(super) fn smoothed(points: &[Point], weight: f64) -> Vec<Point> {
    let (mut sum, mut weights) = (0.0, 0.0);
    let smooth = |&(x, y): &Point| {
        sum = weight * sum + (1.0 - weight) * y;
        weights = weight * weights + (1.0 - weight);
        (x, sum / weights)
    };
    points.iter().map(smooth).collect()
}

/// The values without a share of the lowest and one of the highest, in rising order.
pub(super) fn without_extremes(mut values: Vec<f64>, share: f64) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    let cut = (share * values.len() as f64) as usize;
    values.truncate(values.len() - cut);
    values.split_off(cut)
}

/// The pieces of a line between the heights `top` and `bottom`.
pub(super) fn clipped(points: &[Point], top: f64, bottom: f64) -> Vec<Vec<Point>> {
    let mut pieces: Vec<Vec<Point>> = Vec::new();
    for pair in points.windows(2) {
        let Some((from, to)) = clipped_segment(pair[0], pair[1], top, bottom) else { continue };
        match pieces.last_mut() {
            Some(piece) if piece.last() == Some(&from) => piece.push(to),
            _ => pieces.push(vec![from, to]),
        }
    }
    pieces
}

fn clipped_segment(from: Point, to: Point, top: f64, bottom: f64) -> Option<(Point, Point)> {
    let inside = |height: f64| (top..=bottom).contains(&height);
    if (from.1 < top && to.1 < top) || (from.1 > bottom && to.1 > bottom) {
        return None;
    }
    let at = |height: f64| {
        let share = (height - from.1) / (to.1 - from.1);
        (from.0 + share * (to.0 - from.0), height)
    };
    let cut = |point: Point| match point.1 {
        height if inside(height) => point,
        height if height < top => at(top),
        _ => at(bottom),
    };
    Some((cut(from), cut(to)))
}

/// Places along an axis that are known at some steps, and lie between these in proportion.
#[derive(Clone, Debug)]
pub(super) struct Ruler {
    /// Steps, rising, and the place of each; the first is step 0.
    known: Vec<Point>,
}

impl Ruler {
    /// A ruler from the places of steps.
    pub(super) fn new(places: impl Iterator<Item = Point>) -> Self {
        let mut known = vec![(0.0, 0.0)];
        for (step, place) in places {
            if known.last().is_some_and(|last| step > last.0) {
                known.push((step, place));
            }
        }
        Self { known }
    }

    /// Where a step lies; beyond the last known one at its distance from the beginning. None where
    /// nothing is known.
    pub(super) fn place(&self, step: f64) -> Option<f64> {
        let (first, last) = (self.known.first()?, self.known.last().filter(|last| last.0 > 0.0)?);
        let after = self.known.partition_point(|known| known.0 < step);
        let (from, to) = match after {
            0 => return Some(first.1),
            after if after < self.known.len() => (&self.known[after - 1], &self.known[after]),
            _ => (first, last),
        };
        Some(from.1 + (step - from.0) / (to.0 - from.0) * (to.1 - from.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: a first value of 1 counts in full; then (0.6·0.4·1 + 0.4·0) / (1 − 0.6²) and so on.
    #[test]
    fn curves_are_smoothed_as_tensorboard_does() {
        let points = [(1.0, 1.0), (2.0, 0.0), (3.0, 0.0)];
        let smooth = smoothed(&points, 0.6);
        let expected = [1.0, 0.24 / 0.64, 0.144 / 0.784];
        for ((point, smooth), expected) in points.iter().zip(&smooth).zip(expected) {
            assert_eq!(point.0, smooth.0);
            assert!((smooth.1 - expected).abs() < 1e-12, "{smooth:?} {expected}");
        }
        assert_eq!(smoothed(&points, 0.0), points);
        let constant = smoothed(&[(0.0, 0.3); 4], 0.9);
        assert!(constant.iter().all(|point| (point.1 - 0.3).abs() < 1e-12));
    }

    #[test]
    fn many_points_become_means() {
        let points: Vec<Point> = (0..7).map(|i| (f64::from(i), f64::from(10 * i))).collect();
        let threes = [(1.0, 10.0), (4.0, 40.0), (6.0, 60.0)];
        assert_eq!(thinned(&points, 3), threes);
        assert_eq!(thinned(&points, 7), points);
        assert_eq!(thinned(&[], 3), []);
        assert_eq!(merged(&points, 3.0), threes);
        assert_eq!(merged(&points, 1.0), points);
        assert_eq!(merged(&points, 6.0), [(2.5, 25.0), (6.0, 60.0)]);
        assert_eq!(merged(&[], 3.0), []);
    }

    #[test]
    fn extreme_values_are_left_out() {
        let values: Vec<f64> = (0..40).rev().map(f64::from).collect();
        let rest = without_extremes(values, 0.05);
        assert_eq!((rest.len(), rest[0], rest[35]), (36, 2.0, 37.0));
        assert_eq!(without_extremes(vec![3.0, 1.0], 0.05), [1.0, 3.0]);
        assert!(without_extremes(vec![], 0.05).is_empty());
    }

    #[test]
    fn lines_end_at_the_frame() {
        let line = [(0.0, 5.0), (1.0, -5.0), (2.0, 5.0), (3.0, 15.0), (4.0, 16.0)];
        let expected = [vec![(0.0, 5.0), (0.5, 0.0)], vec![(1.5, 0.0), (2.0, 5.0), (2.5, 10.0)]];
        assert_eq!(clipped(&line, 0.0, 10.0), expected);
        assert_eq!(clipped(&[(0.0, -1.0), (1.0, 11.0)], 0.0, 10.0).len(), 1);
        assert!(clipped(&[(0.0, 20.0), (1.0, 30.0)], 0.0, 10.0).is_empty());
        assert!(clipped(&[(0.0, 5.0)], 0.0, 10.0).is_empty());
    }

    #[test]
    fn steps_lie_between_those_that_are_known() {
        let ruler = Ruler::new([(100.0, 1.0), (300.0, 2.0), (300.0, 9.0)].into_iter());
        let place = |step| ruler.place(step).unwrap();
        assert_eq!([0.0, 50.0, 100.0, 200.0, 300.0].map(place), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(place(600.0), 4.0);
        assert_eq!(Ruler::new([].into_iter()).place(5.0), None);
    }
}

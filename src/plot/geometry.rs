//! Points of a canvas, and dashed lines through them.

/// A point on a canvas, in pixels from its upper left corner.
pub(super) type Point = (f64, f64);

/// Factor by which both files are drawn larger, since plotters only has integer coordinates.
pub(super) const SCALE: u32 = 3;

/// Enlarges the coordinates of a point by `scale`, and rounds them.
pub(super) fn scaled((x, y): Point, scale: u32) -> (i32, i32) {
    let scale = f64::from(scale);
    ((x * scale).round() as i32, (y * scale).round() as i32)
}

/// A pattern of dashes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dashes {
    /// Length of the gap before the first dash.
    pub(super) skip: f64,
    /// Length of a dash.
    pub(super) on: f64,
    /// Length of the gaps between dashes.
    pub(super) off: f64,
}

impl Dashes {
    /// Splits a line into dashes.
    pub(super) fn split(self, points: &[Point]) -> Vec<Vec<Point>> {
        let mut dashes = Vec::new();
        let mut dash: Vec<Point> = points.first().copied().into_iter().collect();
        let (mut drawing, mut left) =
            if self.skip > 0.0 { (false, self.skip) } else { (true, self.on) };
        for pair in points.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            let mut done = 0.0;
            while length - done > left {
                done += left;
                let fraction = done / length;
                let here =
                    (from.0 + fraction * (to.0 - from.0), from.1 + fraction * (to.1 - from.1));
                dash.push(here);
                if drawing {
                    dashes.push(std::mem::take(&mut dash));
                }
                dash = vec![here];
                drawing = !drawing;
                left = if drawing { self.on } else { self.off };
            }
            left -= length - done;
            dash.push(to);
        }
        if drawing && dash.len() > 1 {
            dashes.push(dash);
        }
        dashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_go_around_corners() {
        let line = [(0.0, 0.0), (3.0, 0.0), (3.0, 11.0)];
        let corner = vec![(0.0, 0.0), (3.0, 0.0), (3.0, 1.0)];
        let expected = [corner, vec![(3.0, 3.0), (3.0, 7.0)], vec![(3.0, 9.0), (3.0, 11.0)]];
        let dashes = Dashes { skip: 0.0, on: 4.0, off: 2.0 };
        assert_eq!(dashes.split(&line), expected);
        let later = Dashes { skip: 6.0, on: 5.0, off: 9.0 };
        assert_eq!(later.split(&line), [vec![(3.0, 3.0), (3.0, 8.0)]]);
        let solid = Dashes { skip: 0.0, on: 4.0, off: 0.0 };
        assert_eq!(solid.split(&line).len(), 4);
        assert!(dashes.split(&[(1.0, 1.0)]).is_empty());
        assert!(dashes.split(&[]).is_empty());
    }
}

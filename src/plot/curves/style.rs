//! Styles of lines and dots.

use crate::plot::canvas::Canvas;
use crate::plot::color::{BACKGROUND, Color, PALETTE};
use crate::plot::geometry::Point;

/// Maximum number of validations that are marked by dots.
const MAX_DOTS: usize = 40;

/// The style of a line.
pub(super) struct Style {
    pub(super) width: f64,
    /// Opacity of the run's color.
    opacity: f32,
}

pub(super) const RAW: Style = Style { width: 1.2, opacity: 0.25 };
pub(super) const TRAINING: Style = Style { width: 1.8, opacity: 0.55 };
pub(super) const VALIDATION: Style = Style { width: 2.6, opacity: 1.0 };

impl Style {
    pub(super) fn color(&self, color: Color) -> Color {
        color.over(BACKGROUND, self.opacity)
    }
}

pub(super) fn color(number: usize) -> Color {
    PALETTE[number % PALETTE.len()]
}

/// Marks every point of a short curve. When colors repeat, dots become rings.
pub(super) fn dots(canvas: &mut Canvas, number: usize, points: &[Point], color: Color) {
    if points.len() > MAX_DOTS {
        return;
    }
    let ring = (number / PALETTE.len()) % 2 == 1;
    for point in points {
        canvas.dot(*point, 4.0, color);
        if ring {
            canvas.dot(*point, 2.2, BACKGROUND);
        }
    }
}

pub(super) fn best_dot(canvas: &mut Canvas, center: Point, color: Color) {
    for (radius, color) in [(10.0, BACKGROUND), (8.5, color), (6.0, BACKGROUND), (4.0, color)] {
        canvas.dot(center, radius, color);
    }
}

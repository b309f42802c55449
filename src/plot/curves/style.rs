//! Styles of lines and markers.

use crate::plot::canvas::Canvas;
use crate::plot::color::{BACKGROUND, Color, PALETTE};
use crate::plot::geometry::{Dashes, Point};

/// Maximum number of validations that are marked.
const MAX_MARKERS: usize = 40;
/// Number of shapes of markers: four filled ones and four outlined ones. It has no divisor in common with the
/// number of colors, so that the combinations differ.
const SHAPES: usize = 8;

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

/// Returns the dashes of a run's lines; `None` if they are solid. They differ where colors repeat.
fn dashes(number: usize) -> Option<Dashes> {
    match number / PALETTE.len() % 3 {
        0 => None,
        1 => Some(Dashes { skip: 0.0, on: 14.0, off: 7.0 }),
        _ => Some(Dashes { skip: 0.0, on: 5.0, off: 5.0 }),
    }
}

/// Draws a line of a run, dashed if other runs have the same color.
pub(super) fn run_line(
    canvas: &mut Canvas,
    points: &[Point],
    number: usize,
    width: f64,
    color: Color,
) {
    match dashes(number) {
        Some(dashes) => canvas.dashes(points, dashes, width, color),
        None => canvas.line(points, width, color),
    }
}

/// Marks every point of a short curve. Runs differ in the shape of their markers as well as in color.
pub(super) fn markers(canvas: &mut Canvas, number: usize, points: &[Point], color: Color) {
    if points.len() > MAX_MARKERS {
        return;
    }
    for point in points {
        marker(canvas, number, *point, 1.0, color);
        if number % SHAPES >= SHAPES / 2 {
            marker(canvas, number, *point, 0.5, BACKGROUND);
        }
    }
}

fn marker(canvas: &mut Canvas, number: usize, (x, y): Point, size: f64, color: Color) {
    let at = |offsets: &[Point]| {
        offsets.iter().map(|(right, down)| (x + size * right, y + size * down)).collect()
    };
    match number % (SHAPES / 2) {
        0 => canvas.dot((x, y), 4.5 * size, color),
        1 => {
            let (low, high) = ((x - 4.0 * size, y - 4.0 * size), (x + 4.0 * size, y + 4.0 * size));
            canvas.bar([low, high], color);
        }
        2 => canvas.polygon(at(&[(0.0, -6.0), (5.5, 4.0), (-5.5, 4.0)]), color),
        _ => canvas.polygon(at(&[(0.0, -6.0), (6.0, 0.0), (0.0, 6.0), (-6.0, 0.0)]), color),
    }
}

/// Marks that a curve leaves the chart at its upper or lower edge.
pub(super) fn clip_mark(canvas: &mut Canvas, (x, y): Point, is_upper: bool, color: Color) {
    let tip = if is_upper { -9.0 } else { 9.0 };
    canvas.polygon(vec![(x, y + tip), (x + 7.0, y), (x - 7.0, y)], color);
}

pub(super) fn best_dot(canvas: &mut Canvas, center: Point, color: Color) {
    for (radius, color) in [(10.0, BACKGROUND), (8.5, color), (6.0, BACKGROUND), (4.0, color)] {
        canvas.dot(center, radius, color);
    }
}

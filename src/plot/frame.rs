//! The area of a canvas that an x and a y axis span.

use super::axis::Axis;
use super::canvas::Canvas;
use super::color::{FOREGROUND, GRAY, GRID};
use super::geometry::Point;
use super::text::{Align, MEDIUM, SMALL};

/// The area between two axes, in pixels from the upper left corner of the canvas.
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

impl Frame {
    /// Converts values to a point on the canvas.
    pub(super) fn point(&self, x: f64, y: f64) -> Point {
        (
            self.left + self.x.fraction(x) * (self.right - self.left),
            self.bottom - self.y.fraction(y) * (self.bottom - self.top),
        )
    }

    /// Draws the y axis: grid lines and tick labels.
    pub(super) fn draw_y(&self, canvas: &mut Canvas) {
        for tick in self.y.ticks() {
            let (_, y) = self.point(0.0, tick);
            canvas.line(&[(self.left, y), (self.right, y)], 1.0, GRID);
            canvas.text((self.left - 10.0, y), Align::Right, SMALL, GRAY, &self.y.label(tick));
        }
        canvas.line(&[(self.left, self.bottom), (self.right, self.bottom)], 1.0, GRAY);
    }

    /// Draws both axes. The x axis has no name if `x_name` is empty.
    pub(super) fn draw(&self, canvas: &mut Canvas, x_name: &str) {
        self.draw_y(canvas);
        for tick in self.x.ticks() {
            let (x, _) = self.point(tick, 0.0);
            canvas.line(&[(x, self.top), (x, self.bottom)], 1.0, GRID);
            canvas.line(&[(x, self.bottom), (x, self.bottom + 6.0)], 1.0, GRAY);
            let below = (x, self.bottom + 20.0);
            canvas.text(below, Align::Center, SMALL, GRAY, &self.x.label(tick));
        }
        if !x_name.is_empty() {
            let center = ((self.left + self.right) / 2.0, self.bottom + 48.0);
            canvas.text(center, Align::Center, MEDIUM, FOREGROUND, x_name);
        }
    }
}

//! Pictures of what a run has learned, each as SVG and as PNG.
//!
//! [`curves`] and [`words`] are pure: numbers become a [`Sheet`] of lines, dots and texts, which is
//! drawn twice.

mod axis;
pub mod curves;
mod letters;
mod sheet;
pub mod words;

use plotters::style::RGBColor;

use axis::Axis;
pub use sheet::Picture;
use sheet::{Align, Point, Sheet};

/// Okabe and Ito's colours, which the colour-blind tell apart too; their yellow is too pale for a
/// white ground.
const COLORS: [RGBColor; 7] = [
    BLUE,
    VERMILION,
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];
const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILION: RGBColor = RGBColor(213, 94, 0);

const INK: RGBColor = RGBColor(38, 38, 38);
const GRAY: RGBColor = RGBColor(105, 105, 105);
const GRID: RGBColor = RGBColor(228, 228, 228);
const PAPER: RGBColor = RGBColor(255, 255, 255);

/// Sizes of letters.
const TITLE: f64 = 22.0;
const TEXT: f64 = 18.0;
const SMALL: f64 = 16.0;

/// The part of a sheet that an x and a y axis span.
struct Frame {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    x: Axis,
    y: Axis,
}

impl Frame {
    /// Where the values lie on the sheet.
    fn place(&self, x: f64, y: f64) -> Point {
        (
            self.left + self.x.share(x) * (self.right - self.left),
            self.bottom - self.y.share(y) * (self.bottom - self.top),
        )
    }

    /// Draws grid, ticks and the name of the x axis.
    fn draw(&self, sheet: &mut Sheet, x_name: &str) {
        for tick in self.y.ticks() {
            let (_, y) = self.place(0.0, tick);
            sheet.line(&[(self.left, y), (self.right, y)], 1.0, GRID);
            sheet.text((self.left - 10.0, y), Align::Right, SMALL, GRAY, &self.y.label(tick));
        }
        for tick in self.x.ticks() {
            let (x, _) = self.place(tick, 0.0);
            sheet.line(&[(x, self.top), (x, self.bottom)], 1.0, GRID);
            sheet.line(&[(x, self.bottom), (x, self.bottom + 6.0)], 1.0, GRAY);
            let below = (x, self.bottom + 20.0);
            sheet.text(below, Align::Center, SMALL, GRAY, &self.x.label(tick));
        }
        sheet.line(&[(self.left, self.bottom), (self.right, self.bottom)], 1.0, GRAY);
        let middle = ((self.left + self.right) / 2.0, self.bottom + 48.0);
        sheet.text(middle, Align::Center, TEXT, INK, x_name);
    }
}

//! Pictures of what a run has learned, each as SVG and as PNG.
//!
//! [`curves`], [`states`] and [`words`] are pure: numbers become a [`Sheet`] of lines, dots and texts, which is
//! drawn twice, on light paper or on dark ([`Theme`]). So is [`matrix`], which is drawn once, for
//! TensorBoard.

mod axis;
mod color;
pub mod curves;
mod letters;
pub mod matrix;
mod series;
mod sheet;
pub mod states;
pub mod words;

use axis::Axis;
use color::Color;
pub use color::Theme;
pub use sheet::Picture;
use sheet::{Align, Point, Sheet};

/// Okabe and Ito's colours, which the colour-blind tell apart too, darker where they are too pale
/// for white paper and lighter where they are too dim for dark paper. Their yellow is left out.
const COLORS: [Color; 7] = [
    BLUE,
    VERMILION,
    Color::new((0, 148, 108), (0, 186, 140)),
    Color::new((196, 100, 160), (226, 150, 194)),
    Color::new((190, 130, 0), (240, 228, 66)),
    Color::new((60, 150, 205), (130, 140, 255)),
    Color::new((0, 0, 0), (255, 255, 255)),
];
const BLUE: Color = Color::new((0, 114, 178), (86, 180, 233));
const VERMILION: Color = Color::new((213, 94, 0), (240, 120, 40));

const INK: Color = Color::new((38, 38, 38), (230, 230, 230));
const GRAY: Color = Color::new((105, 105, 105), (158, 163, 170));
const GRID: Color = Color::new((228, 228, 228), (50, 54, 61));
const PAPER: Color = Color::new((255, 255, 255), (22, 25, 30));

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

    /// Draws the grid and the ticks of the y axis.
    fn draw_y(&self, sheet: &mut Sheet) {
        for tick in self.y.ticks() {
            let (_, y) = self.place(0.0, tick);
            sheet.line(&[(self.left, y), (self.right, y)], 1.0, GRID);
            sheet.text((self.left - 10.0, y), Align::Right, SMALL, GRAY, &self.y.label(tick));
        }
        sheet.line(&[(self.left, self.bottom), (self.right, self.bottom)], 1.0, GRAY);
    }

    /// Draws grid, ticks and the name of the x axis, where it has one.
    fn draw(&self, sheet: &mut Sheet, x_name: &str) {
        self.draw_y(sheet);
        for tick in self.x.ticks() {
            let (x, _) = self.place(tick, 0.0);
            sheet.line(&[(x, self.top), (x, self.bottom)], 1.0, GRID);
            sheet.line(&[(x, self.bottom), (x, self.bottom + 6.0)], 1.0, GRAY);
            let below = (x, self.bottom + 20.0);
            sheet.text(below, Align::Center, SMALL, GRAY, &self.x.label(tick));
        }
        if x_name.is_empty() {
            return;
        }
        let middle = ((self.left + self.right) / 2.0, self.bottom + 48.0);
        sheet.text(middle, Align::Center, TEXT, INK, x_name);
    }
}

//! The key to the line styles, and the legend of the runs.

use super::layout::{LEFT, LEGEND_LINE, LEGEND_ROW, LEGEND_TOP};
use super::run::Run;
use super::style::{RAW, TRAINING, VALIDATION, best_dot, color, markers, run_line};
use crate::output::format::pluralize;
use crate::plot::canvas::Canvas;
use crate::plot::color::{FOREGROUND, GRAY};
use crate::plot::geometry::Point;
use crate::plot::text::{Align, MEDIUM, SMALL, short_names, text_width};

/// Draws the key to the line styles above the charts.
pub(super) fn draw_key(canvas: &mut Canvas, smoothed: bool) {
    const Y: f64 = 34.0;
    let mut left = LEFT.left;
    for (name, style) in [("validation", VALIDATION), ("training", TRAINING), ("unsmoothed", RAW)] {
        if name == "unsmoothed" && !smoothed {
            continue;
        }
        canvas.line(&[(left, Y), (left + LEGEND_LINE, Y)], style.width, style.color(GRAY));
        left = draw_key_name(canvas, (left + LEGEND_LINE, Y), name);
    }
    best_dot(canvas, (left + 9.0, Y), GRAY);
    draw_key_name(canvas, (left + 18.0, Y), "best epoch");
}

/// Draws a name in the key, and returns the position of the next entry.
fn draw_key_name(canvas: &mut Canvas, (end, y): Point, name: &str) -> f64 {
    let left = end + 10.0;
    canvas.text((left, y), Align::Left, SMALL, GRAY, name);
    left + text_width(name, SMALL) + 26.0
}

/// Draws a row for each run: its style, its name, its best validation; and the number of runs that the
/// picture does not show.
pub(super) fn draw_legend(canvas: &mut Canvas, runs: &[Run], hidden: usize) {
    let left = LEFT.left;
    let text = left + LEGEND_LINE + 14.0;
    let names: Vec<(usize, &str)> =
        runs.iter().map(|run| run.curves.name.as_str()).enumerate().collect();
    let names = short_names(&names, MEDIUM, 680.0);
    let widest = names.iter().map(|name| text_width(name, MEDIUM)).fold(0.0, f64::max);
    for (number, (run, name)) in runs.iter().zip(&names).enumerate() {
        let y = LEGEND_TOP + LEGEND_ROW * number as f64;
        let line = [(left, y), (left + LEGEND_LINE, y)];
        run_line(canvas, &line, number, VALIDATION.width, color(number));
        markers(canvas, number, &[(left + LEGEND_LINE / 2.0, y)], color(number));
        canvas.text((text, y), Align::Left, MEDIUM, FOREGROUND, name);
        canvas.text((text + widest + 28.0, y), Align::Left, SMALL, GRAY, &run.best_validation());
    }
    if hidden > 0 {
        let y = LEGEND_TOP + LEGEND_ROW * runs.len() as f64;
        let others = format!("not shown: {}", pluralize(hidden, "more run"));
        canvas.text((text, y), Align::Left, SMALL, GRAY, &others);
    }
}

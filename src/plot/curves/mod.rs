//! Loss, accuracy, learning rate and throughput of one or more runs, by epoch, step or time. Reading the
//! measurements belongs in [`crate::cli`].

mod charts;
mod layout;
mod legend;
mod run;
mod style;

pub use run::{RunCurves, TAGS, XAxis};

use charts::{Chart, Curve, MAX_POINTS, XScale, charts};
use layout::{LEGEND_ROW, LEGEND_TOP, MARGIN, WIDTH};
use legend::{draw_key, draw_legend};
use run::Run;

use crate::config::Metric;

use super::canvas::{Canvas, Picture};
use super::color::Theme;

/// Plot options.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Quantity on the x axes.
    pub x_axis: XAxis,
    /// Weight of the previous average in the exponential moving average. 0 disables smoothing.
    pub smoothing: f64,
    /// Number of runs that the picture does not show.
    pub hidden: usize,
    /// Color theme.
    pub theme: Theme,
}

/// Draws the curves of the runs in four charts above a legend, which has their order.
///
/// # Errors
/// Returns an error if the picture cannot be encoded.
pub fn draw(runs: &[RunCurves], options: &Options) -> anyhow::Result<Picture> {
    let rows = runs.len() + usize::from(options.hidden > 0);
    let height = LEGEND_TOP + LEGEND_ROW * (rows as f64 - 0.5) + MARGIN;
    let mut canvas = Canvas::new(WIDTH, height.max(0.0).round() as u32);
    let runs: Vec<Run> = runs.iter().map(|run| Run::new(run, options.x_axis)).collect();
    let end = runs.iter().map(Run::end).fold(0.0, f64::max);
    let curves = |chart: &Chart| -> Vec<Curve> {
        runs.iter()
            .map(|run| chart.curve(run, end / MAX_POINTS as f64, options.smoothing))
            .collect()
    };
    let charts = charts(Metric::common(runs.iter().map(|run| &run.curves.metric)));
    let curves: Vec<Vec<Curve>> = charts.iter().map(curves).collect();
    let x = XScale::new(curves.iter().flatten(), end, options.x_axis);
    for (chart, curves) in charts.iter().zip(&curves) {
        chart.draw(&mut canvas, curves, &x);
    }
    draw_key(&mut canvas, curves.iter().flatten().any(|curve| !curve.raw.is_empty()));
    draw_legend(&mut canvas, &runs, options.hidden);
    canvas.render(options.theme)
}

#[cfg(test)]
mod tests;

//! The four charts and their curves.

use std::borrow::Cow;

use super::layout::{Column, LEFT, LOWER, RIGHT, Row, UPPER};
use super::run::{RecordValue, Run, XAxis};
use super::style::{RAW, TRAINING, VALIDATION, best_dot, clip_mark, color, markers, run_line};
use crate::config::Metric;
use crate::output::format::group_digits;
use crate::plot::axis::Axis;
use crate::plot::canvas::Canvas;
use crate::plot::color::{BACKGROUND, Color, FOREGROUND, GRAY};
use crate::plot::frame::Frame;
use crate::plot::geometry::{Dashes, Point};
use crate::plot::series::{bin, clip, downsample, smooth, trim};
use crate::plot::text::{Align, LARGE, MEDIUM, SMALL};

/// Maximum number of points of a curve. Neighboring points are averaged.
pub(super) const MAX_POINTS: usize = 300;
/// Fraction of the lowest and of the highest values of a training curve that the y axis need not contain,
/// the same as in TensorBoard.
const OUTLIERS: f64 = 0.05;
/// Validation losses that exceed this many times the loss at the start are left out of the y axis.
const DIVERGED: f64 = 3.0;
/// Length of a dash of overlapping curves.
const DASH: f64 = 16.0;

/// One of the charts of the picture.
pub(super) struct Chart {
    name: Cow<'static, str>,
    /// Index of the training curve in [`TAGS`], if there is one.
    curve: Option<usize>,
    /// Factor of the curve's values.
    scale: f64,
    /// Training value of a record, for runs without event files.
    training: Option<RecordValue>,
    /// Validation value of a record.
    validation: Option<RecordValue>,
    /// Maximum of the y axis. `None` if the y axis starts at 0.
    limit: Option<f64>,
    /// False for the learning rate, which has no noise to smooth.
    smooth: bool,
    column: Column,
    row: Row,
}

/// Returns the charts of runs. If the best epoch of all runs is determined by `metric`, that has a chart in
/// the place of the throughput, unless it is the loss or the accuracy.
pub(super) fn charts(metric: Option<&Metric>) -> [Chart; 4] {
    let mut charts = CHARTS;
    if let Some(metric) = metric.filter(|metric| metric.is_additional()) {
        let [.., last] = &mut charts;
        last.name = Cow::Owned(metric.heading());
        last.curve = None;
        last.validation = Some(|record| record.validation.metric);
        last.limit = Some(1.0);
    }
    charts
}

const CHARTS: [Chart; 4] = [
    Chart {
        name: Cow::Borrowed("loss"),
        curve: Some(0),
        scale: 1.0,
        training: Some(|record| Some(record.train.loss)),
        validation: Some(|record| Some(record.validation.loss)),
        limit: Some(f64::INFINITY),
        smooth: true,
        column: LEFT,
        row: UPPER,
    },
    Chart {
        name: Cow::Borrowed("accuracy in %"),
        curve: Some(1),
        scale: 100.0,
        training: Some(|record| Some(100.0 * record.train.accuracy)),
        validation: Some(|record| Some(100.0 * record.validation.accuracy)),
        limit: Some(100.0),
        smooth: true,
        column: RIGHT,
        row: UPPER,
    },
    Chart {
        name: Cow::Borrowed("learning rate"),
        curve: Some(2),
        scale: 1.0,
        training: Some(|record| Some(record.learning_rate)),
        validation: None,
        limit: None,
        smooth: false,
        column: LEFT,
        row: LOWER,
    },
    Chart {
        name: Cow::Borrowed("tokens per second"),
        curve: Some(3),
        scale: 1.0,
        training: None,
        validation: None,
        limit: None,
        smooth: true,
        column: RIGHT,
        row: LOWER,
    },
];

/// The curves of a run in a chart. The x values are epochs, steps or seconds.
pub(super) struct Curve {
    /// Training curve before smoothing. Empty if it is not smoothed.
    pub(super) raw: Vec<Point>,
    pub(super) training: Vec<Point>,
    /// True if the training curve has points between validations.
    pub(super) has_steps: bool,
    pub(super) validation: Vec<Point>,
    pub(super) best: Option<Point>,
}

/// The x axis of all charts.
pub(super) struct XScale {
    axis: Axis,
    name: &'static str,
    /// Divisor of the x values of curves: seconds in a minute or an hour, otherwise 1.
    unit: f64,
}

impl XScale {
    pub(super) fn new<'c>(
        curves: impl Iterator<Item = &'c Curve>,
        end: f64,
        x_axis: XAxis,
    ) -> Self {
        let (name, unit) = match x_axis {
            XAxis::Epoch => ("epoch", 1.0),
            XAxis::Step => ("step", 1.0),
            XAxis::Time if end <= 180.0 => ("training time in seconds", 1.0),
            XAxis::Time if end <= 10_800.0 => ("training time in minutes", 60.0),
            XAxis::Time => ("training time in hours", 3600.0),
        };
        let points = curves.flat_map(|curve| curve.training.iter().chain(&curve.validation));
        let values = points.map(|point| point.0).chain((end > 0.0).then_some(end));
        let values = values.map(|x| x / unit);
        let axis = match x_axis {
            XAxis::Epoch => Axis::epochs(values),
            XAxis::Step | XAxis::Time => Axis::padded_from_zero(values),
        };
        Self { axis, name, unit }
    }
}

impl Chart {
    /// Returns the curves of a run, with at most one training point per `interval` of the x axis.
    pub(super) fn curve(&self, run: &Run, interval: f64, smoothing: f64) -> Curve {
        let points = self
            .curve
            .map_or(Vec::new(), |curve| run.step_points(&run.curves.steps[curve], self.scale));
        let has_steps = !points.is_empty();
        let (mut raw, mut training) = (Vec::new(), Vec::new());
        if has_steps {
            let points = downsample(&points, MAX_POINTS);
            if self.smooth && smoothing > 0.0 {
                training = bin(&smooth(&points, smoothing), interval);
                raw = bin(&points, interval);
            } else {
                training = bin(&points, interval);
            }
        } else if let Some(value) = self.training {
            training = run.record_points(value);
        }
        let validation = self.validation.map_or(Vec::new(), |value| run.record_points(value));
        let best = self.validation.and_then(|value| run.best_point(value));
        Curve { raw, training, has_steps, validation, best }
    }

    pub(super) fn draw(&self, canvas: &mut Canvas, curves: &[Curve], x: &XScale) {
        let area = Area { frame: self.frame(curves, x), unit: x.unit };
        let is_lowest = self.row.bottom == LOWER.bottom;
        area.frame.draw(canvas, if is_lowest { x.name } else { "" });
        canvas.text((self.column.left, self.row.title), Align::Left, LARGE, FOREGROUND, &self.name);
        if curves.iter().all(|curve| curve.training.is_empty() && curve.validation.is_empty()) {
            let Frame { left, right, top, bottom, .. } = area.frame;
            let center = ((left + right) / 2.0, (top + bottom) / 2.0);
            canvas.text(center, Align::Center, MEDIUM, GRAY, "not measured");
        }
        for (number, curve) in curves.iter().enumerate() {
            area.line(canvas, &curve.raw, None, RAW.width, RAW.color(color(number)));
        }
        let style = if self.validation.is_some() { TRAINING } else { VALIDATION };
        for (number, curve) in curves.iter().enumerate() {
            let color = style.color(color(number));
            area.line(canvas, &curve.training, Some(number), style.width, color);
            if !curve.has_steps {
                markers(canvas, number, &area.inside(&curve.training), color);
            }
        }
        if !self.smooth {
            draw_overlapping(canvas, curves, &area);
        }
        draw_validation(canvas, curves, &area);
        self.draw_clip_marks(canvas, curves, &area);
    }

    /// Marks where curves leave the chart, and says how far.
    fn draw_clip_marks(&self, canvas: &mut Canvas, curves: &[Curve], area: &Area) {
        let Frame { y, top, bottom, .. } = &area.frame;
        // The ends of an axis are rounded.
        let tolerance = 1e-9 * (y.high() - y.low());
        let (high, low) = (y.high() + tolerance, y.low() - tolerance);
        let (mut highest, mut lowest) = (high, low);
        for (number, curve) in curves.iter().enumerate() {
            let points = || curve.raw.iter().chain(&curve.training).chain(&curve.validation);
            let by_value = |a: &&Point, b: &&Point| a.1.total_cmp(&b.1);
            if let Some(max) = points().max_by(by_value).filter(|max| max.1 > high) {
                clip_mark(canvas, (area.point(*max).0, *top), true, color(number));
                highest = highest.max(max.1);
            }
            if let Some(min) = points().min_by(by_value).filter(|min| min.1 < low) {
                clip_mark(canvas, (area.point(*min).0, *bottom), false, color(number));
                lowest = lowest.min(min.1);
            }
        }
        let above = (highest > high).then(|| format!("up to {}", short_number(highest)));
        let below = (lowest < low).then(|| format!("down to {}", short_number(lowest)));
        let beyond: Vec<String> = above.into_iter().chain(below).collect();
        if !beyond.is_empty() {
            let text = format!("clipped: values {}", beyond.join(" and "));
            let position = (self.column.right, self.row.title);
            canvas.text(position, Align::Right, SMALL, GRAY, &text);
        }
    }

    fn frame(&self, curves: &[Curve], x: &XScale) -> Frame {
        let values = |points: &[Point]| points.iter().map(|point| point.1).collect::<Vec<f64>>();
        let training = curves.iter().flat_map(|curve| {
            // The first steps are outliers that would flatten the rest of the curve.
            let outliers = if curve.has_steps && self.limit.is_some() { OUTLIERS } else { 0.0 };
            trim(values(&curve.training), outliers)
        });
        let y = match self.limit {
            Some(limit) => {
                let validation = curves.iter().flat_map(|curve| values(&curve.validation));
                // A run that diverges would flatten all curves.
                let bound =
                    if limit.is_finite() { limit } else { DIVERGED * typical_start(curves) };
                let values = training.chain(validation).filter(|value| *value <= bound);
                Axis::around(values, (0.0, limit))
            }
            None => Axis::from_zero(training),
        };
        let (Column { left, right }, Row { top, bottom, .. }) = (self.column, self.row);
        Frame { left, top, right, bottom, x: x.axis.clone(), y }
    }
}

/// Returns the median over the runs of their first value, about the loss of a model that knows nothing.
fn typical_start(curves: &[Curve]) -> f64 {
    let first = |curve: &Curve| {
        // A fitted model has almost no training loss before training begins.
        let before_training = curve.validation.first().filter(|point| point.0 == 0.0);
        Some(before_training.or(curve.training.first()).or(curve.validation.first())?.1)
    };
    let mut first: Vec<f64> = curves.iter().filter_map(first).collect();
    first.sort_by(f64::total_cmp);
    first.get(first.len() / 2).copied().unwrap_or(f64::INFINITY)
}

/// Formats a number with about three digits.
fn short_number(number: f64) -> String {
    match number.abs() {
        size if size >= 1e6 => format!("{number:.2e}"),
        size if size >= 100.0 => group_digits(number.abs().round() as usize),
        _ => format!("{number:.2}"),
    }
}

/// The plot area of a chart.
struct Area {
    frame: Frame,
    /// Divisor of x values.
    unit: f64,
}

impl Area {
    fn point(&self, (x, y): Point) -> Point {
        self.frame.point(x / self.unit, y)
    }

    fn points(&self, points: &[Point]) -> Vec<Point> {
        points.iter().map(|point| self.point(*point)).collect()
    }

    /// Returns the points that are inside the chart.
    fn inside(&self, points: &[Point]) -> Vec<Point> {
        let Frame { top, bottom, .. } = self.frame;
        let mut points = self.points(points);
        points.retain(|point| (top - 0.5..=bottom + 0.5).contains(&point.1));
        points
    }

    /// Draws the parts of a line that are inside the chart, in the style of a run if it has a number.
    fn line(
        &self,
        canvas: &mut Canvas,
        points: &[Point],
        run: Option<usize>,
        width: f64,
        color: Color,
    ) {
        for line in clip(&self.points(points), self.frame.top, self.frame.bottom) {
            match run {
                Some(number) => run_line(canvas, &line, number, width, color),
                None => canvas.line(&line, width, color),
            }
        }
    }
}

/// Draws curves that may coincide as alternating dashes, so that all of them are visible.
fn draw_overlapping(canvas: &mut Canvas, curves: &[Curve], area: &Area) {
    let off = DASH * (curves.len() - 1) as f64;
    for (number, curve) in curves.iter().enumerate().filter(|_| off > 0.0) {
        let dashes = Dashes { skip: DASH * number as f64, on: DASH, off };
        canvas.dashes(&area.points(&curve.training), dashes, VALIDATION.width, color(number));
    }
}

fn draw_validation(canvas: &mut Canvas, curves: &[Curve], area: &Area) {
    // An outline separates the curves from those below.
    for curve in curves {
        area.line(canvas, &curve.validation, None, VALIDATION.width + 2.8, BACKGROUND);
    }
    for (number, curve) in curves.iter().enumerate() {
        area.line(canvas, &curve.validation, Some(number), VALIDATION.width, color(number));
        markers(canvas, number, &area.inside(&curve.validation), color(number));
    }
    // Above all curves, since they matter most.
    for (number, curve) in curves.iter().enumerate() {
        if let Some(best) =
            curve.best.map(|best| area.inside(&[best])).and_then(|best| best.first().copied())
        {
            best_dot(canvas, best, color(number));
        }
    }
}

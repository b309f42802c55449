//! Loss, accuracy, learning rate and throughput of one or more runs, by epoch, step or time.

use clap::ValueEnum;

use super::axis::Axis;
use super::canvas::{Canvas, Picture};
use super::color::{BACKGROUND, Color, FOREGROUND, GRAY, PALETTE, Theme};
use super::frame::Frame;
use super::geometry::{Dashes, Point};
use super::series::{Interpolation, bin, clip, downsample, smooth, trim};
use super::text::{Align, LARGE, MEDIUM, SMALL, text_width, truncate_middle};
use crate::events::{ACCURACY, LEARNING_RATE, LOSS, Scalar, TOKENS_PER_SECOND};
use crate::objective::metrics::Score;
use crate::run::directory::{ValidationRecord, ValidationTime};

const WIDTH: u32 = 1500;
const MARGIN: f64 = 36.0;
/// Vertical position of the legend, below the charts.
const LEGEND_TOP: f64 = 892.0;
const LEGEND_ROW: f64 = 32.0;
/// Length of a line in the legend.
const LEGEND_LINE: f64 = 44.0;
/// Maximum number of validations that are marked by dots.
const MAX_DOTS: usize = 40;
/// Maximum number of points of a curve. Neighboring points are averaged.
const MAX_POINTS: usize = 300;
/// Fraction of the lowest and of the highest values of a training curve that the y axis need not contain,
/// the same as in TensorBoard.
const OUTLIERS: f64 = 0.05;
/// Length of a dash of overlapping curves.
const DASH: f64 = 16.0;

/// Quantity on the x axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum XAxis {
    /// Epochs.
    Epoch,
    /// Steps.
    Step,
    /// Time spent training.
    Time,
}

/// Plot options.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Quantity on the x axes.
    pub x_axis: XAxis,
    /// Weight of the previous average in the exponential moving average. 0 disables smoothing.
    pub smoothing: f64,
    /// Color theme.
    pub theme: Theme,
}

/// Tags of the training curves in [`RunCurves::steps`].
pub const TAGS: [&str; 4] = [LOSS, ACCURACY, LEARNING_RATE, TOKENS_PER_SECOND];

/// The measurements of a run.
#[derive(Clone, Debug)]
pub struct RunCurves {
    /// Name of the run.
    pub name: String,
    /// Lines of `metrics.jsonl`.
    pub records: Vec<ValidationRecord>,
    /// Lines of `times.jsonl`.
    pub times: Vec<ValidationTime>,
    /// Training curves by step, in the order of [`TAGS`]. Empty without event files.
    pub steps: [Vec<Scalar>; 4],
    /// Score of the best validation. If it is unknown, the best validation is that with the lowest loss.
    pub best: Option<Score>,
}

/// A run and its x axis.
struct Run<'a> {
    curves: &'a RunCurves,
    /// Converts steps to x values.
    interpolation: Interpolation,
    /// Index of the best record.
    best: Option<usize>,
}

impl<'a> Run<'a> {
    fn new(curves: &'a RunCurves, x_axis: XAxis) -> Self {
        let interpolation = match x_axis {
            XAxis::Epoch => {
                let steps = curves.records.iter().map(|record| record.step as f64);
                Interpolation::new(steps.zip(epochs(&curves.records)))
            }
            XAxis::Step => Interpolation::new([(1.0, 1.0)].into_iter()),
            XAxis::Time => Interpolation::new(elapsed_seconds(&curves.times)),
        };
        let is_best = |record: &ValidationRecord| Some(record.validation) == curves.best;
        let best = curves.records.iter().position(is_best);
        Self { curves, interpolation, best: best.or_else(|| lowest_loss(&curves.records)) }
    }

    /// Returns a point for each record.
    fn record_points(&self, value: impl Fn(&ValidationRecord) -> f64) -> Vec<Point> {
        let records = self.curves.records.iter();
        records
            .filter_map(|record| Some((self.interpolation.x(record.step as f64)?, value(record))))
            .collect()
    }

    /// Returns the points of a curve with its values multiplied by `scale`.
    fn step_points(&self, curve: &[Scalar], scale: f64) -> Vec<Point> {
        curve
            .iter()
            .filter_map(|point| {
                Some((self.interpolation.x(point.step as f64)?, scale * point.value))
            })
            .collect()
    }

    /// Returns the largest x value.
    fn end(&self) -> f64 {
        let steps = self.curves.steps.iter().filter_map(|curve| Some(curve.last()?.step));
        let steps = steps.chain(self.curves.records.last().map(|record| record.step));
        steps.max().and_then(|step| self.interpolation.x(step as f64)).unwrap_or(0.0)
    }

    /// Describes the best validation for the legend.
    fn best_validation(&self) -> String {
        let Some(best) = self.best else { return "no validation yet".into() };
        let Score { loss, accuracy } = self.curves.records[best].validation;
        let epoch = epochs(&self.curves.records)[best];
        let decimals = if epoch.fract() == 0.0 { 0 } else { 1 };
        format!(
            "best at epoch {epoch:.decimals$}: validation loss {loss:.4}, accuracy {:.2} %",
            100.0 * accuracy
        )
    }
}

/// Returns the index of the first record with the lowest validation loss.
fn lowest_loss(records: &[ValidationRecord]) -> Option<usize> {
    let losses = records.iter().map(|record| record.validation.loss).enumerate();
    losses.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index)
}

/// Returns the number of epochs completed at each record: integers if there is one record per epoch,
/// otherwise the step divided by the steps per epoch. The latter is estimated as the maximum of step divided
/// by epoch, which is exact if a record is at the end of an epoch.
fn epochs(records: &[ValidationRecord]) -> Vec<f64> {
    let one_per_epoch = records.iter().enumerate().all(|(i, record)| record.epoch == i + 1);
    if one_per_epoch {
        return records.iter().map(|record| record.epoch as f64).collect();
    }
    let steps_per_epoch = records
        .iter()
        .map(|record| record.step as f64 / record.epoch.max(1) as f64)
        .fold(f64::MIN_POSITIVE, f64::max);
    let position = |record: &ValidationRecord| {
        let end = record.epoch as f64;
        (record.step as f64 / steps_per_epoch).clamp((end - 1.0).max(0.0), end)
    };
    records.iter().map(position).collect()
}

/// Returns the step of each validation with the seconds of training before it.
fn elapsed_seconds(times: &[ValidationTime]) -> impl Iterator<Item = Point> {
    times.iter().scan(0.0, |sum, time| {
        *sum += time.train_seconds;
        Some((time.step as f64, *sum))
    })
}

/// One of the charts of the picture.
struct Chart {
    name: &'static str,
    /// Index of the training curve in [`TAGS`].
    curve: usize,
    /// Factor of the curve's values.
    scale: f64,
    /// Training value of a record, for runs without event files.
    training: Option<fn(&ValidationRecord) -> f64>,
    /// Validation value of a record.
    validation: Option<fn(&ValidationRecord) -> f64>,
    /// Maximum of the y axis. `None` if the y axis starts at 0.
    limit: Option<f64>,
    /// False for the learning rate, which has no noise to smooth.
    smooth: bool,
    column: Column,
    row: Row,
}

#[derive(Clone, Copy)]
struct Column {
    left: f64,
    right: f64,
}

#[derive(Clone, Copy)]
struct Row {
    title: f64,
    top: f64,
    bottom: f64,
}

const LEFT: Column = Column { left: 100.0, right: 720.0 };
const RIGHT: Column = Column { left: 844.0, right: WIDTH as f64 - MARGIN };
const UPPER: Row = Row { title: 90.0, top: 122.0, bottom: 482.0 };
const LOWER: Row = Row { title: 550.0, top: 582.0, bottom: 802.0 };

const CHARTS: [Chart; 4] = [
    Chart {
        name: "loss",
        curve: 0,
        scale: 1.0,
        training: Some(|record| record.train.loss),
        validation: Some(|record| record.validation.loss),
        limit: Some(f64::INFINITY),
        smooth: true,
        column: LEFT,
        row: UPPER,
    },
    Chart {
        name: "accuracy in %",
        curve: 1,
        scale: 100.0,
        training: Some(|record| 100.0 * record.train.accuracy),
        validation: Some(|record| 100.0 * record.validation.accuracy),
        limit: Some(100.0),
        smooth: true,
        column: RIGHT,
        row: UPPER,
    },
    Chart {
        name: "learning rate",
        curve: 2,
        scale: 1.0,
        training: Some(|record| record.learning_rate),
        validation: None,
        limit: None,
        smooth: false,
        column: LEFT,
        row: LOWER,
    },
    Chart {
        name: "tokens per second",
        curve: 3,
        scale: 1.0,
        training: None,
        validation: None,
        limit: None,
        smooth: true,
        column: RIGHT,
        row: LOWER,
    },
];

/// The curves of a run in a chart, in the units of its axes.
struct Curve {
    /// Training curve before smoothing. Empty if it is not smoothed.
    raw: Vec<Point>,
    training: Vec<Point>,
    /// True if the training curve has points between validations.
    has_steps: bool,
    validation: Vec<Point>,
    best: Option<Point>,
}

/// Draws the curves of all runs in four charts above a legend.
///
/// # Errors
/// Returns an error if the picture cannot be encoded.
pub fn draw(runs: &[RunCurves], options: &Options) -> anyhow::Result<Picture> {
    let height = LEGEND_TOP + LEGEND_ROW * (runs.len() as f64 - 0.5) + MARGIN;
    let mut canvas = Canvas::new(WIDTH, height.max(0.0).round() as u32);
    let runs: Vec<Run> = runs.iter().map(|run| Run::new(run, options.x_axis)).collect();
    let end = runs.iter().map(Run::end).fold(0.0, f64::max);
    let curves = |chart: &Chart| -> Vec<Curve> {
        runs.iter()
            .map(|run| chart.curve(run, end / MAX_POINTS as f64, options.smoothing))
            .collect()
    };
    let curves: Vec<Vec<Curve>> = CHARTS.iter().map(curves).collect();
    let x = XScale::new(curves.iter().flatten(), end, options.x_axis);
    for (chart, curves) in CHARTS.iter().zip(&curves) {
        chart.draw(&mut canvas, curves, &x);
    }
    draw_key(&mut canvas, curves.iter().flatten().any(|curve| !curve.raw.is_empty()));
    draw_legend(&mut canvas, &runs);
    canvas.render(options.theme)
}

/// The x axis of all charts.
struct XScale {
    axis: Axis,
    name: &'static str,
    /// Divisor of x values.
    unit: f64,
}

impl XScale {
    fn new<'c>(curves: impl Iterator<Item = &'c Curve>, end: f64, x_axis: XAxis) -> Self {
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
    fn curve(&self, run: &Run, interval: f64, smoothing: f64) -> Curve {
        let points = run.step_points(&run.curves.steps[self.curve], self.scale);
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
        let best = run.best.and_then(|best| validation.get(best).copied());
        Curve { raw, training, has_steps, validation, best }
    }

    fn draw(&self, canvas: &mut Canvas, curves: &[Curve], x: &XScale) {
        let area = Area { frame: self.frame(curves, x), unit: x.unit };
        let is_lowest = self.row.bottom == LOWER.bottom;
        area.frame.draw(canvas, if is_lowest { x.name } else { "" });
        canvas.text((self.column.left, self.row.title), Align::Left, LARGE, FOREGROUND, self.name);
        if curves.iter().all(|curve| curve.training.is_empty() && curve.validation.is_empty()) {
            let Frame { left, right, top, bottom, .. } = area.frame;
            let center = ((left + right) / 2.0, (top + bottom) / 2.0);
            canvas.text(center, Align::Center, MEDIUM, GRAY, "not measured");
        }
        for (number, curve) in curves.iter().enumerate() {
            area.line(canvas, &curve.raw, RAW.width, RAW.color(color(number)));
        }
        let style = if self.validation.is_some() { TRAINING } else { VALIDATION };
        for (number, curve) in curves.iter().enumerate() {
            let color = style.color(color(number));
            area.line(canvas, &curve.training, style.width, color);
            if !curve.has_steps {
                dots(canvas, number, &area.points(&curve.training), color);
            }
        }
        if !self.smooth {
            draw_overlapping(canvas, curves, &area);
        }
        draw_validation(canvas, curves, &area);
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
                Axis::around(training.chain(validation), (0.0, limit))
            }
            None => Axis::from_zero(training),
        };
        let (Column { left, right }, Row { top, bottom, .. }) = (self.column, self.row);
        Frame { left, top, right, bottom, x: x.axis.clone(), y }
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

    fn line(&self, canvas: &mut Canvas, points: &[Point], width: f64, color: Color) {
        for line in clip(&self.points(points), self.frame.top, self.frame.bottom) {
            canvas.line(&line, width, color);
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
        area.line(canvas, &curve.validation, VALIDATION.width + 2.8, BACKGROUND);
    }
    for (number, curve) in curves.iter().enumerate() {
        area.line(canvas, &curve.validation, VALIDATION.width, color(number));
        dots(canvas, number, &area.points(&curve.validation), color(number));
    }
    // Above all curves, since they matter most.
    for (number, curve) in curves.iter().enumerate() {
        if let Some(best) = curve.best {
            best_dot(canvas, area.point(best), color(number));
        }
    }
}

/// The style of a line.
struct Style {
    width: f64,
    /// Opacity of the run's color.
    opacity: f32,
}

const RAW: Style = Style { width: 1.2, opacity: 0.25 };
const TRAINING: Style = Style { width: 1.8, opacity: 0.55 };
const VALIDATION: Style = Style { width: 2.6, opacity: 1.0 };

impl Style {
    fn color(&self, color: Color) -> Color {
        color.over(BACKGROUND, self.opacity)
    }
}

fn color(number: usize) -> Color {
    PALETTE[number % PALETTE.len()]
}

/// Marks every point of a short curve. When colors repeat, dots become rings.
fn dots(canvas: &mut Canvas, number: usize, points: &[Point], color: Color) {
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

fn best_dot(canvas: &mut Canvas, center: Point, color: Color) {
    for (radius, color) in [(10.0, BACKGROUND), (8.5, color), (6.0, BACKGROUND), (4.0, color)] {
        canvas.dot(center, radius, color);
    }
}

/// Draws the key to the line styles above the charts.
fn draw_key(canvas: &mut Canvas, smoothed: bool) {
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

/// Draws a row for each run: its color, its name, its best validation.
fn draw_legend(canvas: &mut Canvas, runs: &[Run]) {
    let left = LEFT.left;
    let text = left + LEGEND_LINE + 14.0;
    let names: Vec<String> =
        runs.iter().map(|run| truncate_middle(&run.curves.name, MEDIUM, 680.0)).collect();
    let widest = names.iter().map(|name| text_width(name, MEDIUM)).fold(0.0, f64::max);
    for (number, (run, name)) in runs.iter().zip(&names).enumerate() {
        let y = LEGEND_TOP + LEGEND_ROW * number as f64;
        canvas.line(&[(left, y), (left + LEGEND_LINE, y)], VALIDATION.width, color(number));
        dots(canvas, number, &[(left + LEGEND_LINE / 2.0, y)], color(number));
        canvas.text((text, y), Align::Left, MEDIUM, FOREGROUND, name);
        canvas.text((text + widest + 28.0, y), Align::Left, SMALL, GRAY, &run.best_validation());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: usize, step: u64, loss: f64) -> ValidationRecord {
        let validation = Score { loss, accuracy: 0.5 };
        let train = Score { loss: 0.7, accuracy: 0.4 };
        ValidationRecord { epoch, step, train, validation, learning_rate: 1e-3 }
    }

    #[test]
    fn one_record_per_epoch_is_at_that_epoch() {
        // With a token budget, epochs differ in their numbers of steps.
        let records = [record(1, 102, 0.3), record(2, 201, 0.2), record(3, 304, 0.4)];
        assert_eq!(epochs(&records), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn records_within_an_epoch_are_at_their_steps() {
        let records: Vec<ValidationRecord> =
            (1..=8_usize).map(|i| record((25 * i).div_ceil(100), 25 * i as u64, 0.1)).collect();
        assert_eq!(epochs(&records), [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]);
        let rare = [record(2, 150, 0.1), record(3, 300, 0.1)];
        assert_eq!(epochs(&rare), [1.5, 3.0]);
    }

    #[test]
    fn positions_stay_in_their_epoch() {
        let records = [record(0, 0, 0.1), record(1, 100, 0.1), record(2, 101, 0.1)];
        assert_eq!(epochs(&records), [0.0, 1.0, 1.01]);
        assert_eq!(epochs(&[record(1, 200, 0.1), record(3, 210, 0.1)]), [1.0, 2.0]);
    }

    fn curves(name: &str, records: Vec<ValidationRecord>, best: Option<Score>) -> RunCurves {
        let times =
            records.iter().map(|record| ValidationTime { step: record.step, train_seconds: 2.0 });
        RunCurves {
            name: name.into(),
            times: times.collect(),
            records,
            steps: [const { Vec::new() }; 4],
            best,
        }
    }

    fn scalars(values: impl Iterator<Item = f64>) -> Vec<Scalar> {
        (1..).zip(values).map(|(step, value)| Scalar { step, value }).collect()
    }

    fn options(x_axis: XAxis) -> Options {
        Options { x_axis, smoothing: 0.6, theme: Theme::Auto }
    }

    #[test]
    fn the_best_validation_is_given_or_has_the_lowest_loss() {
        let records = vec![record(1, 10, 0.3), record(2, 20, 0.2), record(3, 30, 0.2)];
        let best = |best| Run::new(&curves("a", records.clone(), best), XAxis::Epoch).best;
        assert_eq!(best(None), Some(1));
        assert_eq!(best(Some(records[0].validation)), Some(0));
        assert_eq!(best(Some(Score { loss: 9.0, accuracy: 0.0 })), Some(1));
        assert_eq!(Run::new(&curves("a", Vec::new(), None), XAxis::Epoch).best, None);
    }

    #[test]
    fn points_are_placed_on_the_chosen_axis() {
        let mut run = curves("a", vec![record(1, 10, 0.3), record(2, 20, 0.2)], None);
        run.steps[0] = scalars([0.8; 20].into_iter());
        for (x_axis, tenth, last) in
            [(XAxis::Epoch, 1.0, 2.0), (XAxis::Step, 10.0, 20.0), (XAxis::Time, 2.0, 4.0)]
        {
            let curve = CHARTS[0].curve(&Run::new(&run, x_axis), last / 300.0, 0.6);
            assert_eq!(curve.validation, [(tenth, 0.3), (last, 0.2)]);
            assert!((curve.training[9].0 - tenth).abs() < 1e-9 && curve.training.len() == 20);
            assert!((curve.training[4].0 - tenth / 2.0).abs() < 1e-9);
            assert_eq!(curve.best, Some((last, 0.2)));
        }
    }

    #[test]
    fn training_curves_are_from_event_files_or_else_from_records() {
        let mut run = curves("a", vec![record(1, 10, 0.3)], None);
        let all_curves = |run: &RunCurves, smoothing| {
            CHARTS.map(|chart| chart.curve(&Run::new(run, XAxis::Step), 3.0, smoothing))
        };
        let [loss, accuracy, rate, speed] = all_curves(&run, 0.6);
        assert_eq!(loss.training, [(10.0, 0.7)]);
        assert_eq!(accuracy.training, [(10.0, 40.0)]);
        assert_eq!((rate.training, speed.training), (vec![(10.0, 1e-3)], vec![]));

        run.steps =
            [0.5, 0.25, 1e-4, 9.0].map(|value| scalars((0..900).map(|i| value + f64::from(i))));
        let [loss, accuracy, rate, speed] = all_curves(&run, 0.6);
        assert_eq!((loss.raw.len(), loss.training.len()), (300, 300));
        assert_eq!(accuracy.raw[1], (5.0, 425.0));
        assert!(accuracy.training[9].1 < accuracy.raw[9].1);
        assert!(rate.raw.is_empty() && (rate.training[1].1 - 4.0001).abs() < 1e-9);
        assert_eq!(speed.training[0], speed.raw[0]);
        let [loss, ..] = all_curves(&run, 0.0);
        assert!(loss.raw.is_empty() && loss.training.len() == 300);
    }

    #[test]
    fn a_run_without_validations_is_plotted_by_step() {
        let mut run = curves("young", Vec::new(), None);
        run.steps[0] = scalars([0.7, 0.6].into_iter());
        let svg = draw(&[run], &options(XAxis::Step)).unwrap().svg;
        for text in ["no validation yet", "not measured", "step", "young"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn the_unit_of_time_fits_its_range() {
        for (seconds, unit) in [(60.0, "seconds"), (3_600.0, "minutes"), (90_000.0, "hours")] {
            let mut run = curves("a", vec![record(1, 10, 0.25)], None);
            run.times[0].train_seconds = seconds;
            let svg = draw(&[run], &options(XAxis::Time)).unwrap().svg;
            assert!(svg.contains(&format!("training time in {unit}")));
        }
    }

    #[test]
    fn every_run_is_in_the_legend() {
        let runs: Vec<RunCurves> =
            (0..9).map(|i| curves(&format!("run<{i}>"), vec![record(1, 10, 0.25)], None)).collect();
        let svg = draw(&runs, &options(XAxis::Epoch)).unwrap().svg;
        for i in 0..9 {
            assert!(svg.contains(&format!("run&lt;{i}&gt;")));
        }
        assert_eq!(svg.matches("best at epoch 1: validation loss 0.2500").count(), 9);
    }
}

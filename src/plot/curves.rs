//! Loss, accuracy, learning rate and throughput of one run or several, against epochs, steps or time.

use clap::ValueEnum;

use super::series::{Ruler, clipped, merged, smoothed, thinned, without_extremes};
use super::sheet::{Align, Dashes, Point, Sheet, fitted_at_both_ends, width};
use super::{Axis, COLORS, Color, Frame, GRAY, INK, PAPER, Picture, SMALL, TEXT, TITLE, Theme};
use crate::events::{ACCURACY, LEARNING_RATE, LOSS, Scalar, TOKENS_PER_SECOND};
use crate::objective::metrics::Score;
use crate::run::directory::{Record, Time};

const WIDTH: u32 = 1500;
const MARGIN: f64 = 36.0;
/// The charts end here; the legend follows.
const LEGEND_TOP: f64 = 892.0;
const LEGEND_ROW: f64 = 32.0;
/// Of a line in the legend.
const SAMPLE: f64 = 44.0;
/// More records than this are a line without dots.
const MOST_DOTS: usize = 40;
/// More points than this cannot be told apart in a chart: they become means of neighbours.
const MOST_POINTS: usize = 300;
/// The share of a training curve's lowest and of its highest values that may lie beyond the chart;
/// TensorBoard has the same.
const EXTREME: f64 = 0.05;
/// Of dashes of curves that lie upon each other.
const DASH: f64 = 16.0;

/// What stands on the x axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Along {
    /// Epochs.
    Epoch,
    /// Steps.
    Step,
    /// Time spent training.
    Time,
}

/// How curves are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What stands on the x axes.
    pub along: Along,
    /// The weight of what was before in an exponential moving average; 0 smooths nothing.
    pub smoothing: f64,
    /// The paper.
    pub theme: Theme,
}

/// Tags of the training curves in [`StepCurves::steps`].
pub const TAGS: [&str; 4] = [LOSS, ACCURACY, LEARNING_RATE, TOKENS_PER_SECOND];

/// What was measured in a run.
#[derive(Clone, Debug)]
pub struct StepCurves {
    /// The run's name.
    pub name: String,
    /// Its validations.
    pub records: Vec<Record>,
    /// How long it trained before each.
    pub times: Vec<Time>,
    /// The curves of [`TAGS`], where there are event files.
    pub steps: [Vec<Scalar>; 4],
    /// The score of its best validation, where that is known; otherwise the lowest loss is the
    /// best.
    pub best: Option<Score>,
}

/// A run as its curves have it.
struct Run<'a> {
    measured: &'a StepCurves,
    /// Where on the x axis steps lie.
    ruler: Ruler,
    /// The number of the best record.
    best: Option<usize>,
}

impl<'a> Run<'a> {
    fn new(measured: &'a StepCurves, along: Along) -> Self {
        let ruler = match along {
            Along::Epoch => {
                let places = epochs(&measured.records).into_iter();
                Ruler::new(measured.records.iter().map(|record| record.step as f64).zip(places))
            }
            Along::Step => Ruler::new([(1.0, 1.0)].into_iter()),
            Along::Time => Ruler::new(seconds(&measured.times)),
        };
        let known = |record: &Record| Some(record.validation) == measured.best;
        let known = measured.records.iter().position(known);
        Self { measured, ruler, best: known.or_else(|| lowest_loss(&measured.records)) }
    }

    /// Points at the places of validations.
    fn at_records(&self, value: impl Fn(&Record) -> f64) -> Vec<Point> {
        let records = self.measured.records.iter();
        records
            .filter_map(|record| Some((self.ruler.place(record.step as f64)?, value(record))))
            .collect()
    }

    /// Points at the places of steps.
    fn at_steps(&self, curve: &[Scalar], scale: f64) -> Vec<Point> {
        let points = curve.iter();
        points
            .filter_map(|point| Some((self.ruler.place(point.step as f64)?, scale * point.value)))
            .collect()
    }

    /// The furthest place along the axis.
    fn end(&self) -> f64 {
        let steps = self.measured.steps.iter().filter_map(|curve| Some(curve.last()?.step));
        let steps = steps.chain(self.measured.records.last().map(|record| record.step));
        steps.max().and_then(|step| self.ruler.place(step as f64)).unwrap_or(0.0)
    }

    /// What the legend says of the best validation.
    fn account(&self) -> String {
        let Some(best) = self.best else { return "no validation yet".into() };
        let Score { loss, accuracy } = self.measured.records[best].validation;
        let epoch = epochs(&self.measured.records)[best];
        let decimals = if epoch.fract() == 0.0 { 0 } else { 1 };
        format!(
            "best at epoch {epoch:.decimals$}: validation loss {loss:.4}, accuracy {:.2} %",
            100.0 * accuracy
        )
    }
}

/// The number of the record with the lowest validation loss, the first of them.
fn lowest_loss(records: &[Record]) -> Option<usize> {
    let losses = records.iter().map(|record| record.validation.loss).enumerate();
    losses.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index)
}

/// The epochs that are done at each record: whole numbers where there is one record an epoch,
/// otherwise steps in units of an epoch's steps. These are not in the file; where every epoch has
/// as many, steps divided by epochs come nearest to them at the end of an epoch.
fn epochs(records: &[Record]) -> Vec<f64> {
    let one_an_epoch = records.iter().enumerate().all(|(i, record)| record.epoch == i + 1);
    if one_an_epoch {
        return records.iter().map(|record| record.epoch as f64).collect();
    }
    let steps_an_epoch = records
        .iter()
        .map(|record| record.step as f64 / record.epoch.max(1) as f64)
        .fold(f64::MIN_POSITIVE, f64::max);
    let position = |record: &Record| {
        let end = record.epoch as f64;
        (record.step as f64 / steps_an_epoch).clamp((end - 1.0).max(0.0), end)
    };
    records.iter().map(position).collect()
}

/// The steps of all validations, and the seconds of training before each.
fn seconds(times: &[Time]) -> impl Iterator<Item = Point> {
    times.iter().scan(0.0, |sum, time| {
        *sum += time.train_seconds;
        Some((time.step as f64, *sum))
    })
}

/// A chart: where it stands, and what it shows.
struct Chart {
    name: &'static str,
    /// The curve in [`TAGS`].
    curve: usize,
    /// What its values are multiplied by.
    scale: f64,
    /// What takes the place of the curve where there are no event files.
    record: Option<fn(&Record) -> f64>,
    validation: Option<fn(&Record) -> f64>,
    /// What no value can exceed; none where the y axis has to begin at 0.
    limit: Option<f64>,
    /// Whether it is smoothed: the learning rate is known exactly.
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
        record: Some(|record| record.train.loss),
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
        record: Some(|record| 100.0 * record.train.accuracy),
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
        record: Some(|record| record.learning_rate),
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
        record: None,
        validation: None,
        limit: None,
        smooth: true,
        column: RIGHT,
        row: LOWER,
    },
];

/// What a chart shows of a run; y is in its units, x along its axis.
struct Curve {
    /// As measured, where that is not all there is.
    raw: Vec<Point>,
    training: Vec<Point>,
    /// Whether training is known step by step, not only at validations.
    has_steps: bool,
    validation: Vec<Point>,
    best: Option<Point>,
}

/// Draws the curves of all runs into four charts, and a legend below.
///
/// # Errors
/// Where the drawing cannot be encoded.
pub fn draw(runs: &[StepCurves], options: &Options) -> anyhow::Result<Picture> {
    let height = LEGEND_TOP + LEGEND_ROW * (runs.len() as f64 - 0.5) + MARGIN;
    let mut sheet = Sheet::new(WIDTH, height.max(0.0).round() as u32);
    let runs: Vec<Run> = runs.iter().map(|run| Run::new(run, options.along)).collect();
    let end = runs.iter().map(Run::end).fold(0.0, f64::max);
    let curves = |chart: &Chart| -> Vec<Curve> {
        runs.iter()
            .map(|run| chart.curve(run, end / MOST_POINTS as f64, options.smoothing))
            .collect()
    };
    let curves: Vec<Vec<Curve>> = CHARTS.iter().map(curves).collect();
    let x = XAxis::of(curves.iter().flatten(), end, options.along);
    for (chart, curves) in CHARTS.iter().zip(&curves) {
        chart.draw(&mut sheet, curves, &x);
    }
    draw_key(&mut sheet, curves.iter().flatten().any(|curve| !curve.raw.is_empty()));
    draw_legend(&mut sheet, &runs);
    sheet.picture(options.theme)
}

/// The x axis of all charts.
struct XAxis {
    axis: Axis,
    name: &'static str,
    /// What places are divided by.
    unit: f64,
}

impl XAxis {
    fn of<'c>(curves: impl Iterator<Item = &'c Curve>, end: f64, along: Along) -> Self {
        let (name, unit) = match along {
            Along::Epoch => ("epoch", 1.0),
            Along::Step => ("step", 1.0),
            Along::Time if end <= 180.0 => ("training time in seconds", 1.0),
            Along::Time if end <= 10_800.0 => ("training time in minutes", 60.0),
            Along::Time => ("training time in hours", 3600.0),
        };
        let points = curves.flat_map(|curve| curve.training.iter().chain(&curve.validation));
        let places = points.map(|point| point.0).chain((end > 0.0).then_some(end));
        let places = places.map(|place| place / unit);
        let axis = match along {
            Along::Epoch => Axis::epochs(places),
            Along::Step | Along::Time => Axis::along(places),
        };
        Self { axis, name, unit }
    }
}

impl Chart {
    /// The curve of a run; no piece of the axis has more than one point of training.
    fn curve(&self, run: &Run, piece: f64, smoothing: f64) -> Curve {
        let measured = run.at_steps(&run.measured.steps[self.curve], self.scale);
        let has_steps = !measured.is_empty();
        let (mut raw, mut training) = (Vec::new(), Vec::new());
        if has_steps {
            let thin = thinned(&measured, MOST_POINTS);
            if self.smooth && smoothing > 0.0 {
                training = merged(&smoothed(&thin, smoothing), piece);
                raw = merged(&thin, piece);
            } else {
                training = merged(&thin, piece);
            }
        } else if let Some(value) = self.record {
            training = run.at_records(value);
        }
        let validation = self.validation.map_or(Vec::new(), |value| run.at_records(value));
        let best = run.best.and_then(|best| validation.get(best).copied());
        Curve { raw, training, has_steps, validation, best }
    }

    fn draw(&self, sheet: &mut Sheet, curves: &[Curve], x: &XAxis) {
        let area = Area { frame: self.frame(curves, x), unit: x.unit };
        let is_lowest = self.row.bottom == LOWER.bottom;
        area.frame.draw(sheet, if is_lowest { x.name } else { "" });
        sheet.text((self.column.left, self.row.title), Align::Left, TITLE, INK, self.name);
        if curves.iter().all(|curve| curve.training.is_empty() && curve.validation.is_empty()) {
            let Frame { left, right, top, bottom, .. } = area.frame;
            let middle = ((left + right) / 2.0, (top + bottom) / 2.0);
            sheet.text(middle, Align::Center, TEXT, GRAY, "not measured");
        }
        for (number, curve) in curves.iter().enumerate() {
            area.line(sheet, &curve.raw, RAW.width, RAW.color(color(number)));
        }
        let style = if self.validation.is_some() { TRAINING } else { VALIDATION };
        for (number, curve) in curves.iter().enumerate() {
            let color = style.color(color(number));
            area.line(sheet, &curve.training, style.width, color);
            if !curve.has_steps {
                dots(sheet, number, &area.places(&curve.training), color);
            }
        }
        if !self.smooth {
            draw_in_turns(sheet, curves, &area);
        }
        draw_validation(sheet, curves, &area);
    }

    fn frame(&self, curves: &[Curve], x: &XAxis) -> Frame {
        let values = |points: &[Point]| points.iter().map(|point| point.1).collect::<Vec<f64>>();
        let training = curves.iter().flat_map(|curve| {
            // The first steps are far from all else, which they must not flatten.
            let extreme = if curve.has_steps && self.limit.is_some() { EXTREME } else { 0.0 };
            without_extremes(values(&curve.training), extreme)
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

/// The part of a chart that has its curves.
struct Area {
    frame: Frame,
    /// What places along the x axis are divided by.
    unit: f64,
}

impl Area {
    fn place(&self, (x, y): Point) -> Point {
        self.frame.place(x / self.unit, y)
    }

    fn places(&self, points: &[Point]) -> Vec<Point> {
        points.iter().map(|point| self.place(*point)).collect()
    }

    fn line(&self, sheet: &mut Sheet, points: &[Point], width: f64, color: Color) {
        for piece in clipped(&self.places(points), self.frame.top, self.frame.bottom) {
            sheet.line(&piece, width, color);
        }
    }
}

/// Draws curves that may lie upon each other so that each is seen in its turn.
fn draw_in_turns(sheet: &mut Sheet, curves: &[Curve], area: &Area) {
    let off = DASH * (curves.len() - 1) as f64;
    for (number, curve) in curves.iter().enumerate().filter(|_| off > 0.0) {
        let dashes = Dashes { skip: DASH * number as f64, on: DASH, off };
        sheet.dashes(&area.places(&curve.training), dashes, VALIDATION.width, color(number));
    }
}

fn draw_validation(sheet: &mut Sheet, curves: &[Curve], area: &Area) {
    // Apart from what lies below.
    for curve in curves {
        area.line(sheet, &curve.validation, VALIDATION.width + 2.8, PAPER);
    }
    for (number, curve) in curves.iter().enumerate() {
        area.line(sheet, &curve.validation, VALIDATION.width, color(number));
        dots(sheet, number, &area.places(&curve.validation), color(number));
    }
    // On top of all curves, since they matter most.
    for (number, curve) in curves.iter().enumerate() {
        if let Some(best) = curve.best {
            best_dot(sheet, area.place(best), color(number));
        }
    }
}

/// A kind of line.
struct Style {
    width: f64,
    /// The share of the run's colour in that of the line.
    share: f32,
}

const RAW: Style = Style { width: 1.2, share: 0.25 };
const TRAINING: Style = Style { width: 1.8, share: 0.55 };
const VALIDATION: Style = Style { width: 2.6, share: 1.0 };

impl Style {
    fn color(&self, color: Color) -> Color {
        color.mixed(PAPER, self.share)
    }
}

fn color(number: usize) -> Color {
    COLORS[number % COLORS.len()]
}

/// Marks every record of a short curve. When all colours are used up, dots become rings.
fn dots(sheet: &mut Sheet, number: usize, points: &[Point], color: Color) {
    if points.len() > MOST_DOTS {
        return;
    }
    let ring = (number / COLORS.len()) % 2 == 1;
    for point in points {
        sheet.dot(*point, 4.0, color);
        if ring {
            sheet.dot(*point, 2.2, PAPER);
        }
    }
}

fn best_dot(sheet: &mut Sheet, place: Point, color: Color) {
    for (radius, color) in [(10.0, PAPER), (8.5, color), (6.0, PAPER), (4.0, color)] {
        sheet.dot(place, radius, color);
    }
}

/// What the kinds of lines mean, above all charts.
fn draw_key(sheet: &mut Sheet, smoothed: bool) {
    const Y: f64 = 34.0;
    let mut left = LEFT.left;
    for (name, style) in [("validation", VALIDATION), ("training", TRAINING), ("unsmoothed", RAW)] {
        if name == "unsmoothed" && !smoothed {
            continue;
        }
        sheet.line(&[(left, Y), (left + SAMPLE, Y)], style.width, style.color(GRAY));
        left = draw_key_name(sheet, (left + SAMPLE, Y), name);
    }
    best_dot(sheet, (left + 9.0, Y), GRAY);
    draw_key_name(sheet, (left + 18.0, Y), "best epoch");
}

/// Where the next sample begins.
fn draw_key_name(sheet: &mut Sheet, (end, y): Point, name: &str) -> f64 {
    let left = end + 10.0;
    sheet.text((left, y), Align::Left, SMALL, GRAY, name);
    left + width(name, SMALL) + 26.0
}

/// A line for each run: its colour, its name, its best validation.
fn draw_legend(sheet: &mut Sheet, runs: &[Run]) {
    let left = LEFT.left;
    let text = left + SAMPLE + 14.0;
    let names: Vec<String> =
        runs.iter().map(|run| fitted_at_both_ends(&run.measured.name, TEXT, 680.0)).collect();
    let widest = names.iter().map(|name| width(name, TEXT)).fold(0.0, f64::max);
    for (number, (run, name)) in runs.iter().zip(&names).enumerate() {
        let y = LEGEND_TOP + LEGEND_ROW * number as f64;
        sheet.line(&[(left, y), (left + SAMPLE, y)], VALIDATION.width, color(number));
        dots(sheet, number, &[(left + SAMPLE / 2.0, y)], color(number));
        sheet.text((text, y), Align::Left, TEXT, INK, name);
        sheet.text((text + widest + 28.0, y), Align::Left, SMALL, GRAY, &run.account());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: usize, step: u64, loss: f64) -> Record {
        let validation = Score { loss, accuracy: 0.5 };
        let train = Score { loss: 0.7, accuracy: 0.4 };
        Record { epoch, step, train, validation, learning_rate: 1e-3 }
    }

    #[test]
    fn a_record_an_epoch_lies_at_that_epoch() {
        // Batches by tokens: no two epochs have the same number of steps.
        let records = [record(1, 102, 0.3), record(2, 201, 0.2), record(3, 304, 0.4)];
        assert_eq!(epochs(&records), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn records_inside_an_epoch_lie_at_their_steps() {
        let records: Vec<Record> =
            (1..=8_usize).map(|i| record((25 * i).div_ceil(100), 25 * i as u64, 0.1)).collect();
        assert_eq!(epochs(&records), [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]);
        let rare = [record(2, 150, 0.1), record(3, 300, 0.1)];
        assert_eq!(epochs(&rare), [1.5, 3.0]);
    }

    #[test]
    fn positions_never_leave_their_epoch() {
        let records = [record(0, 0, 0.1), record(1, 100, 0.1), record(2, 101, 0.1)];
        assert_eq!(epochs(&records), [0.0, 1.0, 1.01]);
        assert_eq!(epochs(&[record(1, 200, 0.1), record(3, 210, 0.1)]), [1.0, 2.0]);
    }

    fn measured(name: &str, records: Vec<Record>, best: Option<Score>) -> StepCurves {
        let times = records.iter().map(|record| Time { step: record.step, train_seconds: 2.0 });
        StepCurves {
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

    fn options(along: Along) -> Options {
        Options { along, smoothing: 0.6, theme: Theme::Auto }
    }

    #[test]
    fn the_best_is_the_known_one_or_the_lowest_loss() {
        let records = vec![record(1, 10, 0.3), record(2, 20, 0.2), record(3, 30, 0.2)];
        let best = |known| Run::new(&measured("a", records.clone(), known), Along::Epoch).best;
        assert_eq!(best(None), Some(1));
        assert_eq!(best(Some(records[0].validation)), Some(0));
        assert_eq!(best(Some(Score { loss: 9.0, accuracy: 0.0 })), Some(1));
        assert_eq!(Run::new(&measured("a", Vec::new(), None), Along::Epoch).best, None);
    }

    #[test]
    fn points_lie_where_the_axis_has_them() {
        let mut run = measured("a", vec![record(1, 10, 0.3), record(2, 20, 0.2)], None);
        run.steps[0] = scalars([0.8; 20].into_iter());
        for (along, tenth, last) in
            [(Along::Epoch, 1.0, 2.0), (Along::Step, 10.0, 20.0), (Along::Time, 2.0, 4.0)]
        {
            let curve = CHARTS[0].curve(&Run::new(&run, along), last / 300.0, 0.6);
            assert_eq!(curve.validation, [(tenth, 0.3), (last, 0.2)]);
            assert!((curve.training[9].0 - tenth).abs() < 1e-9 && curve.training.len() == 20);
            assert!((curve.training[4].0 - tenth / 2.0).abs() < 1e-9);
            assert_eq!(curve.best, Some((last, 0.2)));
        }
    }

    #[test]
    fn training_is_as_tensorboard_has_it_or_else_as_the_records_do() {
        let mut run = measured("a", vec![record(1, 10, 0.3)], None);
        let curves = |run: &StepCurves, smoothing| {
            CHARTS.map(|chart| chart.curve(&Run::new(run, Along::Step), 3.0, smoothing))
        };
        let [loss, accuracy, rate, speed] = curves(&run, 0.6);
        assert_eq!(loss.training, [(10.0, 0.7)]);
        assert_eq!(accuracy.training, [(10.0, 40.0)]);
        assert_eq!((rate.training, speed.training), (vec![(10.0, 1e-3)], vec![]));

        run.steps =
            [0.5, 0.25, 1e-4, 9.0].map(|value| scalars((0..900).map(|i| value + f64::from(i))));
        let [loss, accuracy, rate, speed] = curves(&run, 0.6);
        assert_eq!((loss.raw.len(), loss.training.len()), (300, 300));
        assert_eq!(accuracy.raw[1], (5.0, 425.0));
        assert!(accuracy.training[9].1 < accuracy.raw[9].1);
        assert!(rate.raw.is_empty() && (rate.training[1].1 - 4.0001).abs() < 1e-9);
        assert_eq!(speed.training[0], speed.raw[0]);
        let [loss, ..] = curves(&run, 0.0);
        assert!(loss.raw.is_empty() && loss.training.len() == 300);
    }

    #[test]
    fn a_run_without_validations_is_drawn_along_its_steps() {
        let mut run = measured("young", Vec::new(), None);
        run.steps[0] = scalars([0.7, 0.6].into_iter());
        let svg = draw(&[run], &options(Along::Step)).unwrap().svg;
        for words in ["no validation yet", "not measured", "step", "young"] {
            assert!(svg.contains(words), "{words}");
        }
    }

    #[test]
    fn times_have_a_fitting_unit() {
        for (seconds, unit) in [(60.0, "seconds"), (3_600.0, "minutes"), (90_000.0, "hours")] {
            let mut run = measured("a", vec![record(1, 10, 0.25)], None);
            run.times[0].train_seconds = seconds;
            let svg = draw(&[run], &options(Along::Time)).unwrap().svg;
            assert!(svg.contains(&format!("training time in {unit}")));
        }
    }

    #[test]
    fn every_run_has_its_line_in_the_legend() {
        let runs: Vec<StepCurves> = (0..9)
            .map(|i| measured(&format!("run<{i}>"), vec![record(1, 10, 0.25)], None))
            .collect();
        let svg = draw(&runs, &options(Along::Epoch)).unwrap().svg;
        for i in 0..9 {
            assert!(svg.contains(&format!("run&lt;{i}&gt;")));
        }
        assert_eq!(svg.matches("best at epoch 1: validation loss 0.2500").count(), 9);
    }
}

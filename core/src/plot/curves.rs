//! Loss and accuracy against epochs, of one run or several.

use plotters::style::RGBColor;

use super::sheet::{Align, Point, Sheet, fitted_at_both_ends, mixed, width};
use super::{Axis, COLORS, Frame, GRAY, INK, PAPER, Picture, SMALL, TEXT, TITLE};
use crate::metrics::Score;
use crate::run::Record;

const WIDTH: u32 = 1500;
const MARGIN: f64 = 36.0;
/// The charts end here; the legend follows.
const CHART_BOTTOM: f64 = 496.0;
const LEGEND_TOP: f64 = 586.0;
const LEGEND_ROW: f64 = 32.0;
/// Of a line in the legend.
const SAMPLE: f64 = 44.0;
/// More records than this are a line without dots.
const MOST_DOTS: usize = 40;

/// A run as its curves have it.
#[derive(Clone, Debug)]
pub struct Run {
    name: String,
    records: Vec<Record>,
    /// Where on the x axis each record lies.
    positions: Vec<f64>,
    /// The number of the best record.
    best: usize,
}

impl Run {
    /// A run and the score of its best validation, where that is known; otherwise the lowest loss
    /// is the best. None where there is no record.
    pub fn new(name: &str, records: Vec<Record>, best: Option<Score>) -> Option<Self> {
        let known = records.iter().position(|record| Some(record.validation) == best);
        let best = known.or_else(|| lowest_loss(&records))?;
        Some(Self { name: name.to_owned(), positions: positions(&records), records, best })
    }

    fn points(&self, frame: &Frame, value: impl Fn(&Record) -> f64) -> Vec<Point> {
        let values = self.positions.iter().zip(&self.records);
        values.map(|(position, record)| frame.place(*position, value(record))).collect()
    }

    /// What the legend says of the best validation.
    fn account(&self) -> String {
        let Score { loss, accuracy } = self.records[self.best].validation;
        let position = self.positions[self.best];
        let decimals = if position.fract() == 0.0 { 0 } else { 1 };
        format!(
            "best at epoch {position:.decimals$}: validation loss {loss:.4}, accuracy {:.2} %",
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
fn positions(records: &[Record]) -> Vec<f64> {
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

/// One of the two charts: its name and what it shows of a score.
struct Chart {
    name: &'static str,
    value: fn(&Score) -> f64,
    limits: (f64, f64),
    left: f64,
    right: f64,
}

const CHARTS: [Chart; 2] = [
    Chart {
        name: "loss",
        value: |score| score.loss,
        limits: (0.0, f64::INFINITY),
        left: 100.0,
        right: 720.0,
    },
    Chart {
        name: "accuracy in %",
        value: |score| 100.0 * score.accuracy,
        limits: (0.0, 100.0),
        left: 844.0,
        right: WIDTH as f64 - MARGIN,
    },
];

/// Draws the curves of all runs into two charts side by side, and a legend below.
///
/// # Errors
/// Where the drawing cannot be encoded.
pub fn draw(runs: &[Run]) -> anyhow::Result<Picture> {
    let height = LEGEND_TOP + LEGEND_ROW * (runs.len() as f64 - 0.5) + MARGIN;
    let mut sheet = Sheet::new(WIDTH, height.max(0.0).round() as u32);
    for chart in &CHARTS {
        chart.draw(&mut sheet, runs);
    }
    draw_key(&mut sheet);
    draw_legend(&mut sheet, runs);
    sheet.picture()
}

impl Chart {
    fn draw(&self, sheet: &mut Sheet, runs: &[Run]) {
        let frame = self.frame(runs);
        frame.draw(sheet, "epoch");
        sheet.text((self.left, 44.0), Align::Left, TITLE, INK, self.name);
        for (number, run) in runs.iter().enumerate() {
            let points = run.points(&frame, |record| (self.value)(&record.train));
            let pale = mixed(color(number), PAPER, 0.55);
            sheet.dashes(&points, 2.0, pale);
            dots(sheet, number, &points, pale);
        }
        let curves: Vec<Vec<Point>> = runs
            .iter()
            .map(|run| run.points(&frame, |record| (self.value)(&record.validation)))
            .collect();
        for (number, points) in curves.iter().enumerate() {
            sheet.line(points, 2.5, color(number));
            dots(sheet, number, points, color(number));
        }
        // On top of all curves, since they matter most.
        for (number, (run, points)) in runs.iter().zip(&curves).enumerate() {
            best_dot(sheet, points[run.best], color(number));
        }
    }

    fn frame(&self, runs: &[Run]) -> Frame {
        let records = runs.iter().flat_map(|run| &run.records);
        let values = records.flat_map(|record| [record.train, record.validation]);
        Frame {
            left: self.left,
            top: 78.0,
            right: self.right,
            bottom: CHART_BOTTOM,
            x: Axis::epochs(runs.iter().flat_map(|run| run.positions.iter().copied())),
            y: Axis::around(values.map(|score| (self.value)(&score)), self.limits),
        }
    }
}

fn color(number: usize) -> RGBColor {
    COLORS[number % COLORS.len()]
}

/// Marks every record of a short curve. When all colours are used up, dots become rings.
fn dots(sheet: &mut Sheet, number: usize, points: &[Point], color: RGBColor) {
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

fn best_dot(sheet: &mut Sheet, place: Point, color: RGBColor) {
    for (radius, color) in [(10.0, PAPER), (8.5, color), (6.0, PAPER), (4.0, color)] {
        sheet.dot(place, radius, color);
    }
}

/// What the kinds of lines mean, in the upper right corner.
fn draw_key(sheet: &mut Sheet) {
    const Y: f64 = 46.0;
    let mut right = f64::from(WIDTH) - MARGIN;
    for name in ["best epoch", "training", "validation"] {
        let left = right - width(name, SMALL);
        sheet.text((left, Y), Align::Left, SMALL, GRAY, name);
        let end = left - 10.0;
        let line = [(end - SAMPLE, Y), (end, Y)];
        match name {
            "training" => sheet.dashes(&line, 2.0, mixed(GRAY, PAPER, 0.55)),
            "validation" => sheet.line(&line, 2.5, GRAY),
            _ => best_dot(sheet, (end - 9.0, Y), GRAY),
        }
        let begin = if name == "best epoch" { end - 18.0 } else { end - SAMPLE };
        right = begin - 26.0;
    }
}

/// A line for each run: its colour, its name, its best validation.
fn draw_legend(sheet: &mut Sheet, runs: &[Run]) {
    let left = CHARTS[0].left;
    let text = left + SAMPLE + 14.0;
    let names: Vec<String> =
        runs.iter().map(|run| fitted_at_both_ends(&run.name, TEXT, 680.0)).collect();
    let widest = names.iter().map(|name| width(name, TEXT)).fold(0.0, f64::max);
    for (number, (run, name)) in runs.iter().zip(&names).enumerate() {
        let y = LEGEND_TOP + LEGEND_ROW * number as f64;
        sheet.line(&[(left, y), (left + SAMPLE, y)], 2.5, color(number));
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
        assert_eq!(positions(&records), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn records_inside_an_epoch_lie_at_their_steps() {
        let records: Vec<Record> =
            (1..=8_usize).map(|i| record((25 * i).div_ceil(100), 25 * i as u64, 0.1)).collect();
        assert_eq!(positions(&records), [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]);
        let rare = [record(2, 150, 0.1), record(3, 300, 0.1)];
        assert_eq!(positions(&rare), [1.5, 3.0]);
    }

    #[test]
    fn positions_never_leave_their_epoch() {
        let records = [record(0, 0, 0.1), record(1, 100, 0.1), record(2, 101, 0.1)];
        assert_eq!(positions(&records), [0.0, 1.0, 1.01]);
        assert_eq!(positions(&[record(1, 200, 0.1), record(3, 210, 0.1)]), [1.0, 2.0]);
    }

    #[test]
    fn the_best_is_the_known_one_or_the_lowest_loss() {
        let records = vec![record(1, 10, 0.3), record(2, 20, 0.2), record(3, 30, 0.2)];
        let best = |known| Run::new("a", records.clone(), known).unwrap().best;
        assert_eq!(best(None), 1);
        assert_eq!(best(Some(records[0].validation)), 0);
        assert_eq!(best(Some(Score { loss: 9.0, accuracy: 0.0 })), 1);
        assert!(Run::new("a", Vec::new(), None).is_none());
    }

    #[test]
    fn every_run_has_its_line_in_the_legend() {
        let runs: Vec<Run> = (0..9)
            .map(|i| Run::new(&format!("run<{i}>"), vec![record(1, 10, 0.25)], None).unwrap())
            .collect();
        let svg = draw(&runs).unwrap().svg;
        for i in 0..9 {
            assert!(svg.contains(&format!("run&lt;{i}&gt;")));
        }
        assert_eq!(svg.matches("best at epoch 1: validation loss 0.2500").count(), 9);
    }
}

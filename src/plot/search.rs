//! A search for better settings: its results over time, the settings of each trial, and the importance of each
//! setting.

use super::axis::Axis;
use super::canvas::{Canvas, Picture};
use super::color::{BACKGROUND, BLUE, Color, FOREGROUND, GRAY, GRID, Theme, VERMILION};
use super::frame::Frame;
use super::geometry::Point;
use super::series::clip;
use super::text::{Align, LARGE, MEDIUM, SMALL, truncate_middle};

const WIDTH: u32 = 1200;
const LEFT: f64 = 100.0;
const RIGHT: f64 = WIDTH as f64 - 60.0;
/// Height of a bar of the importance, with the space around it.
const ROW: f64 = 28.0;
/// Share of the trials whose lines stand out.
const BETTER: f64 = 0.2;
/// Values of a field that have a label each. With more, only the ends have.
const MAX_VALUES: usize = 6;

/// A trial in the picture of the settings.
#[derive(Clone, Debug)]
pub struct Line {
    /// Position on the axis of each field, from 0 to 1.
    pub coordinates: Vec<f64>,
    /// Value of each field.
    pub values: Vec<String>,
    /// It is the best trial of all.
    pub is_best: bool,
}

/// A search.
pub struct SearchPlot<'a> {
    /// Title.
    pub title: &'a str,
    /// The best trial is the configuration itself, which has no line.
    pub base_is_best: bool,
    /// Name of the metric.
    pub metric: &'a str,
    /// The metric is a cost.
    pub lower_is_better: bool,
    /// Metric of each result, with the time in seconds, in the order of time.
    pub results: &'a [(f64, f64)],
    /// Names of the fields, the most important first.
    pub fields: &'a [String],
    /// Importance of the fields, from 0 to 1; all 0 if it is not known.
    pub importance: &'a [f64],
    /// The trials, the best first.
    pub lines: &'a [Line],
}

/// Draws a search.
///
/// # Errors
/// Returns an error if the picture cannot be encoded.
pub fn draw(plot: &SearchPlot, theme: Theme) -> anyhow::Result<Picture> {
    let has_importance = plot.importance.iter().any(|share| *share > 0.0);
    let rows = if has_importance { plot.fields.len() as f64 } else { 0.0 };
    let (settings_top, settings_bottom) = (560.0, 880.0);
    let height = settings_bottom + 50.0 + if has_importance { 60.0 + ROW * rows } else { 0.0 };
    let mut canvas = Canvas::new(WIDTH, height as u32);
    let title = truncate_middle(plot.title, LARGE, RIGHT - LEFT);
    canvas.text((LEFT, 36.0), Align::Left, LARGE, FOREGROUND, &title);
    draw_results(&mut canvas, plot);
    draw_settings(&mut canvas, plot, settings_top, settings_bottom);
    if has_importance {
        draw_importance(&mut canvas, plot, settings_bottom + 70.0);
    }
    canvas.render(theme)
}

/// Draws the result of each trial over time, and the best one so far.
fn draw_results(canvas: &mut Canvas, plot: &SearchPlot) {
    let end = plot.results.last().map_or(0.0, |(time, _)| *time);
    let (unit, name) = if end < 120.0 { (1.0, "seconds") } else { (60.0, "minutes") };
    let frame = Frame {
        left: LEFT,
        top: 100.0,
        right: RIGHT,
        bottom: 380.0,
        x: Axis::padded_from_zero(plot.results.iter().map(|(time, _)| time / unit)),
        y: Axis::around(better_scores(plot).into_iter(), (0.0, f64::INFINITY)),
    };
    frame.draw(canvas, name);
    canvas.text((LEFT, 74.0), Align::Left, MEDIUM, GRAY, &format!("validation {}", plot.metric));
    let mut best: Option<f64> = None;
    let mut steps: Vec<Point> = Vec::new();
    for (time, score) in plot.results {
        let point = frame.point(time / unit, *score);
        let shown = frame.point(time / unit, score.clamp(frame.y.low(), frame.y.high()));
        // Results beyond the axis are small, at its edge.
        let radius = if shown == point { 4.0 } else { 2.0 };
        canvas.dot(shown, radius, GRAY.over(BACKGROUND, 0.7));
        let is_better = best.is_none_or(|best| match plot.lower_is_better {
            true => *score < best,
            false => *score > best,
        });
        if is_better {
            steps.extend(steps.last().map(|(_, height)| (point.0, *height)));
            steps.push(point);
            best = Some(*score);
        }
    }
    if let (Some((_, height)), Some((time, _))) = (steps.last().copied(), plot.results.last()) {
        steps.push((frame.point(time / unit, 0.0).0, height));
    }
    for part in clip(&steps, frame.top, frame.bottom) {
        canvas.line(&part, 2.6, BLUE);
    }
}

/// Returns the scores without the worst quarter, which would leave little room for the others.
fn better_scores(plot: &SearchPlot) -> Vec<f64> {
    let mut scores: Vec<f64> = plot.results.iter().map(|(_, score)| *score).collect();
    scores.sort_by(|a, b| if plot.lower_is_better { a.total_cmp(b) } else { b.total_cmp(a) });
    scores.truncate((3 * scores.len()).div_ceil(4));
    scores
}

/// Draws an axis for each field, and a line through its values for each trial.
fn draw_settings(canvas: &mut Canvas, plot: &SearchPlot, top: f64, bottom: f64) {
    let fields = plot.fields.len();
    if fields < 2 || plot.lines.is_empty() {
        return;
    }
    let width = (RIGHT - LEFT - 60.0) / (fields - 1) as f64;
    let x = |field: usize| LEFT + width * field as f64;
    let y = |coordinate: f64| bottom - coordinate * (bottom - top);
    let best = match plot.base_is_best {
        true => "the best one, the configuration itself, has no line",
        false => "the best one orange",
    };
    let text = format!("settings of the trials: the best fifth is blue, {best}");
    canvas.text((LEFT, top - 84.0), Align::Left, MEDIUM, GRAY, &text);
    let labels: Vec<Labels> = (0..fields).map(|field| Labels::of(plot.lines, field)).collect();
    let better = ((BETTER * plot.lines.len() as f64).ceil() as usize).max(1);
    // The better lines are above the others.
    for (rank, line) in plot.lines.iter().enumerate().rev() {
        let points: Vec<Point> =
            (0..fields).map(|field| (x(field), y(labels[field].position(line, field)))).collect();
        let (thickness, color): (f64, Color) = match rank {
            _ if line.is_best => (3.2, VERMILION),
            rank if rank < better => (1.8, BLUE.over(BACKGROUND, 0.75)),
            _ => (1.0, GRAY.over(BACKGROUND, 0.3)),
        };
        canvas.line(&points, thickness, color);
    }
    for (field, name) in plot.fields.iter().enumerate() {
        canvas.line(&[(x(field), top), (x(field), bottom)], 1.4, GRID.over(GRAY, 0.4));
        // Neighbouring names are at different heights, so that long ones have room.
        let height = if field % 2 == 0 { top - 18.0 } else { top - 42.0 };
        let name = truncate_middle(name, SMALL, 2.0 * width - 12.0);
        canvas.text((x(field), height), Align::Center, SMALL, FOREGROUND, &name);
        for (coordinate, value) in &labels[field].values {
            let value = truncate_middle(value, SMALL, (width - 10.0).max(100.0));
            canvas.text((x(field) + 6.0, y(*coordinate)), Align::Left, SMALL, GRAY, &value);
        }
    }
}

/// Labels of the axis of a field.
struct Labels {
    /// Positions and values.
    values: Vec<(f64, String)>,
    /// Each value has a label.
    is_complete: bool,
}

impl Labels {
    fn of(lines: &[Line], field: usize) -> Self {
        let point = |line: &'_ Line| (line.coordinates[field], line.values[field].clone());
        let mut points: Vec<(f64, String)> = lines.iter().map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let values: Vec<&[(f64, String)]> = points.chunk_by(|a, b| a.1 == b.1).collect();
        let label = |points: &[(f64, String)]| {
            let mean = points.iter().map(|(at, _)| at).sum::<f64>() / points.len() as f64;
            (mean, points[0].1.clone())
        };
        match &values[..] {
            [first, .., last] if values.len() > MAX_VALUES => {
                Self { values: vec![label(first), label(last)], is_complete: false }
            }
            values => {
                Self { values: values.iter().map(|same| label(same)).collect(), is_complete: true }
            }
        }
    }

    /// Returns the position of a trial: that of the label of its value, if each value has one.
    fn position(&self, line: &Line, field: usize) -> f64 {
        let label = self.values.iter().find(|(_, value)| *value == line.values[field]);
        label.filter(|_| self.is_complete).map_or(line.coordinates[field], |(at, _)| *at)
    }
}

/// Draws a bar for each field.
fn draw_importance(canvas: &mut Canvas, plot: &SearchPlot, top: f64) {
    let text = "importance: part of the variance of the ranks that a setting explains alone";
    canvas.text((LEFT, top - 12.0), Align::Left, MEDIUM, GRAY, text);
    let bars = LEFT + 240.0;
    let largest = plot.importance.iter().copied().fold(0.0, f64::max).max(1e-9);
    for (row, (name, share)) in plot.fields.iter().zip(plot.importance).enumerate() {
        let middle = top + ROW * (row as f64 + 0.9);
        let name = truncate_middle(name, SMALL, bars - LEFT - 12.0);
        canvas.text((bars - 12.0, middle), Align::Right, SMALL, FOREGROUND, &name);
        let end = bars + (RIGHT - bars - 80.0) * share / largest;
        canvas.bar([(bars, middle - 8.0), (end, middle + 8.0)], BLUE.over(BACKGROUND, 0.8));
        let label = format!("{share:.2}");
        canvas.text((end + 8.0, middle), Align::Left, SMALL, GRAY, &label);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(trial: usize) -> Line {
        let at = trial as f64 / 10.0;
        Line {
            coordinates: vec![at, if trial.is_multiple_of(2) { 0.25 } else { 0.75 }],
            values: vec![format!("0.{trial:03}"), ["mean", "max"][trial % 2].to_owned()],
            is_best: trial == 0,
        }
    }

    #[test]
    fn the_picture_has_the_metric_the_fields_and_their_importance() {
        let lines: Vec<Line> = (0..10).map(line).collect();
        let results: Vec<(f64, f64)> = (0..10).map(|time| (f64::from(time), 0.8)).collect();
        let fields = ["learning_rate".to_owned(), "pooling".to_owned()];
        let plot = |importance| SearchPlot {
            title: "10 trials",
            base_is_best: false,
            metric: "accuracy",
            lower_is_better: false,
            results: &results,
            fields: &fields,
            importance,
            lines: &lines,
        };
        let svg = draw(&plot(&[0.4, 0.1]), Theme::Light).unwrap().svg;
        for part in [
            "10 trials",
            "validation accuracy",
            "seconds",
            "learning_rate",
            "mean",
            "0.000",
            "0.009",
            "0.40",
        ] {
            assert!(svg.contains(part), "{part}");
        }
        assert!(!svg.contains("0.004"), "only the ends of many values have labels");
        let without = draw(&plot(&[0.0, 0.0]), Theme::Dark).unwrap();
        assert!(!without.svg.contains("importance") && !without.png.is_empty());
        let empty = SearchPlot { results: &[], lines: &[], ..plot(&[0.0, 0.0]) };
        assert!(!draw(&empty, Theme::Auto).unwrap().png.is_empty());
    }
}

//! Reliability diagrams: accuracy over confidence, and the share of the predictions with this confidence.

use super::axis::Axis;
use super::canvas::{Canvas, Picture};
use super::color::{BACKGROUND, Color, FOREGROUND, GRAY, PALETTE, Theme};
use super::frame::Frame;
use super::geometry::Dashes;
use super::text::{Align, LARGE, MEDIUM, truncate_middle};

const WIDTH: u32 = 760;
const HEIGHT: u32 = 960;
const LEFT: f64 = 100.0;
const RIGHT: f64 = WIDTH as f64 - 36.0;
/// Height of a row of the legend.
const ROW: f64 = 30.0;

/// Predictions of similar confidence.
#[derive(Clone, Copy, Debug)]
pub struct ReliabilityBin {
    /// Bounds of the confidence.
    pub range: [f64; 2],
    /// Mean confidence.
    pub confidence: f64,
    /// Share of them that are right.
    pub accuracy: f64,
    /// Number of predictions.
    pub count: usize,
}

/// Reliability of a model, before or after calibration.
#[derive(Clone, Debug)]
pub struct Reliability {
    /// Name in the legend.
    pub name: String,
    /// Expected calibration error.
    pub error: f64,
    /// Bins that are not empty, by rising confidence.
    pub bins: Vec<ReliabilityBin>,
}

/// A reliability diagram.
pub struct ReliabilityPlot<'a> {
    /// Name of the run.
    pub run: &'a str,
    /// Name of the confidence.
    pub confidence: &'a str,
    /// Name of the share of right predictions.
    pub accuracy: &'a str,
    /// At most as many as there are colors.
    pub models: &'a [Reliability],
}

/// Draws the reliability of models in one diagram, and below it the distribution of their confidence.
///
/// # Errors
/// Returns an error if the picture cannot be encoded.
pub fn draw(plot: &ReliabilityPlot, theme: Theme) -> anyhow::Result<Picture> {
    let mut canvas = Canvas::new(WIDTH, HEIGHT);
    let title = truncate_middle(plot.run, LARGE, RIGHT - LEFT);
    canvas.text((LEFT, 40.0), Align::Left, LARGE, FOREGROUND, &title);
    let models: Vec<(&Reliability, Color)> = plot.models.iter().zip(PALETTE).collect();
    let mut y = 80.0;
    for (model, color) in &models {
        canvas.line(&[(LEFT, y), (LEFT + 30.0, y)], 2.6, *color);
        canvas.dot((LEFT + 15.0, y), 5.0, *color);
        let name = format!("{}: calibration error {:.4}", model.name, model.error);
        canvas.text((LEFT + 44.0, y), Align::Left, MEDIUM, FOREGROUND, &name);
        y += ROW;
    }
    let unit = || Axis::new(0.0, 1.0, 0.2);
    let top = y + 40.0;
    let diagram = Frame { left: LEFT, top, right: RIGHT, bottom: 690.0, x: unit(), y: unit() };
    diagram.draw(&mut canvas, "");
    canvas.text((LEFT, top - 22.0), Align::Left, MEDIUM, GRAY, plot.accuracy);
    let dashes = Dashes { skip: 0.0, on: 8.0, off: 6.0 };
    let diagonal = [diagram.point(0.0, 0.0), diagram.point(1.0, 1.0)];
    canvas.dashes(&diagonal, dashes, 1.8, GRAY);
    for (model, color) in &models {
        let points: Vec<_> =
            model.bins.iter().map(|bin| diagram.point(bin.confidence, bin.accuracy)).collect();
        canvas.line(&points, 2.6, *color);
        points.iter().for_each(|point| canvas.dot(*point, 5.0, *color));
    }
    draw_distribution(&mut canvas, plot, &models);
    canvas.render(theme)
}

/// Draws the share of predictions in each bin, those of the models side by side.
fn draw_distribution(
    canvas: &mut Canvas,
    plot: &ReliabilityPlot,
    models: &[(&Reliability, Color)],
) {
    let share = |model: &Reliability, bin: &ReliabilityBin| {
        let all: usize = model.bins.iter().map(|bin| bin.count).sum();
        100.0 * bin.count as f64 / all.max(1) as f64
    };
    let shares = models
        .iter()
        .flat_map(|(model, _)| model.bins.iter().map(|bin| share(model, bin)).collect::<Vec<_>>());
    let frame = Frame {
        left: LEFT,
        top: 760.0,
        right: RIGHT,
        bottom: f64::from(HEIGHT) - 80.0,
        x: Axis::new(0.0, 1.0, 0.2),
        y: Axis::from_zero(shares),
    };
    frame.draw(canvas, plot.confidence);
    canvas.text((LEFT, frame.top - 22.0), Align::Left, MEDIUM, GRAY, "predictions in %");
    for (index, (model, color)) in models.iter().enumerate() {
        for bin in &model.bins {
            let [low, high] = bin.range;
            let width = (high - low) / models.len() as f64;
            let at = |part: f64| low + width * (index as f64 + part);
            let corners = [frame.point(at(0.1), share(model, bin)), frame.point(at(0.9), 0.0)];
            canvas.bar(corners, color.over(BACKGROUND, 0.8));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diagram_has_both_models_and_their_errors() {
        let bin = |confidence: f64, accuracy: f64, count: usize| {
            let low = (confidence * 10.0).floor() / 10.0;
            ReliabilityBin { range: [low, low + 0.1], confidence, accuracy, count }
        };
        let model = |name: &str, error: f64, bins: Vec<ReliabilityBin>| Reliability {
            name: name.to_owned(),
            error,
            bins,
        };
        let models = [
            model("uncalibrated", 0.1234, vec![bin(0.55, 0.4, 10), bin(0.95, 0.8, 90)]),
            model("calibrated", 0.0123, vec![bin(0.55, 0.5, 30), bin(0.85, 0.86, 70)]),
        ];
        let plot = |models| ReliabilityPlot {
            run: "mine",
            confidence: "confidence",
            accuracy: "accuracy",
            models,
        };
        let svg = draw(&plot(&models), Theme::Light).unwrap().svg;
        for part in [
            "mine",
            "uncalibrated: calibration error 0.1234",
            "calibrated: calibration error 0.0123",
            "confidence",
            "accuracy",
            "predictions in %",
        ] {
            assert!(svg.contains(part), "{part}");
        }
        let picture = draw(&plot(&[]), Theme::Dark).unwrap();
        assert!(!picture.svg.contains("calibration error") && !picture.png.is_empty());
    }
}

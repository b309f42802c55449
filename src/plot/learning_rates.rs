//! Loss over the learning rate, on a logarithmic axis, with the suggested rate.

use super::axis::Axis;
use super::canvas::{Canvas, Picture};
use super::color::{BACKGROUND, FOREGROUND, GRAY, PALETTE, Theme};
use super::frame::Frame;
use super::geometry::{Dashes, Point};
use super::series::clip;
use super::text::{Align, LARGE, MEDIUM};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 600;

/// Loss at a learning rate.
#[derive(Clone, Copy, Debug)]
pub struct LossAtRate {
    /// Learning rate, positive.
    pub rate: f64,
    /// Training loss of one batch.
    pub loss: f64,
    /// Mean of the losses around it.
    pub smoothed: f64,
}

/// Draws the loss at rising learning rates, and marks the suggested rate, if there is one.
///
/// # Errors
/// Returns an error if the picture cannot be encoded.
pub fn draw(
    name: &str,
    losses: &[LossAtRate],
    suggestion: Option<f64>,
    theme: Theme,
) -> anyhow::Result<Picture> {
    let mut canvas = Canvas::new(WIDTH, HEIGHT);
    let logarithm = |point: &LossAtRate| point.rate.log10();
    let frame = Frame {
        left: 100.0,
        top: 100.0,
        right: f64::from(WIDTH) - 36.0,
        bottom: f64::from(HEIGHT) - 90.0,
        x: Axis::powers_of_ten(losses.iter().map(logarithm)),
        y: Axis::around(losses.iter().map(|point| point.smoothed), (0.0, f64::INFINITY)),
    };
    frame.draw(&mut canvas, "learning rate");
    let title = (frame.left, 40.0);
    canvas.text(title, Align::Left, LARGE, FOREGROUND, &format!("{name}: training loss"));
    let line = |value: fn(&LossAtRate) -> f64| -> Vec<Vec<Point>> {
        let points: Vec<Point> =
            losses.iter().map(|point| frame.point(logarithm(point), value(point))).collect();
        clip(&points, frame.top, frame.bottom)
    };
    let color = PALETTE[0];
    for part in line(|point| point.loss) {
        canvas.line(&part, 1.2, color.over(BACKGROUND, 0.3));
    }
    for part in line(|point| point.smoothed) {
        canvas.line(&part, 2.6, color);
    }
    if let Some(rate) = suggestion {
        let (x, _) = frame.point(rate.log10(), 0.0);
        let dashes = Dashes { skip: 0.0, on: 8.0, off: 6.0 };
        canvas.dashes(&[(x, frame.top), (x, frame.bottom)], dashes, 1.8, GRAY);
        let label = format!("suggestion: {rate:.1e}");
        canvas.text((x, frame.top - 20.0), Align::Center, MEDIUM, FOREGROUND, &label);
    }
    canvas.render(theme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_has_powers_of_ten_and_the_suggestion() {
        let at = |step: i32| {
            let loss = 0.7 - 0.1 * f64::from(step);
            LossAtRate { rate: 10_f64.powi(step - 5), loss, smoothed: loss }
        };
        let losses: Vec<LossAtRate> = (0..6).map(at).collect();
        let svg = draw("mine", &losses, Some(2e-3), Theme::Light).unwrap().svg;
        for part in ["mine: training loss", "1e-5", "1e-1", "suggestion: 2.0e-3"] {
            assert!(svg.contains(part), "{part}");
        }
        let without = draw("mine", &losses[..1], None, Theme::Dark).unwrap();
        assert!(!without.svg.contains("suggestion") && !without.png.is_empty());
    }
}

//! Colours for light and for dark paper.

use clap::ValueEnum;
use plotters::style::RGBColor;

/// What a picture is read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Theme {
    /// The SVG as its reader has it, by CSS's `prefers-color-scheme`; the PNG light.
    Auto,
    /// Both on light paper.
    Light,
    /// Both on dark paper.
    Dark,
}

/// A colour, and the one in its place on dark paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Color {
    pub(super) light: RGBColor,
    pub(super) dark: RGBColor,
}

impl Color {
    /// A colour from red, green and blue, on light paper and on dark.
    pub(super) const fn new(light: (u8, u8, u8), dark: (u8, u8, u8)) -> Self {
        Self { light: RGBColor(light.0, light.1, light.2), dark: RGBColor(dark.0, dark.1, dark.2) }
    }

    /// What the colour is before its reader has a say.
    pub(super) fn on(self, theme: Theme) -> RGBColor {
        match theme {
            Theme::Auto | Theme::Light => self.light,
            Theme::Dark => self.dark,
        }
    }

    /// `share` of the colour, the rest of it `other`.
    pub(super) fn mixed(self, other: Self, share: f32) -> Self {
        let mixed = |a: RGBColor, b: RGBColor| {
            RGBColor(blended(a.0, b.0, share), blended(a.1, b.1, share), blended(a.2, b.2, share))
        };
        Self { light: mixed(self.light, other.light), dark: mixed(self.dark, other.dark) }
    }
}

/// `share` of `a`, the rest of it `b`.
pub(super) fn blended(a: u8, b: u8, share: f32) -> u8 {
    (share * f32::from(a) + (1.0 - share) * f32::from(b)).round() as u8
}

/// As an SVG has it.
pub(super) fn hexadecimal(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

#[cfg(test)]
mod tests {
    use super::super::{COLORS, GRAY, INK, PAPER};
    use super::*;

    /// As the Web Content Accessibility Guidelines 2.1 define it.
    fn luminance(RGBColor(red, green, blue): RGBColor) -> f64 {
        let linear = |channel: u8| match f64::from(channel) / 255.0 {
            share if share <= 0.04045 => share / 12.92,
            share => ((share + 0.055) / 1.055).powf(2.4),
        };
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }

    fn contrast(a: RGBColor, b: RGBColor) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// The guidelines' least contrast for texts, and for what is not text.
    #[test]
    fn everything_is_readable_on_both_papers() {
        assert!((contrast(RGBColor(0, 0, 0), RGBColor(255, 255, 255)) - 21.0).abs() < 1e-9);
        let texts = [INK, GRAY].map(|color| (color, 4.5));
        for (color, least) in texts.into_iter().chain(COLORS.map(|color| (color, 3.0))) {
            for (color, paper) in [(color.light, PAPER.light), (color.dark, PAPER.dark)] {
                let contrast = contrast(color, paper);
                assert!(contrast >= least, "{} has {contrast:.1}", hexadecimal(color));
            }
        }
    }

    #[test]
    fn mixtures_are_of_one_paper_each() {
        let (black, white) = (RGBColor(0, 0, 0), RGBColor(255, 255, 255));
        let ink = Color { light: black, dark: white };
        let paper = Color { light: white, dark: black };
        let mixed = ink.mixed(paper, 0.8);
        assert_eq!(mixed, Color::new((51, 51, 51), (204, 204, 204)));
        assert_eq!(hexadecimal(mixed.light), "#333333");
    }
}

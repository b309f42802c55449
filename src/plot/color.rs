//! Colors for light and dark backgrounds.

use clap::ValueEnum;
use plotters::style::RGBColor;

/// Color theme of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Theme {
    /// The SVG follows the reader's preference (CSS `prefers-color-scheme`). The PNG is light.
    Auto,
    /// SVG and PNG are light.
    Light,
    /// SVG and PNG are dark.
    Dark,
}

/// A color, as it is on a light and on a dark background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Color {
    pub(super) light: RGBColor,
    pub(super) dark: RGBColor,
}

/// Okabe and Ito's colors, which color-blind readers can tell apart, adjusted for contrast: darker on the
/// light background, lighter on the dark one. Their yellow is left out.
pub(super) const PALETTE: [Color; 7] = [
    BLUE,
    VERMILION,
    Color::new((0, 148, 108), (0, 186, 140)),
    Color::new((196, 100, 160), (226, 150, 194)),
    Color::new((190, 130, 0), (240, 228, 66)),
    Color::new((60, 150, 205), (130, 140, 255)),
    Color::new((0, 0, 0), (255, 255, 255)),
];
pub(super) const BLUE: Color = Color::new((0, 114, 178), (86, 180, 233));
pub(super) const VERMILION: Color = Color::new((213, 94, 0), (240, 120, 40));

/// Text.
pub(super) const FOREGROUND: Color = Color::new((38, 38, 38), (230, 230, 230));
pub(super) const GRAY: Color = Color::new((105, 105, 105), (158, 163, 170));
/// Grid lines.
pub(super) const GRID: Color = Color::new((228, 228, 228), (50, 54, 61));
pub(super) const BACKGROUND: Color = Color::new((255, 255, 255), (22, 25, 30));

impl Color {
    /// Creates a color from red, green and blue on a light and on a dark background.
    pub(super) const fn new(light: (u8, u8, u8), dark: (u8, u8, u8)) -> Self {
        Self { light: RGBColor(light.0, light.1, light.2), dark: RGBColor(dark.0, dark.1, dark.2) }
    }

    /// Returns the color that a theme starts from.
    pub(super) fn in_theme(self, theme: Theme) -> RGBColor {
        match theme {
            Theme::Auto | Theme::Light => self.light,
            Theme::Dark => self.dark,
        }
    }

    /// Blends with another color. `opacity` 1 leaves this color, 0 the other.
    pub(super) fn over(self, other: Self, opacity: f32) -> Self {
        let blend = |a: RGBColor, b: RGBColor| {
            let channel = |a, b| blend(a, b, opacity);
            RGBColor(channel(a.0, b.0), channel(a.1, b.1), channel(a.2, b.2))
        };
        Self { light: blend(self.light, other.light), dark: blend(self.dark, other.dark) }
    }
}

/// Blends one channel of two colors.
pub(super) fn blend(foreground: u8, background: u8, opacity: f32) -> u8 {
    (opacity * f32::from(foreground) + (1.0 - opacity) * f32::from(background)).round() as u8
}

/// Formats a color for SVG.
pub(super) fn hexadecimal(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance by the Web Content Accessibility Guidelines 2.1.
    fn luminance(RGBColor(red, green, blue): RGBColor) -> f64 {
        let linear = |channel: u8| match f64::from(channel) / 255.0 {
            value if value <= 0.04045 => value / 12.92,
            value => ((value + 0.055) / 1.055).powf(2.4),
        };
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }

    fn contrast(a: RGBColor, b: RGBColor) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// The guidelines require a contrast of 4.5 for text and of 3 for graphics.
    #[test]
    fn contrast_is_sufficient_on_both_backgrounds() {
        assert!((contrast(RGBColor(0, 0, 0), RGBColor(255, 255, 255)) - 21.0).abs() < 1e-9);
        let texts = [FOREGROUND, GRAY].map(|color| (color, 4.5));
        for (color, minimum) in texts.into_iter().chain(PALETTE.map(|color| (color, 3.0))) {
            for (color, background) in
                [(color.light, BACKGROUND.light), (color.dark, BACKGROUND.dark)]
            {
                let contrast = contrast(color, background);
                assert!(contrast >= minimum, "{} has {contrast:.1}", hexadecimal(color));
            }
        }
    }

    #[test]
    fn light_and_dark_colors_are_blended_separately() {
        let (black, white) = (RGBColor(0, 0, 0), RGBColor(255, 255, 255));
        let foreground = Color { light: black, dark: white };
        let background = Color { light: white, dark: black };
        let blended = foreground.over(background, 0.8);
        assert_eq!(blended, Color::new((51, 51, 51), (204, 204, 204)));
        assert_eq!(hexadecimal(blended.light), "#333333");
    }
}

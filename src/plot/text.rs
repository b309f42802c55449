//! Texts on a canvas: their style, their width and their truncation.

use ab_glyph::InvalidFont;
use plotters::prelude::{Color as _, IntoFont, RGBColor, TextStyle};
use plotters::style::FontTransform;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::color::{Color, Theme, blend};
use super::font::Font;
use super::geometry::{Point, SCALE, scaled};
use crate::output::sanitize::printable;

/// Font family of an SVG. The reader's browser chooses the font.
const FONT_FAMILY: &str = "sans-serif";
/// plotters divides the font size of an SVG by this.
const SVG_FONT_SCALE: f64 = 1.24;
/// Safety factor of text widths, since a browser's font may be wider than the built-in one.
const WIDTH_FACTOR: f64 = 1.2;

/// Font sizes.
pub(super) const LARGE: f64 = 22.0;
pub(super) const MEDIUM: f64 = 18.0;
pub(super) const SMALL: f64 = 16.0;

/// Alignment of a text at its position: left, centered or right.
#[derive(Clone, Copy, Debug)]
pub(super) enum Align {
    Left,
    Center,
    Right,
}

/// A text on a canvas.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) position: Point,
    pub(super) align: Align,
    pub(super) size: f64,
    pub(super) color: Color,
    pub(super) content: String,
    /// True if the text runs from bottom to top.
    pub(super) vertical: bool,
}

impl Text {
    /// Returns the style in an SVG enlarged by [`SCALE`].
    pub(super) fn style(&self, theme: Theme) -> TextStyle<'static> {
        let horizontal = match self.align {
            Align::Left => HPos::Left,
            Align::Center => HPos::Center,
            Align::Right => HPos::Right,
        };
        let font = (FONT_FAMILY, SVG_FONT_SCALE * self.size * f64::from(SCALE)).into_font();
        TextStyle {
            font: if self.vertical { font.transform(FontTransform::Rotate270) } else { font },
            color: self.color.in_theme(theme).to_backend_color(),
            pos: Pos::new(horizontal, VPos::Center),
        }
    }

    /// Draws the text in an image that is `width` pixels wide and enlarged by `scale`.
    pub(super) fn draw(
        &self,
        pixels: &mut [u8],
        width: usize,
        scale: u32,
        theme: Theme,
    ) -> Result<(), InvalidFont> {
        let font = Font::new(self.size * f64::from(scale))?;
        let (x, y) = scaled(self.position, scale);
        let left = match self.align {
            Align::Left => 0.0,
            Align::Center => -0.5,
            Align::Right => -1.0,
        } * font.width(&self.content);
        let RGBColor(red, green, blue) = self.color.in_theme(theme);
        font.draw(&self.content, (left, 0.0), |along, below, coverage| {
            let (x, y) = match self.vertical {
                true => (x + below, y - along),
                false => (x + along, y + below),
            };
            let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
            let Some(pixel) = pixels.get_mut(3 * (y * width + x)..).filter(|_| x < width) else {
                return;
            };
            for (channel, color) in pixel.iter_mut().zip([red, green, blue]) {
                *channel = blend(color, *channel, coverage);
            }
        });
        Ok(())
    }
}

/// Returns an upper estimate of the width of a text in any renderer.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    match Font::new(size) {
        Ok(font) => WIDTH_FACTOR * f64::from(font.width(&printable(text))),
        // Rendering returns the error.
        Err(InvalidFont) => 0.0,
    }
}

/// Truncates a text that is wider than `max_width`.
pub(super) fn truncate(text: &str, size: f64, max_width: f64) -> String {
    shorten(text, size, max_width, |characters, kept| {
        format!("{}…", characters[..kept].iter().collect::<String>())
    })
}

/// Cuts out the middle of a text that is wider than `max_width`: the names of runs often differ only at the
/// end.
pub(super) fn truncate_middle(text: &str, size: f64, max_width: f64) -> String {
    shorten(text, size, max_width, |characters, kept| {
        let (front, back) = (kept - kept / 2, characters.len() - kept / 2);
        characters[..front].iter().chain(['…'].iter()).chain(&characters[back..]).collect()
    })
}

/// Cuts out the middle of the names that are wider than `max_width`. Names come with an index; those that
/// would look alike get it as a number from 1.
pub(super) fn short_names(names: &[(usize, &str)], size: f64, max_width: f64) -> Vec<String> {
    let short: Vec<String> =
        names.iter().map(|(_, name)| truncate_middle(name, size, max_width)).collect();
    let is_unique = |name: &String| short.iter().filter(|other| *other == name).count() == 1;
    let numbered = |(short, (index, name)): (&String, &(usize, &str))| match is_unique(short) {
        true => short.clone(),
        false => {
            let number = format!("({}) ", index + 1);
            let rest = max_width - text_width(&number, size);
            number + &truncate_middle(name, size, rest)
        }
    };
    short.iter().zip(names).map(numbered).collect()
}

fn shorten(
    text: &str,
    size: f64,
    max_width: f64,
    cut: impl Fn(&[char], usize) -> String,
) -> String {
    if text_width(text, size) <= max_width {
        return text.to_owned();
    }
    let characters: Vec<char> = text.chars().collect();
    // An upper bound, so that very long texts need few attempts: no character is an eighth of an em wide.
    let max_kept = characters.len().min((max_width.max(0.0) / size * 8.0) as usize);
    (0..max_kept)
        .rev()
        .map(|kept| cut(&characters, kept))
        .find(|text| text_width(text, size) <= max_width)
        .unwrap_or_else(|| "…".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_truncated_to_a_width() {
        for text in [
            "supercalifragilistic",
            "語語語語語語語語語語語語",
            "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii",
        ] {
            let truncated = truncate(text, 20.0, 100.0);
            assert!(truncated.ends_with('…') && truncated.chars().count() > 3, "{truncated}");
            assert!(text_width(&truncated, 20.0) <= 100.0, "{truncated}");
        }
        assert_eq!(truncate("short", 20.0, 100.0), "short");
        assert_eq!(truncate("short", 20.0, 0.0), "…");
        let name = truncate_middle("imdb-20261121-093158", 20.0, 130.0);
        assert!(name.starts_with("imdb") && name.ends_with("158") && name.contains('…'), "{name}");
    }

    #[test]
    fn names_that_would_look_alike_are_numbered() {
        let [one, two] = ["one", "two"].map(|middle| {
            format!("a long beginning of a name, {middle}, and a long end of a name")
        });
        let names = short_names(&[(4, &one), (7, &two), (9, "plain")], 16.0, 160.0);
        assert!(names[0].starts_with("(5) a") && names[1].starts_with("(8) a"), "{names:?}");
        assert!(names.iter().all(|name| text_width(name, 16.0) <= 160.0), "{names:?}");
        assert_eq!(names[2], "plain");
    }
}

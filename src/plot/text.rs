//! Texts on a canvas: their style, their width and their truncation.

use std::collections::BTreeMap;

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

/// Shortens the names that are wider than `max_width`. Names that are alike without their middle are cut
/// before their first difference instead; those that still look alike get a number, their index from 1.
pub(super) fn short_names(names: &[(usize, &str)], size: f64, max_width: f64) -> Vec<String> {
    let mut short: Vec<String> =
        names.iter().map(|(_, name)| truncate_middle(name, size, max_width)).collect();
    for group in alike(&short) {
        let common = common_prefix(group.iter().map(|position| names[*position].1));
        for position in group {
            short[position] = truncate_before(names[position].1, common, size, max_width);
        }
    }
    for position in alike(&short).into_iter().flatten() {
        let (index, name) = names[position];
        let number = format!("({}) ", index + 1);
        let rest = max_width - text_width(&number, size);
        short[position] = number + &truncate_middle(name, size, rest);
    }
    short
}

/// Returns the positions of equal texts, for each text that occurs more than once.
fn alike(texts: &[String]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (position, text) in texts.iter().enumerate() {
        groups.entry(text).or_default().push(position);
    }
    groups.into_values().filter(|group| group.len() > 1).collect()
}

/// Returns the number of characters with which all texts begin.
fn common_prefix<'a>(mut texts: impl Iterator<Item = &'a str>) -> usize {
    let first: Vec<char> = texts.next().unwrap_or_default().chars().collect();
    texts.fold(first.len(), |length, text| {
        first[..length].iter().zip(text.chars()).take_while(|(a, b)| *a == b).count()
    })
}

/// Cuts out the characters shortly before the one at `difference`, and truncates the rest.
fn truncate_before(text: &str, difference: usize, size: f64, max_width: f64) -> String {
    const FRONT: usize = 6;
    const CONTEXT: usize = 3;
    let resumed = difference.saturating_sub(CONTEXT);
    if resumed <= FRONT {
        return truncate(text, size, max_width);
    }
    let front: String = text.chars().take(FRONT).collect();
    let rest: String = text.chars().skip(resumed).collect();
    truncate(&format!("{front}…{rest}"), size, max_width)
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
    fn names_that_would_look_alike_show_their_first_difference() {
        let [one, two] = ["one", "two"].map(|middle| {
            format!("a long beginning of a name, {middle}, and a long end of a name")
        });
        let names = short_names(&[(4, &one), (7, &two), (9, "plain")], 16.0, 180.0);
        assert!(names[0].starts_with("a long…e, one"), "{names:?}");
        assert!(names[1].starts_with("a long…e, two"), "{names:?}");
        assert!(names.iter().all(|name| text_width(name, 16.0) <= 180.0), "{names:?}");
        assert_eq!(names[2], "plain");
    }

    #[test]
    fn names_with_several_far_differences_are_numbered() {
        let name = |middle: &str| format!("a long beginning {middle} and a long end of a name");
        let middles = ["x and then a long middle part 1", "x and then a long middle part 2", "y"];
        let names = middles.map(name);
        let indexed: Vec<(usize, &str)> = (4..).zip(names.iter().map(String::as_str)).collect();
        let short = short_names(&indexed, 16.0, 180.0);
        assert!(short[0].starts_with("(5) a") && short[1].starts_with("(6) a"), "{short:?}");
        assert!(short[2].contains("… y and") || short[2].contains(" y a"), "{short:?}");
        assert!(short.iter().all(|name| text_width(name, 16.0) <= 180.0), "{short:?}");
    }
}

//! The built-in font: letters into pixels, and how wide they are.

use ab_glyph::{Font, FontRef, InvalidFont, PxScale, ScaleFont, point};
use epaint_default_fonts::UBUNTU_LIGHT;

/// A letter that the font lacks is a box of this width, as Chinese ones are in any font.
const BOX: f32 = 1.0;

/// The font at one size.
pub(super) struct Letters {
    font: FontRef<'static>,
    scale: PxScale,
    /// The size, in pixels.
    em: f32,
}

impl Letters {
    /// Letters of `em` pixels.
    ///
    /// # Errors
    /// Where the font is damaged, which it is not.
    pub(super) fn new(em: f64) -> Result<Self, InvalidFont> {
        let font = FontRef::try_from_slice(UBUNTU_LIGHT)?;
        let units = font.units_per_em().unwrap_or(1000.0);
        let em = em as f32;
        let scale = PxScale::from(em * font.height_unscaled() / units);
        Ok(Self { font, scale, em })
    }

    /// Whether the font has the letter.
    pub(super) fn has(&self, letter: char) -> bool {
        letter.is_whitespace() || self.font.glyph_id(letter).0 != 0
    }

    /// How wide the text is, in pixels.
    pub(super) fn width(&self, text: &str) -> f32 {
        text.chars().map(|letter| self.advance(letter)).sum()
    }

    fn advance(&self, letter: char) -> f32 {
        match self.has(letter) {
            true => self.font.as_scaled(self.scale).h_advance(self.font.glyph_id(letter)),
            false => BOX * self.em,
        }
    }

    /// Calls `ink` with every pixel of the text and how much of it is covered, from 0 to 1. The
    /// text begins at `x`, the middle of its small letters lies at `y`.
    pub(super) fn draw(&self, text: &str, (x, y): (f32, f32), mut ink: impl FnMut(i32, i32, f32)) {
        let baseline = y + 0.26 * self.em;
        let mut pen = x;
        for letter in text.chars() {
            if self.has(letter) {
                let place = point(pen, baseline);
                let id = self.font.glyph_id(letter);
                let glyph = id.with_scale_and_position(self.scale, place);
                if let Some(outline) = self.font.outline_glyph(glyph) {
                    let corner = outline.px_bounds().min;
                    outline.draw(|x, y, share| {
                        ink(corner.x as i32 + x as i32, corner.y as i32 + y as i32, share);
                    });
                }
            } else {
                self.draw_box((pen, baseline), &mut ink);
            }
            pen += self.advance(letter);
        }
    }

    /// An empty box on the baseline.
    fn draw_box(&self, (x, baseline): (f32, f32), ink: &mut impl FnMut(i32, i32, f32)) {
        let at = |share: f32| (share * self.em).round() as i32;
        let (left, right) = (x as i32 + at(0.15), x as i32 + at(0.85));
        let (top, bottom) = (baseline as i32 - at(0.7), baseline as i32);
        let edge = at(0.06).max(1);
        for y in top..bottom {
            for x in left..right {
                let inside = (left + edge..right - edge).contains(&x)
                    && (top + edge..bottom - edge).contains(&y);
                if !inside {
                    ink(x, y, 1.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_as_wide_as_they_are_drawn() {
        let letters = Letters::new(100.0).unwrap();
        for text in ["Hamburg", "0.25 %", "“né”…", "語彙"] {
            let (mut left, mut right) = (i32::MAX, i32::MIN);
            letters.draw(text, (50.0, 60.0), |x, _, _| (left, right) = (left.min(x), right.max(x)));
            let end = 50.0 + letters.width(text);
            assert!((50..70).contains(&left), "{text} begins at {left}");
            assert!(right as f32 <= end && right as f32 > end - 20.0, "{text} ends at {right}");
        }
    }

    #[test]
    fn letters_that_the_font_lacks_are_known() {
        let letters = Letters::new(20.0).unwrap();
        assert!("Aß é ж Ω“…”%\u{3000}".chars().all(|letter| letters.has(letter)));
        assert!("語あ😀".chars().all(|letter| !letters.has(letter)));
    }
}

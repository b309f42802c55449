//! The built-in font: measures text and rasterizes it.

use ab_glyph::{Font as _, FontRef, InvalidFont, PxScale, ScaleFont, point};
use epaint_default_fonts::UBUNTU_LIGHT;

/// Width of the box that stands for a missing glyph, in em, the same as that of a CJK character.
const BOX_WIDTH: f32 = 1.0;

/// The built-in font at one size.
pub(super) struct Font {
    font: FontRef<'static>,
    scale: PxScale,
    /// Font size in pixels.
    em: f32,
}

impl Font {
    /// Loads the font at a size of `em` pixels.
    ///
    /// # Errors
    /// Returns an error if the font is invalid, which the built-in one is not.
    pub(super) fn new(em: f64) -> Result<Self, InvalidFont> {
        let font = FontRef::try_from_slice(UBUNTU_LIGHT)?;
        let units = font.units_per_em().unwrap_or(1000.0);
        let em = em as f32;
        let scale = PxScale::from(em * font.height_unscaled() / units);
        Ok(Self { font, scale, em })
    }

    /// Returns true if the font has a glyph for a character.
    pub(super) fn has_glyph(&self, character: char) -> bool {
        character.is_whitespace() || self.font.glyph_id(character).0 != 0
    }

    /// Returns the width of a text in pixels.
    pub(super) fn width(&self, text: &str) -> f32 {
        text.chars().map(|character| self.advance(character)).sum()
    }

    fn advance(&self, character: char) -> f32 {
        match self.has_glyph(character) {
            true => self.font.as_scaled(self.scale).h_advance(self.font.glyph_id(character)),
            false => BOX_WIDTH * self.em,
        }
    }

    /// Calls `draw_pixel` with the position and the coverage, from 0 to 1, of every pixel of a text. The
    /// text begins at `x`, and its lowercase letters are centered vertically at `y`.
    pub(super) fn draw(
        &self,
        text: &str,
        (x, y): (f32, f32),
        mut draw_pixel: impl FnMut(i32, i32, f32),
    ) {
        let baseline = y + 0.26 * self.em;
        let mut pen = x;
        for character in text.chars() {
            if self.has_glyph(character) {
                let id = self.font.glyph_id(character);
                let glyph = id.with_scale_and_position(self.scale, point(pen, baseline));
                if let Some(outline) = self.font.outline_glyph(glyph) {
                    let corner = outline.px_bounds().min;
                    outline.draw(|x, y, coverage| {
                        draw_pixel(
                            corner.x as i32 + x as i32,
                            corner.y as i32 + y as i32,
                            coverage,
                        );
                    });
                }
            } else {
                self.draw_box((pen, baseline), &mut draw_pixel);
            }
            pen += self.advance(character);
        }
    }

    /// Draws an empty box on the baseline.
    fn draw_box(&self, (x, baseline): (f32, f32), draw_pixel: &mut impl FnMut(i32, i32, f32)) {
        let at = |em: f32| (em * self.em).round() as i32;
        let (left, right) = (x as i32 + at(0.15), x as i32 + at(0.85));
        let (top, bottom) = (baseline as i32 - at(0.7), baseline as i32);
        let edge = at(0.06).max(1);
        for y in top..bottom {
            for x in left..right {
                let inside = (left + edge..right - edge).contains(&x)
                    && (top + edge..bottom - edge).contains(&y);
                if !inside {
                    draw_pixel(x, y, 1.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_text_has_the_measured_width() {
        let font = Font::new(100.0).unwrap();
        for text in ["Hamburg", "0.25 %", "“né”…", "語彙"] {
            let (mut left, mut right) = (i32::MAX, i32::MIN);
            font.draw(text, (50.0, 60.0), |x, _, _| (left, right) = (left.min(x), right.max(x)));
            let end = 50.0 + font.width(text);
            assert!((50..70).contains(&left), "{text} begins at {left}");
            assert!(right as f32 <= end && right as f32 > end - 20.0, "{text} ends at {right}");
        }
    }

    #[test]
    fn missing_glyphs_are_known() {
        let font = Font::new(20.0).unwrap();
        assert!("Aß é ж Ω“…”%\u{3000}".chars().all(|character| font.has_glyph(character)));
        assert!("語あ😀".chars().all(|character| !font.has_glyph(character)));
    }
}

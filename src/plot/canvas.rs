//! A canvas: a list of shapes and texts, rendered as SVG and PNG.

use std::collections::BTreeSet;

use anyhow::Context;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::{
    BitMapBackend, Circle, Color as _, DrawingBackend, IntoDrawingArea, PathElement, Polygon,
    RGBColor, Rectangle, SVGBackend, ShapeStyle,
};

use super::color::{BACKGROUND, Color, Theme, hexadecimal};
use super::font::Font;
use super::geometry::{Dashes, Point, SCALE, scaled};
use super::text::{Align, Text};
use crate::output::sanitize::printable;

/// A picture in both formats.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Content of the SVG file.
    pub svg: String,
    /// Content of the PNG file.
    pub png: Vec<u8>,
    /// True if the PNG has boxes instead of characters that the built-in font lacks.
    pub has_missing_glyphs: bool,
}

#[derive(Clone, Debug)]
enum Shape {
    Line { points: Vec<Point>, width: f64, color: Color },
    Bar { corners: [Point; 2], color: Color },
    Dot { center: Point, radius: f64, color: Color },
    Polygon { corners: Vec<Point>, color: Color },
}

impl Shape {
    /// Splits a line into segments, with a dot at each corner. plotters draws sharp corners as spikes in a
    /// PNG.
    fn with_round_corners(&self) -> Vec<Self> {
        let Self::Line { points, width, color } = self else { return vec![self.clone()] };
        let (width, color) = (*width, *color);
        let segments =
            points.windows(2).map(|segment| Self::Line { points: segment.to_vec(), width, color });
        let corners = points.get(1..points.len().saturating_sub(1)).unwrap_or_default();
        let corner = |center: &Point| Self::Dot { center: *center, radius: width / 2.0, color };
        segments.chain(corners.iter().map(corner)).collect()
    }

    fn color(&self) -> Color {
        match self {
            Self::Line { color, .. }
            | Self::Bar { color, .. }
            | Self::Dot { color, .. }
            | Self::Polygon { color, .. } => *color,
        }
    }
}

/// Shapes and texts to render. Units are pixels of the PNG.
pub(super) struct Canvas {
    width: u32,
    height: u32,
    shapes: Vec<Shape>,
    texts: Vec<Text>,
}

impl Canvas {
    /// Creates an empty canvas.
    pub(super) fn new(width: u32, height: u32) -> Self {
        Self { width, height, shapes: Vec::new(), texts: Vec::new() }
    }

    /// Draws a line through all points.
    pub(super) fn line(&mut self, points: &[Point], width: f64, color: Color) {
        self.shapes.push(Shape::Line { points: points.to_vec(), width, color });
    }

    /// Draws a dashed line.
    pub(super) fn dashes(&mut self, points: &[Point], dashes: Dashes, width: f64, color: Color) {
        for dash in dashes.split(points) {
            self.line(&dash, width, color);
        }
    }

    /// Draws a filled rectangle.
    pub(super) fn bar(&mut self, corners: [Point; 2], color: Color) {
        self.shapes.push(Shape::Bar { corners, color });
    }

    /// Draws a filled circle.
    pub(super) fn dot(&mut self, center: Point, radius: f64, color: Color) {
        self.shapes.push(Shape::Dot { center, radius, color });
    }

    /// Draws a filled polygon.
    pub(super) fn polygon(&mut self, corners: Vec<Point>, color: Color) {
        self.shapes.push(Shape::Polygon { corners, color });
    }

    /// Draws a text of a font size, vertically centered at `position`. Texts are above all shapes.
    pub(super) fn text(
        &mut self,
        position: Point,
        align: Align,
        size: f64,
        color: Color,
        text: &str,
    ) {
        let content = printable(text).into_owned();
        self.texts.push(Text { position, align, size, color, content, vertical: false });
    }

    /// Draws a text from bottom to top that ends at `position` and is centered on it horizontally.
    pub(super) fn vertical_text(&mut self, position: Point, size: f64, color: Color, text: &str) {
        let (align, content) = (Align::Right, printable(text).into_owned());
        self.texts.push(Text { position, align, size, color, content, vertical: true });
    }

    /// Renders both formats.
    pub(super) fn render(&self, theme: Theme) -> anyhow::Result<Picture> {
        let svg = self.svg(theme).context("cannot render the picture as SVG")?;
        let png = self.png(theme).context("cannot render the picture as PNG")?;
        Ok(Picture { svg, png, has_missing_glyphs: self.has_missing_glyphs()? })
    }

    fn svg(&self, theme: Theme) -> anyhow::Result<String> {
        let mut svg = String::new();
        let (width, height) = (self.width * SCALE, self.height * SCALE);
        let backend = SVGBackend::with_string(&mut svg, (width, height));
        draw(backend, theme, &self.shapes, &self.texts)?;
        // Restores the size of the canvas; coordinates stay finer. Corners are round as in the PNG.
        let scaled = format!("width=\"{width}\" height=\"{height}\"");
        let unscaled = format!(
            "width=\"{}\" height=\"{}\" stroke-linejoin=\"round\"",
            self.width, self.height
        );
        let svg = svg.replacen(&scaled, &unscaled, 1);
        Ok(match theme {
            Theme::Auto => svg.replacen('>', &format!(">\n{}", self.dark_style()), 1),
            Theme::Light | Theme::Dark => svg,
        })
    }

    /// Returns a style sheet that replaces all colors by their dark variants if the reader prefers that.
    fn dark_style(&self) -> String {
        let shapes = self.shapes.iter().map(Shape::color);
        let colors = shapes.chain(self.texts.iter().map(|text| text.color)).chain([BACKGROUND]);
        let pairs: BTreeSet<(String, String)> =
            colors.map(|color| (hexadecimal(color.light), hexadecimal(color.dark))).collect();
        let rule = |(light, dark): (String, String)| {
            format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
        };
        let rules: String = pairs.into_iter().map(rule).collect();
        format!("<style>@media (prefers-color-scheme:dark){{{rules}}}</style>")
    }

    /// Renders the PNG. Texts are drawn by [`Font`], since plotters spaces characters unevenly.
    fn png(&self, theme: Theme) -> anyhow::Result<Vec<u8>> {
        let (width, height) = (self.width * SCALE, self.height * SCALE);
        let mut pixels = vec![0; 3 * width as usize * height as usize];
        let backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
        let shapes: Vec<Shape> = self.shapes.iter().flat_map(Shape::with_round_corners).collect();
        draw(backend, theme, &shapes, &[])?;
        for text in &self.texts {
            text.draw(&mut pixels, width as usize, SCALE, theme)?;
        }
        let pixels = downscale(&pixels, width as usize);
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header()?.write_image_data(&pixels)?;
        Ok(png)
    }

    /// Renders only bars and texts as a light PNG, in less than a tenth of the time: without antialiased
    /// edges, and with little compression.
    pub(super) fn fast_png(&self) -> anyhow::Result<Vec<u8>> {
        let (width, height) = (self.width as usize, self.height as usize);
        let RGBColor(red, green, blue) = BACKGROUND.light;
        let mut pixels = [red, green, blue].repeat(width * height);
        for shape in &self.shapes {
            if let Shape::Bar { corners, color } = shape {
                fill(&mut pixels, width, corners.map(|corner| scaled(corner, 1)), color.light);
            }
        }
        for text in &self.texts {
            text.draw(&mut pixels, width, 1, Theme::Light)?;
        }
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_filter(png::Filter::Up);
        encoder.set_deflate_compression(png::DeflateCompression::Level(1));
        encoder.write_header()?.write_image_data(&pixels)?;
        Ok(png)
    }

    fn has_missing_glyphs(&self) -> anyhow::Result<bool> {
        let font = Font::new(1.0)?;
        let mut characters = self.texts.iter().flat_map(|text| text.content.chars());
        Ok(characters.any(|character| !font.has_glyph(character)))
    }
}

/// Fills a rectangle in an image that is `width` pixels wide.
fn fill(pixels: &mut [u8], width: usize, corners: [(i32, i32); 2], color: RGBColor) {
    let clamp = |coordinate: i32| usize::try_from(coordinate).unwrap_or(0);
    let [(left, top), (right, bottom)] = corners.map(|(x, y)| (clamp(x).min(width), clamp(y)));
    let RGBColor(red, green, blue) = color;
    let rows = pixels.chunks_exact_mut(3 * width.max(1)).skip(top).take(bottom.saturating_sub(top));
    for pixels in rows {
        for pixel in pixels[3 * left..3 * right.max(left)].chunks_exact_mut(3) {
            pixel.copy_from_slice(&[red, green, blue]);
        }
    }
}

fn draw<B: DrawingBackend>(
    backend: B,
    theme: Theme,
    shapes: &[Shape],
    texts: &[Text],
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let area = backend.into_drawing_area();
    area.fill(&BACKGROUND.in_theme(theme))?;
    for shape in shapes {
        match shape {
            Shape::Line { points, width, color } => {
                let points: Vec<_> = points.iter().map(|point| scaled(*point, SCALE)).collect();
                area.draw(&PathElement::new(points, stroke(*width, color.in_theme(theme))))?;
            }
            Shape::Bar { corners, color } => {
                let style = color.in_theme(theme).filled();
                let corners = corners.map(|corner| scaled(corner, SCALE));
                area.draw(&Rectangle::new(corners, style))?;
            }
            Shape::Dot { center, radius, color } => {
                let style = color.in_theme(theme).filled();
                area.draw(&Circle::new(scaled(*center, SCALE), scaled_length(*radius), style))?;
            }
            Shape::Polygon { corners, color } => {
                let corners: Vec<_> = corners.iter().map(|point| scaled(*point, SCALE)).collect();
                area.draw(&Polygon::new(corners, color.in_theme(theme).filled()))?;
            }
        }
    }
    for text in texts {
        area.draw_text(&text.content, &text.style(theme), scaled(text.position, SCALE))?;
    }
    area.present()
}

/// Averages each square of [`SCALE`] by [`SCALE`] pixels, which antialiases all edges.
fn downscale(pixels: &[u8], width: usize) -> Vec<u8> {
    let scale = SCALE as usize;
    let mut out = Vec::with_capacity(pixels.len() / (scale * scale));
    for rows in pixels.chunks_exact(3 * width * scale) {
        for x in 0..width / scale {
            for channel in 0..3 {
                let row_sum = |row: &[u8]| -> usize {
                    (0..scale).map(|i| usize::from(row[3 * (x * scale + i) + channel])).sum()
                };
                let sum: usize = rows.chunks_exact(3 * width).map(row_sum).sum();
                out.push((sum / (scale * scale)) as u8);
            }
        }
    }
    out
}

fn stroke(width: f64, color: RGBColor) -> ShapeStyle {
    color.stroke_width(scaled_length(width).max(1))
}

fn scaled_length(length: f64) -> u32 {
    (length * f64::from(SCALE)).round() as u32
}

#[cfg(test)]
mod tests {
    use super::super::color::{BLUE, FOREGROUND};
    use super::*;

    #[test]
    fn every_color_has_a_dark_variant() {
        let mut canvas = Canvas::new(9, 9);
        canvas.line(&[(0.0, 0.0), (9.0, 9.0)], 1.0, BLUE);
        canvas.text((4.0, 4.0), Align::Center, 9.0, FOREGROUND, "x");
        let [auto, light, dark] =
            [Theme::Auto, Theme::Light, Theme::Dark].map(|theme| canvas.render(theme).unwrap());
        let (start, style) = auto.svg.split_once("<style>").unwrap();
        assert!(style.starts_with("@media (prefers-color-scheme:dark){["), "{style}");
        for color in [BLUE, FOREGROUND, BACKGROUND] {
            let (light_hex, dark_hex) = (hexadecimal(color.light), hexadecimal(color.dark));
            let rule = format!("[stroke=\"{light_hex}\"]{{stroke:{dark_hex}}}");
            assert!(style.contains(&rule), "{rule} is not in {style}");
            assert!(light.svg.contains(&light_hex) && !light.svg.contains(&dark_hex));
            assert!(dark.svg.contains(&dark_hex) && !dark.svg.contains(&light_hex));
        }
        let (_, rest) = style.split_once("</style>\n").unwrap();
        assert_eq!(format!("{start}{rest}"), light.svg);
        assert!(auto.png == light.png && auto.png != dark.png);
    }

    #[test]
    fn both_files_have_the_size_of_the_canvas() {
        let mut canvas = Canvas::new(40, 20);
        canvas.text((5.0, 10.0), Align::Left, 12.0, FOREGROUND, "a < b\u{1}");
        let picture = canvas.render(Theme::Auto).unwrap();
        assert!(picture.png.starts_with(b"\x89PNG\r\n\x1a\n"));
        assert_eq!(picture.png[16..24], [0, 0, 0, 40, 0, 0, 0, 20]);
        assert!(picture.svg.starts_with(
            "<svg width=\"40\" height=\"20\" stroke-linejoin=\"round\" viewBox=\"0 0 120 60\""
        ));
        assert!(picture.svg.contains("a &lt; b\\u{1}"), "{}", picture.svg);
        assert!(!picture.has_missing_glyphs);
    }

    #[test]
    fn sharp_corners_have_no_spikes() {
        let mut canvas = Canvas::new(40, 40);
        let zigzag: Vec<Point> = (0..20)
            .map(|i| (20.0 + 0.1 * f64::from(i), if i % 2 == 0 { 18.0 } else { 22.0 }))
            .collect();
        canvas.line(&zigzag, 1.0, FOREGROUND);
        let drawn = canvas.render(Theme::Light).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(drawn.png)).read_info().unwrap();
        let mut pixels = vec![0; 3 * 40 * 40];
        reader.next_frame(&mut pixels).unwrap();
        let rows: Vec<usize> = (0..40)
            .filter(|row| pixels[120 * row..120 * (row + 1)].iter().any(|p| *p < 200))
            .collect();
        assert_eq!((rows[0], rows.last()), (17, Some(&22)));
    }

    #[test]
    fn a_fast_png_has_its_bars_in_place() {
        let mut canvas = Canvas::new(4, 3);
        canvas.bar([(1.0, -5.0), (3.0, 2.0)], FOREGROUND);
        canvas.bar([(3.0, 2.0), (90.0, 90.0)], FOREGROUND);
        canvas.text((1e6, 1.0), Align::Left, 12.0, FOREGROUND, "outside");
        let png = std::io::Cursor::new(canvas.fast_png().unwrap());
        let mut reader = png::Decoder::new(png).read_info().unwrap();
        let mut pixels = vec![0; 3 * 4 * 3];
        reader.next_frame(&mut pixels).unwrap();
        let drawn: Vec<bool> = pixels.chunks(3).map(|pixel| pixel != [255, 255, 255]).collect();
        let row = [false, true, true, false];
        assert_eq!(drawn, [row, row, [false, false, false, true]].concat());
        assert_eq!(pixels[3], FOREGROUND.light.0);
    }

    #[test]
    fn text_is_clipped_at_the_edge() {
        let mut canvas = Canvas::new(10, 10);
        for position in [(-5.0, -2.0), (8.0, 9.0), (1e6, 1e6), (-1e6, -1e6)] {
            canvas.text(position, Align::Center, 12.0, FOREGROUND, "語Wide");
        }
        assert!(canvas.render(Theme::Auto).unwrap().has_missing_glyphs);
    }

    #[test]
    fn edges_are_antialiased() {
        let mut pixels = vec![0; 3 * 6 * 3];
        pixels[..9].fill(255);
        assert_eq!(downscale(&pixels, 6), [85, 85, 85, 0, 0, 0]);
    }
}

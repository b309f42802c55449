//! A drawing as a list of shapes, and both of its files.

use std::collections::BTreeSet;

use ab_glyph::InvalidFont;
use anyhow::Context;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::{
    BitMapBackend, Circle, Color as _, DrawingBackend, IntoDrawingArea, IntoFont, PathElement,
    RGBColor, Rectangle, SVGBackend, ShapeStyle, TextStyle,
};
use plotters::style::FontTransform;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::PAPER;
use super::color::{Color, Theme, blended, hexadecimal};
use super::letters::Letters;
use crate::output::sanitize::is_unprintable;

/// A place on a sheet, from its upper left corner.
pub(super) type Point = (f64, f64);

/// What an SVG asks for; every browser has some such font.
const FONT: &str = "sans-serif";
/// plotters divides the size of an SVG's letters by this.
const SVG_LETTERS: f64 = 1.24;
/// Browsers' letters may be wider than the built-in ones.
const ROOM: f64 = 1.2;
/// Both files are drawn this much larger, since plotters knows whole pixels only.
const SCALE: u32 = 3;

/// A drawing in both formats.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The drawing as an SVG file.
    pub svg: String,
    /// The same as a PNG file.
    pub png: Vec<u8>,
    /// Whether the PNG has boxes in place of letters that the built-in font lacks.
    pub boxes: bool,
}

/// What a text has at its place: its beginning, middle or end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Align {
    Left,
    Center,
    Right,
}

#[derive(Clone, Debug)]
enum Shape {
    Line { points: Vec<Point>, width: f64, color: Color },
    Bar { corners: [Point; 2], color: Color },
    Dot { center: Point, radius: f64, color: Color },
}

#[derive(Clone, Debug)]
struct Text {
    place: Point,
    align: Align,
    size: f64,
    color: Color,
    letters: String,
    /// Whether it is written from below to above.
    upward: bool,
}

impl Shape {
    /// The same with a dot at every corner of a line, whose pieces are shapes of their own: plotters
    /// draws sharp corners as spikes into a PNG.
    fn with_round_corners(&self) -> Vec<Self> {
        let Self::Line { points, width, color } = self else { return vec![self.clone()] };
        let (width, color) = (*width, *color);
        let pieces =
            points.windows(2).map(|piece| Self::Line { points: piece.to_vec(), width, color });
        let corners = points.get(1..points.len().saturating_sub(1)).unwrap_or_default();
        let corner = |center: &Point| Self::Dot { center: *center, radius: width / 2.0, color };
        pieces.chain(corners.iter().map(corner)).collect()
    }

    fn color(&self) -> Color {
        match self {
            Self::Line { color, .. } | Self::Bar { color, .. } | Self::Dot { color, .. } => *color,
        }
    }
}

/// A pattern of dashes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dashes {
    /// How long the gap before the first is.
    pub(super) skip: f64,
    /// How long they are.
    pub(super) on: f64,
    /// How long the gaps between them are.
    pub(super) off: f64,
}

/// A drawing in the making; its units are the pixels of the PNG.
pub(super) struct Sheet {
    width: u32,
    height: u32,
    shapes: Vec<Shape>,
    texts: Vec<Text>,
}

impl Sheet {
    pub(super) fn new(width: u32, height: u32) -> Self {
        Self { width, height, shapes: Vec::new(), texts: Vec::new() }
    }

    pub(super) fn line(&mut self, points: &[Point], width: f64, color: Color) {
        self.shapes.push(Shape::Line { points: points.to_vec(), width, color });
    }

    /// A line of dashes.
    pub(super) fn dashes(&mut self, points: &[Point], dashes: Dashes, width: f64, color: Color) {
        for dash in dashes.along(points) {
            self.line(&dash, width, color);
        }
    }

    pub(super) fn bar(&mut self, corners: [Point; 2], color: Color) {
        self.shapes.push(Shape::Bar { corners, color });
    }

    pub(super) fn dot(&mut self, center: Point, radius: f64, color: Color) {
        self.shapes.push(Shape::Dot { center, radius, color });
    }

    /// A text of letters of `size`, its middle at the height of `place`. Texts lie above all else.
    pub(super) fn text(&mut self, place: Point, align: Align, size: f64, color: Color, text: &str) {
        let letters = printable(text);
        self.texts.push(Text { place, align, size, color, letters, upward: false });
    }

    /// The same from below to above, its middle to the right and left of `place`.
    pub(super) fn upward(
        &mut self,
        place: Point,
        align: Align,
        size: f64,
        color: Color,
        text: &str,
    ) {
        let letters = printable(text);
        self.texts.push(Text { place, align, size, color, letters, upward: true });
    }

    /// Draws it in both formats.
    pub(super) fn picture(&self, theme: Theme) -> anyhow::Result<Picture> {
        let svg = self.svg(theme).context("cannot draw the SVG of a picture")?;
        let png = self.png(theme).context("cannot draw the PNG of a picture")?;
        Ok(Picture { svg, png, boxes: self.has_boxes()? })
    }

    fn svg(&self, theme: Theme) -> anyhow::Result<String> {
        let mut svg = String::new();
        let (width, height) = (self.width * SCALE, self.height * SCALE);
        let backend = SVGBackend::with_string(&mut svg, (width, height));
        draw(backend, theme, &self.shapes, &self.texts)?;
        // Shown in its own size, with the finer units inside, and corners as the PNG has them.
        let large = format!("width=\"{width}\" height=\"{height}\"");
        let own = format!(
            "width=\"{}\" height=\"{}\" stroke-linejoin=\"round\"",
            self.width, self.height
        );
        let svg = svg.replacen(&large, &own, 1);
        Ok(match theme {
            Theme::Auto => svg.replacen('>', &format!(">\n{}", self.dark_style()), 1),
            Theme::Light | Theme::Dark => svg,
        })
    }

    /// A style sheet that gives everything its dark colour where the reader prefers that.
    fn dark_style(&self) -> String {
        let shapes = self.shapes.iter().map(Shape::color);
        let colors = shapes.chain(self.texts.iter().map(|text| text.color)).chain([PAPER]);
        let pairs: BTreeSet<(String, String)> =
            colors.map(|color| (hexadecimal(color.light), hexadecimal(color.dark))).collect();
        let rule = |(light, dark): (String, String)| {
            format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
        };
        let rules: String = pairs.into_iter().map(rule).collect();
        format!("<style>@media (prefers-color-scheme:dark){{{rules}}}</style>")
    }

    /// The letters are not left to plotters, which sets them unevenly.
    fn png(&self, theme: Theme) -> anyhow::Result<Vec<u8>> {
        let (width, height) = (self.width * SCALE, self.height * SCALE);
        let mut pixels = vec![0; 3 * width as usize * height as usize];
        let backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
        let shapes: Vec<Shape> = self.shapes.iter().flat_map(Shape::with_round_corners).collect();
        draw(backend, theme, &shapes, &[])?;
        for text in &self.texts {
            text.write(&mut pixels, width as usize, SCALE, theme)?;
        }
        let pixels = reduced(&pixels, width as usize);
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header()?.write_image_data(&pixels)?;
        Ok(png)
    }

    /// Draws its bars and texts, and nothing else, as a PNG on light paper. That takes less than a
    /// tenth of the time: edges are not smoothed, and the file is not as small as it could be.
    pub(super) fn quick_png(&self) -> anyhow::Result<Vec<u8>> {
        let (width, height) = (self.width as usize, self.height as usize);
        let RGBColor(red, green, blue) = PAPER.light;
        let mut pixels = [red, green, blue].repeat(width * height);
        for shape in &self.shapes {
            if let Shape::Bar { corners, color } = shape {
                fill(&mut pixels, width, corners.map(|corner| scaled(corner, 1)), color.light);
            }
        }
        for text in &self.texts {
            text.write(&mut pixels, width, 1, Theme::Light)?;
        }
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_filter(png::Filter::Up);
        encoder.set_deflate_compression(png::DeflateCompression::Level(1));
        encoder.write_header()?.write_image_data(&pixels)?;
        Ok(png)
    }

    fn has_boxes(&self) -> anyhow::Result<bool> {
        let letters = Letters::new(1.0)?;
        Ok(self.texts.iter().any(|text| text.letters.chars().any(|letter| !letters.has(letter))))
    }
}

/// Fills a rectangle of pixels, `row` of them side by side.
fn fill(pixels: &mut [u8], row: usize, corners: [(i32, i32); 2], color: RGBColor) {
    let within = |place: i32| usize::try_from(place).unwrap_or(0);
    let [(left, top), (right, bottom)] = corners.map(|(x, y)| (within(x).min(row), within(y)));
    let RGBColor(red, green, blue) = color;
    let rows = pixels.chunks_exact_mut(3 * row.max(1)).skip(top).take(bottom.saturating_sub(top));
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
    area.fill(&PAPER.on(theme))?;
    for shape in shapes {
        match shape {
            Shape::Line { points, width, color } => {
                let points: Vec<_> = points.iter().map(|point| scaled(*point, SCALE)).collect();
                area.draw(&PathElement::new(points, stroke(*width, color.on(theme))))?;
            }
            Shape::Bar { corners, color } => {
                let style = color.on(theme).filled();
                let corners = corners.map(|corner| scaled(corner, SCALE));
                area.draw(&Rectangle::new(corners, style))?;
            }
            Shape::Dot { center, radius, color } => {
                let style = color.on(theme).filled();
                area.draw(&Circle::new(scaled(*center, SCALE), in_pixels(*radius), style))?;
            }
        }
    }
    for text in texts {
        area.draw_text(&text.letters, &text.style(theme), scaled(text.place, SCALE))?;
    }
    area.present()
}

impl Text {
    fn style(&self, theme: Theme) -> TextStyle<'static> {
        let horizontal = match self.align {
            Align::Left => HPos::Left,
            Align::Center => HPos::Center,
            Align::Right => HPos::Right,
        };
        let font = (FONT, SVG_LETTERS * self.size * f64::from(SCALE)).into_font();
        TextStyle {
            font: if self.upward { font.transform(FontTransform::Rotate270) } else { font },
            color: self.color.on(theme).to_backend_color(),
            pos: Pos::new(horizontal, VPos::Center),
        }
    }

    /// Writes into pixels, `row` of them side by side, `scale` times as large.
    fn write(
        &self,
        pixels: &mut [u8],
        row: usize,
        scale: u32,
        theme: Theme,
    ) -> Result<(), InvalidFont> {
        let letters = Letters::new(self.size * f64::from(scale))?;
        let (x, y) = scaled(self.place, scale);
        let left = match self.align {
            Align::Left => 0.0,
            Align::Center => -0.5,
            Align::Right => -1.0,
        } * letters.width(&self.letters);
        let RGBColor(red, green, blue) = self.color.on(theme);
        letters.draw(&self.letters, (left, 0.0), |along, below, share| {
            let (x, y) = match self.upward {
                true => (x + below, y - along),
                false => (x + along, y + below),
            };
            let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
            let Some(pixel) = pixels.get_mut(3 * (y * row + x)..).filter(|_| x < row) else {
                return;
            };
            for (channel, color) in pixel.iter_mut().zip([red, green, blue]) {
                *channel = blended(color, *channel, share);
            }
        });
        Ok(())
    }
}

/// The width that a text may take, whoever draws it.
pub(super) fn width(text: &str, size: f64) -> f64 {
    match Letters::new(size) {
        Ok(letters) => ROOM * f64::from(letters.width(&printable(text))),
        // Nothing can be drawn then, and drawing says so.
        Err(InvalidFont) => 0.0,
    }
}

/// The text, its end replaced by "…" where it is wider than `most`.
pub(super) fn fitted(text: &str, size: f64, most: f64) -> String {
    shortened(text, size, most, |letters, kept| {
        format!("{}…", letters[..kept].iter().collect::<String>())
    })
}

/// The text, its middle replaced by "…" where it is wider than `most`: names of runs that differ
/// often do so at the end.
pub(super) fn fitted_at_both_ends(text: &str, size: f64, most: f64) -> String {
    shortened(text, size, most, |letters, kept| {
        let (front, back) = (kept - kept / 2, letters.len() - kept / 2);
        letters[..front].iter().chain(['…'].iter()).chain(&letters[back..]).collect()
    })
}

fn shortened(text: &str, size: f64, most: f64, cut: impl Fn(&[char], usize) -> String) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let letters: Vec<char> = text.chars().collect();
    // No letter is so narrow that more of them fit; a text of a million letters is cut at once.
    let many = letters.len().min((most.max(0.0) / size * 8.0) as usize);
    (0..many)
        .rev()
        .map(|kept| cut(&letters, kept))
        .find(|text| width(text, size) <= most)
        .unwrap_or_else(|| "…".to_owned())
}

impl Dashes {
    /// The dashes of a line.
    fn along(self, points: &[Point]) -> Vec<Vec<Point>> {
        let mut dashes = Vec::new();
        let mut dash: Vec<Point> = points.first().copied().into_iter().collect();
        let (mut drawing, mut left) =
            if self.skip > 0.0 { (false, self.skip) } else { (true, self.on) };
        for pair in points.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            let mut done = 0.0;
            while length - done > left {
                done += left;
                let share = done / length;
                let here = (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1));
                dash.push(here);
                if drawing {
                    dashes.push(std::mem::take(&mut dash));
                }
                dash = vec![here];
                drawing = !drawing;
                left = if drawing { self.on } else { self.off };
            }
            left -= length - done;
            dash.push(to);
        }
        if drawing && dash.len() > 1 {
            dashes.push(dash);
        }
        dashes
    }
}

/// Every letter that an XML file may not have, or that moves others, becomes a space.
fn printable(text: &str) -> String {
    let odd = |c: char| is_unprintable(c) || matches!(c, '\u{FFFE}' | '\u{FFFF}');
    text.chars().map(|c| if odd(c) { ' ' } else { c }).collect()
}

/// The mean of every square of [`SCALE`] pixels, which smooths all edges.
fn reduced(pixels: &[u8], width: usize) -> Vec<u8> {
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
    color.stroke_width(in_pixels(width).max(1))
}

fn in_pixels(length: f64) -> u32 {
    (length * f64::from(SCALE)).round() as u32
}

fn scaled((x, y): Point, scale: u32) -> (i32, i32) {
    let scale = f64::from(scale);
    ((x * scale).round() as i32, (y * scale).round() as i32)
}

#[cfg(test)]
mod tests {
    use super::super::{BLUE, INK};
    use super::*;

    #[test]
    fn every_colour_has_another_on_dark_paper() {
        let mut sheet = Sheet::new(9, 9);
        sheet.line(&[(0.0, 0.0), (9.0, 9.0)], 1.0, BLUE);
        sheet.text((4.0, 4.0), Align::Center, 9.0, INK, "x");
        let [auto, light, dark] =
            [Theme::Auto, Theme::Light, Theme::Dark].map(|theme| sheet.picture(theme).unwrap());
        let (start, style) = auto.svg.split_once("<style>").unwrap();
        assert!(style.starts_with("@media (prefers-color-scheme:dark){["), "{style}");
        for color in [BLUE, INK, PAPER] {
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
    fn both_files_have_the_size_of_the_sheet() {
        let mut sheet = Sheet::new(40, 20);
        sheet.text((5.0, 10.0), Align::Left, 12.0, INK, "a < b\u{1}");
        let picture = sheet.picture(Theme::Auto).unwrap();
        assert!(picture.png.starts_with(b"\x89PNG\r\n\x1a\n"));
        assert_eq!(picture.png[16..24], [0, 0, 0, 40, 0, 0, 0, 20]);
        assert!(picture.svg.starts_with(
            "<svg width=\"40\" height=\"20\" stroke-linejoin=\"round\" viewBox=\"0 0 120 60\""
        ));
        assert!(picture.svg.contains("a &lt; b "), "{}", picture.svg);
        assert!(!picture.boxes);
    }

    #[test]
    fn sharp_corners_stay_where_they_are() {
        let mut sheet = Sheet::new(40, 40);
        let zigzag: Vec<Point> = (0..20)
            .map(|i| (20.0 + 0.1 * f64::from(i), if i % 2 == 0 { 18.0 } else { 22.0 }))
            .collect();
        sheet.line(&zigzag, 1.0, INK);
        let drawn = sheet.picture(Theme::Light).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(drawn.png)).read_info().unwrap();
        let mut pixels = vec![0; 3 * 40 * 40];
        reader.next_frame(&mut pixels).unwrap();
        let rows: Vec<usize> = (0..40)
            .filter(|row| pixels[120 * row..120 * (row + 1)].iter().any(|p| *p < 200))
            .collect();
        assert_eq!((rows[0], rows.last()), (17, Some(&22)));
    }

    #[test]
    fn a_quick_picture_has_bars_where_they_belong() {
        let mut sheet = Sheet::new(4, 3);
        sheet.bar([(1.0, -5.0), (3.0, 2.0)], INK);
        sheet.bar([(3.0, 2.0), (90.0, 90.0)], INK);
        sheet.text((1e6, 1.0), Align::Left, 12.0, INK, "beyond");
        let png = std::io::Cursor::new(sheet.quick_png().unwrap());
        let mut reader = png::Decoder::new(png).read_info().unwrap();
        let mut pixels = vec![0; 3 * 4 * 3];
        reader.next_frame(&mut pixels).unwrap();
        let drawn: Vec<bool> = pixels.chunks(3).map(|pixel| pixel != [255, 255, 255]).collect();
        let row = [false, true, true, false];
        assert_eq!(drawn, [row, row, [false, false, false, true]].concat());
        assert_eq!(pixels[3], INK.light.0);
    }

    #[test]
    fn letters_beyond_the_edge_are_cut() {
        let mut sheet = Sheet::new(10, 10);
        for place in [(-5.0, -2.0), (8.0, 9.0), (1e6, 1e6), (-1e6, -1e6)] {
            sheet.text(place, Align::Center, 12.0, INK, "語Wide");
        }
        assert!(sheet.picture(Theme::Auto).unwrap().boxes);
    }

    #[test]
    fn long_texts_are_cut_to_a_width() {
        for text in [
            "supercalifragilistic",
            "語語語語語語語語語語語語",
            "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii",
        ] {
            let fitted = fitted(text, 20.0, 100.0);
            assert!(fitted.ends_with('…') && fitted.chars().count() > 3, "{fitted}");
            assert!(width(&fitted, 20.0) <= 100.0, "{fitted}");
        }
        assert_eq!(fitted("short", 20.0, 100.0), "short");
        assert_eq!(fitted("short", 20.0, 0.0), "…");
        let name = fitted_at_both_ends("imdb-20261121-093158", 20.0, 130.0);
        assert!(name.starts_with("imdb") && name.ends_with("158") && name.contains('…'), "{name}");
    }

    #[test]
    fn dashes_go_around_corners() {
        let line = [(0.0, 0.0), (3.0, 0.0), (3.0, 11.0)];
        let corner = vec![(0.0, 0.0), (3.0, 0.0), (3.0, 1.0)];
        let expected = [corner, vec![(3.0, 3.0), (3.0, 7.0)], vec![(3.0, 9.0), (3.0, 11.0)]];
        let dashes = Dashes { skip: 0.0, on: 4.0, off: 2.0 };
        assert_eq!(dashes.along(&line), expected);
        let later = Dashes { skip: 6.0, on: 5.0, off: 9.0 };
        assert_eq!(later.along(&line), [vec![(3.0, 3.0), (3.0, 8.0)]]);
        let solid = Dashes { skip: 0.0, on: 4.0, off: 0.0 };
        assert_eq!(solid.along(&line).len(), 4);
        assert!(dashes.along(&[(1.0, 1.0)]).is_empty());
        assert!(dashes.along(&[]).is_empty());
    }

    #[test]
    fn edges_are_smoothed() {
        let mut pixels = vec![0; 3 * 6 * 3];
        pixels[..9].fill(255);
        assert_eq!(reduced(&pixels, 6), [85, 85, 85, 0, 0, 0]);
    }
}

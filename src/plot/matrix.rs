//! A confusion matrix: how many examples of each class are taken for which.

use anyhow::Context;

use super::sheet::{Align, Point, Sheet, fitted, width};
use super::{BLUE, Color, GRAY, INK, PAPER};
use crate::output::format::group_digits;

const MARGIN: f64 = 12.0;
/// What stands above the cells: the word "predicted", and names or numbers.
const HEADING: f64 = 52.0;
/// The widest name at the side, and the room for a number behind it.
const WIDEST_NAME: f64 = 140.0;
const NUMBER: f64 = 30.0;
/// All cells side by side, of few classes: TensorBoard shows a picture 340 pixels wide, and leaves
/// out pixels of larger ones.
const SIDE: f64 = 224.0;
/// A cell is no smaller, however many there are, and no larger.
const SMALLEST: f64 = 38.0;
const LARGEST: f64 = 106.0;
/// A cell from which on shares have room too.
const WITH_SHARES: f64 = 56.0;
/// Sizes of letters.
const NAME: f64 = 15.0;
const COUNT: f64 = 19.0;
const FIGURE: f64 = 13.0;
/// Of a cell without examples.
const EMPTY: Color = Color::new((240, 243, 246), (34, 38, 44));

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The name of each row and column.
    pub labels: &'a [String],
    /// For each true class how many examples are taken for each.
    pub counts: &'a [Vec<usize>],
}

/// A picture as a PNG file.
#[derive(Clone, Debug)]
pub struct PngImage {
    /// Width and height, in pixels.
    pub size: [u32; 2],
    /// The file.
    pub bytes: Vec<u8>,
}

/// Draws a row for each true class and a column for each predicted one, the darker the larger its
/// share of the row.
///
/// # Errors
/// Where the drawing cannot be encoded.
pub fn draw(matrix: &Matrix) -> anyhow::Result<PngImage> {
    let names = matrix.labels.iter().map(|label| fitted(label, NAME, WIDEST_NAME));
    let names: Vec<String> = names.collect();
    let grid = Grid::new(&names);
    let size = [grid.left, grid.top]
        .map(|begin| (begin + grid.cell * names.len() as f64 + MARGIN).ceil() as u32);
    let mut sheet = Sheet::new(size[0], size[1]);
    grid.draw_names(&mut sheet, &names);
    for (row, counts) in matrix.counts.iter().enumerate() {
        let total: usize = counts.iter().sum();
        for (column, count) in counts.iter().enumerate() {
            draw_cell(&mut sheet, grid.corner(row, column), grid.cell, *count, total);
        }
    }
    let bytes = sheet.quick_png().context("cannot draw the confusion matrix")?;
    Ok(PngImage { size, bytes })
}

/// Where the cells lie.
struct Grid {
    cell: f64,
    left: f64,
    top: f64,
    /// Where the names at the side end.
    names_end: f64,
    /// Whether columns have their numbers, for want of room for their names.
    numbered: bool,
}

impl Grid {
    fn new(names: &[String]) -> Self {
        let cell = (SIDE / names.len().max(1) as f64).clamp(SMALLEST, LARGEST).floor();
        let widest = names.iter().map(|name| width(name, NAME)).fold(0.0, f64::max);
        let numbered = widest > cell - 4.0;
        let names_end = MARGIN + widest;
        let left = names_end + MARGIN + if numbered { NUMBER } else { 0.0 };
        Self { cell, left, top: MARGIN + HEADING, names_end, numbered }
    }

    fn corner(&self, row: usize, column: usize) -> Point {
        (self.left + self.cell * column as f64, self.top + self.cell * row as f64)
    }

    fn draw_names(&self, sheet: &mut Sheet, names: &[String]) {
        let Self { cell, left, top, names_end, numbered } = *self;
        let center = left + cell * names.len() as f64 / 2.0;
        let above = top - 18.0;
        sheet.text((center, MARGIN + 8.0), Align::Center, FIGURE, GRAY, "predicted");
        sheet.text((names_end, above), Align::Right, FIGURE, GRAY, "true");
        for (number, name) in names.iter().enumerate() {
            let middle = cell * (number as f64 + 0.5);
            sheet.text((names_end, top + middle), Align::Right, NAME, INK, name);
            if numbered {
                let number = (number + 1).to_string();
                sheet.text((left + middle, above), Align::Center, FIGURE, GRAY, &number);
                sheet.text((left - MARGIN, top + middle), Align::Right, FIGURE, GRAY, &number);
            } else {
                sheet.text((left + middle, above), Align::Center, NAME, INK, name);
            }
        }
    }
}

fn draw_cell(sheet: &mut Sheet, (x, y): Point, cell: f64, count: usize, total: usize) {
    let share = count as f64 / total.max(1) as f64;
    let corners = [(x + 1.0, y + 1.0), (x + cell - 1.0, y + cell - 1.0)];
    sheet.bar(corners, BLUE.mixed(EMPTY, share as f32));
    let ink = if share > 0.5 { PAPER } else { INK };
    let middle = (x + cell / 2.0, y + cell / 2.0);
    if cell >= WITH_SHARES {
        let count = group_digits(count);
        let percent = format!("{:.1} %", 100.0 * share);
        sheet.text((middle.0, middle.1 - 10.0), Align::Center, COUNT, ink, &count);
        sheet.text((middle.0, middle.1 + 13.0), Align::Center, FIGURE, ink, &percent);
    } else if count > 0 {
        // Zeros would hide the few numbers that are none.
        sheet.text(middle, Align::Center, FIGURE, ink, &shortened(count, cell - 2.0));
    }
}

/// The number, in thousands or millions where it is wider than `most`.
fn shortened(count: usize, most: f64) -> String {
    let shorter = [(1, ""), (1_000, "k"), (1_000_000, "M")]
        .map(|(unit, letter)| format!("{}{letter}", (count + unit / 2) / unit));
    let fits = |text: &&String| width(text, FIGURE) <= most;
    shorter.iter().find(fits).or(shorter.last()).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(classes: usize) -> PngImage {
        let labels: Vec<String> = (0..classes).map(|class| format!("label {class}")).collect();
        let counts = vec![vec![1_234; classes]; classes];
        draw(&Matrix { labels: &labels, counts: &counts }).unwrap()
    }

    #[test]
    fn the_size_is_that_of_the_file() {
        for classes in [2, 5, 6, 21] {
            let PngImage { size, bytes } = png(classes);
            let field = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            assert_eq!([field(16), field(20)], size);
            assert!(size[0] <= if classes < 7 { 380 } else { 1_000 }, "{size:?}");
        }
    }

    #[test]
    fn large_numbers_are_shortened_to_their_cell() {
        let shortened = |count| shortened(count, SMALLEST - 2.0);
        let counts = [1_234, 123_499, 31_499_999].map(shortened);
        assert_eq!(counts, ["1234", "123k", "31M"]);
    }

    #[test]
    fn no_class_and_no_example_are_drawn_too() {
        assert!(draw(&Matrix { labels: &[], counts: &[] }).is_ok());
        let labels = ["a".to_owned(), "語".repeat(500)];
        draw(&Matrix { labels: &labels, counts: &[vec![0, 0], vec![0, 0]] }).unwrap();
    }
}

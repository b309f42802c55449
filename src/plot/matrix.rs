//! Confusion matrix as a PNG.

use std::collections::HashSet;

use anyhow::Context;

use super::canvas::Canvas;
use super::color::{BACKGROUND, BLUE, Color, FOREGROUND, GRAY};
use super::geometry::Point;
use super::text::{Align, short_names, text_width, truncate_middle};
use crate::output::format::group_digits;

const MARGIN: f64 = 12.0;
/// Height above the cells, for the word "predicted" and the column names or numbers.
const HEADER: f64 = 52.0;
/// Maximum width of a row name, also if names would look alike, and the width of the row number after it.
const MAX_NAME_WIDTH: f64 = 140.0;
const MAX_DISTINCT_NAME_WIDTH: f64 = 420.0;
const NUMBER_WIDTH: f64 = 30.0;
/// Width of all cells if there are few classes. TensorBoard shows images 340 pixels wide, and scales larger
/// ones down without smoothing.
const CELLS_WIDTH: f64 = 224.0;
/// Minimum and maximum size of a cell.
const MIN_CELL: f64 = 38.0;
const MAX_CELL: f64 = 106.0;
/// Minimum size of a cell with a percentage.
const MIN_CELL_WITH_PERCENTAGE: f64 = 56.0;
/// Font sizes.
const NAME_SIZE: f64 = 15.0;
const COUNT_SIZE: f64 = 19.0;
const SMALL_SIZE: f64 = 13.0;
/// Color of a cell without examples.
const EMPTY: Color = Color::new((240, 243, 246), (34, 38, 44));

/// A confusion matrix.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Name of each class.
    pub labels: &'a [String],
    /// Number of examples by true and predicted class: `[C][C]`.
    pub counts: &'a [Vec<usize>],
}

/// A PNG image.
#[derive(Clone, Debug)]
pub struct PngImage {
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// Content of the file.
    pub bytes: Vec<u8>,
}

/// Draws a confusion matrix with true classes as rows and predicted classes as columns. The darker a cell,
/// the larger its percentage of the row.
///
/// # Errors
/// Returns an error if the image cannot be encoded.
pub fn draw(matrix: &Matrix) -> anyhow::Result<PngImage> {
    let short = |label| truncate_middle(label, NAME_SIZE, MAX_NAME_WIDTH);
    let mut names: Vec<String> = matrix.labels.iter().map(|label| short(label)).collect();
    if names.iter().collect::<HashSet<_>>().len() < names.len() {
        let labels: Vec<(usize, &str)> =
            matrix.labels.iter().map(String::as_str).enumerate().collect();
        names = short_names(&labels, NAME_SIZE, MAX_DISTINCT_NAME_WIDTH);
    }
    let grid = Grid::new(&names);
    let size = [grid.left, grid.top]
        .map(|start| (start + grid.cell * names.len() as f64 + MARGIN).ceil() as u32);
    let mut canvas = Canvas::new(size[0], size[1]);
    grid.draw_names(&mut canvas, &names);
    for (row, counts) in matrix.counts.iter().enumerate() {
        let total: usize = counts.iter().sum();
        for (column, count) in counts.iter().enumerate() {
            draw_cell(&mut canvas, grid.corner(row, column), grid.cell, *count, total);
        }
    }
    let bytes = canvas.fast_png().context("cannot draw the confusion matrix")?;
    Ok(PngImage { size, bytes })
}

/// Layout of the cells.
struct Grid {
    cell: f64,
    left: f64,
    top: f64,
    /// Right edge of the row names.
    names_end: f64,
    /// True if columns have numbers, because their names are too wide.
    numbered: bool,
}

impl Grid {
    fn new(names: &[String]) -> Self {
        let cell = (CELLS_WIDTH / names.len().max(1) as f64).clamp(MIN_CELL, MAX_CELL).floor();
        let widest = names.iter().map(|name| text_width(name, NAME_SIZE)).fold(0.0, f64::max);
        let numbered = widest > cell - 4.0;
        let names_end = MARGIN + widest;
        let left = names_end + MARGIN + if numbered { NUMBER_WIDTH } else { 0.0 };
        Self { cell, left, top: MARGIN + HEADER, names_end, numbered }
    }

    fn corner(&self, row: usize, column: usize) -> Point {
        (self.left + self.cell * column as f64, self.top + self.cell * row as f64)
    }

    fn draw_names(&self, canvas: &mut Canvas, names: &[String]) {
        let Self { cell, left, top, names_end, numbered } = *self;
        let center = left + cell * names.len() as f64 / 2.0;
        let above = top - 18.0;
        canvas.text((center, MARGIN + 8.0), Align::Center, SMALL_SIZE, GRAY, "predicted");
        canvas.text((names_end, above), Align::Right, SMALL_SIZE, GRAY, "true");
        for (number, name) in names.iter().enumerate() {
            let middle = cell * (number as f64 + 0.5);
            canvas.text((names_end, top + middle), Align::Right, NAME_SIZE, FOREGROUND, name);
            if numbered {
                let number = (number + 1).to_string();
                canvas.text((left + middle, above), Align::Center, SMALL_SIZE, GRAY, &number);
                canvas.text((left - MARGIN, top + middle), Align::Right, SMALL_SIZE, GRAY, &number);
            } else {
                canvas.text((left + middle, above), Align::Center, NAME_SIZE, FOREGROUND, name);
            }
        }
    }
}

fn draw_cell(canvas: &mut Canvas, (x, y): Point, cell: f64, count: usize, total: usize) {
    let fraction = count as f64 / total.max(1) as f64;
    let corners = [(x + 1.0, y + 1.0), (x + cell - 1.0, y + cell - 1.0)];
    canvas.bar(corners, BLUE.over(EMPTY, fraction as f32));
    let color = if fraction > 0.5 { BACKGROUND } else { FOREGROUND };
    let (x, y) = (x + cell / 2.0, y + cell / 2.0);
    if cell >= MIN_CELL_WITH_PERCENTAGE {
        let count = group_digits(count);
        let percent = format!("{:.1} %", 100.0 * fraction);
        canvas.text((x, y - 10.0), Align::Center, COUNT_SIZE, color, &count);
        canvas.text((x, y + 13.0), Align::Center, SMALL_SIZE, color, &percent);
    } else if count > 0 {
        // Many zeros would hide the other counts.
        let count = abbreviate(count, cell - 2.0);
        canvas.text((x, y), Align::Center, SMALL_SIZE, color, &count);
    }
}

/// Formats a count, in thousands or millions if it is wider than `max_width`.
fn abbreviate(count: usize, max_width: f64) -> String {
    let candidates = [(1, ""), (1_000, "k"), (1_000_000, "M")]
        .map(|(unit, suffix)| format!("{}{suffix}", (count + unit / 2) / unit));
    let fits = |text: &&String| text_width(text, SMALL_SIZE) <= max_width;
    candidates.iter().find(fits).or(candidates.last()).cloned().unwrap_or_default()
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
    fn the_size_is_that_of_the_png() {
        for classes in [2, 5, 6, 21] {
            let PngImage { size, bytes } = png(classes);
            let field = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            assert_eq!([field(16), field(20)], size);
            assert!(size[0] <= if classes < 7 { 380 } else { 1_000 }, "{size:?}");
        }
    }

    #[test]
    fn large_counts_are_abbreviated() {
        let abbreviate = |count| abbreviate(count, MIN_CELL - 2.0);
        let counts = [1_234, 123_499, 31_499_999].map(abbreviate);
        assert_eq!(counts, ["1234", "123k", "31M"]);
    }

    #[test]
    fn empty_matrices_can_be_drawn() {
        assert!(draw(&Matrix { labels: &[], counts: &[] }).is_ok());
        let labels = ["a".to_owned(), "語".repeat(500)];
        draw(&Matrix { labels: &labels, counts: &[vec![0, 0], vec![0, 0]] }).unwrap();
    }
}

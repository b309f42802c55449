//! Tables for a terminal.

use super::sanitize::printable;
pub use super::width::Align;
use super::width::{display_width, pad, truncate_middle};

/// Minimum width of a column of text that is shortened to make a table fit.
const MIN_TEXT: usize = 12;

/// Columns of text, usually with a header row.
#[derive(Clone, Debug)]
pub struct Table {
    alignments: Vec<Align>,
    /// The header, if there is one, then the rows.
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table that has only a header.
    pub fn new(header: impl IntoIterator<Item = (String, Align)>) -> Self {
        let (header, alignments): (Vec<String>, _) = header.into_iter().unzip();
        let mut table = Self::without_header(alignments);
        table.add(header);
        table
    }

    /// Creates an empty table without a header.
    pub fn without_header(alignments: Vec<Align>) -> Self {
        Self { alignments, rows: Vec::new() }
    }

    /// Adds a row with one cell for each column. Unprintable characters become escapes.
    pub fn add(&mut self, row: Vec<String>) {
        self.rows.push(row.iter().map(|cell| printable(cell).into_owned()).collect());
    }

    /// Width of each column.
    pub fn widths(&self) -> Vec<usize> {
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column| cells(column).map(|cell| display_width(cell)).max().unwrap_or(0);
        (0..self.alignments.len()).map(width).collect()
    }

    /// Width of a line. Columns are separated by two spaces.
    pub fn width(&self) -> usize {
        let widths = self.widths();
        widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)
    }

    /// Formats the header and the rows, one line each.
    pub fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.alignments);
            let cells = cells.map(|((cell, width), align)| pad(cell, *width, *align));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// Formats the table in at most `width` columns if possible: texts are shortened, and columns that do
    /// not fit form further tables below, with the first column again.
    pub fn lines_within(&self, width: usize) -> Vec<String> {
        let table = self.shortened(width);
        let widths = table.widths();
        let mut lines = Vec::new();
        let mut next = 1;
        while lines.is_empty() || next < widths.len() {
            let mut total = widths.first().copied().unwrap_or(0);
            let start = next;
            while next < widths.len() && (next == start || total + 2 + widths[next] <= width) {
                total += 2 + widths[next];
                next += 1;
            }
            if !lines.is_empty() {
                lines.push(String::new());
            }
            lines.extend(table.select(std::iter::once(0).chain(start..next)).lines());
        }
        lines
    }

    /// Removes columns at the end until the table fits into `width` columns, but not the first two.
    pub fn without_columns_beyond(&self, width: usize) -> Self {
        let mut table = self.clone();
        while table.width() > width && table.alignments.len() > 2 {
            table = table.select(0..table.alignments.len() - 1);
        }
        table
    }

    /// Shortens texts so that the table fits, or so that it has columns of moderate width if that is not
    /// enough.
    fn shortened(&self, width: usize) -> Self {
        let table = self.with_texts_of(width, MIN_TEXT);
        match table.width() <= width {
            true => table,
            false => self.with_texts_of(width, MIN_TEXT.max(width / 2)),
        }
    }

    /// Shortens columns of text, the widest first, until the table fits or they are `min` columns wide.
    fn with_texts_of(&self, width: usize, min: usize) -> Self {
        let mut table = self.clone();
        while let Some(excess) = table.width().checked_sub(width).filter(|excess| *excess > 0) {
            let widths = table.widths();
            let texts = (0..widths.len()).filter(|index| table.alignments[*index] == Align::Left);
            let Some(widest) = texts.max_by_key(|index| widths[*index]) else { break };
            let limit = widths[widest].saturating_sub(excess).max(min);
            if widths[widest] <= limit {
                break;
            }
            for cell in table.rows.iter_mut().filter_map(|row| row.get_mut(widest)) {
                *cell = truncate_middle(cell, limit);
            }
        }
        table
    }

    fn select(&self, indices: impl Iterator<Item = usize> + Clone) -> Self {
        let cells =
            |row: &Vec<String>| indices.clone().filter_map(|i| row.get(i).cloned()).collect();
        Self {
            alignments: indices.clone().filter_map(|i| self.alignments.get(i).copied()).collect(),
            rows: self.rows.iter().map(cells).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[&str]]) -> Table {
        let header = rows[0].iter().enumerate();
        let mut table = Table::new(header.map(|(index, title)| {
            ((*title).to_owned(), if index == 0 { Align::Left } else { Align::Right })
        }));
        rows[1..].iter().for_each(|row| table.add(row.iter().map(|&cell| cell.into()).collect()));
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let table = table(&[&["run", "loss"], &["été", "0.25"], &["a-b-c", "10.125"], &["x", ""]]);
        assert_eq!(table.lines(), ["run      loss", "été      0.25", "a-b-c  10.125", "x"]);
        assert_eq!((table.widths(), table.width()), (vec![5, 6], 13));
    }

    #[test]
    fn wide_characters_take_up_two_columns() {
        let table = table(&[&["label", "n"], &["積極的", "1"], &["a\u{1b}\n", "2"]]);
        assert_eq!(table.lines(), ["label     n", "積極的    1", "a\\u{1b}   2"]);
    }

    #[test]
    fn tables_fit_by_shortening_texts_and_then_by_splitting_columns() {
        let table = table(&[
            &["name", "first", "second", "third"],
            &["a long name that has an end", "1", "2", "3"],
            &["short", "4", "5", "6"],
        ]);
        assert_eq!(table.lines_within(80), table.lines());
        let shortened = [
            "name            first  second  third",
            "a long… an end      1       2      3",
            "short               4       5      6",
        ];
        assert_eq!(table.lines_within(36), shortened);
        let split = [
            "name          first",
            "a lon…an end      1",
            "short             4",
            "",
            "name          second",
            "a lon…an end       2",
            "short              5",
            "",
            "name          third",
            "a lon…an end      3",
            "short             6",
        ];
        assert_eq!(table.lines_within(20), split);
        assert_eq!(table.without_columns_beyond(0).widths(), [27, 5]);
    }
}

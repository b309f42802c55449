//! Tables for a terminal.

use super::sanitize::printable;

/// Alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For text.
    Left,
    /// For numbers.
    Right,
}

/// Columns of text with a header row.
#[derive(Clone, Debug)]
pub struct Table {
    alignments: Vec<Align>,
    /// The header, then the rows.
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table that has only a header.
    pub fn new(header: impl IntoIterator<Item = (String, Align)>) -> Self {
        let (header, alignments) = header.into_iter().unzip();
        Self { alignments, rows: vec![header] }
    }

    /// Adds a row with one cell for each column. Unprintable characters become escapes.
    pub fn add(&mut self, row: Vec<String>) {
        self.rows.push(row.iter().map(|cell| printable(cell).into_owned()).collect());
    }

    /// Width of each column in characters.
    pub fn widths(&self) -> Vec<usize> {
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
        (0..self.alignments.len()).map(width).collect()
    }

    /// Width of a line in characters. Columns are separated by two spaces.
    pub fn width(&self) -> usize {
        let widths = self.widths();
        widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)
    }

    /// Formats the header and the rows, one line each.
    pub fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.alignments);
            let cells = cells.map(|((cell, width), align)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// Shortens a text to `width` characters by replacing its middle with "…". Run names often differ
/// only at the end.
pub fn truncate_middle(text: &str, width: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (front, back) = (kept / 2, letters.len() - (kept - kept / 2));
    letters[..front].iter().chain(['…'].iter()).chain(&letters[back..]).collect()
}

/// Breaks a text at spaces into lines of at most `width` characters. Longer words get a line each.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let header = [("run", Align::Left), ("loss", Align::Right)];
        let mut table = Table::new(header.map(|(title, align)| (title.to_owned(), align)));
        table.add(vec!["été".into(), "0.25".into()]);
        table.add(vec!["a-b-c".into(), "10.125".into()]);
        table.add(vec!["x".into(), String::new()]);
        assert_eq!(table.lines(), ["run      loss", "été      0.25", "a-b-c  10.125", "x"]);
        assert_eq!((table.widths(), table.width()), (vec![5, 6], 13));
    }

    #[test]
    fn truncated_texts_keep_both_ends() {
        assert_eq!(truncate_middle("imdb-20261121-093158", 20), "imdb-20261121-093158");
        assert_eq!(truncate_middle("imdb-20261121-093158", 11), "imdb-…93158");
        assert_eq!(truncate_middle("été", 2), "…é");
        assert_eq!(truncate_middle("long", 0), "…");
    }

    #[test]
    fn lines_are_broken_at_spaces() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("longer than that", 4), ["longer", "than", "that"]);
    }
}

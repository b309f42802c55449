//! Texts in the columns of a terminal.

/// What a text is set against in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Columns of texts under their titles.
#[derive(Clone, Debug)]
pub struct Table {
    sides: Vec<Side>,
    /// The titles, then the rows.
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(titles: impl IntoIterator<Item = (String, Side)>) -> Self {
        let (titles, sides) = titles.into_iter().unzip();
        Self { sides, rows: vec![titles] }
    }

    /// Adds a row, which has a text for each title.
    pub fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The letters in the widest text of each column.
    pub fn widths(&self) -> Vec<usize> {
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
        (0..self.sides.len()).map(width).collect()
    }

    /// The letters in a line: all columns with two spaces between them.
    pub fn width(&self) -> usize {
        let widths = self.widths();
        widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)
    }

    /// The line of the titles, then one for each row.
    pub fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.sides);
            let cells = cells.map(|((cell, width), side)| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// The text, its middle replaced by "…" where it has more than `most` letters: names that differ
/// often do so at the end.
pub fn shortened(text: &str, most: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let (front, back) = (kept / 2, letters.len() - (kept - kept / 2));
    letters[..front].iter().chain(['…'].iter()).chain(&letters[back..]).collect()
}

/// Breaks `text` at spaces into lines of at most `width` letters.
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
    fn columns_are_as_wide_as_their_widest_text() {
        let titles = [("run", Side::Left), ("loss", Side::Right)];
        let mut table = Table::new(titles.map(|(title, side)| (title.to_owned(), side)));
        table.add(vec!["été".into(), "0.25".into()]);
        table.add(vec!["a-b-c".into(), "10.125".into()]);
        table.add(vec!["x".into(), String::new()]);
        assert_eq!(table.lines(), ["run      loss", "été      0.25", "a-b-c  10.125", "x"]);
        assert_eq!((table.widths(), table.width()), (vec![5, 6], 13));
    }

    #[test]
    fn long_texts_keep_both_ends() {
        assert_eq!(shortened("imdb-20261121-093158", 20), "imdb-20261121-093158");
        assert_eq!(shortened("imdb-20261121-093158", 11), "imdb-…93158");
        assert_eq!(shortened("été", 2), "…é");
        assert_eq!(shortened("long", 0), "…");
    }

    #[test]
    fn lines_are_broken_at_spaces() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("longer than that", 4), ["longer", "than", "that"]);
    }
}

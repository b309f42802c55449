//! The columns that a text takes up in a terminal, and texts cut, padded and folded to them.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::sanitize::{is_unprintable, printable};

/// Alignment of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For text.
    Left,
    /// For numbers.
    Right,
}

/// Number of columns of a text. CJK characters and emoji take up two, combining marks none.
pub fn display_width(text: &str) -> usize {
    text.width()
}

/// Width of a terminal in columns; `None` if the stream is not a terminal or its width is unknown.
pub(super) fn terminal_columns(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    /// In narrower terminals, words would be broken in any case.
    const MINIMUM: usize = 20;
    let size = stream.is_terminal().then(|| rustix::termios::tcgetwinsize(stream).ok())??;
    (size.ws_col > 0).then(|| usize::from(size.ws_col).max(MINIMUM))
}

/// Fills a text with spaces up to `width` columns.
pub fn pad(text: &str, width: usize, align: Align) -> String {
    let spaces = " ".repeat(width.saturating_sub(display_width(text)));
    match align {
        Align::Left => format!("{text}{spaces}"),
        Align::Right => format!("{spaces}{text}"),
    }
}

/// Shortens a text to `width` columns by replacing its middle with "…". Names often differ only at the
/// end.
pub fn truncate_middle(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let letters: Vec<char> = text.chars().collect();
    let front = prefix(letters.iter(), kept / 2);
    let back = prefix(letters.iter().rev(), kept - kept / 2);
    let (front, mut back) = (&letters[..front], &letters[letters.len() - back..]);
    // A mark belongs to the character before it, which is cut off.
    while let Some((first, rest)) = back.split_first()
        && first.width() == Some(0)
    {
        back = rest;
    }
    let front: String = front.iter().collect();
    let back: String = back.iter().collect();
    format!(
        "{}…{}",
        front.trim_end_matches(is_unprintable),
        back.trim_start_matches(is_unprintable)
    )
}

/// Returns how many of the letters fit into `width` columns.
fn prefix<'c>(letters: impl Iterator<Item = &'c char>, width: usize) -> usize {
    let ends = letters.scan(0, |end, letter| {
        *end += letter.width().unwrap_or(0);
        Some(*end)
    });
    ends.take_while(|end| *end <= width).count()
}

/// Names shortened to a width, and a key of those that would look alike.
#[derive(Clone, Debug, PartialEq)]
pub struct ShortNames {
    /// The shortened names.
    pub names: Vec<String>,
    /// The whole names of those with a number, one per line; empty if all names differ.
    pub key: String,
}

/// Shortens names to `width` columns. Different names that would look alike get their number in front.
pub fn shorten_names<'n>(names: impl IntoIterator<Item = &'n str>, width: usize) -> ShortNames {
    let names: Vec<_> = names.into_iter().map(printable).collect();
    let mut short: Vec<String> = names.iter().map(|name| truncate_middle(name, width)).collect();
    let mut count: HashMap<&str, usize> = HashMap::new();
    for name in &short {
        *count.entry(name).or_default() += 1;
    }
    let alike: Vec<usize> = (0..short.len()).filter(|index| count[&*short[*index]] > 1).collect();
    let mut key = String::new();
    for index in alike {
        let number = format!("({}) ", index + 1);
        short[index] =
            number.clone() + &truncate_middle(&names[index], width.saturating_sub(number.len()));
        key += &format!("{number}{}\n", names[index]);
    }
    ShortNames { names: short, key }
}

/// Shortens the labels of classes to the columns that are left for them, but to no less than 12 columns
/// and no more than 40.
pub fn shorten_labels<'n>(labels: impl IntoIterator<Item = &'n str>, left: usize) -> ShortNames {
    shorten_names(labels, left.clamp(12, 40))
}

/// Breaks a text at spaces into lines of at most `width` columns. Longer words get a line each.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if display_width(line) + 1 + display_width(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Joins items into lines of at most `width` columns, if no item is wider. A line that goes on ends with
/// the separator, without its spaces.
pub fn wrap_items(items: &[String], separator: &str, width: usize) -> Vec<String> {
    let end = separator.trim_end();
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if display_width(&format!("{line}{separator}{item}{end}")) <= width => {
                *line += &format!("{separator}{item}");
            }
            last => {
                if let Some(line) = last {
                    line.push_str(end);
                }
                lines.push(item.clone());
            }
        }
    }
    lines
}

/// Folds the lines that are wider than `width` columns. Words and what is quoted stay whole.
pub fn fold(text: &str, width: usize) -> String {
    text.split_inclusive('\n').map(|line| fold_line(line, width)).collect()
}

/// Folds as [`fold`] does, but not the lines that begin with a space: these are commands to copy, or
/// belong to a table.
pub fn fold_prose(text: &str, width: usize) -> String {
    let lines = text.split_inclusive('\n');
    lines
        .map(|line| if line.starts_with(' ') { line.to_owned() } else { fold_line(line, width) })
        .collect()
}

fn fold_line(line: &str, width: usize) -> String {
    if display_width(line.trim_end_matches('\n')) <= width {
        return line.to_owned();
    }
    let indent = line.len() - line.trim_start_matches(' ').len() + 2;
    let (mut out, mut column) = (String::new(), 0);
    for piece in pieces(line) {
        if column > 0 && column + display_width(piece.trim_end_matches('\n')) > width {
            let word = piece.trim_start_matches(' ');
            out.push_str(&format!("\n{:indent$}{word}", ""));
            column = indent + display_width(word);
        } else {
            out.push_str(piece);
            column += display_width(piece);
        }
    }
    out
}

/// Splits a line into words with the spaces before them. What is between quotes or backticks is one word,
/// and so is a number with its unit.
fn pieces(line: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut in_word, mut quote) = (0, false, None);
    for (index, c) in line.char_indices() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if c == ' ' && in_word && !is_quantity(&line[start..index], &line[index..]) => {
                pieces.push(&line[start..index]);
                (start, in_word) = (index, false);
            }
            None if matches!(c, '"' | '`') && line[index + 1..].contains(c) => {
                (quote, in_word) = (Some(c), true);
            }
            None => in_word |= c != ' ',
        }
    }
    pieces.push(&line[start..]);
    pieces
}

/// Returns true if `before` ends with a number, and `after` begins with a unit.
fn is_quantity(before: &str, after: &str) -> bool {
    const UNITS: [&str; 11] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "%", "s", "ms", "min"];
    let word = after.trim_start_matches(' ').split([' ', '\n']).next().unwrap_or_default();
    let unit = word.trim_end_matches([',', '.', ';', ':', ')']);
    before.ends_with(|c: char| c.is_ascii_digit()) && UNITS.contains(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_texts_keep_both_ends() {
        assert_eq!(truncate_middle("imdb-20261121-093158", 20), "imdb-20261121-093158");
        assert_eq!(truncate_middle("imdb-20261121-093158", 11), "imdb-…93158");
        assert_eq!(truncate_middle("été", 2), "…é");
        assert_eq!(truncate_middle("long", 0), "…");
    }

    #[test]
    fn widths_are_those_of_a_terminal() {
        assert_eq!(["plain", "積極的", "😀", "e\u{301}"].map(display_width), [5, 6, 2, 1]);
        assert_eq!(pad("積極", 6, Align::Left), "積極  ");
        assert_eq!(pad("積極", 6, Align::Right), "  積極");
        for width in 1..12 {
            for text in [
                "消極的な評価である",
                "नमस्ते दुनिया के लोग",
                "ae\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}",
            ] {
                let short = truncate_middle(text, width);
                assert!(display_width(&short) <= width && short.contains('…'), "{width}: {short}");
            }
        }
    }

    #[test]
    fn names_that_would_look_alike_are_numbered_and_have_a_key() {
        let names = ["alpha one of two", "alpha two of two", "beta"];
        let short = shorten_names(names, 11);
        assert_eq!(short.names, ["(1) alp…two", "(2) alp…two", "beta"]);
        assert_eq!(short.key, "(1) alpha one of two\n(2) alpha two of two\n");
        assert_eq!(shorten_names(names, 16).key, "");
    }

    #[test]
    fn lines_are_broken_at_spaces() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("longer than that", 4), ["longer", "than", "that"]);
    }

    #[test]
    fn lists_are_broken_between_names() {
        let names = ["a b".to_owned(), "c d".to_owned(), "e f g h".to_owned()];
        assert_eq!(wrap_items(&names, ", ", 9), ["a b, c d,", "e f g h"]);
        assert_eq!(wrap_items(&names, ", ", 8), ["a b,", "c d,", "e f g h"]);
        assert_eq!(wrap_items(&names, "  ", 8), ["a b  c d", "e f g h"]);
    }

    #[test]
    fn wide_lines_are_folded_between_words_and_not_within_quotes() {
        let text =
            "note: a file \"with a long name.csv\" is here\n  lstmtext train --resume run\nshort";
        let folded = "note: a file\n  \"with a long name.csv\"\n  is here\n  lstmtext train\n    --resume run\nshort";
        assert_eq!(fold(text, 20), folded);
        let command = "  lstmtext train --resume run";
        assert_eq!(
            fold_prose(text, 20),
            folded.replace("  lstmtext train\n    --resume run", command)
        );
        assert_eq!(fold(text, 80), text);
        assert_eq!(fold("a  \"b c\n", 4), "a\n  \"b\n  c\n");
        assert_eq!(
            fold("about 20 MB (weights 16 MB), 5 %\n", 14),
            "about 20 MB\n  (weights\n  16 MB), 5 %\n"
        );
    }
}

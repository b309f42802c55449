//! Reads word vectors as text: a word and its values on each line.

use std::path::Path;

use anyhow::anyhow;

use super::collector::{VectorCollector, wrong_dimension};
use super::lines::Lines;

/// Reads the file `path` into `collector`.
pub(super) fn read(path: &Path, collector: &mut VectorCollector) -> anyhow::Result<()> {
    let mut lines = Lines::open(path)?;
    let mut parser = Parser { collector, header: None, words: 0 };
    while lines.advance()? {
        let line = trim_end(lines.line());
        if !line.is_empty() {
            let read = parser.line(line);
            read.map_err(|fault| anyhow!("{}: {fault}{}", lines.location(), hint(path, line)))?;
        }
    }
    parser.end().map_err(|fault| anyhow!("{}: {fault}", path.display()))
}

struct Parser<'a, 'v> {
    collector: &'a mut VectorCollector<'v>,
    header: Option<Header>,
    /// Number of vectors so far.
    words: u64,
}

impl Parser<'_, '_> {
    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let size = self.collector.size();
        if self.words == 0 && self.header.is_none() {
            self.header = Header::parse(line, size);
            match &self.header {
                Some(header) if header.size == size as u64 => return Ok(()),
                Some(header) => return Err(wrong_dimension(header.size, size)),
                None => check_first(line, size)?,
            }
        }
        self.words += 1;
        let (word, values) = split(line, size)?;
        match self.collector.missing_id(word) {
            Some(id) => self.collector.insert(id, values.split(|byte| *byte == b' ').map(parse)),
            None => Ok(()),
        }
    }

    fn end(&self) -> Result<(), String> {
        match &self.header {
            Some(header) if header.words != self.words => Err(format!(
                "expected {} words according to the header, found {}; is the file truncated?",
                header.words, self.words
            )),
            None if self.words == 0 => Err("the file has no word vectors".into()),
            _ => Ok(()),
        }
    }
}

/// First line of some files: the number of words and the dimension.
struct Header {
    words: u64,
    size: u64,
}

impl Header {
    /// Parses `line` if it is a header.
    fn parse(line: &[u8], size: usize) -> Option<Self> {
        let (words, dimension) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        let header = Self { words: parse_count(words)?, size: parse_count(dimension)? };
        // With dimension 1, "7 3" may also be the vector of the word "7".
        (size > 1 || header.size == 1).then_some(header)
    }
}

fn parse_count(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Removes spaces at the end of a line, where fastText writes one.
fn trim_end(line: &[u8]) -> &[u8] {
    let spaces = line.iter().rev().take_while(|byte| **byte == b' ').count();
    &line[..line.len() - spaces]
}

/// Detects a file of another dimension from the numbers at the end of its first vector.
fn check_first(line: &[u8], size: usize) -> Result<(), String> {
    let fields = count_spaces(line);
    let last = line.rsplit(|byte| *byte == b' ').take(fields);
    let numbers = last.take_while(|field| parse(field).is_ok()).count();
    // A single number after several other fields is more likely a broken line.
    let plausible = numbers > 1 || numbers == 1 && fields == 1;
    match plausible && numbers != size && fields != size {
        true => Err(wrong_dimension(numbers, size)),
        false => Ok(()),
    }
}

/// Splits a line into the word and its values.
fn split(line: &[u8], size: usize) -> Result<(&[u8], &[u8]), String> {
    let fields = count_spaces(line);
    let end = match fields == size {
        true => line.iter().position(|byte| *byte == b' '),
        false => end_of_word_with_spaces(line, size),
    };
    let parts = end.map(|end| (&line[..end], &line[end + 1..]));
    parts.ok_or_else(|| {
        format!(
            "expected a word and {size} numbers separated by single spaces, found {fields} fields \
             after {}",
            first_field(line)
        )
    })
}

fn count_spaces(line: &[u8]) -> usize {
    line.iter().filter(|byte| **byte == b' ').count()
}

/// Returns the end of a word that contains spaces. If the word seems to end in a number, the line has
/// too many numbers instead, and there is no such word.
fn end_of_word_with_spaces(line: &[u8], size: usize) -> Option<usize> {
    let mut spaces = line.iter().enumerate().rev().filter(|(_, byte)| **byte == b' ');
    let (end, _) = spaces.nth(size - 1)?;
    let last = line[..end].rsplit(|byte| *byte == b' ').next()?;
    (!last.is_empty() && parse(last).is_err()).then_some(end)
}

/// Parses a value, or returns the field as an excerpt.
fn parse(field: &[u8]) -> Result<f32, String> {
    let parsed = std::str::from_utf8(field).ok().and_then(|field| field.parse().ok());
    parsed.ok_or_else(|| first_field(field))
}

/// Returns an excerpt of the first field of a line, for messages.
fn first_field(line: &[u8]) -> String {
    let field = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let text = String::from_utf8_lossy(&field[..field.len().min(200)]);
    format!("{:?}", text.chars().take(40).collect::<String>())
}

/// Suggests why the file has a line that is not a vector.
fn hint(path: &Path, line: &[u8]) -> String {
    let matrix = path.with_extension("npy");
    if line.contains(&0) {
        " (is this a binary file? use the text format, .vec or .txt)".into()
    } else if !line.contains(&b' ') && matrix.is_file() {
        format!(" (is this the word list of \"{}\"? use that file)", matrix.display())
    } else {
        String::new()
    }
}

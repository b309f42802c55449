//! Word vectors as text: a word and its numbers on each line.

use std::path::Path;

use anyhow::anyhow;

use super::collector::{VectorCollector, wrong_dimension};
use super::lines::Lines;

/// Reads `path` into `rows`.
pub(super) fn read(path: &Path, rows: &mut VectorCollector) -> anyhow::Result<()> {
    let mut lines = Lines::open(path)?;
    let mut reader = Reader { rows, header: None, words: 0 };
    while lines.advance()? {
        let line = trimmed(lines.line());
        if !line.is_empty() {
            let read = reader.line(line);
            read.map_err(|fault| anyhow!("{}{fault}{}", lines.place(), hint(path, line)))?;
        }
    }
    reader.end().map_err(|fault| anyhow!("\"{}\": {fault}", path.display()))
}

struct Reader<'a, 'v> {
    rows: &'a mut VectorCollector<'v>,
    header: Option<Header>,
    /// Lines with a vector so far.
    words: u64,
}

impl Reader<'_, '_> {
    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let size = self.rows.size();
        if self.words == 0 && self.header.is_none() {
            self.header = Header::of(line, size);
            match &self.header {
                Some(header) if header.size == size as u64 => return Ok(()),
                Some(header) => return Err(wrong_dimension(header.size, size)),
                None => check_first(line, size)?,
            }
        }
        self.words += 1;
        let (word, numbers) = split(line, size)?;
        match self.rows.wanted(word) {
            Some(id) => self.rows.take(id, numbers.split(|byte| *byte == b' ').map(number)),
            None => Ok(()),
        }
    }

    fn end(&self) -> Result<(), String> {
        match &self.header {
            Some(header) if header.words != self.words => Err(format!(
                "the header promises {} words, but there are {}; is the file cut off?",
                header.words, self.words
            )),
            None if self.words == 0 => Err("there are no word vectors in it".into()),
            _ => Ok(()),
        }
    }
}

/// The line that some files begin with.
struct Header {
    words: u64,
    size: u64,
}

impl Header {
    /// The header that `line` is, if it is one.
    fn of(line: &[u8], size: usize) -> Option<Self> {
        let (words, numbers) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        let header = Self { words: whole(words)?, size: whole(numbers)? };
        // "7 3" may be the vector of the word "7" where a vector is one number.
        (size > 1 || header.size == 1).then_some(header)
    }
}

fn whole(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The line without the spaces at its end, of which fastText writes one.
fn trimmed(line: &[u8]) -> &[u8] {
    let spaces = line.iter().rev().take_while(|byte| **byte == b' ').count();
    &line[..line.len() - spaces]
}

/// Tells a file of another dimension by the numbers at the end of its first vector.
fn check_first(line: &[u8], size: usize) -> Result<(), String> {
    let fields = spaces(line);
    let last = line.rsplit(|byte| *byte == b' ').take(fields);
    let numbers = last.take_while(|field| number(field).is_ok()).count();
    // A single number behind something else is rather a broken line.
    let telling = numbers > 1 || numbers == 1 && fields == 1;
    match telling && numbers != size && fields != size {
        true => Err(wrong_dimension(numbers, size)),
        false => Ok(()),
    }
}

/// The word of a line and its numbers.
fn split(line: &[u8], size: usize) -> Result<(&[u8], &[u8]), String> {
    let fields = spaces(line);
    let end = match fields == size {
        true => line.iter().position(|byte| *byte == b' '),
        false => end_of_long_word(line, size),
    };
    let cut = end.map(|end| (&line[..end], &line[end + 1..]));
    cut.ok_or_else(|| {
        format!(
            "expected a word and {size} numbers with single spaces between, found {fields} fields \
             after {}",
            shown(line)
        )
    })
}

fn spaces(line: &[u8]) -> usize {
    line.iter().filter(|byte| **byte == b' ').count()
}

/// The bytes of a word with spaces in it. One that seems to end in a number has a number too many
/// behind it.
fn end_of_long_word(line: &[u8], size: usize) -> Option<usize> {
    let mut spaces = line.iter().enumerate().rev().filter(|(_, byte)| **byte == b' ');
    let (end, _) = spaces.nth(size - 1)?;
    let last = line[..end].rsplit(|byte| *byte == b' ').next()?;
    (!last.is_empty() && number(last).is_err()).then_some(end)
}

fn number(field: &[u8]) -> Result<f32, String> {
    let parsed = std::str::from_utf8(field).ok().and_then(|field| field.parse().ok());
    parsed.ok_or_else(|| shown(field))
}

/// The first field of a line, as a message may show it.
fn shown(line: &[u8]) -> String {
    let field = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let text = String::from_utf8_lossy(&field[..field.len().min(200)]);
    format!("{:?}", text.chars().take(40).collect::<String>())
}

/// What else may be wrong with a file that has such a line.
fn hint(path: &Path, line: &[u8]) -> String {
    let matrix = path.with_extension("npy");
    if line.contains(&0) {
        " (a binary file? The text form, .vec or .txt, is needed)".into()
    } else if !line.contains(&b' ') && matrix.is_file() {
        format!(" (is this the list of words of \"{}\"? Name that file)", matrix.display())
    } else {
        String::new()
    }
}

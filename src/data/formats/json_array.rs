//! Splits a file with a JSON array into its elements, one at a time.

use std::io::{BufRead, ErrorKind};
use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::lines::limits;
use crate::config::DataConfig;
use crate::io::input::{Limit, Limits, TextReader, open_limited};

/// Calls `each` with the number of every element of the array in a file, from 1, and its bytes. Returns false
/// if the file has no array.
///
/// # Errors
/// Returns an error if the file cannot be read, the array does not end, or an element is larger than a line
/// may be, and the errors of `each`.
pub fn for_each_element(
    path: &Path,
    config: &DataConfig,
    mut each: impl FnMut(u64, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let limits = limits(config);
    // An array may have a single line.
    let limits_of_file = Limits { line: Limit::NONE, ..limits };
    let reader = open_limited(path, limits_of_file, config.decoding())?;
    let mut array = Array { path, reader, limit: limits.line, elements: 0 };
    if array.next_byte()? != Some(b'[') {
        return Ok(false);
    }
    array.reader.consume(1);
    let mut element = Vec::new();
    while let Some(end) = array.next_element(&mut element)? {
        each(array.elements, &element)?;
        if end == b']' {
            break;
        }
    }
    let rest = array.next_byte()?;
    ensure!(rest.is_none(), "{}: found text after the end of the array", path.display());
    Ok(true)
}

struct Array<'a> {
    path: &'a Path,
    reader: TextReader,
    /// Limit on the size of an element.
    limit: Limit,
    /// Number of elements that were read.
    elements: u64,
}

impl Array<'_> {
    /// Returns the next bytes, none at the end of the file.
    fn buffer(&mut self) -> anyhow::Result<&[u8]> {
        while let Err(error) = self.reader.fill_buf() {
            if error.kind() != ErrorKind::Interrupted {
                return Err(error).with_context(|| self.unreadable());
            }
        }
        let unreadable = self.unreadable();
        self.reader.fill_buf().context(unreadable)
    }

    fn unreadable(&self) -> String {
        let read =
            if self.elements > 0 { format!(" after row {}", self.elements) } else { String::new() };
        format!("cannot read \"{}\"{read}", self.path.display())
    }

    /// Skips white space, and returns the next byte, which remains to be read.
    fn next_byte(&mut self) -> anyhow::Result<Option<u8>> {
        loop {
            let buffer = self.buffer()?;
            let Some(last) = buffer.len().checked_sub(1) else { return Ok(None) };
            let found = buffer.iter().position(|byte| !byte.is_ascii_whitespace());
            let byte = found.map(|position| buffer[position]);
            self.reader.consume(found.unwrap_or(last + 1));
            if byte.is_some() {
                return Ok(byte);
            }
        }
    }

    /// Reads the next element, up to the comma or bracket behind it, and returns this byte; `None` if the array
    /// is empty.
    fn next_element(&mut self, element: &mut Vec<u8>) -> anyhow::Result<Option<u8>> {
        element.clear();
        let path = self.path.display();
        let mut scanner = Scanner::default();
        loop {
            let buffer = self.buffer()?;
            if buffer.is_empty() {
                bail!(
                    "{path}: the array does not end after row {}; the file may be incomplete, or a quote or \
                     bracket unclosed",
                    self.elements
                );
            }
            let (length, end) = match buffer.iter().position(|byte| scanner.ends_at(*byte)) {
                Some(end) => (end, Some(buffer[end])),
                None => (buffer.len(), None),
            };
            element.extend_from_slice(&buffer[..length]);
            self.reader.consume(length + usize::from(end.is_some()));
            if element.len() as u64 > self.limit.bytes {
                let row = format!("{path}, row {}", self.elements + 1);
                bail!("{}; check it for an unclosed quote or bracket", self.limit.exceeded(&row));
            }
            match end {
                Some(b']') if element.trim_ascii().is_empty() => {
                    ensure!(
                        self.elements == 0,
                        "{path}: expected another object after row {}, found the end of the array",
                        self.elements
                    );
                    return Ok(None);
                }
                Some(_) => {
                    self.elements += 1;
                    return Ok(end);
                }
                None => {}
            }
        }
    }
}

/// Position in an element.
#[derive(Default)]
struct Scanner {
    /// Number of open brackets and braces.
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Scanner {
    /// Reads a byte. Returns true if it is a comma or bracket behind the element.
    fn ends_at(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b',' | b']' if self.depth == 0 => return true,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

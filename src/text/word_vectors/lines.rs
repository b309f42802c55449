//! A file line by line, in bounded memory.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::io::input::open;

/// The bytes of a line that no file of word vectors has: 65,536 numbers take less than half.
const LONGEST_LINE: usize = 1 << 22;

/// The lines of a file, plain or compressed.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    /// The number of the line last read, from 1.
    number: u64,
}

impl Lines {
    /// # Errors
    /// Where the file cannot be opened.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let (path, reader) = (path.to_owned(), open(path)?);
        Ok(Self { path, reader, line: Vec::new(), number: 0 })
    }

    /// Goes on to the next line; says whether there is one.
    ///
    /// # Errors
    /// Where the file cannot be read, or the line is longer than any of words and numbers.
    pub(super) fn advance(&mut self) -> anyhow::Result<bool> {
        self.line.clear();
        let mut reader = (&mut self.reader).take(LONGEST_LINE as u64 + 1);
        let read = reader.read_until(b'\n', &mut self.line).with_context(|| {
            format!("cannot read \"{}\" beyond line {}", self.path.display(), self.number)
        })?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        ensure!(
            self.line.len() <= LONGEST_LINE,
            "{}expected a line of text, found more than {LONGEST_LINE} bytes without a line end",
            self.place()
        );
        Ok(true)
    }

    /// The line last read, without its end.
    pub(super) fn line(&self) -> &[u8] {
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// The place of the line last read, as messages begin with it.
    pub(super) fn place(&self) -> String {
        format!("\"{}\": line {}: ", self.path.display(), self.number)
    }
}

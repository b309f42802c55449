//! Reads a file line by line in bounded memory.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::io::input::{open, unreadable, without_line_ending};

/// Maximum length of a line in bytes: more than twice the length of a vector of dimension 65,536.
const MAX_LINE_LENGTH: usize = 1 << 22;

/// Lines of a plain or compressed file.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    /// Number of the current line, from 1.
    number: u64,
}

impl Lines {
    /// Opens the file `path`.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let (path, reader) = (path.to_owned(), open(path)?);
        Ok(Self { path, reader, line: Vec::new(), number: 0 })
    }

    /// Reads the next line. Returns `false` at the end of the file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or the line is too long.
    pub(super) fn advance(&mut self) -> anyhow::Result<bool> {
        self.line.clear();
        let mut reader = (&mut self.reader).take(MAX_LINE_LENGTH as u64 + 1);
        let read = reader.read_until(b'\n', &mut self.line);
        let read = read.with_context(|| unreadable(&self.path, self.number))?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        ensure!(
            self.line.len() <= MAX_LINE_LENGTH,
            "{}: the line is longer than {MAX_LINE_LENGTH} bytes; is this a text file?",
            self.location()
        );
        Ok(true)
    }

    /// Returns the current line without its ending.
    pub(super) fn line(&self) -> &[u8] {
        without_line_ending(&self.line)
    }

    /// Returns the location of the current line for error messages: `vectors.vec:12`.
    pub(super) fn location(&self) -> String {
        format!("{}:{}", self.path.display(), self.number)
    }
}

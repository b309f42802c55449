//! Labels and line numbers of the examples of a file.

use std::path::{Path, PathBuf};

/// What is known of labelled texts besides the texts, as one file or folder has them, or several
/// files that a pattern names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Where they were read: the path or pattern that was asked for.
    pub path: PathBuf,
    /// Each file with the number of its first example.
    pub files: Vec<(PathBuf, usize)>,
    /// For each text, the index of its label in `names`.
    pub labels: Vec<u32>,
    /// The labels, in the order in which they were first met.
    pub names: Vec<String>,
    /// For each text, the line it began in, from 1; 0 where a file is one text.
    pub lines: Vec<u64>,
    /// The broken lines that were left out.
    pub skipped: usize,
    /// The first row that is very long: file, line, and how many lines it has.
    pub long_row: Option<(PathBuf, u64, u64)>,
}

impl Rows {
    /// The number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The file of example `index`, and its line where the file is not one text.
    pub fn file_and_line(&self, index: usize) -> (&Path, Option<u64>) {
        let file = self.files.iter().rev().find(|(_, first)| *first <= index);
        let line = self.lines[index];
        (file.map_or(&self.path, |(path, _)| path), (line > 0).then_some(line))
    }

    /// The file and line of example `index`, as a message begins with them.
    pub fn place(&self, index: usize) -> String {
        match self.file_and_line(index) {
            (path, None) => format!("\"{}\": ", path.display()),
            (path, Some(line)) => format!("\"{}\": line {line}: ", path.display()),
        }
    }
}

//! Labels and locations of labelled texts.

use std::path::{Path, PathBuf};

/// Labels and locations of the rows of a file or directory, or of several files that match a
/// pattern. The texts are not included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Path or pattern that was read.
    pub path: PathBuf,
    /// Files that were read, each with the index of its first row.
    pub files: Vec<(PathBuf, usize)>,
    /// Label of each row, as an index into `label_names`.
    pub labels: Vec<u32>,
    /// Distinct labels in order of first occurrence.
    pub label_names: Vec<String>,
    /// Line on which each row begins, from 1; 0 if the row is a whole file.
    pub lines: Vec<u64>,
    /// Number of broken rows that were skipped.
    pub skipped: usize,
    /// Number of those that are not valid UTF-8.
    pub not_utf8: usize,
    /// First row that spans suspiciously many lines: file, line and number of lines.
    pub long_row: Option<(PathBuf, u64, u64)>,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns true if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Returns the file of a row, and its line unless the row is a whole file.
    pub fn file_and_line(&self, index: usize) -> (&Path, Option<u64>) {
        let file = self.files.iter().rev().find(|(_, first)| *first <= index);
        let line = self.lines[index];
        (file.map_or(&self.path, |(path, _)| path), (line > 0).then_some(line))
    }

    /// Returns the location of a row for error messages: `data.csv:12`.
    pub fn location(&self, index: usize) -> String {
        match self.file_and_line(index) {
            (path, None) => path.display().to_string(),
            (path, Some(line)) => format!("{}:{line}", path.display()),
        }
    }
}

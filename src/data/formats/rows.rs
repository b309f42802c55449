//! Labels and locations of texts.

use std::path::{Path, PathBuf};

use indexmap::IndexSet;
use serde::{Deserialize, Serialize};

use super::super::targets::Targets;

/// Unit in which the rows of a file are located.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// The line on which a row begins.
    #[default]
    Line,
    /// The number of a row, in Parquet files and JSON arrays.
    Row,
}

impl Unit {
    /// Returns the location of a row in a file: `data.csv:12`, or `data.parquet, row 12`. 0 stands for the
    /// whole file.
    pub fn location(self, file: &Path, number: u64) -> String {
        let file = file.display();
        match (self, number) {
            (_, 0) => file.to_string(),
            (Self::Line, line) => format!("{file}:{line}"),
            (Self::Row, row) => format!("{file}, row {row}"),
        }
    }
}

/// Group of a row that belongs to none.
pub const NO_GROUP: u32 = u32::MAX;

/// A file that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct RowsFile {
    /// Its path.
    pub path: PathBuf,
    /// Index of its first row.
    pub first: usize,
    /// Unit of the locations of its rows.
    pub unit: Unit,
}

/// Labels and locations of the rows of a file or directory, or of several files that match a
/// pattern. The texts are not included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Path or pattern that was read.
    pub path: PathBuf,
    /// Files that were read.
    pub files: Vec<RowsFile>,
    /// Target of each row; none if labels are ignored. Labels are indices into `label_names`.
    pub targets: Targets,
    /// Distinct labels in order of first occurrence, or of `data.label_columns`.
    pub label_names: Vec<String>,
    /// Group of each row, as an index into `group_names`, or [`NO_GROUP`]; empty without `data.split.group`.
    pub groups: Vec<u32>,
    /// Distinct groups in order of first occurrence.
    pub group_names: IndexSet<String>,
    /// Line on which each row begins, or its number in the file, from 1; 0 if the row is a whole file.
    pub lines: Vec<u64>,
    /// Number of broken rows that were skipped.
    pub skipped: usize,
    /// Location of the first of these, and what is wrong with it.
    pub first_skipped: Option<String>,
    /// Number of those that are not valid UTF-8.
    pub not_utf8: usize,
    /// First row that spans suspiciously many lines: file, line and number of lines.
    pub long_row: Option<(PathBuf, u64, u64)>,
}

/// Fields of [`Rows`] other than the arrays and the paths.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowsHeader {
    /// Distinct labels.
    pub names: Vec<String>,
    /// Distinct groups.
    pub groups: Vec<String>,
    /// Number of broken rows that were skipped.
    pub skipped: usize,
    /// Location of the first of these, and what is wrong with it.
    #[serde(default)]
    pub first_skipped: Option<String>,
    /// Number of those that are not valid UTF-8.
    #[serde(default)]
    pub not_utf8: usize,
    /// First row that spans suspiciously many lines: file, line and number of lines.
    pub long_row: Option<(PathBuf, u64, u64)>,
    /// Index of the first row of each file, and the unit of its locations.
    pub files: Vec<(usize, Unit)>,
}

impl Rows {
    /// Returns the fields other than the arrays and the paths.
    pub fn header(&self) -> RowsHeader {
        RowsHeader {
            names: self.label_names.clone(),
            groups: self.group_names.iter().cloned().collect(),
            skipped: self.skipped,
            first_skipped: self.first_skipped.clone(),
            not_utf8: self.not_utf8,
            long_row: self.long_row.clone(),
            files: self.files.iter().map(|file| (file.first, file.unit)).collect(),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns true if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn file(&self, index: usize) -> Option<&RowsFile> {
        self.files.iter().rev().find(|file| file.first <= index)
    }

    /// Returns the file of a row, and its line or number unless the row is a whole file.
    pub fn file_and_line(&self, index: usize) -> (&Path, Option<u64>) {
        let line = self.lines[index];
        let path = self.file(index).map_or(&self.path, |file| &file.path);
        (path, (line > 0).then_some(line))
    }

    /// Returns the location of a row for error messages: `data.csv:12`.
    pub fn location(&self, index: usize) -> String {
        let unit = self.file(index).map_or(Unit::Line, |file| file.unit);
        let (path, line) = self.file_and_line(index);
        unit.location(path, line.unwrap_or(0))
    }
}

//! Readers for data files, one per format. Each yields texts, usually labelled, with their line numbers;
//! tokens and splits belong elsewhere.

mod babi;
mod csv;
mod dialect;
mod directory;
mod excerpt;
mod fasttext;
mod json_array;
mod jsonl;
mod label_collector;
mod line_rows;
mod lines;
mod missing;
#[cfg(feature = "parquet")]
mod parquet;
mod recognition;
mod record;
mod row_labels;
mod rows;
mod sink;
mod table;

pub use csv::unclosed_quote;
pub use dialect::{Dialect, delimiter_of, fields, first_rows, rows};
pub use excerpt::excerpt;
pub use fasttext::PREFIX;
pub use jsonl::{json_object, json_text};
pub use label_collector::SUM_TOLERANCE;
pub use lines::limits;
pub use missing::suggestion;
#[cfg(feature = "parquet")]
pub use parquet::{Head, ParquetFile, head as parquet_head};
pub use recognition::{DataFile, Recognizer};
pub use record::{Cell, Record};
pub use rows::{NO_GROUP, Rows, RowsFile, RowsHeader, Unit};
pub use sink::Labels;
pub use table::spelled;

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use glob::{MatchOptions, Pattern};

use sink::{Receiver, RecordCallback, Sink, TextCallback};

use crate::config::{Config, DataConfig, Format, Labelling};
use crate::distributed::Worker;
use crate::io::input::inner_extension;

/// Reason why Parquet files cannot be used.
#[cfg(not(feature = "parquet"))]
pub const WITHOUT_PARQUET: &str = "this program was built without the Cargo feature parquet";

/// Reads a file or directory, or all files that match a pattern, as configured in the data section.
/// Calls `each` with the texts of every example in order, one text per column of the inputs.
///
/// # Errors
/// Returns an error if the data cannot be read, with the file, the line, and what was found and
/// expected, or if `each` fails.
pub fn read_rows(
    path: &Path,
    config: &Config,
    labels: Labels,
    each: TextCallback,
) -> anyhow::Result<Rows> {
    read_part(path, config, labels, &Part::Whole, each)
}

/// Part of the rows of a file, or of the files that match a pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// All rows.
    Whole,
    /// The rows r, r + N, … of the process with rank r.
    EveryNth(Worker),
    /// The rows of some of the files.
    Files {
        /// All files.
        all: Vec<PathBuf>,
        /// Indices of those that are read.
        own: Range<usize>,
    },
}

impl Part {
    /// Returns the files at a path or pattern that are read.
    ///
    /// # Errors
    /// Returns an error if there are none.
    pub fn files(&self, path: &Path, format: Format) -> anyhow::Result<Vec<PathBuf>> {
        match self {
            Self::Files { all, own } => Ok(all[own.clone()].to_vec()),
            Self::Whole | Self::EveryNth(_) => expand_pattern(path, format),
        }
    }
}

/// Reads some of the rows, otherwise like [`read_rows`].
///
/// # Errors
/// See [`read_rows`]. Reports broken rows also in other parts of the files that it reads.
pub fn read_part(
    path: &Path,
    config: &Config,
    labels: Labels,
    part: &Part,
    each: TextCallback,
) -> anyhow::Result<Rows> {
    let config = &*config.without_teacher();
    let receiver = match labels {
        Labels::Required { .. } => Receiver::Examples(each),
        Labels::Ignored => Receiver::Texts(each),
    };
    Ok(read_with(path, config, labels.known(), part, receiver)?.rows)
}

/// Columns of a table that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordColumns {
    /// Their names.
    pub names: Vec<String>,
    /// First row that spans suspiciously many lines: file, line and number of lines.
    pub long_row: Option<(PathBuf, u64, u64)>,
}

/// Reads a table, or all tables that match a pattern, with all columns. Calls `each` with every row in order.
/// Labels, if there are any, only serve to recognize rows that a stray quote swallows; `known` has those of the
/// model. The columns of JSON objects are their keys, which later rows may add to.
///
/// # Errors
/// Returns an error if the table cannot be read or a row is broken, or if `each` fails.
pub fn read_records(
    path: &Path,
    config: &Config,
    known: &[String],
    each: RecordCallback,
) -> anyhow::Result<RecordColumns> {
    let sink = read_with(path, config, known, &Part::Whole, Receiver::Records(each))?;
    Ok(RecordColumns { names: sink.columns.into_iter().collect(), long_row: sink.rows.long_row })
}

fn read_with<'a>(
    path: &Path,
    config: &'a Config,
    known: &[String],
    part: &Part,
    receiver: Receiver<'a>,
) -> anyhow::Result<Sink<'a>> {
    let mut sink = Sink::new(path, config, known, receiver);
    if let Part::EveryNth(worker) = part {
        sink.worker = *worker;
    }
    for file in part.files(path, config.data.format)? {
        let (path, first) = (file.clone(), sink.rows.len());
        sink.rows.files.push(RowsFile { path, first, unit: Unit::Line });
        sink.unit = Unit::Line;
        let read = read_file(&file, &config.data, &mut sink);
        sink.check().and(read)?;
        if let Some(read) = sink.rows.files.last_mut() {
            read.unit = sink.unit;
        }
        if let Some((line, lines)) = sink.long_row.take() {
            sink.rows.long_row.get_or_insert((file, line, lines));
        }
    }
    if sink.needs_labels() {
        sink.rows.label_names = std::mem::take(&mut sink.labels.names);
        sink.rows.targets = std::mem::take(&mut sink.labels.targets);
    }
    Ok(sink)
}

/// Reads all texts into memory, otherwise like [`read_rows`]: one list per column of the inputs.
///
/// # Errors
/// See [`read_rows`].
pub fn read_texts(
    path: &Path,
    config: &Config,
    labels: Labels,
) -> anyhow::Result<(Rows, Vec<Vec<String>>)> {
    let mut columns = vec![Vec::new(); config.inputs.columns().len()];
    let rows = read_rows(path, config, labels, &mut |texts| {
        columns.iter_mut().zip(texts).for_each(|(column, text)| column.push(text));
        Ok(())
    })?;
    Ok((rows, columns))
}

/// Returns the files that match `path` as a glob pattern, sorted by name. If `path` is not a pattern
/// or exists literally, returns it unchanged.
///
/// # Errors
/// Returns an error if no file matches.
pub fn expand_pattern(path: &Path, format: Format) -> anyhow::Result<Vec<PathBuf>> {
    let pattern = path.to_string_lossy();
    if !pattern.contains(['*', '?', '[']) || path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::default() };
    let matches = glob::glob_with(&escape_existing_directories(path), options)
        .with_context(|| format!("invalid pattern \"{pattern}\""))?;
    let files: Vec<PathBuf> = matches
        .collect::<Result<_, _>>()
        .with_context(|| format!("cannot search for files matching \"{pattern}\""))?;
    let advice = match format {
        Format::Babi => "; `lstmtext data fetch babi` downloads the tasks to data/babi/en",
        _ => "",
    };
    ensure!(!files.is_empty(), "no file matches \"{pattern}\"{advice}");
    Ok(files)
}

/// Escapes the leading directories of a pattern that exist under their literal names.
fn escape_existing_directories(path: &Path) -> String {
    let mut directory = PathBuf::new();
    let mut rest = path.components().peekable();
    while let Some(component) = rest.next_if(|component| directory.join(component).exists()) {
        directory.push(component);
    }
    let literal = Pattern::escape(&directory.to_string_lossy());
    PathBuf::from(literal).join(rest.collect::<PathBuf>()).to_string_lossy().into_owned()
}

/// Determines the format of a file or directory from its extension, ignoring .gz and .zst.
///
/// # Errors
/// Returns an error if the extension is unknown.
pub fn format_of(path: &Path) -> anyhow::Result<Format> {
    if path.is_dir() {
        return Ok(Format::Folder);
    }
    match inner_extension(path).as_deref() {
        Some("csv") => Ok(Format::Csv),
        Some("tsv") => Ok(Format::Tsv),
        Some("parquet") => Ok(Format::Parquet),
        Some("jsonl" | "ndjson") => Ok(Format::Jsonl),
        Some("json") => Ok(Format::Json),
        Some("txt" | "ft" | "fasttext") => Ok(Format::Fasttext),
        _ => bail!(
            "cannot determine the format of \"{}\" from its extension; \
             set data.format to csv, tsv, jsonl, json, parquet, fasttext, folder or babi",
            path.display()
        ),
    }
}

fn read_file(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    let format = match config.format {
        Format::Auto => {
            std::fs::metadata(path)
                .with_context(|| format!("cannot open \"{}\"", path.display()))?;
            format_of(path)?
        }
        format => format,
    };
    if !format.has_columns() {
        let (path, format) = (path.display(), format.as_str());
        ensure!(
            config.filter.is_empty(),
            "data.filter needs named columns, but \"{path}\" has the format {format}"
        );
        ensure!(
            sink.inputs.columns().len() == 1,
            "{} needs named columns, but \"{path}\" has the format {format}",
            sink.inputs[0].field("column")
        );
    }
    if sink.needs_labels() {
        let (path, name) = (path.display(), format.as_str());
        let has_one = matches!(format, Format::Folder | Format::Babi);
        ensure!(
            config.label_columns.is_empty() || format.has_columns() && !has_one,
            "data.label_columns needs named columns, but \"{path}\" has the format {name}"
        );
        ensure!(
            config.labelling() == Labelling::One || !has_one,
            "data.multi_label: \"{path}\" has the format {name}, in which a text has one label"
        );
    }
    match format {
        Format::Csv | Format::Tsv => {
            let Dialect { delimiter, is_quoted } =
                Dialect::of(path, format, config, sink.inputs, sink.needs_labels())?;
            match is_quoted {
                true => csv::read(path, delimiter, config, sink),
                false => table::read_plain(path, delimiter, config, sink),
            }
        }
        Format::Jsonl | Format::Json => jsonl::read(path, config, sink),
        #[cfg(feature = "parquet")]
        Format::Parquet => parquet::read(path, config, sink),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => bail!("cannot read \"{}\": {WITHOUT_PARQUET}", path.display()),
        Format::Fasttext => fasttext::read(path, config, sink),
        Format::Folder => directory::read(path, config, sink),
        Format::Babi => babi::read(path, config, sink),
        // `format_of` never returns `Auto`.
        Format::Auto => bail!("cannot determine the format of \"{}\"", path.display()),
    }
}

#[cfg(test)]
mod tests;

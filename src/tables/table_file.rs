//! Reads the rows of a table, with the texts of a model and all other columns.

use std::path::{Path, PathBuf};

use super::batch::{Rows, TableBatch};
use super::column::{Kind, TableColumn};
#[cfg(feature = "parquet")]
use super::parquet_reader;
use super::schema::TableSchema;
use crate::config::{BrokenLines, Config, Format};
use crate::data::guess::check_header;
use crate::data::{Cell, Record, expand_pattern, format_of, limits, read_records};
use crate::io::input::{TextEncoding, detect_encoding};
use crate::io::spool::Spooled;

/// Size in bytes above which rows are passed on, although more would fit in a batch.
const MAX_BYTES: usize = 32 << 20;

/// Returns the format of the table at `path` by its extension; `None` if it is no table. A pattern has the
/// format of its first file.
///
/// # Errors
/// Returns an error if no file matches the pattern.
pub fn format_of_table(path: &Path) -> anyhow::Result<Option<Format>> {
    let format = format_of(path).ok().filter(|format| {
        matches!(format, Format::Csv | Format::Tsv | Format::Jsonl | Format::Json | Format::Parquet)
    });
    // Without a match, the error names the pattern.
    match format {
        Some(format) => expand_pattern(path, format).map(|_| Some(format)),
        None => Ok(None),
    }
}

/// Properties of a table that are detected, because no setting is meant for it.
#[derive(Clone, Copy, Debug)]
pub struct Detects {
    /// The encoding; that of the model's data is the usual one.
    pub encoding: bool,
    /// The header.
    pub header: bool,
}

/// A table, or several that match a pattern.
pub struct TableFile {
    path: PathBuf,
    config: Config,
    /// Labels of the model.
    known: Vec<String>,
    /// Copy of a stream, because the table is read twice.
    _copy: Option<Spooled>,
}

impl TableFile {
    /// Opens a table for a model with this configuration, whose inputs name the columns of the texts, and these
    /// labels. `-` stands for stdin.
    ///
    /// # Errors
    /// Returns an error if a stream cannot be copied, or if the table has a header unlike the data of the model.
    pub fn open(
        path: &Path,
        format: Format,
        mut config: Config,
        known: &[String],
        detects: Detects,
    ) -> anyhow::Result<Self> {
        let data = &mut config.data;
        data.format = format;
        // Every row gets a result.
        data.filter.clear();
        data.broken_lines = BrokenLines::Error;
        let copy = Spooled::of(path, limits(data))?;
        let path = copy.as_ref().map_or(path, Spooled::path).to_owned();
        let files = expand_pattern(&path, format)?;
        if detects.encoding
            && format != Format::Parquet
            && let Some(first) = files.first()
        {
            config.data.encoding = detect_encoding(first, config.data.encoding);
        }
        if detects.header {
            for file in &files {
                check_header(file, format, &config, known)?;
            }
        }
        Ok(Self { path, config, known: known.to_vec(), _copy: copy })
    }

    /// Encoding of the table, which is that of the first file of a pattern.
    pub fn encoding(&self) -> TextEncoding {
        self.config.data.encoding
    }

    /// Reads the whole table once, except a Parquet file. Returns its columns: those of JSON objects are all
    /// their keys. A broken row is thus found before any results are computed.
    ///
    /// # Errors
    /// Returns an error if the table cannot be read.
    pub fn schema(&self) -> anyhow::Result<TableSchema> {
        #[cfg(feature = "parquet")]
        if self.config.data.format == Format::Parquet {
            return parquet_reader::schema(&self.path, &self.config);
        }
        let (mut kinds, mut rows) = (Vec::<Option<Kind>>::new(), 0);
        let columns = read_records(&self.path, &self.config, &self.known, &mut |record| {
            rows += 1;
            kinds.resize(kinds.len().max(record.cells.len()), None);
            for (kind, cell) in kinds.iter_mut().zip(&record.cells) {
                *kind = match (*kind, Kind::of(cell)) {
                    (Some(kind), Some(found)) => Some(kind.or(found)),
                    (kind, found) => kind.or(found),
                };
            }
            Ok(())
        })?;
        let kinds = kinds.into_iter().chain(std::iter::repeat(None));
        let named = columns.names.into_iter().zip(kinds);
        let named = named.map(|(name, kind)| TableColumn::new(name, kind.unwrap_or(Kind::Text)));
        let (columns, long_row) = (named.collect(), columns.long_row);
        Ok(TableSchema {
            columns,
            rows,
            long_row,
            #[cfg(feature = "parquet")]
            arrow: None,
        })
    }

    /// Calls `each` with batches of at most `limit` rows, in order.
    ///
    /// # Errors
    /// Returns an error if the table cannot be read, and the errors of `each`.
    pub fn for_each_batch(
        &self,
        limit: usize,
        each: &mut dyn FnMut(TableBatch) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        #[cfg(feature = "parquet")]
        if self.config.data.format == Format::Parquet {
            return parquet_reader::for_each_batch(&self.path, &self.config, limit, each);
        }
        let mut batch = Batch::new(self.config.inputs.columns().len());
        read_records(&self.path, &self.config, &self.known, &mut |record| {
            batch.add(record);
            match batch.rows.len() >= limit || batch.bytes >= MAX_BYTES {
                true => each(batch.take()),
                false => Ok(()),
            }
        })?;
        if batch.rows.is_empty() { Ok(()) } else { each(batch.take()) }
    }
}

/// Rows that are being collected.
struct Batch {
    texts: Vec<Vec<String>>,
    rows: Vec<Vec<Cell>>,
    bytes: usize,
}

impl Batch {
    fn new(columns: usize) -> Self {
        Self { texts: vec![Vec::new(); columns], rows: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, record: Record) {
        let Record { texts, cells } = record;
        let of_cells = cells.iter().map(Cell::bytes).sum::<usize>();
        self.bytes += of_cells + texts.iter().map(String::len).sum::<usize>();
        self.texts.iter_mut().zip(texts).for_each(|(column, text)| column.push(text));
        self.rows.push(cells);
    }

    fn take(&mut self) -> TableBatch {
        let Self { texts, rows, .. } = std::mem::replace(self, Self::new(self.texts.len()));
        TableBatch { texts, rows: Rows::Cells(rows) }
    }
}

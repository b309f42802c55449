//! Reads Parquet files.

use std::fs::File;
use std::path::{Path, PathBuf};

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ::parquet::basic::Compression;
use anyhow::{Context, anyhow, bail};
use arrow_array::{Array, ArrayRef, LargeStringArray};
use arrow_cast::cast;
use arrow_schema::{DataType, SchemaRef};

use super::rows::Unit;
use super::sink::{Sink, excerpt, field_of};
use super::table::{Layout, spelled};
use crate::config::DataConfig;
use crate::io::input::{is_compressed, open_file};
use crate::output::shell::quoted_path;

/// Number of rows that are read at once.
const ROWS: usize = 1024;

/// Reads the file `path` into `sink`. Columns that are not needed are skipped, whatever their types.
pub fn read(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    sink.unit = Unit::Row;
    let file = ParquetFile::open(path)?;
    let layout = file.layout(config, sink)?;
    let filter = layout.filter.iter().map(|(column, _)| *column);
    let columns: Vec<usize> =
        layout.texts.iter().copied().chain([layout.label]).chain(filter).collect();
    let mut rows = file.rows(&columns)?;
    while let Some(rows) = rows.next()? {
        for row in 0..rows.count {
            let selected = layout.select(|column| rows.value(column, row));
            sink.add(rows.first + row as u64, selected)?;
        }
    }
    Ok(())
}

/// The first rows of a file, as text, in the columns that can have texts or labels.
pub struct Head {
    /// Names of the columns.
    pub names: Vec<String>,
    /// Rows. A null is an empty text.
    pub rows: Vec<Vec<String>>,
    /// Number of rows of the file.
    pub count: usize,
}

/// Reads the first `count` rows of a file, or a few more.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub fn head(path: &Path, count: usize) -> anyhow::Result<Head> {
    let file = ParquetFile::open(path)?;
    let total = file.builder.metadata().file_metadata().num_rows() as usize;
    let fields = file.schema.fields().iter().enumerate();
    let (columns, names): (Vec<usize>, Vec<String>) = fields
        .filter(|(_, field)| label_fault(field.data_type()).is_none())
        .map(|(index, field)| (index, field.name().clone()))
        .unzip();
    let mut head = Head { names, rows: Vec::new(), count: total };
    let mut reader = file.rows(&columns)?;
    while head.rows.len() < count
        && let Some(rows) = reader.next()?
    {
        let row = |row: usize| {
            let cell = |column: &usize| rows.value(*column, row).unwrap_or_default().to_owned();
            columns.iter().map(cell).collect()
        };
        head.rows.extend((0..rows.count).map(row));
    }
    Ok(head)
}

/// A Parquet file whose columns are known.
struct ParquetFile {
    path: PathBuf,
    schema: SchemaRef,
    builder: ParquetRecordBatchReaderBuilder<File>,
}

impl ParquetFile {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = open_file(path)?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| {
            let advice = match is_compressed(path) {
                true => format!(
                    "; a Parquet file is compressed inside: unpack it, e.g. with gzip -d {}",
                    quoted_path(path)
                ),
                false => String::new(),
            };
            anyhow!("\"{}\" is not a complete Parquet file: {error}{advice}", path.display())
        })?;
        Ok(Self { path: path.to_owned(), schema: builder.schema().clone(), builder })
    }

    /// Finds the columns, and checks their types.
    fn layout(&self, config: &DataConfig, sink: &Sink) -> anyhow::Result<Layout> {
        let located = |message: String| anyhow!("{}: {message}", self.path.display());
        let fields = self.schema.fields().iter();
        let names: Vec<String> = fields
            .map(|field| spelled(field.name(), config.has_first_rules()).into_owned())
            .collect();
        let layout = Layout::find(Some(&names), config, sink.inputs).map_err(located)?;
        let check = |field: String, column: usize, check: fn(&DataType) -> Option<String>| {
            let fault = check(self.schema.field(column).data_type());
            let name = excerpt(&names[column]);
            fault.map_or(Ok(()), |fault| Err(format!("{field}: the column \"{name}\" {fault}")))
        };
        for (column, index) in sink.inputs.columns().into_iter().zip(&layout.texts) {
            check(field_of(sink.inputs, column), *index, text_fault).map_err(located)?;
        }
        check("data.label_column".to_owned(), layout.label, label_fault).map_err(located)?;
        for (index, _) in &layout.filter {
            check("data.filter".to_owned(), *index, label_fault).map_err(located)?;
        }
        Ok(layout)
    }

    /// Checks that the columns, given by their indices, can be decompressed.
    fn check_compression(&self, columns: &[usize]) -> anyhow::Result<()> {
        let (metadata, schema) = (self.builder.metadata(), self.builder.parquet_schema());
        let chunks =
            metadata.row_groups().iter().flat_map(|group| group.columns().iter().enumerate());
        let chunks =
            chunks.filter(|(leaf, _)| columns.contains(&schema.get_column_root_idx(*leaf)));
        let mut unsupported = chunks.filter_map(|(_, chunk)| match chunk.compression() {
            Compression::BROTLI(_) => Some("brotli"),
            Compression::LZO => Some("lzo"),
            _ => None,
        });
        match unsupported.next() {
            Some(codec) => bail!(
                "\"{}\" is compressed with {codec}; write it with snappy, gzip, zstd, lz4 or without \
                 compression",
                self.path.display()
            ),
            None => Ok(()),
        }
    }

    /// Reads columns as text.
    fn rows(self, columns: &[usize]) -> anyhow::Result<RowsReader> {
        let mut columns = columns.to_vec();
        columns.sort_unstable();
        columns.dedup();
        self.check_compression(&columns)?;
        let mask = ProjectionMask::roots(self.builder.parquet_schema(), columns.iter().copied());
        let reader = self.builder.with_projection(mask).with_batch_size(ROWS).build();
        let reader = reader.with_context(|| format!("cannot read \"{}\"", self.path.display()))?;
        Ok(RowsReader { path: self.path, schema: self.schema, columns, reader, read: 0 })
    }
}

/// Reads the rows of a file.
struct RowsReader {
    path: PathBuf,
    schema: SchemaRef,
    /// Indices of the columns that are read, ascending.
    columns: Vec<usize>,
    reader: ParquetRecordBatchReader,
    /// Number of rows so far.
    read: u64,
}

/// Rows of some columns, as text.
struct TextRows<'a> {
    reader: &'a RowsReader,
    /// Number of the first row, from 1.
    first: u64,
    count: usize,
    columns: Vec<LargeStringArray>,
}

impl RowsReader {
    fn next(&mut self) -> anyhow::Result<Option<TextRows<'_>>> {
        let unreadable = format!("cannot read \"{}\" after row {}", self.path.display(), self.read);
        let Some(batch) = self.reader.next() else { return Ok(None) };
        let batch = batch.with_context(|| unreadable.clone())?;
        let columns = batch.columns().iter().map(texts_of);
        let columns = columns.collect::<anyhow::Result<_>>().context(unreadable)?;
        let (first, count) = (self.read + 1, batch.num_rows());
        self.read += count as u64;
        Ok(Some(TextRows { reader: self, first, count, columns }))
    }
}

impl TextRows<'_> {
    /// Returns the text of a column, given by its index in the file.
    fn value(&self, column: usize, row: usize) -> Result<&str, String> {
        let index = self.reader.columns.binary_search(&column);
        let values = index.ok().and_then(|index| self.columns.get(index));
        match values.filter(|values| values.is_valid(row)) {
            Some(values) => Ok(values.value(row)),
            None => {
                let name = excerpt(self.reader.schema.field(column).name());
                Err(format!("the column \"{name}\" is null"))
            }
        }
    }
}

/// Converts strings, numbers and booleans to text.
fn texts_of(column: &ArrayRef) -> anyhow::Result<LargeStringArray> {
    let texts = cast(column, &DataType::LargeUtf8)?;
    match texts.as_any().downcast_ref::<LargeStringArray>() {
        Some(texts) => Ok(texts.clone()),
        None => bail!("a column of the type {} has no text", column.data_type()),
    }
}

/// Returns the type of the values of a column.
fn value_type(column: &DataType) -> &DataType {
    match column {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

fn is_string(column: &DataType) -> bool {
    matches!(value_type(column), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Returns why a column cannot have texts.
fn text_fault(column: &DataType) -> Option<String> {
    if is_string(column) || *column == DataType::Null {
        return None;
    }
    let advice = if is_list(column) { "; join the strings of each row" } else { "" };
    Some(format!("has {}, expected strings{advice}", values(column)))
}

/// Returns why a column cannot have labels.
fn label_fault(column: &DataType) -> Option<String> {
    let kind = value_type(column);
    let is_scalar = is_string(kind) || kind.is_integer() || kind.is_floating();
    if is_scalar || matches!(kind, DataType::Boolean | DataType::Null) {
        return None;
    }
    let advice = match is_list(column) {
        true => {
            "; a row has one label: keep the rows with one, and write it as a string or an integer"
        }
        false => "",
    };
    let values = values(column);
    Some(format!("has {values}, expected strings, integers or booleans{advice}"))
}

fn is_list(column: &DataType) -> bool {
    use DataType::{FixedSizeList, LargeList, LargeListView, List, ListView};
    matches!(column, List(_) | LargeList(_) | FixedSizeList(..) | ListView(_) | LargeListView(_))
}

/// Describes the values of a column.
fn values(column: &DataType) -> String {
    match value_type(column) {
        list if is_list(list) => "lists".to_owned(),
        DataType::Struct(_) | DataType::Map(..) => "nested fields".to_owned(),
        other => format!("values of the type {}", other.to_string().to_lowercase()),
    }
}

//! Reads Parquet files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ::parquet::basic::Compression;
use anyhow::{Context, anyhow, bail};
use arrow_array::{Array, ArrayRef, LargeListArray, LargeStringArray, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, SchemaRef};

use super::excerpt::excerpt;
use super::lines::limits;
use super::row_labels::RowLabels;
use super::rows::Unit;
use super::sink::{Row, Sink, field_of};
use super::table::{Layout, spelled};
use crate::config::{Config, DataConfig, Inputs, Labelling};
use crate::io::input::{Limit, is_compressed, open_file};
use crate::output::catch_panic;
use crate::output::shell::quoted_path;

/// Number of rows that are read at once.
const ROWS: usize = 1024;

/// Reads the file `path` into `sink`. Columns that are not needed are skipped, whatever their types.
pub fn read(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    sink.unit = Unit::Row;
    let file = ParquetFile::open(path)?;
    let mut layout = file.layout(config, sink.inputs, sink.needs_labels())?;
    if !sink.needs_labels() {
        (layout.label, layout.label_columns) = (None, Vec::new());
    }
    let is_list = |column: &mut usize| is_list(file.schema.field(*column).data_type());
    let list = layout.label.take_if(is_list);
    let filter = layout.filter.iter().map(|(column, _)| *column);
    let columns: Vec<usize> = layout
        .texts
        .iter()
        .copied()
        .chain(layout.labels().copied())
        .chain(layout.group)
        .chain(filter)
        .collect();
    let limit = limits(config).line;
    let mut rows = file.text_rows(&columns, list)?;
    while let Some(rows) = rows.next()? {
        for values in &rows.columns {
            check_lengths(values, limit, path, rows.first)?;
        }
        for row in 0..rows.count {
            let is_null = |column| rows.cell(column, row).is_none();
            let selected = layout.select(|column| rows.value(column, row), is_null, config);
            let selected = selected.and_then(|selected| match (selected, &rows.lists) {
                (Some(selected), Some(lists)) => {
                    let labels = RowLabels::List(list_at(lists, row, limit)?);
                    Ok(Some(Row { labels, ..selected }))
                }
                (selected, _) => Ok(selected),
            });
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
    let total = file.rows() as usize;
    let fields = file.schema.fields().iter().enumerate();
    let (columns, names): (Vec<usize>, Vec<String>) = fields
        .filter(|(_, field)| value_fault(field.data_type()).is_none())
        .map(|(index, field)| (index, field.name().clone()))
        .unzip();
    let mut head = Head { names, rows: Vec::new(), count: total };
    let mut reader = file.text_rows(&columns, None)?;
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

/// A Parquet file.
pub struct ParquetFile {
    path: PathBuf,
    schema: SchemaRef,
    builder: ParquetRecordBatchReaderBuilder<File>,
}

impl ParquetFile {
    /// Opens a file, or the copy of a stream.
    ///
    /// # Errors
    /// Returns an error if it cannot be read or is no Parquet file.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = open_file(path)?;
        let builder = catch_panic(|| ParquetRecordBatchReaderBuilder::try_new(file));
        let damaged = || anyhow!("\"{}\" is a damaged Parquet file", path.display());
        let builder = builder.with_context(damaged)?.map_err(|error| {
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

    /// Columns of the file.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Number of rows, as the file says.
    pub fn rows(&self) -> u64 {
        self.builder.metadata().file_metadata().num_rows().try_into().unwrap_or(0)
    }

    /// Calls `each` with batches of at most `limit` rows: the texts of each column of the inputs, and all
    /// columns.
    ///
    /// # Errors
    /// Returns an error if a column cannot be read or a text is null, and the errors of `each`.
    pub fn for_each_batch(
        self,
        config: &Config,
        limit: usize,
        each: &mut dyn FnMut(Vec<Vec<String>>, RecordBatch) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let layout = self.layout(&config.data, &config.inputs, false)?;
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let mut reader = self.reader(&all, limit)?;
        while let Some((first, batch)) = reader.next_batch()? {
            let unreadable = || format!("cannot read \"{}\"", reader.path.display());
            let mut texts = Vec::new();
            for column in &layout.texts {
                let values = texts_of(batch.column(*column)).with_context(unreadable)?;
                check_lengths(&values, limits(&config.data).line, &reader.path, first)?;
                if let Some(row) = (0..values.len()).find(|row| values.is_null(*row)) {
                    let location = Unit::Row.location(&reader.path, first + row as u64);
                    bail!("{location}: {}", null_fault(&reader.schema, *column));
                }
                texts.push(values.iter().flatten().map(str::to_owned).collect());
            }
            each(texts, batch)?;
        }
        Ok(())
    }

    /// Finds the columns, and checks their types.
    ///
    /// # Errors
    /// Returns an error if a column is missing, or has values of another type.
    pub fn layout(
        &self,
        config: &DataConfig,
        inputs: &Inputs,
        needs_label: bool,
    ) -> anyhow::Result<Layout> {
        let located = |message: String| anyhow!("{}: {message}", self.path.display());
        let fields = self.schema.fields().iter();
        let names: Vec<String> = fields
            .map(|field| spelled(field.name(), config.has_first_rules()).into_owned())
            .collect();
        let layout = Layout::find(Some(&names), config, inputs, needs_label).map_err(located)?;
        let check = |field: String, column: usize, check: fn(&DataType) -> Option<String>| {
            let fault = check(self.schema.field(column).data_type());
            let name = excerpt(&names[column]);
            fault.map_or(Ok(()), |fault| Err(format!("{field}: the column \"{name}\" {fault}")))
        };
        for (column, index) in inputs.columns().into_iter().zip(&layout.texts) {
            check(field_of(inputs, column), *index, text_fault).map_err(located)?;
        }
        let (label_field, label_check) = (config.label_fields().0, label_check(config));
        for index in layout.labels().filter(|_| needs_label) {
            check(label_field.to_owned(), *index, label_check).map_err(located)?;
        }
        if let Some(group) = layout.group.filter(|_| needs_label) {
            check("data.split.group".to_owned(), group, value_fault).map_err(located)?;
        }
        for (index, _) in &layout.filter {
            check("data.filter".to_owned(), *index, value_fault).map_err(located)?;
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

    /// Reads columns as text, and one as lists of texts.
    fn text_rows(self, columns: &[usize], list: Option<usize>) -> anyhow::Result<TextRowsReader> {
        let sorted = |columns: &mut Vec<usize>| {
            columns.sort_unstable();
            columns.dedup();
        };
        let (mut columns, mut all) = (columns.to_vec(), columns.to_vec());
        all.extend(list);
        sorted(&mut columns);
        sorted(&mut all);
        let list = list.and_then(|list| all.binary_search(&list).ok());
        Ok(TextRowsReader { reader: self.reader(&all, ROWS)?, columns, list })
    }

    /// Reads columns, given by their indices in ascending order, `rows` rows at once.
    fn reader(self, columns: &[usize], rows: usize) -> anyhow::Result<BatchReader> {
        self.check_compression(columns)?;
        let mask = ProjectionMask::roots(self.builder.parquet_schema(), columns.iter().copied());
        let build = || self.builder.with_projection(mask).with_batch_size(rows).build();
        let unreadable = || format!("cannot read \"{}\"", self.path.display());
        let batches = catch_panic(build).context("the file is damaged").with_context(unreadable)?;
        let batches = batches.with_context(unreadable)?;
        Ok(BatchReader { path: self.path, schema: self.schema, batches, read: 0 })
    }
}

/// Reads the rows of a file.
struct BatchReader {
    path: PathBuf,
    schema: SchemaRef,
    batches: ParquetRecordBatchReader,
    /// Number of rows so far.
    read: u64,
}

impl BatchReader {
    /// Returns the next rows, and the number of the first of them, from 1.
    fn next_batch(&mut self) -> anyhow::Result<Option<(u64, RecordBatch)>> {
        let unreadable =
            || format!("cannot read \"{}\" after row {}", self.path.display(), self.read);
        // The library panics on some damaged files.
        let batch = catch_panic(|| self.batches.next()).context("the file is damaged");
        let Some(batch) = batch.with_context(unreadable)? else { return Ok(None) };
        let batch = batch.with_context(unreadable)?;
        let first = self.read + 1;
        self.read += batch.num_rows() as u64;
        Ok(Some((first, batch)))
    }
}

/// Reads some columns as text.
struct TextRowsReader {
    reader: BatchReader,
    /// Indices of the columns, ascending.
    columns: Vec<usize>,
    /// Position of the column of lists among all that are read.
    list: Option<usize>,
}

/// Rows of some columns, as text.
struct TextRows<'a> {
    reader: &'a TextRowsReader,
    /// Number of the first row, from 1.
    first: u64,
    count: usize,
    columns: Vec<LargeStringArray>,
    lists: Option<LargeListArray>,
}

impl TextRowsReader {
    fn next(&mut self) -> anyhow::Result<Option<TextRows<'_>>> {
        let Some((first, batch)) = self.reader.next_batch()? else { return Ok(None) };
        let unreadable = || format!("cannot read \"{}\"", self.reader.path.display());
        let columns = batch.columns().iter().enumerate();
        let columns = columns.filter(|(position, _)| Some(*position) != self.list);
        let columns = columns.map(|(_, column)| texts_of(column)).collect::<anyhow::Result<_>>();
        let columns = columns.with_context(unreadable)?;
        let lists = self.list.map(|list| lists_of(batch.column(list))).transpose();
        let lists = lists.with_context(unreadable)?;
        Ok(Some(TextRows { reader: self, first, count: batch.num_rows(), columns, lists }))
    }
}

impl TextRows<'_> {
    /// Returns the text of a column, given by its index in the file.
    fn value(&self, column: usize, row: usize) -> Result<&str, String> {
        self.cell(column, row).ok_or_else(|| null_fault(&self.reader.reader.schema, column))
    }

    /// Returns the text of a column, given by its index in the file; `None` if it is null.
    fn cell(&self, column: usize, row: usize) -> Option<&str> {
        let index = self.reader.columns.binary_search(&column).ok()?;
        let values = self.columns.get(index).filter(|values| values.is_valid(row))?;
        Some(values.value(row))
    }
}

/// Checks that no text exceeds the limit. `first` is the number of the first row.
fn check_lengths(
    values: &LargeStringArray,
    limit: Limit,
    path: &Path,
    first: u64,
) -> anyhow::Result<()> {
    let lengths = values.offsets().lengths();
    match lengths.enumerate().find(|(_, length)| *length as u64 > limit.bytes) {
        Some((row, _)) => {
            let location = Unit::Row.location(path, first + row as u64);
            bail!("{location}: {}", limit.exceeded("a value"))
        }
        None => Ok(()),
    }
}

fn null_fault(schema: &SchemaRef, column: usize) -> String {
    format!("the column \"{}\" is null", excerpt(schema.field(column).name()))
}

/// Converts strings, numbers and booleans to text.
fn texts_of(column: &ArrayRef) -> anyhow::Result<LargeStringArray> {
    let texts = cast(column, &DataType::LargeUtf8)?;
    match texts.as_any().downcast_ref::<LargeStringArray>() {
        Some(texts) => Ok(texts.clone()),
        None => bail!("a column of the type {} has no text", column.data_type()),
    }
}

/// Converts lists of strings, numbers or booleans to lists of texts.
fn lists_of(column: &ArrayRef) -> anyhow::Result<LargeListArray> {
    let item = Field::new("item", DataType::LargeUtf8, true);
    let lists = cast(column, &DataType::LargeList(Arc::new(item)))?;
    match lists.as_any().downcast_ref::<LargeListArray>() {
        Some(lists) => Ok(lists.clone()),
        None => bail!("a column of the type {} has no lists", column.data_type()),
    }
}

/// Returns the labels in a list; none for a null.
fn list_at(lists: &LargeListArray, row: usize, limit: Limit) -> Result<Vec<String>, String> {
    if lists.is_null(row) {
        return Ok(Vec::new());
    }
    let items = lists.value(row);
    let Some(items) = items.as_any().downcast_ref::<LargeStringArray>() else {
        return Err("the labels are not a list of texts".to_owned());
    };
    if items.values().len() as u64 > limit.bytes
        && items.iter().flatten().any(|item| item.len() as u64 > limit.bytes)
    {
        return Err(limit.exceeded("a label"));
    }
    let item = |item: Option<&str>| item.map(str::to_owned);
    let labels = items.iter().map(item).collect::<Option<Vec<String>>>();
    labels.ok_or_else(|| "the list of labels has a null".to_owned())
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

/// Returns the check of the type of a label column, which can have lists if a text can have several labels.
fn label_check(config: &DataConfig) -> fn(&DataType) -> Option<String> {
    match (config.labelling(), config.label_columns.is_empty()) {
        (Labelling::Several, true) => labels_fault,
        (Labelling::One, true) => |column| {
            let fault = value_fault(column)?;
            let advice = "; for texts with several labels, set data.multi_label: true";
            Some(fault + if is_list(column) { advice } else { "" })
        },
        (_, false) => value_fault,
    }
}

/// Returns why a column cannot have labels or lists of them.
fn labels_fault(column: &DataType) -> Option<String> {
    use DataType::{FixedSizeList, LargeList, LargeListView, List, ListView};
    match column {
        List(item)
        | LargeList(item)
        | FixedSizeList(item, _)
        | ListView(item)
        | LargeListView(item) => {
            let fault = value_fault(item.data_type())?;
            Some(format!("has lists, each of which {fault}"))
        }
        _ => value_fault(column),
    }
}

/// Returns why a column cannot have labels or other values of a kind.
fn value_fault(column: &DataType) -> Option<String> {
    let kind = value_type(column);
    let is_scalar = is_string(kind) || kind.is_integer() || kind.is_floating();
    if is_scalar || matches!(kind, DataType::Boolean | DataType::Null) {
        return None;
    }
    let values = values(column);
    Some(format!("has {values}, expected strings, numbers or booleans"))
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

//! Writes Parquet files, whose columns keep their types.

use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, Int64Array,
    RecordBatch, StringArray,
};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::batch::{Rows, TableBatch};
use super::column::{Kind, TableColumn, Values};
use super::schema::TableSchema;
use crate::data::Cell;

/// Size in bytes of the rows that are kept in memory until they are written.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Writes a Parquet file.
pub struct ParquetTable<W: Write + Send> {
    /// Columns of rows that come from another format.
    columns: Vec<TableColumn>,
    schema: SchemaRef,
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> ParquetTable<W> {
    /// Begins a file with the columns of another one, and columns of results.
    pub fn new(schema: &TableSchema, results: &[TableColumn], to: W) -> anyhow::Result<Self> {
        let mut fields: Vec<FieldRef> = match &schema.arrow {
            Some(arrow) => arrow.fields().iter().cloned().collect(),
            None => schema.columns.iter().map(field).collect(),
        };
        fields.extend(results.iter().map(field));
        let columns = schema.columns.clone();
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = ArrowWriter::try_new(to, schema.clone(), Some(properties))?;
        Ok(Self { columns, schema, writer })
    }

    /// Adds rows. `results` has the values of each column of results.
    pub fn write(&mut self, batch: &TableBatch, results: &[Values]) -> anyhow::Result<()> {
        let mut arrays = match &batch.rows {
            Rows::Arrow(batch) => batch.columns().to_vec(),
            Rows::Cells(rows) => {
                let columns = self.columns.iter().enumerate();
                let array = |(index, column): (usize, &TableColumn)| {
                    array_of(column.kind, rows.iter().map(|row| row.get(index)))
                };
                columns.map(array).collect()
            }
        };
        arrays.extend(results.iter().map(array_of_values));
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), arrays)?)?;
        if self.writer.in_progress_size() > ROW_GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(())
    }

    /// Ends the file.
    pub fn finish(self) -> anyhow::Result<()> {
        self.writer.close()?;
        Ok(())
    }
}

fn field(column: &TableColumn) -> FieldRef {
    let kind = match column.kind {
        Kind::Text => DataType::Utf8,
        Kind::Integer => DataType::Int64,
        Kind::Number => DataType::Float64,
        Kind::Boolean => DataType::Boolean,
        Kind::List => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        Kind::Vector(size) => DataType::FixedSizeList(vector_item(), size as i32),
    };
    Arc::new(Field::new(&column.name, kind, true))
}

fn vector_item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float32, false))
}

/// Returns the values of a column of this type.
fn array_of<'c>(kind: Kind, cells: impl Iterator<Item = Option<&'c Cell>>) -> ArrayRef {
    let mut texts = cells.map(|cell| cell.filter(|cell| !cell.is_null()).map(Cell::text));
    match kind {
        Kind::Integer => Arc::new(Int64Array::from_iter(parsed(&mut texts))),
        Kind::Number => Arc::new(Float64Array::from_iter(parsed(&mut texts))),
        Kind::Boolean => Arc::new(BooleanArray::from_iter(parsed(&mut texts))),
        Kind::Text | Kind::List | Kind::Vector(_) => Arc::new(StringArray::from_iter(texts)),
    }
}

/// Parses values of a column, whose type is that of all its values.
fn parsed<T: FromStr>(
    texts: &mut dyn Iterator<Item = Option<&str>>,
) -> impl Iterator<Item = Option<T>> {
    texts.map(|text| text.and_then(|text| text.parse().ok()))
}

fn array_of_values(values: &Values) -> ArrayRef {
    match values {
        Values::Texts(texts) => Arc::new(StringArray::from_iter_values(texts)),
        Values::LabelSets(sets, _) => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            sets.iter().for_each(|set| lists.append_value(set.iter().map(Some)));
            Arc::new(lists.finish())
        }
        Values::Numbers(numbers) => Arc::new(Float64Array::from(numbers.clone())),
        Values::Vectors(values, size) => {
            let values = Arc::new(Float32Array::from(values.clone()));
            Arc::new(FixedSizeListArray::new(vector_item(), *size as i32, values, None))
        }
    }
}

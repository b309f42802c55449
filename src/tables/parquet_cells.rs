//! Values of Parquet files as cells of a table without types.

use std::sync::Arc;

use anyhow::Context;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_json::WriterBuilder;
use arrow_json::writer::LineDelimited;
use arrow_schema::{DataType, FieldRef};

use crate::data::{Cell, json_object};

/// Returns the cells of rows: strings as text, everything else as JSON.
pub fn cells_of(batch: &RecordBatch) -> anyhow::Result<Vec<Vec<Cell>>> {
    let schema = batch.schema();
    let mut rows = vec![Vec::with_capacity(batch.num_columns()); batch.num_rows()];
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let cells = cells_of_column(column).with_context(|| {
            let (name, kind) = (field.name(), field.data_type());
            format!(
                "the column \"{name}\" has values of the type {kind}, which cannot be written as text; write \
                 a .parquet file"
            )
        })?;
        rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
    }
    Ok(rows)
}

fn cells_of_column(column: &ArrayRef) -> anyhow::Result<Vec<Cell>> {
    const NAME: &str = "column";
    let column = cast(column, &in_utc(column.data_type()))?;
    let mut json = Vec::new();
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, LineDelimited>(&mut json);
    writer.write(&RecordBatch::try_from_iter_with_nullable([(NAME, column, true)])?)?;
    writer.finish()?;
    drop(writer);
    let cell = |line: &str| -> anyhow::Result<Cell> {
        Ok(json_object(line, false)?.get(NAME).map_or(Cell::Missing, |value| Cell::of_json(value)))
    };
    String::from_utf8(json)?.lines().map(cell).collect()
}

/// Returns a type with times in UTC, because a name of another time zone cannot be looked up.
fn in_utc(kind: &DataType) -> DataType {
    let field = |field: &FieldRef| {
        let kind = in_utc(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(kind))
    };
    match kind {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("+00:00".into())),
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        other => other.clone(),
    }
}

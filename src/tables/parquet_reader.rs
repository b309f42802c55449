//! Reads Parquet files.

use std::path::Path;

use anyhow::{Context, ensure};
use arrow_schema::SchemaRef;

use super::batch::{Rows, TableBatch};
use super::column::{Kind, TableColumn};
use super::schema::TableSchema;
use crate::config::Config;
use crate::data::{ParquetFile, expand_pattern};

/// Returns the columns of Parquet files, which must be the same.
pub fn schema(path: &Path, config: &Config) -> anyhow::Result<TableSchema> {
    let mut found: Option<SchemaRef> = None;
    let mut rows = 0;
    for file in expand_pattern(path, config.data.format)? {
        let parquet = ParquetFile::open(&file)?;
        // Finds the columns of the texts, and checks them.
        parquet.layout(&config.data, &config.inputs, false)?;
        rows += parquet.rows();
        let schema = parquet.schema();
        match &found {
            Some(first) => ensure!(
                first.fields() == schema.fields(),
                "{}: the columns differ from those of the files before",
                file.display()
            ),
            None => found = Some(schema.clone()),
        }
    }
    let arrow = found.context("there are no files")?;
    let columns = arrow.fields().iter();
    let columns = columns.map(|field| TableColumn::new(field.name(), Kind::Text)).collect();
    Ok(TableSchema { columns, rows, long_row: None, arrow: Some(arrow) })
}

/// Calls `each` with batches of rows of Parquet files.
pub fn for_each_batch(
    path: &Path,
    config: &Config,
    limit: usize,
    each: &mut dyn FnMut(TableBatch) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for file in expand_pattern(path, config.data.format)? {
        ParquetFile::open(&file)?.for_each_batch(config, limit, &mut |texts, batch| {
            each(TableBatch { texts, rows: Rows::Arrow(batch) })
        })?;
    }
    Ok(())
}

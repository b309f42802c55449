//! Columns and size of a table.

use std::path::PathBuf;

#[cfg(feature = "parquet")]
use arrow_schema::SchemaRef;

use super::column::{Kind, TableColumn};

/// Columns and size of a table.
#[derive(Clone, Debug, Default)]
pub struct TableSchema {
    /// The columns.
    pub columns: Vec<TableColumn>,
    /// Number of rows.
    pub rows: u64,
    /// First row that spans suspiciously many lines: file, line and number of lines.
    pub long_row: Option<(PathBuf, u64, u64)>,
    /// Types of the columns of a Parquet file.
    #[cfg(feature = "parquet")]
    pub(super) arrow: Option<SchemaRef>,
}

impl TableSchema {
    /// Returns the schema of texts with these names.
    pub fn of_texts(names: &[String]) -> Self {
        let columns = names.iter().map(|name| TableColumn::new(name, Kind::Text)).collect();
        Self { columns, ..Self::default() }
    }
}

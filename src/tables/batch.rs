//! Batches of rows.

use std::borrow::Cow;

#[cfg(feature = "parquet")]
use arrow_array::RecordBatch;

#[cfg(feature = "parquet")]
use super::parquet_cells::cells_of;
use crate::data::Cell;

/// Some rows of a table.
pub struct TableBatch {
    /// Texts of the rows, one list per column of the inputs.
    pub texts: Vec<Vec<String>>,
    pub(super) rows: Rows,
}

/// Rows as they are in the file.
pub(super) enum Rows {
    Cells(Vec<Vec<Cell>>),
    #[cfg(feature = "parquet")]
    Arrow(RecordBatch),
}

impl TableBatch {
    /// Creates rows that have no other columns than these texts.
    pub fn of_texts(texts: Vec<Vec<String>>) -> Self {
        let count = texts.first().map_or(0, Vec::len);
        let row = |row: usize| texts.iter().map(|texts| Cell::Text(texts[row].clone())).collect();
        let rows = Rows::Cells((0..count).map(row).collect());
        Self { texts, rows }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.texts.first().map_or(0, Vec::len)
    }

    /// Returns true if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the cells of each row. A row may lack the last columns.
    ///
    /// # Errors
    /// Returns an error if a value cannot be converted.
    pub(super) fn cells(&self) -> anyhow::Result<Cow<'_, [Vec<Cell>]>> {
        match &self.rows {
            Rows::Cells(cells) => Ok(Cow::Borrowed(cells)),
            #[cfg(feature = "parquet")]
            Rows::Arrow(batch) => Ok(Cow::Owned(cells_of(batch)?)),
        }
    }
}

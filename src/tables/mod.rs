//! Tables with all their columns: read in batches of rows, and written with columns of results beside
//! them. Labelled examples, and what the results mean, belong elsewhere.

mod batch;
mod column;
mod label_set;
#[cfg(feature = "parquet")]
mod parquet_cells;
#[cfg(feature = "parquet")]
mod parquet_reader;
#[cfg(feature = "parquet")]
mod parquet_writer;
pub mod records;
mod schema;
mod table_file;
mod writer;

pub use batch::TableBatch;
pub use column::{Kind, TableColumn, Values};
pub use label_set::label_separator;
pub use schema::TableSchema;
pub use table_file::{Detects, TableFile, format_of_table};
pub use writer::{TableFormat, TableWriter, TextTable, unique_names};

//! Writes tables: the rows of a file with columns of results behind their own.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use anyhow::Context;

use super::batch::TableBatch;
use super::column::{TableColumn, Values};
#[cfg(feature = "parquet")]
use super::parquet_writer::ParquetTable;
use super::records::{csv_record, tsv_record};
use super::schema::TableSchema;
use crate::data::Cell;

/// Format of a table that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Comma-separated, RFC 4180.
    Csv,
    /// Tab-separated. Tabs and line breaks in texts become spaces.
    Tsv,
    /// One JSON object per line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl TableFormat {
    /// Returns the format of a file by its extension.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Returns the names of columns of results, each different from all `others` and from each other: a name that
/// is taken gets `prefix`.
pub fn unique_names(names: &[&str], prefix: &str, others: &[TableColumn]) -> Vec<String> {
    let mut taken: HashSet<String> = others.iter().map(|column| column.name.clone()).collect();
    let unique = |name: &&str| {
        let mut name = (*name).to_owned();
        while !taken.insert(name.clone()) {
            name.insert_str(0, prefix);
        }
        name
    };
    names.iter().map(unique).collect()
}

/// Formats a table as text: CSV, TSV or JSON lines.
pub struct TextTable {
    format: TableFormat,
    names: Vec<String>,
    /// Number of columns before those of results.
    width: usize,
}

impl TextTable {
    /// Creates a table with these columns, those of results after the others.
    pub fn new(format: TableFormat, columns: &[TableColumn], results: &[TableColumn]) -> Self {
        let names = columns.iter().chain(results).map(|column| column.name.clone()).collect();
        Self { format, names, width: columns.len() }
    }

    /// Returns the header; empty for JSON lines.
    ///
    /// # Errors
    /// Returns an error of the encoder.
    pub fn header(&self) -> anyhow::Result<String> {
        match self.format {
            TableFormat::Csv => csv_record(&self.names),
            TableFormat::Tsv => Ok(tsv_record(&self.names)),
            _ => Ok(String::new()),
        }
    }

    /// Formats rows. `results` has the values of each column of results.
    ///
    /// # Errors
    /// Returns an error of the encoder.
    pub fn rows(&self, batch: &TableBatch, results: &[Values]) -> anyhow::Result<String> {
        let is_json = self.format == TableFormat::Jsonl;
        let mut out = String::new();
        for (index, row) in batch.cells()?.iter().enumerate() {
            let missing = self.width.saturating_sub(row.len());
            let cells = row.iter().cloned().chain((0..missing).map(|_| Cell::Missing));
            let cells = cells.chain(results.iter().map(|values| values.cell(index, is_json)));
            out += &match self.format {
                TableFormat::Csv => csv_record(&texts(cells))?,
                TableFormat::Tsv => tsv_record(&texts(cells)),
                _ => self.object(cells)?,
            };
        }
        Ok(out)
    }

    fn object(&self, cells: impl Iterator<Item = Cell>) -> anyhow::Result<String> {
        let mut fields = Vec::new();
        for (name, cell) in self.names.iter().zip(cells) {
            let value = match cell {
                Cell::Missing => continue,
                Cell::Text(text) => serde_json::to_string(&text)?,
                Cell::Json(json) => json,
            };
            fields.push(format!("{}: {value}", serde_json::to_string(name)?));
        }
        Ok(format!("{{{}}}\n", fields.join(", ")))
    }
}

fn texts(cells: impl Iterator<Item = Cell>) -> Vec<String> {
    cells.map(|cell| cell.text().to_owned()).collect()
}

/// Writes a table to a file, batch by batch.
pub struct TableWriter<W: Write + Send> {
    to: To<W>,
}

enum To<W: Write + Send> {
    Text(TextTable, W),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetTable<W>>),
}

impl<W: Write + Send> TableWriter<W> {
    /// Begins a table with the columns of a file and columns of results.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written, or if this program lacks the format.
    pub fn new(
        format: TableFormat,
        schema: &TableSchema,
        results: &[TableColumn],
        mut to: W,
    ) -> anyhow::Result<Self> {
        let to = match format {
            #[cfg(feature = "parquet")]
            TableFormat::Parquet => To::Parquet(Box::new(ParquetTable::new(schema, results, to)?)),
            #[cfg(not(feature = "parquet"))]
            TableFormat::Parquet => anyhow::bail!(crate::data::WITHOUT_PARQUET),
            text => {
                let table = TextTable::new(text, &schema.columns, results);
                to.write_all(table.header()?.as_bytes())?;
                To::Text(table, to)
            }
        };
        Ok(Self { to })
    }

    /// Adds rows. `results` has the values of each column of results.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn write(&mut self, batch: &TableBatch, results: &[Values]) -> anyhow::Result<()> {
        match &mut self.to {
            To::Text(table, to) => Ok(to.write_all(table.rows(batch, results)?.as_bytes())?),
            #[cfg(feature = "parquet")]
            To::Parquet(table) => table.write(batch, results),
        }
    }

    /// Ends the table.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn finish(self) -> anyhow::Result<()> {
        match self.to {
            To::Text(_, mut to) => to.flush().context("cannot flush the table"),
            #[cfg(feature = "parquet")]
            To::Parquet(table) => table.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Kind;

    #[test]
    fn names_of_results_differ_from_all_others() {
        let columns =
            ["text", "label", "predicted_label"].map(|name| TableColumn::new(name, Kind::Text));
        let names =
            unique_names(&["label", "probability", "probability", "neg"], "predicted_", &columns);
        let expected = ["predicted_predicted_label", "probability", "predicted_probability", "neg"];
        assert_eq!(names, expected);
    }

    #[test]
    fn cells_keep_their_spelling_in_every_format() {
        let columns = ["a", "b", "c"].map(|name| TableColumn::new(name, Kind::Text));
        let results = [TableColumn::new("p", Kind::Number)];
        let cells = vec![Cell::Text("x, \"y\"\t".into()), Cell::Json("1.10".into())];
        let rows =
            vec![cells, vec![Cell::Json("null".into()), Cell::Json("[1]".into()), Cell::Missing]];
        let batch = TableBatch {
            texts: vec![vec![String::new(); 2]],
            rows: crate::tables::batch::Rows::Cells(rows),
        };
        let values = [Values::Numbers(vec![Some(0.25), None])];
        for (format, expected) in [
            (TableFormat::Csv, "a,b,c,p\n\"x, \"\"y\"\"\t\",1.10,,0.250000\n,[1],,\n"),
            (TableFormat::Tsv, "a\tb\tc\tp\nx, \"y\" \t1.10\t\t0.250000\n\t[1]\t\t\n"),
            (
                TableFormat::Jsonl,
                "{\"a\": \"x, \\\"y\\\"\\t\", \"b\": 1.10, \"p\": 0.25}\n{\"a\": null, \"b\": [1]}\n",
            ),
        ] {
            let table = TextTable::new(format, &columns, &results);
            let text = table.header().unwrap() + &table.rows(&batch, &values).unwrap();
            assert_eq!(text, expected);
        }
    }
}

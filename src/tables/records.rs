//! Rows of TSV and CSV files.

use anyhow::Context;

use crate::output::sanitize::tsv_field;

/// Formats fields as a line of a TSV file.
pub fn tsv_record(fields: &[String]) -> String {
    let fields: Vec<_> = fields.iter().map(|field| tsv_field(field)).collect();
    fields.join("\t") + "\n"
}

/// Formats fields as a record of a CSV file.
///
/// # Errors
/// Returns an error of the encoder.
pub fn csv_record(fields: &[String]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields)?;
    let bytes = writer.into_inner().context("cannot encode a CSV record")?;
    String::from_utf8(bytes).context("cannot encode a CSV record")
}

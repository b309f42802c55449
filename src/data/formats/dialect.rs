//! The dialect of a table: its delimiter, and whether fields may be quoted.

use std::io::{BufRead, Read};
use std::path::Path;

use anyhow::Context;

use super::lines::open_data;
use super::table::{Layout, header_names};
use crate::config::{Config, DataConfig, Delimiter, Format, Inputs, Quoting};
use crate::io::input::unreadable;

/// Number of bytes at the start of a file from which its delimiter is detected.
const SAMPLE_BYTES: u64 = 1 << 18;
/// Number of rows from which it is detected.
const SAMPLE_ROWS: usize = 100;

/// The dialect of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Character between the columns.
    pub delimiter: u8,
    /// Fields may be in double quotes.
    pub is_quoted: bool,
}

impl Dialect {
    /// Returns the dialect of the table at `path`, of format csv or tsv.
    ///
    /// # Errors
    /// Returns an error if the delimiter must be detected and the file cannot be read.
    pub fn of(
        path: &Path,
        format: Format,
        config: &DataConfig,
        inputs: &Inputs,
        needs_label: bool,
    ) -> anyhow::Result<Self> {
        let is_quoted = match config.quoting {
            Quoting::Auto => format == Format::Csv,
            Quoting::Standard => true,
            Quoting::None => false,
        };
        let delimiter = match config.delimiter {
            Delimiter::Byte(byte) => byte,
            Delimiter::Auto if format == Format::Tsv => b'\t',
            Delimiter::Auto if config.has_first_rules() => b',',
            Delimiter::Auto => {
                let sample = sample(path, config)?;
                delimiter_of(&sample, is_quoted, |rows| fits(rows, config, inputs, needs_label))
            }
        };
        Ok(Self { delimiter, is_quoted })
    }
}

/// Returns the rows at the start of a table of format csv or tsv that have as many columns as the first.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub fn first_rows(
    path: &Path,
    format: Format,
    config: &Config,
) -> anyhow::Result<Vec<Vec<String>>> {
    let dialect = Dialect::of(path, format, &config.data, &config.inputs, false)?;
    let sample = sample(path, &config.data)?;
    let mut rows: Vec<Vec<String>> = rows(&sample, dialect).map(|row| fields(&row)).collect();
    let width = rows.first().map_or(0, Vec::len);
    rows.retain(|row| row.len() == width);
    Ok(rows)
}

/// Returns the complete lines at the start of a file.
fn sample(path: &Path, config: &DataConfig) -> anyhow::Result<Vec<u8>> {
    let mut reader = open_data(path, config)?.take(SAMPLE_BYTES);
    let mut sample = Vec::new();
    for line in 0..SAMPLE_ROWS as u64 {
        let read = reader.read_until(b'\n', &mut sample).with_context(|| unreadable(path, line))?;
        if read == 0 {
            break;
        }
    }
    if sample.len() as u64 == SAMPLE_BYTES {
        sample.truncate(sample.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    }
    Ok(sample)
}

/// Returns the delimiter with which the rows of a sample fit, by default the one with the most columns in
/// the first row; of several, the most usual.
pub fn delimiter_of(sample: &[u8], is_quoted: bool, fits: impl Fn(&[Vec<String>]) -> bool) -> u8 {
    let candidates = Delimiter::NAMED.map(|(_, byte)| {
        let rows = rows(sample, Dialect { delimiter: byte, is_quoted });
        (byte, rows.take(SAMPLE_ROWS).map(|row| fields(&row)).collect::<Vec<_>>())
    });
    let fitting = candidates.iter().find(|(_, rows)| fits(rows));
    let width = |rows: &[Vec<String>]| rows.first().map_or(0, Vec::len);
    // `max_by_key` returns the last of several.
    let widest = candidates.iter().rev().max_by_key(|(_, rows)| width(rows));
    fitting.or(widest).map_or(b',', |(byte, _)| *byte)
}

/// Returns the rows of a table that begins with `sample`. The last one may be incomplete.
pub fn rows(sample: &[u8], dialect: Dialect) -> impl Iterator<Item = csv::ByteRecord> {
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(dialect.delimiter)
        .quoting(dialect.is_quoted)
        .from_reader(sample);
    reader.into_byte_records().map_while(Result::ok)
}

/// Returns the fields of a row.
pub fn fields(row: &csv::ByteRecord) -> Vec<String> {
    row.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect()
}

/// Returns true if the configured columns are in the header, or without one, if all rows have the same
/// number of columns, the configured ones among them.
fn fits(rows: &[Vec<String>], config: &DataConfig, inputs: &Inputs, needs_label: bool) -> bool {
    let Some(first) = rows.first() else { return false };
    if config.header {
        let header: Vec<&[u8]> = first.iter().map(String::as_bytes).collect();
        let header = header_names(&header, config);
        return Layout::find(Some(&header), config, inputs, needs_label).is_ok();
    }
    let Ok(layout) = Layout::find(None, config, inputs, needs_label) else { return false };
    // The last one may be incomplete.
    let complete = if rows.len() > 2 { &rows[..rows.len() - 1] } else { rows };
    layout.min_width() <= first.len() && complete.iter().all(|row| row.len() == first.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn delimiter(content: &str, fields: &str) -> char {
        let yaml = format!("data: {{train: x{fields}}}\n");
        let config = config::parse(&yaml, "test", &[]).unwrap().config;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let dialect = Dialect::of(file.path(), Format::Csv, &config.data, &config.inputs, true);
        let dialect = dialect.unwrap();
        char::from(dialect.delimiter)
    }

    #[test]
    fn the_delimiter_is_the_one_with_which_the_columns_are_found() {
        for (content, expected) in [
            ("text,label\na; b,c\n", ','),
            ("text;label\na, b;c\n", ';'),
            ("id\ttext\tlabel\n1\ta, b\tc\n", '\t'),
            ("text|label\na|b\n", '|'),
            ("\"text\";\"label, or not\";label\na;b;c\n", ';'),
            // No delimiter fits: the error shows the columns.
            ("review;stars;more\n", ';'),
            ("review\n", ','),
            ("", ','),
        ] {
            assert_eq!(delimiter(content, ""), expected, "{content}");
        }
        assert_eq!(delimiter("text;label\n", ", version: 1"), ',');
        assert_eq!(delimiter("text;label\n", ", delimiter: \"^\""), '^');
    }

    #[test]
    fn without_a_header_all_rows_have_the_same_number_of_columns() {
        let fields = ", header: false, text_column: 1, label_column: 2";
        for (content, expected) in [
            ("good,pos\nbad,neg\n", ','),
            ("good, very;pos\nbad;neg\nfine, or not, so;pos\n", ';'),
            ("good;pos\nbad;neg\n", ';'),
            ("\"a;b\",pos\n\"c;d\",neg\n", ','),
        ] {
            assert_eq!(delimiter(content, fields), expected, "{content}");
        }
    }
}

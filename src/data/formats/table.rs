//! Reads CSV and TSV files.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};

use super::lines::{for_each_line, limits};
use super::sink::{Row, Sink, excerpt, field_of, not_utf8};
use crate::config::{Column, DataConfig, Inputs, label_in_text};
use crate::io::input::open_limited;

/// Sentinel row appended to a CSV file. No text contains it.
const END: &[u8] = b"\n\0 end of file \0";
/// Number of lines above which a row most likely has an unbalanced quote.
const MANY_LINES: u64 = 100;

/// Reads a CSV file (RFC 4180) into `sink`.
pub fn read_csv(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    // By default, the csv crate miscounts lines that end in CRLF. Here, lines end in LF, and a CR
    // before it is removed below.
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .terminator(csv::Terminator::Any(b'\n'))
        // The sentinel is a record of its own, unless an unclosed quote swallows it.
        .from_reader(open_limited(path, limits(config))?.chain(END));
    let mut record = csv::ByteRecord::new();
    let mut table = Table::new(config);
    while reader
        .read_byte_record(&mut record)
        .with_context(|| format!("cannot read \"{}\"", path.display()))?
    {
        let line = record.position().map_or(0, csv::Position::line);
        let mut fields: Vec<&[u8]> = record.iter().collect();
        let end = END.trim_ascii();
        if fields == [end] {
            break;
        }
        ensure!(
            fields.last().is_none_or(|last| !last.ends_with(end)),
            "{}:{line}: unclosed quote in the row that begins here; close it, or double each \
             quote inside a quoted field",
            path.display()
        );
        let lines = reader.position().line() - line;
        if lines > MANY_LINES {
            sink.long_row.get_or_insert((line, lines));
        }
        if let Some(last) = fields.last_mut() {
            *last = last.strip_suffix(b"\r").unwrap_or(last);
        }
        if fields != [b""] {
            table.add(line, &fields, sink)?;
        }
    }
    Ok(())
}

/// Reads a TSV file into `sink`. Quotes have no special meaning.
pub fn read_tsv(path: &Path, config: &DataConfig, sink: &mut Sink) -> anyhow::Result<()> {
    let mut table = Table::new(config);
    for_each_line(path, config, |line, bytes| {
        if bytes.is_empty() {
            return Ok(());
        }
        let fields: Vec<&[u8]> = bytes.split(|byte| *byte == b'\t').collect();
        table.add(line, &fields, sink)
    })
}

/// Reads rows of fields, the first of which may be a header.
struct Table<'a> {
    config: &'a DataConfig,
    /// Set by the first row.
    layout: Option<Layout>,
}

impl<'a> Table<'a> {
    fn new(config: &'a DataConfig) -> Self {
        Self { config, layout: None }
    }

    fn add(&mut self, line: u64, fields: &[&[u8]], sink: &mut Sink) -> anyhow::Result<()> {
        let layout = match &self.layout {
            Some(layout) => layout,
            None => {
                let header = self.config.header.then(|| header_names(fields));
                let layout = Layout::find(header.as_deref(), self.config, sink.inputs)
                    .map_err(|message| anyhow!("{}:{line}: {message}", sink.file()))?;
                let layout = self.layout.insert(layout);
                if header.is_some() {
                    return Ok(());
                }
                layout
            }
        };
        sink.add(line, layout.row(fields))
    }
}

fn header_names(fields: &[&[u8]]) -> Vec<String> {
    fields.iter().map(|field| String::from_utf8_lossy(field).trim().to_owned()).collect()
}

/// Indices of the columns that are needed.
pub struct Layout {
    texts: Vec<usize>,
    label: usize,
    /// Columns to filter by, with the required values.
    filter: Vec<(usize, String)>,
    /// Number of columns, if there is a header.
    width: Option<usize>,
}

impl Layout {
    /// Looks the configured columns up in the header.
    pub fn find(
        header: Option<&[String]>,
        config: &DataConfig,
        inputs: &Inputs,
    ) -> Result<Self, String> {
        let by_name = |name: &str| -> Result<usize, String> {
            let header = header.ok_or_else(|| {
                format!(
                    "cannot find column \"{name}\" without a header; use its number, counting \
                     from 1"
                )
            })?;
            let mut columns = (0..header.len()).filter(|column| header[*column] == name);
            match (columns.next(), columns.next()) {
                (Some(column), None) => Ok(column),
                (Some(_), Some(_)) => Err(format!(
                    "the header has more than one column \"{name}\"; use its number, counting \
                     from 1"
                )),
                (None, _) => Err(format!(
                    "expected a column \"{name}\", found {}",
                    excerpt(&header.join(", "))
                )),
            }
        };
        let find = |column: &Column| match column {
            Column::Name(name) => by_name(name),
            Column::Number(number) => match header {
                Some(header) if *number > header.len() => Err(format!(
                    "expected a column number {number}, found {} columns",
                    header.len()
                )),
                _ => Ok(number - 1),
            },
        };
        let text = |column: &&Column| {
            find(column).map_err(|fault| format!("{}: {fault}", field_of(inputs, column)))
        };
        let condition = |(name, value): (&String, &String)| {
            let column = by_name(name).map_err(|fault| format!("data.filter: {fault}"))?;
            Ok((column, value.clone()))
        };
        let columns = inputs.columns();
        let texts = columns.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let label =
            find(&config.label_column).map_err(|fault| format!("data.label_column: {fault}"))?;
        // The same column by its name and by its number.
        let reads_label = columns.iter().zip(&texts).find(|(_, text)| **text == label);
        if let Some((column, _)) = reads_label
            && !config.has_first_rules()
        {
            return Err(format!("{}: {}", field_of(inputs, column), label_in_text(column)));
        }
        Ok(Self {
            texts,
            label,
            filter: config.filter.iter().map(condition).collect::<Result<_, String>>()?,
            width: header.map(<[String]>::len),
        })
    }

    /// Returns the row with these fields, or `None` if the filter excludes it.
    pub fn row<'r>(&self, fields: &[&'r [u8]]) -> Result<Option<Row>, String> {
        if let Some(width) = self.width.filter(|width| *width != fields.len()) {
            return Err(format!(
                "expected {width} columns as in the header, found {}",
                fields.len()
            ));
        }
        let field = |index: usize| -> Result<&'r str, String> {
            let bytes = fields.get(index).ok_or_else(|| {
                format!("expected at least {} columns, found {}", index + 1, fields.len())
            })?;
            std::str::from_utf8(bytes).map_err(|_| not_utf8(format_args!("column {}", index + 1)))
        };
        for (index, wanted) in &self.filter {
            if field(*index)? != wanted {
                return Ok(None);
            }
        }
        let text = |column: &usize| field(*column).map(str::to_owned);
        Ok(Some(Row {
            texts: self.texts.iter().map(text).collect::<Result<_, _>>()?,
            label: field(self.label)?.trim().to_owned(),
        }))
    }
}
